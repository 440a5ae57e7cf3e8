package fold

import (
	"context"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Inline replaces calls of model-local functions by the functions' bodies, but for those that the plan left as functions.
// Names depend on the model alone, so that the plan's regions are found in the original too. Functions without calls are
// removed.
func (p *Plan) Inline(m *model.Model) {
	if len(m.Functions) > 0 {
		newInliner(m, p.whole).all()
	}
}

// wholeFunctions are the functions of a model that stay functions: planning the model with every call inlined touches none
// of their nodes.
func wholeFunctions(ctx context.Context, m *model.Model, o Options) (map[signature]bool, error) {
	if len(m.Functions) == 0 || o.Neutralize {
		return nil, nil
	}
	p := newPlanner(ctx, m.Clone(), o)
	before, i := takeInventory(p.model), newInliner(p.model, nil)
	i.all()
	if err := p.fold(before); err != nil {
		return nil, err
	}
	whole := map[signature]bool{}
	touched := map[signature]bool{}
	for n, functions := range i.origin {
		for _, s := range functions {
			touched[s] = touched[s] || p.regions.leader(n) != nil
		}
	}
	for s, yes := range touched { // of functions that are called
		whole[s] = !yes
	}
	return whole, nil
}

// maxCalls bounds how many calls are inlined.
const maxCalls = 10000

// signature identifies a function: what a call names.
type signature struct{ domain, name, overload string }

func signatureOf(n *model.Node) signature { return signature{n.Domain, n.Type, n.Overload} }

// inliner knows the functions that are worth inlining: those that hold something that may be an affine map.
type inliner struct {
	model  *model.Model
	worth  map[signature]*model.Function
	own    map[*model.Graph]bool       // graphs of functions
	origin map[*model.Node][]signature // for inlined nodes: the functions that they come from
}

// newInliner leaves out the functions that are to stay whole.
func newInliner(m *model.Model, whole map[signature]bool) *inliner {
	i := &inliner{m, map[signature]*model.Function{}, functionGraphs(m), map[*model.Node][]signature{}}
	for found := true; found; { // a function is worth inlining if one that it calls is
		found = false
		for _, f := range m.Functions {
			s := signature{f.Domain, f.Name, f.Overload}
			if i.worth[s] == nil && !whole[s] && i.holdsMaps(f) && inlinable(m, f) {
				i.worth[s], found = f, true
			}
		}
	}
	return i
}

// all inlines every call of a function that is worth it, and drops functions without calls.
func (i *inliner) all() {
	for left := maxCalls; left > 0; { // functions may call functions
		calls := i.calls()
		if len(calls) == 0 {
			break
		}
		for _, call := range calls[:min(left, len(calls))] {
			i.inline(call)
		}
		left -= len(calls)
		i.model.Walk((*model.Graph).Compact)
	}
	called := i.called()
	i.model.Functions = slices.DeleteFunc(i.model.Functions, func(f *model.Function) bool {
		s := signature{f.Domain, f.Name, f.Overload}
		return !called[s] && i.worth[s] != nil
	})
}

// functionGraphs are the graphs of functions, and the bodies in them.
func functionGraphs(m *model.Model) map[*model.Graph]bool {
	own := map[*model.Graph]bool{}
	for _, f := range m.Functions {
		own[f.Graph] = true
	}
	m.Walk(func(g *model.Graph) { // outer graphs before inner ones
		if g.Parent != nil && own[g.Parent.Graph] {
			own[g] = true
		}
	})
	return own
}

// holdsMaps says whether a function may hold an affine map.
func (i *inliner) holdsMaps(f *model.Function) bool {
	return slices.ContainsFunc(f.Graph.Nodes, func(n *model.Node) bool {
		o := operators[n.Type]
		return n.Domain == "" && o != nil && (o.Map != nil || o.Tail != nil) || i.worth[signatureOf(n)] != nil
	})
}

// inlinable says whether a function can be written without its call: it follows the model's operator set, its nodes
// compute its outputs, and none of them has an attribute of a kind that is only carried along.
func inlinable(m *model.Model, f *model.Function) bool {
	if f.Opset[""] != m.Opset[""] {
		return false
	}
	for k, v := range f.Graph.Outputs {
		if v.Producer == nil || v.Producer.Type == "Constant" || slices.Contains(f.Graph.Outputs[:k], v) {
			return false
		}
	}
	return !slices.ContainsFunc(f.Graph.Nodes, func(n *model.Node) bool {
		if n.Type == "Constant" {
			return n.Outputs[0].Const == nil
		}
		return len(n.Bodies) > 0 || slices.ContainsFunc(n.Attrs, carried)
	})
}

// carried says whether an attribute's value is not read, only copied: it cannot be written for another node.
func carried(a model.Attr) bool { return a.Kind == model.OtherAttr || a.Kind == model.TensorAttr }

// calls are those in the main graph and in bodies that are worth inlining.
func (i *inliner) calls() []*model.Node {
	var calls []*model.Node
	i.model.Walk(func(g *model.Graph) {
		if i.own[g] {
			return
		}
		for _, n := range g.Nodes {
			f := i.worth[signatureOf(n)]
			if f != nil && len(n.Inputs) <= len(f.Graph.Inputs) && len(n.Outputs) <= len(f.Graph.Outputs) && !slices.ContainsFunc(n.Attrs, carried) {
				calls = append(calls, n)
			}
		}
	})
	return calls
}

// called are the operators of the main graph, of bodies, and of the functions that these call.
func (i *inliner) called() map[signature]bool {
	called := map[signature]bool{}
	note := func(g *model.Graph) {
		for _, n := range g.Nodes {
			called[signatureOf(n)] = true
		}
	}
	i.model.Walk(func(g *model.Graph) {
		if !i.own[g] {
			note(g)
		}
	})
	for before := -1; before < len(called); {
		before = len(called)
		for _, f := range i.model.Functions {
			if called[signature{f.Domain, f.Name, f.Overload}] {
				note(f.Graph)
			}
		}
	}
	return called
}

// inline puts the function's nodes in the place of the call.
func (i *inliner) inline(call *model.Node) {
	g, f := call.Graph, i.worth[signatureOf(call)]
	origin := append(slices.Clone(i.origin[call]), signatureOf(call))
	at := map[*model.Value]*model.Value{nil: nil}
	for k, v := range f.Graph.Inputs {
		at[v] = call.In(k)
	}
	results := map[*model.Value]*model.Value{}
	for k, v := range f.Graph.Outputs {
		if out := call.Out(k); out != nil {
			results[v] = out
		}
	}
	after := call
	call.Remove()
	prefix := call.Name
	if prefix == "" {
		prefix = f.Name
	}
	for _, n := range f.Graph.Nodes {
		if n.Type == "Constant" {
			c := *n.Outputs[0].Const
			c.Source = nil
			at[n.Outputs[0]] = g.NewConst(prefix+"/"+n.Outputs[0].Name, &c)
			continue
		}
		var in, out []*model.Value
		for _, v := range n.Inputs {
			in = append(in, at[v])
		}
		for _, v := range n.Outputs {
			switch {
			case v == nil:
				out = append(out, nil)
				continue
			case results[v] != nil:
				at[v] = results[v]
			default:
				at[v] = g.NewValue(prefix+"/"+v.Name, v)
			}
			out = append(out, at[v])
		}
		hint := n.Name
		if hint == "" {
			hint = n.Type
		}
		copied := g.NewNode(after, n.Type, prefix+"/"+hint, in, out)
		copied.Domain, copied.Overload, copied.Attrs = n.Domain, n.Overload, attributes(n, call, f)
		i.origin[copied] = origin
		after = copied
	}
}

// attributes are those of a function's node in the place of a call: what refers to an attribute of the call becomes that
// one, or its default; what refers to none is omitted.
func attributes(n, call *model.Node, f *model.Function) []model.Attr {
	var attrs []model.Attr
	for _, a := range n.Attrs {
		if a.Kind == model.RefAttr {
			name, of := a.Name, call.Attr(a.String)
			if k := slices.IndexFunc(f.Defaults, func(d model.Attr) bool { return d.Name == a.String }); of == nil && k >= 0 {
				of = &f.Defaults[k]
			}
			if of == nil {
				continue
			}
			a = *of
			a.Name = name
		}
		attrs = append(attrs, a)
	}
	return attrs
}
