package hdf5

import (
	"cmp"
	"slices"
)

// link reads a link message (IV.A.2.g).
func (c *cursor) link() (link, error) {
	at := c.pos()
	c.version(1)
	flags := c.u8()
	kind := byte(0)
	if flags&0x08 != 0 {
		kind = c.u8()
	}
	if flags&0x04 != 0 {
		c.skip(8) // when it was made
	}
	if flags&0x10 != 0 {
		c.skip(1) // the name's character set
	}
	size := c.uint(1 << (flags & 3))
	l := link{name: string(c.bytes(int(min(size, maxMetadata))))}
	if kind != 0 && c.wrong == nil {
		return l, softLink(at, l.name)
	}
	l.at = c.address()
	return l, c.err("link")
}

// denseLinks reads the links that a link info message (IV.A.2.c) says are in a heap.
func (f *file) denseLinks(m *cursor) ([]link, error) {
	m.version(0)
	if m.u8()&1 != 0 {
		m.skip(8) // of the last link made
	}
	heap, names := m.address(), m.address()
	if err := m.err("link info"); err != nil || heap == undefined {
		return nil, err
	}
	h, err := f.fractalHeap(heap)
	if err != nil {
		return nil, err
	}
	var list []link
	err = f.btree2(names, treeLinks, func(record *cursor) error {
		record.skip(4) // the name's hash
		c, err := h.object(record)
		if err != nil {
			return err
		}
		l, err := c.link()
		list = append(list, l)
		return err
	})
	return list, err
}

// denseAttributes reads the attributes that an attribute info message (IV.A.2.v) says are in a heap, in the order in which
// they were made.
func (f *file) denseAttributes(m *cursor) (Attributes, error) {
	m.version(0)
	if m.u8()&1 != 0 {
		m.skip(2) // of the last attribute made
	}
	heap, names := m.address(), m.address()
	if err := m.err("attribute info"); err != nil || heap == undefined {
		return nil, err
	}
	h, err := f.fractalHeap(heap)
	if err != nil {
		return nil, err
	}
	type made struct {
		order uint32
		Attribute
	}
	var list []made
	err = f.btree2(names, treeAttributes, func(record *cursor) error {
		c, err := h.object(record.sub(8))
		if err != nil {
			return err
		}
		if flags := record.u8(); flags&flagShared != 0 {
			return unsupported(record.at, "a shared attribute")
		}
		order := record.u32()
		if err := record.err("attribute"); err != nil {
			return err
		}
		a, err := f.attribute(c)
		list = append(list, made{order, a})
		return err
	})
	slices.SortStableFunc(list, func(a, b made) int { return cmp.Compare(a.order, b.order) })
	var attributes Attributes
	for _, a := range list {
		attributes = append(attributes, a.Attribute)
	}
	return attributes, err
}

// The kinds of version 2 B-trees that are read.
const (
	treeHuge       = 1
	treeLinks      = 5
	treeAttributes = 8
)

// tree2 is what the header of a version 2 B-tree says (III.A.2).
type tree2 struct {
	*file
	kind       byte
	nodeSize   int64
	recordSize int64
	pointers   []int // by level: the bytes of a number of records in all of a child
	count      int   // the bytes of a number of records in a child
	each       func(record *cursor) error
}

// btree2 calls each for every record of a version 2 B-tree.
func (f *file) btree2(at int64, kind byte, each func(record *cursor) error) error {
	const size = 38
	c, err := f.block(at, size)
	if err != nil {
		return err
	}
	c.magic("BTHD")
	c.version(0)
	t := &tree2{file: f, kind: c.u8(), nodeSize: int64(c.u32()), recordSize: int64(c.u16()), each: each}
	depth := int(c.u16())
	c.skip(2) // when nodes are split and merged
	root, records := c.address(), int64(c.u16())
	c.skip(8)
	c.checksum()
	if err := c.err("B-tree"); err != nil {
		return err
	}
	if t.kind != kind || t.recordSize == 0 || t.nodeSize > f.size || depth > maxDepth {
		return corrupt(at, "a B-tree of kind %d, depth %d, nodes of %d bytes, records of %d", t.kind, depth, t.nodeSize, t.recordSize)
	}
	if root == undefined {
		return nil
	}
	t.sizes(depth)
	return t.node(root, records, depth)
}

// sizes computes how many bytes numbers of records have: as many as the largest number needs that a node could hold.
func (t *tree2) sizes(depth int) {
	const frame = 10 // signature, version, kind, checksum
	most := max(0, t.nodeSize-frame) / t.recordSize
	t.count = bytesFor(uint64(most))
	t.pointers = []int{0}
	all := uint64(most) // in a node and all below it
	for level := 1; level <= depth; level++ {
		pointer := int64(8 + t.count + t.pointers[level-1])
		most = max(0, t.nodeSize-frame-pointer) / (t.recordSize + pointer)
		all = uint64(most+1)*all + uint64(most)
		t.pointers = append(t.pointers, bytesFor(all))
	}
}

// bytesFor is the number of bytes that a number up to limit needs.
func bytesFor(limit uint64) int {
	n := 1
	for limit >>= 8; limit > 0; limit >>= 8 {
		n++
	}
	return n
}

// node reads a node with that many records, and all below it.
func (t *tree2) node(at, records int64, level int) error {
	if records < 0 || records > t.nodeSize {
		return corrupt(at, "%d records in a node of %d bytes", records, t.nodeSize)
	}
	magic, pointer := "BTLF", int64(0)
	size := 10 + records*t.recordSize
	if level > 0 {
		magic, pointer = "BTIN", int64(8+t.count+t.pointers[level-1])
		size += (records + 1) * pointer
	}
	c, err := t.block(at, size)
	if err != nil {
		return err
	}
	c.magic(magic)
	c.version(0)
	kind := c.u8()
	keys, children := c.sub(int(records*t.recordSize)), c.sub(int(size-10-records*t.recordSize))
	c.checksum()
	if err := c.err("B-tree"); err != nil {
		return err
	}
	if kind != t.kind {
		return corrupt(at, "a node of kind %d in a B-tree of kind %d", kind, t.kind)
	}
	for k := int64(0); ; k++ {
		if level > 0 {
			child := children.address()
			below := int64(children.uint(t.count))
			children.skip(t.pointers[level-1])
			if err := t.node(child, below, level-1); err != nil {
				return err
			}
		}
		if k == records {
			return nil
		}
		if err := t.each(keys.sub(int(t.recordSize))); err != nil {
			return err
		}
	}
}
