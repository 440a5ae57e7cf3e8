package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Parallel convolutions of one input whose results are added are one convolution, whose kernel is the sum of the kernels,
// aligned (RepVGG, arXiv:2101.03697; MobileOne, arXiv:2206.04040; ACNet, arXiv:1908.03930). The input itself, or a map of
// it, is a convolution with a kernel of one tap.

// branch is one side of such a sum, as a convolution of x.
type branch struct {
	x      *model.Value
	nodes  []*model.Node // what goes when the branch is merged
	sums   []*model.Node // the Adds on the way from conv to the Add in question
	conv   *model.Node   // nil for the input itself and maps of it
	a      affine        // the map, where conv is nil
	bounds []axisBounds  // of the convolution, by spatial axis
	weight []float64     // [O, I/G, kernel…]
	shape  []int64
	bias   []float64
}

// axisBounds is how far a kernel reaches along an axis.
type axisBounds struct{ kernel, begin, end, stride, dilation int64 }

// mergeBranches merges one operand of an Add into a convolution that is added to it, and says whether it did.
func (p *planner) mergeBranches(n *model.Node) bool {
	if !p.adds(n) || p.opt.Off["branches"] || p.opt.Off["conv"] {
		return false
	}
	for k := range n.Inputs {
		b := p.branch(n, k)
		if b == nil {
			continue
		}
		for _, a := range p.addends(n, 1-k, maxAddends) {
			if a.x == b.x && p.mergePair(n, 1-k, a, b) {
				return true
			}
		}
	}
	return false
}

// adds says whether the node is an Add of two values.
func (p *planner) adds(n *model.Node) bool {
	return n.Type == "Add" && n.Domain == "" && len(n.Inputs) == 2 && !p.kept(n) && p.idioms.at(n.Number) == nil
}

// maxAddends bounds how deep Adds of Adds are looked through.
const maxAddends = 4

// addends are the convolutions whose sum is input k of an Add, through Adds without other readers.
func (p *planner) addends(n *model.Node, k, depth int) []*branch {
	b := p.branch(n, k)
	switch {
	case b == nil || depth == 0:
		return nil
	case b.conv != nil:
		return []*branch{b}
	}
	v := n.In(k)
	sum := v.Producer
	if sum == nil || !p.adds(sum) || sum.Graph != n.Graph || len(v.Uses) != 1 || v.Output || p.find(sum).why == nil {
		return nil
	}
	var list []*branch
	for j := range sum.Inputs {
		for _, b := range p.addends(sum, j, depth-1) {
			b.sums = append(b.sums, sum)
			list = append(list, b)
		}
	}
	return list
}

// mergePair merges b, an operand of an Add, into a, a convolution that is the other operand, input k, or an addend of it.
func (p *planner) mergePair(n *model.Node, k int, a, b *branch) bool {
	if b.conv == nil && !p.dirac(a, b) {
		return false
	}
	kernel, ok := together(a, b)
	if !ok {
		return false
	}
	shape := slices.Concat(a.shape[:2], kernel)
	elements, ok := tensor.Elements(shape)
	if !ok || elements > maxValues || elements > count(a.shape)+count(b.shape) || !p.readBranch(a) || !p.readBranch(b) {
		return false
	}
	dtype := a.conv.In(1).DType
	weight, bias := make([]float64, elements), make([]float64, shape[0])
	for _, side := range []*branch{a, b} {
		side.lay(weight, kernel, a, b)
		for c, x := range side.bias {
			bias[c] += x
		}
	}
	r := &run{nodes: slices.Concat([]*model.Node{n}, b.nodes), cost: costSimple}
	m := p.newMove(r.nodes)
	m.nodes = append(append(m.nodes, a.conv), a.sums...)
	if why := m.Absorbed(a.conv); why != nil {
		return false
	}
	if m.Rebuild(a.conv) != nil || m.Values(a.conv, 1, dtype, shape, weight) != nil {
		return false
	}
	if slices.ContainsFunc(bias, func(x float64) bool { return x != 0 }) || a.conv.In(2) != nil {
		if m.Values(a.conv, 2, dtype, shape[:1], bias) != nil {
			return false
		}
	}
	pads, dilations := make([]int64, 2*len(kernel)), make([]int64, len(kernel))
	for k := range kernel {
		dilations[k] = a.bounds[k].dilation
		pads[k] = max(a.bounds[k].begin, b.bounds[k].begin)
		pads[k+len(kernel)] = max(a.bounds[k].end, b.bounds[k].end)
	}
	m.Edit(func() {
		a.conv.SetAttr(model.Ints("kernel_shape", kernel...))
		a.conv.SetAttr(model.Ints("pads", pads...))
		a.conv.SetAttr(model.Ints("dilations", dilations...))
	})
	return m.settle(r, func() {
		n.Graph.Absorb(n, k)
		for _, gone := range b.nodes {
			gone.Remove()
		}
	}) == nil
}

