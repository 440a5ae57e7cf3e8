package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// cancelTransposes removes pairs of Transposes where the second undoes the first and only folded maps stood between:
// networks with channels last have such a pair around every batch normalisation. Pairs that were neighbours in the original
// stay.
func (p *planner) cancelTransposes() {
	p.graphs(func(g *model.Graph) {
		for _, n := range g.Nodes {
			if !n.Removed() {
				p.cancel(n)
			}
		}
	})
	p.model.Walk((*model.Graph).Compact)
}

func (p *planner) cancel(n *model.Node) {
	if n.Type != "Transpose" || n.In(0) == nil || n.In(0).Producer == nil {
		return
	}
	before := n.In(0).Producer
	if before.Type != "Transpose" || before.Graph != n.Graph || p.regions.neighbours(before, n) || !p.mayGo(before) || !p.mayGo(n) {
		return
	}
	first, why := permutation(before)
	second, whyNot := permutation(n)
	if why != nil || whyNot != nil || len(first) != len(second) {
		return
	}
	for k, axis := range second {
		if axis < 0 || axis >= int64(len(first)) || first[axis] != int64(k) {
			return
		}
	}
	x, between, y := before.In(0), n.In(0), n.Outputs[0]
	switch {
	case !y.Output:
		p.regions.join([]*model.Node{before, n})
		p.regions.drop(n, y, x)
		n.Remove()
		for len(y.Uses) > 0 {
			u := y.Uses[len(y.Uses)-1]
			u.Node.Set(u.Index, x)
		}
	case x.Producer != nil && x.Producer.Graph == n.Graph && !x.Output && len(x.Uses) == 1 && len(between.Uses) == 1 && !between.Output:
		p.regions.join([]*model.Node{before, n})
		p.regions.drop(n, x, y)
		n.Graph.Absorb(n, 0)
		n.Graph.Absorb(before, 0)
	}
}

// mayGo says whether the model's format can express that a node other than a map is removed.
func (p *planner) mayGo(n *model.Node) bool {
	if n.Domain != "" || p.kept(n) {
		return false
	}
	if p.model.Stays == nil {
		return p.model.Place == nil
	}
	_, stays := p.model.Stays(n)
	return !stays
}

// neighbours says whether n read an output of before in the original model.
func (r *regions) neighbours(before, n *model.Node) bool {
	reader, writer := r.of(n), r.of(before)
	return reader == nil || writer == nil || slices.Contains(writer.outputs, reader.inputs[0])
}
