package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Quantisation: operators between floats and the integers that represent them.

func init() {
	inputs := []string{"input", "scale", "zero point"}
	register(
		&Operator{Type: "DequantizeLinear", Required: 2, Inputs: inputs, Eval: dequantize, DType: attribute("output_dtype", like(1)), Shape: sameShape, Magnitude: ofOutput, Needs: quantizeNeeds},
		&Operator{Type: "QuantizeLinear", Required: 2, Inputs: inputs, Eval: quantize, DType: attribute("output_dtype", quantizedType), Shape: sameShape, Needs: quantizeNeeds},
		&Operator{Type: "QLinearConv", Required: 8, Inputs: quantizedInputs, Eval: quantizedProduct(conv, 0), DType: like(7), Shape: ofOperands(convShape), Needs: quantizedProductNeeds(convIntegerNeeds)},
		&Operator{Type: "QLinearMatMul", Required: 8, Inputs: quantizedInputs, Eval: quantizedProduct(matMul, -1), DType: like(7), Shape: ofOperands(matMulShape), Needs: quantizedProductNeeds(matMulNeeds)},
		&Operator{Type: "DynamicQuantizeLinear", Eval: dynamicQuantize, DType: dynamicType, Shape: dynamicQuantizeShape},
	)
}

// quantizedType is the type of the zero point.
func quantizedType(_ *model.Node, inputs Types, _ int) tensor.DType {
	if d := inputs.At(2); d != tensor.Undefined {
		return d
	}
	return tensor.Uint8
}

func dynamicType(_ *model.Node, _ Types, k int) tensor.DType {
	if k == 1 {
		return tensor.Float32
	}
	return tensor.Uint8
}

