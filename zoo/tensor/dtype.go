package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode widens little-endian elements to float64; len(src) = len(dst)·Size. Integers beyond 2^53 are rounded.
func Decode(dst []float64, src []byte, d DType) error {
	if size := d.Size(); size == 0 || len(src) != len(dst)*size {
		return fmt.Errorf("decode %d elements of %v from %d bytes", len(dst), d, len(src))
	}
	le := binary.LittleEndian
	switch d {
	case Float64:
		for k := range dst {
			dst[k] = math.Float64frombits(le.Uint64(src[8*k:]))
		}
	case Float32:
		for k := range dst {
			dst[k] = float64(math.Float32frombits(le.Uint32(src[4*k:])))
		}
	case Float16:
		for k := range dst {
			dst[k] = Float16ToFloat64(le.Uint16(src[2*k:]))
		}
	case BFloat16:
		for k := range dst {
			dst[k] = float64(math.Float32frombits(uint32(le.Uint16(src[2*k:])) << 16))
		}
	case Int64:
		for k := range dst {
			dst[k] = float64(int64(le.Uint64(src[8*k:])))
		}
	case Uint64:
		for k := range dst {
			dst[k] = float64(le.Uint64(src[8*k:]))
		}
	case Int32:
		for k := range dst {
			dst[k] = float64(int32(le.Uint32(src[4*k:])))
		}
	case Uint32:
		for k := range dst {
			dst[k] = float64(le.Uint32(src[4*k:]))
		}
	case Int16:
		for k := range dst {
			dst[k] = float64(int16(le.Uint16(src[2*k:])))
		}
	case Uint16:
		for k := range dst {
			dst[k] = float64(le.Uint16(src[2*k:]))
		}
	case Int8:
		for k := range dst {
			dst[k] = float64(int8(src[k]))
		}
	case Uint8, Bool:
		for k := range dst {
			dst[k] = float64(src[k])
		}
	default:
		return fmt.Errorf("decode: %v has no float64 values", d)
	}
	return nil
}

// Encode rounds float64 values once, to nearest even, to the floating-point type d; len(dst) = len(src)·Size. NaN becomes
// the type's canonical quiet NaN.
func Encode(dst []byte, src []float64, d DType) error {
	if size := d.Size(); size == 0 || len(dst) != len(src)*size {
		return fmt.Errorf("encode %d elements of %v into %d bytes", len(src), d, len(dst))
	}
	le := binary.LittleEndian
	switch d {
	case Float64:
		for k, x := range src {
			le.PutUint64(dst[8*k:], Bits64(x))
		}
	case Float32:
		for k, x := range src {
			le.PutUint32(dst[4*k:], Bits32(x))
		}
	case Float16:
		for k, x := range src {
			h, ok := normal16(x)
			if !ok {
				h = Float16Bits(x)
			}
			le.PutUint16(dst[2*k:], h)
		}
	case BFloat16:
		for k, x := range src {
			h, ok := normalB16(x)
			if !ok {
				h = BFloat16Bits(x)
			}
			le.PutUint16(dst[2*k:], h)
		}
	default:
		return fmt.Errorf("encode: %v is not a floating-point type", d)
	}
	return nil
}

// Round is the number of a floating-point type that is nearest to x; of other types x itself.
func (d DType) Round(x float64) float64 {
	raw, out := make([]byte, d.Size()), []float64{x}
	if Encode(raw, out, d) == nil {
		_ = Decode(out, raw, d) // of the same length and type
	}
	return out[0]
}

// The canonical quiet NaN of each type, as which every NaN result is written.
const (
	NaN64  uint64 = 0x7ff8000000000000
	NaN32  uint32 = 0x7fc00000
	NaN16  uint16 = 0x7e00
	NaNB16 uint16 = 0x7fc0
)

// Bits64 is x's bit pattern, NaN in canonical form.
func Bits64(x float64) uint64 {
	if x != x {
		return NaN64
	}
	return math.Float64bits(x)
}

// Bits32 is the float32 nearest to x, NaN in canonical form.
func Bits32(x float64) uint32 {
	if x != x {
		return NaN32
	}
	return math.Float32bits(float32(x))
}

// Float16ToFloat64 widens an IEEE 754 binary16, exactly.
func Float16ToFloat64(h uint16) float64 {
	sign, exp, frac := uint64(h>>15)<<63, int(h>>10&31), uint64(h&1023)
	switch exp {
	case 0: // zero and subnormals: frac · 2^-24
		return math.Copysign(float64(frac)*0x1p-24, math.Float64frombits(sign|1))
	case 31:
		return math.Float64frombits(sign | 0x7ff<<52 | frac<<42)
	}
	return math.Float64frombits(sign | uint64(exp-15+1023)<<52 | frac<<42)
}

// Float16Bits is the IEEE 754 binary16 nearest to x (ties to even), rounded once from the float64.
func Float16Bits(x float64) uint16 {
	if h, ok := normal16(x); ok {
		return h
	}
	if x != x {
		return NaN16
	}
	return round16(x, 10, 15)
}

// normal16 is Float16Bits of what rounds to a normal number, from 2^-14 to below 65520; else ok is false. The compiler puts it
// into loops.
func normal16(x float64) (h uint16, ok bool) {
	const drop, least, end = 52 - 10, 0x3f10 << 48, 0x40effe << 40
	bits := math.Float64bits(x)
	m := bits &^ (1 << 63)
	return uint16(bits>>48)&0x8000 | uint16((m-(1023-15)<<52+1<<(drop-1)-1+m>>drop&1)>>drop), m-least < end-least
}

// BFloat16Bits is the bfloat16 nearest to x (ties to even), rounded once from the float64.
func BFloat16Bits(x float64) uint16 {
	if h, ok := normalB16(x); ok {
		return h
	}
	if x != x {
		return NaNB16
	}
	return round16(x, 7, 127)
}

// normalB16 is normal16 for BFloat16Bits: from 2^-126 to below (2-2^-8)·2^127.
func normalB16(x float64) (h uint16, ok bool) {
	const drop, least, end = 52 - 7, 0x3810 << 48, 0x47eff0 << 40
	bits := math.Float64bits(x)
	m := bits &^ (1 << 63)
	return uint16(bits>>48)&0x8000 | uint16((m-(1023-127)<<52+1<<(drop-1)-1+m>>drop&1)>>drop), m-least < end-least
}

// round16 rounds a number or infinity to a 16-bit float of that many fraction bits and that exponent bias.
func round16(x float64, fraction uint, bias int) uint16 {
	bits := math.Float64bits(x)
	sign := uint16(bits>>48) & 0x8000
	exp := int(bits>>52&0x7ff) - 1023 + bias // biased exponent in the narrow type
	infinity := uint16(2*bias+1) << fraction
	if exp > 2*bias { // 2^emax+1 and above, infinity
		return sign | infinity
	}
	drop := 52 - fraction
	mantissa := bits & (1<<52 - 1)
	if exp > 0 {
		mantissa |= uint64(exp) << 52
	} else { // subnormal: the leading one becomes explicit, shifted right
		mantissa |= 1 << 52
		drop += uint(1 - exp)
		if drop > 54 { // below half of the least subnormal
			return sign
		}
	}
	kept := mantissa >> drop
	rest, half := mantissa&(1<<drop-1), uint64(1)<<(drop-1)
	if rest > half || rest == half && kept&1 == 1 {
		kept++ // a carry into the exponent is what rounding up to the next power of two is
	}
	return sign | uint16(kept)
}
