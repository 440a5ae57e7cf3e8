// Package zootest makes models: small networks of the shapes that people publish, with random weights from fixed seeds.
// The demo falls back to them, tests and benchmarks are built on them.
package zootest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Kind is one family of networks.
type Kind struct {
	Name  string
	Build func(b *modeltest.Builder, width, depth int64) *model.Model
}

// Kinds are all families.
var Kinds = []Kind{
	{"mobile", mobile}, {"residual", residual}, {"dense", dense}, {"hardswish", hardSwish}, {"perceptron", perceptron},
}

// Bytes are an ONNX file of a network of a kind: width channels, depth blocks, weights from the seed.
func (k Kind) Bytes(seed uint64, width, depth int64) ([]byte, error) {
	return k.Typed(seed, width, depth, tensor.Float32)
}

// Typed is Bytes with another floating-point type for all that is float32 there. Convolutions of bfloat16 are ONNX's from
// opset 22 on.
func (k Kind) Typed(seed uint64, width, depth int64, d tensor.DType) ([]byte, error) {
	var out onnx.Memory
	m := k.Build(modeltest.New(seed), width, depth)
	if d == tensor.BFloat16 {
		m.Opset[""] = 22
	}
	for _, v := range m.Graph.Consts {
		if v.Const.DType == tensor.Float32 {
			v.Const.DType, v.DType = d, d
		}
	}
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		v.DType = d
	}
	if err := onnx.Export(context.Background(), m, &out, "", tensor.Reference{}); err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	return out.Bytes(), nil
}

// Write writes count models into a folder, KIND/NUMBER.onnx, and returns their paths. Equal arguments make equal files.
func Write(folder string, count int, width, depth int64) ([]string, error) {
	var paths []string
	for n := range count {
		kind := Kinds[n%len(Kinds)]
		data, err := kind.Bytes(uint64(n+1), width, depth)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(folder, kind.Name, fmt.Sprintf("%05d.onnx", n))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// normalised scales weights so that activations keep their size from layer to layer.
func normalised(b *modeltest.Builder, fanIn int64, shape ...int64) *model.Value {
	n, _ := tensor.Elements(shape)
	values := b.Uniform(n, -1, 1)
	for k := range values {
		values[k] = float64(float32(values[k] * 1.7 / float64(fanIn)))
	}
	return b.Const(values, shape...)
}

func conv(b *modeltest.Builder, x *model.Value, in, out, taps, groups int64, attrs ...any) *model.Value {
	w := normalised(b, max(in/groups*taps, 1), out, in/groups, taps, taps)
	pad := taps / 2
	return b.Op("Conv", []*model.Value{x, w}, append([]any{"group", int(groups), "kernel_shape", []int64{taps, taps}, "pads", []int64{pad, pad, pad, pad}}, attrs...)...)
}

// mobile is MobileNet's: depthwise and pointwise convolutions, each with a batch normalisation and a Clip.
func mobile(b *modeltest.Builder, width, depth int64) *model.Model {
	x := b.Input(1, 3, 32, 32)
	clip := func(x *model.Value) *model.Value {
		return b.Op("Clip", []*model.Value{x, b.Const([]float64{0}), b.Const([]float64{6})})
	}
	x = clip(b.BatchNorm(conv(b, x, 3, width, 3, 1), width))
	for range depth {
		x = clip(b.BatchNorm(conv(b, x, width, width, 3, width), width))
		x = clip(b.BatchNorm(conv(b, x, width, width, 1, 1), width))
	}
	return classifier(b, x, width)
}

// residual is ResNet's: two convolutions with batch normalisations beside a shortcut.
func residual(b *modeltest.Builder, width, depth int64) *model.Model {
	x := b.Input(1, 3, 32, 32)
	x = b.Op("Relu", []*model.Value{b.BatchNorm(conv(b, x, 3, width, 3, 1), width)})
	for range depth {
		y := b.Op("Relu", []*model.Value{b.BatchNorm(conv(b, x, width, width, 3, 1), width)})
		y = b.BatchNorm(conv(b, y, width, width, 3, 1), width)
		x = b.Op("Relu", []*model.Value{b.Op("Add", []*model.Value{x, y})})
	}
	return classifier(b, x, width)
}

// dense is DenseNet's: batch normalisations before convolutions whose outputs are concatenated.
func dense(b *modeltest.Builder, width, depth int64) *model.Model {
	x := b.Input(1, 3, 32, 32)
	channels := width
	x = conv(b, x, 3, width, 3, 1)
	for range depth {
		y := b.Op("Relu", []*model.Value{b.BatchNorm(x, channels)})
		y = b.BatchNorm(conv(b, y, channels, width, 3, 1), width)
		x = b.Op("Concat", []*model.Value{x, y}, "axis", 1)
		channels += width
	}
	return classifier(b, x, channels)
}

// hardSwish is a published text detector's: hard-swish written in primitives, and a scale and a shift behind it.
func hardSwish(b *modeltest.Builder, width, depth int64) *model.Model {
	x := b.Input(1, 3, 32, 32)
	channels := int64(3)
	for range depth {
		x = b.BatchNorm(conv(b, x, channels, width, 3, 1), width)
		gate := b.Op("Add", []*model.Value{x, b.Const([]float64{3})})
		gate = b.Op("Clip", []*model.Value{gate, b.Const([]float64{0}), b.Const([]float64{6})})
		gate = b.Op("Div", []*model.Value{gate, b.Const([]float64{6})})
		x = b.Op("Mul", []*model.Value{x, gate})
		x = b.Affine(x, 1, 2, b.Uniform(1, 0.5, 1.5), b.Uniform(1, -1, 1))
		channels = width
	}
	return classifier(b, x, width)
}

// perceptron is fully connected layers with batch normalisations.
func perceptron(b *modeltest.Builder, width, depth int64) *model.Model {
	in := 4 * width
	x := b.Input(-1, in)
	for range depth {
		w := normalised(b, in, in, 4*width)
		x = b.Op("Gemm", []*model.Value{x, w, b.Weight(4 * width)})
		x = b.Op("Relu", []*model.Value{b.BatchNorm(x, 4*width)})
		in = 4 * width
	}
	return finished(b, b.Op("Softmax", []*model.Value{x}, "axis", -1), -1, in)
}

// classifier averages the image and ends in ten classes.
func classifier(b *modeltest.Builder, x *model.Value, channels int64) *model.Model {
	x = b.Op("Flatten", []*model.Value{b.Op("GlobalAveragePool", []*model.Value{x})})
	x = b.Op("Gemm", []*model.Value{x, normalised(b, channels, channels, 10), b.Weight(10)})
	return finished(b, b.Op("Softmax", []*model.Value{x}, "axis", -1), 1, 10)
}

func finished(b *modeltest.Builder, x *model.Value, shape ...int64) *model.Model {
	x.DType, x.Shape = tensor.Float32, shape
	return b.Output(x)
}
