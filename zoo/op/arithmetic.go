package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators on two or more operands, element by element.

func init() {
	plain := func(f func(a, b int64) int64) integers { // the bits are the same for signed and unsigned integers, which wrap around
		return func(_ *model.Node, a, b int64, _ tensor.DType) (int64, error) { return f(a, b), nil }
	}
	register(
		elementwise(Operator{Type: "Add", Eval: binary(add), Integers: plain(func(a, b int64) int64 { return a + b }), DType: common, Vector: operands(addExtents), Magnitude: additive}),
		elementwise(Operator{Type: "Sum", Eval: binary(add), Integers: plain(func(a, b int64) int64 { return a + b }), DType: common, Magnitude: additive}),
		elementwise(Operator{Type: "Sub", Eval: binary(subtract), Integers: plain(func(a, b int64) int64 { return a - b }), DType: common, Vector: operands(subtractExtents), Magnitude: byMagnitudes(binary(add))}),
		elementwise(Operator{Type: "Mul", Eval: binary(times), Integers: plain(func(a, b int64) int64 { return a * b }), DType: common, Vector: operands(multiplyExtents), Magnitude: additive}),
		elementwise(Operator{Type: "Div", Eval: binary(func(a, b float64) float64 { return a / b }), Integers: quotient, DType: common, Vector: operands(divideExtents)}),
		elementwise(Operator{Type: "Mod", Eval: mod, Integers: remainder, DType: common, Vector: modVector}),
		elementwise(Operator{Type: "Pow", Eval: pow, Integers: power}),
		elementwise(Operator{Type: "Max", Eval: binary(math.Max), Integers: larger, DType: common, Vector: operands(largerExtent), Magnitude: byMagnitudes(binary(math.Max))}),
		elementwise(Operator{Type: "Min", Eval: binary(math.Min), Integers: smaller, DType: common, Vector: operands(smallerExtent), Magnitude: byMagnitudes(binary(math.Max))}),
		elementwise(Operator{Type: "Mean", Eval: mean, DType: common, Magnitude: additive}),
		elementwise(Operator{Type: "BitwiseAnd", Eval: ofIntegersOnly, Integers: plain(func(a, b int64) int64 { return a & b }), DType: common}),
		elementwise(Operator{Type: "BitwiseOr", Eval: ofIntegersOnly, Integers: plain(func(a, b int64) int64 { return a | b }), DType: common}),
		elementwise(Operator{Type: "BitwiseXor", Eval: ofIntegersOnly, Integers: plain(func(a, b int64) int64 { return a ^ b }), DType: common}),
		elementwise(Operator{Type: "BitwiseNot", Eval: ofIntegersOnly, Integers: plain(func(a, _ int64) int64 { return ^a }), Shape: sameShape}),
		elementwise(Operator{Type: "BitShift", Eval: ofIntegersOnly, Integers: shift, DType: common}),
		elementwise(Operator{Type: "PRelu", Required: 2, Inputs: []string{"input", "slope"}, Eval: prelu, Shape: sameShape, Magnitude: gentle}),
		elementwise(Operator{Type: "Where", Required: 3, Inputs: []string{"condition", "first choice", "second choice"}, Eval: where, Moves: []int{1, 2}, DType: like(1), Vector: whereVector, Magnitude: additive}),
	)
	comparison := func(name string, f func(a, b float64) bool, o Operator) {
		o.Type, o.DType, o.Eval = name, always(tensor.Bool), binary(func(a, b float64) float64 { return truth(f(a, b)) })
		register(elementwise(o))
	}
	ordered := func(f func(order int) bool) Operator { // less, equal or greater
		return Operator{Integers: func(_ *model.Node, a, b int64, d tensor.DType) (int64, error) {
			return int64(truth(f(order(a, b, d)))), nil
		}}
	}
	equal := ordered(func(o int) bool { return o == 0 })
	equal.Vector = operands(equalExtents)
	comparison("Equal", func(a, b float64) bool { return a == b }, equal)
	comparison("Less", func(a, b float64) bool { return a < b }, ordered(func(o int) bool { return o < 0 }))
	comparison("LessOrEqual", func(a, b float64) bool { return a <= b }, ordered(func(o int) bool { return o <= 0 }))
	comparison("Greater", func(a, b float64) bool { return a > b }, ordered(func(o int) bool { return o > 0 }))
	comparison("GreaterOrEqual", func(a, b float64) bool { return a >= b }, ordered(func(o int) bool { return o >= 0 }))
	comparison("And", func(a, b float64) bool { return a != 0 && b != 0 }, Operator{})
	comparison("Or", func(a, b float64) bool { return a != 0 || b != 0 }, Operator{})
	comparison("Xor", func(a, b float64) bool { return (a != 0) != (b != 0) }, Operator{})
}

func add(a, b float64) float64      { return a + b }
func subtract(a, b float64) float64 { return a - b }
func times(a, b float64) float64    { return a * b }

// prelu is x for x ≥ 0, slope·x below (He et al. 2015, arXiv:1502.01852). The slope is broadcast to the input's shape,
// never the input to the slope's.
func prelu(n *model.Node, in []*Array) ([]*Array, error) {
	out, err := binary(func(x, slope float64) float64 {
		if x < 0 {
			return slope * x
		}
		return x
	})(n, in)
	if err == nil && !slices.Equal(out[0].Shape, in[0].Shape) {
		return nil, fmt.Errorf("input %v, slope %v", in[0].Shape, in[1].Shape)
	}
	return out, err
}

// mean is the sum of the operands, broadcast, divided by how many they are.
func mean(n *model.Node, in []*Array) ([]*Array, error) {
	out, err := binary(add)(n, in)
	if err == nil {
		out, err = unary(func(x float64) float64 { return x / float64(len(in)) })(n, out)
	}
	return out, err
}

// pow has the type of its base: an integer is rounded towards 0.
func pow(n *model.Node, in []*Array) ([]*Array, error) {
	out, err := binary(math.Pow)(n, in)
	if err == nil && integer(in[0].DType) && out[0].wide == nil {
		for k, x := range out[0].Data {
			out[0].Data[k] = math.Trunc(x)
		}
	}
	return out, err
}

// mod has the sign of the dividend where the attribute fmod is 1, which floats need; else that of the divisor.
func mod(n *model.Node, in []*Array) ([]*Array, error) {
	return binary(func(a, b float64) float64 {
		r := math.Mod(a, b)
		if n.Int("fmod", 0) == 0 && r != 0 && (r < 0) != (b < 0) {
			r += b
		}
		return r
	})(n, in)
}

// where takes an element of input 1 where the condition is true, of input 2 elsewhere; all three are broadcast.
func where(_ *model.Node, in []*Array) ([]*Array, error) {
	shape, err := broadcastShape(in[1].Shape, in[2].Shape)
	if err == nil {
		shape, err = broadcastShape(in[0].Shape, shape)
	}
	if err != nil {
		return nil, err
	}
	var parts [3]*Array
	for k := range parts {
		if parts[k], err = broadcastTo(in[k], shape); err != nil {
			return nil, err
		}
	}
	out := &Array{Shape: shape, Data: make([]float64, len(parts[0].Data))}
	for k := range out.Data {
		if parts[0].Data[k] != 0 {
			out.Data[k] = parts[1].Data[k]
		} else {
			out.Data[k] = parts[2].Data[k]
		}
	}
	return one(out, nil)
}
