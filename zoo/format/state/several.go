package state

import (
	"errors"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

// Several state dicts of one checkpoint, a model's and its moving average, may be folded along one graph: each is a
// network, and they are one model, side by side. A network identifies its nodes by their original names. So the nodes get
// these names back when its edits are asked for.

// several are networks that are one model.
type several struct {
	m    *model.Model
	nets []*alone
	of   map[*model.Node]*alone
}

// alone is one of the networks.
type alone struct {
	*Net
	prefix string // of the names that its nodes and values have in the common model
	graph  *model.Graph
	within []*model.Graph // the graphs that nodes of that hold, and they
}

// side joins the networks of several dicts into one. Functions are the graph's, whose tensors come from their callers: one
// of each is that of all networks, and it stays as it is.
func side(dicts []string, nets []*Net) *Net {
	first := nets[0].Model
	s := &several{m: &model.Model{Opset: first.Opset, Functions: first.Functions}, of: map[*model.Node]*alone{}}
	s.m.Graph = &model.Graph{Name: "state", Model: s.m}
	for _, f := range s.m.Functions {
		for _, g := range graphs(f.Graph) {
			g.Model = s.m
		}
	}
	for k, net := range nets {
		all := graphs(net.Model.Graph)
		a := &alone{net, dicts[k] + ": ", all[0], all[1:]}
		s.nets = append(s.nets, a)
		for _, g := range all {
			for _, n := range g.Nodes {
				s.of[n] = a
			}
		}
	}
	s.join()
	s.rules()
	all := &Net{Model: s.m, Partial: nets[0].Partial, Used: nets[0].Used, edits: s.edits, close: s.close}
	for _, net := range nets {
		all.Warnings = append(all.Warnings, net.Warnings...)
	}
	return all
}

// graphs are a graph and those that its nodes hold.
func graphs(g *model.Graph) []*model.Graph {
	list := []*model.Graph{g}
	for _, n := range g.Nodes {
		for _, b := range n.Bodies {
			list = append(list, graphs(b)...)
		}
	}
	return list
}

// join puts all nodes into the common graph.
func (s *several) join() {
	g := s.m.Graph
	g.Nodes, g.Inputs, g.Outputs, g.Consts = nil, nil, nil, nil
	for _, a := range s.nets {
		g.Nodes, g.Inputs = append(g.Nodes, a.graph.Nodes...), append(g.Inputs, a.graph.Inputs...)
		g.Outputs, g.Consts = append(g.Outputs, a.graph.Outputs...), append(g.Consts, a.graph.Consts...)
		a.move(g, func(name string) string { return a.prefix + name })
	}
}

// part gives each network its nodes of the common graph back.
func (s *several) part() {
	for _, a := range s.nets {
		g := a.graph
		g.Nodes = slices.DeleteFunc(slices.Clone(s.m.Graph.Nodes), func(n *model.Node) bool { return s.of[n] != a })
		g.Consts = slices.DeleteFunc(slices.Clone(s.m.Graph.Consts), func(v *model.Value) bool {
			return !slices.Contains(g.Consts, v) && !slices.ContainsFunc(v.Uses, func(u model.Use) bool { return s.of[u.Node] == a })
		})
		a.move(g, func(name string) string { return strings.TrimPrefix(name, a.prefix) })
	}
}

// move moves the network's nodes and values to a graph, under new names.
func (a *alone) move(to *model.Graph, name func(string) string) {
	a.rename(a.graph, to, name)
	for _, g := range a.within {
		g.Model = to.Model
		a.rename(g, g, name)
	}
}

// rename gives what a graph has to a graph, under other names.
func (a *alone) rename(from, to *model.Graph, name func(string) string) {
	for _, n := range from.Nodes {
		n.Graph = to
		if n.Name != "" {
			n.Name = name(n.Name)
		}
		for _, v := range n.Outputs {
			if v != nil {
				v.Graph, v.Name = to, name(v.Name)
			}
		}
	}
	for _, v := range slices.Concat(from.Inputs, from.Consts) {
		v.Graph, v.Name = to, name(v.Name)
	}
}

// rules are the model's rules (Place, Stays …): those of the network of each node. One that is of none is a function's: it
// is code.
func (s *several) rules() {
	of := func(n *model.Node) *model.Model { return s.of[n].Model }
	s.m.Place = func(n *model.Node, k int) model.Place {
		if s.of[n] == nil {
			return model.NoPlace
		}
		return of(n).Place(n, k)
	}
	s.m.Stays = func(n *model.Node) (string, bool) {
		if s.of[n] == nil {
			return format.InCode, true
		}
		return of(n).Stays(n)
	}
	if s.nets[0].Model.Shares != nil {
		s.m.Shares = func(n *model.Node, k int) string { return of(n).Shares(n, k) }
	}
	if s.nets[0].Model.Twins != nil {
		s.m.Twins = func(n *model.Node) ([]*model.Node, bool) { return of(n).Twins(n) }
	}
}

// edits are those of all networks.
func (s *several) edits() (list []Edit, err error) {
	s.part()
	defer s.join()
	for _, a := range s.nets {
		own, fails := a.Edits()
		list, err = append(list, own...), errors.Join(err, fails)
	}
	return list, err
}

func (s *several) close() (err error) {
	for _, a := range s.nets {
		err = errors.Join(err, a.Close())
	}
	return err
}
