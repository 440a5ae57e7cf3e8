package keras

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/eval"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/shape"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// domain is that of nodes that stand for layers which ONNX has no operators for, or which are not understood.
const domain = "keras"

// opset is the version of ONNX's operators.
const opset = 17

// builder makes a graph of ONNX operators from a network.
//
// Keras has the channels of images last, ONNX's operators have them first. A tensor is therefore a value in Keras' order of
// axes, or one with the channels moved to the front, or both: whichever form a layer makes, a Transpose makes the other one
// where it is asked for. A convolution, a batch normalisation and an activation in a row have no Transpose between them.
type builder struct {
	version version
	m       *model.Model
	infer   func(*model.Node)
	names   map[string]bool
	sites   []*site
	consts  map[constKey]*model.Value
}

// site is one place where a layer is computed: a call, for each place where the model that it is in is computed.
type site struct {
	*builder
	layer *layer
	call  int
	name  string // of its first node and of its result
	once  bool   // the layer has no other site
	alone bool   // the network that it is in has no other site
	parts []*part
	in    []*value
	out   []*value
}

// part is one node of a site.
type part struct {
	site  *site
	node  *model.Node
	roles []string          // which of the layer's weights each input is, "" for others
	given []*model.Constant // each input's elements as stored
	tail  bool              // the layer does without it if its settings say that it has no scale and no center
}

// view marks a Transpose that makes another form of a tensor, and belongs to no layer.
type view struct{}

// value is a tensor as Keras has it. A form has one of Keras' axes as its second one, the others in their order; form 1
// is Keras' own.
type value struct {
	name   string
	rank   int // -1: not known
	main   int // the form that was computed
	forms  map[int]*model.Value
	masked bool // Keras hands a mask on with it, which some layers regard
}

// unclear says why a layer is not understood exactly.
type unclear string

func (u unclear) Error() string { return string(u) }

// build makes the graph of a whole network.
func build(n *network, v version) (*builder, error) {
	b := &builder{version: v, names: map[string]bool{}, consts: map[constKey]*model.Value{}}
	b.m = &model.Model{Opset: map[string]int64{"": opset}}
	b.m.Graph = &model.Graph{Model: b.m, Name: n.layer.name}
	b.infer = shape.Each(b.m, eval.Constants(b.m))
	var inputs []*value
	for _, d := range n.faces() {
		x := &model.Value{Name: b.unique(d.name), DType: d.dtype, Shape: d.shape, Graph: b.m.Graph, Input: true}
		b.m.Graph.Inputs = append(b.m.Graph.Inputs, x)
		rank := len(d.shape)
		if d.shape == nil {
			return nil, fmt.Errorf("the shape of the input %q is not in the file: build the model before it is saved: %w", d.name, format.ErrCorrupt)
		}
		inputs = append(inputs, &value{name: x.Name, rank: rank, main: 1, forms: map[int]*model.Value{1: x}})
	}
	outputs, err := b.network(n, inputs, "", true)
	if err != nil {
		return nil, err
	}
	for _, v := range outputs {
		y := b.form(v, 1)
		if y.Output || y.Input { // an output is one value, made by one node
			same := b.m.Graph.Append("Identity", b.unique(v.name+"/again"), []*model.Value{y}, nil, b.unique(v.name+"/again"))
			same.Source = view{}
			b.infer(same)
			y = same.Outputs[0]
		}
		y.Output = true
		b.m.Graph.Outputs = append(b.m.Graph.Outputs, y)
	}
	return b, nil
}

// face is one input of a network.
type face struct {
	name  string
	shape []int64 // nil where it is not said
	dtype tensor.DType
}

// faces are a network's inputs.
func (n *network) faces() []face {
	var list []face
	if n.sequential {
		if len(n.layers) == 0 {
			return []face{{name: "input", dtype: tensor.Float32}}
		}
		l := n.layers[0]
		f := l.face()
		if l.class != "InputLayer" {
			f.name = l.name + "_input" // as Keras calls it
		}
		for _, v := range []*json{n.layer.tree.get("config", "build_input_shape"), n.layer.tree.get("build_config", "input_shape"), l.tree.get("build_config", "input_shape")} {
			if f.shape == nil {
				f.shape = shapeOf(v)
			}
		}
		return append(list, f)
	}
	for _, r := range n.inputs {
		f := r.layer.face()
		if f.shape == nil {
			f.shape = r.shape
		}
		list = append(list, f)
	}
	return list
}

