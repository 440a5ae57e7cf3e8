package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// A node that reads one value as both of its operands is one reader: z + z and z·z.

// doubles says whether n is such a node, of a value that is computed.
func (p *planner) doubles(n *model.Node) bool {
	return (n.Type == "Add" || n.Type == "Mul") && n.Domain == "" && len(n.Inputs) == 2 && n.In(0) != nil && n.In(0) == n.In(1) && !p.isConstant(n.In(0))
}

// forwardDouble: (s·z + t) + (s·z + t) = s·(z + z) + 2·t, and (s·z)·(s·z) = s²·(z·z).
func (m *move) forwardDouble(n *model.Node, a affine) *Reason {
	switch {
	case n.Type == "Add":
		a.Shift = each(a.Shift, func(t float64) float64 { return 2 * t })
	case a.Shifts():
		return because(Nonlinear, "an offset cannot pass %v: both its inputs are computed", n)
	default:
		a.Scale = each(a.Scale, func(s float64) float64 { return s * s })
	}
	if !a.Finite() {
		return because(Overflow, "the map would overflow behind %v", n)
	}
	return m.Forward(n.Outputs[0], a)
}

// backDouble: s·(z + z) + t = (s·z + t/2) + (s·z + t/2).
func (m *move) backDouble(n *model.Node, a affine) *Reason {
	a.Shift = each(a.Shift, func(t float64) float64 { return t / 2 })
	return m.Back(n, 0, a)
}

// readBefore says whether an earlier use of v is by the same node, which is one reader.
func (p *planner) readBefore(v *model.Value, k int) bool {
	n := v.Uses[k].Node
	return p.doubles(n) && slices.ContainsFunc(v.Uses[:k], func(u model.Use) bool { return u.Node == n })
}

// unread removes a run whose result is not read, and says whether it did.
func (p *planner) unread(r *run) bool {
	if out := r.last().Outputs[0]; out.Output || len(out.Uses) > 0 {
		return false
	}
	return p.newMove(r.nodes).settle(r, func() {
		p.regions.dropped = append(p.regions.dropped, r.first()) // the value that the run read may change from now on
		for _, n := range slices.Backward(r.nodes) {
			n.Remove()
		}
	}) == nil
}
