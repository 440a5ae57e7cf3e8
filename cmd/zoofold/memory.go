package main

import "os"

// ballast is never touched, and takes no memory therefore. The garbage collector counts it as in use and waits until as much
// again was made: a run on small models makes little that lasts, and would collect every few megabytes.
var ballast []byte

const ballastBytes = 16 << 20

// load takes the ballast on, unless whoever started the program has settled how the collector works.
func load() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		ballast = make([]byte, ballastBytes)
	}
}
