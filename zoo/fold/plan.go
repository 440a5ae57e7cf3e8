package fold

import (
	"fmt"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Plan is what folding does to one model, as data: what becomes of every per-channel node, which nodes and constants
// change, and where the result can be checked. Names are the original model's, but for nodes and constants that are new.
//
// A per-channel node is one that Count counts. A node of a function counts once for each call that folding inlines, as if
// the file had been written without the function. The numbers add up:
//
//	len(Maps) == Before     each per-channel node of the original has one entry
//	len(Remaining) == After each per-channel node of the folded model has one entry
//
// and each entry of Remaining is either a node of the original whose Map is Left, or what Maps that are Merged have become.
type Plan struct {
	Maps      []Map          // the per-channel nodes of the original model, in the order of its nodes
	Remaining []Remaining    // the per-channel nodes of the folded model, in the order of its nodes
	Nodes     []NodeEdit     // nodes dropped, changed or added
	Consts    []ConstEdit    // constants dropped, rescaled or added
	Regions   []Region       // parts that compute the same before and after; disjoint
	Before    int            // per-channel nodes of the original
	After     int            // per-channel nodes of the folded model
	Folds     []outcome.Fold // the most frequent kinds of change, with an example each
	Unit      float64        // the largest unit roundoff among the types of constants and attributes that change

	whole map[signature]bool // functions that stay functions
}

// Map is one per-channel node of the original and what became of it.
type Map struct {
	Graph   string // model.Graph.Path of the graph it stands in
	Node    string // model.Node.String of the node
	Verdict Verdict
	Into    []string // for Folded and Merged: the nodes that took it; none: it was an identity, or unused
	Reason  *Reason  // for Left: why; for Merged: why it went no further
}

// Remaining is one per-channel node of the folded model and why it is there.
type Remaining struct {
	Graph  string
	Node   string
	Maps   []int // the Maps that it accounts for, by index into Plan.Maps: one that is Left, or several that are Merged
	Reason *Reason
}

// Tally is the sum of a plan: Before = Folded + Merged + Left, and After = Left + Into.
type Tally struct {
	Folded, Merged, Left int
	Into                 int // how many nodes the merged ones have become
}

// Tally counts what became of the per-channel nodes.
func (p *Plan) Tally() (t Tally) {
	for _, m := range p.Maps {
		switch m.Verdict {
		case Folded:
			t.Folded++
		case Merged:
			t.Merged++
		default:
			t.Left++
		}
	}
	t.Into = len(p.Remaining) - t.Left
	return t
}

// Verdict is what became of a per-channel node.
type Verdict string

// The verdicts.
const (
	Folded Verdict = "folded" // the node is gone: linear operators took it, or it was an identity
	Merged Verdict = "merged" // into another per-channel node, or partly folded: what is left is fewer nodes, a cheaper node or (Options.Neutralize) one that only adds
	Left   Verdict = "left"   // as it was
)

// Code is the machine-readable part of a Reason; docs and reports count by it.
type Code string

// The reason codes.
const (
	NotConstant   Code = "not-constant"
	SharedOutput  Code = "shared-output"
	Nonlinear     Code = "nonlinear"
	Border        Code = "border"
	Sign          Code = "sign"
	Statistics    Code = "statistics"
	Overflow      Code = "overflow"  // a constant would leave the range of its type
	Underflow     Code = "underflow" // too much of a constant would become subnormal in its type
	Quantized     Code = "quantized"
	Subgraph      Code = "subgraph"
	Training      Code = "training"
	Unsupported   Code = "unsupported"
	Keep          Code = "keep"            // the manifest wants it: keep names it, fold switches its family off, or norms: neutralize
	Duplicate     Code = "duplicate"       // a shared weight over max_duplicate_bytes
	NotPerChannel Code = "not-per-channel" // the constant varies along other axes, or the rank is not known
	NoLinear      Code = "no-linear"       // there is no linear operator: the way ends at an input, an output or an unread value
	NoGain        Code = "no-gain"         // it could be moved, but the work would not get less
	Integer       Code = "integer"         // it computes shapes or indices
	InIdiom       Code = "idiom"           // it is part of what runtimes run as one operator
)

// Reason says why a per-channel node is still there: a code and one sentence that names the operator in the way.
type Reason struct {
	Code Code
	Text string
}

func (r *Reason) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Text) }

// NodeEdit is one node that was dropped, changed or added.
type NodeEdit struct {
	Graph string
	Node  string
	Edit  string // "drop", "change", "add"
}

// ConstEdit is one constant that was dropped, rescaled, changed or added.
type ConstEdit struct {
	Graph string
	Name  string
	Edit  string // "drop", "rescale", "change", "add"
	Bytes int64
}

// Region is a part of the graph that computes the same values before and after folding: from the values Inputs and
// constants to the values Outputs. All these exist in both models with the same meaning.
type Region struct {
	Graph   string
	Inputs  []string
	Outputs []string
	Renamed map[string]string `json:",omitempty"` // inputs and outputs that the folded model knows by other names
	Maps    []int             // the per-channel nodes that this part holds, by index into Plan.Maps
}

// Folded is the name in the folded model of an input or output.
func (r *Region) Folded(name string) string {
	if other, ok := r.Renamed[name]; ok {
		return other
	}
	return name
}
