package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	operators["DequantizeLinear"] = dequantize
	operators["QuantizeLinear"] = quantize
	operators["DynamicQuantizeLinear"] = dynamicQuantize
	operators["MatMulInteger"] = func(n *model.Node, in []*Array) ([]*Array, error) { return ofIntegers(matMul, -1, n, in) }
	operators["ConvInteger"] = func(n *model.Node, in []*Array) ([]*Array, error) { return ofIntegers(conv, 0, n, in) }
}

// scaleOf says which of the scales is that of element e of x: one for all, one for each position along an axis, or one for
// each block of that many along it.
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
	if err := need(in, 2); err != nil {
		return nil, err
	}
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

// quantize rounds to the nearest even integer and saturates.
func quantize(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
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

// saturated is x, or the end of the integer type's range that it is beyond.
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

// dynamicQuantize spreads the range of x, 0 included, over a byte.
func dynamicQuantize(_ *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
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
	return []*Array{out, Scalar(scale), Scalar(zero)}, nil
}

// ofIntegers is a product of integers less their zero points: one for all, or of the left matrix one for each row, of the
// right one for each column, of kernels one for each output.
func ofIntegers(op operator, axis int64, n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	var operands [2]*Array
	for k := range operands {
		operands[k] = &Array{Shape: in[k].Shape, Data: in[k].Data}
		zero := input(in, 2+k)
		if zero == nil {
			continue
		}
		z := &Array{Shape: zero.Shape, Data: zero.Data}
		if len(z.Data) > 1 && len(z.Shape) == 1 { // a vector along its axis
			along := axis
			if axis < 0 {
				along = int64(k) - 2
			}
			at, err := axisOf(along, len(in[k].Shape))
			if err != nil {
				return nil, err
			}
			shape := slices.Repeat([]int64{1}, len(in[k].Shape))
			shape[at] = z.Shape[0]
			z = &Array{Shape: shape, Data: z.Data}
		}
		less, err := combine(func(a, b float64) float64 { return a - b }, operands[k], z)
		if err != nil {
			return nil, err
		}
		operands[k] = less
	}
	return op(n, operands[:])
}
