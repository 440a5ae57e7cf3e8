package hdf5

import (
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Floats are the dataset's elements as numbers of a floating-point type, little endian, converted as NumPy converts them:
// to the nearest one, to infinity what is too large. The result is false if the dataset does not hold floating-point
// numbers.
func (d *Dataset) Floats(as tensor.DType) (io.ReaderAt, bool) {
	from, bigEndian := d.Type.number()
	switch {
	case !from.Float() || !as.Float() || d.Data == nil || d.Type.class() != classFloat:
		return nil, false
	case from == as && !bigEndian:
		return d.Data, true
	}
	return &floats{d.Data, d.Type, from, bigEndian, as}, true
}

// floats are the elements of a dataset as numbers of another type or byte order.
type floats struct {
	data      io.ReaderAt
	typ       Type
	from      tensor.DType
	bigEndian bool
	as        tensor.DType
}

// maxConverted is how many elements are converted at a time.
const maxConverted = 16 << 10

func (f *floats) ReadAt(p []byte, off int64) (n int, err error) {
	size, stored := int64(f.as.Size()), int64(f.from.Size())
	for n < len(p) && err == nil {
		at := off + int64(n)
		first := at / size
		count := min((at+int64(len(p)-n)+size-1)/size-first, maxConverted)
		raw := make([]byte, count*stored)
		var got int
		if got, err = f.data.ReadAt(raw, first*stored); int64(got) == count*stored {
			err = nil
		}
		out, failed := converted(raw[:int64(got)/stored*stored], f.from, f.bigEndian, f.as, false)
		if failed != nil {
			return n, failed
		}
		if skip := at - first*size; skip < int64(len(out)) {
			n += copy(p[n:], out[skip:])
		}
	}
	return n, err
}

// converted are elements of the type from as elements of the type as; big and asBig say which are big endian.
func converted(raw []byte, from tensor.DType, big bool, as tensor.DType, asBig bool) ([]byte, error) {
	raw = slices.Clone(raw)
	if big {
		turn(raw, from.Size())
	}
	values := make([]float64, len(raw)/from.Size())
	if err := tensor.Decode(values, raw, from); err != nil {
		return nil, err
	}
	out := make([]byte, len(values)*as.Size())
	if err := tensor.Encode(out, values, as); err != nil {
		return nil, err
	}
	if asBig {
		turn(out, as.Size())
	}
	return out, nil
}

// turn reverses the bytes of each element.
func turn(raw []byte, size int) {
	for at := 0; at < len(raw); at += size {
		slices.Reverse(raw[at : at+size])
	}
}

// Holds says whether elements of the type hold every number of a floating-point type.
func (t Type) Holds(d tensor.DType) bool {
	own, _ := t.number()
	return own == d || own == tensor.Float64 && d.Float() || own == tensor.Float32 && (d == tensor.Float16 || d == tensor.BFloat16)
}

// Writer is an io.WriterAt for little-endian elements of the type from, which it converts to elements of t and writes to w;
// t has to hold from.
func (t Type) Writer(w io.WriterAt, from tensor.DType) io.WriterAt {
	if own, bigEndian := t.number(); own != from || bigEndian {
		return &writer{w, from, own, bigEndian}
	}
	return w
}

type writer struct {
	w         io.WriterAt
	from, as  tensor.DType
	bigEndian bool
}

func (w *writer) WriteAt(p []byte, off int64) (int, error) {
	size := int64(w.from.Size())
	if off%size != 0 || int64(len(p))%size != 0 {
		return 0, fmt.Errorf("%d bytes at byte %d are no whole elements", len(p), off)
	}
	out, err := converted(p, w.from, false, w.as, w.bigEndian)
	if err != nil {
		return 0, err
	}
	if n, err := w.w.WriteAt(out, off/size*int64(w.as.Size())); err != nil {
		return n / w.as.Size() * int(size), err
	}
	return len(p), nil
}
