package hdf5

import (
	"bytes"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// big is a floating-point type whose bytes are in the other order.
func big(d tensor.DType) Type {
	b := []byte(numbers[d].message)
	b[1] |= 1
	return Type{string(b)}
}

func TestConvert_FloatsOfOtherTypesAndByteOrders(t *testing.T) {
	values := make([]float64, 3*maxConverted/2+5)
	for k := range values {
		values[k] = float64(k%2049-1024) / 8 // a half holds these
	}
	values[1], values[2] = math.Inf(1), math.Copysign(0, -1)
	encoded := func(d tensor.DType, order bool) []byte {
		raw := make([]byte, len(values)*d.Size())
		if err := tensor.Encode(raw, values, d); err != nil {
			t.Fatal(err)
		}
		if order {
			turn(raw, d.Size())
		}
		return raw
	}
	all := []tensor.DType{tensor.Float16, tensor.Float32, tensor.Float64}
	for _, from := range all {
		for _, as := range all {
			for _, order := range []bool{false, true} {
				typ := TypeOf(from)
				if order {
					typ = big(from)
				}
				raw, want := encoded(from, order), encoded(as, false)
				d := &Dataset{Type: typ, Shape: []int64{int64(len(values))}, Data: bytes.NewReader(raw)}
				r, ok := d.Floats(as)
				if !ok {
					t.Fatalf("%v as %v", typ, as)
				}
				got := make([]byte, len(want))
				if n, err := r.ReadAt(got, 0); n != len(want) || err != nil && err != io.EOF || !bytes.Equal(got, want) {
					t.Errorf("%v as %v: %d bytes of %d, %v", typ, as, n, len(want), err)
				}
				for _, at := range []int{1, 7, len(want) - 9} { // in the middle of an element
					part := make([]byte, 8)
					if n, err := r.ReadAt(part, int64(at)); n != 8 || err != nil && err != io.EOF || !bytes.Equal(part, want[at:at+8]) {
						t.Errorf("%v as %v, byte %d: %d, %v", typ, as, at, n, err)
					}
				}
				if n, err := r.ReadAt(make([]byte, 8), int64(len(want)-3)); n != 3 || err != io.EOF {
					t.Errorf("%v as %v, at the end: %d, %v", typ, as, n, err)
				}
				if !typ.Holds(as) {
					continue
				}
				back := make(tensor.Buffer, len(raw))
				w := typ.Writer(back, as)
				half := len(want) / 2 / as.Size() * as.Size()
				for _, at := range [][2]int{{half, len(want)}, {0, half}} {
					if n, err := w.WriteAt(want[at[0]:at[1]], int64(at[0])); n != at[1]-at[0] || err != nil {
						t.Errorf("%v from %v: %d, %v", typ, as, n, err)
					}
				}
				if !slices.Equal(back, raw) {
					t.Errorf("%v from %v: other bytes", typ, as)
				}
			}
		}
	}
	for _, d := range []*Dataset{{Type: TypeOf(tensor.Int32), Data: bytes.NewReader(nil)}, {Type: TypeOf(tensor.Float32)}} {
		if _, ok := d.Floats(tensor.Float32); ok {
			t.Errorf("%v are floats", d.Type)
		}
	}
	if TypeOf(tensor.Float16).Holds(tensor.Float32) || TypeOf(tensor.Float32).Holds(tensor.Float64) || !big(tensor.Float64).Holds(tensor.Float32) {
		t.Error("which types hold which numbers is wrong")
	}
}
