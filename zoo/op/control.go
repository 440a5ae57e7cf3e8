package op

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that run graphs.

func init() {
	register(&Operator{Type: "If", Inputs: []string{"condition"}, DType: always(tensor.Undefined), Shape: branchShape, Vector: branchVector})
}

// branchVector are the vectors of the branch that is taken.
func branchVector(in *Inference, n *model.Node) (out [][]int64) {
	if b := in.consts.Branch(n); b != nil {
		for _, v := range b.Outputs {
			out = append(out, in.vectors[v])
		}
	}
	return out
}

// branchShape gives the outputs of an If the types that its bodies agree on, or those of the one that is taken.
func branchShape(in *Inference, n *model.Node) [][]int64 {
	bodies := n.Bodies
	if b := in.consts.Branch(n); b != nil {
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