// scaleOf gives the index of the scale of element e of x: one scale for all, one for each position along an axis, or one
// for each block of block_size positions.
func scaleOf(n *model.Node, x, scale *Array) (func(e int) int, error) {
	if len(scale.Data) == 1 && n.Int("block_size", 0) == 0 {
		return func(int) int { return 0 }, nil
	}
	axis, err := axisOf(n.Int("axis", 1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	inner, extent := int(product(x.Shape[axis+1:])), int(x.Shape[axis])
	if block := int(n.Int("block_size", 0)); block > 0 {
		blocks := (extent + block - 1) / block
		if want := slices.Clone(x.Shape); len(scale.Shape) != len(want) || int(scale.Shape[axis]) != blocks {
			return nil, fmt.Errorf("scales of shape %v for blocks of %d of shape %v", scale.Shape, block, x.Shape)
		} else if want[axis] = int64(blocks); !slices.Equal(want, scale.Shape) {
			return nil, fmt.Errorf("scales of shape %v for blocks of %d of shape %v", scale.Shape, block, x.Shape)
		}
		return func(e int) int { return (e/inner/extent*blocks+e/inner%extent/block)*inner + e%inner }, nil
	}
	if len(scale.Data) != extent {
		return nil, fmt.Errorf("%d scales for %d channels", len(scale.Data), extent)
	}
	return func(e int) int { return e / inner % extent }, nil
}

func dequantize(n *model.Node, in []*Array) ([]*Array, error) {
	x, scale, zero := in[0], in[1], input(in, 2)
	channel, err := scaleOf(n, x, scale)
	if err != nil {
		return nil, err
	}
	if zero != nil && len(zero.Data) != len(scale.Data) {
		return nil, fmt.Errorf("%d zero points for %d scales", len(zero.Data), len(scale.Data))
	}
	out := &Array{DType: tensor.DType(n.Int("output_dtype", 0)), Shape: x.Shape, Data: make([]float64, len(x.Data))}
	for e, q := range x.Data {
		c := channel(e)
		if zero != nil {
			q -= zero.Data[c]
		}
		out.Data[e] = q * scale.Data[c]
	}
	return one(out, nil)
}

// quantize is x/scale rounded to the nearest integer, ties to even, plus the zero point, saturated to the type's range.
func quantize(n *model.Node, in []*Array) ([]*Array, error) {
	x, scale, zero := in[0], in[1], input(in, 2)
	to := typeOf(n, in, 0)
	if !integer(to) {
		return nil, fmt.Errorf("to %v: %w", to, ErrUnsupported)
	}
	channel, err := scaleOf(n, x, scale)
	if err != nil {
		return nil, err
	}
	if zero != nil && len(zero.Data) != len(scale.Data) {
		return nil, fmt.Errorf("%d zero points for %d scales", len(zero.Data), len(scale.Data))
	}
	out := &Array{DType: to, Shape: x.Shape, Data: make([]float64, len(x.Data))}
	for e, v := range x.Data {
		c, q := channel(e), 0.0
		if q = math.RoundToEven(v / scale.Data[c]); zero != nil {
			q += zero.Data[c]
		}
		if out.Data[e] = saturated(q, to); q != q {
			return nil, fmt.Errorf("no number as %v: %w", to, ErrUnsupported)
		}
	}
	return one(out, nil)
}

// saturated is x clipped to the range of the integer type.
func saturated(x float64, d tensor.DType) float64 {
	low, high := ends(d)
	return min(max(x, low), high)
}

// ends are the least and the largest number of an integer type, or of truth values.
func ends(d tensor.DType) (low, high float64) {
	bits := float64(8 * d.Size())
	switch {
	case d == tensor.Bool:
		return 0, 1
	case unsigned(d):
		return 0, math.Exp2(bits) - 1
	}
	return -math.Exp2(bits - 1), math.Exp2(bits-1) - 1
}

// dynamicQuantize maps the range of x, extended to include 0, to 0…255: scale = (max − min)/255, zero point =
// round(−min/scale).
func dynamicQuantize(_ *model.Node, in []*Array) ([]*Array, error) {
	low, high := 0.0, 0.0
	for _, x := range in[0].Data {
		low, high = min(low, x), max(high, x)
	}
	scale := (high - low) / 255
	if scale == 0 {
		scale = 1
	}
	zero := saturated(math.RoundToEven(-low/scale), tensor.Uint8)
	out := &Array{Shape: in[0].Shape, Data: make([]float64, len(in[0].Data))}
	for e, x := range in[0].Data {
		out.Data[e] = saturated(math.RoundToEven(x/scale)+zero, tensor.Uint8)
	}
	return []*Array{out, scalar(scale), scalar(zero)}, nil
}

// dynamicQuantizeShape outputs bytes, one scale and one zero point.
func dynamicQuantizeShape(in *Inference, n *model.Node) [][]int64 {
	return shapes(in.of(n.In(0)), []int64{}, []int64{})
}

// quantizeNeeds are the element itself, its scale and its zero point.
func quantizeNeeds(n *model.Node, in []*Array, out Part) []Box {
	scale := input(in, 1)
	axis, err := axisOf(n.Int("axis", 1), len(out.Box))
	if scale == nil || len(scale.Shape) != 1 || scale.Shape[0] == 1 || n.Int("block_size", 0) != 0 || err != nil {
		return []Box{out.Box}
	}
	parameter := Box{out.Box[axis]}
	return []Box{out.Box, parameter, parameter}
}

// quantizedInputs are the inputs of QLinearConv and QLinearMatMul.
var quantizedInputs = []string{"input", "scale of the input", "zero point of the input", "weight", "scale of the weight", "zero point of the weight", "scale of the output", "zero point of the output", "bias"}

// quantizedProduct dequantises the operands, multiplies, and quantises the result. A convolution's weight may have a scale
// for each output channel; the operands of a matrix product, one for each row of the left and column of the right.
func quantizedProduct(product evaluator, axis int64) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		list, err := ofIntegers(product, axis)(n, []*Array{in[0], in[3], in[2], in[5]})
		if err != nil {
			return nil, err
		}
		out, left, right := list[0], in[1], in[4]
		channels := axis == 0 && len(out.Shape) > 1
		if bias := input(in, 8); channels && bias != nil {
			if int64(len(bias.Data)) != out.Shape[1] {
				return nil, fmt.Errorf("a bias of shape %v for %d channels", bias.Shape, out.Shape[1])
			}
			perChannel(out, func(e, c int) { out.Data[e] += bias.Data[c] })
		}
		switch {
		case channels && len(right.Data) > 1:
			right = &Array{Shape: append([]int64{int64(len(right.Data))}, slices.Repeat([]int64{1}, len(out.Shape)-2)...), Data: right.Data}
		case axis < 0 && len(left.Shape) == 1 && len(left.Data) > 1:
			left = &Array{Shape: []int64{left.Shape[0], 1}, Data: left.Data}
		}
		for _, scale := range []*Array{left, right} {
			shape := out.Shape
			if out, err = combine(times, out, scale); err != nil {
				return nil, err
			}
			if !slices.Equal(out.Shape, shape) {
				return nil, fmt.Errorf("a scale of shape %v for an output of shape %v", scale.Shape, shape)
			}
		}
		quantizer := *n
		quantizer.Type, quantizer.Attrs = "QuantizeLinear", nil
		return quantize(&quantizer, []*Array{out, in[6], in[7]})
	}
}

// ofOperands adapts a rule of Conv or MatMul to the quantised operator, whose weight is input 3.
func ofOperands(rule func(*Inference, *model.Node) [][]int64) func(*Inference, *model.Node) [][]int64 {
	return func(in *Inference, n *model.Node) [][]int64 {
		product := *n
		product.Inputs = []*model.Value{n.In(0), n.In(3)}
		return rule(in, &product)
	}
}

func quantizedProductNeeds(needs func(*model.Node, []*Array, Part) []Box) func(*model.Node, []*Array, Part) []Box {
	return func(n *model.Node, in []*Array, out Part) []Box {
		boxes := needs(n, []*Array{in[0], input(in, 3)}, out)
		if len(boxes) != 2 {
			return nil
		}
		return []Box{boxes[0], nil, nil, boxes[1]}
	}
}
