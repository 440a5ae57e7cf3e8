package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// An affine map that stays absorbs another map that reaches it: their composition is one map.

// composeBack turns a node that is an affine map into its own map followed by a.
func (m *move) composeBack(n *model.Node, a affine) *Reason {
	own := m.p.find(n)
	if own.why != nil {
		return because(Nonlinear, "no scale or offset can pass %v", n)
	}
	return m.become(n, own, own.a, a)
}

// composeForward turns a node that is an affine map of input k into a followed by its own map.
func (m *move) composeForward(n *model.Node, k int, a affine) *Reason {
	own := m.p.find(n)
	if own.why != nil || own.data != k {
		return because(Nonlinear, "no scale or offset can pass %v", n)
	}
	return m.become(n, own, a, own.a)
}

// backThrough moves a backward into or past a node that is an affine map. The node becomes the composition, if that costs
// nothing. Else the map own⁻¹(a(own(x))) moves on to its input, or the node becomes the composition at a cost.
func (m *move) backThrough(n *model.Node, a affine) *Reason {
	own := m.p.find(n)
	compose := func() *Reason { return m.composeBack(n, a) }
	return m.cheapest(compose, func() *Reason {
		inverse, ok := own.a.Inverse()
		if !ok {
			return because(Sign, "%v multiplies by zero", n)
		}
		b, ok := own.a.Then(a)
		if ok {
			b, ok = b.Then(inverse)
		}
		if !ok {
			return because(NotPerChannel, "%v is a map over another axis", n)
		}
		return m.Back(n, own.data, b)
	})
}

// forwardThrough is backThrough for a map that comes before the node's own.
func (m *move) forwardThrough(n *model.Node, k int, a affine) *Reason {
	own := m.p.find(n)
	compose := func() *Reason { return m.composeForward(n, k, a) }
	return m.cheapest(compose, func() *Reason {
		inverse, ok := own.a.Inverse()
		if !ok || own.data != k {
			return because(Sign, "%v multiplies by zero", n)
		}
		b, ok := inverse.Then(a)
		if ok {
			b, ok = b.Then(own.a)
		}
		if !ok {
			return because(NotPerChannel, "%v is a map over another axis", n)
		}
		return m.Forward(n.Outputs[0], b)
	})
}

// cheapest tries to compose at no cost, then to pass the map on, then to compose at a cost.
func (m *move) cheapest(compose, pass func() *Reason) *Reason {
	before := m.added
	why := m.Try(func() *Reason {
		why := compose()
		if why == nil && before.less(m.added) {
			why = because(NoGain, "it would add a node")
		}
		return why
	})
	if why == nil || m.Try(pass) == nil {
		return nil
	}
	return m.Try(compose)
}

// become adds the edit that turns a node, now the map own, into the map first followed by second.
func (m *move) become(n *model.Node, own *found, first, second affine) *Reason {
	a, ok := first.Then(second)
	if !ok || !a.Finite() {
		return because(NotPerChannel, "%v is a map over another axis", n)
	}
	x := n.In(own.data)
	shape, ok := m.p.shape(a, x)
	if !ok {
		return because(NotPerChannel, "the input of %v has no known type and rank", n)
	}
	if !fits(a.Scale, x.DType) || !fits(a.Shift, x.DType) {
		return because(Overflow, "a constant of %v would overflow %v", n, x.DType)
	}
	if why := m.Rebuild(n); why != nil {
		return why
	}
	if why := m.Absorbed(n); why != nil {
		return why
	}
	set := func(n *model.Node, op string, values []float64) {
		n.Type, n.Edited, n.Attrs = op, true, nil
		c := n.Graph.NewConst(n.Outputs[0].Name+"_"+op, &model.Constant{DType: x.DType, Shape: shape, Values: values})
		n.Set(0, x)
		n.Set(1, c)
	}
	m.added = m.added.plus(costOfMap(a)).minus(costOf(n))
	switch {
	case a.Scales() && a.Shifts():
		m.Edit(func() {
			y := n.Outputs[0]
			set(n, "Mul", a.Scale)
			z := n.Graph.NewValue(y.Name+"_scaled", y)
			n.Outputs[0], z.Producer = z, n
			c := n.Graph.NewConst(y.Name+"_Add", &model.Constant{DType: x.DType, Shape: shape, Values: a.Shift})
			add := n.Graph.NewNode(n, "Add", y.Name+"_Add", []*model.Value{z, c}, []*model.Value{y})
			m.nodes, m.into = append(m.nodes, add), append(m.into, add)
			m.p.accounts.take(add, m.p.accounts.entries.at(n.Number))
		})
	case a.Shifts():
		m.Edit(func() { set(n, "Add", a.Shift) })
	case a.Scales():
		m.Edit(func() { set(n, "Mul", a.Scale) })
	default:
		m.Edit(func() { m.p.identity(n, x) })
	}
	return nil
}

// identity turns a node into an Identity of x. It is removed in the end, unless it connects x to a graph output.
func (p *planner) identity(n *model.Node, x *model.Value) {
	p.identities = append(p.identities, n)
	for k := range n.Inputs {
		n.Set(k, nil)
	}
	n.Type, n.Attrs, n.Inputs = "Identity", nil, nil
	n.Set(0, x)
}

// backConstant turns input k of n, a constant, into the constant a(input). The map is over an axis of a value of shape y
// with which the constant is broadcast, aligned to the right. One number for all channels becomes one for each.
func (m *move) backConstant(n *model.Node, k int, a affine, y []int64) *Reason {
	v := n.In(k)
	if m.p.kept(n) {
		return because(Keep, "%v is to be kept", n)
	}
	shape, old, ok := m.constant(n, k)
	if !ok || !v.DType.Float() {
		return because(Unsupported, "the constant %q of %v is too large or not of a floating-point type", v.Name, n)
	}
	channels, inner := int64(len(a.Scale)), int64(max(len(old), 1))
	if a.Axis != uniform {
		axis := a.Axis - len(y) + len(shape)
		if len(old) == 1 && a.Axis < len(y) {
			shape, axis = slices.Repeat([]int64{1}, max(len(shape), len(y)-a.Axis)), max(axis, 0)
			shape[axis] = channels
			old = slices.Repeat(old, len(a.Scale))
		}
		if axis < 0 || axis >= len(shape) || shape[axis] != channels {
			return because(NotPerChannel, "the constant %q of %v has shape %v", v.Name, n, shape)
		}
		inner, _ = static(shape[axis+1:])
	}
	values := slices.Clone(old)
	for e := range values {
		c := int64(e) / inner % channels
		values[e] = values[e]*a.Scale[c] + a.Shift[c]
	}
	if slices.Equal(values, old) {
		return nil
	}
	return m.Values(n, k, v.DType, shape, values)
}