var dtypes = map[string]tensor.DType{
	"float32": tensor.Float32, "float64": tensor.Float64, "float16": tensor.Float16, "bfloat16": tensor.BFloat16,
	"int8": tensor.Int8, "int16": tensor.Int16, "int32": tensor.Int32, "int64": tensor.Int64,
	"uint8": tensor.Uint8, "uint16": tensor.Uint16, "uint32": tensor.Uint32, "uint64": tensor.Uint64, "bool": tensor.Bool, "string": tensor.String,
}

// face is the input that an InputLayer describes, or the first layer of a sequential model.
func (l *layer) face() face {
	f := face{name: l.name, dtype: tensor.Float32}
	for _, key := range []string{"batch_shape", "batch_input_shape"} {
		if s := shapeOf(l.config.get(key)); s != nil && f.shape == nil {
			f.shape = s
		}
	}
	name, ok := l.config.get("dtype").str()
	if !ok {
		name, _ = l.config.get("dtype", "config", "name").str()
	}
	if d, ok := dtypes[name]; ok && (l.class == "InputLayer" || d != tensor.Float16) {
		f.dtype = d
	}
	return f
}

// network makes the nodes of a network for some inputs, and returns its outputs.
func (b *builder) network(n *network, inputs []*value, prefix string, once bool) ([]*value, error) {
	known := map[outputKey]*value{}
	if n.sequential {
		known[outputKey{}] = inputs[0]
	}
	for k, r := range n.inputs {
		known[r.key()] = inputs[k]
	}
	busy := map[callKey]bool{}
	var need func(*ref) (*value, error)
	need = func(r *ref) (*value, error) {
		key := r.key()
		if v := known[key]; v != nil {
			return v, nil
		}
		l := r.layer
		switch {
		case l == nil || len(l.calls) == 0:
			return nil, wrong(l, "it is read and is no input of the model")
		case busy[key.callKey]:
			return nil, wrong(l, "it reads what is made of its own output")
		}
		busy[key.callKey] = true
		c := l.calls[r.call]
		var in []*value
		for _, r := range c.refs {
			v, err := need(r)
			if err != nil {
				return nil, err
			}
			in = append(in, v)
		}
		out, err := b.call(c, in, prefix, once)
		if err != nil {
			return nil, err
		}
		for k, v := range out {
			known[outputKey{key.callKey, k}] = v
		}
		if r.output >= len(out) {
			return nil, wrong(l, "its output %d is read, it has %d", r.output, len(out))
		}
		return known[key], nil
	}
	for _, l := range n.layers {
		for k := range l.calls {
			if _, err := need(&ref{layer: l, call: k}); err != nil {
				return nil, err
			}
		}
	}
	var outputs []*value
	for _, r := range n.outputs {
		if n.sequential && r.layer == nil {
			r = &ref{}
		}
		v, err := need(r)
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, v)
	}
	return outputs, nil
}

// call makes the nodes of one call of a layer.
func (b *builder) call(c *call, in []*value, prefix string, once bool) ([]*value, error) {
	l := c.layer
	name := prefix + l.name
	if c.index > 0 {
		name += fmt.Sprintf("/call%d", c.index)
	}
	if l.inner != nil && c.plain && len(in) == len(l.inner.faces()) && !l.mixed {
		return b.network(l.inner, in, name+"/", once && len(l.calls) == 1)
	}
	s := &site{builder: b, layer: l, call: c.index, name: b.unique(name), once: once && len(l.calls) == 1, alone: once, in: in}
	b.sites = append(b.sites, s)
	class := classes[l.class]
	err := error(unclear("a class that is not known"))
	switch {
	case l.foreign || class == nil || class.build == nil:
	case !c.plain:
		err = unclear("it is called with further arguments")
	default:
		var out *value
		nodes := len(b.m.Graph.Nodes)
		if out, err = s.understand(class); err == nil {
			s.out = []*value{out}
			return s.out, nil
		}
		if len(s.parts) > 0 {
			panic("keras: nodes were made of a layer that is not understood: " + b.m.Graph.Nodes[nodes].String())
		}
	}
	var why unclear
	if !errors.As(err, &why) {
		return nil, fmt.Errorf("layer %q: %w", l.name, err)
	}
	s.opaque(c)
	return s.out, nil
}

