package fold

import "github.com/zoofold/zoofold/zoo/outcome"

// Account is what the plan says of per-channel nodes, as results tell it: one entry for each of Maps, and one for each of
// Remaining.
func (p *Plan) Account() (maps []outcome.Map, remaining []outcome.Left) {
	for _, x := range p.Maps {
		m := outcome.Map{Graph: x.Graph, Node: x.Node, Verdict: string(x.Verdict), Into: x.Into}
		if x.Reason != nil {
			m.Code, m.Reason = string(x.Reason.Code), x.Reason.Text
		}
		maps = append(maps, m)
	}
	for _, x := range p.Remaining {
		remaining = append(remaining, outcome.Left{Graph: x.Graph, Node: x.Node, Code: string(x.Reason.Code), Reason: x.Reason.Text})
	}
	return maps, remaining
}
