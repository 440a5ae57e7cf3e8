package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// accounts follow every per-channel node of the original through the moves, so that the plan's numbers add up.
type accounts struct {
	list    []*entry             // in the order of their nodes
	own     table[*entry]        // of a node of the original
	entries table[[]*entry]      // the entries that a node accounts for: its own, and those of nodes merged into it
	takers  table[[]*model.Node] // for a node that moved: the nodes that took its map
	why     table[*Reason]       // why a node stays, by the last pass that tried to move it
}

// entry is one per-channel node of the original.
type entry struct {
	number      int // of its Map in the plan
	graph, name string
	moved       bool
	into        []*model.Node // the nodes that took its map, or a part of it
}

func newAccounts(m *model.Model, constant constantValues) *accounts {
	nodes := counted(m, constant)
	a := &accounts{list: make([]*entry, len(nodes))}
	entries := make([]entry, len(nodes)) // one piece of memory for all
	for k, n := range nodes {
		entries[k] = entry{number: k, graph: n.Graph.Path(), name: n.String()}
		a.list[k] = &entries[k]
		a.own.set(n.Number, a.list[k])
		a.entries.set(n.Number, a.list[k:k+1:k+1])
	}
	return a
}

// of are the entries that nodes stand for, each once.
func (a *accounts) of(nodes []*model.Node) (list []*entry) {
	if len(nodes) == 1 {
		return a.entries.at(nodes[0].Number)
	}
	seen := map[*entry]bool{}
	for _, n := range nodes {
		for _, e := range a.entries.at(n.Number) {
			if !seen[e] {
				seen[e] = true
				list = append(list, e)
			}
		}
	}
	return list
}

// moved records which nodes took a run's map, after the edits of the move.
func (a *accounts) moved(m *move, r *run, successors []successor) {
	gone := slices.Clip(r.nodes)
	for _, n := range m.into {
		if n.Type == "Identity" { // the run became the inverse of what it met: the nodes that took it account for both
			gone = append(gone, n)
		}
	}
	entries := a.of(gone)
	for _, e := range entries {
		e.moved, e.into = true, with(e.into, m.into)
	}
	for _, n := range r.nodes {
		a.takers.set(n.Number, with(a.takers.at(n.Number), m.into))
	}
	for _, n := range m.into {
		switch {
		case slices.Contains(r.nodes, n):
		case mayCount(n):
			a.take(n, entries)
		}
	}
	for _, h := range successors {
		a.take(h.node, h.entries)
		for _, e := range h.entries {
			e.moved, e.into = true, append(e.into, h.node)
		}
		for _, n := range r.nodes {
			a.takers.set(n.Number, append(a.takers.at(n.Number), h.node))
		}
	}
}

// with is a list with more behind it. It may share memory with both: neither may be changed from then on.
func with(list, more []*model.Node) []*model.Node {
	if len(list) == 0 {
		return slices.Clip(more)
	}
	return append(list, more...)
}

// take makes a node account for more entries.
func (a *accounts) take(n *model.Node, more []*entry) {
	seen := map[*entry]bool{}
	for _, e := range a.entries.at(n.Number) {
		seen[e] = true
	}
	for _, e := range more {
		if !seen[e] {
			a.entries.set(n.Number, append(a.entries.at(n.Number), e))
		}
	}
}

// close writes the accounts into the plan. The per-channel nodes of the folded model decide the verdict of each entry.
func (a *accounts) close(p *planner) {
	constant := constants(p.model)
	rest := counted(p.model, constant)
	p.plan.Before, p.plan.After = len(a.list), len(rest)
	standing := map[*entry][]int{}
	whyNoMap, functions := p.whyNoMap(constant), functionGraphs(p.model)
	for k, n := range rest {
		one := Remaining{Graph: n.Graph.Path(), Node: n.String()}
		if functions[n.Graph] {
			one.Reason = because(Subgraph, "%v is in a function that stays: nothing in it folds where it is called, or a call cannot be inlined", n)
		} else {
			one.Reason = p.whyLeft(n, whyNoMap)
		}
		for _, e := range a.entries.at(n.Number) {
			one.Maps = append(one.Maps, e.number)
			standing[e] = append(standing[e], k)
			e.moved = e.moved || len(a.entries.at(n.Number)) > 1 // other maps were merged into it
		}
		slices.Sort(one.Maps)
		p.plan.Remaining = append(p.plan.Remaining, one)
	}
	for _, e := range a.list {
		p.plan.Maps = append(p.plan.Maps, a.result(e, standing[e], p.plan.Remaining))
	}
}

