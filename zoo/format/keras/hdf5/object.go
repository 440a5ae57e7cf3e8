package hdf5

import (
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// link is a name in a group, and the address of the header of the object that it names.
type link struct {
	name string
	at   int64
}

// place is where an object is in the tree, for errors.
type place struct {
	group *place // nil for the root
	name  string
	depth int
}

func (p *place) String() string {
	if p.group == nil {
		return "/"
	}
	if p.group.group == nil {
		return "/" + p.name
	}
	return p.group.String() + "/" + p.name
}

func (p *place) below(name string) *place { return &place{p, name, p.depth + 1} }

// wrap says where an error is.
func (p *place) wrap(err error) error { return fmt.Errorf("%s: %w", p, err) }

// object reads the object whose header is at that address, and all below it.
func (f *file) object(at int64, here *place) (Object, error) {
	if o, ok := f.known[at]; ok {
		if o == nil {
			return nil, here.wrap(unsupported(at, "a group that contains itself"))
		}
		return o, nil
	}
	if here.depth > maxDepth {
		return nil, here.wrap(limited(at, "more than %d groups within each other", maxDepth))
	}
	f.known[at] = nil
	messages, err := f.header(at)
	if err != nil {
		return nil, here.wrap(err)
	}
	attributes, err := f.attributes(messages)
	if err != nil {
		return nil, here.wrap(err)
	}
	isGroup := slices.ContainsFunc(messages, func(m message) bool {
		return slices.Contains([]uint16{messageSymbols, messageLinkInfo, messageLink, messageGroupInfo}, m.kind)
	})
	if !isGroup {
		d, err := f.dataset(at, messages)
		if err != nil {
			return nil, here.wrap(err)
		}
		d.Attrs = attributes
		f.known[at] = d
		return d, nil
	}
	links, err := f.links(messages)
	if err != nil {
		return nil, here.wrap(err)
	}
	g := &Group{Attrs: attributes, Links: make(map[string]Object, len(links))}
	for _, l := range links {
		if !validName(l.name) || g.Links[l.name] != nil {
			return nil, here.wrap(corrupt(at, "a second link %q, or one that cannot be", l.name))
		}
		if g.Links[l.name], err = f.object(l.at, here.below(l.name)); err != nil {
			return nil, err
		}
	}
	f.known[at] = g
	return g, nil
}

// attributes reads those in the header, and those that it says are in a heap.
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

// dataset reads what the messages of a dataset's header say.
func (f *file) dataset(at int64, messages []message) (*Dataset, error) {
	d := &Dataset{}
	var layout, filters *cursor
	var fill []byte
	seen := 0
	for _, m := range messages {
		what := ""
		switch m.kind {
		case messageDataspace:
			d.Shape, d.Null = m.dataspace()
			what = "dataspace"
			seen |= 1
		case messageDatatype:
			d.Type = m.datatype()
			what = "datatype"
			seen |= 2
		case messageLayout:
			layout = m.cursor
			seen |= 4
		case messageFilters:
			filters = m.cursor
		case messageFill, messageFillOld:
			fill = m.fillValue(m.kind == messageFillOld)
			what = "fill value"
		}
		if err := m.err(what); err != nil {
			return nil, err
		}
	}
	switch seen {
	case 7:
	case 2:
		return nil, unsupported(at, "a named datatype")
	default:
		return nil, corrupt(at, "neither a group nor a dataset")
	}
	n := d.Bytes()
	if n < 0 {
		return nil, corrupt(at, "a shape %v of %v", d.Shape, d.Type)
	}
	if len(fill) == 0 {
		fill = []byte{0}
	} else if len(fill) != d.Type.Size() {
		return nil, corrupt(at, "a fill value of %d bytes for %v", len(fill), d.Type)
	}
	var err error
	if d.Data, err = f.layout(layout, filters, d, fill); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	if d.Type.variable() && !d.Null {
		if err := f.charge(at, n); err != nil {
			return nil, err
		}
		raw := make([]byte, n)
		if n > 0 {
			if err := readFull(d.Data, raw, 0); err != nil {
				return nil, err
			}
		}
		d.Data = nil
		if d.Strings, err = f.strings(&cursor{b: raw, at: at}); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// fillValue is what elements are that were never written (IV.A.2.e, f); none stands for zero.
func (c *cursor) fillValue(old bool) []byte {
	at := c.pos()
	defined := old
	if !old {
		switch version := c.u8(); version {
		case 1, 2:
			c.skip(2)
			defined = c.u8() > 0
		case 3:
			defined = c.u8()&0x20 != 0
		default:
			c.fail(unsupported(at, "version %d", version))
		}
	}
	if !defined {
		return nil
	}
	return c.bytes(int(c.u32()))
}

// layout finds a dataset's elements (IV.A.2.i).
func (f *file) layout(c, filters *cursor, d *Dataset, fill []byte) (io.ReaderAt, error) {
	at, n := c.pos(), d.Bytes()
	version, class := c.u8(), c.u8()
	if err := c.err("header"); err != nil {
		return nil, err
	}
	if version != 3 && version != 4 {
		return nil, unsupported(at, "version %d", version)
	}
	switch class {
	case 0: // compact
		raw := c.bytes(int(c.u16()))
		if c.wrong == nil && int64(len(raw)) < n {
			return nil, corrupt(at, "%d bytes of elements for a shape %v of %v", len(raw), d.Shape, d.Type)
		}
		if err := c.err("compact"); err != nil {
			return nil, err
		}
		return tensor.Buffer(raw[:n]), nil
	case 1: // contiguous
		from, size := c.address(), c.length()
		switch err := c.err("contiguous"); {
		case err != nil:
			return nil, err
		case n == 0:
			return nil, nil
		case from == undefined:
			return repeated(fill), f.inflated(at, n)
		case from < 0 || size < n || n > f.size-from:
			return nil, corrupt(at, "%d bytes of elements at byte %d for a shape %v of %v, the file has %d", size, from, d.Shape, d.Type, f.size)
		}
		return io.NewSectionReader(f.r, from, n), nil
	case 2: // chunked
		if version == 4 {
			return nil, unsupported(at, "chunks with an index of HDF5 1.10: rewrite the file with h5repack --high=1")
		}
		if err := f.inflated(at, n); err != nil || n == 0 {
			return nil, err
		}
		return f.chunks(c, filters, d, fill)
	}
	return nil, unsupported(at, "class %d (virtual or unknown)", class)
}

// inflated bounds the elements that are not in the file one by one.
func (f *file) inflated(at, n int64) error {
	if n/maxInflate > f.size {
		return limited(at, "%d bytes of elements in a file of %d bytes", n, f.size)
	}
	return nil
}

// repeated is a pattern over and over.
type repeated []byte

func (r repeated) ReadAt(p []byte, off int64) (int, error) {
	for k := range p {
		p[k] = r[(off+int64(k))%int64(len(r))]
	}
	return len(p), nil
}
