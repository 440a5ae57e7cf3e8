package main

// spared is the number of bytes of garbage that may accumulate before a collection.
const spared = 16 << 20

// calm keeps the garbage collector from running after every few MiB: it starts when the heap has grown by as much as was in
// use, and what calm returns counts as in use. It is never written to, so that it takes no memory. What models need beyond
// it counts as ever.
func calm() []byte { return make([]byte, spared) }
