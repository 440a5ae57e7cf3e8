// Package op holds what is known of ONNX's operators: what a node computes, floats in float64 and integers exactly; the
// shapes and types of its outputs; how rounding errors grow; and which elements of its inputs an output depends on. Folding
// has a table of its own, of how maps pass an operator (operator in zoo/fold), which the proof of a fold does not use.
//
// What an operator computes and the shapes of its outputs are those of its page in https://onnx.ai/onnx/operators/, in all
// versions; the functions say the formula, and where ONNX leaves something open, the comment says what is done.
//
// An operator is one value, an Operator, in the file of its family. To add one:
//
//  1. Put its value into the family's register call. A function of one number is a line in a table of activation.go, or a
//     call of function; what combines operands element by element one of elementwise; what takes axes together one of
//     overAxes; what works line by line one of alongAxis. They fill in what all such operators have in common.
//  2. Eval and Shape are what most need. A nil Shape says that nothing is known of the outputs, and leaves what the file
//     declares. Where Magnitude is nil it is measured; where Needs is nil every output needs all of the inputs. additive and
//     gentle are Magnitudes of many, sameNeeds and its like Needs. Parts or Lines say that a part of an output takes no more
//     room than what it needs.
//  3. ONNX's own node tests find the operator by its name (nodes_test.go): values, types and shapes are compared, Needs is
//     tried with everything else overwritten, and damaged nodes are evaluated. Add a line to the table of needs_test.go, so
//     that Needs is no larger than it has to be, and to limits_test.go if attributes or inputs decide how large the output is.
package op

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// ErrUnsupported says that an operator, or this use of it, cannot be evaluated.
var ErrUnsupported = errors.New("operator not supported by the evaluator")

// Operator describes one operator type of ONNX's own domain, in all its versions. A field that is left out means that
// nothing is known.
type Operator struct {
	Type     string
	Inputs   []string // what each input holds, in words, in ONNX's order; nil if all are operands of equal rank
	Required int      // how many of the first inputs may not be omitted; 0 stands for 1

	// Eval computes a node's outputs. in[k] is nil for an omitted input. Outputs without a DType get it afterwards, and
	// integers are wrapped to its width.
	Eval evaluator

	// DType is the type of output k, given the inputs' types; nil: that of the first input.
	DType func(n *model.Node, inputs Types, k int) tensor.DType

	// Integers computes an element from one or two integers, for operators that work element by element.
	Integers integers

	// Moves are the inputs whose elements the operator moves to its outputs without computing with them: so integers that
	// float64 does not hold keep their bits. Wide says that Eval handles such integers itself. All inputs of a Variadic
	// operator are like the first.
	Moves    []int
	Wide     bool
	Variadic bool

	// Shape gives the outputs' shapes, as far as they follow from what is known of the inputs; nil where the rank is not
	// known.
	Shape func(in *Inference, n *model.Node) [][]int64

	// Vector gives the outputs' elements where they are short vectors of integers that follow from shapes: see Inference.
	Vector func(in *Inference, n *model.Node) [][]int64

	// Magnitude bounds the sums behind the outputs: see Magnitude. nil: it is measured.
	Magnitude func(n *model.Node, in, m, out []*Array) ([]*Array, error)

	// Terms is how many terms are added up for one element of the outputs; nil: 4.
	Terms func(n *model.Node, in []*Array) int64

	// Needs are the elements of each input that a part of an output is computed of; nil for all of an input: see Needs.
	Needs func(n *model.Node, in []*Array, out Part) []Box

	// Which positions of its inputs an output element depends on. Elementwise: the same position of each operand, broadcast
	// to the output's shape. PerChannel: the same position of the first input, and parameters of its channel, on axis 1.
	// Window: a window of the first input around the position. All these operators treat positions alike.
	Elementwise, PerChannel bool
	Window                  func(n *model.Node) Window

	// Parts says that Eval, given arrays of just the elements that a part of the output needs, computes that part.
	// Elementwise and PerChannel imply it.
	Parts bool

	// Lines says the same as Parts, for parts that have the extents of the first input's part and need nothing else of it.
	Lines bool

	// Rearranges says that the output has the first input's elements in another shape, order or type.
	Rearranges bool

	// Saturates says that large inputs give nearly equal outputs, and that folding does not change where that begins.
	// HardSigmoid and Clip do not count, since folding changes their parameters.
	Saturates bool

	// Wants is the shape that the node's parameters ask of its first input; extents below 0 are free.
	Wants func(n *model.Node) []int64

	// Positions is the extent of the axis into which the indices in input k point; 0: input k holds no indices, or the
	// extent is not known.
	Positions func(n *model.Node, k int) int64
}

// evaluator computes a node's outputs.
type evaluator func(n *model.Node, in []*Array) ([]*Array, error)

// Window holds the kernel, strides and dilations of an operator, one number for each spatial axis; nil: all are 1.
type Window struct{ Kernel, Strides, Dilations []int64 }

var operators = map[string]*Operator{}

func register(list ...*Operator) {
	for _, o := range list {
		if operators[o.Type] != nil {
			panic("op: two operators " + o.Type)
		}
		operators[o.Type] = o
	}
}

// Of is the Operator of a node; never nil: one without any fields if the type is not known.
func Of(n *model.Node) *Operator {
	if o := operators[n.Type]; o != nil && (n.Domain == "" || n.Domain == "ai.onnx") {
		return o
	}
	return &nothingKnown
}

var nothingKnown Operator

// Input names what input k holds, for messages: "weight", or "input 1".
func (o *Operator) Input(k int) string {
	if k < len(o.Inputs) {
		return o.Inputs[k]
	}
	return fmt.Sprintf("input %d", k)
}

// moves says whether the outputs consist of elements of input k.
func (o *Operator) moves(k int) bool {
	if o.Variadic {
		k = 0
	}
	return slices.Contains(o.Moves, k)
}

// Eval evaluates one node. Errors name it. The outputs have the types that ONNX gives them.
func Eval(n *model.Node, in []*Array) (out []*Array, err error) {
	o := Of(n)
	if o.Eval == nil {
		return nil, fmt.Errorf("%v: %w", n, ErrUnsupported)
	}
	if err = need(in, max(o.Required, 1)); err == nil {
		out, err = o.exactly(n, in)
	}
	if err == nil {
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

// need fails unless the first count inputs are there.
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
