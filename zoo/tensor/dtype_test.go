package tensor_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

// narrow is a 16-bit type with its field widths.
type narrow struct {
	tensor.DType
	fraction int
	infinity uint16
	nan      uint16
}

var narrows = []narrow{
	{tensor.Float16, 10, 0x7c00, tensor.NaN16}, {tensor.BFloat16, 7, 0x7f80, tensor.NaNB16},
}

func decode16(t *testing.T, bits uint16, d tensor.DType) float64 {
	t.Helper()
	var x [1]float64
	if err := tensor.Decode(x[:], binary.LittleEndian.AppendUint16(nil, bits), d); err != nil {
		t.Fatal(err)
	}
	return x[0]
}

func encode16(t *testing.T, x float64, d tensor.DType) uint16 {
	t.Helper()
	var b [2]byte
	if err := tensor.Encode(b[:], []float64{x}, d); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint16(b[:])
}

func TestDType_Every16BitPatternSurvivesDecodeAndEncode(t *testing.T) {
	for _, n := range narrows {
		for k := range 65536 {
			bits := uint16(k)
			want := bits
			if bits&0x7fff > n.infinity {
				want = n.nan
			}
			if got := encode16(t, decode16(t, bits, n.DType), n.DType); got != want {
				t.Fatalf("%v %#04x becomes %#04x, want %#04x", n.DType, bits, got, want)
			}
		}
	}
}

// exact is the value of a finite pattern by the definition of the format, as a number without bounds.
func (n narrow) exact(bits uint16) *big.Float {
	exponent, significand := int(bits&0x7fff)>>n.fraction, int64(bits)&(1<<n.fraction-1)
	if exponent > 0 {
		significand |= 1 << n.fraction
	}
	if bits&0x8000 != 0 {
		significand = -significand
	}
	bias := int(n.infinity>>n.fraction) / 2
	return new(big.Float).SetMantExp(new(big.Float).SetInt64(significand), max(exponent, 1)-bias-n.fraction)
}

func TestDecode_Every16BitPatternHasItsValue(t *testing.T) {
	for _, n := range narrows {
		for k := range 65536 {
			bits := uint16(k)
			got := decode16(t, bits, n.DType)
			switch magnitude := bits & 0x7fff; {
			case magnitude > n.infinity:
				if got == got {
					t.Fatalf("%v %#04x is %v, want NaN", n.DType, bits, got)
				}
				continue
			case magnitude == n.infinity:
				if !math.IsInf(got, 0) {
					t.Fatalf("%v %#04x is %v, want infinity", n.DType, bits, got)
				}
			case n.exact(bits).Cmp(big.NewFloat(got)) != 0:
				t.Fatalf("%v %#04x is %v, want %v", n.DType, bits, got, n.exact(bits))
			}
			if math.Signbit(got) != (bits&0x8000 != 0) {
				t.Fatalf("%v %#04x is %v: wrong sign", n.DType, bits, got)
			}
		}
	}
}

// Between neighbours the half way point goes to the even one, and the float64 on either side of it to the nearer one;
// a detour through float32 would take all three for the half way point.
func TestEncode_RoundsToNearestEven(t *testing.T) {
	for _, n := range narrows {
		for low := uint16(0); low < n.infinity; low++ {
			high := low + 1 // after the largest number comes infinity, in place of the next power of two
			half := new(big.Float).Add(n.exact(low), n.exact(high))
			middle, accuracy := half.Quo(half, big.NewFloat(2)).Float64()
			if accuracy != big.Exact {
				t.Fatalf("%v: the middle after %#04x is no float64", n.DType, low)
			}
			even := low + low&1
			for _, c := range []struct {
				x    float64
				want uint16
			}{
				{math.Nextafter(middle, 0), low}, {middle, even}, {math.Nextafter(middle, math.Inf(1)), high},
			} {
				if got := encode16(t, c.x, n.DType); got != c.want {
					t.Fatalf("%v: %b is %#04x, want %#04x", n.DType, c.x, got, c.want)
				}
				if got := encode16(t, -c.x, n.DType); got != c.want|0x8000 {
					t.Fatalf("%v: %b is %#04x, want %#04x", n.DType, -c.x, got, c.want|0x8000)
				}
				if got := tensortest.Round(c.x, n.DType); got != uint64(c.want) {
					t.Fatalf("the suite's oracle: %v: %b is %#04x, want %#04x", n.DType, c.x, got, c.want)
				}
			}
		}
	}
}

func TestEncode_RoundsAnyFloat64AsTheOracleDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		x := math.Float64frombits(r.Uint64())
		if r.IntN(2) == 0 { // in or about the range of the narrow types
			x = math.Ldexp(r.NormFloat64(), r.IntN(320)-160)
		}
		for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16, tensor.Float32, tensor.Float64} {
			b := make([]byte, d.Size())
			if err := tensor.Encode(b, []float64{x}, d); err != nil {
				t.Fatal(err)
			}
			var got [8]byte
			copy(got[:], b)
			if bits, want := binary.LittleEndian.Uint64(got[:]), tensortest.Round(x, d); bits != want {
				t.Fatalf("%v: %b is %#x, want %#x", d, x, bits, want)
			}
		}
	}
}

