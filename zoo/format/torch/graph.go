package torch

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// domain is the domain of nodes for operators without an equivalent in ONNX.
const domain = "torch"

// opset is the version of ONNX's operators: the first with an Attention and an RMSNormalization.
const opset = 23

// builder makes a graph of ONNX operators from a program.
type builder struct {
	p       *program
	m       *model.Model
	aliases *aliases
	outside map[string]bool     // storages of inputs
	members map[string][]*entry // of each storage, up to here
	work    int                 // steps spent on storages that are written: see maxWork
	infer   func(*model.Node)
	names   map[string]bool
	entries map[string]*entry
	sites   []*site
	faces   []*ref // what the program returns
	stored  map[*model.Value]*stored
	made    map[storedKey]*model.Value
}

// entry is the meaning of a tensor's name at the current point of the program.
type entry struct {
	name  string
	value *model.Value // nil for a stored tensor
	form  *stored      // how a stored tensor is read
	same  string       // equal for tensors of one storage that have the same elements
	stale *model.Value // the value that was written into the storage since; nil: none

	absent bool // a stored tensor that the checkpoint does not have
}

// stored is a form in which a stored tensor is read: its axes in another order, or another shape.
type stored struct {
	input *input
	shape []int64
	perm  []int // where the record has each axis
	was   *model.Constant
}

type storedKey struct {
	input       *input
	shape, perm string
}

func (f *stored) key() storedKey {
	return storedKey{f.input, fmt.Sprint(f.shape), fmt.Sprint(f.perm)}
}

// shadow is the Source of nodes that represent nothing in the file: a tensor after its storage was written, for example.
type shadow struct{}

func build(p *program) (*builder, error) {
	b := &builder{p: p, names: map[string]bool{}, entries: map[string]*entry{}, stored: map[*model.Value]*stored{}, made: map[storedKey]*model.Value{}}
	b.m = &model.Model{Opset: map[string]int64{"": opset}}
	b.m.Graph = &model.Graph{Model: b.m, Name: "program"}
	b.aliases, b.outside, b.members = p.aliases(), map[string]bool{}, map[string][]*entry{}
	for name := range p.metas {
		b.names[name] = true
	}
	for _, i := range p.inputs {
		b.input(i)
	}
	b.infer = op.Each(b.m, op.Constants())
	for _, n := range p.nodes {
		if err := b.node(n); err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", n.name, n.target, err)
		}
	}
	return b, b.outputs()
}

// input adds a value for an input, or an entry for a stored tensor.
func (b *builder) input(i *input) {
	m := b.p.metas[i.name]
	e := b.enter(&entry{name: i.name, same: i.name})
	b.outside[b.aliases.storage(i.name)] = true
	if i.payload == nil {
		e.value = &model.Value{Name: i.name, DType: m.dtype, Shape: m.sizes, Graph: b.m.Graph, Input: true}
		b.m.Graph.Inputs = append(b.m.Graph.Inputs, e.value)
		return
	}
	if e.absent = i.payload.absent; e.absent {
		return
	}
	if o := i.payload.meta; o != nil && !i.payload.pickled && !i.written && o.dtype != tensor.Undefined {
		if perm, ok := o.stored(); ok {
			e.form = &stored{input: i, shape: o.sizes, perm: perm}
		}
	}
}

// enter adds the entry of a tensor's name.
func (b *builder) enter(e *entry) *entry {
	b.entries[e.name] = e
	storage := b.aliases.storage(e.name)
	b.members[storage] = append(b.members[storage], e)
	return e
}

