// Package tensor defines element types, the layouts in which weights store their channels, and the two operations of
// folding on stored weights: to multiply every element by the scale of its channel (Rescale), and to sum such products up
// (Sum). A Backend performs them.
package tensor

import (
	"context"
	"fmt"
	"io"
	"math"
)

// DType is an element type, numbered as ONNX's TensorProto.DataType.
type DType uint8

// The element types, with ONNX's numbers.
const (
	Undefined  DType = 0
	Float32    DType = 1
	Uint8      DType = 2
	Int8       DType = 3
	Uint16     DType = 4
	Int16      DType = 5
	Int32      DType = 6
	Int64      DType = 7
	String     DType = 8
	Bool       DType = 9
	Float16    DType = 10
	Float64    DType = 11
	Uint32     DType = 12
	Uint64     DType = 13
	Complex64  DType = 14
	Complex128 DType = 15
	BFloat16   DType = 16
)

var dtypes = [...]struct {
	name string
	size int
}{
	Float32: {"float32", 4}, Float64: {"float64", 8}, Float16: {"float16", 2}, BFloat16: {"bfloat16", 2},
	Int8: {"int8", 1}, Uint8: {"uint8", 1}, Int16: {"int16", 2}, Uint16: {"uint16", 2},
	Int32: {"int32", 4}, Uint32: {"uint32", 4}, Int64: {"int64", 8}, Uint64: {"uint64", 8},
	Bool: {"bool", 1}, String: {"string", 0}, Complex64: {"complex64", 8}, Complex128: {"complex128", 16},
}

// Size is the number of bytes of one element; 0 for types without a fixed whole number of bytes.
func (d DType) Size() int {
	if int(d) < len(dtypes) {
		return dtypes[d].size
	}
	return 0
}

// Float says whether weights of this type can be rescaled: float64, float32, float16 and bfloat16.
func (d DType) Float() bool {
	return d == Float32 || d == Float64 || d == Float16 || d == BFloat16
}

// Unit is the unit roundoff of a floating-point type: half the distance from 1 to the next number. It is 0 for others.
func (d DType) Unit() float64 {
	switch d {
	case Float64:
		return 0x1p-53
	case Float32:
		return 0x1p-24
	case Float16:
		return 0x1p-11
	case BFloat16:
		return 0x1p-8
	}
	return 0
}

