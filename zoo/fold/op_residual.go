package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Add, Sub, Sum, Mul and Div of computed values. With one constant operand they are maps: see op_elementwise.go.

// isMap says whether the node is an affine map itself.
func (m *move) isMap(n *model.Node) bool { return m.p.find(n).why == nil }

// isFixed says whether the node is an affine map that cannot be removed, because the model's file stores it as a part of a
// layer.
func (m *move) isFixed(n *model.Node) bool { return m.p.find(n).fixed }

// operand writes a map of the output of n as one of its input k, over the same axis counted from the right. It fails if
// that input is broadcast along the axis.
func operand(n *model.Node, k int, a affine) (affine, *Reason) {
	if a.Axis == uniform {
		return a, nil
	}
	x, y := n.In(k), n.Outputs[0]
	if x.Shape == nil || y.Shape == nil {
		return a, because(NotPerChannel, "the ranks around %v are not known", n)
	}
	axis := a.Axis - len(y.Shape) + len(x.Shape)
	if axis < 0 || axis >= len(x.Shape) || x.Shape[axis] != int64(len(a.Scale)) {
		return a, because(NotPerChannel, "%v broadcasts %q along the channels", n, x.Name)
	}
	return a.On(axis), nil
}

// backOperand asks for input k of n to take a map of the output.
func (m *move) backOperand(n *model.Node, k int, a affine) *Reason {
	if a.Identity() {
		return nil
	}
	if n.In(k) == nil {
		return because(Unsupported, "%v has no input %d", n, k)
	}
	if m.p.isConstant(n.In(k)) {
		return m.backConstant(n, k, a, n.Outputs[0].Shape)
	}
	b, why := operand(n, k, a)
	if why != nil {
		return why
	}
	return m.Back(n, k, b)
}

// forwardOperand writes a map of input k of n as one of its output.
func forwardOperand(n *model.Node, k int, a affine) (affine, *Reason) {
	if a.Axis == uniform {
		return a, nil
	}
	x, y := n.In(k), n.Outputs[0]
	if x.Shape == nil || y.Shape == nil {
		return a, because(NotPerChannel, "the ranks around %v are not known", n)
	}
	axis := a.Axis + len(y.Shape) - len(x.Shape)
	if axis < 0 || axis >= len(y.Shape) || y.Shape[axis] != int64(len(a.Scale)) {
		return a, because(NotPerChannel, "%v broadcasts %q along the channels", n, x.Name)
	}
	return a.On(axis), nil
}

// addBack: s·(x ± y) + t = (s·x + t) ± s·y, or s·x ± (s·y ± t): all operands take the scale, and one of them the shift, a
// constant if there is one.
func addBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if m.p.doubles(n) {
		return m.backDouble(n, a)
	}
	if m.isMap(n) && !a.Scales() && m.Try(func() *Reason { return m.composeBack(n, a) }) == nil {
		return nil
	}
	takers := make([]int, 0, len(n.Inputs))
	for k, v := range n.Inputs {
		if v != nil && m.p.isConstant(v) {
			takers = slices.Insert(takers, 0, k)
		} else {
			takers = append(takers, k)
		}
	}
	var first *Reason
	for _, taker := range takers {
		why := m.Try(func() *Reason {
			for k := range n.Inputs {
				b := a.OnlyScale()
				if k == taker {
					b = signed(n, k, a)
				}
				if why := m.backOperand(n, k, b); why != nil {
					return why
				}
			}
			return nil
		})
		if why == nil {
			return nil
		}
		if first == nil {
			first = why
		}
		if !a.Shifts() {
			break
		}
	}
	if m.isMap(n) && m.Try(func() *Reason { return m.composeBack(n, a) }) == nil {
		return nil
	}
	if m.isFixed(n) && m.Try(func() *Reason { return m.backThrough(n, a) }) == nil {
		return nil
	}
	return first
}

// signed is the map with its shift negated if operand k of n is subtracted.
func signed(n *model.Node, k int, a affine) affine {
	if n.Type == "Sub" && k == 1 {
		a.Shift = each(a.Shift, func(t float64) float64 { return -t })
	}
	return a
}

// addForward: a shift of one operand is a shift of the result. A scale passes only if the other operands can take its
// inverse: s·x + t ± y = s·(x ± y/s) + t.
func addForward(m *move, n *model.Node, k int, a affine) *Reason {
	if m.isMap(n) && !a.Scales() && m.Try(func() *Reason { return m.composeForward(n, k, a) }) == nil {
		return nil
	}
	why := m.Try(func() *Reason {
		b, why := forwardOperand(n, k, a)
		if why != nil {
			return why
		}
		if why := m.backOthers(n, k, 0, b.OnlyScale()); why != nil {
			return why
		}
		return m.Forward(n.Outputs[0], signed(n, k, b))
	})
	if why != nil && m.isMap(n) && m.Try(func() *Reason { return m.composeForward(n, k, a) }) == nil {
		return nil
	}
	if why != nil && m.isFixed(n) && m.Try(func() *Reason { return m.forwardThrough(n, k, a) }) == nil {
		return nil
	}
	return why
}

// backOthers asks all operands of n but k, from input first on, to compute the inverse of a map on top.
func (m *move) backOthers(n *model.Node, k, first int, a affine) *Reason {
	inverse, ok := a.Inverse()
	if !ok {
		return because(Sign, "%v would have to divide its other operands by zero", n)
	}
	for j := first; j < len(n.Inputs); j++ {
		if j == k {
			continue
		}
		if why := m.backOperand(n, j, inverse); why != nil {
			return why
		}
	}
	return nil
}

// mulBack: s·(x·y) = (s·x)·y, and s·(x/y) = (s·x)/y; with a constant c, c·x + t = c·(x + t/c).
func mulBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if m.isMap(n) || m.isFixed(n) {
		return m.backThrough(n, a)
	}
	if a.Shifts() || len(n.Inputs) != 2 {
		return because(Nonlinear, "an offset cannot pass %v: both its inputs are computed", n)
	}
	why := m.Try(func() *Reason { return m.backOperand(n, 0, a) })
	if why != nil && n.Type == "Mul" && m.Try(func() *Reason { return m.backOperand(n, 1, a) }) == nil {
		return nil
	}
	return why
}

// mulForward: (s·x)·y = s·(x·y), and (s·x)/y = s·(x/y); with a constant c, c·(x + t) = c·x + c·t.
func mulForward(m *move, n *model.Node, k int, a affine) *Reason {
	if m.isMap(n) || m.isFixed(n) {
		return m.forwardThrough(n, k, a)
	}
	if a.Shifts() || len(n.Inputs) != 2 || n.Type == "Div" && k == 1 {
		return because(Nonlinear, "an offset cannot pass %v: both its inputs are computed", n)
	}
	b, why := forwardOperand(n, k, a)
	if why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], b)
}

func negBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if m.isMap(n) && m.Try(func() *Reason { return m.composeBack(n, a) }) == nil {
		return nil
	}
	return m.Back(n, 0, affine{a.Axis, a.Scale, each(a.Shift, func(t float64) float64 { return -t })})
}

func negForward(m *move, n *model.Node, k int, a affine) *Reason {
	if m.isMap(n) && m.Try(func() *Reason { return m.composeForward(n, k, a) }) == nil {
		return nil
	}
	return m.Forward(n.Outputs[0], affine{a.Axis, a.Scale, each(a.Shift, func(t float64) float64 { return -t })})
}
