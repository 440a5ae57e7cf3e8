package op

import (
	endian "encoding/binary"
	"fmt"
	"io"
	"math"
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

// Int is element k as an integer, rounded towards 0 and clipped to int64; an element of uint64 is returned as its bits.
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

// ofInts is an array of integers, wrapped to the type's width.
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

// vector is an array of int64 with one axis.
func vector(list ...int64) *Array {
	return ofInts(tensor.Int64, []int64{int64(len(list))}, slices.Clone(list))
}

// widen reads the elements of a stored constant again as exact integers.
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

// exactly evaluates an operator on integers that float64 may not hold. An operator that only moves elements is evaluated
// twice, on the upper and the lower 32 bits.
func (o *Operator) exactly(n *model.Node, in []*Array) ([]*Array, error) {
	wide := false
	for k, a := range in {
		if a == nil || a.wide == nil {
			continue
		}
		switch {
		case o.moves(k):
			wide = true
		case o.Integers != nil || o.Wide:
		case k == 0: // further inputs are positions, which Ints clips
			return nil, fmt.Errorf("integers beyond 2^53: %w", ErrUnsupported)
		}
	}
	switch {
	case wide && n.Str("reduction", "none") != "none":
		return nil, fmt.Errorf("integers beyond 2^53: %w", ErrUnsupported)
	case !wide:
		return o.Eval(n, in)
	}
	low, high := slices.Clone(in), slices.Clone(in)
	for k, a := range in {
		if a != nil && o.moves(k) {
			low[k], high[k] = a.halves()
		}
	}
	out, err := o.Eval(n, low)
	if err != nil {
		return nil, err
	}
	more, err := o.Eval(n, high)
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

// Types are the element types of a node's inputs; Undefined where an input is omitted or its type not known.
type Types []tensor.DType

// At is the type of input k.
func (t Types) At(k int) tensor.DType {
	if k < len(t) {
		return t[k]
	}
	return tensor.Undefined
}

// dtype is the type that ONNX gives output k of a node.
func (o *Operator) dtype(n *model.Node, inputs Types, k int) tensor.DType {
	if o.DType == nil {
		return inputs.At(0)
	}
	return o.DType(n, inputs, k)
}

// always is the rule of outputs that have one fixed type.
func always(d tensor.DType) func(*model.Node, Types, int) tensor.DType {
	return func(*model.Node, Types, int) tensor.DType { return d }
}

// like is the rule of outputs that have the type of an input.
func like(input int) func(*model.Node, Types, int) tensor.DType {
	return func(_ *model.Node, inputs Types, _ int) tensor.DType { return inputs.At(input) }
}

// common is the type of an output whose operands have one type: the first that is known.
func common(_ *model.Node, inputs Types, _ int) tensor.DType {
	for _, d := range inputs {
		if d != tensor.Undefined {
			return d
		}
	}
	return tensor.Undefined
}

// withPlaces is the first input's type for output 0, and int64 for output 1, which holds positions.
func withPlaces(_ *model.Node, inputs Types, k int) tensor.DType {
	if k == 1 {
		return tensor.Int64
	}
	return inputs.At(0)
}

// attribute is the rule of outputs whose type an attribute names; without it, or applies.
func attribute(name string, or func(*model.Node, Types, int) tensor.DType) func(*model.Node, Types, int) tensor.DType {
	return func(n *model.Node, inputs Types, k int) tensor.DType {
		if d := tensor.DType(n.Int(name, 0)); d != tensor.Undefined {
			return d
		}
		return or(n, inputs, k)
	}
}

// typeOf is the type that ONNX gives output k of a node.
func typeOf(n *model.Node, in []*Array, k int) tensor.DType {
	inputs := make(Types, len(in))
	for j, a := range in {
		if a != nil {
			inputs[j] = a.DType
		}
	}
	return Of(n).dtype(n, inputs, k)
}

// settle gives a node's outputs their types, and wraps integers to the width of theirs.
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

// settle wraps integers that were computed in float64 to the width of their type. A fraction is an error: it comes from
// operands of several types, which ONNX does not allow.
func (a *Array) settle() error {
	for k, x := range a.Data {
		if !(math.Abs(x) < exact) || x != math.Trunc(x) || a.DType == tensor.Uint64 && x < 0 {
			return fmt.Errorf("%g as %v: %w", x, a.DType, ErrUnsupported)
		}
		a.Data[k] = number(wrapped(int64(x), a.DType), a.DType)
	}
	return nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
