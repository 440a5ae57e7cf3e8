package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Formats that store layers store a layer's weights once, even if the layer is used in several places: in the branches of a
// siamese network, or in a model that is used twice. The nodes of these places are twins (model.Model.Twins). What a move
// does to one of them it has to do to all, so the maps of all places move at once.

// twins are the nodes of all places of n's layer; nil if there is one place only, and with Options.Neutralize, which leaves
// layers that are used in several places alone.
func (p *planner) twins(n *model.Node) (list []*model.Node, together bool) {
	if p.opt.Neutralize || p.model.Twins == nil {
		return nil, false
	}
	return p.model.Twins(n)
}

// hasTwins says whether n's layer is used in several places.
func (p *planner) hasTwins(n *model.Node) bool {
	if p.model.Twins == nil {
		return false
	}
	list, _ := p.model.Twins(n)
	return len(list) > 0
}

// together says whether a run's nodes can be removed only with those of the other places.
func (p *planner) together(r *run) bool {
	_, yes := p.twins(r.first())
	return yes
}

// twinsFollow says whether each twin of n has one reader, a twin of next, as n has next.
func (p *planner) twinsFollow(n, next *model.Node) bool {
	a, _ := p.twins(n)
	b, _ := p.twins(next)
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		out := a[k].Out(0)
		if out == nil || out.Output || len(out.Uses) != 1 || out.Uses[0].Node != b[k] || p.find(b[k]).why != nil || out.Uses[0].Index != p.find(b[k]).data {
			return false
		}
	}
	return true
}

// twinRuns are the runs of a run's twins, itself among them; nil if its layer is used once, or if other nodes follow the
// layer in other places.
func (p *planner) twinRuns(r *run) []*run {
	first, _ := p.twins(r.first())
	if len(first) < 2 {
		return nil
	}
	list := make([]*run, len(first))
	for k := range list {
		list[k] = &run{a: r.a, cost: r.cost}
		for _, n := range r.nodes {
			all, _ := p.twins(n)
			if len(all) != len(first) || all[k].Removed() || p.find(all[k]).why != nil || all[k].Graph != n.Graph {
				return nil
			}
			list[k].nodes = append(list[k].nodes, all[k])
		}
	}
	return list
}

// moveAll moves the runs of all places at once, backward or forward.
func (p *planner) moveAll(places []*run, back bool) *Reason {
	whole := &run{a: places[0].a}
	for _, r := range places {
		whole.nodes, whole.cost = append(whole.nodes, r.nodes...), whole.cost.plus(r.cost)
	}
	m := p.newMove(whole.nodes)
	for _, r := range places {
		var why *Reason
		if m.start = r.first(); back {
			why = m.Back(r.first(), p.find(r.first()).data, r.a)
		} else {
			why = m.Forward(r.last().Outputs[0], r.a)
		}
		if why != nil {
			return why
		}
	}
	return m.settle(whole, func() {
		for _, r := range places {
			if back {
				p.absorb(r)
			} else {
				p.bypass(r)
			}
		}
	})
}

// change is a new constant as input of a node: the old one times a factor, or new values.
type change struct {
	node   *model.Node
	input  int
	before *model.Value
	factor tensor.Factor
	shape  []int64
	values []float64
}

func (c *change) equal(d *change) bool {
	return c.input == d.input && c.factor.Layout == d.factor.Layout && slices.Equal(c.factor.Scale, d.factor.Scale) &&
		slices.Equal(c.shape, d.shape) && slices.Equal(c.values, d.values)
}

// changesOf are the changes of a node, in order.
func (m *move) changesOf(n *model.Node) (list []*change) {
	for k := range m.changes {
		if m.changes[k].node == n {
			list = append(list, &m.changes[k])
		}
	}
	return list
}

// alike refuses a move that changes a layer's constants differently in two places.
func (m *move) alike() *Reason {
	for _, c := range m.changes {
		all, _ := m.p.twins(c.node)
		for _, t := range all {
			if !slices.EqualFunc(m.changesOf(c.node), m.changesOf(t), (*change).equal) {
				return because(SharedOutput, "the %s of %v is also that of %v, where it would change differently", op.Of(c.node).Input(c.input), c.node, t)
			}
		}
	}
	return nil
}

// unite makes the constants of twins one constant again, as before the move.
func (m *move) unite() {
	for _, c := range m.changes {
		all, _ := m.p.twins(c.node)
		if len(all) == 0 || all[0] == c.node {
			continue
		}
		for _, d := range m.changesOf(all[0]) {
			if v := all[0].In(c.input); d.input == c.input && d.before == c.before && v != c.node.In(c.input) {
				c.node.Set(c.input, v)
			}
		}
	}
}
