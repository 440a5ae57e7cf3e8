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
	nodes  []heldNode // by Number, from 1
	consts []heldConst
	value  table[int32] // places of constants in consts, from 1
	unread map[*model.Value]bool
	paths  map[*model.Graph]string
}

// heldNode is a node as it was: by the path of its graph, type and name.
type heldNode struct {
	path, typ, name string
	stands          bool // set by mark: it still exists
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
	m.Enumerate()
	i := &inventory{unread: map[*model.Value]bool{}, paths: map[*model.Graph]string{}}
	note := func(v *model.Value) {
		if v != nil && len(v.Uses) == 0 && !v.Output {
			i.unread[v] = true
		}
	}
	m.Walk(func(g *model.Graph) {
		path := g.Path()
		i.paths[g] = path
		i.nodes, i.consts = slices.Grow(i.nodes, len(g.Nodes)), slices.Grow(i.consts, len(g.Consts))
		for _, n := range g.Nodes {
			i.nodes = append(i.nodes, heldNode{path: path, typ: n.Type, name: n.Label()})
			for _, v := range n.Outputs {
				note(v)
			}
		}
		for _, v := range g.Consts {
			i.consts = append(i.consts, heldConst{value: v, constant: v.Const})
			i.value.set(v.Number, int32(len(i.consts)))
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

// compare lists in the plan which nodes and constants differ from what the model held before.
func (i *inventory) compare(m *model.Model, plan *Plan) {
	nodes, consts := i.mark(m)
	plan.Nodes, plan.Consts = make([]NodeEdit, 0, nodes), make([]ConstEdit, 0, consts)
	m.Walk(func(g *model.Graph) {
		path, known := i.paths[g]
		if !known {
			path = g.Path()
		}
		for _, n := range g.Nodes {
			if edit := i.editOf(n); edit != "" {
				plan.Nodes = append(plan.Nodes, NodeEdit{path, n.String(), edit})
				if slices.ContainsFunc(n.Attrs, isFloat) {
					plan.Unit = max(plan.Unit, tensor.Float32.Unit()) // attributes are float32
				}
			}
		}
		for _, v := range g.Consts {
			edit, old := i.constEditOf(v)
			if old != v.Const {
				plan.Unit = max(plan.Unit, v.Const.DType.Unit())
			}
			if edit != "" {
				plan.Consts = append(plan.Consts, ConstEdit{path, v.Name, edit, v.Const.Bytes()})
			}
		}
	})
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

// mark marks what still stands, and returns how many nodes and constants differ from before.
func (i *inventory) mark(m *model.Model) (nodes, consts int) {
	nodes, consts = len(i.nodes), len(i.consts)
	m.Walk(func(g *model.Graph) {
		for _, n := range g.Nodes {
			if !i.isNew(n) {
				i.nodes[n.Number-1].stands = true
				nodes--
			}
			if i.editOf(n) != "" {
				nodes++
			}
		}
		for _, v := range g.Consts {
			if k := i.value.at(v.Number); k > 0 {
				i.consts[k-1].stands = true
				consts--
			}
			if edit, _ := i.constEditOf(v); edit != "" {
				consts++
			}
		}
	})
	return nodes, consts
}

// isNew says whether the model did not have a node.
func (i *inventory) isNew(n *model.Node) bool { return n.Number > len(i.nodes) }

// editOf says how a node of the edited model differs from before: "add", "change" or not at all.
func (i *inventory) editOf(n *model.Node) string {
	switch {
	case i.isNew(n):
		return "add"
	case n.Edited:
		return "change"
	}
	return ""
}

// constEditOf says how a constant of the edited model differs from before, and what it was.
func (i *inventory) constEditOf(v *model.Value) (edit string, old *model.Constant) {
	k := i.value.at(v.Number)
	if k > 0 {
		old = i.consts[k-1].constant
	}
	switch {
	case len(v.Const.Factors) > 0:
		return "rescale", old
	case k == 0:
		return "add", old
	case old != v.Const:
		return "change", old
	}
	return "", old
}
