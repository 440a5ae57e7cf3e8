package fold

import "fmt"

// Plan is what folding does to one model, as data: what becomes of every affine map, which nodes and constants change,
// and where the result can be checked. Names are the original model's, but for nodes and constants that are new.
type Plan struct {
	Maps    []Map       // every affine map of the original model, in the order of its nodes
	Nodes   []NodeEdit  // nodes dropped, changed or added
	Consts  []ConstEdit // constants dropped, rescaled or added
	Regions []Region    // parts that compute the same before and after; disjoint
	Before  int         // per-channel nodes in the original
	After   int         // per-channel nodes left
	Unit    float64     // unit roundoff of the narrowest type of a constant or attribute that changes
}

// Map is one affine map and what became of it.
type Map struct {
	Graph   string // model.Graph.Path of the graph it stands in
	Node    string // model.Node.String of the node
	Verdict Verdict
	Into    []string // for Folded and Merged: the nodes that took it
	Reason  *Reason  // for Left: why; for Merged: why it went no further
}

// Verdict is what became of an affine map.
type Verdict string

// The verdicts.
const (
	Folded Verdict = "folded" // into linear operators: the node is gone
	Merged Verdict = "merged" // into another affine map, or in part: the node is gone, cheaper or (Options.Neutralize) only adds
	Left   Verdict = "left"   // as it was
)

// Code is the machine-readable part of a Reason; docs and reports count by it.
type Code string

// The reason codes of FOLDING.md §8.
const (
	NotConstant   Code = "not-constant"
	SharedOutput  Code = "shared-output"
	Nonlinear     Code = "nonlinear"
	Border        Code = "border"
	Sign          Code = "sign"
	Statistics    Code = "statistics"
	Overflow      Code = "overflow"
	Underflow     Code = "underflow"
	Quantized     Code = "quantized"
	Subgraph      Code = "subgraph"
	Training      Code = "training"
	Unsupported   Code = "unsupported"
	Keep          Code = "keep"            // the manifest's keep pattern names it
	Duplicate     Code = "duplicate"       // a shared weight over max_duplicate_bytes
	NotPerChannel Code = "not-per-channel" // the constant varies along other axes, or the rank is not known
	NoLinear      Code = "no-linear"       // an input, or nobody, where a linear operator is wanted
	NoGain        Code = "no-gain"         // it could go, but would leave as much work
)

// Reason says why a map was left: a code and one sentence that names the operator in the way.
type Reason struct {
	Code Code
	Text string
}

func (r *Reason) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Text) }

// NodeEdit is one node that the folded model has not, has changed, or has in addition.
type NodeEdit struct {
	Graph string
	Node  string
	Edit  string // "drop", "change", "add"
}

// ConstEdit is one constant that the folded model has not, has rescaled or changed, or has in addition.
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
	Maps    []int             // the maps that this part holds, by index into Plan.Maps
}

// Folded is the name in the folded model of an input or output.
func (r *Region) Folded(name string) string {
	if other, ok := r.Renamed[name]; ok {
		return other
	}
	return name
}
