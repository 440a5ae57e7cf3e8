package fold_test

import (
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

// normed is a weight as torch's weight_norm exports it: g·v/‖v‖, or v·(g/‖v‖).
func normed(m *b, outer bool, shape ...int64) *v {
	w := m.Weight(shape...)
	norm := m.Op("ReduceL2", in(w), "axes", []int64{1, 2, 3})
	g := m.Const(m.Signed(shape[0]), shape[0], 1, 1, 1)
	if outer {
		return m.Op("Mul", in(g, m.Op("Div", in(w, norm))))
	}
	return m.Op("Mul", in(w, m.Op("Div", in(g, norm))))
}

func TestWeightProduct_NormalisedWeightIsOneConstant(t *testing.T) {
	for _, test := range []struct {
		name  string
		left  int
		code  fold.Code
		build func(m *b, w *v) *v
	}{
		{"a scale behind it", 0, "", func(m *b, w *v) *v { return m.BatchNorm(m.Op("Conv", in(m.Input(1, 6, 3, 4), w)), 5) }},
		{"a scale before it", 0, "", func(m *b, w *v) *v {
			return m.Op("Conv", in(m.Op("Mul", in(m.Input(1, 6, 3, 4), m.Const(m.Signed(6), 6, 1, 1))), w))
		}},
		{"two readers, two scales", 0, "", func(m *b, w *v) *v {
			x := m.Input(1, 6, 3, 4)
			return m.Op("Concat", in(m.BatchNorm(m.Op("Conv", in(x, w)), 5), m.BatchNorm(m.Op("Conv", in(x, w)), 5)), "axis", 2)
		}},
		{"nothing to fold", 0, "", func(m *b, w *v) *v { return m.Op("Conv", in(m.Input(1, 6, 3, 4), w)) }},
	} {
		for _, outer := range []bool{true, false} {
			t.Run(test.name, func(t *testing.T) {
				check(t, func() *model.Model {
					m := modeltest.New(5)
					return m.Output(test.build(m, normed(m, outer, 5, 6, 2, 1)))
				}, test.left, test.code)
			})
		}
	}
}

func TestWeightProduct_LargeNormalisedWeightTakesAScaleInItsFactor(t *testing.T) {
	for _, test := range []struct {
		name  string
		left  int
		build func(m *b, w *v) *v
	}{
		{"a scale behind it", 0, func(m *b, w *v) *v { return m.BatchNorm(m.Op("Conv", in(m.Input(1, 4100, 1, 1), w)), 1030) }},
		{"a scale before it would make the file larger", 1, func(m *b, w *v) *v {
			return m.Op("Conv", in(m.Op("Mul", in(m.Input(1, 4100, 1, 1), m.Const(m.Signed(4100), 4100, 1, 1))), w))
		}},
		{"two readers would make the file larger", 2, func(m *b, w *v) *v {
			x := m.Input(1, 4100, 1, 1)
			return m.Op("Concat", in(m.BatchNorm(m.Op("Conv", in(x, w)), 1030), m.BatchNorm(m.Op("Conv", in(x, w)), 1030)), "axis", 2)
		}},
		{"nothing to fold", 0, func(m *b, w *v) *v { return m.Op("Conv", in(m.Input(1, 4100, 1, 1), w)) }},
	} {
		for _, outer := range []bool{true, false} {
			t.Run(test.name, func(t *testing.T) {
				build := func() *model.Model {
					m := modeltest.New(5)
					return m.Output(test.build(m, normed(m, outer, 1030, 4100, 1, 1)))
				}
				original, m := build(), build()
				plan, err := fold.Fold(t.Context(), m, fold.Options{})
				if err != nil {
					t.Fatal(err)
				}
				foldtest.AddsUp(t, plan, m)
				if plan.After != test.left {
					t.Errorf("%d per-channel nodes are left, want %d: %+v", plan.After, test.left, plan.Maps)
				}
				for _, c := range plan.Consts {
					if c.Edit != "drop" && c.Bytes > 1<<20 {
						t.Errorf("a constant of the weight's size was written: %+v", c)
					}
				}
				if again := refold(t, m, fold.Options{}); len(again.Nodes)+len(again.Consts) > 0 {
					t.Errorf("folding the result again changes %v %v", again.Nodes, again.Consts)
				}
				if test.left == 0 && len(plan.Maps) > 0 {
					if d := differs(original, m, 1); d != "" {
						t.Error(d)
					}
				}
			})
		}
	}
}
