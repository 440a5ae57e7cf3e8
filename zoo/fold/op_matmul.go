package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(&operator{Family: "matmul", Types: []string{"MatMul"}, Back: matMulBack, Forward: matMulForward})
}

// MatMul: Y[…, i, j] = Σ_k A[…, i, k]·B[…, k, j], leading axes broadcast. One of A and B is a constant weight.

// matMulWeight is the input of n that is a weight, and the axes of it, counted from its end, that are summed over and that
// become an axis of Y.
func matMulWeight(m *move, n *model.Node) (k, summed, kept int) {
	if n.In(0) != nil && m.p.isConstant(n.In(0)) {
		return 0, 1, 2
	}
	return 1, 2, 1
}

func matMulBack(m *move, n *model.Node, _ int, a affine) *Reason {
	why := m.Try(func() *Reason { return matMulAbsorb(m, n, a) })
	for k := range n.Inputs {
		if why == nil || m.Try(func() *Reason { return m.backFactor(n, k, a) }) == nil {
			return nil
		}
	}
	return why
}

// matMulAbsorb takes a map of the output into the weight.
func matMulAbsorb(m *move, n *model.Node, a affine) *Reason {
	k, summed, kept := matMulWeight(m, n)
	w, shape, why := m.weight(n, k)
	if why != nil {
		return why
	}
	if len(shape) == 1 {
		return m.vectorAbsorb(n, k, shape, a)
	}
	y := n.Outputs[0]
	if len(shape) < 2 || y.Shape == nil || k == 0 && !matrices(n) {
		return because(Unsupported, "%v has a weight of shape %v and an output of unknown rank", n, shape)
	}
	axis := len(shape) - kept
	if batch := a.Axis - len(y.Shape) + len(shape); a.Axis != uniform && batch >= 0 && batch != len(shape)-summed {
		axis = batch
	}
	b, ok := a.Over(len(y.Shape)-len(shape)+axis, int(shape[axis]))
	if !ok {
		return because(NotPerChannel, "the map is over axis %d of %d, not over the %d outputs of %v", a.Axis, len(y.Shape), shape[axis], n)
	}
	if why := m.Rescale(n, k, tensor.Factor{Layout: tensor.AxisLayout(shape, axis), Scale: b.Scale}); why != nil {
		return why
	}
	if !b.Shifts() {
		return nil
	}
	if m.gemmable(n, shape) {
		return m.becomeGemm(n, w.DType, b.Shift)
	}
	m.added = m.added.plus(costSimple)
	return m.addAfter(n, b)
}

// vectorAbsorb takes a scale of the output, which has to be one number, into a weight of one axis.
func (m *move) vectorAbsorb(n *model.Node, k int, shape []int64, a affine) *Reason {
	b, ok := a.Flat()
	if !ok || b.Shifts() || shape[0] > maxValues {
		return because(NotPerChannel, "%v has a vector as weight, which takes one scale for all and no offset", n)
	}
	return m.Rescale(n, k, tensor.Factor{Layout: tensor.AxisLayout(shape, 0), Scale: slices.Repeat(b.Scale, int(shape[0]))})
}

// summed says whether n sums over an axis of its input k; if not, out is that axis in the output. The ranks of both inputs
// have to be known.
func summed(n *model.Node, k int, axis int) (out int, yes bool) {
	x, y := n.In(k), n.Outputs[0]
	behind := len(x.Shape) - 1 - axis
	if behind == k || len(x.Shape) == 1 {
		return 0, true
	}
	if len(n.In(1-k).Shape) == 1 && behind > k { // a vector is a row or a column whose axis of 1 is not in the product
		behind--
	}
	return len(y.Shape) - 1 - behind, false
}

// ranks are those of a product's inputs, 0 where they are not known.
func ranks(n *model.Node) (a, b int) {
	if n.In(0) == nil || n.In(1) == nil {
		return 0, 0
	}
	return len(n.In(0).Shape), len(n.In(1).Shape)
}

// matrices says whether both inputs of a product are known to be matrices or stacks of them.
func matrices(n *model.Node) bool {
	a, b := ranks(n)
	return a >= 2 && b >= 2
}

// backFactor asks input k of a product for a scale along an axis that the output takes from it: (s·A)·B = s·(A·B).
func (m *move) backFactor(n *model.Node, k int, a affine) *Reason {
	x, y := n.In(k), n.Outputs[0]
	if x == nil || m.p.isConstant(x) || a.Shifts() {
		return because(Nonlinear, "an offset cannot pass %v, which multiplies", n)
	}
	if a.Axis != uniform {
		axis := a.Axis - len(y.Shape) + len(x.Shape)
		if y.Shape == nil || !matrices(n) || axis < 0 || axis >= len(x.Shape) || x.Shape[axis] != int64(len(a.Scale)) {
			return because(NotPerChannel, "the map is over axis %d, which is not one of %q in %v", a.Axis, x.Name, n)
		}
		if _, yes := summed(n, k, axis); yes {
			return because(NotPerChannel, "the map is over axis %d, which is not one of %q in %v", a.Axis, x.Name, n)
		}
		a.Axis = axis
	}
	return m.Back(n, k, a)
}