// understand makes the nodes of a layer whose class is known.
func (s *site) understand(class *class) (*value, error) {
	for _, v := range s.in {
		if v.rank > maxRank {
			return nil, unclear("a tensor of too many axes")
		}
		if v.masked && class.masks {
			return nil, unclear("it regards a mask")
		}
	}
	if len(s.in) == 0 || len(s.in) > 1 && !class.merges {
		return nil, unclear("it reads several tensors")
	}
	if err := s.sound(); err != nil {
		return nil, err
	}
	out, err := class.build(s)
	if err != nil {
		return nil, err
	}
	out.masked = slices.ContainsFunc(s.in, func(v *value) bool { return v.masked }) || out.masked
	return out, nil
}

// maxRank bounds the axes of a tensor.
const maxRank = 8

// opaque makes one node that stands for a layer of which nothing is known but what it reads.
func (s *site) opaque(c *call) {
	var inputs []*model.Value
	for _, v := range s.in {
		inputs = append(inputs, s.form(v, 1))
	}
	outputs := 1
	var shape []int64
	for _, l := range c.layer.net.layers {
		for _, d := range l.calls {
			for _, r := range d.refs {
				if r.layer == c.layer && r.call == c.index {
					outputs = max(outputs, min(r.output, maxOutputs)+1)
					if r.output == 0 && r.shape != nil {
						shape = r.shape
					}
				}
			}
		}
	}
	for _, r := range c.layer.net.outputs {
		if r.layer == c.layer && r.call == c.index {
			outputs = max(outputs, min(r.output, maxOutputs)+1)
		}
	}
	names := []string{s.name}
	for k := 1; k < outputs; k++ {
		names = append(names, s.unique(fmt.Sprintf("%s/output%d", s.name, k)))
	}
	n := s.m.Graph.Append(c.layer.class, s.name, inputs, nil, names...)
	n.Domain = domain
	s.add(n, nil)
	masked := c.layer.foreign || c.layer.class == "Masking" || slices.ContainsFunc(s.in, func(v *value) bool { return v.masked })
	for k, y := range n.Outputs {
		rank := -1
		if k == 0 && shape != nil {
			y.Shape, rank = shape, len(shape)
		}
		y.DType = tensor.Float32
		s.out = append(s.out, &value{name: y.Name, rank: rank, main: 1, forms: map[int]*model.Value{1: y}, masked: masked})
	}
}

// maxOutputs bounds the outputs of a layer of unknown class.
const maxOutputs = 64

// unique is a name that no other value or node has.
func (b *builder) unique(hint string) string {
	name := hint
	for k := 1; b.names[name]; k++ {
		name = fmt.Sprintf("%s_%d", hint, k)
	}
	b.names[name] = true
	return name
}

// order are Keras' axes in a form of a tensor of that rank.
func order(rank, form int) []int64 {
	axes := []int64{0, int64(form)}
	for k := 1; k < rank; k++ {
		if k != form {
			axes = append(axes, int64(k))
		}
	}
	return axes[:max(rank, 1)]
}

// position is where a form of a tensor has one of Keras' axes.
func position(rank, form int, axis int64) int64 {
	return int64(slices.Index(order(rank, form), axis))
}

// formName is what the form of a tensor is called.
func formName(name string, rank, form int) string {
	switch {
	case form == 1:
		return name
	case form == rank-1:
		return name + "/first"
	}
	return fmt.Sprintf("%s/axis%d", name, form)
}

