package op

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Reductions: all elements along some axes are taken together.

// reduction is how: before is applied to each element, after to the result.
type reduction struct {
	start  float64
	step   func(a, b float64) float64
	before func(x float64) float64
	after  func(x, count float64) float64
}

func init() {
	register(
		overAxes(Operator{Type: "ReduceSum", Eval: sum.node, Magnitude: additive, Terms: allTerms}),
		overAxes(Operator{Type: "ReduceMean", Eval: average.node, Magnitude: additive, Terms: allTerms}),
		overAxes(Operator{Type: "ReduceMax", Eval: top.node, Magnitude: byMagnitudes(top.node)}),
		overAxes(Operator{Type: "ReduceMin", Eval: reduction{start: math.Inf(1), step: math.Min}.node, Magnitude: byMagnitudes(top.node)}),
		overAxes(Operator{Type: "ReduceProd", Eval: reduction{start: 1, step: times}.node, Magnitude: additive, Vector: productVector}),
		overAxes(Operator{Type: "ReduceL1", Eval: reduction{step: add, before: math.Abs}.node, Magnitude: additive, Terms: allTerms}),
		overAxes(Operator{Type: "ReduceL2", Eval: reduction{step: add, before: square, after: func(x, _ float64) float64 { return math.Sqrt(x) }}.node, Terms: allTerms}),
		overAxes(Operator{Type: "ReduceSumSquare", Eval: reduction{step: add, before: square}.node, Magnitude: additive, Terms: allTerms}),
		overAxes(Operator{Type: "ReduceLogSum", Eval: reduction{step: add, after: func(x, _ float64) float64 { return math.Log(x) }}.node, Terms: allTerms}),
		overAxes(Operator{Type: "ReduceLogSumExp", Eval: logSumExp, Terms: allTerms}),
	)
}

// overAxes completes an operator that reduces all elements along some axes to one.
func overAxes(o Operator) *Operator {
	o.Inputs, o.Shape, o.Needs, o.Parts = []string{"input", "axes"}, reduceShape, reduceNeeds, true
	return &o
}

var (
	sum     = reduction{step: add}
	average = reduction{step: add, after: func(x, count float64) float64 { return x / count }}
	top     = reduction{start: math.Inf(-1), step: math.Max}
)

func square(x float64) float64 { return x * x }

// reduced says which axes a reduction takes together, and the shape of the result, with and without them as ones. No axes
// are all of them, unless noop is asked for: then none.
func reduced(n *model.Node, in []*Array) (which []bool, kept, final []int64, err error) {
	x, axes := in[0], ints(n, "axes", in, 1)
	which = make([]bool, len(x.Shape))
	for k := range which {
		which[k] = len(axes) == 0 && n.Int("noop_with_empty_axes", 0) == 0
	}
	for _, a := range axes {
		axis, err := axisOf(a, len(x.Shape))
		if err != nil {
			return nil, nil, nil, err
		}
		which[axis] = true
	}
	kept, final = slices.Clone(x.Shape), []int64{}
	for k, d := range x.Shape {
		switch {
		case !which[k]:
			final = append(final, d)
			continue
		case n.Int("keepdims", 1) != 0:
			final = append(final, 1)
		}
		kept[k] = 1
	}
	return which, kept, final, nil
}

func (r reduction) node(n *model.Node, in []*Array) ([]*Array, error) {
	which, kept, final, err := reduced(n, in)
	if err != nil {
		return nil, err
	}
	x := in[0]
	out, err := NewArray(kept)
	if err != nil {
		return nil, err
	}
	for k := range out.Data {
		out.Data[k] = r.start
	}
	step, e, count := strides(kept), 0, 1.0
	for k, d := range x.Shape {
		if which[k] {
			step[k], count = 0, count*float64(d)
		}
	}
	walk(x.Shape, func(index []int64) {
		at, v := int64(0), x.Data[e]
		for k, i := range index {
			at += i * step[k]
		}
		if r.before != nil {
			v = r.before(v)
		}
		out.Data[at] = r.step(out.Data[at], v)
		e++
	})
	for k, v := range out.Data {
		if r.after != nil {
			v = r.after(v, count)
		}
		out.Data[k] = ofType(v, x.DType)
	}
	out.Shape = final
	return one(out, nil)
}

// ofType converts a reduction's result to its integer type: a mean is rounded towards 0, and the maximum or minimum of no
// elements, ±∞, becomes an end of the type's range.
func ofType(x float64, d tensor.DType) float64 {
	if !integer(d) && d != tensor.Bool {
		return x
	}
	if math.IsInf(x, 0) {
		return saturated(x, d)
	}
	return math.Trunc(x)
}

// logSumExp is log Σ eˣ, with the largest x taken out so that nothing overflows.
func logSumExp(n *model.Node, in []*Array) ([]*Array, error) {
	keep := *n
	keep.Attrs = append(slices.DeleteFunc(slices.Clone(n.Attrs), func(a model.Attr) bool { return a.Name == "keepdims" }), model.Int("keepdims", 1))
	tops, err := top.node(&keep, in)
	if err != nil {
		return nil, err
	}
	for k, x := range tops[0].Data {
		if math.IsInf(x, 0) {
			tops[0].Data[k] = 0
		}
	}
	less, err := combine(func(x, top float64) float64 { return math.Exp(x - top) }, in[0], tops[0])
	if err != nil {
		return nil, err
	}
	list := slices.Clone(in)
	list[0] = less
	out, err := sum.node(n, list)
	if err != nil {
		return nil, err
	}
	for k := range out[0].Data {
		out[0].Data[k] = math.Log(out[0].Data[k]) + tops[0].Data[k]
	}
	return out, nil
}

// reduceShape has extent 1 on the reduced axes, or lacks them; without axes all are reduced, or none where
// noop_with_empty_axes says so.
func reduceShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axes, ok := in.axes(n, 1, len(x))
	if x == nil || !ok {
		return nil
	}
	if len(axes) == 0 && n.Int("noop_with_empty_axes", 0) != 0 {
		return shapes(x)
	}
	out := []int64{}
	for k, d := range x {
		switch {
		case len(axes) > 0 && !slices.Contains(axes, k):
			out = append(out, d)
		case n.Int("keepdims", 1) != 0:
			out = append(out, 1)
		}
	}
	return shapes(out)
}

func reduceNeeds(n *model.Node, in []*Array, out Part) []Box {
	if _, ok := given(n, "axes", in, 1); !ok {
		return nil
	}
	which, _, final, err := reduced(n, in)
	if err != nil || len(final) != len(out.Box) {
		return nil
	}
	box, k := Whole(in[0].Shape), 0
	for axis, gone := range which {
		switch {
		case !gone:
			box[axis] = out.Box[k]
		case len(final) < len(which): // the axis is not in the output
			continue
		}
		k++
	}
	return []Box{box}
}
