package torch

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// site is one operator of the program, and the nodes that are made of it.
type site struct {
	*builder
	node    *node
	name    string // of its first node
	outputs []string
	outlets []outlet // the node and index of each output
	refs    []*ref
	parts   []*part
	results []*entry // its outputs, once it is understood
	nodes   int      // of the graph, when the site began
	consts  int      // as well
	shared  bool     // it writes into a storage that others read
}

// outlet is an output of a node; without a node if it is unread, or a stored tensor.
type outlet struct {
	node  *model.Node
	index int
}

// part is a node of a site.
type part struct {
	site   *site
	node   *model.Node
	typ    string            // of the node, as it was read
	given  []*ref            // the site's reference that each input comes from, nil for others
	consts []*model.Constant // each input's original constant; nil for others
	gains  []string          // by input: the name of its argument; an omitted argument can be gained
}

// ref is a place of the program's text where a tensor is named.
type ref struct {
	at   *jsontext.Value
	name string
	arg  *arg         // nil for outputs of the program
	was  *model.Value // the value of the name at this place, in the form in which it is read
	form *stored      // of a stored tensor
	used []model.Use  // the inputs of nodes that it is
}

// unclear says why an operator is not understood exactly.
type unclear string

func (u unclear) Error() string { return string(u) }

// builds makes the nodes of an operator, and sets its outputs.
type builds func(*site) error

// operators are the known operators, by their names in aten, with the overload where it matters.
var operators = map[string]builds{}

func register(f builds, names ...string) {
	for _, name := range names {
		operators[name] = f
	}
}

// understand makes the nodes of an operator that is known.
func (s *site) understand(f builds) error {
	s.nodes, s.consts = len(s.m.Graph.Nodes), len(s.m.Graph.Consts)
	for _, name := range s.outputs {
		if s.p.metas[name].dtype == tensor.Undefined {
			return unclear("elements of a type that is not known")
		}
	}
	if err := f(s); err != nil {
		return err
	}
	for _, name := range s.outputs {
		if s.p.readers[name] > 0 && !slices.ContainsFunc(s.results, func(e *entry) bool { return e.name == name }) {
			return unclear("an output of it is read that is not computed here")
		}
	}
	if err := s.aside(); err != nil {
		return err
	}
	s.trim()
	for _, e := range s.results {
		s.enter(e)
	}
	return nil
}

// trim removes constants that are not read.
func (s *site) trim() {
	if g := s.m.Graph; s.consts < len(g.Consts) {
		g.Consts = append(g.Consts[:s.consts], slices.DeleteFunc(g.Consts[s.consts:], s.unread)...)
	}
}

// aside adds nodes that read the arguments which the operator's nodes do not, so that their tensors stay in the program.
func (s *site) aside() error {
	for _, r := range s.refs {
		if len(r.used) > 0 || r.form != nil && r.was == nil {
			continue
		}
		v, err := s.value(r)
		if err != nil {
			return err
		}
		hint := s.unique(s.name + "/shape")
		n := s.m.Graph.Append("Shape", hint, []*model.Value{v}, nil, hint)
		s.add(n)
	}
	return nil
}

// undo removes the nodes of an operator that turns out not to be understood.
func (s *site) undo() {
	g := s.m.Graph
	for _, p := range s.parts {
		p.node.Remove()
	}
	if s.nodes < len(g.Nodes) {
		g.Nodes = append(g.Nodes[:s.nodes], slices.DeleteFunc(g.Nodes[s.nodes:], (*model.Node).Removed)...)
	}
	s.trim()
	for _, r := range s.refs {
		r.was, r.form, r.used = nil, nil, nil
	}
	s.parts, s.results = nil, nil
	clear(s.outlets)
}

// unread says whether a constant has no readers, and drops it then.
func (b *builder) unread(v *model.Value) bool {
	if len(v.Uses) > 0 {
		return false
	}
	if f := b.stored[v]; f != nil {
		f.input.forms--
		delete(b.stored, v)
		delete(b.made, f.key())
	}
	return true
}

// foreign adds one node for an operator that is not understood.
func (s *site) foreign(typ string) error {
	var inputs []*model.Value
	for _, r := range s.refs {
		v, err := s.value(r)
		if err != nil {
			return err
		}
		inputs = append(inputs, v)
	}
	names := s.outputs
	if len(names) == 0 {
		names = []string{s.unique(s.name + "/done")}
	}
	n := s.m.Graph.Append(typ, s.name, inputs, nil, names...)
	n.Domain = domain
	s.add(n)
	for k, name := range s.outputs {
		s.declare(k, n.Outputs[k])
		s.outlets[k] = outlet{n, k}
		s.enter(&entry{name: name, same: name, value: n.Outputs[k]})
	}
	return nil
}

// declare gives an output the type and shape in the program's metadata.
func (s *site) declare(k int, v *model.Value) {
	m := s.p.metas[s.outputs[k]]
	v.Name, v.DType, v.Shape = s.outputs[k], m.dtype, m.sizes
}

