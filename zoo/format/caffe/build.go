package caffe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// domain is the domain of nodes for layers without an equivalent in ONNX.
const domain = "caffe"

// opset is the version of ONNX's operators that layers are written with.
const opset = 17

// errOpaque says that a layer, or a form of it, cannot be written exactly with ONNX operators. It becomes one node of this
// package's domain, through which no map passes.
var errOpaque error = opaque("")

// opaque is errOpaque with the reason why.
type opaque string

func (o opaque) Error() string        { return string(o) }
func (o opaque) Is(target error) bool { return target == errOpaque }

// built is what a layer became in the graph.
type built struct {
	nodes  []*model.Node
	forms  []string            // type and attributes of each node, which must not change
	consts [][]*model.Constant // of each node, by input: those that are constants
	reads  [][]model.Use       // for each bottom, the inputs of nodes that read it
	makes  []model.Use         // for each top, the output of a node that produces it
	main   *model.Node         // the node that reads the weights
	place  map[int]int         // main's input k is weight place[k]
	factor float64             // a weight is factor times the constant in the graph; 0 stands for 1
	gains  string              // the parameters whose bias_term true gives the layer one more weight; "" if nothing does
}

// builder writes a net's layers as nodes of a graph, one layer after the other.
type builder struct {
	net     *network
	weights *weightsFile
	graph   *model.Graph
	infer   func(*model.Node) // types and shapes of what a node outputs
	taken   map[string]int    // names of values
	values  map[*blob]*model.Value
	layer   *layer
	asked   []*params // of the layer
	unasked string    // a parameter of the layer that is not known
}

// rules build the nodes of a layer, by its type.
var rules = map[string]func(*builder) error{}

// build makes the graph of a net whose layers have been matched with their weights.
func build(net *network, weights *weightsFile) (*builder, error) {
	m := &model.Model{Opset: map[string]int64{"": opset}}
	m.Graph = &model.Graph{Name: net.name, Model: m}
	b := &builder{
		net: net, weights: weights, graph: m.Graph, infer: op.Each(m, op.Constants()),
		taken: map[string]int{}, values: map[*blob]*model.Value{},
	}
	for _, v := range net.blobs {
		b.taken[v.value] = 1
	}
	for _, l := range net.layers {
		write := b.build
		if l.isInput() {
			write = b.inputs
		}
		if err := write(l); err != nil {
			return nil, err
		}
	}
	var outputs []*blob
	for _, v := range net.blobs {
		if !v.read && !v.by.isInput() {
			outputs = append(outputs, v)
		}
	}
	slices.SortFunc(outputs, func(a, b *blob) int { return strings.Compare(a.name, b.name) }) // as Caffe lists them
	for _, v := range outputs {
		b.values[v].Output = true
		m.Graph.Outputs = append(m.Graph.Outputs, b.values[v])
	}
	return b, nil
}

// maxAxes is Caffe's limit on the axes of a blob (kMaxBlobAxes).
const maxAxes = 32

