package verify

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestSums_AreTheReferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		job := &tensor.Sum{Rescale: tensor.Rescale{DType: tensor.Float32}}
		job.Out = tensor.Layout{Blocks: 1 + rng.Int64N(3), Outer: 1 + rng.Int64N(40), Channels: 1 + rng.Int64N(9), Inner: 1 + rng.Int64N(70)}
		job.Elements = job.Out.Blocks * job.Out.Outer * job.Out.Channels * job.Out.Inner
		for range rng.IntN(3) {
			l := tensor.Layout{Blocks: 1, Outer: 1, Channels: job.Out.Blocks, Inner: job.Elements / job.Out.Blocks}
			if rng.IntN(2) == 0 {
				l = job.Out
			}
			f := tensor.Factor{Layout: l, Scale: make([]float64, l.Blocks*l.Channels)}
			for c := range f.Scale {
				f.Scale[c] = rng.NormFloat64()
			}
			job.Factors = append(job.Factors, f)
		}
		values, src := make([]float64, job.Elements), make(tensor.Buffer, 4*job.Elements)
		for k := range values {
			values[k] = rng.NormFloat64() * math.Pow(2, 40*rng.Float64())
		}
		if err := tensor.Encode(src, values, job.DType); err != nil {
			t.Fatal(err)
		}
		got, err := sums(context.Background(), src, job)
		want, wantErr := tensor.Reference{}.Sum(context.Background(), src, job)
		if err != nil || wantErr != nil || len(got) != len(want) {
			t.Fatal(err, wantErr, len(got), len(want))
		}
		for c := range want {
			if math.Float64bits(got[c]) != math.Float64bits(want[c]) {
				t.Fatalf("%+v: sum %d is %v, the reference's %v", job.Out, c, got[c], want[c])
			}
		}
	}
}
