package keras

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/model"
)

// matcher compares two graphs, the edited one and the one that the edited file is read as, from their outputs to their
// inputs. They match if every path leads through the same operators with the same attributes, to the same inputs and to
// constants that are stored in the same dataset. Transposes between forms of a tensor may be elsewhere.
type matcher struct {
	sets  map[*model.Constant]*hdf5.Dataset // the datasets of edited constants
	nodes map[*model.Node]*model.Node
	value map[*model.Value]*model.Value
	todo  [][2]*model.Value
}

// base is the value of which v is another form, and the order of its axes in v.
func base(v *model.Value) (*model.Value, []int64) {
	var perm []int64
	for v.Producer != nil && v.Producer.Type == "Transpose" && v.Producer.Source == (view{}) {
		before := v.Producer.Ints("perm")
		if perm == nil {
			perm = before
		} else {
			out := make([]int64, len(perm))
			for k, p := range perm {
				out[k] = before[p]
			}
			perm = out
		}
		v = v.Producer.Inputs[0]
	}
	for k, p := range perm {
		if int64(k) != p {
			return v, perm
		}
	}
	return v, nil
}

// match checks that both graphs are one network, and returns the new names of values that the second graph names
// differently.
func match(a, b *model.Graph, sets map[*model.Constant]*hdf5.Dataset) (map[string]string, error) {
	m := &matcher{sets: sets, nodes: map[*model.Node]*model.Node{}, value: map[*model.Value]*model.Value{}}
	if len(a.Inputs) != len(b.Inputs) || len(a.Outputs) != len(b.Outputs) {
		return nil, fmt.Errorf("%d inputs and %d outputs became %d and %d", len(a.Inputs), len(a.Outputs), len(b.Inputs), len(b.Outputs))
	}
	for k, v := range a.Inputs {
		if w := b.Inputs[k]; v.Name != w.Name || v.DType != w.DType || !slices.EqualFunc(v.Shape, w.Shape, sameExtent) {
			return nil, fmt.Errorf("the input %q became %q", v.Name, w.Name)
		}
		m.value[v] = b.Inputs[k]
	}
	for k, v := range a.Outputs {
		m.todo = append(m.todo, [2]*model.Value{v, b.Outputs[k]})
	}
	for len(m.todo) > 0 {
		pair := m.todo[len(m.todo)-1]
		m.todo = m.todo[:len(m.todo)-1]
		if err := m.pair(pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	return m.renamed(a, b), nil
}

// pair compares two values and the nodes that compute them, and queues their inputs.
func (m *matcher) pair(v, w *model.Value) error {
	v, p := base(v)
	w, q := base(w)
	if !slices.Equal(p, q) {
		return fmt.Errorf("%q and %q are read in other orders of axes", v.Name, w.Name)
	}
	if known := m.value[v]; known != nil {
		if known != w {
			return fmt.Errorf("%q is read where %q should be", w.Name, known.Name)
		}
		return nil
	}
	m.value[v] = w
	n, o := v.Producer, w.Producer
	if n == nil || o == nil {
		return m.constants(v, w)
	}
	if slices.Index(n.Outputs, v) != slices.Index(o.Outputs, w) {
		return fmt.Errorf("%v outputs %q elsewhere", n, v.Name)
	}
	if known := m.nodes[n]; known != nil && known != o {
		return fmt.Errorf("%v is computed twice", n)
	}
	m.nodes[n] = o
	if n.Type != o.Type || n.Domain != o.Domain || !reflect.DeepEqual(n.Attrs, o.Attrs) {
		return fmt.Errorf("%v became %v, or has other attributes", n, o)
	}
	for k := range max(len(n.Inputs), len(o.Inputs)) {
		x, y := n.In(k), o.In(k)
		switch {
		case x == nil && y == nil:
		case x == nil || y == nil:
			return fmt.Errorf("input %d of %v is there once only", k, n)
		default:
			m.todo = append(m.todo, [2]*model.Value{x, y})
		}
	}
	return nil
}

// sameExtent says whether two extents are the same, or both free.
func sameExtent(a, b int64) bool { return a == b || a < 0 && b < 0 }

// sameFloat says whether two numbers are equal as float32, the type in which settings are used.
func sameFloat(a, b float64) bool { return a == b || float32(a) == float32(b) }

func (m *matcher) constants(v, w *model.Value) error {
	a, b := v.Const, w.Const
	if a == nil || b == nil || a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) {
		return fmt.Errorf("%q became %q, which is something else", v.Name, w.Name)
	}
	to, ok := b.Source.(*stored)
	from, was := a.Source.(*stored)
	switch set := m.sets[a]; {
	case set != nil && ok && to.v.set == set:
	case set == nil && ok && was && to.v.set == from.v.set && slices.Equal(to.perm, from.perm):
	case set == nil && !ok && !was && a.Data == nil && b.Data == nil && slices.EqualFunc(a.Values, b.Values, sameFloat):
	default:
		return fmt.Errorf("the constant %q is stored elsewhere, as %q", v.Name, w.Name)
	}
	return nil
}

// renamed are the names of values that are others in the second graph.
func (m *matcher) renamed(a, b *model.Graph) map[string]string {
	type form struct {
		of   *model.Value
		perm string
	}
	forms := map[form]*model.Value{}
	for _, n := range b.Nodes {
		if n.Source == (view{}) {
			of, perm := base(n.Outputs[0])
			forms[form{of, fmt.Sprint(perm)}] = n.Outputs[0]
		}
	}
	renamed := map[string]string{}
	note := func(v, w *model.Value) {
		if v.Name != w.Name {
			renamed[v.Name] = w.Name
		}
	}
	for v, w := range m.value {
		note(v, w)
	}
	for _, n := range a.Nodes {
		if n.Source != (view{}) || n.Type != "Transpose" {
			continue
		}
		of, perm := base(n.Outputs[0])
		if w := forms[form{m.value[of], fmt.Sprint(perm)}]; w != nil {
			note(n.Outputs[0], w)
		}
	}
	return renamed
}
