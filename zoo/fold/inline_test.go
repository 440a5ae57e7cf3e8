package fold_test

import (
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

// function adds a function of so many inputs to a model.
func function(m *b, name, overload string, inputs int, build func(f *b, x []*v) *v) *model.Function {
	f := modeltest.New(9)
	var x []*v
	for range inputs {
		x = append(x, f.Input())
	}
	g := f.Output(build(f, x)).Graph
	g.Model = m.Model
	m.Model.Functions = append(m.Model.Functions, &model.Function{Domain: "local", Name: name, Overload: overload, Graph: g, Opset: map[string]int64{"": 17}})
	return m.Model.Functions[len(m.Model.Functions)-1]
}

// call adds a call of a function.
func call(m *b, name, overload string, x []*v, attrs ...any) *v {
	y := m.Op(name, x, attrs...)
	y.Producer.Domain, y.Producer.Overload = "local", overload
	return y
}

func convBatchNorm(f *b, x []*v, attrs ...any) *v {
	return f.Op("BatchNormalization", append(in(f.Op("Conv", x[:2])), x[2:]...), attrs...)
}

func TestInline_CallsFoldLikeTheirBodies(t *testing.T) {
	arguments := func(m *b, x *v) []*v {
		return in(x, m.Weight(4, 3, 2, 2), m.Const(m.Signed(4), 4), m.Weight(4), m.Weight(4), m.Const(m.Uniform(4, 0.4, 1.8), 4))
	}
	reference := func(f *b, x []*v) *v { // ε comes from the call
		y := convBatchNorm(f, x)
		y.Producer.Attrs = []model.Attr{{Name: "epsilon", Kind: model.RefAttr, String: "eps"}}
		return y
	}
	for _, test := range []struct {
		name   string
		left   int // functions
		called func(m *b, x *v) *v
		plain  func(m *b, x *v) *v
	}{
		{"called twice", 0, func(m *b, x *v) *v {
			function(m, "F", "", 6, func(f *b, x []*v) *v { return convBatchNorm(f, x) })
			return m.Op("Add", in(call(m, "F", "", arguments(m, x)), call(m, "F", "", arguments(m, x))))
		}, func(m *b, x *v) *v {
			return m.Op("Add", in(convBatchNorm(m, arguments(m, x)), convBatchNorm(m, arguments(m, x))))
		}},
		{"nested", 0, func(m *b, x *v) *v {
			function(m, "Inner", "", 6, func(f *b, x []*v) *v { return convBatchNorm(f, x) })
			function(m, "Outer", "", 6, func(f *b, x []*v) *v { return f.Op("Relu", in(call(f, "Inner", "", x))) })
			return call(m, "Outer", "", arguments(m, x))
		}, func(m *b, x *v) *v { return m.Op("Relu", in(convBatchNorm(m, arguments(m, x)))) }},
		{"overloaded", 0, func(m *b, x *v) *v {
			function(m, "F", "plain", 6, func(f *b, x []*v) *v { return convBatchNorm(f, x) })
			function(m, "F", "negative", 6, func(f *b, x []*v) *v { return f.Op("Neg", in(convBatchNorm(f, x))) })
			return m.Op("Add", in(call(m, "F", "plain", arguments(m, x)), call(m, "F", "negative", arguments(m, x))))
		}, func(m *b, x *v) *v {
			return m.Op("Add", in(convBatchNorm(m, arguments(m, x)), m.Op("Neg", in(convBatchNorm(m, arguments(m, x))))))
		}},
		{"an attribute of the call", 0, func(m *b, x *v) *v {
			function(m, "F", "", 6, reference)
			return call(m, "F", "", arguments(m, x), "eps", 0.5)
		}, func(m *b, x *v) *v { return convBatchNorm(m, arguments(m, x), "epsilon", 0.5) }},
		{"an attribute's default", 0, func(m *b, x *v) *v {
			function(m, "F", "", 6, reference).Defaults = []model.Attr{{Name: "eps", Kind: model.FloatAttr, Float: 0.5}}
			return call(m, "F", "", arguments(m, x))
		}, func(m *b, x *v) *v { return convBatchNorm(m, arguments(m, x), "epsilon", 0.5) }},
		{"an attribute that is not given", 0, func(m *b, x *v) *v {
			function(m, "F", "", 6, reference)
			return call(m, "F", "", arguments(m, x))
		}, func(m *b, x *v) *v { return convBatchNorm(m, arguments(m, x)) }},
		{"not called, or of no use to folding", 1, func(m *b, x *v) *v {
			function(m, "Useful", "", 6, func(f *b, x []*v) *v { return convBatchNorm(f, x) })
			function(m, "Useless", "", 1, func(f *b, x []*v) *v { return f.Op("Relu", x) })
			return convBatchNorm(m, arguments(m, x))
		}, func(m *b, x *v) *v { return convBatchNorm(m, arguments(m, x)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := func(f func(m *b, x *v) *v) *model.Model {
				m := modeltest.New(5)
				y := f(m, m.Input(1, 3, 5, 5))
				y.Name = "y"
				return m.Output(y)
			}
			m := build(test.called)
			plan, err := fold.Fold(t.Context(), m, fold.Options{})
			if err != nil || plan.After != 0 || len(m.Functions) != test.left {
				t.Fatalf("%v, %d per-channel nodes and %d functions are left", err, plan.After, len(m.Functions))
			}
			if d := differs(build(test.plain), m, 1); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestInline_FunctionsWithoutFoldsStay(t *testing.T) {
	build := func() *model.Model {
		m := modeltest.New(5)
		function(m, "Stuck", "", 2, func(f *b, x []*v) *v { return f.Op("Tanh", in(f.Op("Mul", in(f.Op("Tanh", x[:1]), x[1])))) })
		function(m, "Inner", "", 6, func(f *b, x []*v) *v { return convBatchNorm(f, x) })
		function(m, "Outer", "", 6, func(f *b, x []*v) *v { return f.Op("Relu", in(call(f, "Inner", "", x))) })
		x := m.Input(1, 3, 5, 5)
		y := call(m, "Stuck", "", in(x, m.Weight(3, 1, 1)))
		return m.Output(call(m, "Outer", "", in(y, m.Weight(4, 3, 2, 2), m.Const(m.Signed(4), 4), m.Weight(4), m.Weight(4), m.Const(m.Uniform(4, 0.4, 1.8), 4))))
	}
	m := build()
	plan, err := fold.Fold(t.Context(), m, fold.Options{})
	if err != nil || len(m.Functions) != 1 || m.Functions[0].Name != "Stuck" || len(m.Graph.Nodes) != 3 {
		t.Fatalf("%v, %d functions, %d nodes", err, len(m.Functions), len(m.Graph.Nodes))
	}
	for _, n := range m.Graph.Nodes {
		if n.Type == "Stuck" && n.Edited {
			t.Errorf("%v was edited", n)
		}
	}
	foldtest.AddsUp(t, plan, m)
	original := build()
	plan.Inline(original)
	if len(original.Functions) != 1 || len(original.Graph.Nodes) != 4 {
		t.Errorf("in the original %d functions and %d nodes are left", len(original.Functions), len(original.Graph.Nodes))
	}
}

func TestRemaining_MapInAFunctionThatStaysHasAReason(t *testing.T) {
	m := modeltest.New(5)
	function(m, "Stuck", "", 1, func(f *b, x []*v) *v {
		return f.Op("Tanh", in(f.Op("Mul", in(f.Op("Tanh", x), f.Const([]float64{2, 3, 4}, 3, 1, 1)))))
	})
	m.Output(call(m, "Stuck", "", in(call(m, "Stuck", "", in(m.Input(1, 3, 5, 5))))))
	plan, err := fold.Fold(t.Context(), m.Model, fold.Options{})
	if err != nil || len(m.Model.Functions) != 1 || plan.Before != 1 || plan.After != 1 {
		t.Fatalf("%v, %d functions, %+v", err, len(m.Model.Functions), plan)
	}
	foldtest.AddsUp(t, plan, m.Model)
	if why := plan.Remaining[0].Reason; why.Code != fold.Subgraph {
		t.Errorf("the reason is %v", why)
	}
}