// form is a tensor with that one of Keras' axes as its second one.
func (b *builder) form(v *value, form int) *model.Value {
	if v.rank < 3 {
		form = v.main
	}
	if x := v.forms[form]; x != nil {
		return x
	}
	perm := order(v.rank, form)
	for k, axis := range perm {
		perm[k] = position(v.rank, v.main, axis)
	}
	name, node := v.name, "" // the name is the tensor's
	if form == 1 {
		node = b.unique(v.name + "/last")
	} else {
		name = b.unique(formName(v.name, v.rank, form))
		node = name
	}
	n := b.m.Graph.Append("Transpose", node, []*model.Value{v.forms[v.main]}, []model.Attr{{Name: "perm", Kind: model.IntsAttr, Ints: perm}}, name)
	n.Source = view{}
	b.infer(n)
	v.forms[form] = n.Outputs[0]
	return n.Outputs[0]
}

// extents are a tensor's extents in Keras' order; nil where its rank is not known.
func (v *value) extents() []int64 {
	x := v.forms[v.main]
	if v.rank < 0 || len(x.Shape) != v.rank {
		return nil
	}
	out := make([]int64, v.rank)
	for k, axis := range order(v.rank, v.main) {
		out[axis] = x.Shape[k]
	}
	return out
}

// dtype is the type of a tensor's elements.
func (v *value) dtype() tensor.DType { return v.forms[v.main].DType }

// op appends a node to the site, and returns its output. Attributes are names and values in turn.
func (s *site) op(typ, what string, inputs []*model.Value, attrs ...any) *model.Value {
	return s.weighted(typ, what, inputs, nil, attrs...)
}

// weighted is op for a node some of whose inputs are the layer's weights: roles names them.
func (s *site) weighted(typ, what string, inputs []*model.Value, roles []string, attrs ...any) *model.Value {
	name := s.name
	if len(s.parts) > 0 {
		name = s.unique(s.name + "/" + what)
	}
	for len(inputs) > 0 && inputs[len(inputs)-1] == nil {
		inputs = inputs[:len(inputs)-1]
	}
	n := s.m.Graph.Append(typ, name, inputs, attributes(attrs), s.unique(s.name+"/"+what+"/out"))
	s.add(n, roles)
	s.infer(n)
	return n.Outputs[0]
}

func (s *site) add(n *model.Node, roles []string) {
	p := &part{site: s, node: n, roles: roles}
	for _, v := range n.Inputs {
		if v == nil {
			p.given = append(p.given, nil)
		} else {
			p.given = append(p.given, v.Const)
		}
	}
	n.Source = p
	s.parts = append(s.parts, p)
}

func attributes(list []any) []model.Attr {
	var attrs []model.Attr
	for k := 0; k < len(list); k += 2 {
		a := model.Attr{Name: list[k].(string)}
		switch x := list[k+1].(type) {
		case int:
			a.Kind, a.Int = model.IntAttr, int64(x)
		case int64:
			a.Kind, a.Int = model.IntAttr, x
		case float64:
			a.Kind, a.Float = model.FloatAttr, float64(float32(x))
		case string:
			a.Kind, a.String = model.StringAttr, x
		case []int64:
			if x == nil {
				continue
			}
			a.Kind, a.Ints = model.IntsAttr, x
		}
		attrs = append(attrs, a)
	}
	return attrs
}

// result is a node's output as the tensor that the site makes, in that form.
func (s *site) result(x *model.Value, rank, form int) *value {
	if rank < 3 {
		form = 1
	}
	if x.Name = s.name; form != 1 {
		x.Name = s.unique(formName(s.name, rank, form))
	}
	return &value{name: s.name, rank: rank, main: form, forms: map[int]*model.Value{form: x}}
}

// constant adds elements that are made here, not stored.
func (s *site) constant(what string, d tensor.DType, shape []int64, values []float64) *model.Value {
	return s.addConst(s.name+"/"+what, &model.Constant{DType: d, Shape: shape, Values: values})
}

func (b *builder) addConst(name string, c *model.Constant) *model.Value {
	v := &model.Value{Name: b.unique(name), DType: c.DType, Shape: c.Shape, Graph: b.m.Graph, Const: c}
	b.m.Graph.Consts = append(b.m.Graph.Consts, v)
	return v
}

// ints is a vector of whole numbers.
func (s *site) ints(what string, list ...int64) *model.Value {
	values := make([]float64, len(list))
	for k, x := range list {
		values[k] = float64(x)
	}
	return s.constant(what, tensor.Int64, []int64{int64(len(list))}, values)
}
