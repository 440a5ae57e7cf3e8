package hdf5

import (
	"fmt"
	"io"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// dataset reads what the messages of a dataset's header say.
func (f *file) dataset(at int64, messages []message) (*Dataset, error) {
	var space, kind, layout, filters *cursor
	var fill []byte
	for _, m := range messages {
		switch m.kind {
		case messageDataspace:
			space = m.cursor
		case messageDatatype:
			kind = m.cursor
		case messageLayout:
			layout = m.cursor
		case messageFilters:
			filters = m.cursor
		case messageFill, messageFillOld:
			fill = m.fillValue(m.kind == messageFillOld)
			if err := m.err("fill value"); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case kind != nil && space == nil && layout == nil:
		return nil, unsupported(at, "a named datatype")
	case kind == nil || space == nil || layout == nil:
		return nil, corrupt(at, "neither a group nor a dataset")
	}
	d := &Dataset{Type: kind.datatype()}
	if err := kind.err("datatype"); err != nil {
		return nil, err
	}
	d.Shape, d.Null = space.dataspace()
	if err := space.err("dataspace"); err != nil {
		return nil, err
	}
	if d.Bytes() < 0 {
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
	if d.Type.variable() {
		d.Strings, err = f.texts(at, d)
		d.Data = nil
	}
	return d, err
}

// texts reads the elements of a dataset of text of variable length.
func (f *file) texts(at int64, d *Dataset) ([]string, error) {
	n := d.Bytes()
	if n == 0 {
		return nil, nil
	}
	if err := f.charge(at, n); err != nil {
		return nil, err
	}
	references := make([]byte, n)
	if err := readFull(d.Data, references, 0); err != nil {
		return nil, err
	}
	return f.strings(&cursor{b: references, at: at})
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
			return &unwritten{fill, n}, f.inflated(at, n)
		case from < 0 || size < n || n > f.size-from:
			return nil, corrupt(at, "%d bytes of elements at byte %d for a shape %v of %v, the file has %d", size, from, d.Shape, d.Type, f.size)
		}
		return io.NewSectionReader(f.r, from, n), nil
	case 2: // chunked
		if version == 4 {
			return nil, unsupported(at, "chunks with an index of HDF5 1.10: rewrite the file with h5repack -l CONTI")
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

// unwritten are the elements of a dataset that were never written: size bytes of its fill value.
type unwritten struct {
	value []byte
	size  int64
}

func (u *unwritten) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= u.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), u.size-off))
	repeat(p[:n], u.value, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// repeat fills p with an endlessly repeated pattern from offset off on.
func repeat(p, pattern []byte, off int64) {
	at := int(off % int64(len(pattern)))
	for k := range p {
		p[k] = pattern[at]
		if at++; at == len(pattern) {
			at = 0
		}
	}
}
