// Package tensortest is the test suite that every tensor.Backend passes, and the oracle that it compares with. The oracle
// shares no arithmetic with package tensor or the backends: it knows the formats by their definition.
package tensortest

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Round is the bit pattern of the number of floating-point type d nearest to x, ties to the even pattern; NaN is the
// canonical quiet one. It searches the type's numbers, which are ordered as their patterns are.
func Round(x float64, d tensor.DType) uint64 {
	f := formats[d]
	sign := uint64(0)
	if math.Signbit(x) {
		sign = 1 << (f.size()*8 - 1)
	}
	infinity := f.infinity()
	switch {
	case math.IsNaN(x):
		return infinity | 1<<(f.fraction-1)
	case math.IsInf(x, 0):
		return sign | infinity
	case d == tensor.Float64:
		return math.Float64bits(x)
	}
	x = math.Abs(x)
	low, high := uint64(0), infinity // number(low) ≤ x; x < number(high), or high is infinity
	for high-low > 1 {
		if mid := low + (high-low)/2; f.number(mid) <= x {
			low = mid
		} else {
			high = mid
		}
	}
	// Half way between neighbours of at most 24 bits is exact in float64. Infinity counts as the number that would follow.
	half := (f.number(low) + f.number(high)) / 2
	if x > half || x == half && low&1 == 1 {
		low = high
	}
	return sign | low
}

// Value is the number that a bit pattern of floating-point type d stands for.
func Value(bits uint64, d tensor.DType) float64 {
	f := formats[d]
	top := uint64(1) << (f.size()*8 - 1)
	sign := 1.0
	if bits&top != 0 {
		sign = -1
	}
	switch magnitude, infinity := bits&^top, f.infinity(); {
	case magnitude > infinity:
		return math.NaN()
	case magnitude == infinity:
		return math.Inf(int(sign))
	default:
		return sign * f.number(magnitude)
	}
}

// Expect is what a job makes of the bytes src: the definition of tensor.Rescale, element by element in the order of the
// layouts.
func Expect(job *tensor.Rescale, src []byte) ([]byte, tensor.Tally) {
	scales := make([]float64, job.Elements)
	for e := range scales {
		scales[e] = 1
	}
	for _, f := range job.Factors {
		e := 0
		for b := range f.Blocks {
			for range f.Outer {
				for c := range f.Channels {
					for range f.Inner {
						scales[e] *= f.Scale[b*f.Channels+c]
						e++
					}
				}
			}
		}
	}
	size := job.DType.Size()
	dst := make([]byte, len(src))
	tally := tensor.Tally{FirstNonFinite: -1, FirstOverflow: -1, FirstSubnormal: -1}
	count := func(n, first *int64, e int) {
		if *n++; *first < 0 {
			*first = int64(e)
		}
	}
	least := formats[job.DType].number(1 << formats[job.DType].fraction)
	for e, scale := range scales {
		before := Value(load(src[e*size:], size), job.DType)
		bits := Round(before*scale, job.DType)
		store(dst[e*size:], size, bits)
		after := Value(bits, job.DType)
		finite := !math.IsNaN(before) && !math.IsInf(before, 0)
		switch {
		case !finite:
			count(&tally.NonFinite, &tally.FirstNonFinite, e)
		case math.IsNaN(after) || math.IsInf(after, 0):
			count(&tally.Overflow, &tally.FirstOverflow, e)
		case math.Abs(before) >= least && math.Abs(after) < least && scale != 0:
			count(&tally.Subnormal, &tally.FirstSubnormal, e)
		}
	}
	return dst, tally
}

// format is a binary interchange format of IEEE 754, or bfloat16.
type format struct {
	exponent, fraction int       // widths of the fields
	unit               []float64 // by exponent field: what the last bit of the fraction is worth
}

var formats = map[tensor.DType]format{
	tensor.Float16: newFormat(5, 10), tensor.BFloat16: newFormat(8, 7),
	tensor.Float32: newFormat(8, 23), tensor.Float64: newFormat(11, 52),
}

func newFormat(exponent, fraction int) format {
	f := format{exponent: exponent, fraction: fraction, unit: make([]float64, 1<<exponent)}
	bias := 1<<(exponent-1) - 1
	for e := range f.unit {
		f.unit[e] = math.Ldexp(1, max(e, 1)-bias-fraction) // subnormals share the unit of the least normal numbers
	}
	return f
}

func (f format) size() int        { return (1 + f.exponent + f.fraction) / 8 }
func (f format) infinity() uint64 { return (1<<f.exponent - 1) << f.fraction }

// number is the value of a pattern without its sign; infinity's is the power of two that would follow the largest number.
func (f format) number(pattern uint64) float64 {
	exponent, significand := pattern>>f.fraction, pattern&(1<<f.fraction-1)
	if exponent > 0 {
		significand |= 1 << f.fraction
	}
	return float64(significand) * f.unit[exponent]
}

func load(b []byte, size int) uint64 {
	switch size {
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case 8:
		return binary.LittleEndian.Uint64(b)
	}
	panic(fmt.Sprintf("no element has %d bytes", size))
}

func store(b []byte, size int, bits uint64) {
	switch size {
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(bits))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(bits))
	case 8:
		binary.LittleEndian.PutUint64(b, bits)
	}
}
