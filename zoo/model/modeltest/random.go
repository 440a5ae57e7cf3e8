package modeltest

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Random is a small random graph: up to size operators of all kinds that folding knows, and some that it does not, with
// random attributes, branches and shared values. Equal seeds make equal models. Every shape is static.
func Random(seed uint64, size int) *model.Model { return random(seed, size, false) }

// RandomCut is Random with parts of axes up to positions that are computed from shapes, in integers.
func RandomCut(seed uint64, size int) *model.Model { return random(seed, size, true) }

func random(seed uint64, size int, cuts bool) *model.Model {
	b := New(seed)
	g := &grower{Builder: b, cuts: cuts}
	switch b.Rand.IntN(6) {
	case 0:
		g.add(b.Input(2, 6), 2, 6)
	case 1:
		g.add(b.Input(1, 5, 6), 1, 5, 6)
	default:
		g.add(b.Input(1, 4, 6, 7), 1, 4, 6, 7)
	}
	if g.chance(4) {
		g.add(b.Input(1, 4, 6, 7), 1, 4, 6, 7)
	}
	for range 1 + b.Rand.IntN(size) {
		g.grow()
	}
	var ends []*model.Value
	for _, v := range g.values {
		if len(v.Uses) == 0 && v.Producer != nil || g.chance(20) && v.Producer != nil {
			ends = append(ends, v.Value)
		}
	}
	if len(ends) == 0 {
		ends = append(ends, b.Op("Identity", []*model.Value{g.values[0].Value}))
	}
	return b.Output(ends...)
}

// sized is a value and its shape.
type sized struct {
	*model.Value
	shape []int64
}

type grower struct {
	*Builder
	values []sized
	cuts   bool
}

func (g *grower) add(v *model.Value, shape ...int64) { g.values = append(g.values, sized{v, shape}) }

// chance is true once in so many times.
func (g *grower) chance(once int) bool { return g.Rand.IntN(once) == 0 }

func (g *grower) from(list ...int64) int64 { return list[g.Rand.IntN(len(list))] }

// pick is one of the values, mostly a late one, so that chains arise.
func (g *grower) pick() sized {
	if g.chance(4) {
		return g.values[g.Rand.IntN(len(g.values))]
	}
	return g.values[len(g.values)-1]
}

// grow adds one operator.
func (g *grower) grow() {
	x := g.pick()
	switch {
	case g.chance(2):
		g.perChannel(x)
	case g.chance(3):
		g.nonlinear(x)
	case g.cuts && g.chance(8):
		g.cut(x)
	case len(x.shape) == 4:
		g.image(x)
	case len(x.shape) == 3:
		g.sequence(x)
	default:
		g.row(x)
	}
}

func ones(rank int) []int64 { return slices.Repeat([]int64{1}, rank) }

// perChannel adds an affine map, or what looks like one.
func (g *grower) perChannel(x sized) {
	rank := len(x.shape)
	axis := 1
	if g.chance(3) {
		axis = g.Rand.IntN(rank)
	}
	c := x.shape[axis]
	shape := ones(rank)
	shape[axis] = c
	switch g.Rand.IntN(4) {
	case 0:
		shape = shape[axis:]
	case 1:
		if g.chance(2) {
			c, shape = 1, []int64{}
		}
	case 2:
		if g.chance(3) { // varies along two axes: not per channel
			other := (axis + 1) % rank
			shape[other] = x.shape[other]
			c *= x.shape[other]
		}
	}
	values := g.Signed(c)
	if g.chance(2) {
		values = g.Uniform(c, 0.4, 1.6)
	}
	constant := g.Const(values, shape...)
	inputs := []*model.Value{x.Value, constant}
	op := []string{"Mul", "Add", "Sub", "Div"}[g.Rand.IntN(4)]
	if g.chance(4) && op != "Div" {
		slices.Reverse(inputs)
	}
	switch {
	case g.chance(10):
		g.add(g.Op("Neg", []*model.Value{x.Value}), x.shape...)
	case g.chance(3) && rank > 1:
		g.add(g.BatchNorm(x.Value, x.shape[1]), x.shape...)
	default:
		g.add(g.Op(op, inputs), x.shape...)
	}
}

