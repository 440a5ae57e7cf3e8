package hdf5

import (
	"cmp"
	"fmt"
	"slices"
)

// attributes reads the attributes in the header, and those in the heap that the header refers to.
func (f *file) attributes(messages []message) (Attributes, error) {
	var list Attributes
	for _, m := range messages {
		if err := m.check(); err != nil {
			return nil, err
		}
		switch m.kind {
		case messageAttribute:
			a, err := f.attribute(m.cursor)
			if err != nil {
				return nil, err
			}
			list = append(list, a)
		case messageAttributeInfo:
			dense, err := f.denseAttributes(m.cursor)
			if err != nil {
				return nil, err
			}
			list = append(list, dense...)
		}
	}
	seen := map[string]bool{}
	for _, a := range list {
		if seen[a.Name] {
			return nil, corrupt(messages[0].at, "a second attribute %q", a.Name)
		}
		seen[a.Name] = true
	}
	return list, nil
}

// attribute reads an attribute message (IV.A.2.m).
func (f *file) attribute(c *cursor) (Attribute, error) {
	at := c.at
	version, flags := c.u8(), c.u8()
	name, datatype, dataspace := int(c.u16()), int(c.u16()), int(c.u16())
	pad := func(n int) int { return n }
	switch version {
	case 1:
		pad = func(n int) int { return n + -n&7 }
	case 2, 3:
		if flags&3 != 0 {
			c.fail(unsupported(at, "a shared type"))
		}
		c.skip(int(version) - 2) // the name's character set
	default:
		c.fail(unsupported(at, "version %d", version))
	}
	var a Attribute
	a.Name = c.sub(pad(name)).text()
	t, s := c.sub(pad(datatype)), c.sub(pad(dataspace))
	a.Value.Type = t.datatype()
	a.Value.Shape, a.Value.Null = s.dataspace()
	what := fmt.Sprintf("attribute %q", a.Name)
	for _, c := range []*cursor{c, t, s} {
		if err := c.err(what); err != nil {
			return a, err
		}
	}
	if a.Name == "" {
		return a, corrupt(at, "an attribute without a name")
	}
	n := byteSize(a.Value.Type, a.Value.Shape, a.Value.Null)
	if n < 0 || n > int64(c.left()) {
		return a, fmt.Errorf("%s: %w", what, corrupt(c.pos(), "a shape %v of %v, %d bytes remain", a.Value.Shape, a.Value.Type, c.left()))
	}
	raw := c.sub(int(n))
	if !a.Value.Type.variable() {
		a.Value.Raw = raw.b
		return a, nil
	}
	var err error
	if a.Value.Strings, err = f.strings(raw); err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return a, err
}

// denseAttributes reads the attributes that an attribute info message (IV.A.2.v) says are in a heap, in the order in which
// they were made where the file knows it, else by name.
func (f *file) denseAttributes(m *cursor) (Attributes, error) {
	h, names, err := f.dense(m, "attribute info", 2)
	if h == nil {
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
	slices.SortFunc(list, func(a, b made) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Name, b.Name)) })
	var attributes Attributes
	for _, a := range list {
		attributes = append(attributes, a.Attribute)
	}
	return attributes, err
}
