package tensor

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

func TestPermuted_ReadsWhatATransposeGives(t *testing.T) {
	stored := make(Buffer, 24)
	for k := range stored {
		stored[k] = byte(k)
	}
	got, err := io.ReadAll(io.NewSectionReader(Permuted(stored, []int64{2, 3, 4}, []int{2, 0, 1}, 1), 0, 24))
	var want []byte
	for i := range 4 {
		for j := range 2 {
			for k := range 3 {
				want = append(want, byte(j*12+k*4+i))
			}
		}
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Permuted(stored[:23], []int64{2, 3, 4}, []int{2, 0, 1}, 1).ReadAt(got, 0); err == nil {
		t.Error("a tensor that is too short is read")
	}
}

func TestPermuted_FactorsGiveEveryElementItsScale(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		rank := 1 + rng.IntN(5)
		shape := make([]int64, rank)
		for k := range shape {
			shape[k] = 1 + rng.Int64N(4)
		}
		perm := rng.Perm(rank)
		layout := AxisLayout(shape, rng.IntN(rank))
		if rank > 2 && rng.IntN(2) == 0 { // a grouped convolution's input channels
			for _, g := range []int64{4, 3, 2, 1} {
				if shape[0]%g == 0 {
					layout = Layout{g, shape[0] / g, shape[1], Strides(shape)[1]}
					break
				}
			}
		}
		f := Factor{Layout: layout}
		for c := range layout.Blocks * layout.Channels {
			f.Scale = append(f.Scale, float64(c))
		}
		s := f.Stored(shape, perm)
		job := Rescale{DType: Float32, Elements: layout.Elements(), Factors: []Factor{s}}
		if err := job.Check(); err != nil {
			t.Fatalf("shape %v, perm %v, %+v: %v", shape, perm, layout, err)
		}
		stored := make([]int64, rank)
		for k, p := range perm {
			stored[p] = shape[k]
		}
		strides, places := Strides(shape), Strides(stored)
		for e := range layout.Elements() {
			at := int64(0)
			for k := range shape {
				at += e / strides[k] % shape[k] * places[perm[k]]
			}
			if f.Scale[f.Channel(e)] != s.Scale[s.Channel(at)] {
				t.Fatalf("shape %v, perm %v, %+v: element %d", shape, perm, layout, e)
			}
		}
	}
}
