package darknet

import (
	"io"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// domain is the domain of nodes for layers without an equivalent in ONNX: heads, and layers that stay as they are.
const domain = "darknet"

// builder makes a graph of a network's layers.
type builder struct {
	net        *network
	model      *model.Model
	floats     io.ReaderAt // what the layers store
	transposed bool        // connected layers store their weights [inputs, outputs]
	epsilon    epsilon
	input      *model.Value
	handed     []*model.Value // each layer's output
	err        error
}

// epsilon says what keeps a batch normalisation from dividing by zero: its divisor is √(σ² + inside) + after.
type epsilon struct{ inside, after float64 }

// epsilons are pjreddie's (normalize_cpu), AlexeyAB's and OpenCV's, by the words of the setting. The programs write the numbers as floats of 32 bits.
var epsilons = map[string]epsilon{
	"pjreddie": {after: float64(float32(1e-6))},
	"alexeyab": {inside: float64(float32(1e-5))},
	"opencv":   {inside: float64(float32(1e-6))},
}

// graph builds the nodes of all layers. Graph outputs are the outputs that no layer reads, and the last layer's; [cost]
// layers are passed over, as Darknet does when it predicts.
func (b *builder) graph() error {
	g := &model.Graph{Model: b.model, Name: "darknet"}
	b.model.Graph = g
	b.input = &model.Value{Name: "data", DType: tensor.Float32, Shape: b.net.input.shape(), Graph: g, Input: true}
	g.Inputs = []*model.Value{b.input}
	b.handed = make([]*model.Value, len(b.net.layers))
	for _, l := range b.net.layers {
		l.values = map[string]*model.Value{}
		if l.build(b); b.err != nil {
			return b.err
		}
		l.bind()
	}
	for k, v := range b.handed {
		if v != b.input && !v.Output && (len(v.Uses) == 0 || k == len(b.handed)-1) {
			v.Output = true
			g.Outputs = append(g.Outputs, v)
		}
	}
	return nil
}

// bind records which inputs of which nodes the layer's parts are.
func (l *layer) bind() {
	for _, n := range []*model.Node{l.linear, l.norm} {
		if n == nil {
			continue
		}
		for k, v := range n.Inputs {
			for _, p := range l.parts {
				if v != nil && v == l.values[p.name] {
					p.node, p.input, p.original = n, k, v.Const
				}
			}
		}
	}
}

// before is the layer's input by default: the output of the layer before, or the image.
func (b *builder) before(l *layer) *model.Value {
	if l.index == 0 {
		return b.input
	}
	return b.handed[l.index-1]
}

// handOn sets the layer's output.
func (b *builder) handOn(l *layer, v *model.Value) { b.handed[l.index] = v }

// node adds a node of the layer with one output.
func (b *builder) node(l *layer, typ, name string, inputs []*model.Value, attrs []model.Attr, output string, shape []int64) *model.Node {
	n := b.model.Graph.Append(typ, name, inputs, attrs, output)
	n.Source = l
	n.Outputs[0].DType, n.Outputs[0].Shape = tensor.Float32, shape
	return n
}

// only adds the layer's single node, and its activation.
func (b *builder) only(l *layer, typ string, inputs []*model.Value, attrs ...model.Attr) *model.Node {
	n := b.node(l, typ, l.name, inputs, attrs, l.beforeActivation(), l.out.shape())
	b.handOn(l, b.activate(l, n.Outputs[0]))
	return n
}

// opaque adds a node for a layer that ONNX has no operators for, and its activation.
func (b *builder) opaque(l *layer, inputs ...*model.Value) {
	b.only(l, l.kind, inputs).Domain = domain
}

// image is a value as an image, by a Reshape where it is not.
func (b *builder) image(l *layer, v *model.Value, e extent, name string) *model.Value {
	if len(v.Shape) == 4 {
		return v
	}
	return b.reshaped(l, l.name+"/"+name, v, e.shape())
}

// reshaped is a value in another shape.
func (b *builder) reshaped(l *layer, name string, x *model.Value, shape []int64) *model.Value {
	return b.node(l, "Reshape", name, []*model.Value{x, b.shape(name+"/shape", shape)}, nil, name, shape).Outputs[0]
}

// flat is a value as a vector, by a Flatten where it is not.
func (b *builder) flat(l *layer, v *model.Value, e extent) *model.Value {
	if len(v.Shape) == 2 {
		return v
	}
	name := l.name + "/flat"
	return b.node(l, "Flatten", name, []*model.Value{v}, []model.Attr{model.Int("axis", 1)}, name, []int64{1, e.n}).Outputs[0]
}

// beforeActivation is the name of what the layer's activation reads.
func (l *layer) beforeActivation() string {
	if l.activation == "" || l.activation == "linear" {
		return l.name
	}
	return l.name + "/linear"
}

// constant is a new constant made of numbers.
func (b *builder) constant(name string, d tensor.DType, values []float64, shape ...int64) *model.Value {
	return b.keep(name, &model.Constant{DType: d, Shape: append([]int64{}, shape...), Values: values})
}

func (b *builder) keep(name string, c *model.Constant) *model.Value {
	return b.model.Graph.AddConst(name, c)
}

// shape are a few integers as a constant: a shape, axes, places.
func (b *builder) shape(name string, values []int64) *model.Value {
	return b.keep(name, model.Integers(values...))
}

// zeros are a constant of zeros with the shape of a part of the layer.
func (b *builder) zeros(l *layer, name string) *model.Value {
	n := l.out.c
	return b.constant(l.name+"/"+name, tensor.Float32, make([]float64, n), n)
}

// stored is a part of the layer as a constant that stays in the file; nil where the layer has no such part.
func (b *builder) stored(l *layer, name string) *model.Value {
	p := l.part(name)
	if p == nil {
		return nil
	}
	c := &model.Constant{DType: tensor.Float32, Shape: p.shape, Data: p.bytes(b.floats), Source: p}
	if p.perm != nil {
		c.Data = tensor.Permuted(c.Data, p.stored(), p.perm, tensor.Float32.Size())
	}
	l.values[name] = b.keep(l.name+"/"+name, c)
	return l.values[name]
}

// bytes are the part's elements in the file.
func (p *part) bytes(floats io.ReaderAt) *io.SectionReader {
	size := int64(tensor.Float32.Size())
	return io.NewSectionReader(floats, p.from*size, p.count*size)
}

// stored is the part's shape as the file has it.
func (p *part) stored() []int64 {
	if p.perm == nil {
		return p.shape
	}
	shape := make([]int64, len(p.shape))
	for k, axis := range p.perm {
		shape[axis] = p.shape[k]
	}
	return shape
}

// numbers are the elements of a part of the layer.
func (b *builder) numbers(l *layer, name string) []float64 {
	p := l.part(name)
	c := model.Constant{DType: tensor.Float32, Shape: p.shape, Data: p.bytes(b.floats)}
	x, err := c.Float64s(p.count)
	if err != nil {
		b.err = err
		return make([]float64, p.count)
	}
	return x
}

// made is a part of the layer as a constant computed from its elements.
func (b *builder) made(l *layer, name, as string, f func(float64) float64) *model.Value {
	x := b.numbers(l, name)
	for k := range x {
		x[k] = f(x[k])
	}
	l.values[name] = b.constant(l.name+"/"+as, tensor.Float32, x, int64(len(x)))
	return l.values[name]
}

// negated is −μ, as a bias; nil if a mean is not finite: then the planner reports the batch normalisation as it is.
func (b *builder) negated(l *layer) *model.Value {
	if slices.ContainsFunc(b.numbers(l, "mean"), func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }) {
		return nil
	}
	return b.made(l, "mean", "bias", func(x float64) float64 { return -x })
}

// variance is the layer's variance as a batch normalisation of ONNX reads it, and its epsilon. One that Darknet adds after
// the root is squared into the variance: √((√σ² + ε)²) is exact but for the roundings of a float64.
func (b *builder) variance(l *layer) (*model.Value, float64) {
	after := b.epsilon.after
	if after == 0 {
		return b.stored(l, "variance"), b.epsilon.inside
	}
	return b.made(l, "variance", "variance", func(x float64) float64 {
		d := math.Sqrt(x) + after
		return d * d
	}), 0
}