func matMulForward(m *move, n *model.Node, from int, a affine) *Reason {
	why := m.Try(func() *Reason { return matMulTake(m, n, from, a) })
	if why == nil || a.Shifts() {
		return why
	}
	if a.Axis != uniform {
		y := n.Outputs[0]
		if a, b := ranks(n); y.Shape == nil || a == 0 || b == 0 {
			return why
		}
		axis, yes := summed(n, from, a.Axis)
		if yes || axis < 0 || y.Shape[axis] != int64(len(a.Scale)) {
			return why
		}
		a.Axis = axis
	}
	return m.Forward(n.Outputs[0], a)
}

// matMulTake takes a map of the input into the weight.
func matMulTake(m *move, n *model.Node, from int, a affine) *Reason {
	k, summed, kept := matMulWeight(m, n)
	if k == from {
		return because(NotConstant, "both inputs of %v are computed", n)
	}
	w, shape, why := m.weight(n, k)
	if why != nil {
		return why
	}
	x, y := n.In(from), n.Outputs[0]
	if len(x.Shape) == 1 {
		return because(Unsupported, "%v multiplies a vector of shape %v", n, x.Shape)
	}
	if len(shape) < 1 || x.Shape == nil || y.Shape == nil || len(x.Shape) < 2 {
		return because(Unsupported, "%v has a weight of shape %v and an input of unknown rank", n, shape)
	}
	gemm := m.gemmable(n, shape)
	single := len(shape) == 1 // a vector is a matrix of one column, or of one row, whose axis of 1 is not in the product
	if single && k == 0 {
		shape = []int64{1, shape[0]}
	} else if single {
		shape = []int64{shape[0], 1}
	}
	axis := len(shape) - summed
	b, ok := a.Over(len(x.Shape)-kept, int(shape[axis])) // the product sums over A's columns and B's rows
	if !ok {
		return because(NotPerChannel, "the map is over axis %d of %d, not over the %d that %v sums over", a.Axis, len(x.Shape), shape[axis], n)
	}
	layout := tensor.AxisLayout(shape, axis)
	if why := m.Rescale(n, k, tensor.Factor{Layout: layout, Scale: b.Scale}); why != nil {
		return why
	}
	if !b.Shifts() {
		return nil
	}
	if len(shape) != 2 {
		return because(Unsupported, "%v has a weight for each of several batches: its offset is not one vector", n)
	}
	out := len(shape) - kept
	next := m.biasOf(n, kept)
	if !gemm && next == nil {
		m.added = m.added.plus(costSimple)
	}
	m.Check(func() *Reason {
		sums, err := m.p.sums(n.Inputs[k], tensor.AxisLayout(shape, out), tensor.Factor{Layout: layout, Scale: b.Shift})
		if err != nil {
			return because(Unsupported, "the weight of %v cannot be read: %v", n, err)
		}
		shift := shifting(len(y.Shape)-kept, sums)
		if single {
			shift.Axis = uniform
		}
		switch {
		case gemm:
			return m.becomeGemm(n, w.DType, sums)
		case next != nil:
			return m.visit(next, inputSide, func(*operator) *Reason { return m.composeForward(next, y.Uses[0].Index, shift) })
		}
		return m.addAfter(n, shift)
	})
	return nil
}

// biasOf is the Add of a constant behind n that is its bias, over the axis so many from the end, or nil.
func (m *move) biasOf(n *model.Node, kept int) *model.Node {
	y := n.Outputs[0]
	if y.Output || len(y.Uses) != 1 {
		return nil
	}
	next := y.Uses[0].Node
	if f := m.p.find(next); next.Graph != n.Graph || m.seen[next] != 0 || f.why != nil || f.data != y.Uses[0].Index || f.a.Scales() || f.a.Axis != uniform && f.a.Axis != len(y.Shape)-kept {
		return nil
	}
	return next
}

// gemmable says whether the product is one of two matrices, with the weight on the right, so that it can be a Gemm and
// have a bias.
func (m *move) gemmable(n *model.Node, shape []int64) bool {
	x := n.In(0)
	return len(shape) == 2 && len(x.Shape) == 2 && m.p.isConstant(n.In(1)) && !m.p.isConstant(x) && m.p.model.Opset[""] >= 9 && !m.p.opt.Off["gemm"]
}

// becomeGemm adds the edit that turns the product into a Gemm with that bias.
func (m *move) becomeGemm(n *model.Node, dtype tensor.DType, bias []float64) *Reason {
	if why := m.Rebuild(n); why != nil {
		return why
	}
	m.Edit(func() { n.Type, n.Edited = "Gemm", true })
	return m.Values(n, 2, dtype, []int64{int64(len(bias))}, bias)
}

// addAfter adds the edit that adds the map's shift to the output of n by a new Add. The caller accounts for its cost.
func (m *move) addAfter(n *model.Node, a affine) *Reason {
	if why := m.Rebuild(n); why != nil {
		return why
	}
	y := n.Outputs[0]
	shape, ok := m.p.shape(a, y)
	if !ok {
		return because(Unsupported, "the output of %v has no known type and rank for an Add behind it", n)
	}
	if !fits(a.Shift, y.DType) {
		return because(Overflow, "an offset after %v would overflow %v", n, y.DType)
	}
	m.Edit(func() {
		g := n.Graph
		z := g.NewValue(y.Name+"_product", y)
		n.Outputs[0], n.Edited, z.Producer = z, true, n
		c := g.NewConst(y.Name+"_shift", &model.Constant{DType: y.DType, Shape: shape, Values: a.Shift})
		add := g.NewNode(n, "Add", y.Name+"_shift", []*model.Value{z, c}, []*model.Value{y})
		m.nodes, m.into = append(m.nodes, add), append(m.into, add)
	})
	return nil
}
