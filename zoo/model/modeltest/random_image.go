package modeltest

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// image adds an operator on [1, C, H, W].
func (g *grower) image(x sized) {
	n, c, h, w := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	in := []*model.Value{x.Value}
	switch g.Rand.IntN(20) {
	case 0, 1, 2, 3:
		g.conv(x)
	case 16:
		g.channels(x)
	case 17:
		g.reduce(x)
	case 18:
		g.windowed(x)
	case 19:
		switch { // channels apart from others, and back
		case c%2 == 0 && g.chance(2):
			y := g.Op("Reshape", append(in, g.Ints(0, 2, -1, h, w)))
			g.add(g.Op("Reshape", []*model.Value{g.Op("Relu", []*model.Value{y}), g.Ints(0, -1, h, w)}), n, c, h, w)
		default:
			y := g.Op("Unsqueeze", append(in, g.Ints(2)))
			g.add(g.Op("Squeeze", []*model.Value{g.Op("Tanh", []*model.Value{y}), g.Ints(-3)}), n, c, h, w)
		}
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
		if g.chance(4) && h > 3 {
			g.add(g.Op("Pad", append(in, g.Ints(0, 0, -1, 0, 0, 0, 0, 0))), n, c, h-1, w)
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
		mode := []string{"nearest", "linear", "cubic"}[g.Rand.IntN(3)]
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

// channels adds an operator that picks channels, or puts two picks together.
func (g *grower) channels(x sized) {
	n, c, h, w := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	if c < 3 {
		return
	}
	slice := func(from, to, step int64) *model.Value {
		return g.Op("Slice", []*model.Value{x.Value, g.Ints(from), g.Ints(to), g.Ints(-3), g.Ints(step)})
	}
	switch g.Rand.IntN(4) {
	case 0:
		g.add(slice(-1, -1<<40, -1), n, c, h, w)
	case 1:
		g.add(slice(1, 1<<40, 2), n, c/2, h, w)
	case 2:
		g.add(g.Op("Gather", []*model.Value{x.Value, g.Ints(c-1, 0, -2)}, "axis", 1), n, 3, h, w)
	default:
		k := 1 + g.Rand.Int64N(c-1)
		first, last := slice(0, k, 1), slice(k, c, 1)
		if g.chance(2) { // turned round
			g.add(g.Op("Concat", []*model.Value{last, first}, "axis", 1), n, c, h, w)
			return
		}
		g.add(first, n, k, h, w)
		g.add(last, n, c-k, h, w)
	}
}

// reduce adds a reduction over positions.
func (g *grower) reduce(x sized) {
	n, c, h := x.shape[0], x.shape[1], x.shape[2]
	op := []string{"ReduceMax", "ReduceMin", "ReduceMean"}[g.Rand.IntN(3)]
	switch g.Rand.IntN(3) {
	case 0:
		g.add(g.Op(op, []*model.Value{x.Value}, "axes", []int64{-1}), n, c, h, 1)
	case 1:
		g.add(g.Op(op, []*model.Value{x.Value}, "axes", []int64{2, 3}, "keepdims", 0), n, c)
	default:
		g.add(g.Op("ReduceSum", []*model.Value{x.Value, g.Ints(3)}), n, c, h, 1)
	}
}

// windowed adds a pooling or convolution whose windows may reach over the edge.
func (g *grower) windowed(x sized) {
	n, c, h, w := x.shape[0], x.shape[1], x.shape[2], x.shape[3]
	if h < 4 || w < 4 || h > 16 || w > 16 || c > 8 {
		return
	}
	up := func(d int64) int64 { return (d + 1) / 2 }
	in := []*model.Value{x.Value}
	switch g.Rand.IntN(5) {
	case 0:
		attrs := []any{"kernel_shape", []int64{2, 2}, "strides", []int64{2, 2}, "ceil_mode", 1}
		g.add(g.Op([]string{"MaxPool", "AveragePool"}[g.Rand.IntN(2)], in, attrs...), n, c, up(h), up(w))
	case 1:
		k := g.from(2, 3)
		attrs := []any{"kernel_shape", []int64{k, k}, "strides", []int64{2, 2}, "auto_pad", "SAME_UPPER", "count_include_pad", g.Rand.IntN(2)}
		g.add(g.Op("AveragePool", in, attrs...), n, c, up(h), up(w))
	case 2:
		k := g.from(1, 2, 3)
		g.add(g.Op("Conv", append(in, g.Weight(4, c, k, k)), "strides", []int64{2, 2}, "auto_pad", []string{"SAME_UPPER", "SAME_LOWER"}[g.Rand.IntN(2)]), n, 4, up(h), up(w))
	case 3:
		g.add(g.Op("Conv", append(in, g.Weight(4, c, 2, 1)), "dilations", []int64{2, 1}, "pads", []int64{0, 0, 1, 0}), n, 4, h-1, w)
	default:
		g.add(g.Op("ConvTranspose", append(in, g.Weight(c, 4, 1, 1)), "pads", []int64{1, 0, 0, 1}), n, 4, h-1, w-1)
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
	switch {
	case g.chance(6): // with a weight in common, or a parallel one
		if g.chance(2) {
			inputs = []*model.Value{x.Value, g.Weight(out, c/groups, k, k)}
		}
		g.add(g.Op("Conv", inputs, attrs...), n, out, oh, ow)
	case k == 1 && s == 1 && groups == 1 && g.chance(3): // parallel ones of other kernels, added up
		d := g.from(1, 2)
		y := g.Op("Conv", []*model.Value{x.Value, g.Weight(out, c, 3, 1)}, "pads", []int64{d, 0, d, 0}, "dilations", []int64{d, 1})
		if g.chance(2) {
			z := g.Op("Conv", []*model.Value{x.Value, g.Weight(out, c, 3, 3)}, "pads", []int64{d, 1, d, 1}, "dilations", []int64{d, 1})
			y = g.Op("Add", []*model.Value{y, z})
		}
		pair := []*model.Value{g.values[len(g.values)-1].Value, y}
		if g.chance(2) {
			slices.Reverse(pair)
		}
		g.add(g.Op("Add", pair), n, out, oh, ow)
	}
}
