package modeltest

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Random is a small random graph: up to size operators of all kinds that folding knows, and some that it does not, with
// random attributes, branches and shared values. Equal seeds make equal models. Every shape is static.
func Random(seed uint64, size int) *model.Model {
	b := New(seed)
	g := &grower{Builder: b}
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
	switch g.Rand.IntN(12) {
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
		if g.chance(2) {
			low = -g.Rand.Float64()
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
	default:
		v = g.two(x)
		if v == nil {
			v = g.Op("Tanh", in)
		}
	}
	g.add(v, x.shape...)
}

// two combines a value with another of the same shape, or with itself.
func (g *grower) two(x sized) *model.Value {
	for range 4 {
		y := g.pick()
		if slices.Equal(x.shape, y.shape) && (y.Value != x.Value || g.chance(4)) {
			return g.Op([]string{"Add", "Add", "Sub", "Mul", "Max"}[g.Rand.IntN(5)], []*model.Value{x.Value, y.Value})
		}
	}
	return nil
}

// image adds an operator on [1, C, H, W].
func (g *grower) image(x sized) {
	n, c, h, w := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	in := []*model.Value{x.Value}
	switch g.Rand.IntN(16) {
	case 0, 1, 2, 3:
		g.conv(x)
	case 4:
		groups, out := int64(1), g.from(2, 4, 6)
		if c%2 == 0 && g.chance(2) {
			groups = 2
		}
		k, s := g.from(1, 2, 3), g.from(1, 2)
		inputs := append(in, g.Weight(c, out/groups, k, k))
		if g.chance(2) {
			inputs = append(inputs, g.Weight(out))
		}
		pad := int64(0)
		if k > 1 && g.chance(2) {
			pad = 1
		}
		if h > 16 || (h-1)*s+k-2*pad < 1 || (w-1)*s+k-2*pad < 1 {
			return
		}
		v := g.Op("ConvTranspose", inputs, "group", int(groups), "kernel_shape", []int64{k, k}, "strides", []int64{s, s}, "pads", []int64{pad, pad, pad, pad})
		g.add(v, n, out, (h-1)*s+k-2*pad, (w-1)*s+k-2*pad)
	case 5, 6:
		if h < 3 || w < 3 {
			return
		}
		attrs := []any{"kernel_shape", []int64{2, 2}, "strides", []int64{1, 1}}
		pad := g.from(0, 1)
		attrs = append(attrs, "pads", []int64{pad, pad, pad, pad})
		if g.chance(2) {
			g.add(g.Op("MaxPool", in, attrs...), n, c, h-1+2*pad, w-1+2*pad)
			return
		}
		g.add(g.Op("AveragePool", in, append(attrs, "count_include_pad", g.Rand.IntN(2))...), n, c, h-1+2*pad, w-1+2*pad)
	case 7:
		switch g.Rand.IntN(3) {
		case 0:
			g.add(g.Op("GlobalAveragePool", in), n, c, 1, 1)
		case 1:
			g.add(g.Op("GlobalMaxPool", in), n, c, 1, 1)
		default:
			g.add(g.Op("ReduceMean", in, "axes", []int64{2, 3}, "keepdims", 1), n, c, 1, 1)
		}
	case 8:
		y := g.pick()
		if len(y.shape) == 4 && y.shape[2] == h && y.shape[3] == w && c+y.shape[1] < 24 {
			g.add(g.Op("Concat", []*model.Value{x.Value, y.Value}, "axis", 1), n, c+y.shape[1], h, w)
		} else if h < 12 {
			g.add(g.Op("Concat", []*model.Value{x.Value, x.Value}, "axis", 2), n, c, 2*h, w)
		}
	case 9:
		if c < 2 {
			return
		}
		k := 1 + g.Rand.Int64N(c-1)
		if g.chance(2) {
			parts := g.Ops("Split", 2, append(in, g.Ints(k, c-k)), "axis", 1)
			g.add(parts[0], n, k, h, w)
			g.add(parts[1], n, c-k, h, w)
		} else {
			g.add(g.Op("Slice", append(in, g.Ints(0), g.Ints(k), g.Ints(1))), n, k, h, w)
		}
	case 10:
		if g.chance(2) {
			g.add(g.Op("Transpose", in, "perm", []int64{0, 2, 3, 1}), n, h, w, c)
		} else {
			g.add(g.Op("Transpose", in, "perm", []int64{0, 3, 1, 2}), n, w, c, h)
		}
	case 11:
		if h > 14 || w > 14 || h < 2 || w < 2 {
			return
		}
		inputs := append(in, g.Ints(0, 0, 1, 1, 0, 0, 1, 0))
		mode := []string{"constant", "reflect", "edge"}[g.Rand.IntN(3)]
		if mode == "constant" && g.chance(2) {
			inputs = append(inputs, g.Const(g.Uniform(1, -1, 1)))
		}
		g.add(g.Op("Pad", inputs, "mode", mode), n, c, h+2, w+1)
	case 12:
		if h > 8 || w > 8 {
			return
		}
		scales := g.Const([]float64{1, 1, 2, 2}, 4)
		mode := []string{"nearest", "linear"}[g.Rand.IntN(2)]
		g.add(g.Op("Resize", append(in, nil, scales), "mode", mode), n, c, 2*h, 2*w)
	case 13:
		switch {
		case c%4 == 0 && h < 9 && g.chance(2):
			g.add(g.Op("DepthToSpace", in, "blocksize", 2, "mode", []string{"DCR", "CRD"}[g.Rand.IntN(2)]), n, c/4, 2*h, 2*w)
		case h%2 == 0 && w%2 == 0 && c < 7:
			g.add(g.Op("SpaceToDepth", in, "blocksize", 2), n, 4*c, h/2, w/2)
		}
	case 14:
		if c*h*w > 400 {
			return
		}
		g.add(g.Op("Flatten", in), n, c*h*w)
	default:
		if g.chance(2) {
			g.add(g.Op("InstanceNormalization", []*model.Value{x.Value, g.Const(g.Signed(c), c), g.Weight(c)}), n, c, h, w)
			return
		}
		g.add(g.Op("Reshape", append(in, g.Ints(n, c, h*w))), n, c, h*w)
	}
}

// conv adds one or two convolutions of a value, sometimes with a weight in common.
func (g *grower) conv(x sized) {
	n, c, h, w := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	groups, out := int64(1), g.from(2, 4, 6)
	switch {
	case g.chance(3):
		groups, out = c, c*g.from(1, 2)
	case c%2 == 0 && g.chance(3):
		groups = 2
	}
	k := g.from(1, 1, 2, 3)
	pad := int64(0)
	if k > 1 && g.chance(2) {
		pad = 1
	}
	s := g.from(1, 1, 2)
	oh, ow := (h+2*pad-k)/s+1, (w+2*pad-k)/s+1
	if h+2*pad < k || w+2*pad < k || c > 24 {
		return
	}
	inputs := []*model.Value{x.Value, g.Weight(out, c/groups, k, k)}
	if g.chance(2) {
		inputs = append(inputs, g.Weight(out))
	}
	attrs := []any{"group", int(groups), "kernel_shape", []int64{k, k}, "strides", []int64{s, s}, "pads", []int64{pad, pad, pad, pad}}
	g.add(g.Op("Conv", inputs, attrs...), n, out, oh, ow)
	if g.chance(6) {
		if g.chance(2) {
			inputs = []*model.Value{x.Value, g.Weight(out, c/groups, k, k)}
		}
		g.add(g.Op("Conv", inputs, attrs...), n, out, oh, ow)
	}
}

// sequence adds an operator on [N, L, C].
func (g *grower) sequence(x sized) {
	n, l, c := x.shape[0], x.shape[1], x.shape[2]
	in := []*model.Value{x.Value}
	switch g.Rand.IntN(6) {
	case 0, 1:
		out := g.from(3, 5, 6)
		g.add(g.Op("MatMul", append(in, g.Weight(c, out))), n, l, out)
	case 2:
		g.add(g.Op("Transpose", in, "perm", []int64{0, 2, 1}), n, c, l)
	case 3:
		g.add(g.Op("LayerNormalization", append(in, g.Const(g.Signed(c), c), g.Weight(c)), "axis", -1), n, l, c)
	case 4:
		g.add(g.Op("Softmax", in, "axis", -1), n, l, c)
	default:
		if n == 1 && l*c < 400 {
			g.add(g.Op("Reshape", append(in, g.Ints(1, l*c))), 1, l*c)
		}
	}
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