// result is the verdict of an entry, given the indices of the remaining nodes that account for it.
func (a *accounts) result(e *entry, standing []int, remaining []Remaining) Map {
	m := Map{Graph: e.graph, Node: e.name, Verdict: Folded}
	if len(standing) > 0 {
		m.Verdict, m.Reason = Merged, remaining[standing[0]].Reason
		if !e.moved {
			m.Verdict = Left
			return m
		}
	}
	for _, n := range a.final(e.into, map[*model.Node]bool{}) {
		m.Into = append(m.Into, n.String())
	}
	for _, k := range standing {
		if name := remaining[k].Node; !slices.Contains(m.Into, name) {
			m.Into = append(m.Into, name)
		}
	}
	return m
}

// final follows nodes that took a map, and were taken in turn, to nodes of the folded model.
func (a *accounts) final(into []*model.Node, seen map[*model.Node]bool) (list []*model.Node) {
	for _, n := range into {
		if seen[n] {
			continue
		}
		seen[n] = true
		if n.Removed() {
			list = append(list, a.final(a.takers.at(n.Number), seen)...)
		} else if n.Type != "Identity" {
			list = append(list, n)
		}
	}
	return list
}

// whyLeft is why a per-channel node stands in the folded model.
func (p *planner) whyLeft(n *model.Node, whyNoMap func(*model.Node) *Reason) *Reason {
	if why := p.find(n).why; why != nil && why.Text != "" {
		return why
	}
	if why := p.accounts.why.at(n.Number); why != nil {
		return why
	}
	return whyNoMap(n)
}

// whyNoMap answers, for a per-channel node that no pass tries to move, why it is no affine map.
func (p *planner) whyNoMap(constant constantValues) func(*model.Node) *Reason {
	stays := func(n *model.Node) bool {
		if p.model.Stays == nil {
			return false
		}
		_, yes := p.model.Stays(n)
		return yes
	}
	return func(n *model.Node) *Reason {
		o := operators[n.Type]
		switch {
		case n.Why != "":
			return because(Unsupported, "%v is not understood: %s", n, n.Why)
		case n.Domain != "" && n.Domain != "ai.onnx":
			return because(Unsupported, "%v is of the domain %q", n, n.Domain)
		case slices.Contains(n.Inputs, nil) && n.Type != "LayerNormalization" || n.In(0) == nil || n.Out(0) == nil:
			return because(Unsupported, "%v lacks an input or its output", n)
		case stays(n):
			return because(Unsupported, "%v is not a layer of its own, but a part of what a layer of the file computes", n)
		case p.opt.Off[o.Family]:
			return because(Keep, "%v is of the family %q, which is switched off", n, o.Family)
		case o.Tail != nil:
			return because(NoGain, "%v multiplies by 1 and adds 0 already", n)
		}
		return p.noMap(n, constant)
	}
}

// noMap says why a node with a constant operand is no map.
func (p *planner) noMap(n *model.Node, constant constantValues) *Reason {
	x, c := n.Inputs[0], n.Inputs[1]
	if constant.has(x) {
		x, c = c, x
	}
	switch {
	case p.isConstant(x):
		return because(NoGain, "all inputs of %v are constants", n)
	case !x.DType.Float() && !c.DType.Float():
		return because(Integer, "%v computes with %v: shapes or indices", n, c.DType)
	case p.quantized(c):
		return because(Quantized, "the operand %q of %v is stored in another type and dequantised", c.Name, n)
	}
	return p.notConstant("operand", c, n)
}
