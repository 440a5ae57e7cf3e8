package hdf5

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
)

// How many links a node of a group's symbol table and children a node of its B-tree have room for: twice the K that the
// superblock says, with HDF5's own values.
const (
	leafK     = 4
	internalK = 16
)

// Write writes a tree as an HDF5 file from offset 0 of w on, and says how many bytes that are. First come all groups,
// headers, attributes and texts, made in memory, then the Data of each dataset, in the order of names. To write a dataset,
// content is called with its part of the file: it has to write Bytes bytes from offset 0 on. A nil content stands for
// Dataset.Copy. What is written is determined by the tree. All datasets become contiguous and get a fixed shape; times and
// comments are not kept.
func Write(w io.WriterAt, root *Group, content func(d *Dataset, w io.WriterAt) error) (int64, error) {
	if content == nil {
		content = (*Dataset).Copy
	}
	e := &encoder{written: map[Object]symbol{}, open: map[Object]bool{}}
	e.reserve(superblockSize)
	top, err := e.object(root, &place{})
	if err != nil {
		return 0, fmt.Errorf("hdf5: %w", err)
	}
	end := int64(len(e.b))
	for k, p := range e.placed {
		e.placed[k].at = aligned(end)
		end = e.placed[k].at + p.dataset.Bytes()
		binary.LittleEndian.PutUint64(e.b[p.layout:], uint64(e.placed[k].at))
	}
	e.superblock(top, end)
	if _, err := w.WriteAt(e.b, 0); err != nil {
		return 0, err
	}
	for _, p := range e.placed {
		if err := content(p.dataset, io.NewOffsetWriter(w, p.at)); err != nil {
			return 0, fmt.Errorf("hdf5: %w", p.here.wrap(err))
		}
	}
	return end, nil
}

// aligned is the next place for a structure.
func aligned(n int64) int64 { return n + -n&7 }

// symbol is what a link stores about the object that it names.
type symbol struct {
	header     int64
	tree, heap int64 // of a group
}

// placed is a dataset whose elements have a place in the file.
type placed struct {
	dataset *Dataset
	here    *place
	layout  int64 // where its header says where they are
	at      int64
}

// encoder makes all of a file but the elements of datasets.
type encoder struct {
	b          []byte // the file so far
	written    map[Object]symbol
	open       map[Object]bool // being written
	placed     []placed
	collection collection
}

// reserve makes room for n bytes, zeros at first.
func (e *encoder) reserve(n int64) int64 {
	at := aligned(int64(len(e.b)))
	e.b = append(e.b, make([]byte, at+n-int64(len(e.b)))...)
	return at
}

func (e *encoder) append(b []byte) int64 {
	at := e.reserve(int64(len(b)))
	copy(e.b[at:], b)
	return at
}

func (e *encoder) object(o Object, here *place) (symbol, error) {
	if s, ok := e.written[o]; ok {
		count := e.b[s.header+4:]
		binary.LittleEndian.PutUint32(count, binary.LittleEndian.Uint32(count)+1)
		return s, nil
	}
	if e.open[o] {
		return symbol{}, here.wrap(errors.New("a group that contains itself"))
	}
	if here.depth > maxDepth {
		return symbol{}, here.wrap(fmt.Errorf("more than %d groups within each other: %w", maxDepth, format.ErrLimit))
	}
	e.open[o] = true
	var s symbol
	var err error
	switch o := o.(type) {
	case *Group:
		s, err = e.group(o, here)
	case *Dataset:
		if s, err = e.dataset(o, here); err != nil {
			err = here.wrap(err)
		}
	}
	e.written[o] = s
	return s, err
}

func (e *encoder) group(g *Group, here *place) (symbol, error) {
	names := g.Names()
	symbols := make([]symbol, len(names))
	for k, name := range names {
		if !validName(name) || g.Links[name] == nil {
			return symbol{}, here.wrap(fmt.Errorf("%q cannot be a name, or names nothing", name))
		}
		var err error
		if symbols[k], err = e.object(g.Links[name], here.below(name)); err != nil {
			return symbol{}, err
		}
	}
	var s symbol
	var places []int64
	s.heap, places = e.localHeap(names)
	s.tree = e.symbolTree(symbols, places)
	var m encoded
	m.u64(uint64(s.tree), uint64(s.heap))
	messages, err := e.attributes([]encoded{m.as(messageSymbols, 0)}, g.Attrs)
	if err == nil {
		s.header, _, err = e.header(messages)
	}
	if err != nil {
		return symbol{}, here.wrap(err)
	}
	return s, nil
}

// localHeap writes the names of links (III.D), and says where in the heap each one is.
func (e *encoder) localHeap(names []string) (at int64, places []int64) {
	data := make([]byte, 8) // the empty name
	for _, name := range names {
		places = append(places, int64(len(data)))
		data = append(data, name...)
		data = append(data, make([]byte, 8-len(name)%8)...)
	}
	const noFreeSpace = 1
	where := e.append(data)
	var m encoded
	m.text("HEAP")
	m.u32(0)
	m.u64(uint64(len(data)), noFreeSpace, uint64(where))
	return e.append(m.b), places
}

// child is a node of a B-tree of links: its address, and where in the heap the last of its names is.
type child struct{ at, last int64 }

