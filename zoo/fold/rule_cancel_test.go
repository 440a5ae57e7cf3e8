package fold_test

import (
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
)

func TestCancel_TransposesAroundFoldedMaps(t *testing.T) {
	last, first, other := []int64{0, 2, 3, 1}, []int64{0, 3, 1, 2}, []int64{0, 3, 2, 1}
	turn := func(m *b, x *v, perm []int64) *v { return m.Op("Transpose", in(x), "perm", perm) }
	scaled := func(m *b, x *v, shape ...int64) *v { return m.Op("Mul", in(x, m.Const(m.Signed(4), shape...))) }
	for _, test := range []struct {
		name  string
		left  int // Transposes
		build func(m *b) []*v
	}{
		{"around a map that went backward", 0, func(m *b) []*v {
			return in(m.Op("Relu", in(turn(m, scaled(m, turn(m, image(m), last), 4), first))))
		}},
		{"around a map that went forward", 0, func(m *b) []*v {
			x := turn(m, scaled(m, turn(m, m.Input(1, 5, 6, 4), first), 4, 1, 1), last)
			return in(m.Op("MatMul", in(x, m.Weight(4, 3))))
		}},
		{"the second one makes an output", 0, func(m *b) []*v {
			return in(turn(m, scaled(m, turn(m, image(m), last), 4), first))
		}},
		{"the second one makes an output of an input: it has to stay", 2, func(m *b) []*v {
			return in(turn(m, scaledByOne(m, turn(m, m.Input(1, 5, 6, 4), first)), last))
		}},
		{"the first one has other readers: it stays", 1, func(m *b) []*v {
			x := turn(m, m.Op("Gather", in(m.Weight(9, 4), m.Op("Cast", in(m.Input(1, 5, 6)), "to", 7))), first)
			y := scaledByOne(m, x)
			return in(m.Op("Relu", in(x)), m.Op("Relu", in(turn(m, y, last))))
		}},
		{"the second one does not undo the first", 2, func(m *b) []*v {
			return in(m.Op("Relu", in(turn(m, scaled(m, turn(m, image(m), last), 4), other))))
		}},
		{"a pair that the model came with stays", 2, func(m *b) []*v {
			return in(m.Op("Relu", in(turn(m, turn(m, scaled(m, image(m), 4, 1, 1), last), first))))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := func() *model.Model {
				m := modeltest.New(3)
				return m.Output(test.build(m)...)
			}
			check(t, build, 0, "")
			m := build()
			if _, err := fold.Fold(t.Context(), m, fold.Options{}); err != nil {
				t.Fatal(err)
			}
			left := slices.DeleteFunc(slices.Clone(m.Graph.Nodes), func(n *model.Node) bool { return n.Type != "Transpose" })
			if len(left) != test.left {
				t.Errorf("%d Transposes are left, want %d: %v", len(left), test.left, left)
			}
		})
	}
}

// scaledByOne is a map that does nothing, over four channels.
func scaledByOne(m *b, x *v) *v { return m.Op("Mul", in(x, m.Const([]float64{1, 1, 1, 1}, 4, 1, 1))) }