// nonlinear adds an operator that works element by element.
func (g *grower) nonlinear(x sized) {
	rank := len(x.shape)
	in := []*model.Value{x.Value}
	var v *model.Value
	switch g.Rand.IntN(15) {
	case 0, 1:
		v = g.Op("Relu", in)
	case 2:
		v = g.Op("LeakyRelu", in, "alpha", 0.1)
	case 3:
		shape := ones(rank - 1)
		shape[0] = x.shape[1]
		v = g.Op("PRelu", append(in, g.Const(g.Uniform(x.shape[1], -0.5, 0.5), shape...)))
	case 4:
		v = g.Op("Abs", in)
	case 5:
		low, high := 0.0, 1+4*g.Rand.Float64()
		switch g.Rand.IntN(4) {
		case 0:
			low = -g.Rand.Float64()
		case 1: // a rectifier
			high = math.MaxFloat32
		case 2:
			low, high = -math.MaxFloat32, 0
		}
		v = g.Op("Clip", append(in, g.Const([]float64{float64(float32(low))}), g.Const([]float64{float64(float32(high))})))
	case 6:
		v = g.Op("HardSigmoid", in, "alpha", 0.1+0.2*g.Rand.Float64(), "beta", g.Rand.Float64())
	case 7:
		v = g.Op("Sigmoid", in)
	case 8: // hard-swish in primitives
		gate := g.Op("Add", append(in, g.Const([]float64{3})))
		gate = g.Op("Clip", []*model.Value{gate, g.Const([]float64{0}), g.Const([]float64{6})})
		gate = g.Op("Mul", []*model.Value{x.Value, gate})
		v = g.Op("Div", []*model.Value{gate, g.Const([]float64{6})})
	case 9:
		v = g.Op([]string{"Identity", "Dropout"}[g.Rand.IntN(2)], in)
	case 10:
		v = g.Op([]string{"Max", "Min", "Mean", "Sum"}[g.Rand.IntN(4)], append(in, g.Const(g.Uniform(1, -1, 1))))
	case 11:
		v = g.Op("Reshape", append(in, g.Op("Shape", in)))
	case 12:
		v = g.idiom(x)
	default:
		v = g.two(x)
		if v == nil {
			v = g.Op("Tanh", in)
		}
	}
	g.add(v, x.shape...)
}

// cut takes a part of an axis, up to a position that is computed from the shape in integers: 7 / 3 · 2 is 4.
func (g *grower) cut(x sized) {
	axis := g.Rand.IntN(len(x.shape))
	plus, by, times := g.from(0, 1, 2), g.from(2, 3), g.from(1, 2)
	end := min((x.shape[axis]+plus)/by*times, x.shape[axis])
	if end < 1 {
		return
	}
	extent := g.Op("Slice", []*model.Value{g.Op("Shape", []*model.Value{x.Value}), g.Ints(int64(axis)), g.Ints(int64(axis) + 1)})
	if g.chance(2) {
		extent = g.Op("Gather", []*model.Value{g.Op("Shape", []*model.Value{x.Value}), g.Ints(int64(axis))})
	}
	to := g.Op("Div", []*model.Value{g.Op("Add", []*model.Value{extent, g.Ints(plus)}), g.Ints(by)})
	to = g.Op("Mul", []*model.Value{to, g.Ints(times)})
	shape := slices.Clone(x.shape)
	shape[axis] = end
	g.add(g.Op("Slice", []*model.Value{x.Value, g.Ints(0), to, g.Ints(int64(axis))}), shape...)
}

// two combines a value with another of the same shape, or with itself.
func (g *grower) two(x sized) *model.Value {
	for range 4 {
		y := g.pick()
		if slices.Equal(x.shape, y.shape) && (y.Value != x.Value || g.chance(4)) {
			pair := []*model.Value{x.Value, y.Value}
			if g.chance(6) {
				return g.Op("Where", append([]*model.Value{g.Op("Greater", []*model.Value{x.Value, g.Const([]float64{0})})}, pair...))
			}
			if g.chance(6) { // equal maps, as one
				c := g.Const(g.Signed(1))
				pair = []*model.Value{g.Op("Mul", []*model.Value{x.Value, c}), g.Op("Mul", []*model.Value{y.Value, c})}
			}
			return g.Op([]string{"Add", "Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum"}[g.Rand.IntN(8)], pair)
		}
	}
	return nil
}

