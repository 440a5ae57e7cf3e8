package verify

import (
	"maps"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

// demand is the part of a region's inputs and outputs that is evaluated.
type demand struct {
	grids  map[string]op.Grid // of inputs and outputs; nil: all of them
	before needs
	after  needs
	probes []probe
}

// needs are the elements that are needed of each value of a side.
type needs map[*model.Value]op.Grid

// shape is the shape of a probe of an input.
func (d *demand) shape(name string, whole []int64) []int64 {
	if g, ok := d.grids[name]; ok {
		return g.Shape()
	}
	return whole
}

// maxWhole bounds the multiplications up to which a region is evaluated as a whole, although a part would be enough.
const maxWhole = 1 << 21

// demand chooses the positions of the outputs that are compared, and on how many probes. Along an axis whose middle depends
// on all constants that the whole axis depends on, a few are taken: both ends, the middle, and the neighbour of the first
// if it may be at the border too. A few positions of each axis cover all corners, edges and some of the interior. Along all
// other axes, those of channels above all, every position is taken. The same goes for operators that do not treat
// neighbouring positions alike, such as slices, if that costs little.
func (c *comparison) demand(before, after *side, probed, outputs []string, shapes [][]int64, a attempt) *demand {
	all := &demand{probes: otherProbes[:5]}
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
	d := &demand{before: before.needs(grids), after: after.needs(grids), grids: grids}
	work := before.work(d.before) + after.work(d.after)
	if a.apart && (before.alike() && after.alike() || work > maxWhole) {
		period := max(before.period(), after.period())
		wide := before.wide() || after.wide()
		with := func(name string, axis int, list []op.Range) map[string]op.Grid {
			other := maps.Clone(d.grids)
			other[name] = slices.Clone(other[name])
			other[name][axis] = list
			return other
		}
		for _, name := range outputs {
			for axis, list := range grids[name] {
				some, middle := few(list, period, wide)
				if some == nil {
					continue
				}
				alone := with(name, axis, middle)
				if before.same(d.before, before.needs(alone)) && after.same(d.after, after.needs(alone)) {
					d.grids = with(name, axis, some)
				}
			}
		}
		d.before, d.after = before.needs(d.grids), after.needs(d.grids)
		work = before.work(d.before) + after.work(d.after)
	}
	d.probes = chosen(work, before.stored(d.before)+after.stored(d.after), c.small, before.affine() && after.affine(), a.few)
	if !a.apart {
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
	for j, name := range probed { // what is one value in the folded model is probed at the same positions
		if k := c.twin(probed[:j], name); k >= 0 && len(d.grids[name]) == len(d.grids[probed[k]]) {
			both := d.grids[name].Join(d.grids[probed[k]])
			d.grids[name], d.grids[probed[k]] = both, both
		}
	}
	return d
}

// few are some positions of an axis, and the period ones in the middle; nil if the axis has hardly more. wide: the
// neighbour of the first is among them.
func few(axis []op.Range, period int64, wide bool) (some, middle []op.Range) {
	ends := period
	if wide {
		ends++
	}
	if len(axis) != 1 || axis[0].To-axis[0].From <= 2*period+ends {
		return nil, nil
	}
	from, to := axis[0].From, axis[0].To
	first, last := op.Range{From: from, To: from + ends}, op.Range{From: to - period, To: to}
	at := from + (to-from)/2
	at = max(min(at, last.From-period), first.To)
	middle = []op.Range{{From: at, To: at + period}}
	for _, r := range []op.Range{first, middle[0], last} {
		if k := len(some) - 1; k >= 0 && some[k].To == r.From {
			some[k].To = r.To
		} else {
			some = append(some, r)
		}
	}
	return some, middle
}

// wide says whether windows may overlap the border at the second position of an axis too. If not, that position behaves
// like the middle.
func (s *side) wide() bool {
	padded := 0 // windows, one behind the other
	for _, n := range s.order {
		o := op.Of(n)
		switch {
		case n.Type == "Gemm" || n.Type == "MatMul" || n.Type == "GlobalAveragePool" || n.Type == "GlobalMaxPool":
		case o.Window != nil && n.Type != "ConvTranspose":
			pads, strides := n.Ints("pads"), n.Ints("strides")
			if auto := n.Str("auto_pad", "NOTSET"); auto != "NOTSET" && auto != "VALID" {
				return true
			}
			before := pads[:len(pads)/2]
			for axis, pad := range before {
				stride := int64(1)
				if axis < len(strides) {
					stride = strides[axis]
				}
				if pad > stride {
					return true
				}
			}
			if slices.ContainsFunc(before, func(pad int64) bool { return pad > 0 }) {
				padded++
			}
		case !o.Elementwise && !o.PerChannel && !o.Lines:
			return true
		}
	}
	return padded > 1
}

// maxPeriod bounds the positions in the middle that represent all others.
const maxPeriod = 64

// period is the number of positions after which operators that enlarge images repeat their pattern.
func (s *side) period() int64 {
	period := int64(1)
	for _, n := range s.order {
		switch n.Type {
		case "ConvTranspose":
			period *= largest(n.Ints("strides"))
		case "DepthToSpace":
			period *= max(1, n.Int("blocksize", 1))
		}
		period = min(period, maxPeriod)
	}
	return period
}

// infer finds the shapes of a side's values for inputs of the given shapes. The result is false if some are not known.
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

// maxArgument bounds the elements of constants such as indices, whose values decide what is computed.
const maxArgument = 1 << 16

// argument is a constant, with its elements if they are at most maxArgument; nil for other values.
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

// same says whether two demands need the same elements of the constants; constants with equal elements do not count.
func (s *side) same(a, b needs) bool {
	for v, g := range a {
		if s.given(v) && !g.Equal(b[v]) && !(b[v] != nil && uniform(s.argument(v).Data)) {
			return false
		}
	}
	return true
}

// uniform says whether there are elements, and all are equal.
func uniform(data []float64) bool {
	return len(data) > 0 && !slices.ContainsFunc(data, func(x float64) bool { return x != data[0] })
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

// alike says whether all operators treat neighbouring positions alike.
func (s *side) alike() bool {
	return !slices.ContainsFunc(s.order, func(n *model.Node) bool {
		o := op.Of(n)
		return !o.Elementwise && !o.PerChannel && !o.Parts && !o.Lines && o.Window == nil || n.Type == "Concat"
	})
}

// affine says whether a side is an affine function of its inputs: two probes suffice for that.
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
