package cpu

import (
	"encoding/binary"
	"math"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// kernel multiplies elements by one scale each, in place.
type kernel struct {
	// loop does all elements of b, the first of which is the tensor's element e, and counts them.
	loop func(b []byte, scale []float64, e int64, t *tensor.Tally)
	// vector does groups of eight elements out of the n given, n a multiple of eight, and returns how many it did. It stops
	// before a group with an element to count, a NaN to make canonical or a rounding that it cannot do. It is nil where the
	// processor has no such instructions.
	vector func(data *byte, scale *float64, n int) int
}

// group is the number of elements that a vector kernel processes, or leaves to the loop, together.
const group = 8

// multiply rescales in place the elements that data holds, the first of which is the tensor's element first.
func multiply(data []byte, job *tensor.Rescale, k kernel, first int64, s *scales, t *tensor.Tally) {
	size := job.DType.Size()
	s.start()
	for e := first; len(data) > 0; {
		n := min(tile, len(data)/size)
		k.run(data[:n*size], s.at(job.Factors, e, n), size, e, t)
		data, e = data[n*size:], e+int64(n)
	}
}

// run multiplies the elements of b with the vector kernel, and those that it leaves with the loop.
func (k kernel) run(b []byte, scale []float64, size int, e int64, t *tensor.Tally) {
	for k.vector != nil && len(scale) >= group {
		done := k.vector(&b[0], &scale[0], len(scale)/group*group)
		b, scale, e = b[done*size:], scale[done:], e+int64(done)
		if len(scale) >= group {
			k.loop(b[:group*size], scale[:group], e, t)
			b, scale, e = b[group*size:], scale[group:], e+group
		}
	}
	k.loop(b, scale, e, t)
}

// loops are the kernels in plain Go.
func loops(d tensor.DType) kernel {
	switch d {
	case tensor.Float64:
		return kernel{loop: float64s}
	case tensor.Float32:
		return kernel{loop: float32s}
	case tensor.Float16:
		return kernel{loop: float16s}
	case tensor.BFloat16:
		return kernel{loop: bfloat16s}
	}
	return kernel{}
}

// The four loops below differ in type only. A product whose exponent field is neither 0 nor all ones came from a finite
// element and needs no count, so one comparison finds the rest. A zero that stays zero is common (pruned weights): it
// passes as if it were normal, without a branch that would be mispredicted.

func float64s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[8*k:][:8]
		in := binary.LittleEndian.Uint64(p)
		before := math.Float64frombits(in)
		out := tensor.Bits64(before * s)
		if m := magnitude(in<<1, out<<1, 1<<53); m-1<<53 >= 0x7fe<<53 {
			t.Count(e+int64(k), before, math.Float64frombits(out), s, tensor.Float64)
		}
		binary.LittleEndian.PutUint64(p, out)
	}
}

func float32s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[4*k:][:4]
		in := binary.LittleEndian.Uint32(p)
		before := float64(math.Float32frombits(in))
		out := tensor.Bits32(before * s)
		if m := magnitude(in<<1, out<<1, 1<<24); m-1<<24 >= 0xfe<<24 {
			t.Count(e+int64(k), before, float64(math.Float32frombits(out)), s, tensor.Float32)
		}
		binary.LittleEndian.PutUint32(p, out)
	}
}

func float16s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[2*k:][:2]
		in := binary.LittleEndian.Uint16(p)
		before := tensor.Float16ToFloat64(in)
		out := tensor.Float16Bits(before * s)
		if m := magnitude(in<<1, out<<1, 1<<11); m-1<<11 >= 0x1e<<11 {
			t.Count(e+int64(k), before, tensor.Float16ToFloat64(out), s, tensor.Float16)
		}
		binary.LittleEndian.PutUint16(p, out)
	}
}

func bfloat16s(b []byte, scale []float64, e int64, t *tensor.Tally) {
	for k, s := range scale {
		p := b[2*k:][:2]
		in := binary.LittleEndian.Uint16(p)
		before := float64(math.Float32frombits(uint32(in) << 16))
		out := tensor.BFloat16Bits(before * s)
		if m := magnitude(in<<1, out<<1, 1<<8); m-1<<8 >= 0xfe<<8 {
			t.Count(e+int64(k), before, float64(math.Float32frombits(uint32(out)<<16)), s, tensor.BFloat16)
		}
		binary.LittleEndian.PutUint16(p, out)
	}
}

// magnitude is out, or the least normal number where in is zero; all without their sign, shifted left by one. The
// exponent of a NaN stays: zero times infinity is one.
func magnitude[U uint16 | uint32 | uint64](in, out, normal U) U {
	if in == 0 {
		return out | normal
	}
	return out
}