// symbolTree writes the symbol table nodes of links (III.B), and the B-tree above them (III.A.1).
func (e *encoder) symbolTree(symbols []symbol, places []int64) int64 {
	var children []child
	for from := 0; from < len(symbols); from += 2 * leafK {
		to := min(from+2*leafK, len(symbols))
		var m encoded
		m.text("SNOD\x01\x00")
		m.u16(uint16(to - from))
		for k := from; k < to; k++ {
			m.entry(places[k], symbols[k])
		}
		at := e.reserve(8 + 2*leafK*entrySize)
		copy(e.b[at:], m.b)
		children = append(children, child{at, places[to-1]})
	}
	for level := byte(0); ; level++ {
		children = e.treeLevel(children, level)
		if len(children) == 1 {
			return children[0].at
		}
	}
}

// treeLevel writes the nodes of one level above children, at least one.
func (e *encoder) treeLevel(children []child, level byte) []child {
	const size = 24 + 2*internalK*16 + 8
	count := max(1, (len(children)+2*internalK-1)/(2*internalK))
	first := e.reserve(int64(count) * size) // the nodes lie one behind the other
	var nodes []child
	before := int64(0) // the last name of all nodes before; the empty one at first
	for k := range count {
		own := children[k*2*internalK : min((k+1)*2*internalK, len(children))]
		at := first + int64(k)*size
		left, right := at-size, at+size
		if k == 0 {
			left = undefined
		}
		if k == count-1 {
			right = undefined
		}
		var m encoded
		m.text("TREE")
		m.u8(treeGroup, level)
		m.u16(uint16(len(own)))
		m.u64(uint64(left), uint64(right), uint64(before))
		for _, c := range own {
			m.u64(uint64(c.at), uint64(c.last))
			before = c.last
		}
		copy(e.b[at:], m.b)
		nodes = append(nodes, child{at, before})
	}
	return nodes
}

func (e *encoder) dataset(d *Dataset, here *place) (symbol, error) {
	n := d.Bytes()
	space, err := dataspace(d.Shape, d.Null)
	if err != nil {
		return symbol{}, err
	}
	if n < 0 || d.Type == (Type{}) {
		return symbol{}, fmt.Errorf("a shape %v of %v", d.Shape, d.Type)
	}
	address := int64(undefined)
	if d.Type.variable() {
		references, err := e.references(d.Strings, n)
		if err != nil {
			return symbol{}, err
		}
		if n > 0 {
			address = e.append(references)
		}
	}
	var fill, layout encoded
	fill.u8(2, 2, 2, 1) // version 2, allocated late, written if set, the default
	fill.u32(0)
	layout.u8(3, 1) // version 3, contiguous
	layout.u64(uint64(address), uint64(n))
	messages, err := e.attributes([]encoded{space, {messageDatatype, 1, []byte(d.Type.message)}, fill.as(messageFill, 1), layout.as(messageLayout, 0)}, d.Attrs)
	if err != nil {
		return symbol{}, err
	}
	header, places, err := e.header(messages)
	if err != nil {
		return symbol{}, err
	}
	if n > 0 && !d.Type.variable() {
		e.placed = append(e.placed, placed{dataset: d, here: here, layout: places[3] + 2})
	}
	return symbol{header: header}, nil
}

// attributes adds the messages of attributes to others.
func (e *encoder) attributes(messages []encoded, list Attributes) ([]encoded, error) {
	for k, a := range list {
		m, err := e.attribute(a)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", a.Name, err)
		}
		if list[:k].index(a.Name) >= 0 {
			return nil, fmt.Errorf("a second attribute %q", a.Name)
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// attribute makes an attribute message of version 1.
func (e *encoder) attribute(a Attribute) (encoded, error) {
	v := a.Value
	n := byteSize(v.Type, v.Shape, v.Null)
	space, err := dataspace(v.Shape, v.Null)
	if err != nil {
		return encoded{}, err
	}
	raw := v.Raw
	if v.Type.variable() {
		if raw, err = e.references(v.Strings, n); err != nil {
			return encoded{}, err
		}
	}
	if v.Type == (Type{}) || n != int64(len(raw)) {
		return encoded{}, fmt.Errorf("%d bytes for a shape %v of %v", len(raw), v.Shape, v.Type)
	}
	if a.Name == "" || slices.Contains([]byte(a.Name), 0) {
		return encoded{}, errors.New("this cannot be a name")
	}
	var m encoded
	m.u8(1, 0)
	for _, n := range []int{len(a.Name) + 1, len(v.Type.message), len(space.b)} {
		if n > maxMessage {
			return encoded{}, fmt.Errorf("a part of %d bytes: %w", n, format.ErrLimit)
		}
		m.u16(uint16(n))
	}
	m.text(a.Name)
	m.u8(0)
	m.align()
	m.text(v.Type.message)
	m.align()
	m.b = append(m.b, space.b...)
	m.b = append(m.b, raw...)
	return m.as(messageAttribute, 0), nil
}

// references writes texts to the global heap, and makes what stands for them: n bytes.
func (e *encoder) references(list []string, n int64) ([]byte, error) {
	if n != referenceSize*int64(len(list)) {
		return nil, fmt.Errorf("%d texts for %d references", len(list), n/referenceSize)
	}
	var m encoded
	for _, s := range list {
		if err := e.intern(&m, s); err != nil {
			return nil, err
		}
	}
	return m.b, nil
}
