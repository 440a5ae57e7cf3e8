package darknet

import (
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// activations are those that ONNX has operators for (Darknet's activations.h). Each adds nodes that compute the value y of
// x. Other activations, and names that Darknet does not know, become nodes of the domain "darknet".
var activations = map[string]func(b *builder, l *layer, x *model.Value, y string) *model.Value{
	"relu":     operator("Relu"),
	"leaky":    operator("LeakyRelu", model.Float("alpha", float64(float32(0.1)))),
	"relie":    operator("LeakyRelu", model.Float("alpha", float64(float32(0.01)))),
	"logistic": operator("Sigmoid"),
	"tanh":     operator("Tanh"),
	"elu":      operator("Elu", model.Float("alpha", 1)),
	"selu":     operator("Selu", model.Float("alpha", float64(float32(1.6732))), model.Float("gamma", float64(float32(1.0507)))),
	"relu6":    clip(0, 6),
	"hardtan":  clip(-1, 1),
	"swish":    swish,
	"mish":     mish,
}

// activate adds the layer's activation of x.
func (b *builder) activate(l *layer, x *model.Value) *model.Value {
	if l.beforeActivation() == l.name {
		return x
	}
	if f := activations[l.activation]; f != nil {
		return f(b, l, x, l.name)
	}
	n := b.node(l, shortened(l.activation), l.name+"/activation", []*model.Value{x}, nil, l.name, x.Shape)
	n.Domain = domain
	return n.Outputs[0]
}

func operator(typ string, attrs ...model.Attr) func(*builder, *layer, *model.Value, string) *model.Value {
	return func(b *builder, l *layer, x *model.Value, y string) *model.Value {
		return b.node(l, typ, l.name+"/"+l.activation, []*model.Value{x}, attrs, y, x.Shape).Outputs[0]
	}
}

func clip(lo, hi float64) func(*builder, *layer, *model.Value, string) *model.Value {
	return func(b *builder, l *layer, x *model.Value, y string) *model.Value {
		low, high := b.constant(l.name+"/min", tensor.Float32, []float64{lo}), b.constant(l.name+"/max", tensor.Float32, []float64{hi})
		return b.node(l, "Clip", l.name+"/"+l.activation, []*model.Value{x, low, high}, nil, y, x.Shape).Outputs[0]
	}
}

// swish is x·sigmoid(x).
func swish(b *builder, l *layer, x *model.Value, y string) *model.Value {
	s := b.step(l, "Sigmoid", "sigmoid", x)
	return b.node(l, "Mul", l.name+"/swish", []*model.Value{x, s}, nil, y, x.Shape).Outputs[0]
}

// mish is x·tanh(ln(1 + eˣ)).
func mish(b *builder, l *layer, x *model.Value, y string) *model.Value {
	t := b.step(l, "Tanh", "tanh", b.step(l, "Softplus", "softplus", x))
	return b.node(l, "Mul", l.name+"/mish", []*model.Value{x, t}, nil, y, x.Shape).Outputs[0]
}

// step adds a node within an activation.
func (b *builder) step(l *layer, typ, part string, x *model.Value) *model.Value {
	name := l.name + "/" + part
	return b.node(l, typ, name, []*model.Value{x}, nil, name, x.Shape).Outputs[0]
}

// activation is a layer of its own; [logistic] is one too.
func activation(l *layer) func(*builder) {
	l.out, l.activation = l.in, l.str("activation", "linear")
	if l.kind == "logistic" {
		l.activation = "logistic"
	}
	return func(b *builder) { b.handOn(l, b.activate(l, b.before(l))) }
}