func (d DType) String() string {
	if int(d) < len(dtypes) && d != Undefined {
		return dtypes[d].name
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// SmallestNormal is the least positive number of a floating-point type that is not subnormal; 0 for other types.
func (d DType) SmallestNormal() float64 {
	switch d {
	case Float64:
		return 0x1p-1022
	case Float32, BFloat16:
		return 0x1p-126
	case Float16:
		return 0x1p-14
	}
	return 0
}

// Elements is the number of elements of a tensor of that shape, and false where a dimension is negative or the number
// exceeds 2^62.
func Elements(shape []int64) (int64, bool) {
	n, empty := int64(1), false
	for _, d := range shape {
		if d < 0 {
			return 0, false
		}
		empty = empty || d == 0
	}
	if empty { // regardless of the other extents
		return 0, true
	}
	for _, d := range shape {
		if n > (1<<62)/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// Layout says how a contiguous tensor's elements belong to channels: it is read as [Blocks, Outer, Channels, Inner], and
// element (b, o, c, i) belongs to channel b·Channels + c. Blocks is 1 except for grouped operators.
type Layout struct {
	Blocks, Outer, Channels, Inner int64
}

// AxisLayout is the layout of a tensor of that shape whose channels are its axis, counted from 0. An axis that the shape
// does not have gives the zero Layout, which fits no tensor that has elements.
func AxisLayout(shape []int64, axis int) Layout {
	if axis < 0 || axis >= len(shape) {
		return Layout{}
	}
	l := Layout{Blocks: 1, Outer: 1, Channels: shape[axis], Inner: 1}
	for k, d := range shape {
		switch {
		case k < axis:
			l.Outer *= d
		case k > axis:
			l.Inner *= d
		}
	}
	return l
}

// Elements is the number of elements that the layout covers, where that is less than 2^63.
func (l Layout) Elements() int64 { return l.Blocks * l.Outer * l.Channels * l.Inner }

// Channel is the channel to which element e of those that the layout covers belongs.
func (l Layout) Channel(e int64) int64 {
	return e/(l.Outer*l.Channels*l.Inner)*l.Channels + e/l.Inner%l.Channels
}

// Factor is one scale for each channel of a layout; len(Scale) = Blocks·Channels.
type Factor struct {
	Layout
	Scale []float64
}

// Rescale describes one tensor's new values: W' = round(W·s), where s is the float64 product of the factors' scales of
// the element's channels, taken in order. The product with W is one float64 multiplication, followed by one rounding to
// nearest even to the storage type. Every NaN result is the type's canonical quiet NaN; subnormals are kept.
type Rescale struct {
	DType    DType
	Elements int64
	Factors  []Factor
}

// Scale is the float64 product of the factors for element e.
func (r *Rescale) Scale(e int64) float64 {
	s := 1.0
	for _, f := range r.Factors {
		s *= f.Scale[f.Channel(e)]
	}
	return s
}

// Check says what is wrong with a job, or nil: a type that cannot be rescaled, a size that no file has, or a factor whose
// layout or number of scales does not fit the tensor.
func (r *Rescale) Check() error {
	if !r.DType.Float() {
		return fmt.Errorf("rescale: %v cannot be rescaled, only floating-point types can", r.DType)
	}
	if r.Elements < 0 || r.Elements > math.MaxInt64/int64(r.DType.Size()) {
		return fmt.Errorf("rescale: %d elements of %v: not a size in bytes", r.Elements, r.DType)
	}
	for k, f := range r.Factors {
		covered, ok := Elements([]int64{f.Blocks, f.Outer, f.Channels, f.Inner})
		channels, fit := Elements([]int64{f.Blocks, f.Channels})
		if !ok || covered != r.Elements || !fit || int64(len(f.Scale)) != channels {
			return fmt.Errorf("rescale: factor %d has layout %+v and %d scales for a tensor of %d elements",
				k, f.Layout, len(f.Scale), r.Elements)
		}
	}
	return nil
}

// Tally counts exceptional elements of a rescale. First* are the lowest element indices of each kind, -1 where there is
// none.
type Tally struct {
	NonFinite, FirstNonFinite int64 // NaN or infinite before
	Overflow, FirstOverflow   int64 // finite before, infinite or NaN after
	Subnormal, FirstSubnormal int64 // normal before, subnormal or zero after although the scale is not zero
}

// NewTally is the tally of no elements.
func NewTally() Tally {
	return Tally{FirstNonFinite: -1, FirstOverflow: -1, FirstSubnormal: -1}
}

// Count adds element e of type d, whose value was before, is after, and was multiplied by scale.
func (t *Tally) Count(e int64, before, after, scale float64, d DType) {
	one := NewTally()
	switch {
	case math.IsNaN(before) || math.IsInf(before, 0):
		one.NonFinite, one.FirstNonFinite = 1, e
	case math.IsNaN(after) || math.IsInf(after, 0):
		one.Overflow, one.FirstOverflow = 1, e
	case scale != 0 && math.Abs(before) >= d.SmallestNormal() && math.Abs(after) < d.SmallestNormal():
		one.Subnormal, one.FirstSubnormal = 1, e
	default:
		return
	}
	t.Add(one)
}

// Add joins the tally of other elements of the same tensor.
func (t *Tally) Add(o Tally) {
	t.NonFinite, t.FirstNonFinite = t.NonFinite+o.NonFinite, first(t.FirstNonFinite, o.FirstNonFinite)
	t.Overflow, t.FirstOverflow = t.Overflow+o.Overflow, first(t.FirstOverflow, o.FirstOverflow)
	t.Subnormal, t.FirstSubnormal = t.Subnormal+o.Subnormal, first(t.FirstSubnormal, o.FirstSubnormal)
}

func first(a, b int64) int64 {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// Backend rescales tensors and sums them up. All backends give the same bits for the same job.
type Backend interface {
	// Name describes the backend, for the report: "cpu, 8 workers", "cuda: NVIDIA H100".
	Name() string
	// Rescale reads the job's elements from src (little endian, contiguous, from offset 0), and writes their new values
	// to dst at the same offsets, in chunks of bounded size and in any order, each byte once. It may use several
	// goroutines: src and dst must allow that, as files do. They may be the same file: no byte is read after it was
	// written. On error part of dst may have been written, and the tally is that of no elements; the error says at which
	// byte, and wraps the cause: that of src or dst, io.ErrUnexpectedEOF where src is too short, or ctx's. Concurrent calls
	// are independent of each other.
	Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *Rescale) (Tally, error)
	// Sum reads the job's elements from src, in chunks of bounded size, and returns the sum of each channel. The error is as
	// Rescale's.
	Sum(ctx context.Context, src io.ReaderAt, job *Sum) ([]float64, error)
}

// Noter is a Backend that may have notes for the end of a run: that a device failed, for example.
type Noter interface {
	Backend
	// Notes are whole sentences without a full stop. It may be called at any time.
	Notes() []string
}

// Closer is a Backend that holds a device.
type Closer interface {
	Backend
	// Close releases the device. No call may be running or follow.
	Close()
}
