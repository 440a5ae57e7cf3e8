package fold_test

import (
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

func TestBlocks_ScaleAndShiftBetweenConvolutionsBecomeOneNormalisation(t *testing.T) {
	stuck := func(m *b, x *v) *v { // neither goes backward through the Sigmoid, and the shift not into the padding
		return shift(m, positive(m, m.Op("Sigmoid", in(x))))
	}
	twice := func(m *b, x *v) *v { // one reader is no convolution
		y := stuck(m, x)
		return m.Op("Concat", in(same(m, y), m.Op("Sigmoid", in(y))), "axis", 1)
	}
	for _, test := range []struct {
		name  string
		build func(m *b) *v
		want  string // what is left
	}{
		{"between convolutions", func(m *b) *v { return same(m, stuck(m, image(m))) }, "BatchNormalization"},
		{"behind an image that no convolution computes", func(m *b) *v { return same(m, stuck(m, m.Input(1, 4, 6, 7))) }, "Add"},
		{"with 30^6 ways between them", func(m *b) *v {
			x := image(m)
			for range 6 {
				x = m.Op("Sum", slices.Repeat(in(x), 30))
			}
			return same(m, stuck(m, x))
		}, "BatchNormalization"},
		{"with a reader that is no convolution", func(m *b) *v { return twice(m, image(m)) }, "BatchNormalization"},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := func() *model.Model {
				m := modeltest.New(3)
				return m.Output(test.build(m))
			}
			m := build()
			plan, err := fold.Fold(t.Context(), m, fold.Options{})
			if err != nil || plan.After != 1 {
				t.Fatalf("%v, %d per-channel nodes are left", err, plan.After)
			}
			for _, n := range m.Graph.Nodes {
				if isMap := n.Type == "BatchNormalization" || n.Type == "Add" || n.Type == "Mul"; isMap && n.Type != test.want {
					t.Errorf("%v is left, want a %s", n, test.want)
				}
			}
			if d := differs(build(), m, 1); d != "" {
				t.Error(d)
			}
		})
	}
}
