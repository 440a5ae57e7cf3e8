package keras

import (
	"errors"
	"fmt"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// domain is the domain of nodes for layers that have no equivalent in ONNX, or are not understood.
const domain = "keras"

// opset is the version of ONNX's operators.
const opset = 17

// builder makes a graph of ONNX operators from a network.
//
// Keras has the channels of images last, ONNX's operators have them first. So a tensor of Keras has several forms, values
// with its axes in different orders: Keras' own, or with the channels moved to the front. A layer computes one form, and a
// Transpose is added only where another form is read. A convolution, a batch normalisation and an activation in a row have
// no Transpose between them.
type builder struct {
	version  version
	m        *model.Model
	infer    func(*model.Node)
	names    map[string]bool
	sites    []*site
	of       map[*layer][]*site
	networks []*network // those whose layers have sites
	consts   map[constKey]*model.Value
}

// build makes the graph of a whole network.
func build(n *network, v version) (*builder, error) {
	b := &builder{version: v, names: map[string]bool{}, of: map[*layer][]*site{}, consts: map[constKey]*model.Value{}}
	b.m = &model.Model{Opset: map[string]int64{"": opset}}
	b.m.Graph = &model.Graph{Model: b.m, Name: n.layer.name}
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
	b.infer = op.Each(b.m, op.Constants())
	outputs, err := b.network(n, inputs, "", true)
	if err != nil {
		return nil, err
	}
	for _, v := range outputs {
		y := b.form(v, 1)
		if y.Output || y.Input { // an output needs a node of its own
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

// face is a network's input as seen from outside.
type face struct {
	name  string
	shape []int64 // nil if it is not given
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
		for _, v := range []*jsontext.Value{n.layer.tree.Get("config", "build_input_shape"), n.layer.tree.Get("build_config", "input_shape"), l.tree.Get("build_config", "input_shape")} {
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
	f, config := face{name: l.name, dtype: tensor.Float32}, l.config
	if l.timed {
		config = l.tree.Get("config")
	}
	for _, key := range []string{"batch_shape", "batch_input_shape"} {
		if s := shapeOf(config.Get(key)); s != nil && f.shape == nil {
			f.shape = s
		}
	}
	name, ok := config.Get("dtype").Str()
	if !ok {
		name, _ = config.Get("dtype", "config", "name").Str()
	}
	if d, ok := dtypes[name]; ok && (l.class == "InputLayer" || d != tensor.Float16) {
		f.dtype = d
	}
	return f
}

// network adds the nodes of a network for the given inputs, and returns its outputs.
func (b *builder) network(n *network, inputs []*value, prefix string, once bool) ([]*value, error) {
	b.networks = append(b.networks, n)
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
	var reached map[callKey]bool
	if !n.sequential {
		reached = n.walk().done
	}
	for _, l := range n.layers {
		for k := range l.calls {
			if !n.sequential && !reached[callKey{l, k}] {
				continue
			}
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
	if l.inner != nil && c.plain && len(in) == c.data && c.data == len(l.inner.faces()) && !l.mixed {
		return b.network(l.inner, in, name+"/", once && len(l.calls) == 1)
	}
	s := &site{builder: b, layer: l, call: c.index, name: b.unique(name), once: once && len(l.calls) == 1, alone: once, in: in}
	b.sites, b.of[l] = append(b.sites, s), append(b.of[l], s)
	class := classes[l.class]
	err := error(unclear("a class that is not known"))
	switch {
	case l.operates():
		var out *value
		if out, err = s.operate(c); err == nil {
			s.out = []*value{out}
			return s.out, nil
		}
		if len(s.parts) > 0 {
			panic("keras: nodes were made of an operation that is not understood: " + s.name)
		}
	case l.foreign || class == nil || class.build == nil:
	case !c.plain:
		err = unclear("it is called with further arguments")
	case class.masks && len(in) > c.data:
		err = unclear("it regards a mask")
	default:
		var out *value
		nodes := len(b.m.Graph.Nodes)
		s.in = in[:c.data]
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
	s.in = in
	s.opaque(c, string(why))
	return s.out, nil
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
