package op

import (
	endian "encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Types decide what an operator computes: 98 / 3 is 32 in int64. Floats are computed in float64 and not rounded in between,
// whatever their type; integers exactly, with the wrap-around of their width. float64 holds the integers up to 2^53. Those
// beyond are kept beside, in wide, where an operator moves elements or works element by element; all others refuse them.

// exact is the bound below which float64 holds every integer.
const exact = 1 << 53

// integer says whether arrays of the type hold integers.
func integer(d tensor.DType) bool {
	switch d {
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64, tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		return true
	}
	return false
}

// unsigned says whether the type has no numbers below 0.
func unsigned(d tensor.DType) bool {
	return d == tensor.Uint8 || d == tensor.Uint16 || d == tensor.Uint32 || d == tensor.Uint64 || d == tensor.Bool
}

// wrapped is an integer modulo 2^width, as the type stores it; of uint64 the bits.
func wrapped(x int64, d tensor.DType) int64 {
	switch d {
	case tensor.Int8:
		return int64(int8(x))
	case tensor.Int16:
		return int64(int16(x))
	case tensor.Int32:
		return int64(int32(x))
	case tensor.Uint8:
		return int64(uint8(x))
	case tensor.Uint16:
		return int64(uint16(x))
	case tensor.Uint32:
		return int64(uint32(x))
	}
	return x
}

// number is an integer of that type as a float64, rounded where it has to be.
func number(x int64, d tensor.DType) float64 {
	if d == tensor.Uint64 {
		return float64(uint64(x))
	}
	return float64(x)
}

// Int is element k as an integer, rounded towards 0; of uint64 its bits. What int64 does not hold becomes its end.
func (a *Array) Int(k int) int64 {
	if a.wide != nil {
		return a.wide[k]
	}
	switch x := a.Data[k]; {
	case x != x:
		return 0
	case x >= math.MaxInt64:
		return math.MaxInt64
	case x <= math.MinInt64:
		return math.MinInt64
	default:
		return int64(x)
	}
}

// ofInts is an array of integers of that type, wrapped to its width.
func ofInts(d tensor.DType, shape []int64, list []int64) *Array {
	a := &Array{DType: d, Shape: shape, Data: make([]float64, len(list))}
	large := false
	for k, x := range list {
		x = wrapped(x, d)
		list[k], a.Data[k] = x, number(x, d)
		large = large || math.Abs(a.Data[k]) >= exact
	}
	if large {
		a.wide = list
	}
	return a
}

// Integers is a vector of int64.
func Integers(list ...int64) *Array {
	return ofInts(tensor.Int64, []int64{int64(len(list))}, slices.Clone(list))
}

// widen reads the elements of a stored constant again, as the integers that they are.
func (a *Array) widen(c *model.Constant) error {
	if c.DType != tensor.Int64 && c.DType != tensor.Uint64 {
		return nil
	}
	raw := make([]byte, 8*len(a.Data))
	if _, err := io.ReadFull(io.NewSectionReader(c.Data, 0, int64(len(raw))), raw); err != nil {
		return err
	}
	a.wide = make([]int64, len(a.Data))
	for k := range a.wide {
		a.wide[k] = int64(endian.LittleEndian.Uint64(raw[8*k:]))
	}
	return nil
}

// moved are, by operator, the inputs whose elements its outputs are made of, where it only moves elements.
var moved = map[string][]int{
	"Identity": {0}, "Reshape": {0}, "Flatten": {0}, "Squeeze": {0}, "Unsqueeze": {0}, "Transpose": {0}, "Expand": {0},
	"Slice": {0}, "Split": {0}, "Gather": {0}, "GatherElements": {0}, "GatherND": {0}, "Tile": {0}, "Pad": {0, 2},
	"Where": {1, 2}, "ScatterElements": {0, 2}, "ScatterND": {0, 2}, "Trilu": {0}, "DepthToSpace": {0}, "SpaceToDepth": {0},
	"CenterCropPad": {0}, "Compress": {0}, "ReverseSequence": {0}, "Concat": {}, "OneHot": {2},
}

// exactly evaluates an operator on integers that float64 may not hold. Elements that are only moved go as two halves.
func exactly(op operator, n *model.Node, in []*Array) ([]*Array, error) {
	which, moves := moved[n.Type]
	if n.Type == "Concat" {
		for k := range in {
			which = append(which, k)
		}
	}
	wide := false
	for k, a := range in {
		if a == nil || a.wide == nil {
			continue
		}
		switch {
		case slices.Contains(which, k):
			wide = true
		case integerOperators[n.Type] != nil || n.Type == "Cast" || n.Type == "CastLike" || n.Type == "Shape" || n.Type == "Size":
		case k == 0: // further inputs are positions, where large ones say "to the end"
			return nil, fmt.Errorf("integers beyond 2^53: %w", ErrUnsupported)
		}
	}
	switch {
	case wide && n.Str("reduction", "none") != "none":
		return nil, fmt.Errorf("integers beyond 2^53: %w", ErrUnsupported)
	case !wide || !moves:
		return op(n, in)
	}
	low, high := slices.Clone(in), slices.Clone(in)
	for _, k := range which {
		if a := input(in, k); a != nil {
			low[k], high[k] = a.halves()
		}
	}
	out, err := op(n, low)
	if err != nil {
		return nil, err
	}
	more, err := op(n, high)
	if err != nil {
		return nil, err
	}
	for k, a := range out {
		list := make([]int64, len(a.Data))
		for e := range list {
			list[e] = int64(more[k].Data[e])<<32 | int64(a.Data[e])
		}
		out[k] = ofInts(typeOf(n, in, k), a.Shape, list)
	}
	return out, nil
}

// halves are the lower and the upper 32 bits of each element.
func (a *Array) halves() (low, high *Array) {
	low, high = &Array{Shape: a.Shape, Data: make([]float64, len(a.Data))}, &Array{Shape: a.Shape, Data: make([]float64, len(a.Data))}
	for k := range a.Data {
		x := a.Int(k)
		low.Data[k], high.Data[k] = float64(uint32(x)), float64(x>>32)
	}
	return low, high
}

// typeOf is the type that ONNX gives output k of a node.
func typeOf(n *model.Node, in []*Array, k int) tensor.DType {
	of := func(k int) tensor.DType {
		if a := input(in, k); a != nil {
			return a.DType
		}
		return tensor.Undefined
	}
	switch n.Type {
	case "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf":
		return tensor.Bool
	case "Shape", "Size", "ArgMax", "ArgMin", "NonZero":
		return tensor.Int64
	case "Cast":
		return tensor.DType(n.Int("to", 0))
	case "DequantizeLinear":
		if d := tensor.DType(n.Int("output_dtype", 0)); d != tensor.Undefined {
			return d
		}
		return of(1)
	case "CastLike", "Where":
		return of(1)
	case "OneHot":
		return of(2)
	case "Dropout":
		if k == 1 {
			return tensor.Bool
		}
	case "MaxPool", "TopK":
		if k == 1 {
			return tensor.Int64
		}
	case "MatMulInteger", "ConvInteger":
		return tensor.Int32
	case "QuantizeLinear":
		if d := tensor.DType(n.Int("output_dtype", 0)); d != tensor.Undefined {
			return d
		}
		if d := of(2); d != tensor.Undefined {
			return d
		}
		return tensor.Uint8
	case "DynamicQuantizeLinear":
		if k == 1 {
			return tensor.Float32
		}
		return tensor.Uint8
	case "EyeLike":
		if d := tensor.DType(n.Int("dtype", 0)); d != tensor.Undefined {
			return d
		}
	case "LayerNormalization":
		if k > 0 {
			return tensor.Float32
		}
	}
	return of(0)
}

// settle gives a node's outputs their types, and integers the range of theirs.
func settle(n *model.Node, in, out []*Array) error {
	for k, a := range out {
		if a == nil {
			continue
		}
		d := a.DType
		if d == tensor.Undefined {
			d = typeOf(n, in, k)
		}
		if d != a.DType {
			out[k] = &Array{DType: d, Shape: a.Shape, Data: a.Data, wide: a.wide}
		}
		if integer(d) && a.wide == nil {
			if err := out[k].settle(); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle wraps integers that were computed in float64 to the width of their type. What is no integer came of operands of
// several types, which ONNX does not have.
func (a *Array) settle() error {
	for k, x := range a.Data {
		if !(math.Abs(x) < exact) || x != math.Trunc(x) || a.DType == tensor.Uint64 && x < 0 {
			return fmt.Errorf("%g as %v: %w", x, a.DType, ErrUnsupported)
		}
		a.Data[k] = number(wrapped(int64(x), a.DType), a.DType)
	}
	return nil
}

// integers are what operators of one or two operands compute on integers. Those of uint64 come as their bits.
type integers func(a, b int64, d tensor.DType) (int64, error)

// plain is an operator that is the same for signed and unsigned integers, which wrap around.
func plain(f func(a, b int64) int64) integers {
	return func(a, b int64, _ tensor.DType) (int64, error) { return f(a, b), nil }
}

// ordered is a comparison: less, equal or greater.
func ordered(f func(order int) bool) integers {
	return func(a, b int64, d tensor.DType) (int64, error) { return int64(truth(f(order(a, b, d)))), nil }
}

func order(a, b int64, d tensor.DType) int {
	if d == tensor.Uint64 {
		a, b = a^math.MinInt64, b^math.MinInt64
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

var integerOperators = map[string]integers{
	"Add": plain(func(a, b int64) int64 { return a + b }), "Sum": plain(func(a, b int64) int64 { return a + b }),
	"Sub": plain(func(a, b int64) int64 { return a - b }), "Mul": plain(func(a, b int64) int64 { return a * b }),
	"Div": quotient, "Mod": remainder, "Pow": power,
	"Max": func(a, b int64, d tensor.DType) (int64, error) {
		if order(a, b, d) < 0 {
			a = b
		}
		return a, nil
	},
	"Min": func(a, b int64, d tensor.DType) (int64, error) {
		if order(a, b, d) > 0 {
			a = b
		}
		return a, nil
	},
	"Equal": ordered(func(o int) bool { return o == 0 }),
	"Less":  ordered(func(o int) bool { return o < 0 }), "LessOrEqual": ordered(func(o int) bool { return o <= 0 }),
	"Greater": ordered(func(o int) bool { return o > 0 }), "GreaterOrEqual": ordered(func(o int) bool { return o >= 0 }),
	"BitwiseAnd": plain(func(a, b int64) int64 { return a & b }), "BitwiseOr": plain(func(a, b int64) int64 { return a | b }),
	"BitwiseXor": plain(func(a, b int64) int64 { return a ^ b }), "BitwiseNot": plain(func(a, _ int64) int64 { return ^a }),
	"BitShift": shift(true), // see integerOf
	"Neg":      plain(func(a, _ int64) int64 { return -a }),
	"Abs": func(a, _ int64, d tensor.DType) (int64, error) {
		if a < 0 && d != tensor.Uint64 {
			a = -a
		}
		return a, nil
	},
	"Sign": func(a, _ int64, d tensor.DType) (int64, error) { return int64(order(a, 0, d)), nil },
}

// quotient is rounded towards 0: ONNX's Div on integers.
func quotient(a, b int64, d tensor.DType) (int64, error) {
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

// remainder has the sign of the divisor: ONNX's Mod without fmod. With fmod it has that of the dividend: see mod.
func remainder(a, b int64, d tensor.DType) (int64, error) {
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
	if r != 0 && (r < 0) != (b < 0) {
		r += b
	}
	return r, nil
}

// power of an integer is exact, modulo its width; of a negative exponent it is no integer, rounded towards 0.
func power(a, b int64, _ tensor.DType) (int64, error) {
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

// integerOf is what an operator computes of integers; false where the operands are no integers, or the operator has no
// arithmetic of its own for them.
func integerOf(n *model.Node, in ...*Array) (integers, bool) {
	for _, a := range in {
		if !integer(a.DType) {
			return nil, false
		}
	}
	f, ok := integerOperators[n.Type]
	switch {
	case n.Type == "BitShift":
		return shift(n.Str("direction", "LEFT") == "LEFT"), true
	case n.Type == "Mod" && n.Int("fmod", 0) != 0:
		return func(a, b int64, d tensor.DType) (int64, error) {
			r, err := remainder(a, b, d)
			if r != 0 && d != tensor.Uint64 && (r < 0) != (a < 0) {
				r -= b
			}
			return r, err
		}, true
	}
	return f, ok
}

// shift is by as many bits as the second operand says, read without its sign; to the right it keeps the first one's sign.
func shift(left bool) integers {
	return func(a, b int64, d tensor.DType) (int64, error) {
		switch {
		case left:
			return a << uint64(b), nil
		case d == tensor.Uint64:
			return int64(uint64(a) >> uint64(b)), nil
		}
		return a >> uint64(b), nil
	}
}

// combineInts works element by element on integers, broadcasting.
func combineInts(f integers, a, b *Array) (*Array, error) {
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
		x, failed := f(a.Int(int(i)), b.Int(int(j)), a.DType)
		if list[e] = x; failed != nil {
			err = failed
		}
		e++
	})
	return ofInts(a.DType, shape, list), err
}

// stepsTo is how far a's elements lie apart along the axes of a shape that it is broadcast to.
func (a *Array) stepsTo(shape []int64) []int64 {
	out, own := make([]int64, len(shape)), strides(a.Shape)
	for k, d := range a.Shape {
		if d != 1 {
			out[len(shape)-len(a.Shape)+k] = own[k]
		}
	}
	return out
}
