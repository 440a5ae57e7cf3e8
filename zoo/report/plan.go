package report

import (
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// planSchema names the layout of a plan's JSON. A new name comes with a change that old readers would misread.
const planSchema = "zoofold-plan/1"

// Plan is what folding would change in one model, as zoofold plan -json prints it. Names are the original model's, but for
// nodes and constants that are new.
type Plan struct {
	Schema    string         `json:"schema"`
	Path      string         `json:"path"`      // of the model file
	Before    int            `json:"before"`    // per-channel nodes of the original
	After     int            `json:"after"`     // per-channel nodes of the folded model
	Maps      []outcome.Map  `json:"maps"`      // one for each of Before
	Remaining []outcome.Left `json:"remaining"` // one for each of After
	Nodes     []PlannedNode  `json:"nodes"`
	Constants []PlannedConst `json:"constants"`
	Regions   []PlannedPart  `json:"regions"` // parts that compute the same before and after, in which the algebra check compares
}

// PlannedNode is a node that is dropped, changed or added.
type PlannedNode struct {
	Graph string `json:"graph,omitempty"`
	Node  string `json:"node"`
	Edit  string `json:"edit"` // drop, change, add
}

// PlannedConst is a constant that is dropped, rescaled, changed or added.
type PlannedConst struct {
	Graph string `json:"graph,omitempty"`
	Name  string `json:"name"`
	Edit  string `json:"edit"` // drop, rescale, change, add
	Bytes int64  `json:"bytes"`
}

// PlannedPart is a region of the graph, from the values Inputs to the values Outputs.
type PlannedPart struct {
	Graph   string            `json:"graph,omitempty"`
	Inputs  []string          `json:"inputs"`
	Outputs []string          `json:"outputs"`
	Renamed map[string]string `json:"renamed,omitempty"` // inputs and outputs that have other names in the folded model
	Maps    []int             `json:"maps"`              // the per-channel nodes in it, by index into maps
}

// NewPlan is a model's plan.
func NewPlan(path string, p *fold.Plan) Plan {
	out := Plan{
		Schema: planSchema, Path: Name(path), Before: p.Before, After: p.After,
		Nodes: []PlannedNode{}, Constants: []PlannedConst{}, Regions: []PlannedPart{},
	}
	maps, remaining := p.Account()
	out.Maps, out.Remaining = append([]outcome.Map{}, maps...), append([]outcome.Left{}, remaining...)
	for _, n := range p.Nodes {
		out.Nodes = append(out.Nodes, PlannedNode(n))
	}
	for _, c := range p.Consts {
		out.Constants = append(out.Constants, PlannedConst(c))
	}
	for _, r := range p.Regions {
		out.Regions = append(out.Regions, PlannedPart(r))
	}
	return out
}
