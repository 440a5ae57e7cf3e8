package cpu

import (
	"encoding/binary"
	"iter"
	"math"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// run is a stretch of a chunk's elements, from .. to, with one scale, or with one scale each.
type run struct {
	from, to int64
	scale    float64
	each     []float64 // nil where all have scale
}

// longRun is how many elements with one scale make a run of their own worth while.
const longRun = 32

// runs cuts count elements of a job, from first, into stretches. No element costs a division.
func (b *buffer) runs(job *tensor.Rescale, first, count int64) iter.Seq2[int, run] {
	return func(yield func(int, run) bool) {
		if len(job.Factors) == 1 && job.Factors[0].Inner >= longRun {
			f := job.Factors[0]
			for at := int64(0); at < count; {
				e := first + at
				end := min(count, at+f.Inner-e%f.Inner)
				if !yield(0, run{from: at, to: end, scale: f.Scale[f.Channel(e)]}) {
					return
				}
				at = end
			}
			return
		}
		if int64(cap(b.scales)) < count {
			b.scales = make([]float64, count)
		}
		scales := b.scales[:count]
		if len(job.Factors) == 0 {
			fill(scales, 1)
		}
		for k, f := range job.Factors {
			spread(scales, f, first, k > 0)
		}
		yield(0, run{from: 0, to: count, each: scales})
	}
}

func fill(out []float64, x float64) {
	for k := range out {
		out[k] = x
	}
}

// spread writes a factor's scale of every element from first, or multiplies by it.
func spread(out []float64, f tensor.Factor, first int64, multiply bool) {
	block := f.Outer * f.Channels * f.Inner
	b, c, i := first/block, first/f.Inner%f.Channels, first%f.Inner
	left := block - first%block // elements of the block from here
	for at := 0; at < len(out); {
		n := int(min(f.Inner-i, int64(len(out)-at)))
		s := f.Scale[b*f.Channels+c]
		if multiply {
			for k := range out[at : at+n] {
				out[at+k] *= s
			}
		} else {
			fill(out[at:at+n], s)
		}
		at, i, c, left = at+n, 0, c+1, left-int64(n)
		if c == f.Channels {
			c = 0
		}
		if left == 0 {
			b, left = b+1, block
		}
	}
}

// scaleRun multiplies a stretch in place. first is the tensor's element at the chunk's start.
func scaleRun(raw []byte, d tensor.DType, r run, t *tensor.Tally, first int64) {
	le := binary.LittleEndian
	s := r.scale
	n := int(r.to - r.from)
	base := first + r.from
	switch d {
	case tensor.Float32:
		for k := range n {
			if r.each != nil {
				s = r.each[k]
			}
			old := le.Uint32(raw[4*k:])
			bits := math.Float32bits(float32(float64(math.Float32frombits(old)) * s))
			if e := bits >> 23 & 0xff; e == 0xff || e == 0 {
				bits = odd32(t, base+int64(k), old, bits, s)
			}
			le.PutUint32(raw[4*k:], bits)
		}
	case tensor.Float64:
		for k := range n {
			if r.each != nil {
				s = r.each[k]
			}
			old := le.Uint64(raw[8*k:])
			bits := math.Float64bits(math.Float64frombits(old) * s)
			if e := bits >> 52 & 0x7ff; e == 0x7ff || e == 0 {
				if bits<<1 > 0x7ff<<53 {
					bits = tensor.NaN64
				}
				count(t, base+int64(k), old>>52&0x7ff == 0x7ff, e == 0x7ff, old>>52&0x7ff == 0, e == 0, s)
			}
			le.PutUint64(raw[8*k:], bits)
		}
	case tensor.Float16:
		for k := range n {
			if r.each != nil {
				s = r.each[k]
			}
			old := le.Uint16(raw[2*k:])
			bits := tensor.Float16Bits(tensor.Float16ToFloat64(old) * s)
			if e := bits >> 10 & 31; e == 31 || e == 0 {
				count(t, base+int64(k), old>>10&31 == 31, e == 31, old>>10&31 == 0, e == 0, s)
			}
			le.PutUint16(raw[2*k:], bits)
		}
	case tensor.BFloat16:
		for k := range n {
			if r.each != nil {
				s = r.each[k]
			}
			old := le.Uint16(raw[2*k:])
			bits := tensor.BFloat16Bits(float64(math.Float32frombits(uint32(old)<<16)) * s)
			if e := bits >> 7 & 0xff; e == 0xff || e == 0 {
				count(t, base+int64(k), old>>7&0xff == 0xff, e == 0xff, old>>7&0xff == 0, e == 0, s)
			}
			le.PutUint16(raw[2*k:], bits)
		}
	}
}

// odd32 tallies a float32 result that is not normal, and gives NaN its canonical form.
func odd32(t *tensor.Tally, e int64, old, bits uint32, s float64) uint32 {
	exponent, before := bits>>23&0xff, old>>23&0xff
	if bits<<1 > 0xff<<24 {
		bits = tensor.NaN32
	}
	count(t, e, before == 0xff, exponent == 0xff, before == 0, exponent == 0, s)
	return bits
}

// count tallies a result that is not a normal number: whether the element was infinite or NaN and is, was subnormal or
// zero and is.
func count(t *tensor.Tally, e int64, wasInfinite, isInfinite, wasSmall, isSmall bool, s float64) {
	one := tensor.NewTally()
	switch {
	case wasInfinite:
		one.NonFinite, one.FirstNonFinite = 1, e
	case isInfinite:
		one.Overflow, one.FirstOverflow = 1, e
	case isSmall && !wasSmall && s != 0:
		one.Subnormal, one.FirstSubnormal = 1, e
	default:
		return
	}
	t.Add(one)
}
