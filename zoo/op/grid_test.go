package op_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

// partsOf computes, for every node of the examples, a grid of an output from no more than what it needs: it has to be what the
// whole output holds there.
func partsOf(t *testing.T, list []example) {
	parts, apart, products := map[string]int{}, map[string]int{}, map[string]int{}
	for k, e := range list {
		rng := rand.New(rand.NewPCG(uint64(k), 8))
		e.each(t, func(n *model.Node, in, out []*op.Array) {
			for j, y := range out {
				for range 4 {
					if y == nil || n.Out(j) == nil || len(y.Data) == 0 {
						continue
					}
					grid := drawnGrid(rng, y.Shape)
					needed := op.GridNeeds(n, in, j, y.Shape, grid)
					shapes, given, sizes := extentsOf(in), make([]*op.Array, len(in)), make([]*op.Array, len(in))
					for i, a := range in {
						if a == nil {
							continue
						}
						part, err := a.Part(op.WholeGrid(a.Shape), needed[i])
						if err != nil {
							return // integers beyond 2^53
						}
						given[i], sizes[i] = part, part
					}
					want, err := y.Part(op.WholeGrid(y.Shape), grid)
					if err != nil {
						return
					}
					if got, _, err := op.EvalPart(n, given, sizes, needed, shapes, j, y.Shape, grid); err == nil {
						if parts[n.Type]++; op.InParts(n, needed, grid) {
							apart[n.Type]++
						}
						if !slices.Equal(got.Shape, want.Shape) || !near(got.Data, want.Data) {
							t.Errorf("%s: %v, grid %v of output %d of shape %v from %v: %v, want %v", e.name, n, grid, j, y.Shape, needed, got.Data, want.Data)
						}
					}
					l, ok := op.LinearOf(n, shapes, needed, grid)
					if !ok {
						continue
					}
					products[n.Type]++
					var bias *op.Array
					if len(given) > 2 {
						bias = given[2]
					}
					if got := multiplied(t, l, in[l.Weight], given[l.Input], bias); !slices.Equal(got.Shape, want.Shape) || !near(got.Data, want.Data) {
						t.Errorf("%s: %v, grid %v of shape %v as a product: %v, want %v", e.name, n, grid, y.Shape, got.Data, want.Data)
					}
				}
			}
		})
	}
	t.Logf("parts of %d operators, of %d of them from parts alone; products %v", len(parts), len(apart), products)
	if len(parts) < 130 || len(apart) < 60 || len(products) != 4 {
		t.Errorf("parts of %d operators, of %d from parts alone; products %v: that tests little", len(parts), len(apart), products)
	}
}

// drawnGrid are some positions of each axis, one at least.
func drawnGrid(rng *rand.Rand, shape []int64) op.Grid {
	grid := op.Grid{}
	for _, d := range shape {
		var axis []op.Range
		whole := rng.IntN(3) == 0
		one := rng.Int64N(d)
		for i := range d {
			if !whole && i != one && rng.IntN(3) > 0 {
				continue
			}
			if k := len(axis) - 1; k >= 0 && axis[k].To == i {
				axis[k].To++
			} else {
				axis = append(axis, op.Range{From: i, To: i + 1})
			}
		}
		grid = append(grid, axis)
	}
	return grid
}

func near(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool {
		return x == y || math.Abs(x-y) <= 1e-12*(1+math.Abs(y)) || math.IsNaN(x) && math.IsNaN(y)
	})
}

// multiplied is a node by its products, each group's rows as they are stored.
func multiplied(t *testing.T, l *op.Linear, w, x, bias *op.Array) *op.Array {
	width := (l.Columns + op.Panel - 1) / op.Panel * op.Panel
	y := make([]float64, l.Groups*l.Rows*width)
	for g := range l.Groups {
		columns := op.NewColumns(l.Depth, l.Columns)
		l.Draw(x, g, columns, 0)
		part := w.Data[g*l.Rows*l.Depth:][:l.Rows*l.Depth]
		if l.Across {
			turned := make([]float64, len(part))
			for k := range l.Depth {
				for r := range l.Rows {
					turned[r*l.Depth+k] = part[k*l.Rows+r]
				}
			}
			part = turned
		}
		op.PlainProducts{}.Add(y[g*l.Rows*width:][:l.Rows*width], part, columns.Data, l.Rows, l.Depth, columns.Panels(), l.Depth*op.Panel, false)
	}
	out, err := l.Finish(y, width, 0, bias, false)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
