package main

import "os"

const ballastBytes = 8 << 20

// ballast is memory that nobody writes to, so that it takes none. The garbage collector counts it as in use, and waits until
// as much has been allocated again: a run on small models keeps little, and would collect every few megabytes. It is nil if
// the environment says how the collector works.
func ballast() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, ballastBytes)
}
