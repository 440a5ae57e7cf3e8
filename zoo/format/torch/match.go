package torch

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// match checks that the graph of the edited program, as read, equals the edited graph: the same operators with the same
// attributes in the same order, on the same values.
func (c *changes) match(a, b *builder) (map[string]string, error) {
	m := &matcher{c: c, a: a, b: b, renamed: map[string]string{}}
	if len(a.m.Graph.Nodes) != len(b.m.Graph.Nodes) {
		return nil, fmt.Errorf("%d operators became %d", len(a.m.Graph.Nodes), len(b.m.Graph.Nodes))
	}
	for k, n := range a.m.Graph.Nodes {
		if err := m.node(n, b.m.Graph.Nodes[k]); err != nil {
			return nil, err
		}
	}
	for _, lists := range [][2][]*model.Value{{a.m.Graph.Inputs, b.m.Graph.Inputs}, {a.m.Graph.Outputs, b.m.Graph.Outputs}} {
		if !slices.EqualFunc(lists[0], lists[1], func(v, w *model.Value) bool { return v.Name == w.Name }) {
			return nil, fmt.Errorf("the program has other inputs or outputs")
		}
	}
	return m.renamed, nil
}

type matcher struct {
	c       *changes
	a, b    *builder
	renamed map[string]string
}

func (m *matcher) node(n, o *model.Node) error {
	if n.Type != o.Type || n.Domain != o.Domain || !reflect.DeepEqual(n.Attrs, o.Attrs) || len(n.Outputs) != len(o.Outputs) {
		return fmt.Errorf("%v became %v, or has other attributes", n, o)
	}
	for k, v := range n.Outputs {
		if err := m.named(v, o.Outputs[k]); err != nil {
			return fmt.Errorf("%v outputs %w", n, err)
		}
	}
	for k := range max(len(n.Inputs), len(o.Inputs)) {
		v, w := n.In(k), o.In(k)
		switch {
		case v == nil && w == nil:
		case v == nil || w == nil:
			return fmt.Errorf("input %d of %v is there once only", k, n)
		case v.Const != nil || w.Const != nil:
			if err := m.constant(v, w); err != nil {
				return fmt.Errorf("input %d of %v: %w", k, n, err)
			}
		default:
			if err := m.named(v, w); err != nil {
				return fmt.Errorf("input %d of %v: %w", k, n, err)
			}
		}
	}
	return nil
}

// named says whether two values have the same name. Values within an operator, and those that represent nothing in the
// file, may differ.
func (m *matcher) named(v, w *model.Value) error {
	if v.Name == w.Name {
		return nil
	}
	if to, ok := m.renamed[v.Name]; ok && to == w.Name {
		return nil
	}
	if m.a.p.metas[v.Name] != nil || m.b.p.metas[w.Name] != nil || v.Producer == nil || w.Producer == nil || m.renamed[v.Name] != "" {
		return fmt.Errorf("%q became %q", v.Name, w.Name)
	}
	m.renamed[v.Name] = w.Name
	return nil
}

func (m *matcher) constant(v, w *model.Value) error {
	if v.Const == nil || w.Const == nil || v.Const.DType != w.Const.DType || !slices.Equal(v.Const.Shape, w.Const.Shape) {
		return fmt.Errorf("%q became %q, which is something else", v.Name, w.Name)
	}
	name := ""
	if f := m.a.stored[v]; f != nil {
		name = f.input.name
	} else if f := m.c.of[v]; f != nil {
		name = f.name
	}
	switch f := m.b.stored[w]; {
	case name == "" && f == nil && slices.Equal(v.Const.Values, w.Const.Values):
	case name != "" && f != nil && f.input.name == name:
	default:
		return fmt.Errorf("%q became %q, which is stored elsewhere", v.Name, w.Name)
	}
	if v.Name != w.Name {
		m.renamed[v.Name] = w.Name
	}
	return nil
}
