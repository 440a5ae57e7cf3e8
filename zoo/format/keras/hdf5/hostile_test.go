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

// version1 makes a file's superblock one of version 1, for which there are 4 bytes of room.
func version1(data []byte) []byte {
	copy(data[28:superblockSize+4], bytes.Clone(data[24:superblockSize]))
	data[8] = 1
	return data
}

func TestOpen_RefusesFilesOfOtherFormats(t *testing.T) {
	file := func(room int64) []byte {
		e := newEncoder()
		e.reserve(room)
		root, err := e.object(&Group{}, &place{})
		if err != nil {
			t.Fatal(err)
		}
		return e.made(root)
	}
	with := func(at int, b byte) []byte {
		data := file(0)
		data[at] = b
		return data
	}
	e := newEncoder()
	dataset, err := e.object(&Dataset{Type: TypeOf(tensor.Int8), Shape: []int64{0}}, &place{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"superblock 0":             {file(0), nil},
		"superblock 1":             {version1(file(8)), nil},
		"superblock 4":             {with(8, 4), errors.ErrUnsupported},
		"short offsets":            {with(13, 4), errors.ErrUnsupported},
		"short lengths":            {with(14, 4), errors.ErrUnsupported},
		"a file within a file":     {with(24, 1), errors.ErrUnsupported},
		"longer than it is":        {with(47, 1), format.ErrCorrupt},
		"a negative end":           {with(47, 0x80), format.ErrCorrupt},
		"another format":           {with(0, 'P'), format.ErrCorrupt},
		"no object where one is":   {with(64, 1), format.ErrCorrupt},
		"a root beyond the end":    {with(70, 1), format.ErrCorrupt},
		"a root that is a dataset": {e.made(dataset), format.ErrCorrupt},
		"nothing":                  {nil, format.ErrCorrupt},
	} {
		if _, err := Open(bytes.NewReader(c.data), int64(len(c.data))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostile_OverlappingNamesAreBounded(t *testing.T) {
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

func TestHostile_SharedTreeNodesAreBounded(t *testing.T) {
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
	refusedWithin(t, e.rooted(t, node, heap), 3<<20, format.ErrLimit)
}

func TestHostile_CyclicTreesAreRefused(t *testing.T) {
	e := newEncoder()
	heap, _ := e.localHeap(nil)
	node := e.treeLevel([]child{{at: 1}}, 1)[0].at
	binary.LittleEndian.PutUint64(e.b[node+24+8:], uint64(node))
	refusedWithin(t, e.rooted(t, node, heap), 1<<20, format.ErrCorrupt)
}

func TestHostile_SharedTextsTakeBoundedMemory(t *testing.T) {
	const length, count = 1 << 20, 4000 // 4 GB of text in 1 MB
	e := newEncoder()
	var one, all encoded
	if err := e.intern(&one, strings.Repeat("x", length)); err != nil {
		t.Fatal(err)
	}
	for range count {
		all.b = append(all.b, one.b...)
	}
	var layout encoded
	layout.u8(3, 1)
	layout.u64(uint64(e.append(all.b)), uint64(len(all.b)))
	refusedWithin(t, e.oneDataset(t, variableText, []int64{count}, layout), 200<<20, format.ErrLimit)
}

func TestHostile_TextBeyondItsHeapIsRefused(t *testing.T) {
	e := newEncoder()
	var m encoded
	for _, s := range []string{"a", "b"} {
		if err := e.intern(&m, s); err != nil {
			t.Fatal(err)
		}
	}
	space, _ := dataspace([]int64{2}, false)
	for length, want := range map[byte]error{1: nil, 2: format.ErrCorrupt} {
		m.b[0] = length
		var a encoded
		a.u8(3, 0, 2, 0, byte(len(variableText.message)), 0, byte(len(space.b)), 0, 0)
		a.text("x\x00" + variableText.message)
		a.u8(append(space.b, m.b...)...)
		at, _, err := e.header([]encoded{a.as(messageAttribute, 0), {kind: messageGroupInfo}})
		if err != nil {
			t.Fatal(err)
		}
		data := e.made(symbol{header: at})
		root, err := Open(bytes.NewReader(data), int64(len(data)))
		if !errors.Is(err, want) {
			t.Errorf("a text of %d bytes: %v", length, err)
		}
		if err == nil {
			if list, _ := root.Attrs[0].Value.Texts(); len(list) != 2 || list[0] != "a" {
				t.Errorf("%q", list)
			}
		}
	}
}

func TestHostile_HeaderContinuationsThatCycle(t *testing.T) {
	e := newEncoder()
	var m encoded
	m.u64(uint64(superblockSize+headerSize), 24)
	at, _, err := e.header([]encoded{m.as(messageContinuation, 0)})
	if err != nil {
		t.Fatal(err)
	}
	refusedWithin(t, e.made(symbol{header: at}), 20<<20, format.ErrLimit)
}

// oneDataset finishes a file of one dataset, of that layout and with messages before it.
func (e *encoder) oneDataset(t *testing.T, kind Type, shape []int64, layout encoded, more ...encoded) []byte {
	t.Helper()
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

// chunkedLayout is a layout of chunks of that shape; the last number is the size of an element.
func chunkedLayout(tree int64, box ...uint32) encoded {
	var m encoded
	m.u8(3, 2, byte(len(box)))
	m.u64(uint64(tree))
	for _, n := range box {
		m.u32(n)
	}
	return m
}

func TestHostile_ImpossibleChunksAreRefused(t *testing.T) {
	type key struct {
		size    uint32
		corner  [2]uint64
		address uint64
	}
	for name, c := range map[string]struct {
		keys []key
		want error
	}{
		"all is well":             {[]key{{16, [2]uint64{0, 0}, 0}, {16, [2]uint64{2, 2}, 16}}, nil},
		"outside of the shape":    {[]key{{16, [2]uint64{4, 0}, 0}}, format.ErrCorrupt},
		"between two chunks":      {[]key{{16, [2]uint64{0, 1}, 0}}, format.ErrCorrupt},
		"twice":                   {[]key{{16, [2]uint64{2, 0}, 0}, {16, [2]uint64{2, 0}, 16}}, format.ErrCorrupt},
		"beyond the file":         {[]key{{16, [2]uint64{0, 0}, 1 << 20}}, format.ErrCorrupt},
		"at no address":           {[]key{{16, [2]uint64{0, 0}, 1 << 63}}, format.ErrCorrupt},
		"larger than a chunk is":  {[]key{{2000, [2]uint64{0, 0}, 0}}, format.ErrCorrupt},
		"at a negative place":     {[]key{{16, [2]uint64{1 << 63, 0}, 0}}, format.ErrCorrupt},
		"with an element too few": {[]key{{12, [2]uint64{0, 0}, 0}}, format.ErrCorrupt},
	} {
		e := newEncoder()
		e.reserve(4000)
		var m encoded
		m.text("TREE")
		m.u8(treeChunk, 0)
		m.u16(uint16(len(c.keys)))
		m.u64(1<<64-1, 1<<64-1)
		for _, k := range c.keys {
			m.u32(k.size)
			m.u32(0)
			m.u64(k.corner[0], k.corner[1], 0, k.address)
		}
		data := e.oneDataset(t, TypeOf(tensor.Float32), []int64{4, 3}, chunkedLayout(e.append(m.b), 2, 2, 4))
		root, err := Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			err = root.Get("x").(*Dataset).Copy(make(tensor.Buffer, 48))
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostile_AbsentElementsAreRefused(t *testing.T) {
	layout := func(class byte, numbers ...uint64) encoded {
		var m encoded
		m.u8(3, class)
		m.u64(numbers...)
		return m
	}
	const none = 1<<64 - 1
	huge := []int64{1 << 30, 1 << 30}
	float := TypeOf(tensor.Float32)
	chunked := func(box ...uint32) encoded { return chunkedLayout(undefined, box...) }
	file := func(kind Type, shape []int64, layout encoded, more ...encoded) []byte {
		return newEncoder().oneDataset(t, kind, shape, layout, more...)
	}
	for name, c := range map[string]struct {
		data []byte
		kind error
	}{
		"more elements than numbers":      {file(float, []int64{1 << 40, 1 << 40}, layout(1, 0, 0)), format.ErrCorrupt},
		"contiguous beyond the end":       {file(float, huge, layout(1, 96, 1<<62)), format.ErrCorrupt},
		"contiguous at no address":        {file(float, []int64{4}, layout(1, 1<<63, 16)), format.ErrCorrupt},
		"contiguous, less than the shape": {file(float, []int64{4}, layout(1, 96, 8)), format.ErrCorrupt},
		"never written, 2^60 of them":     {file(float, huge, layout(1, none, 0)), format.ErrLimit},
		"compact, less than the shape":    {file(float, []int64{4}, layout(0, 0)), format.ErrCorrupt},
		"compact, 2^60 of them":           {file(float, huge, layout(0, 0)), format.ErrCorrupt},
		"chunks without dimensions":       {file(float, nil, chunked(4)), format.ErrCorrupt},
		"chunks of another rank":          {file(float, []int64{4}, chunked(2, 2, 4)), format.ErrCorrupt},
		"chunks of another size":          {file(float, []int64{4, 4}, chunked(2, 2, 8)), format.ErrCorrupt},
		"chunks of nothing":               {file(float, []int64{4, 4}, chunked(2, 0, 4)), format.ErrLimit},
		"chunks of 2^62 elements":         {file(float, []int64{4, 4}, chunked(1<<31, 1<<31, 4)), format.ErrLimit},
		"rows of chunks of a gigabyte":    {append(file(float, []int64{4, 1 << 26}, chunked(4, 1, 4)), make([]byte, 1<<20)...), format.ErrLimit},
		"chunks, 2^60 elements":           {file(float, huge, chunked(1, 1, 4)), format.ErrLimit},
		"text of 2^60 references":         {file(variableText, []int64{1 << 58}, layout(1, none, 0)), format.ErrLimit},
		"in other files":                  {file(float, []int64{4}, layout(1, none, 0), encoded{kind: messageExternal}), errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) { refusedWithin(t, c.data, 1<<20, c.kind) })
	}
}
