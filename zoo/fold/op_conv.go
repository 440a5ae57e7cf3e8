package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(
		&operator{Family: "conv", Types: []string{"Conv"}, Back: convBack, Forward: convForward, Again: true},
		&operator{Family: "conv", Types: []string{"ConvTranspose"}, Back: convTransposeBack, Forward: convTransposeForward, Again: true},
		&operator{Family: "conv", Types: []string{"DeformConv"}, Back: convBack, Forward: convForward, Again: true},
	)
}

// channels writes a map for the count channels of an operator whose channel axis is 1.
func channels(n *model.Node, a affine, count int64) (affine, *Reason) {
	b, ok := a.Over(1, int(count))
	if !ok {
		return a, because(NotPerChannel, "the map is over axis %d, not over the %d channels of %v", a.Axis, count, n)
	}
	return b, nil
}

// Conv: Y[o] = Σ W[o, i, taps]·X[g(o)·I/G + i, …] + B[o], with W of shape [O, I/G, kernel…]. DeformConv reads X between
// its pixels, and zeros beyond its edge, which leaves it linear in X.

// convBias is the input of n that is its bias.
func convBias(n *model.Node) int {
	if n.Type == "DeformConv" {
		return 3
	}
	return 2
}

func convBack(m *move, n *model.Node, _ int, a affine) *Reason {
	w, shape, why := m.weight(n, 1)
	if why != nil {
		return why
	}
	if len(shape) < 3 {
		return because(Unsupported, "the weight of %v has %d dimensions, want at least 3", n, len(shape))
	}
	if a, why = channels(n, a, shape[0]); why != nil {
		return why
	}
	if why := m.Rescale(n, 1, tensor.Factor{Layout: tensor.AxisLayout(shape, 0), Scale: a.Scale}); why != nil {
		return why
	}
	return m.Bias(n, convBias(n), len(a.Scale), w.DType, a)
}

func convForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(NotConstant, "the map is on input %d of %v", k, n)
	}
	w, shape, why := m.weight(n, 1)
	if why != nil {
		return why
	}
	groups := n.Int("group", 1)
	if len(shape) < 3 || groups < 1 || shape[0]%groups != 0 {
		return because(Unsupported, "the weight of %v has shape %v for %d groups", n, shape, groups)
	}
	if a, why = channels(n, a, groups*shape[1]); why != nil {
		return why
	}
	if a.Shifts() && n.Type == "DeformConv" {
		return because(Border, "%v may read beyond the edge of its input, where a shift would not reach", n)
	}
	if a.Shifts() && overhangs(n, shape[2:]) {
		return because(Border, "%v pads its input with zeros: an offset would change its edge", n)
	}
	layout := tensor.Layout{Blocks: groups, Outer: shape[0] / groups, Channels: shape[1], Inner: 1}
	for _, d := range shape[2:] {
		layout.Inner *= d
	}
	if why := m.Rescale(n, 1, tensor.Factor{Layout: layout, Scale: a.Scale}); why != nil {
		return why
	}
	if !a.Shifts() {
		return nil
	}
	return m.Sum(n, 1, 2, 1, w.DType, tensor.AxisLayout(shape, 0), tensor.Factor{Layout: layout, Scale: a.Shift})
}

// ConvTranspose: W has shape [I, O/G, kernel…]; output channel g·O/G + j is W[I/G of group g, j].

// convTransposeWeight is the weight of n with its shape, and the layout of the output channels in it.
func (m *move) convTransposeWeight(n *model.Node) (w *model.Value, shape []int64, out tensor.Layout, why *Reason) {
	if w, shape, why = m.weight(n, 1); why != nil {
		return nil, nil, out, why
	}
	groups := n.Int("group", 1)
	if len(shape) < 3 || groups < 1 || shape[0]%groups != 0 {
		return nil, nil, out, because(Unsupported, "the weight of %v has shape %v for %d groups", n, shape, groups)
	}
	out = tensor.Layout{Blocks: groups, Outer: shape[0] / groups, Channels: shape[1], Inner: 1}
	for _, d := range shape[2:] {
		out.Inner *= d
	}
	return w, shape, out, nil
}

func convTransposeBack(m *move, n *model.Node, _ int, a affine) *Reason {
	w, _, out, why := m.convTransposeWeight(n)
	if why != nil {
		return why
	}
	if a, why = channels(n, a, out.Blocks*out.Channels); why != nil {
		return why
	}
	if why := m.Rescale(n, 1, tensor.Factor{Layout: out, Scale: a.Scale}); why != nil {
		return why
	}
	return m.Bias(n, 2, len(a.Scale), w.DType, a)
}

func convTransposeForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(NotConstant, "the map is on input %d of %v", k, n)
	}
	w, shape, out, why := m.convTransposeWeight(n)
	if why != nil {
		return why
	}
	if a, why = channels(n, a, shape[0]); why != nil {
		return why
	}
	if a.Shifts() && spreads(n, shape[2:]) {
		return because(Border, "%v spreads its input: an offset would not reach all outputs equally", n)
	}
	in := tensor.AxisLayout(shape, 0)
	if why := m.Rescale(n, 1, tensor.Factor{Layout: in, Scale: a.Scale}); why != nil {
		return why
	}
	if !a.Shifts() {
		return nil
	}
	return m.Sum(n, 1, 2, 1, w.DType, out, tensor.Factor{Layout: in, Scale: a.Shift})
}

// spreads says whether an output of a transposed convolution may be computed from several inputs or from none: negative
// pads add positions that no input reaches.
func spreads(n *model.Node, kernel []int64) bool {
	other := func(than int64) func(int64) bool { return func(x int64) bool { return x != than } }
	return slices.ContainsFunc(kernel, other(1)) || slices.ContainsFunc(n.Ints("strides"), other(1)) ||
		slices.ContainsFunc(n.Ints("output_padding"), other(0)) || n.Ints("output_shape") != nil ||
		slices.ContainsFunc(n.Ints("pads"), func(x int64) bool { return x < 0 })
}
