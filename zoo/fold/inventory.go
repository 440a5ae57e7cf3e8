package fold

import (
	"math"
	"reflect"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// inventory is what a model held before it was folded.
type inventory struct {
	order     []*model.Node
	nodes     map[*model.Node]described
	constants []*model.Value
	consts    map[*model.Value]*model.Constant
	read      map[*model.Value]bool // values that somebody read or that were graph outputs
	paths     map[*model.Graph]string
}

// described is a node as the plan names it, by the path of its graph and its name, with the attributes that it had.
type described struct {
	path, name string
	attrs      []model.Attr
}

func takeInventory(m *model.Model) *inventory {
	nodes, consts := sizeOf(m)
	i := &inventory{
		nodes: make(map[*model.Node]described, nodes), consts: make(map[*model.Value]*model.Constant, consts),
		read: make(map[*model.Value]bool, nodes+consts), paths: map[*model.Graph]string{},
	}
	m.Walk(func(g *model.Graph) {
		i.paths[g] = g.Path()
		for _, n := range g.Nodes {
			i.order = append(i.order, n)
			i.nodes[n] = described{i.paths[g], n.String(), slices.Clone(n.Attrs)}
			for _, v := range n.Outputs {
				i.read[v] = v != nil && (len(v.Uses) > 0 || v.Output)
			}
		}
		for _, v := range g.Consts {
			i.constants = append(i.constants, v)
			i.consts[v] = v.Const
			i.read[v] = len(v.Uses) > 0 || v.Output
		}
	})
	return i
}

// dropIdentities drops maps that became identities: they would hide that two nodes read the same value. A change of the
// identity's input changes its output, so both belong to one region.
func (p *planner) dropIdentities() {
	for _, n := range p.identities {
		if n.Removed() || n.Type != "Identity" || n.Outputs[0].Output {
			continue
		}
		in := n.Inputs[0]
		if in.Producer != nil && in.Producer.Graph == n.Graph {
			p.regions.join([]*model.Node{in.Producer, n})
		}
		p.regions.renamed[n.Outputs[0]] = in
		n.Graph.Bypass(n, 0)
	}
	p.identities = nil
}

// prune drops maps that became identities, and constants and nodes of constant expressions that have lost their last
// reader.
func (p *planner) prune(before *inventory) {
	p.dropIdentities()
	var unread []*model.Node
	dead := func(n *model.Node) bool {
		if n.Removed() || len(n.Bodies) > 0 {
			return false
		}
		had := false
		for _, v := range n.Outputs {
			if v == nil {
				continue
			}
			if len(v.Uses) > 0 || v.Output {
				return false
			}
			had = had || before.read[v]
		}
		return had
	}
	p.model.Walk(func(g *model.Graph) {
		for _, n := range g.Nodes {
			if dead(n) {
				unread = append(unread, n)
			}
		}
	})
	for len(unread) > 0 {
		n := unread[len(unread)-1]
		unread = unread[:len(unread)-1]
		if !dead(n) {
			continue
		}
		var sources []*model.Node
		for _, v := range n.Inputs {
			if v != nil && v.Producer != nil {
				sources = append(sources, v.Producer)
			}
		}
		n.Remove()
		for _, s := range sources {
			if dead(s) {
				unread = append(unread, s)
			}
		}
	}
	p.model.Walk(func(g *model.Graph) {
		kept := g.Consts[:0:0]
		for _, v := range g.Consts {
			if len(v.Uses) > 0 || v.Output || before.consts[v] != nil && !before.read[v] {
				kept = append(kept, v)
			}
		}
		g.Consts = kept
	})
}

// shareAlike merges copies of a weight that got equal factors into one constant again.
func (p *planner) shareAlike() {
	type key struct {
		graph *model.Graph
		data  any
	}
	seen := map[key][]*model.Value{}
	p.model.Walk(func(g *model.Graph) {
		for _, v := range g.Consts {
			c := v.Const
			if c.Data == nil || !reflect.TypeOf(c.Data).Comparable() || len(c.Factors) == 0 || v.Output || v.Input {
				continue
			}
			k := key{g, c.Data}
			at := slices.IndexFunc(seen[k], func(w *model.Value) bool { return slices.EqualFunc(w.Const.Factors, c.Factors, alikeFactors) })
			if at < 0 {
				seen[k] = append(seen[k], v)
				continue
			}
			for len(v.Uses) > 0 {
				u := v.Uses[len(v.Uses)-1]
				u.Node.Set(u.Index, seen[k][at])
			}
		}
	})
}

// alikeFactors says whether two factors are the same, bit for bit.
func alikeFactors(f, g tensor.Factor) bool {
	return f.Layout == g.Layout && slices.EqualFunc(f.Scale, g.Scale, func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) })
}

// newFloat says whether an attribute is a float, which is stored as float32, that differs from before.
func newFloat(a model.Attr, before []model.Attr) bool {
	return a.Kind == model.FloatAttr && !slices.ContainsFunc(before, func(b model.Attr) bool { return a.Name == b.Name && a.Float == b.Float })
}

// compare lists in the plan which nodes and constants differ from what the model held before.
func (i *inventory) compare(m *model.Model, plan *Plan) {
	live, held := make(map[*model.Node]bool, len(i.order)), make(map[*model.Value]bool, len(i.constants))
	m.Walk(func(g *model.Graph) {
		path, known := i.paths[g]
		if !known {
			path = g.Path()
		}
		for _, n := range g.Nodes {
			live[n] = true
			old, was := i.nodes[n]
			if !was {
				plan.Nodes = append(plan.Nodes, NodeEdit{path, n.String(), "add"})
			} else if n.Edited {
				plan.Nodes = append(plan.Nodes, NodeEdit{path, n.String(), "change"})
			} else {
				continue
			}
			if slices.ContainsFunc(n.Attrs, func(a model.Attr) bool { return a.Kind == model.FloatAttr }) {
				plan.Unit = max(plan.Unit, tensor.Float32.Unit()) // attributes are float32
			}
			if n.Edited && slices.ContainsFunc(n.Attrs, func(a model.Attr) bool { return newFloat(a, old.attrs) }) {
				plan.Unit = max(plan.Unit, tensor.Float32.Unit())
			}
		}
		for _, v := range g.Consts {
			held[v] = true
			old, was := i.consts[v]
			if old != v.Const {
				plan.Unit = max(plan.Unit, v.Const.DType.Unit())
			}
			switch c := v.Const; {
			case len(c.Factors) > 0:
				plan.Consts = append(plan.Consts, ConstEdit{path, v.Name, "rescale", c.Bytes()})
			case !was:
				plan.Consts = append(plan.Consts, ConstEdit{path, v.Name, "add", c.Bytes()})
			case old != c:
				plan.Consts = append(plan.Consts, ConstEdit{path, v.Name, "change", c.Bytes()})
			}
		}
	})
	for _, n := range i.order {
		if !live[n] {
			plan.Nodes = append(plan.Nodes, NodeEdit{i.nodes[n].path, i.nodes[n].name, "drop"})
		}
	}
	for _, v := range i.constants {
		if !held[v] {
			plan.Consts = append(plan.Consts, ConstEdit{i.paths[v.Graph], v.Name, "drop", i.consts[v].Bytes()})
		}
	}
}
