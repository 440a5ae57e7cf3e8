package main

// spared is how many bytes of garbage may lie about before the heap is searched for them.
const spared = 16 << 20

// calm keeps the garbage collector from running after every few MiB: it starts when the heap has grown by as much as was in
// use, and what calm returns counts as in use. It is never written to, so that it takes no memory. What models need beyond
// it counts as ever.
func calm() []byte { return make([]byte, spared) }
