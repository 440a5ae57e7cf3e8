package fold_test

import (
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// parameters are those of the model's only batch normalisation.
func parameters(t *testing.T, m *model.Model) (gamma, beta, mean, variance []float64, epsilon float64) {
	t.Helper()
	for _, n := range m.Graph.Nodes {
		if n.Type != "BatchNormalization" {
			continue
		}
		for k, list := range []*[]float64{&gamma, &beta, &mean, &variance} {
			values, err := n.In(k + 1).Const.Float64s(100)
			if err != nil {
				t.Fatal(err)
			}
			*list = values
		}
		return gamma, beta, mean, variance, n.Float("epsilon", 1e-5)
	}
	t.Fatal("the batch normalisation is gone")
	return
}

func TestNeutralize_BatchNormalizationOnlyAdds(t *testing.T) {
	for _, test := range []struct {
		name  string
		build func(m *b) *v
	}{
		{"behind a convolution without a bias", func(m *b) *v { return m.BatchNorm(m.Conv(m.Input(1, 3, 6, 6), 3, 4, 3, 1), 4) }},
		{"behind a Relu", func(m *b) *v {
			return m.Op("BatchNormalization", in(m.Op("Relu", in(m.Conv(m.Input(1, 3, 6, 6), 3, 4, 3, 1))), m.Const(m.Uniform(4, 0.5, 2), 4), m.Weight(4), m.Weight(4), m.Const(m.Uniform(4, 0.5, 2), 4)))
		}},
		{"before a convolution that pads its input", func(m *b) *v {
			return same(m, m.BatchNorm(m.Op("Tanh", in(m.Input(1, 4, 6, 6))), 4))
		}},
		{"before a fully connected layer", func(m *b) *v {
			return m.Op("Gemm", in(m.BatchNorm(m.Op("Tanh", in(m.Input(2, 6))), 6), m.Weight(6, 5), m.Weight(5)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := func() *model.Model {
				m := modeltest.New(4)
				return m.Output(test.build(m))
			}
			m := build()
			plan, err := fold.Fold(t.Context(), m, fold.Options{Neutralize: true})
			if err != nil {
				t.Fatal(err)
			}
			gamma, _, mean, variance, epsilon := parameters(t, m)
			for c := range gamma {
				if gamma[c] != 1 || mean[c] != 0 || variance[c] != tensor.Float32.Round(1-epsilon) {
					t.Errorf("channel %d: scale %g, mean %g, variance %g", c, gamma[c], mean[c], variance[c])
				}
			}
			if d := differs(build(), m, 1); d != "" {
				t.Error(d)
			}
			if x := plan.Maps[0]; x.Verdict != fold.Merged || len(x.Into) == 0 || x.Reason == nil || plan.After != plan.Before || len(plan.Nodes) > 0 {
				t.Errorf("%+v", plan)
			}
			if again := refold(t, m, fold.Options{Neutralize: true}); len(again.Nodes)+len(again.Consts) > 0 {
				t.Errorf("neutralized again: %v %v", again.Nodes, again.Consts)
			}
		})
	}
}

func TestNeutralize_LeavesWhatCannotMove(t *testing.T) {
	for _, test := range []struct {
		name, why string
		build     func(m *b) *v
	}{
		{"nothing linear is near", "no scale or offset can pass", func(m *b) *v {
			return m.Op("Tanh", in(m.BatchNorm(m.Op("Tanh", in(m.Input(1, 4, 6, 6))), 4)))
		}},
		{"a weight with other users would need a name of its own", "has no stored weight of its own", func(m *b) *v {
			w := m.Weight(4, 3, 3, 3)
			x := m.Input(1, 3, 6, 6)
			return m.Op("Add", in(m.BatchNorm(m.Op("Conv", in(x, w)), 4), m.Op("Conv", in(x, w))))
		}},
		{"a scale of 0 would have to come behind the shift", "multiplied by zero", func(m *b) *v {
			x := m.Op("BatchNormalization", in(m.Op("Tanh", in(m.Input(1, 2, 5, 5))), m.Const([]float64{0, 1}, 2), m.Weight(2), m.Weight(2), m.Const([]float64{1, 2}, 2)))
			return m.Conv(x, 2, 3, 1, 1)
		}},
		{"a Mul is no normalisation", "leaves every other map", func(m *b) *v {
			return positive(m, m.Conv(m.Input(1, 3, 6, 6), 3, 4, 3, 1))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := modeltest.New(4)
			m.Output(test.build(m))
			plan, err := fold.Fold(t.Context(), m.Model, fold.Options{Neutralize: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(plan.Nodes)+len(plan.Consts) > 0 || plan.Maps[0].Verdict != fold.Left || !strings.Contains(plan.Maps[0].Reason.Text, test.why) {
				t.Errorf("%+v", plan)
			}
		})
	}
}

func TestNeutralize_MovesTheScaleOfLayerNormalization(t *testing.T) {
	build := func() *model.Model {
		m := modeltest.New(4)
		x := m.Op("LayerNormalization", in(m.Input(1, 3, 4), m.Const(m.Signed(4), 4), m.Const(make([]float64, 4), 4)))
		return m.Output(m.Op("Add", in(m.Op("MatMul", in(x, m.Weight(4, 5))), m.Weight(5))))
	}
	m := build()
	plan, err := fold.Fold(t.Context(), m, fold.Options{Neutralize: true})
	if err != nil {
		t.Fatal(err)
	}
	if gamma, err := m.Graph.Nodes[0].In(1).Const.Float64s(10); err != nil || gamma[0] != 1 || gamma[3] != 1 || len(plan.Nodes) > 0 {
		t.Errorf("%v %v %+v", gamma, err, plan)
	}
	if d := differs(build(), m, 1); d != "" {
		t.Error(d)
	}
}
