package fold_test

import (
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

func TestTheScaleOfAnRMSNormalisationGoesIntoWhatReadsIt(t *testing.T) {
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
				plan, err := fold.Fold(m, fold.Options{})
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
