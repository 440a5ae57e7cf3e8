package cpu

import (
	"encoding/binary"
	"math"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// multiply rescales in place the elements that data holds, the first of which is the tensor's element first.
func multiply(data []byte, job *tensor.Rescale, first int64, s *scales, t *tensor.Tally) {
	size := job.DType.Size()
	s.start()
	for e := first; len(data) > 0; {
		n := min(tile, len(data)/size)
		scale := s.at(job.Factors, e, n)
		switch part := data[:n*size]; job.DType {
		case tensor.Float64:
			float64s(part, scale, e, t)
		case tensor.Float32:
			float32s(part, scale, e, t)
		case tensor.Float16:
			float16s(part, scale, e, t)
		case tensor.BFloat16:
			bfloat16s(part, scale, e, t)
		}
		data, e = data[n*size:], e+int64(n)
	}
}

// The four loops below differ in type only. A product whose exponent field is neither 0 nor all ones came from a finite
// element and needs no count, so one comparison finds the rest; a zero that stays zero is common (pruned weights) and
// passes as if it were normal, without a branch that would be mispredicted.

func float64s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[8*k:][:8]
		in := binary.LittleEndian.Uint64(p)
		out := math.Float64bits(math.Float64frombits(in) * s)
		if m := magnitude(in<<1, out<<1, 1<<53); m-1<<53 >= 0x7fe<<53 {
			out = binary64.note(in, out, s, e+int64(k), t)
		}
		binary.LittleEndian.PutUint64(p, out)
	}
}

func float32s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[4*k:][:4]
		in := binary.LittleEndian.Uint32(p)
		out := math.Float32bits(float32(float64(math.Float32frombits(in)) * s))
		if m := magnitude(in<<1, out<<1, 1<<24); m-1<<24 >= 0xfe<<24 {
			out = uint32(binary32.note(uint64(in), uint64(out), s, e+int64(k), t))
		}
		binary.LittleEndian.PutUint32(p, out)
	}
}

func float16s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[2*k:][:2]
		in := binary.LittleEndian.Uint16(p)
		out := tensor.Float16Bits(tensor.Float16ToFloat64(in) * s)
		if m := magnitude(in<<1, out<<1, 1<<11); m-1<<11 >= 0x1e<<11 {
			out = uint16(binary16.note(uint64(in), uint64(out), s, e+int64(k), t))
		}
		binary.LittleEndian.PutUint16(p, out)
	}
}

func bfloat16s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[2*k:][:2]
		in := binary.LittleEndian.Uint16(p)
		out := tensor.BFloat16Bits(float64(math.Float32frombits(uint32(in)<<16)) * s)
		if m := magnitude(in<<1, out<<1, 1<<8); m-1<<8 >= 0xfe<<8 {
			out = uint16(bfloat16.note(uint64(in), uint64(out), s, e+int64(k), t))
		}
		binary.LittleEndian.PutUint16(p, out)
	}
}

// magnitude is out, or the least normal number where in is zero; all without their sign, shifted left by one. The
// exponent of a NaN or infinity stays: zero times such a scale is NaN.
func magnitude[U uint16 | uint32 | uint64](in, out, normal U) U {
	if in == 0 {
		return out | normal
	}
	return out
}

// encoding is how a floating-point type stores numbers.
type encoding struct {
	exponent uint64 // the mask of the exponent field
	fraction uint64 // the mask of the fraction field
	nan      uint64 // the canonical quiet NaN
}

var (
	binary64 = encoding{0x7ff << 52, 1<<52 - 1, tensor.NaN64}
	binary32 = encoding{0xff << 23, 1<<23 - 1, uint64(tensor.NaN32)}
	binary16 = encoding{0x1f << 10, 1<<10 - 1, uint64(tensor.NaN16)}
	bfloat16 = encoding{0xff << 7, 1<<7 - 1, uint64(tensor.NaNB16)}
)

// note counts what became of element e and returns its new value, a NaN in canonical form.
func (f *encoding) note(in, out uint64, s float64, e int64, t *tensor.Tally) uint64 {
	one := tensor.NewTally()
	before, after := in&f.exponent, out&f.exponent
	switch {
	case before == f.exponent:
		one.NonFinite, one.FirstNonFinite = 1, e
	case after == f.exponent:
		one.Overflow, one.FirstOverflow = 1, e
	case before != 0 && after == 0 && s != 0:
		one.Subnormal, one.FirstSubnormal = 1, e
	}
	t.Add(one)
	if after == f.exponent && out&f.fraction != 0 {
		return f.nan
	}
	return out
}
