package model

import "slices"

// Clone is a copy of the model that can be edited without a change to m. Constants are shared: edits replace them.
func (m *Model) Clone() *Model {
	c := &cloner{map[*Graph]*Graph{}, map[*Node]*Node{}, map[*Value]*Value{}}
	out := *m
	out.names = nil
	m.Walk(func(g *Graph) {
		c.graphs[g] = &Graph{Name: g.Name, Model: &out, Attr: g.Attr}
		for _, n := range g.Nodes {
			k := *n
			c.nodes[n] = &k
		}
	})
	m.Walk(c.fill)
	out.Graph, out.Functions = c.graphs[m.Graph], slices.Clone(m.Functions)
	for k, f := range out.Functions {
		g := *f
		g.Graph = c.graphs[f.Graph]
		out.Functions[k] = &g
	}
	return &out
}

// cloner maps originals to copies: all graphs and nodes, and values as they are reached.
type cloner struct {
	graphs map[*Graph]*Graph
	nodes  map[*Node]*Node
	values map[*Value]*Value
}

// fill fills in the copies of a graph and of its nodes.
func (c *cloner) fill(g *Graph) {
	out := c.graphs[g]
	out.Parent, out.Inputs, out.Outputs, out.Consts = c.nodes[g.Parent], c.list(g.Inputs), c.list(g.Outputs), c.list(g.Consts)
	for _, n := range g.Nodes {
		k := c.nodes[n]
		out.Nodes = append(out.Nodes, k)
		k.Graph, k.Attrs, k.Inputs, k.Outputs, k.Bodies = out, slices.Clone(n.Attrs), c.list(n.Inputs), c.list(n.Outputs), nil
		for _, b := range n.Bodies {
			k.Bodies = append(k.Bodies, c.graphs[b])
		}
	}
}

func (c *cloner) list(values []*Value) []*Value {
	var out []*Value
	for _, v := range values {
		out = append(out, c.value(v))
	}
	return out
}

func (c *cloner) value(v *Value) *Value {
	if v == nil || c.values[v] != nil {
		return c.values[v]
	}
	out := *v
	c.values[v] = &out
	out.Graph, out.Producer, out.Uses = c.graphs[v.Graph], c.nodes[v.Producer], nil
	for _, u := range v.Uses {
		out.Uses = append(out.Uses, Use{c.nodes[u.Node], u.Index})
	}
	return &out
}