// read is a tensor's value at the current point of the program.
func (b *builder) read(name string) (*model.Value, *entry, error) {
	e := b.entries[name]
	switch {
	case e == nil:
		return nil, nil, fmt.Errorf("tensor %q: nothing before makes it: %w", name, format.ErrCorrupt)
	case e.absent:
		return nil, nil, fmt.Errorf("the checkpoint has not the tensor that the graph calls %q: %w", name, format.ErrCorrupt)
	case e.value == nil && e.form == nil: // stored, with a layout or type that is not supported
		m := b.p.metas[name]
		n := b.opaque("stored", b.unique(name+"/stored"), nil, name)
		n.Outputs[0].DType, n.Outputs[0].Shape = m.dtype, m.sizes
		e.value = n.Outputs[0]
	}
	v := e.value
	if v == nil {
		v = b.constant(e.name, e.form)
	}
	if e.stale != nil { // a view of what was written since
		m := b.p.metas[name]
		hint := b.unique(name + "/written")
		n := b.opaque("written", hint, []*model.Value{v, e.stale}, hint)
		n.Outputs[0].DType, n.Outputs[0].Shape = m.dtype, m.sizes
		v, e.stale, e.form, e.value = n.Outputs[0], nil, nil, n.Outputs[0]
	}
	return v, e, nil
}

// opaque appends a node that represents nothing in the file.
func (b *builder) opaque(typ, name string, inputs []*model.Value, output string) *model.Node {
	n := b.m.Graph.Append(typ, name, inputs, nil, output)
	n.Domain, n.Source = domain, shadow{}
	return n
}

// constant is a stored tensor in one form.
func (b *builder) constant(name string, f *stored) *model.Value {
	if v := b.made[f.key()]; v != nil {
		return v
	}
	f = &stored{input: f.input, shape: f.shape, perm: f.perm}
	p := f.input.payload
	n, _ := tensor.Elements(f.shape)
	c := &model.Constant{DType: p.meta.dtype, Shape: f.shape, Source: f, Data: io.NewSectionReader(p.data, p.meta.offset*p.meta.size, n*p.meta.size)}
	if !inOrder(f.perm) {
		c.Data = tensor.Permuted(c.Data, f.record(), f.perm, int(p.meta.size))
	}
	f.was = c
	v := b.m.Graph.AddConst(name, c)
	b.made[f.key()], b.stored[v] = v, f
	f.input.forms++
	return v
}

// record is the shape as the record has it.
func (f *stored) record() []int64 {
	shape := make([]int64, len(f.shape))
	for k, p := range f.perm {
		shape[p] = f.shape[k]
	}
	return shape
}

func inOrder(perm []int) bool {
	for k, p := range perm {
		if k != p {
			return false
		}
	}
	return true
}

// node makes the nodes of one operator.
func (b *builder) node(n *node) error {
	space, name, overload := operator(n.target)
	s := &site{builder: b, node: n, name: n.name}
	if s.name == "" || b.names[s.name+"\x00"] {
		s.name = b.unique(n.target)
	}
	b.names[s.name+"\x00"] = true // nodes and values do not share names
	for _, out := range n.outputs {
		y, _ := out.Str()
		if b.p.metas[y] == nil {
			return fmt.Errorf("its output %q is not among the tensor_values: %w", y, format.ErrCorrupt)
		}
		if b.entries[y] != nil {
			return fmt.Errorf("its output %q is there already: %w", y, format.ErrCorrupt)
		}
		s.outputs = append(s.outputs, y)
	}
	for _, a := range n.args {
		for _, at := range a.refs {
			x, _ := at.Str()
			if b.entries[x] == nil {
				return fmt.Errorf("it reads %q, which nothing before makes: %w", x, format.ErrCorrupt)
			}
			s.refs = append(s.refs, &ref{at: at, name: x, arg: a})
		}
	}
	s.outlets = make([]outlet, len(s.outputs))
	b.sites = append(b.sites, s)
	writes := n.writes()
	outside := slices.ContainsFunc(writes, func(x string) bool { return b.outside[b.aliases.storage(x)] })
	build := operators[name+"."+overload]
	if build == nil {
		build = operators[name]
	}
	if inPlace(name) && build == nil {
		build = operators[name[:len(name)-1]]
	}
	err := error(unclear("an operator that is not known"))
	if space == "aten" && build != nil && !outside {
		err = s.understand(build)
	}
	var why unclear
	if errors.As(err, &why) {
		s.undo()
		err = s.foreign(name)
	}
	if err != nil {
		return err
	}
	return b.wrote(s, writes, name)
}

