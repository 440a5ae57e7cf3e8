package hdf5

// links reads a group's links, in whichever way the group keeps them.
func (f *file) links(messages []message) ([]link, error) {
	var list []link
	for _, m := range messages {
		var more []link
		var err error
		switch m.kind {
		case messageSymbols:
			more, err = f.symbolTable(m.cursor)
		case messageLink:
			var l link
			l, err = m.link()
			more = []link{l}
		case messageLinkInfo:
			more, err = f.denseLinks(m.cursor)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// symbolTable reads the links of an old group: a B-tree of symbol table nodes, whose names are in a local heap.
func (f *file) symbolTable(m *cursor) ([]link, error) {
	tree, heap := m.address(), m.address()
	if err := m.err("symbol table"); err != nil {
		return nil, err
	}
	names, err := f.localHeap(heap)
	if err != nil {
		return nil, err
	}
	var list []link
	err = f.btree1(tree, treeGroup, 8, -1, func(_ *cursor, at int64) error {
		node, err := f.symbols(at, names)
		list = append(list, node...)
		return err
	})
	return list, err
}

// localHeap reads the names of a group's links (III.D).
func (f *file) localHeap(at int64) (*cursor, error) {
	c, err := f.block(at, 32)
	if err != nil {
		return nil, err
	}
	c.magic("HEAP")
	c.version(0)
	c.skip(3)
	size := c.length()
	c.skip(8) // free space
	data := c.address()
	if err := c.err("local heap"); err != nil {
		return nil, err
	}
	return f.block(data, size)
}

// symbols reads one symbol table node (III.B, III.C).
func (f *file) symbols(at int64, names *cursor) ([]link, error) {
	c, err := f.block(at, 8)
	if err != nil {
		return nil, err
	}
	c.magic("SNOD")
	c.version(1)
	c.skip(1)
	count := int64(c.u16())
	if err := c.err("symbol table node"); err != nil {
		return nil, err
	}
	if c, err = f.block(at+8, 40*count); err != nil {
		return nil, err
	}
	list := make([]link, count)
	for k := range list {
		offset, header, kind := c.length(), c.address(), c.u32()
		c.skip(4 + 16)
		if offset > int64(len(names.b)) {
			return nil, corrupt(c.pos(), "a name at byte %d of %d", offset, len(names.b))
		}
		names.off = int(offset)
		list[k] = link{names.text(), header}
		if err := names.err("local heap"); err != nil {
			return nil, err
		}
		if err := f.charge(c.pos(), int64(len(list[k].name))); err != nil { // names may overlap
			return nil, err
		}
		if kind == 2 {
			return nil, softLink(c.pos(), list[k].name)
		}
	}
	return list, c.err("symbol table node")
}

func softLink(at int64, name string) error {
	return unsupported(at, "%q is a link to a path or into another file", name)
}

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
