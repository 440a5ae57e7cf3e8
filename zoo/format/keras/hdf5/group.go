package hdf5

// link is a name in a group, and the address of the header of the object that it names.
type link struct {
	name string
	at   int64
}

// links reads a group's links, in any of the forms in which a group stores them.
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
	h, names, err := f.dense(m, "link info", 8)
	if h == nil {
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

// dense reads an info message up to the heap that it names, and the tree of names in it; nil where there is none. The number
// of the last object made, where it is there, has so many bytes.
func (f *file) dense(m *cursor, what string, number int) (h *fractalHeap, names int64, err error) {
	m.version(0)
	if m.u8()&1 != 0 {
		m.skip(number)
	}
	heap, names := m.address(), m.address()
	if err := m.err(what); err != nil || heap == undefined {
		return nil, 0, err
	}
	h, err = f.fractalHeap(heap)
	return h, names, err
}

func softLink(at int64, name string) error {
	return unsupported(at, "%q is a link to a path or into another file", name)
}
