package op

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// integers computes a node's output element from one element of each operand, exactly; operators of one operand ignore b.
// uint64 comes as its bits.
type integers func(n *model.Node, a, b int64, d tensor.DType) (int64, error)

func larger(_ *model.Node, a, b int64, d tensor.DType) (int64, error) {
	if order(a, b, d) < 0 {
		a = b
	}
	return a, nil
}

func smaller(_ *model.Node, a, b int64, d tensor.DType) (int64, error) {
	if order(a, b, d) > 0 {
		a = b
	}
	return a, nil
}

func negative(_ *model.Node, a, _ int64, _ tensor.DType) (int64, error) { return -a, nil }

func absolute(_ *model.Node, a, _ int64, d tensor.DType) (int64, error) {
	if a < 0 && d != tensor.Uint64 {
		a = -a
	}
	return a, nil
}

func signOf(_ *model.Node, a, _ int64, d tensor.DType) (int64, error) {
	return int64(order(a, 0, d)), nil
}

func order(a, b int64, d tensor.DType) int {
	if d == tensor.Uint64 {
		a, b = a^math.MinInt64, b^math.MinInt64
	}
	return cmp.Compare(a, b)
}

// quotient is rounded towards 0: ONNX's Div on integers.
func quotient(_ *model.Node, a, b int64, d tensor.DType) (int64, error) {
	switch {
	case b == 0:
		return 0, fmt.Errorf("%d divided by 0: %w", a, ErrUnsupported)
	case d == tensor.Uint64:
		q, _ := bits.Div64(0, uint64(a), uint64(b))
		return int64(q), nil
	case b == -1:
		return -a, nil
	}
	return a / b, nil
}

// remainder has the sign of the divisor: ONNX's Mod. With fmod it has that of the dividend.
func remainder(n *model.Node, a, b int64, d tensor.DType) (int64, error) {
	switch {
	case b == 0:
		return 0, fmt.Errorf("%d divided by 0: %w", a, ErrUnsupported)
	case d == tensor.Uint64:
		_, r := bits.Div64(0, uint64(a), uint64(b))
		return int64(r), nil
	case b == -1:
		return 0, nil
	}
	r := a % b
	if n.Int("fmod", 0) == 0 && r != 0 && (r < 0) != (b < 0) {
		r += b
	}
	return r, nil
}

// power is exact, modulo the type's width. With a negative exponent the result, a fraction, is rounded towards 0.
func power(_ *model.Node, a, b int64, _ tensor.DType) (int64, error) {
	if b < 0 {
		return int64(math.Trunc(math.Pow(float64(a), float64(b)))), nil
	}
	p := int64(1)
	for ; b > 0; b >>= 1 {
		if b&1 != 0 {
			p *= a
		}
		a *= a
	}
	return p, nil
}

// shift moves the bits by the second operand, read as unsigned; a shift to the right of a signed integer keeps its sign.
func shift(n *model.Node, a, b int64, d tensor.DType) (int64, error) {
	switch {
	case n.Str("direction", "LEFT") == "LEFT":
		return a << uint64(b), nil
	case d == tensor.Uint64:
		return int64(uint64(a) >> uint64(b)), nil
	}
	return a >> uint64(b), nil
}

// integerOf is the node's rule for integers; false if the operands are not integers or the operator has no such rule.
func integerOf(n *model.Node, in ...*Array) (integers, bool) {
	for _, a := range in {
		if !integer(a.DType) {
			return nil, false
		}
	}
	f := Of(n).Integers
	return f, f != nil
}

// combineInts works element by element on integers, broadcasting.
func combineInts(n *model.Node, f integers, a, b *Array) (*Array, error) {
	shape, err := broadcastShape(a.Shape, b.Shape)
	if err != nil {
		return nil, err
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	from, to := a.stepsTo(shape), b.stepsTo(shape)
	list, e := make([]int64, len(out.Data)), 0
	walk(shape, func(index []int64) {
		i, j := int64(0), int64(0)
		for k, x := range index {
			i, j = i+x*from[k], j+x*to[k]
		}
		x, failed := f(n, a.Int(int(i)), b.Int(int(j)), a.DType)
		if list[e] = x; failed != nil {
			err = failed
		}
		e++
	})
	return ofInts(a.DType, shape, list), err
}

// stepsTo are a's strides along the axes of a shape that it is broadcast to: 0 along those that repeat.
func (a *Array) stepsTo(shape []int64) []int64 {
	out, own := make([]int64, len(shape)), strides(a.Shape)
	for k, d := range a.Shape {
		if d != 1 {
			out[len(shape)-len(a.Shape)+k] = own[k]
		}
	}
	return out
}
