// Package eval evaluates ONNX operators in float64: expressions of constants while a model is planned, and parts of a
// graph when a fold is verified.
package eval

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// ErrUnsupported says that an operator, or a form of it, is not known here.
var ErrUnsupported = errors.New("operator not supported by the evaluator")

// Array is a tensor of numbers in row-major order. Integers and truth values are numbers too.
type Array struct {
	Shape []int64
	Data  []float64
}

// maxElements bounds every array.
const maxElements = 1 << 26

// New is an array of zeros. It fails if the shape makes no sense or has more elements than memory is granted for.
func New(shape []int64) (*Array, error) {
	n, ok := tensor.Elements(shape)
	if !ok || n > maxElements {
		return nil, fmt.Errorf("an array of shape %v is too large", shape)
	}
	return &Array{slices.Clone(shape), make([]float64, n)}, nil
}

// Scalar is an array of one number and no axes.
func Scalar(x float64) *Array { return &Array{[]int64{}, []float64{x}} }

// Ints are the elements as integers. Those that are used to say "to the end" stay large: Huge or -Huge.
func (a *Array) Ints() []int64 {
	out := make([]int64, len(a.Data))
	for k, x := range a.Data {
		out[k] = int64(max(min(x, Huge), -Huge))
	}
	return out
}

// Huge is larger than any extent, and may be added to one.
const Huge = 1 << 61

// FromConstant reads a constant, its factors applied but not rounded.
func FromConstant(c *model.Constant, limit int64) (*Array, error) {
	n, ok := c.Elements()
	if !ok || n > limit {
		return nil, fmt.Errorf("a constant of shape %v is too large", c.Shape)
	}
	data, err := c.Float64s(limit)
	if err != nil {
		return nil, err
	}
	return &Array{append([]int64{}, c.Shape...), data}, nil
}

// operator computes a node's outputs; in[k] is nil where input k is omitted.
type operator func(n *model.Node, in []*Array) ([]*Array, error)

var operators = map[string]operator{}

// Node evaluates one node. Errors name it.
func Node(n *model.Node, in []*Array) (out []*Array, err error) {
	op := operators[n.Type]
	if op == nil || n.Domain != "" && n.Domain != "ai.onnx" {
		return nil, fmt.Errorf("%v: %w", n, ErrUnsupported)
	}
	if out, err = op(n, in); err != nil {
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