// inputs makes the blobs of an input layer inputs of the graph.
func (b *builder) inputs(l *layer) error {
	b.layer, b.asked = l, nil
	for k, x := range l.out {
		v := &model.Value{Name: x.value, DType: tensor.Float32, Shape: b.inputShape(k), Graph: b.graph, Input: true}
		b.values[x] = v
		b.graph.Inputs = append(b.graph.Inputs, v)
	}
	for _, p := range b.asked {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

// build adds the nodes of one layer.
func (b *builder) build(l *layer) error {
	b.layer, b.asked, b.unasked = l, nil, ""
	nodes, consts := len(b.graph.Nodes), len(b.graph.Consts)
	err := errOpaque
	if rule := rules[l.typ]; rule != nil && !l.trains() {
		err = rule(b)
		for _, p := range b.asked {
			if p.err != nil {
				return p.err
			}
		}
		if err == nil && b.unknown() != "" {
			err = errOpaque
		}
	}
	if errors.Is(err, errOpaque) {
		for _, n := range b.graph.Nodes[nodes:] {
			n.Remove()
		}
		b.graph.Nodes, b.graph.Consts = b.graph.Nodes[:nodes], b.graph.Consts[:consts]
		l.built = built{}
		b.opaque(err.Error())
	} else if err != nil {
		return fmt.Errorf("%s: layer %q: %w", b.net.position(l.where.from), l.name, err)
	}
	b.finish()
	return nil
}

// trains says whether the layer of the net of phase TEST computes as in training.
func (l *layer) trains() bool {
	return slices.ContainsFunc(l.text.all("phase"), func(f *field) bool { return f.value == "TRAIN" || f.value == "0" })
}

// keepShape are opaque layers whose tops have their bottom's shape.
var keepShape = map[string]bool{
	"AbsVal": true, "BatchNorm": true, "Bias": true, "Dropout": true, "Exp": true, "LRN": true, "Log": true, "MVN": true,
	"Normalize": true, "Power": true, "Scale": true, "Threshold": true, "Eltwise": true,
}

// opaque writes the layer as one node of unknown meaning; why says what is not understood.
func (b *builder) opaque(why string) {
	l := b.layer
	var in []*model.Value
	for k := range l.in {
		in = append(in, b.in(k))
	}
	typ := l.typ
	switch {
	case b.unasked != "":
		typ += " with " + b.unasked
		why = "the parameter " + b.unasked + " is not known"
	case rules[l.typ] == nil:
		why = "the type is not known"
	case l.trains():
		why = "it computes as in training"
	}
	n := b.add(domain, typ, "", in, len(l.out))
	n.Why, n.PerChannel = why, b.perChannel()
	if keepShape[l.typ] && len(in) > 0 && len(n.Outputs) == 1 {
		n.Outputs[0].Shape = in[0].Shape
	}
	b.tops(n)
}

// perChannel says whether the layer's weights look like scales, shifts and statistics: at least two vectors with one
// element for each channel, and otherwise single numbers only.
func (b *builder) perChannel() bool {
	channels, vectors := int64(-1), 0
	for _, w := range b.layer.weights {
		rank := 0 // axes of more than one element
		for _, d := range w.shape {
			if d != 1 {
				rank++
			}
		}
		switch {
		case rank > 1 || rank == 1 && vectors > 0 && w.count != channels:
			return false
		case rank == 1:
			channels, vectors = w.count, vectors+1
		}
	}
	if vectors < 2 || len(b.layer.in) == 0 {
		return false
	}
	in := b.shape(0)
	return len(in) < 2 || in[1] < 0 || in[1] == channels
}

// finish names the layer's values and records which nodes, inputs and outputs are the layer's.
func (b *builder) finish() {
	l := b.layer
	for k, u := range l.makes {
		v := u.Node.Outputs[u.Index]
		v.Name = l.out[k].value
		b.values[l.out[k]] = v
	}
	readers := map[*model.Value][]model.Use{}
	for _, n := range l.nodes {
		var consts []*model.Constant
		for k, v := range n.Inputs {
			consts = append(consts, nil)
			if v != nil {
				consts[k] = v.Const
				readers[v] = append(readers[v], model.Use{Node: n, Index: k})
			}
		}
		l.consts = append(l.consts, consts)
		l.forms = append(l.forms, form(n))
		for _, v := range n.Outputs {
			if v.Name == "" {
				v.Name = unique(b.taken, n.Name)
			}
			if v.DType == tensor.Undefined {
				v.DType = tensor.Float32
			}
		}
	}
	same, seen := map[*blob]int{}, map[*blob]int{}
	for _, x := range l.in {
		same[x]++
	}
	for _, x := range l.in {
		uses := readers[b.values[x]]
		if same[x] == len(uses) { // every bottom is read by an input of its own
			uses = uses[seen[x] : seen[x]+1]
		}
		seen[x]++
		l.reads = append(l.reads, uses)
	}
}

// form identifies what the file says about a node apart from its inputs and outputs.
func form(n *model.Node) string { return fmt.Sprint(n.Domain, n.Type, n.Attrs) }

// in is the value of the layer's bottom k.
func (b *builder) in(k int) *model.Value { return b.values[b.layer.in[k]] }

// shape is the shape of the layer's bottom k; nil where its rank is not known.
func (b *builder) shape(k int) []int64 { return b.in(k).Shape }

// counts checks the numbers of the layer's bottoms and tops, −1 for any; a layer with other numbers becomes opaque.
func (b *builder) counts(bottoms, tops int) error {
	if bottoms >= 0 && len(b.layer.in) != bottoms || tops >= 0 && len(b.layer.out) != tops || len(b.layer.in) == 0 || len(b.layer.out) == 0 {
		return errOpaque
	}
	return nil
}

// params are the layer's parameters of a kind.
func (b *builder) params(kind string) *params {
	p := b.layer.params(b.net.source, kind)
	b.asked = append(b.asked, p)
	return p
}

// within are the parameters in a message of others.
func (b *builder) within(f *field) *params {
	p := &params{source: b.net.source, layer: b.layer, in: f.inner}
	b.asked = append(b.asked, p)
	return p
}

// node adds an ONNX operator to the layer. Its name is the layer's, followed by part if that is not empty.
func (b *builder) node(typ, part string, inputs []*model.Value, outputs int, attrs ...model.Attr) *model.Node {
	return b.add("", typ, part, inputs, outputs, attrs...)
}

// add adds a node to the layer. Its outputs' types and shapes are inferred, their names given later.
func (b *builder) add(domain, typ, part string, inputs []*model.Value, outputs int, attrs ...model.Attr) *model.Node {
	name := b.layer.name
	if part != "" {
		name += "/" + part
	}
	n := b.graph.Append(typ, name, inputs, attrs, make([]string, outputs)...)
	n.Domain, n.Source = domain, b.layer
	b.infer(n)
	b.layer.nodes = append(b.layer.nodes, n)
	return n
}

// only adds the layer's single or last node, whose one output is the layer's top.
func (b *builder) only(typ string, inputs []*model.Value, attrs ...model.Attr) *model.Node {
	n := b.node(typ, "", inputs, 1, attrs...)
	b.tops(n)
	return n
}

// tops says that the layer's tops are the nodes' outputs, in order.
func (b *builder) tops(nodes ...*model.Node) {
	b.layer.makes = nil
	for _, n := range nodes {
		for k := range n.Outputs {
			b.layer.makes = append(b.layer.makes, model.Use{Node: n, Index: k})
		}
	}
}

// added makes a constant of the graph that the caffemodel does not store in this form.
func (b *builder) added(part string, d tensor.DType, extents []int64, values []float64) *model.Value {
	return b.constant(part, &model.Constant{DType: d, Shape: extents, Values: values})
}

func (b *builder) constant(part string, c *model.Constant) *model.Value {
	return b.graph.AddConst(unique(b.taken, b.layer.name+"/"+part), c)
}

// integers is a constant list of int64.
func (b *builder) integers(part string, list ...int64) *model.Value {
	return b.constant(part, model.Integers(list...))
}

// unknown is a parameter of the layer that its rule did not read; call it when the rule has read all that it knows.
func (b *builder) unknown() string {
	for _, p := range b.asked {
		if b.unasked == "" {
			b.unasked = p.unknown()
		}
	}
	return b.unasked
}

// wants checks how many weights the caffemodel holds for the layer, as Caffe does. A layer with unknown parameters may have
// another number.
func (b *builder) wants(n int) error {
	l := b.layer
	if b.unknown() != "" {
		return errOpaque
	}
	if l.stored == nil {
		return fmt.Errorf("%s holds no layer of that name: do the files belong together? %w", b.weights.name, format.ErrCorrupt)
	}
	if len(l.weights) != n {
		return fmt.Errorf("%s holds %d blobs for it, want %d: %w", b.weights.name, len(l.weights), n, format.ErrCorrupt)
	}
	return nil
}

// weightShape checks weight k against a shape, in which −1 stands for any extent, and returns its shape. Weights in the old
// form have additional leading axes of extent 1.
func (b *builder) weightShape(k int, want ...int64) ([]int64, error) {
	stored := b.layer.weights[k].shape
	rank := max(len(stored), len(want))
	pad := func(s []int64) []int64 { return append(slices.Repeat([]int64{1}, rank-len(s)), s...) }
	got, out := pad(stored), pad(want)
	for k, d := range out {
		if d < 0 {
			out[k] = got[k]
		}
	}
	if !slices.Equal(got, out) {
		return nil, fmt.Errorf("blob %d in %s has shape %v, want %v: %w", k, b.weights.name, stored, want, format.ErrCorrupt)
	}
	return out[rank-len(want):], nil
}

// weight is weight k as a constant of that shape, to be input k of the layer's main node.
func (b *builder) weight(k int, part string, extents []int64) *model.Value {
	v := b.constant(part, b.layer.weights[k].as(extents))
	b.layer.weights[k].constant = v.Name
	return v
}

// stores makes n the node that reads the layer's weights: its input k is weight place[k].
func (b *builder) stores(n *model.Node, place map[int]int) {
	b.layer.main, b.layer.place = n, place
}
