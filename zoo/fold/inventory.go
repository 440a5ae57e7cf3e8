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
	nodes  []heldNode
	consts []heldConst
	node   map[*model.Node]int  // numbers of nodes
	value  map[*model.Value]int // numbers of constants
	unread map[*model.Value]bool
	paths  map[*model.Graph]string
}

// heldNode is a node as it was: by the path of its graph, type and name, with the attributes that it had if one is a number.
type heldNode struct {
	path, typ, name string
	attrs           []model.Attr
	stands          bool // set by compare: it still exists
}

// String is the node's old name.
func (n *heldNode) String() string { return (&model.Node{Type: n.typ, Name: n.name}).String() }

// heldConst is a constant as it was.
type heldConst struct {
	value    *model.Value
	constant *model.Constant
	stands   bool
}

func takeInventory(m *model.Model) *inventory {
	nodes, consts := sizeOf(m)
	i := &inventory{
		nodes: make([]heldNode, 0, nodes), consts: make([]heldConst, 0, consts), node: make(map[*model.Node]int, nodes),
		value: make(map[*model.Value]int, consts), unread: map[*model.Value]bool{}, paths: map[*model.Graph]string{},
	}
	note := func(v *model.Value) {
		if v != nil && len(v.Uses) == 0 && !v.Output {
			i.unread[v] = true
		}
	}
	m.Walk(func(g *model.Graph) {
		path := g.Path()
		i.paths[g] = path
		for _, n := range g.Nodes {
			held := heldNode{path: path, typ: n.Type, name: n.Label()}
			if slices.ContainsFunc(n.Attrs, isFloat) {
				held.attrs = slices.Clone(n.Attrs)
			}
			i.node[n] = len(i.nodes)
			i.nodes = append(i.nodes, held)
			for _, v := range n.Outputs {
				note(v)
			}
		}
		for _, v := range g.Consts {
			i.value[v] = len(i.consts)
			i.consts = append(i.consts, heldConst{value: v, constant: v.Const})
			note(v)
		}
	})
	return i
}

func isFloat(a model.Attr) bool { return a.Kind == model.FloatAttr }

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
			had = had || !before.unread[v]
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
			if len(v.Uses) > 0 || v.Output || before.unread[v] {
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
	return isFloat(a) && !slices.ContainsFunc(before, func(b model.Attr) bool { return a.Name == b.Name && a.Float == b.Float })
}

// compare lists in the plan which nodes and constants differ from what the model held before.
func (i *inventory) compare(m *model.Model, plan *Plan) {
	m.Walk(func(g *model.Graph) {
		path, known := i.paths[g]
		if !known {
			path = g.Path()
		}
		for _, n := range g.Nodes {
			old := heldNode{}
			k, was := i.node[n]
			if was {
				i.nodes[k].stands = true
				old = i.nodes[k]
			}
			if !was {
				plan.Nodes = append(plan.Nodes, NodeEdit{path, n.String(), "add"})
			} else if n.Edited {
				plan.Nodes = append(plan.Nodes, NodeEdit{path, n.String(), "change"})
			} else {
				continue
			}
			if slices.ContainsFunc(n.Attrs, isFloat) {
				plan.Unit = max(plan.Unit, tensor.Float32.Unit()) // attributes are float32
			}
			if n.Edited && slices.ContainsFunc(n.Attrs, func(a model.Attr) bool { return newFloat(a, old.attrs) }) {
				plan.Unit = max(plan.Unit, tensor.Float32.Unit())
			}
		}
		for _, v := range g.Consts {
			var old *model.Constant
			k, was := i.value[v]
			if was {
				i.consts[k].stands = true
				old = i.consts[k].constant
			}
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
	nodes, consts := 0, 0
	for k := range i.nodes {
		if !i.nodes[k].stands {
			nodes++
		}
	}
	for k := range i.consts {
		if !i.consts[k].stands {
			consts++
		}
	}
	plan.Nodes, plan.Consts = slices.Grow(plan.Nodes, nodes), slices.Grow(plan.Consts, consts)
	for k := range i.nodes {
		if n := &i.nodes[k]; !n.stands {
			plan.Nodes = append(plan.Nodes, NodeEdit{n.path, n.String(), "drop"})
		}
	}
	for _, c := range i.consts {
		if !c.stands {
			plan.Consts = append(plan.Consts, ConstEdit{i.paths[c.value.Graph], c.value.Name, "drop", c.constant.Bytes()})
		}
	}
}