func TestEncode_Extremes(t *testing.T) {
	for _, c := range []struct {
		x         float64
		f16, bf16 uint16
		f32       uint32
	}{
		{0, 0, 0, 0},
		{math.Copysign(0, -1), 0x8000, 0x8000, 0x80000000},
		{math.Inf(1), 0x7c00, 0x7f80, 0x7f800000},
		{math.Inf(-1), 0xfc00, 0xff80, 0xff800000},
		{math.NaN(), 0x7e00, 0x7fc0, 0x7fc00000},
		{math.Float64frombits(0xfff0000000000001), 0x7e00, 0x7fc0, 0x7fc00000},
		{math.SmallestNonzeroFloat64, 0, 0, 0},
		{-math.SmallestNonzeroFloat64, 0x8000, 0x8000, 0x80000000},
		{math.MaxFloat64, 0x7c00, 0x7f80, 0x7f800000},
		{65504, 0x7bff, 0x4780, 0x477fe000},
		{65519.999, 0x7bff, 0x4780, 0x477ff000},
		{65520, 0x7c00, 0x4780, 0x477ff000},
		{0x1p-14, 0x0400, 0x3880, 0x38800000},
		{0x1p-24, 0x0001, 0x3380, 0x33800000},
		{0x1p-25, 0x0000, 0x3300, 0x33000000},
		{0x1.8p-25, 0x0001, 0x3340, 0x33400000},
	} {
		if got := tensor.Float16Bits(c.x); got != c.f16 {
			t.Errorf("float16 of %b: %#04x, want %#04x", c.x, got, c.f16)
		}
		if got := tensor.BFloat16Bits(c.x); got != c.bf16 {
			t.Errorf("bfloat16 of %b: %#04x, want %#04x", c.x, got, c.bf16)
		}
		if got := tensor.Bits32(c.x); got != c.f32 {
			t.Errorf("float32 of %b: %#08x, want %#08x", c.x, got, c.f32)
		}
	}
}

func TestDecode_Integers(t *testing.T) {
	for _, c := range []struct {
		d    tensor.DType
		b    []byte
		want float64
	}{
		{tensor.Int8, []byte{0x80}, -128},
		{tensor.Uint8, []byte{0x80}, 128},
		{tensor.Bool, []byte{1}, 1},
		{tensor.Int16, []byte{0xfe, 0xff}, -2},
		{tensor.Uint16, []byte{0xfe, 0xff}, 65534},
		{tensor.Int32, []byte{0xfe, 0xff, 0xff, 0xff}, -2},
		{tensor.Uint32, []byte{0xfe, 0xff, 0xff, 0xff}, 1<<32 - 2},
		{tensor.Int64, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -2},
		{tensor.Uint64, []byte{0, 0, 0, 0, 0, 0, 0, 0x80}, 1 << 63},
	} {
		var got [1]float64
		if err := tensor.Decode(got[:], c.b, c.d); err != nil || got[0] != c.want {
			t.Errorf("%v %v is %v, %v; want %v", c.d, c.b, got[0], err, c.want)
		}
		if err := tensor.Encode(make([]byte, len(c.b)), got[:], c.d); err == nil {
			t.Errorf("%v was encoded: only floating-point types are", c.d)
		}
	}
}

func TestDType_RefusesWrongSizes(t *testing.T) {
	for d := range tensor.DType(20) {
		size := d.Size()
		if err := tensor.Decode(make([]float64, 2), make([]byte, 2*size+1), d); err == nil {
			t.Errorf("%v: a byte too many decoded", d)
		}
		if err := tensor.Encode(make([]byte, 2*size+1), make([]float64, 2), d); err == nil {
			t.Errorf("%v: a byte too many encoded", d)
		}
	}
	for _, d := range []tensor.DType{tensor.Undefined, tensor.String, tensor.Complex64, tensor.DType(200)} {
		if err := tensor.Decode(make([]float64, 1), make([]byte, d.Size()), d); err == nil {
			t.Errorf("%v decoded", d)
		}
	}
}

func TestDType_NamesAndSizes(t *testing.T) {
	got := ""
	for d := range tensor.DType(18) {
		got += fmt.Sprintf("%v:%d ", d, d.Size())
	}
	const want = "dtype(0):0 float32:4 uint8:1 int8:1 uint16:2 int16:2 int32:4 int64:8 string:0 bool:1 float16:2 " +
		"float64:8 uint32:4 uint64:8 complex64:8 complex128:16 bfloat16:2 dtype(17):0 "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
