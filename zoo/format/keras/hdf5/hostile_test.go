package hdf5

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// made finishes a file whose root has that symbol.
func (e *encoder) made(root symbol) []byte {
	e.superblock(root, int64(len(e.b)))
	return e.b
}

func newEncoder() *encoder {
	e := &encoder{written: map[Object]symbol{}, open: map[Object]bool{}}
	e.reserve(superblockSize)
	return e
}

// rooted writes a root group with that tree and heap.
func (e *encoder) rooted(t *testing.T, tree, heap int64) []byte {
	t.Helper()
	var m encoded
	m.u64(uint64(tree), uint64(heap))
	at, _, err := e.header([]encoded{m.as(messageSymbols, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return e.made(symbol{header: at})
}

// refusedWithin demands an error of a kind, and that not much memory was used on the way to it.
func refusedWithin(t *testing.T, data []byte, memory uint64, kind error) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	_, err := Open(bytes.NewReader(data), int64(len(data)))
	if !errors.Is(err, kind) {
		t.Errorf("%v, want %v", err, kind)
	}
	metrics.Read(sample)
	if used := sample[0].Value.Uint64() - before; used > memory {
		t.Errorf("%d bytes of memory for a file of %d bytes", used, len(data))
	}
}

func TestNamesThatOverlapAreBounded(t *testing.T) {
	e := newEncoder()
	const length, links = 1 << 20, 60000 // 60 GB of names in 3 MB
	heap, _ := e.localHeap([]string{strings.Repeat("x", length)})
	var m encoded
	m.text("SNOD\x01\x00")
	m.u16(links)
	for k := range links {
		m.entry(int64(8+k), symbol{})
	}
	node := e.append(m.b)
	tree := e.treeLevel([]child{{node, 8}}, 0)[0].at
	refusedWithin(t, e.rooted(t, tree, heap), 200<<20, format.ErrLimit)
}

func TestTreesThatShareNodesAreBounded(t *testing.T) {
	e := newEncoder()
	heap, _ := e.localHeap(nil)
	node := e.append([]byte("SNOD\x01\x00\x00\x00"))
	for level := range byte(60) { // 32^60 visits in 33 kB
		children := make([]child, 2*internalK)
		for k := range children {
			children[k].at = node
		}
		node = e.treeLevel(children, level)[0].at
	}
	refusedWithin(t, e.rooted(t, node, heap), 20<<20, format.ErrLimit)
}

func TestTreesThatContainThemselvesAreRefused(t *testing.T) {
	e := newEncoder()
	heap, _ := e.localHeap(nil)
	node := e.treeLevel([]child{{at: 1}}, 1)[0].at
	binary.LittleEndian.PutUint64(e.b[node+24+8:], uint64(node))
	refusedWithin(t, e.rooted(t, node, heap), 1<<20, format.ErrCorrupt)
}

func TestTextsThatAreOneTextAreBounded(t *testing.T) {
	const length, count = 1 << 20, 4000 // 4 GB of text in 1 MB
	e := newEncoder()
	var one, all encoded
	if err := e.intern(&one, strings.Repeat("x", length)); err != nil {
		t.Fatal(err)
	}
	for range count {
		all.b = append(all.b, one.b...)
	}
	space, _ := dataspace([]int64{count}, false)
	var layout encoded
	layout.u8(3, 1)
	layout.u64(uint64(e.append(all.b)), uint64(len(all.b)))
	header, _, err := e.header([]encoded{space, {kind: messageDatatype, b: []byte(variableText.message)}, layout.as(messageLayout, 0)})
	if err != nil {
		t.Fatal(err)
	}
	heap, places := e.localHeap([]string{"x"})
	refusedWithin(t, e.rooted(t, e.symbolTree([]symbol{{header: header}}, places), heap), 200<<20, format.ErrLimit)
}

func TestContinuationsThatLeadToThemselvesAreBounded(t *testing.T) {
	e := newEncoder()
	var m encoded
	m.u64(uint64(superblockSize+headerSize), 24)
	at, _, err := e.header([]encoded{m.as(messageContinuation, 0)})
	if err != nil {
		t.Fatal(err)
	}
	refusedWithin(t, e.made(symbol{header: at}), 20<<20, format.ErrLimit)
}

// dataset makes a file of one dataset, of the layout and with messages before it.
func oneDataset(t *testing.T, kind Type, shape []int64, layout encoded, more ...encoded) []byte {
	t.Helper()
	e := newEncoder()
	space, err := dataspace(shape, false)
	if err != nil {
		t.Fatal(err)
	}
	header, _, err := e.header(append(more, space, encoded{kind: messageDatatype, b: []byte(kind.message)}, layout.as(messageLayout, 0)))
	if err != nil {
		t.Fatal(err)
	}
	heap, places := e.localHeap([]string{"x"})
	return e.rooted(t, e.symbolTree([]symbol{{header: header}}, places), heap)
}

func TestElementsThatAreNotThereAreRefused(t *testing.T) {
	layout := func(class byte, numbers ...uint64) encoded {
		var m encoded
		m.u8(3, class)
		m.u64(numbers...)
		return m
	}
	const none = 1<<64 - 1
	huge := []int64{1 << 30, 1 << 30}
	float := TypeOf(tensor.Float32)
	chunked := func(box ...uint32) encoded { // the last number is the size of an element
		var m encoded
		m.u8(3, 2, byte(len(box)))
		m.u64(none)
		for _, n := range box {
			m.u32(n)
		}
		return m
	}
	for name, c := range map[string]struct {
		data []byte
		kind error
	}{
		"more elements than numbers":      {oneDataset(t, float, []int64{1 << 40, 1 << 40}, layout(1, 0, 0)), format.ErrCorrupt},
		"contiguous beyond the end":       {oneDataset(t, float, huge, layout(1, 96, 1<<62)), format.ErrCorrupt},
		"contiguous at no address":        {oneDataset(t, float, []int64{4}, layout(1, 1<<63, 16)), format.ErrCorrupt},
		"contiguous, less than the shape": {oneDataset(t, float, []int64{4}, layout(1, 96, 8)), format.ErrCorrupt},
		"never written, 2^60 of them":     {oneDataset(t, float, huge, layout(1, none, 0)), format.ErrLimit},
		"compact, less than the shape":    {oneDataset(t, float, []int64{4}, layout(0, 0)), format.ErrCorrupt},
		"compact, 2^60 of them":           {oneDataset(t, float, huge, layout(0, 0)), format.ErrCorrupt},
		"chunks without dimensions":       {oneDataset(t, float, nil, chunked(4)), format.ErrCorrupt},
		"chunks of another rank":          {oneDataset(t, float, []int64{4}, chunked(2, 2, 4)), format.ErrCorrupt},
		"chunks of another size":          {oneDataset(t, float, []int64{4, 4}, chunked(2, 2, 8)), format.ErrCorrupt},
		"chunks of nothing":               {oneDataset(t, float, []int64{4, 4}, chunked(2, 0, 4)), format.ErrLimit},
		"chunks of 2^62 elements":         {oneDataset(t, float, []int64{4, 4}, chunked(1<<31, 1<<31, 4)), format.ErrLimit},
		"rows of chunks of a gigabyte":    {append(oneDataset(t, float, []int64{4, 1 << 26}, chunked(4, 1, 4)), make([]byte, 1<<20)...), format.ErrLimit},
		"chunks, 2^60 elements":           {oneDataset(t, float, huge, chunked(1, 1, 4)), format.ErrLimit},
		"text of 2^60 references":         {oneDataset(t, variableText, []int64{1 << 58}, layout(1, none, 0)), format.ErrLimit},
		"in other files":                  {oneDataset(t, float, []int64{4}, layout(1, none, 0), encoded{kind: messageExternal}), errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) { refusedWithin(t, c.data, 1<<20, c.kind) })
	}
}
