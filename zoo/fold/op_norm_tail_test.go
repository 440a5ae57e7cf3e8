package fold_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

func TestNormTail_RMSScaleGoesIntoReaders(t *testing.T) {
	product := func(m *b, y *v) *v { return m.Op("MatMul", in(y, m.Weight(4, 5))) }
	for _, test := range []struct {
		name  string
		gone  bool
		build func(m *b, y *v) *v
	}{
		{"one product", true, product},
		{"three projections", true, func(m *b, y *v) *v {
			return m.Op("Concat", in(product(m, y), product(m, y), product(m, y)), "axis", -1)
		}},
		{"a Gemm", true, func(m *b, y *v) *v {
			return m.Op("Gemm", in(m.Op("Reshape", in(y, m.Ints(6, 4))), m.Weight(5, 4), m.Weight(5)), "transB", 1)
		}},
		{"a reader that cannot take it", false, func(m *b, y *v) *v {
			return m.Op("Concat", in(product(m, y), m.Op("Tanh", in(y))), "axis", -1)
		}},
		{"a sum with what comes another way", false, func(m *b, y *v) *v {
			return product(m, m.Op("Add", in(y, m.Op("Tanh", in(m.Input(2, 3, 4))))))
		}},
		{"a graph output", false, func(_ *b, y *v) *v { return y }},
	} {
		for _, op := range []string{"RMSNormalization", "SimplifiedLayerNormalization"} {
			t.Run(op+"/"+test.name, func(t *testing.T) {
				build := func() *model.Model {
					m := modeltest.New(5)
					m.Model.Opset[""] = 23
					return m.Output(test.build(m, m.Op(op, in(m.Input(2, 3, 4), m.Const(m.Signed(4), 4)))))
				}
				original, m := build(), build()
				plan, err := fold.Fold(t.Context(), m, fold.Options{})
				if err != nil {
					t.Fatal(err)
				}
				foldtest.AddsUp(t, plan, m)
				k := slices.IndexFunc(m.Graph.Nodes, func(n *model.Node) bool { return n.Type == op })
				if gamma := m.Graph.Nodes[k].In(1).Const.Values; slices.Equal(gamma, []float64{1, 1, 1, 1}) != test.gone {
					t.Errorf("the scale is %v", gamma)
				}
				if again := refold(t, m, fold.Options{}); len(again.Nodes)+len(again.Consts) > 0 {
					t.Errorf("folding the result again changes %v %v", again.Nodes, again.Consts)
				}
				if d := differs(original, m, 1); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// What reads the normalisation has a place for a bias or none, as a checkpoint's layers have. γ goes into both; β goes along
// where every reader takes it, and stays as β/γ where one does not.
func TestNormTail_ScaleGoesAloneWhereAShiftCannot(t *testing.T) {
	for _, test := range []struct {
		name        string
		gamma, beta []float64
		biases      []bool // of the readers
		alone       bool   // the model has a use for that
		wantScale   []float64
		wantShift   []float64
	}{
		{"every reader has a bias", []float64{2, -4, 0.5}, []float64{1, 2, 3}, []bool{true, true}, true, []float64{1, 1, 1}, []float64{0, 0, 0}},
		{"one has none", []float64{2, -4, 0.5}, []float64{1, 2, 3}, []bool{true, false}, true, []float64{1, 1, 1}, []float64{0.5, -0.5, 6}},
		{"none has one", []float64{2, -4, 0.5}, []float64{1, 2, 3}, []bool{false}, true, []float64{1, 1, 1}, []float64{0.5, -0.5, 6}},
		{"a shift of 0", []float64{2, -4, 0.5}, []float64{0, 0, 0}, []bool{false}, true, []float64{1, 1, 1}, []float64{0, 0, 0}},
		{"a scale of 0", []float64{2, 0, 0.5}, []float64{1, 2, 3}, []bool{true, false}, true, []float64{2, 0, 0.5}, []float64{1, 2, 3}},
		{"a quotient beyond the type", []float64{2, 1e-30, 0.5}, []float64{1, 1e30, 3}, []bool{true, false}, true, []float64{2, 1e-30, 0.5}, []float64{1, 1e30, 3}},
		{"nothing is gained by it", []float64{2, -4, 0.5}, []float64{1, 2, 3}, []bool{true, false}, false, []float64{2, -4, 0.5}, []float64{1, 2, 3}},
	} {
		for _, neutral := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/neutral %v", test.name, neutral), func(t *testing.T) {
				build := func() *model.Model {
					m := modeltest.New(7)
					x := m.Op("LayerNormalization", in(m.Input(2, 3), m.Const(test.gamma, 3), m.Const(test.beta, 3)))
					places := map[*model.Node]bool{}
					for _, bias := range test.biases {
						operands := in(x, m.Weight(3, 4))
						if bias {
							operands = append(operands, m.Weight(4))
						}
						y := m.Op("Gemm", operands)
						places[y.Producer] = bias
						m.Output(y)
					}
					m.Model.ScaleAlone = test.alone
					m.Model.Place = func(n *model.Node, k int) model.Place {
						if k != 2 || n.Type != "Gemm" || places[n] {
							return model.Stored
						}
						return model.NoPlace
					}
					return m.Model
				}
				original, m := build(), build()
				o := fold.Options{Neutralize: neutral}
				plan, err := fold.Fold(t.Context(), m, o)
				if err != nil {
					t.Fatal(err)
				}
				foldtest.AddsUp(t, plan, m)
				scale, shift := m.Graph.Nodes[0].In(1).Const.Values, m.Graph.Nodes[0].In(2).Const.Values
				if !slices.Equal(scale, test.wantScale) || !slices.Equal(shift, test.wantShift) {
					t.Errorf("the scale is %v, the shift %v", scale, shift)
				}
				if again := refold(t, m, o); len(again.Nodes)+len(again.Consts) > 0 {
					t.Errorf("folding the result again changes %v %v", again.Nodes, again.Consts)
				}
				if d := differs(original, m, 1); d != "" {
					t.Error(d)
				}
			})
		}
	}
}
