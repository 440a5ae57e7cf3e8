// Package modeltest builds small models in memory, for the tests of what reads and edits graphs.
package modeltest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Builder puts one graph together, node by node.
type Builder struct {
	Model *model.Model
	Rand  *rand.Rand
	names int
}

// New starts a model that follows operator set 17.
func New(seed uint64) *Builder {
	m := &model.Model{Opset: map[string]int64{"": 17}}
	m.Graph = &model.Graph{Model: m, Name: "test"}
	return &Builder{Model: m, Rand: rand.New(rand.NewPCG(seed, 1))}
}

func (b *Builder) name(prefix string) string {
	b.names++
	return fmt.Sprintf("%s%d", prefix, b.names)
}

// Input adds a float32 graph input; -1 is a free extent.
func (b *Builder) Input(shape ...int64) *model.Value {
	v := &model.Value{Name: b.name("x"), DType: tensor.Float32, Shape: shape, Graph: b.Model.Graph, Input: true}
	b.Model.Graph.Inputs = append(b.Model.Graph.Inputs, v)
	return v
}

// Const adds a float32 initializer.
func (b *Builder) Const(values []float64, shape ...int64) *model.Value {
	return b.initializer(tensor.Float32, values, shape)
}

// Ints adds an int64 vector as an initializer.
func (b *Builder) Ints(values ...int64) *model.Value {
	data := make([]float64, len(values))
	for k, v := range values {
		data[k] = float64(v)
	}
	return b.initializer(tensor.Int64, data, []int64{int64(len(values))})
}

func (b *Builder) initializer(d tensor.DType, values []float64, shape []int64) *model.Value {
	if shape == nil {
		shape = []int64{}
	}
	return b.Model.Graph.AddConst(b.name("w"), &model.Constant{DType: d, Shape: shape, Values: values})
}

// Uniform are n float32 numbers from lo to hi.
func (b *Builder) Uniform(n int64, lo, hi float64) []float64 {
	out := make([]float64, n)
	for k := range out {
		out[k] = float64(float32(lo + (hi-lo)*b.Rand.Float64()))
	}
	return out
}

// Signed are n float32 numbers of either sign, none near 0.
func (b *Builder) Signed(n int64) []float64 {
	out := b.Uniform(n, 0.4, 1.8)
	for k := range out {
		if b.Rand.IntN(2) == 0 {
			out[k] = -out[k]
		}
	}
	return out
}

// Weight adds an initializer of random numbers from -1 to 1.
func (b *Builder) Weight(shape ...int64) *model.Value {
	n, _ := tensor.Elements(shape)
	return b.Const(b.Uniform(n, -1, 1), shape...)
}

// Op adds a node of one output. Attributes are int, float64, string, []int64 or []float64 by name.
func (b *Builder) Op(typ string, inputs []*model.Value, attrs ...any) *model.Value {
	return b.Ops(typ, 1, inputs, attrs...)[0]
}

// Ops adds a node of several outputs.
func (b *Builder) Ops(typ string, outputs int, inputs []*model.Value, attrs ...any) []*model.Value {
	n := &model.Node{Type: typ, Name: b.name(typ + "_"), Graph: b.Model.Graph, Inputs: slices.Clone(inputs)}
	for k, v := range inputs {
		if v != nil {
			v.Uses = append(v.Uses, model.Use{Node: n, Index: k})
		}
	}
	for range outputs {
		n.Outputs = append(n.Outputs, &model.Value{Name: b.name("y"), Graph: b.Model.Graph, Producer: n})
	}
	n.Attrs = model.Attrs(attrs...)
	b.Model.Graph.Nodes = append(b.Model.Graph.Nodes, n)
	return n.Outputs
}

// Output makes values graph outputs, and returns the finished model.
func (b *Builder) Output(values ...*model.Value) *model.Model {
	for _, v := range values {
		v.Output = true
		b.Model.Graph.Outputs = append(b.Model.Graph.Outputs, v)
	}
	return b.Model
}

// Conv adds a convolution with bias of a value of in channels: out channels, kernels of k taps along each of two axes.
func (b *Builder) Conv(x *model.Value, in, out, k, groups int64, attrs ...any) *model.Value {
	inputs := []*model.Value{x, b.Weight(out, in/groups, k, k), b.Weight(out)}
	return b.Op("Conv", inputs, append([]any{"group", int(groups), "kernel_shape", []int64{k, k}}, attrs...)...)
}

// BatchNorm adds a batch normalisation with random parameters, scales of either sign among them.
func (b *Builder) BatchNorm(x *model.Value, channels int64) *model.Value {
	return b.Op("BatchNormalization", []*model.Value{x, b.Const(b.Signed(channels), channels), b.Weight(channels), b.Weight(channels), b.Const(b.Uniform(channels, 0.4, 1.8), channels)})
}

// Affine adds a multiplication and an addition of one number for each channel, axis 1 of a value of that rank.
func (b *Builder) Affine(x *model.Value, channels int64, rank int, scale, shift []float64) *model.Value {
	shape := make([]int64, rank-1)
	for k := range shape {
		shape[k] = 1
	}
	shape[0] = channels
	if scale != nil {
		x = b.Op("Mul", []*model.Value{x, b.Const(scale, shape...)})
	}
	if shift != nil {
		x = b.Op("Add", []*model.Value{x, b.Const(shift, shape...)})
	}
	return x
}
