package hdf5

// The kinds of version 1 B-trees.
const (
	treeGroup = 0
	treeChunk = 1
)

// btree1 calls leaf for each child of the leaves of a version 1 B-tree (III.A.1), with the key before it. The level is
// that at which the node has to be, or -1.
func (f *file) btree1(at int64, kind byte, keySize int64, level int, leaf func(key *cursor, child int64) error) error {
	const head = 24
	c, err := f.block(at, head)
	if err != nil {
		return err
	}
	c.magic("TREE")
	gotKind, gotLevel, count := c.u8(), int(c.u8()), int64(c.u16())
	if err := c.err("B-tree"); err != nil {
		return err
	}
	if gotKind != kind || level >= 0 && gotLevel != level || gotLevel > maxDepth {
		return corrupt(at, "a B-tree of kind %d at level %d", gotKind, gotLevel)
	}
	if c, err = f.block(at+head, count*(keySize+8)); err != nil {
		return err
	}
	for range count {
		key, child := c.sub(int(keySize)), c.address()
		if gotLevel > 0 {
			err = f.btree1(child, kind, keySize, gotLevel-1, leaf)
		} else {
			err = leaf(key, child)
		}
		if err != nil {
			return err
		}
	}
	return nil
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

// sizes computes the widths of the fields that hold numbers of records: as many bytes as the largest possible number needs.
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
