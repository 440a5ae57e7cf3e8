package fold

import (
	"fmt"
	"maps"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// operator holds all that folding knows of some operator types. Nil functions mean that no map passes, or that the node is
// none.
type operator struct {
	Family string   // the name under which a manifest switches it off
	Types  []string // ONNX operator types, of ONNX's own domain

	// Map says that the node is itself an affine map of its input k. A nil Map, or a Reason with empty Text, means that the
	// node is not an affine map. A Reason with Text means a near miss, which is reported.
	Map func(*planner, *model.Node) (k int, a affine, why *Reason)

	// Cost is the work of a node that is a map; the zero value stands for that of a Mul or an Add.
	Cost cost

	// Counts says whether Count counts a node as a per-channel node, given which values are constant; nil: no node counts.
	Counts func(n *model.Node, constant constantValues) bool

	// Tail is the affine map in which a node ends that is no affine map itself: γ and β of a LayerNormalization. sendTail
	// moves it into the readers.
	Tail func(*planner, *model.Node) (affine, *Reason)

	// Sees gives the channels of input k along an axis that the node's output depends on: a Slice reads some only.
	Sees func(m *move, n *model.Node, k, axis int) ([]int64, *Reason)

	// Again says that a move may reach the node more than once, each time for other channels.
	Again bool

	// Back makes the node's output k become a(output): by editing the node's constants, or by asking its inputs.
	Back func(m *move, n *model.Node, k int, a affine) *Reason

	// Forward makes the node do with input k as it did when that input came as a(input): by editing its constants, or by
	// asking the readers of its outputs.
	Forward func(m *move, n *model.Node, k int, a affine) *Reason
}

var operators = map[string]*operator{}

// Families are the names that Options.Off and a manifest's fold: know, sorted: those of the operators' families, and
// "branches", the merging of parallel convolutions.
func Families() []string {
	names := map[string]bool{"branches": true}
	for _, o := range operators {
		names[o.Family] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func register(ops ...*operator) {
	for _, o := range ops {
		for _, t := range o.Types {
			if operators[t] != nil {
				panic("fold: two operators for " + t)
			}
			operators[t] = o
		}
	}
}

// operator is the entry of a node's type in the table; never nil: an empty one for unknown types and for nodes without a
// first input or output.
func (p *planner) operator(n *model.Node) *operator {
	if n.Domain != "" && n.Domain != "ai.onnx" || n.In(0) == nil || len(n.Outputs) == 0 || n.Outputs[0] == nil {
		return nothingKnown
	}
	o := operators[n.Type]
	if o == nil || p.opt.Off[o.Family] {
		return nothingKnown
	}
	return o
}

var nothingKnown = &operator{}

// because is a reason, written as by fmt.Sprintf; nodes print as type and name.
func because(code Code, format string, args ...any) *Reason {
	return &Reason{code, fmt.Sprintf(format, args...)}
}
