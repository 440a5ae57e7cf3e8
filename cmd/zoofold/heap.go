package main

// spared is the number of bytes of garbage that may accumulate before a collection.
const spared = 16 << 20

// calm keeps the garbage collector from running after every few MiB. The collector runs when the heap has grown by as much
// as is in use, and the slice that calm returns counts as in use. It is never written to, so that it takes no memory.
func calm() []byte { return make([]byte, spared) }