// wrote records that a site has written into tensors. Later readers of these tensors, or of equal ones, read what was
// written; other views of the same storages become opaque functions of it.
func (b *builder) wrote(s *site, writes []string, name string) error {
	if len(writes) == 0 {
		return nil
	}
	var y *model.Value
	if len(s.outputs) > 0 {
		y, _, _ = b.read(s.outputs[0])
	} else {
		hint := b.unique(s.name + "/written")
		var inputs []*model.Value
		for _, x := range writes {
			v, _, _ := b.read(x)
			inputs = append(inputs, v)
		}
		y = b.opaque("written", hint, inputs, hint).Outputs[0]
	}
	exactly := inPlace(name) && len(writes) == 1 && len(s.outputs) == 1
	for _, x := range writes {
		self, list := b.entries[x], b.members[b.aliases.storage(x)]
		if b.work += len(list); b.work > maxWork {
			return fmt.Errorf("too many tensors share storages that are written: %w", format.ErrLimit)
		}
		for _, e := range list {
			switch {
			case len(s.outputs) > 0 && e.name == s.outputs[0]:
				if e.same = e.name; exactly {
					e.same = self.same
				}
			case exactly && e.same == self.same && equal(b.p.metas[e.name].sizes, b.p.metas[s.outputs[0]].sizes):
				e.value, e.form, e.stale = y, nil, nil
				s.shared = s.shared || e != self
			default:
				e.stale = y
				s.shared = true
			}
		}
	}
	return nil
}

// maxWork bounds the tensors that are visited because their storage is written.
const maxWork = 1 << 26

// outputs makes the tensors that the program returns graph outputs, and keeps what else has to stay.
func (b *builder) outputs() error {
	for _, at := range b.p.outputs {
		if err := b.output(at); err != nil {
			return err
		}
	}
	for _, spec := range b.p.text.Get("graph_module", "signature", "output_specs").List() {
		_, v := union(spec)
		at := v.Get("arg", "name")
		if at == nil {
			at = v.Get("arg", "as_tensor", "name")
		}
		if name, ok := at.Str(); ok && b.entries[name] != nil {
			v, _, err := b.read(name)
			if err != nil {
				return err
			}
			b.faces = append(b.faces, &ref{at: at, name: name, was: v})
		}
	}
	if len(b.m.Graph.Outputs) == 0 {
		return fmt.Errorf("the program returns no tensor: %w", format.ErrCorrupt)
	}
	var pinned []*model.Value
	for _, at := range b.p.pinned {
		name, _ := at.Str()
		if b.entries[name] == nil {
			continue
		}
		v, _, err := b.read(name)
		if err != nil {
			return err
		}
		pinned = append(pinned, v)
	}
	if len(pinned) > 0 {
		b.opaque("signatures", b.unique("signatures"), pinned, b.unique("signatures/read"))
	}
	return nil
}

// output makes a tensor an output of the graph. An input or a stored tensor that is returned as it is, and one that is
// returned twice, is read by a node whose output it is.
func (b *builder) output(at *jsontext.Value) error {
	name, _ := at.Str()
	v, _, err := b.read(name)
	if err != nil {
		return fmt.Errorf("an output: %w", err)
	}
	b.faces = append(b.faces, &ref{at: at, name: name, was: v})
	if v.Producer == nil || v.Output {
		hint := b.unique(name + "/returned")
		n := b.opaque("returned", hint, []*model.Value{v}, hint)
		n.Outputs[0].DType, n.Outputs[0].Shape = v.DType, v.Shape
		v = n.Outputs[0]
	}
	v.Output = true
	b.m.Graph.Outputs = append(b.m.Graph.Outputs, v)
	return nil
}

// unique is a name that no other value or node has.
func (b *builder) unique(hint string) string {
	name := hint
	for k := 1; b.names[name]; k++ {
		name = fmt.Sprintf("%s_%d", hint, k)
	}
	b.names[name] = true
	return name
}