// branch is input k of an Add as a branch; nil if it is none.
func (p *planner) branch(n *model.Node, k int) *branch {
	v := n.In(k)
	if v == nil || v.Producer == nil {
		if v == nil || p.isConstant(v) {
			return nil
		}
		return &branch{x: v, a: affine{uniform, []float64{1}, []float64{0}}}
	}
	c := v.Producer
	alone := len(v.Uses) == 1 && !v.Output && c.Graph == n.Graph && !p.kept(c)
	if f := p.find(c); f.why == nil && alone {
		return &branch{x: c.In(f.data), a: f.a, nodes: []*model.Node{c}}
	}
	if c.Type == "Conv" && c.Domain == "" && alone {
		if b := p.convBranch(c); b != nil {
			return b
		}
	}
	return &branch{x: v, a: affine{uniform, []float64{1}, []float64{0}}}
}

// convBranch is a convolution with constant weights and explicit padding as a branch.
func (p *planner) convBranch(c *model.Node) *branch {
	w := c.In(1)
	if w == nil || w.Const == nil || !w.DType.Float() || c.Str("auto_pad", "NOTSET") != "NOTSET" {
		return nil
	}
	shape := w.Const.Shape
	if len(shape) < 3 || slices.Contains(shape, 0) {
		return nil
	}
	b := &branch{x: c.In(0), conv: c, nodes: []*model.Node{c}, shape: shape}
	pads, strides, dilations, spatial := c.Ints("pads"), c.Ints("strides"), c.Ints("dilations"), len(shape)-2
	for k := range spatial {
		b.bounds = append(b.bounds, axisBounds{shape[2+k], at(pads, k, 0), at(pads, k+spatial, 0), at(strides, k, 1), at(dilations, k, 1)})
	}
	return b
}

// readBranch reads a convolution's weight and bias.
func (p *planner) readBranch(b *branch) (ok bool) {
	if b.conv == nil {
		return true
	}
	if _, b.weight, ok = p.constant(b.conv.In(1)); ok && b.conv.In(2) != nil {
		b.bias, ok = p.vector(b.conv.In(2), int(b.shape[0]))
	}
	return ok
}

func count(shape []int64) int64 {
	n, _ := tensor.Elements(shape)
	return n
}

// dirac turns b, a map of the input, into a convolution of one tap with a's groups; a has to have as many outputs as
// inputs.
func (p *planner) dirac(a, b *branch) bool {
	groups := a.conv.Int("group", 1)
	out, in := a.shape[0], a.shape[1]
	affine, ok := b.a.Over(1, int(out))
	if !ok || groups < 1 || in*groups != out || in > maxValues/max(out, 1) {
		return false
	}
	b.shape, b.bounds, b.bias = []int64{out, in}, nil, affine.Shift
	for _, x := range a.bounds {
		if x.stride != 1 {
			return false
		}
		b.shape = append(b.shape, 1)
		b.bounds = append(b.bounds, axisBounds{1, 0, 0, 1, x.dilation})
	}
	b.weight = make([]float64, out*in)
	for o := range out {
		b.weight[o*in+o%in] = affine.Scale[o]
	}
	return true
}

// together is the smallest kernel that covers those of both branches, and false if their taps do not fall on common
// positions. A kernel of one tap takes the other's dilation.
func together(a, b *branch) (kernel []int64, ok bool) {
	if !slices.Equal(a.shape[:2], b.shape[:2]) || len(a.bounds) != len(b.bounds) {
		return nil, false
	}
	if b.conv != nil && a.conv.Int("group", 1) != b.conv.Int("group", 1) {
		return nil, false
	}
	for k, x := range a.bounds {
		y := b.bounds[k]
		if x.kernel == 1 {
			x.dilation = y.dilation
		}
		if y.kernel == 1 {
			y.dilation = x.dilation
		}
		a.bounds[k], b.bounds[k] = x, y
		d := x.dilation
		begin, end := max(x.begin, y.begin), max(x.end, y.end)
		if x.stride != y.stride || y.dilation != d || d < 1 || (x.begin-y.begin)%d != 0 || (x.end-y.end)%d != 0 {
			return nil, false
		}
		size := func(z axisBounds) int64 { return z.kernel + (begin-z.begin)/d + (end-z.end)/d }
		if size(x) != size(y) {
			return nil, false
		}
		kernel = append(kernel, size(x))
	}
	return kernel, true
}

// lay adds the branch's kernel to the common one, at its offset.
func (b *branch) lay(into []float64, kernel []int64, one, other *branch) {
	spatial := len(kernel)
	offset := make([]int64, spatial)
	for k := range kernel {
		offset[k] = (max(one.bounds[k].begin, other.bounds[k].begin) - b.bounds[k].begin) / b.bounds[k].dilation
	}
	taps, all := int64(1), int64(1)
	for k := range kernel {
		taps *= b.bounds[k].kernel
		all *= kernel[k]
	}
	for e, w := range b.weight {
		rest, at, step := int64(e)%taps, int64(0), int64(1)
		for k := spatial - 1; k >= 0; k-- {
			at += (rest%b.bounds[k].kernel + offset[k]) * step
			rest /= b.bounds[k].kernel
			step *= kernel[k]
		}
		into[int64(e)/taps*all+at] += w
	}
}
