package verify_test

import (
	"context"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/verify"
)

// BenchmarkAlgebra proves one convolution of 256 channels with a batch normalisation behind it.
func BenchmarkAlgebra(b *testing.B) {
	build := func() *model.Model {
		m := modeltest.New(1)
		y := m.BatchNorm(m.Conv(m.Input(1, 256, 64, 64), 256, 256, 3, 1, "pads", []int64{1, 1, 1, 1}), 256)
		return m.Output(y)
	}
	original, folded := build(), build()
	plan, err := fold.Fold(b.Context(), folded, fold.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r, err := verify.AlgebraUnrounded(context.Background(), original, folded, plan); err != nil || r.Passed != 1 {
			b.Fatal(r, err)
		}
	}
}