// sequence adds an operator on [N, L, C].
func (g *grower) sequence(x sized) {
	n, l, c := x.shape[0], x.shape[1], x.shape[2]
	in := []*model.Value{x.Value}
	switch g.Rand.IntN(11) {
	case 10:
		g.add(g.Op("MatMul", append(in, g.Weight(c))), n, l)
	case 0, 1:
		out := g.from(3, 5, 6)
		y := g.Op("MatMul", append(in, g.Weight(c, out)))
		if g.chance(2) {
			y = g.Op("Add", []*model.Value{y, g.Weight(out)})
		}
		g.add(y, n, l, out)
	case 6:
		g.add(g.Op("MatMul", []*model.Value{g.Weight(4, l), x.Value}), n, 4, c)
	case 7:
		g.add(g.Op("MatMul", append(in, g.Weight(n, c, 5))), n, l, 5)
	case 8: // attention
		keys := g.Op("Transpose", []*model.Value{g.Op("MatMul", append(in, g.Weight(c, c)))}, "perm", []int64{0, 2, 1})
		g.add(g.Op("MatMul", []*model.Value{x.Value, keys}), n, l, l)
	case 9:
		g.add(g.Op("MatMul", append(in, g.Op("Transpose", []*model.Value{g.quantized(5, c)}))), n, l, 5)
	case 2:
		g.add(g.Op("Transpose", in, "perm", []int64{0, 2, 1}), n, c, l)
	case 3:
		inputs := append(in, g.Const(g.Signed(c), c))
		if g.chance(2) {
			inputs = append(inputs, g.Weight(c))
		}
		g.add(g.Op("LayerNormalization", inputs, "axis", -1), n, l, c)
	case 4:
		g.add(g.Op("Softmax", in, "axis", -1), n, l, c)
	default:
		if n == 1 && l*c < 400 {
			g.add(g.Op("Reshape", append(in, g.Ints(1, l*c))), 1, l*c)
		}
	}
}

// quantized adds a weight of two axes that is stored in eight bits.
func (g *grower) quantized(rows, cols int64) *model.Value {
	q := g.Ints(make([]int64, rows*cols)...)
	q.DType, q.Const.DType, q.Shape, q.Const.Shape = tensor.Int8, tensor.Int8, []int64{rows, cols}, []int64{rows, cols}
	for k := range q.Const.Values {
		q.Const.Values[k] = float64(g.Rand.IntN(255) - 127)
	}
	if g.chance(2) {
		return g.Op("DequantizeLinear", []*model.Value{q, g.Const(g.Uniform(rows, 0.005, 0.01), rows)}, "axis", 0)
	}
	return g.Op("DequantizeLinear", []*model.Value{q, g.Const([]float64{0.0078125})})
}

// row adds an operator on [N, C].
func (g *grower) row(x sized) {
	n, c := x.shape[0], x.shape[1]
	in := []*model.Value{x.Value}
	out := g.from(3, 6)
	switch g.Rand.IntN(4) {
	case 0, 1:
		transposed := g.Rand.IntN(2)
		w := g.Weight(c, out)
		if transposed == 1 {
			w = g.Weight(out, c)
		}
		inputs := append(in, w)
		switch g.Rand.IntN(5) {
		case 0:
			inputs = append(inputs, g.Weight(out))
		case 1:
			inputs = append(inputs, g.Weight(1, out))
		case 2:
			inputs = append(inputs, g.Weight())
		case 3:
			inputs = append(inputs, g.Weight(n, 1))
		}
		g.add(g.Op("Gemm", inputs, "transB", transposed, "alpha", 0.5+g.Rand.Float64(), "beta", 0.5+g.Rand.Float64()), n, out)
	case 2:
		g.add(g.Op("MatMul", append(in, g.Weight(c, out))), n, out)
	default:
		g.add(g.Op("Softmax", in, "axis", -1), n, c)
	}
}
