package fold

import (
	"math"
	"slices"
	"strconv"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(
		&operator{Family: "elementwise", Types: []string{"Mul"}, Map: mulMap, Counts: ofConstant, Back: mulBack, Forward: mulForward},
		&operator{Family: "elementwise", Types: []string{"Add"}, Map: addMap, Counts: ofConstant, Back: addBack, Forward: addForward},
		&operator{Family: "elementwise", Types: []string{"Sum"}, Back: addBack, Forward: addForward},
		&operator{Family: "elementwise", Types: []string{"Sub"}, Map: subMap, Counts: ofConstant, Back: addBack, Forward: addForward},
		&operator{Family: "elementwise", Types: []string{"Div"}, Map: divMap, Counts: ofConstant, Back: mulBack, Forward: mulForward},
		&operator{Family: "elementwise", Types: []string{"Neg"}, Map: negMap, Cost: cost{0, 1}, Back: negBack, Forward: negForward},
	)
}

func mulMap(p *planner, n *model.Node) (int, affine, *Reason) {
	return p.binaryMap(n, func(c []float64, _ bool) ([]float64, []float64, *Reason) {
		return c, make([]float64, len(c)), nil
	})
}

func addMap(p *planner, n *model.Node) (int, affine, *Reason) {
	return p.binaryMap(n, func(c []float64, _ bool) ([]float64, []float64, *Reason) {
		return ones(len(c)), c, nil
	})
}

func subMap(p *planner, n *model.Node) (int, affine, *Reason) {
	return p.binaryMap(n, func(c []float64, first bool) ([]float64, []float64, *Reason) {
		if first { // c − x
			return each(ones(len(c)), func(float64) float64 { return -1 }), c, nil
		}
		return ones(len(c)), each(c, func(x float64) float64 { return -x }), nil
	})
}

func divMap(p *planner, n *model.Node) (int, affine, *Reason) {
	return p.binaryMap(n, func(c []float64, first bool) ([]float64, []float64, *Reason) {
		if first {
			return nil, nil, because(Nonlinear, "%v divides a constant by its input", n)
		}
		if slices.Contains(c, 0) {
			return nil, nil, because(Statistics, "%v divides by zero", n)
		}
		return each(c, func(x float64) float64 { return 1 / x }), make([]float64, len(c)), nil
	})
}

func negMap(p *planner, n *model.Node) (int, affine, *Reason) {
	if x := n.In(0); x == nil || !x.DType.Float() || p.isConstant(x) {
		return 0, affine{}, &Reason{}
	}
	return 0, affine{uniform, []float64{-1}, []float64{0}}, nil
}

func each(xs []float64, f func(float64) float64) []float64 {
	out := make([]float64, len(xs))
	for k, x := range xs {
		out[k] = f(x)
	}
	return out
}

// binaryMap reads a node of two inputs, one of them constant, as a map: of computes scales and shifts from the constant's
// elements; first says that the constant is the first operand.
func (p *planner) binaryMap(n *model.Node, of func(c []float64, first bool) (scale, shift []float64, why *Reason)) (int, affine, *Reason) {
	if len(n.Inputs) != 2 || n.In(0) == nil || n.In(1) == nil {
		return 0, affine{}, &Reason{}
	}
	data := 0
	if p.isConstant(n.In(0)) {
		data = 1
	}
	x, c := n.In(data), n.In(1-data)
	if p.isConstant(x) || !x.DType.Float() && !c.DType.Float() { // x is constant too, or both are integers
		return 0, affine{}, &Reason{}
	}
	if !p.isConstant(c) {
		if c.Const != nil {
			return 0, affine{}, p.notConstant("operand", c, n)
		}
		return 0, affine{}, &Reason{} // both operands are computed at run time
	}
	shape, values, ok := p.constant(c)
	if !ok {
		return 0, affine{}, because(NotPerChannel, "the constant %q of %v is too large for a map", c.Name, n)
	}
	shape, why := p.aligned(n, x, shape, data)
	if why != nil {
		return 0, affine{}, why
	}
	axis, values, why := perChannel(n, x, shape, values)
	if why != nil {
		return 0, affine{}, why
	}
	scale, shift, why := of(values, data == 1)
	if why != nil {
		return 0, affine{}, why
	}
	return data, affine{axis, scale, shift}, nil
}

// aligned is a constant's shape as it is broadcast with x, input k of n, aligned to the right. Before operator set 7, only
// the second operand is broadcast, with the attribute broadcast, from an axis on.
func (p *planner) aligned(n *model.Node, x *model.Value, shape []int64, k int) ([]int64, *Reason) {
	if p.model.Opset[""] >= 7 || slices.Equal(shape, x.Shape) {
		return shape, nil
	}
	axis := n.Int("axis", int64(len(x.Shape)-len(shape)))
	behind := int64(len(x.Shape)-len(shape)) - axis
	if k != 0 || n.Int("broadcast", 0) == 0 || x.Shape == nil || axis < 0 || behind < 0 {
		return nil, because(NotPerChannel, "%v does not broadcast its constant, or not from a known axis on", n)
	}
	return slices.Concat(shape, slices.Repeat([]int64{1}, int(behind))), nil
}

// perChannel reads a constant that is broadcast with x, aligned to the right, as one number for each channel of an axis of
// x, or as one for all. It fails for a constant that makes the result larger than x.
func perChannel(n *model.Node, x *model.Value, shape []int64, values []float64) (int, []float64, *Reason) {
	if len(shape) == 0 {
		return uniform, values, nil
	}
	if x.Shape == nil {
		return 0, nil, because(NotPerChannel, "the rank of the input of %v is not known", n)
	}
	if len(shape) > len(x.Shape) || len(values) == 0 {
		return 0, nil, because(NotPerChannel, "the constant of %v has shape %v, which would broadcast its input", n, shape)
	}
	first := len(x.Shape) - len(shape)
	axis := uniform
	for k, d := range shape {
		if d == 1 {
			continue
		}
		if x.Shape[first+k] != d {
			return 0, nil, because(NotPerChannel, "the constant of %v has %d elements along axis %d, its input %s", n, d, first+k, extent(x.Shape[first+k]))
		}
		if varies(shape, values, k) {
			if axis != uniform {
				return 0, nil, because(NotPerChannel, "the constant of %v varies along axes %d and %d", n, axis, first+k)
			}
			axis = first + k
		}
	}
	if axis == uniform {
		return axis, values[:1], nil
	}
	inner := 1
	for _, d := range shape[axis-first+1:] {
		inner *= int(d)
	}
	channels := make([]float64, shape[axis-first])
	for c := range channels {
		channels[c] = values[c*inner]
	}
	return axis, channels, nil
}

func extent(d int64) string {
	if d < 0 {
		return "an unknown number"
	}
	return strconv.FormatInt(d, 10)
}

// varies says whether elements of a constant differ along axis k.
func varies(shape []int64, values []float64, k int) bool {
	inner := 1
	for _, d := range shape[k+1:] {
		inner *= int(d)
	}
	step := inner * int(shape[k])
	for e := range values {
		if math.Float64bits(values[e]) != math.Float64bits(values[e/step*step+e%inner]) {
			return true
		}
	}
	return false
}
