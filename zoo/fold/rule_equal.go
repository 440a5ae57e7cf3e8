package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// maxReaders bounds the readers of a value among which an equal map is looked for.
const maxReaders = 64

// mergeEqual merges a map with an equal one of the same value, and says whether it did: dynamic quantisation, for one,
// writes every scale twice. It is tried last, since a merged map has two readers, which can keep it from moving.
func (p *planner) mergeEqual(r *run) bool {
	n := r.first()
	f, out := p.find(n), n.Outputs[0]
	in := n.In(f.data)
	if out.Output || p.kept(n) || len(in.Uses) > maxReaders || p.newMove([]*model.Node{n}).Rebuild(n) != nil {
		return false
	}
	at := slices.IndexFunc(in.Uses, func(u model.Use) bool {
		o := u.Node
		return o != n && o.Graph == n.Graph && o.Type == n.Type && !p.kept(o) && p.find(o).why == nil && p.find(o).data == u.Index && p.find(o).a.equal(f.a)
	})
	if at < 0 {
		return false
	}
	equal := in.Uses[at].Node
	first, second := slices.Index(n.Graph.Nodes, equal), slices.Index(n.Graph.Nodes, n)
	if first < 0 || first > second {
		return false // the later one of the two goes
	}
	one := &run{nodes: []*model.Node{n}, a: f.a, cost: costOf(n)}
	m := p.newMove(one.nodes)
	if m.Rebuild(n) != nil {
		return false
	}
	m.nodes, m.into = append(m.nodes, equal), []*model.Node{equal}
	p.regions.renamed[out] = equal.Outputs[0]
	return m.settle(one, func() {
		n.Remove()
		for len(out.Uses) > 0 {
			u := out.Uses[len(out.Uses)-1]
			u.Node.Set(u.Index, equal.Outputs[0])
		}
	}) == nil
}