// value is the value of a reference.
func (s *site) value(r *ref) (*model.Value, error) {
	if r.was != nil {
		return r.was, nil
	}
	v, e, err := s.read(r.name)
	if err != nil {
		return nil, err
	}
	r.was, r.form = v, e.form
	return v, nil
}

// op appends a node to the site, and returns its output. Attributes are names and values in turn.
func (s *site) op(typ string, inputs []*model.Value, attrs ...any) *model.Value {
	return s.several(typ, 1, inputs, attrs...).Outputs[0]
}

// several appends a node with several outputs.
func (s *site) several(typ string, outputs int, inputs []*model.Value, attrs ...any) *model.Node {
	name := s.name
	if len(s.parts) > 0 {
		name = s.unique(s.name + "/" + typ)
	}
	for len(inputs) > 0 && inputs[len(inputs)-1] == nil {
		inputs = inputs[:len(inputs)-1]
	}
	var names []string
	for range outputs {
		names = append(names, s.unique(s.name+"/"+typ+"/out"))
	}
	n := s.m.Graph.Append(typ, name, inputs, model.Attrs(attrs...), names...)
	s.add(n)
	s.infer(n)
	return n
}

// add makes a node part of the site. An input that is the value of a reference is that reference.
func (s *site) add(n *model.Node) {
	p := &part{site: s, node: n, typ: n.Type, given: make([]*ref, len(n.Inputs)), consts: make([]*model.Constant, len(n.Inputs))}
	n.Source = p
	s.parts = append(s.parts, p)
	for k, v := range n.Inputs {
		if v != nil {
			p.consts[k] = v.Const
		}
		var first *ref
		for _, r := range s.refs {
			if v == nil || r.was != v {
				continue
			}
			if first == nil {
				first = r
			}
			if !slices.ContainsFunc(r.used, func(u model.Use) bool { return u.Node == n }) {
				first = r
				break
			}
		}
		if first != nil {
			first.used = append(first.used, model.Use{Node: n, Index: k})
			p.given[k] = first
		}
	}
}

// places names the arguments that are the inputs of the site's last node: an omitted one can be gained.
func (s *site) places(names ...string) { s.parts[len(s.parts)-1].gains = names }

// result makes a value output k. Its inferred type and shape have to equal the program's metadata.
func (s *site) result(k int, v *model.Value) error {
	if k >= len(s.outputs) {
		return unclear("it has no such output")
	}
	m := s.p.metas[s.outputs[k]]
	switch {
	case v.Const != nil || v.Input || v.Producer == nil:
		return unclear("what it makes is no output of a node")
	case v.DType != tensor.Undefined && v.DType != m.dtype:
		return unclear(fmt.Sprintf("it makes %v, the program says %v", v.DType, m.dtype))
	case v.Shape != nil && !slices.EqualFunc(v.Shape, m.sizes, func(a, b int64) bool { return a == b || a < 0 || b < 0 }):
		return unclear(fmt.Sprintf("it makes shape %v, the program says %v", v.Shape, m.sizes))
	}
	s.declare(k, v)
	s.outlets[k] = outlet{v.Producer, slices.Index(v.Producer.Outputs, v)}
	same := s.outputs[k]
	if _, name, _ := operator(s.node.target); exact[name] && len(s.refs) == 1 {
		same = s.entries[s.refs[0].name].same
	}
	s.results = append(s.results, &entry{name: s.outputs[k], same: same, value: v})
	return nil
}

// form makes output 0 another form of a stored tensor, without a node: its readers read the stored tensor.
func (s *site) form(f *stored) error {
	m := s.p.metas[s.outputs[0]]
	if len(s.outputs) != 1 || !equal(m.sizes, f.shape) || m.dtype != f.input.payload.meta.dtype {
		return unclear("it makes another shape or type than the program says")
	}
	s.refs[0].form = f
	s.results = append(s.results, &entry{name: s.outputs[0], same: s.outputs[0], form: f})
	return nil
}

// constant adds a constant that the file does not store.
func (s *site) constant(what string, d tensor.DType, values []float64, shape ...int64) *model.Value {
	return s.m.Graph.AddConst(s.unique(s.name+"/"+what), &model.Constant{DType: d, Shape: append([]int64{}, shape...), Values: values})
}

// list is a vector of whole numbers.
func (s *site) list(what string, list ...int64) *model.Value {
	return s.m.Graph.AddConst(s.unique(s.name+"/"+what), model.Integers(list...))
}

// repeated is a vector of equal numbers.
func (s *site) repeated(what string, d tensor.DType, n int64, x float64) *model.Value {
	return s.constant(what, d, slices.Repeat([]float64{x}, int(n)), n)
}

// maxChannels bounds vectors that are made here.
const maxChannels = 1 << 16
