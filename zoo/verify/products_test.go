package verify

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestProducts_AreTheScalesOfEachElement(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		var shape [4]int64
		elements := int64(1)
		for k := range shape {
			shape[k] = 1 + rng.Int64N(7)
			elements *= shape[k]
		}
		job := &tensor.Rescale{DType: tensor.Float32, Elements: elements}
		for _, l := range []tensor.Layout{
			{Blocks: shape[0], Outer: shape[1], Channels: shape[2], Inner: shape[3]},
			{Blocks: 1, Outer: shape[0] * shape[1], Channels: shape[2] * shape[3], Inner: 1},
			{Blocks: 1, Outer: 1, Channels: shape[0], Inner: elements / shape[0]},
		}[:1+rng.IntN(3)] {
			f := tensor.Factor{Layout: l, Scale: make([]float64, l.Blocks*l.Channels)}
			for c := range f.Scale {
				f.Scale[c] = rng.NormFloat64()
			}
			job.Factors = append(job.Factors, f)
		}
		first := rng.Int64N(elements)
		scale := make([]float64, 1+rng.Int64N(elements-first))
		products(scale, job, first)
		for k, s := range scale {
			if want := job.Scale(first + int64(k)); s != want {
				t.Fatalf("%+v: element %d: %v, want %v", job.Factors, first+int64(k), s, want)
			}
		}
	}
}

// BenchmarkParity is what the check adds to rescaling: bytes of weights a second, with and without it.
func BenchmarkParity(b *testing.B) {
	const channels, inner = 512, 4608
	job := &tensor.Rescale{DType: tensor.Float32, Elements: channels * inner}
	for _, l := range []tensor.Layout{{Blocks: 1, Outer: 1, Channels: channels, Inner: inner}, {Blocks: 1, Outer: inner, Channels: channels, Inner: 1}} {
		f := tensor.Factor{Layout: l, Scale: make([]float64, channels)}
		for c := range f.Scale {
			f.Scale[c] = 1
		}
		job.Factors = []tensor.Factor{f}
		src := make(tensor.Buffer, 4*job.Elements)
		for name, backend := range map[string]tensor.Backend{"without": cpu.New(1), "with": NewParity(cpu.New(1))} {
			b.Run(map[int64]string{1: "columns", inner: "rows"}[l.Inner]+"/"+name, func(b *testing.B) {
				b.SetBytes(4 * job.Elements)
				dst := make(tensor.Buffer, len(src))
				for b.Loop() {
					if _, err := backend.Rescale(context.Background(), dst, src, job); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
