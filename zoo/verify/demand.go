package verify

import (
	"maps"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

// demand is what of a region is evaluated.
type demand struct {
	grids  map[string]op.Grid // of inputs and outputs; nil: all of them
	before needs
	after  needs
	probes []probe
}

// needs are the elements that are needed of each value of a side.
type needs map[*model.Value]op.Grid

// shape is that of a probe for an input.
func (d *demand) shape(name string, whole []int64) []int64 {
	if g, ok := d.grids[name]; ok {
		return g.Shape()
	}
	return whole
}

// maxWhole bounds the multiplications of a region that is evaluated as a whole although parts of it would do.
const maxWhole = 1 << 21

// demand chooses the positions of the outputs that are compared, and how many probes there are. All elements of constants
// have a part in what is compared; along axes where that is so with a few positions, a few are taken: both ends, the neighbour
// of the first and what is in the middle. With one for each axis they are all corners and edges, and some within. Where
// operators treat positions otherwise than their neighbours, as slices do, all are taken if that costs little.
func (c *comparison) demand(before, after *side, probed, outputs []string, shapes [][]int64, apart bool) *demand {
	all := &demand{probes: probes[:4]}
	known := before.infer(shapes) && after.infer(shapes)
	if !known {
		return all
	}
	grids := map[string]op.Grid{}
	for _, name := range outputs {
		shape := before.shapes[before.value(name)]
		if !slices.Equal(shape, after.shapes[after.value(name)]) {
			return all
		}
		grids[name] = op.WholeGrid(shape)
	}
	d := &demand{}
	take := func(grids map[string]op.Grid) bool {
		x, y := before.needs(grids), after.needs(grids)
		if d.before != nil && !(before.same(d.before, x) && after.same(d.after, y)) {
			return false
		}
		d.before, d.after, d.grids = x, y, maps.Clone(grids)
		return true
	}
	take(grids)
	work := before.work(d.before) + after.work(d.after)
	if apart && (before.alike() && after.alike() || work > maxWhole) {
		for _, name := range outputs {
			for axis, list := range grids[name] {
				if some := few(list); some != nil {
					trial := maps.Clone(grids)
					trial[name] = slices.Clone(grids[name])
					if trial[name][axis] = some; take(trial) {
						grids = trial
					}
				}
			}
		}
		work = before.work(d.before) + after.work(d.after)
	}
	d.probes = chosen(work, before.stored(d.before)+after.stored(d.after), before.affine() && after.affine())
	if !apart {
		return &demand{probes: d.probes}
	}
	for _, name := range probed {
		x, y := d.before[before.value(name)], d.after[after.value(name)]
		switch {
		case x == nil:
			x = y
		case y != nil:
			x = x.Join(y)
		}
		if x == nil { // nobody needs an element of it
			x = make(op.Grid, len(before.shapes[before.value(name)]))
		}
		d.grids[name] = x
	}
	return d
}

// few are a few positions of an axis; nil if there are no more.
func few(axis []op.Range) []op.Range {
	if len(axis) != 1 || axis[0].To-axis[0].From < 5 {
		return nil
	}
	last := axis[0].To - 1
	middle := axis[0].From + (last-axis[0].From)/2
	if middle < axis[0].From+3 {
		return []op.Range{{From: axis[0].From, To: axis[0].From + 3}, {From: last, To: last + 1}}
	}
	return []op.Range{{From: axis[0].From, To: axis[0].From + 2}, {From: middle, To: middle + 1}, {From: last, To: last + 1}}
}

// infer finds the shapes of a side's values, its inputs of the given shapes. false: some are not known.
func (s *side) infer(shapes [][]int64) bool {
	s.shapes = map[*model.Value][]int64{}
	cut := false
	for j, v := range s.inputs {
		s.shapes[v] = shapes[j]
		cut = cut || !slices.Equal(shapes[j], v.Shape)
	}
	known := func(shape []int64) bool {
		return shape != nil && !slices.ContainsFunc(shape, func(d int64) bool { return d < 0 })
	}
	for _, n := range s.order {
		for _, v := range n.Inputs {
			if v != nil && s.shapes[v] == nil {
				a := s.argument(v)
				if a == nil {
					return false
				}
				s.shapes[v] = a.Shape
			}
		}
		list := op.ShapesOf(n, s.consts, s.shapes)
		for k, v := range n.Outputs {
			if v == nil {
				continue
			}
			var shape []int64
			if k < len(list) {
				shape = list[k]
			}
			if !known(shape) && !cut {
				shape = v.Shape
			}
			if !known(shape) {
				return false
			}
			s.shapes[v] = shape
		}
	}
	for _, v := range s.outputs {
		if a := s.argument(v); s.shapes[v] == nil && a != nil {
			s.shapes[v] = a.Shape
		}
		if s.shapes[v] == nil {
			return false
		}
	}
	return true
}

// maxArgument bounds the elements of a constant that says what is computed, as indices do.
const maxArgument = 1 << 16

// argument is a constant, with its elements where they are few; nil for other values.
func (s *side) argument(v *model.Value) *op.Array {
	if a, ok := s.arguments[v]; ok {
		return a
	}
	var a *op.Array
	switch {
	case v.Const != nil:
		a = &op.Array{DType: v.Const.DType, Shape: append([]int64{}, v.Const.Shape...)}
		if size, ok := v.Const.Elements(); ok && size <= maxArgument {
			if whole, err := op.FromConstant(v.Const, maxArgument); err == nil {
				a = whole
			}
		}
	case s.given(v):
		a, _ = s.consts.Value(v)
	}
	s.arguments[v] = a
	return a
}

// arrays are a node's inputs, those with elements that are known beforehand.
func (s *side) arrays(n *model.Node) []*op.Array {
	in := make([]*op.Array, len(n.Inputs))
	for k, v := range n.Inputs {
		if v == nil {
			continue
		}
		if in[k] = s.known[v]; in[k] == nil {
			if in[k] = s.argument(v); in[k] == nil {
				in[k] = &op.Array{DType: v.DType, Shape: s.shapes[v]}
			}
			s.known[v] = in[k]
		}
	}
	return in
}

// needs go back from grids of the outputs to what is needed of all other values.
func (s *side) needs(grids map[string]op.Grid) needs {
	out := needs{}
	join := func(v *model.Value, g op.Grid) {
		if old, ok := out[v]; ok {
			g = old.Join(g)
		}
		out[v] = g
	}
	for j, v := range s.outputs {
		join(v, grids[s.names[j]])
	}
	for _, n := range slices.Backward(s.order) {
		for k, v := range n.Outputs {
			if v == nil || out[v] == nil {
				continue
			}
			for j, g := range op.GridNeeds(n, s.arrays(n), k, s.shapes[v], out[v]) {
				if n.Inputs[j] != nil {
					join(n.Inputs[j], g)
				}
			}
		}
	}
	return out
}

// same says whether the same elements of the constants are needed.
func (s *side) same(a, b needs) bool {
	for v, g := range a {
		if s.given(v) && !g.Equal(b[v]) {
			return false
		}
	}
	return true
}

// stored is how many elements of constants are needed.
func (s *side) stored(of needs) (elements float64) {
	for v, g := range of {
		if s.given(v) {
			elements += volume(g.Shape())
		}
	}
	return elements
}

// work is how many multiplications there are for one probe.
func (s *side) work(of needs) (count float64) {
	for _, n := range s.order {
		terms := float64(op.Terms(n, s.arrays(n)))
		for _, v := range n.Outputs {
			if g, ok := of[v]; ok {
				count += terms * volume(g.Shape())
			}
		}
	}
	return count
}

func volume(shape []int64) float64 {
	x := 1.0
	for _, d := range shape {
		x *= float64(d)
	}
	return x
}

// alike says whether all operators treat positions as they do their neighbours.
func (s *side) alike() bool {
	return !slices.ContainsFunc(s.order, func(n *model.Node) bool {
		o := op.Of(n)
		return !o.Elementwise && !o.PerChannel && !o.Parts && !o.Lines && o.Window == nil || n.Type == "Concat"
	})
}

// affine says whether a side is an affine function of its inputs: of that two probes show all.
func (s *side) affine() bool {
	return !slices.ContainsFunc(s.order, func(n *model.Node) bool {
		switch o := op.Of(n); {
		case o.PerChannel || o.Rearranges:
			return false
		case o.Window != nil && n.Type != "MaxPool" && n.Type != "LpPool":
			return false
		}
		switch n.Type {
		case "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Concat", "Split", "Slice", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Pad", "Resize":
			return false
		}
		return true
	})
}
