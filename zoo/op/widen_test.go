package op

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestWiden_DecodesAsTensorsDo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	raw := make([]byte, 0, 4<<16)
	for h := range 1 << 16 { // all numbers of 16 bits
		raw = append(raw, byte(h), byte(h>>8))
	}
	for range 1 << 15 {
		x := rng.Uint32()
		raw = append(raw, byte(x), byte(x>>8), byte(x>>16), byte(x>>24))
	}
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float16, tensor.BFloat16, tensor.Float64, tensor.Int8} {
		for from := range 9 {
			data := raw[from*d.Size() : len(raw)-(9-from)*d.Size()]
			got, want := make([]float64, len(data)/d.Size()), make([]float64, len(data)/d.Size())
			data = data[:len(got)*d.Size()]
			if err := Widen(got, data, d); err != nil {
				t.Fatal(err)
			}
			if err := tensor.Decode(want, data, d); err != nil {
				t.Fatal(err)
			}
			for k := range got {
				if math.Float64bits(got[k]) != math.Float64bits(want[k]) && !(math.IsNaN(got[k]) && math.IsNaN(want[k])) {
					t.Fatalf("%v: element %d of %d is %v, want %v", d, k, len(got), got[k], want[k])
				}
			}
		}
	}
	if err := Widen(make([]float64, 8), raw[:31], tensor.Float32); err == nil {
		t.Error("31 bytes are no eight numbers of float32")
	}
}
