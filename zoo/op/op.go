// Package eval evaluates ONNX operators in float64: expressions of constants while a model is planned, and parts of a
// graph when a fold is verified.
package op

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// ErrUnsupported says that an operator, or a form of it, is not known here.
var ErrUnsupported = errors.New("operator not supported by the evaluator")

// Array is a tensor of numbers in row-major order. Integers and truth values are numbers too.
type Array struct {
	DType tensor.DType // Undefined for numbers of which nothing else is known: they are computed with as floats
	Shape []int64
	Data  []float64
	wide  []int64 // the elements of an integer type, where float64 does not hold some of them: see Int
}

// A file may ask for any extents, of its constants and of what is computed with them. These bounds are for one node.
const (
	maxElements = 1 << 25 // of an array
	maxTaps     = 1 << 25 // of a window: positions times taps of the kernel
	maxWork     = 1 << 34 // multiplications
	maxBlock    = 1 << 12 // of elements that become an axis
)

// ErrTooLarge says that an array, or the work for it, exceeds what is granted.
var ErrTooLarge = errors.New("too large to evaluate")

// elements is the number of elements of a shape. Arrays without elements are not granted larger extents than others, for
// there is work in each.
func elements(shape []int64) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 || max(d, 1) > maxElements/n {
			return 0, fmt.Errorf("an array of shape %v: %w", shape, ErrTooLarge)
		}
		n *= max(d, 1)
	}
	if slices.Contains(shape, 0) {
		return 0, nil
	}
	return n, nil
}

// within says whether a product of counts is within a bound.
func within(bound int64, counts ...int64) error {
	n := int64(1)
	for _, c := range counts {
		if c < 0 || max(c, 1) > bound/n {
			return fmt.Errorf("%v operations: %w", counts, ErrTooLarge)
		}
		n *= max(c, 1)
	}
	return nil
}

// NewArray is an array of zeros. It fails if the shape makes no sense or has more elements than memory is granted for.
func NewArray(shape []int64) (*Array, error) {
	n, err := elements(shape)
	if err != nil {
		return nil, err
	}
	return &Array{Shape: slices.Clone(shape), Data: make([]float64, n)}, nil
}

// Scalar is an array of one number and no axes.
func Scalar(x float64) *Array { return &Array{Shape: []int64{}, Data: []float64{x}} }

// Ints are the elements as integers. Those that are used to say "to the end" stay large: Huge or -Huge.
func (a *Array) Ints() []int64 {
	out := make([]int64, len(a.Data))
	for k := range out {
		out[k] = max(min(a.Int(k), Huge), -Huge)
	}
	return out
}

// Huge is larger than any extent, and may be added to one.
const Huge = 1 << 61

// FromConstant reads a constant, its factors applied but not rounded.
func FromConstant(c *model.Constant, limit int64) (*Array, error) {
	if n, err := elements(c.Shape); err != nil {
		return nil, err
	} else if n > limit {
		return nil, fmt.Errorf("a constant of shape %v: %w", c.Shape, ErrTooLarge)
	}
	data, err := c.Float64s(limit)
	if err != nil {
		return nil, err
	}
	a := &Array{DType: c.DType, Shape: append([]int64{}, c.Shape...), Data: data}
	if c.Data != nil && slices.ContainsFunc(data, func(x float64) bool { return math.Abs(x) >= exact }) {
		return a, a.widen(c)
	}
	return a, nil
}

// operator computes a node's outputs; in[k] is nil where input k is omitted.
type operator func(n *model.Node, in []*Array) ([]*Array, error)

var operators = map[string]operator{}

// Eval evaluates one node. Errors name it. The outputs have the types that ONNX gives them.
func Eval(n *model.Node, in []*Array) (out []*Array, err error) {
	op := operators[n.Type]
	if op == nil || n.Domain != "" && n.Domain != "ai.onnx" {
		return nil, fmt.Errorf("%v: %w", n, ErrUnsupported)
	}
	if out, err = exactly(op, n, in); err == nil {
		err = settle(n, in, out)
	}
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	return out, nil
}

// opset is the version of ONNX's operators that a node follows.
func opset(n *model.Node) int64 {
	if n.Graph == nil || n.Graph.Model == nil {
		return 1 << 30
	}
	return n.Graph.Model.Opset[""]
}

func input(in []*Array, k int) *Array {
	if k < len(in) {
		return in[k]
	}
	return nil
}

// need are the first inputs, none of them omitted.
func need(in []*Array, count int) error {
	for k := range count {
		if input(in, k) == nil {
			return fmt.Errorf("input %d is missing", k)
		}
	}
	return nil
}

// ints are a list of integers that old operator sets give as an attribute and new ones as an input.
func ints(n *model.Node, attr string, in []*Array, k int) []int64 {
	if a := input(in, k); a != nil {
		return a.Ints()
	}
	return n.Ints(attr)
}

func one(a *Array, err error) ([]*Array, error) {
	if err != nil {
		return nil, err
	}
	return []*Array{a}, nil
}

// axisOf counts an axis from 0.
func axisOf(axis int64, rank int) (int, error) {
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		return 0, fmt.Errorf("axis %d of %d", axis, rank)
	}
	return int(axis), nil
}

func product(shape []int64) int64 {
	p := int64(1)
	for _, d := range shape {
		p *= d
	}
	return p
}
