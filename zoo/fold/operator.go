// Package fold plans and makes the edits that remove per-channel affine maps from a network.
//
// Every foldable thing is an affine map z_c = s_c·x_c + t_c on one channel axis: a batch normalisation at inference, a
// multiplication by a constant of shape [C,1,1], an input normalisation. A map travels: backward, so that the operator
// before it computes z instead of x, or forward, so that the operators after it read x instead of z. Linear operators
// absorb it into their weights; others let it pass, or do not.
//
// What folding knows of one operator is one Operator, declared beside its siblings, one file a family. Operators know
// their neighbours only through the Move, the transaction that carries a map: it collects edits from everyone on the way,
// and they are made only if everyone could take its part. The planner (planner.go) knows no operator by name.
package fold

import (
	"fmt"
	"maps"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Operator is all that folding knows of some operator types.
type Operator struct {
	Family string   // the name under which a manifest switches it off
	Types  []string // ONNX operator types, of ONNX's own domain

	// Map says that the node is itself an affine map of its input k. A nil Map, or a reason without text, means that it
	// is none by nature; a reason with text, that it might have been.
	Map func(*Planner, *model.Node) (k int, a Affine, why *Reason)

	// Cost is what a node that is a map takes; none stands for that of a Mul or an Add.
	Cost cost

	// Counts says whether a node is one of the per-channel nodes that Count counts, of the values that are constant; nil: none
	// is.
	Counts func(n *model.Node, constant map[*model.Value]bool) bool

	// Tail is the affine map in which a node ends that is none itself; sendTail takes it away.
	Tail func(*Planner, *model.Node) (Affine, *Reason)

	// Sees are the channels of input k, along an axis, that a node takes notice of: what happens to others is nothing to it.
	Sees func(m *Move, n *model.Node, k, axis int) ([]int64, *Reason)

	// Again says that a move may come to the node more than once, for other channels each time: what it leaves adds up.
	Again bool

	// Back makes the node's output k become a(output): by editing the node's constants, or by asking its inputs.
	Back func(m *Move, n *model.Node, k int, a Affine) *Reason

	// Forward makes the node do with input k as it did when that input came as a(input): by editing its constants, or by
	// asking the readers of its outputs.
	Forward func(m *Move, n *model.Node, k int, a Affine) *Reason
}

var operators = map[string]*Operator{}

// Families are the names that Options.Off and a manifest's fold: know, sorted: those of the operators' families, and
// "branches", the merging of parallel convolutions.
func Families() []string {
	names := map[string]bool{"branches": true}
	for _, o := range operators {
		names[o.Family] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func register(ops ...*Operator) {
	for _, o := range ops {
		for _, t := range o.Types {
			if operators[t] != nil {
				panic("fold: two operators for " + t)
			}
			operators[t] = o
		}
	}
}

// operator is what folding knows of a node: never nil. It knows nothing of a node that lacks its first input or output.
func (p *Planner) operator(n *model.Node) *Operator {
	if n.Domain != "" && n.Domain != "ai.onnx" || n.In(0) == nil || len(n.Outputs) == 0 || n.Outputs[0] == nil {
		return &Operator{}
	}
	o := operators[n.Type]
	if o == nil || p.off[o.Family] {
		return &Operator{}
	}
	return o
}

// because is a reason, written as by fmt.Sprintf; nodes print as type and name.
func because(code Code, format string, args ...any) *Reason {
	return &Reason{code, fmt.Sprintf(format, args...)}
}
