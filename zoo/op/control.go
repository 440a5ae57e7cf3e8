package op

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators with graphs as attributes: If, Loop and Scan.

func init() {
	register(
		&Operator{Type: "If", Inputs: []string{"condition"}, DType: always(tensor.Undefined), Shape: branchShape, Vector: branchVector},
		&Operator{Type: "Loop", DType: always(tensor.Undefined), Shape: loopShape},
		&Operator{Type: "Scan", DType: always(tensor.Undefined), Shape: scanShape},
	)
}

// branchVector are the vectors of the branch that is taken.
func branchVector(in *Inference, n *model.Node) (out [][]int64) {
	if b := in.consts.branch(n); b != nil {
		for _, v := range b.Outputs {
			out = append(out, in.vectors[v])
		}
	}
	return out
}

// branchShape gives the outputs of an If the shapes that both branches agree on or, where the condition is constant, those
// of the branch that runs.
func branchShape(in *Inference, n *model.Node) [][]int64 {
	bodies := n.Bodies
	if b := in.consts.branch(n); b != nil {
		bodies = []*model.Graph{b}
	}
	list := make([][]int64, len(n.Outputs))
	for k, y := range n.Outputs {
		var d tensor.DType
		var out []int64
		for j, b := range bodies {
			if k >= len(b.Outputs) {
				return list
			}
			v := b.Outputs[k]
			s := in.of(v)
			if j == 0 {
				d, out = valueType(v), slices.Clone(s)
				continue
			}
			if valueType(v) != d || len(s) != len(out) {
				d, out = tensor.Undefined, nil
				break
			}
			for i := range out {
				if out[i] != s[i] {
					out[i] = Unknown
				}
			}
		}
		if list[k] = out; y != nil && y.DType == tensor.Undefined {
			y.DType = d
		}
	}
	return list
}

// loopShape: a value that a Loop carries from iteration to iteration has the shape that its initial value and the body's
// output agree on; a scan output stacks the body's outputs on a new first axis.
func loopShape(in *Inference, n *model.Node) [][]int64 {
	carried := len(n.Inputs) - 2
	if len(n.Bodies) != 1 || carried < 0 || len(n.Bodies[0].Outputs) != 1+len(n.Outputs) {
		return nil
	}
	list := make([][]int64, len(n.Outputs))
	for k := range list {
		v := n.Bodies[0].Outputs[1+k]
		typed(n.Outputs[k], v)
		if k >= carried {
			list[k] = collected(in.of(v), 0, Unknown)
			continue
		}
		before, after := in.of(n.In(2+k)), in.of(v)
		if len(before) != len(after) || before == nil {
			continue
		}
		list[k] = slices.Clone(before)
		for j, d := range after {
			if d != before[j] {
				list[k][j] = Unknown
			}
		}
	}
	return list
}

// scanShape: a state of a Scan has the shape of the body's output, its free extents Unknown; a scan output stacks the
// body's outputs, one for each element of the axis that is scanned.
func scanShape(in *Inference, n *model.Node) [][]int64 {
	states := len(n.Inputs) - int(n.Int("num_scan_inputs", -1))
	if in.opset < 9 || len(n.Bodies) != 1 || states < 0 || states >= len(n.Inputs) || len(n.Bodies[0].Outputs) != len(n.Outputs) {
		return nil
	}
	over, length := in.of(n.In(states)), int64(Unknown)
	if axis, err := axisOf(elementAt(n.Ints("scan_input_axes"), 0, 0), len(over)); err == nil {
		length = over[axis]
	}
	list := make([][]int64, len(n.Outputs))
	for k := range list {
		v := n.Bodies[0].Outputs[k]
		typed(n.Outputs[k], v)
		if k < states {
			list[k] = known(in.of(v))
		} else {
			list[k] = collected(in.of(v), elementAt(n.Ints("scan_output_axes"), k-states, 0), length)
		}
	}
	return list
}

// typed gives a value the element type of a body's output.
func typed(v, of *model.Value) {
	if v != nil && v.DType == tensor.Undefined {
		v.DType = valueType(of)
	}
}

// known is a shape of a body as the node's output has it: free extents become Unknown, since they may differ from one
// iteration to the next.
func known(shape []int64) []int64 {
	shape = slices.Clone(shape)
	for k, d := range shape {
		shape[k] = max(d, Unknown)
	}
	return shape
}

// collected is the shape of values stacked on a new axis of that extent.
func collected(shape []int64, axis, extent int64) []int64 {
	at, err := axisOf(axis, len(shape)+1)
	if shape == nil || err != nil {
		return nil
	}
	return slices.Insert(known(shape), at, extent)
}
