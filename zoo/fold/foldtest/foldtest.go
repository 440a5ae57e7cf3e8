// Package foldtest holds what every plan has to keep to, for the tests of folding and of formats.
package foldtest

import (
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// AddsUp fails the test if the numbers of a plan do not add up, or if a node stays without a reason. m is the model as the
// plan has left it.
func AddsUp(t testing.TB, p *fold.Plan, m *model.Model) {
	t.Helper()
	if len(p.Maps) != p.Before || len(p.Remaining) != p.After || p.After != fold.Count(m) {
		t.Errorf("%d -> %d per-channel nodes, with entries for %d and %d; %d are in the model", p.Before, p.After, len(p.Maps), len(p.Remaining), fold.Count(m))
	}
	stands := make([]int, len(p.Maps))
	for _, r := range p.Remaining {
		said(t, r.Node, r.Reason)
		if len(r.Maps) == 0 {
			t.Errorf("%s stands for nothing", r.Node)
		}
		for _, k := range r.Maps {
			stands[k]++
			if p.Maps[k].Verdict == fold.Left && len(r.Maps) > 1 {
				t.Errorf("%s is left as it was, and stands for %d nodes in %s", p.Maps[k].Node, len(r.Maps), r.Node)
			}
		}
	}
	for k, x := range p.Maps {
		switch {
		case x.Verdict == fold.Folded && (stands[k] > 0 || x.Reason != nil),
			x.Verdict == fold.Left && stands[k] != 1,
			x.Verdict == fold.Merged && (stands[k] == 0 || len(x.Into) == 0):
			t.Errorf("%s is %s, and stands in %d nodes: %+v", x.Node, x.Verdict, stands[k], x)
		case x.Verdict != fold.Folded:
			said(t, x.Node, x.Reason)
		}
	}
	shown(t, p, m)
	if n := p.Tally(); n.Folded+n.Merged+n.Left != p.Before || n.Left+n.Into != p.After || n.Into > n.Merged || (n.Into > 0) != (n.Merged > 0) {
		t.Errorf("%d -> %d per-channel nodes: %+v", p.Before, p.After, n)
	}
}

// shown fails the test if an example of a plan does not show what was and what is: m is the model as the plan has left it.
func shown(t testing.TB, p *fold.Plan, m *model.Model) {
	t.Helper()
	there := map[string]bool{}
	m.Walk(func(g *model.Graph) {
		for _, n := range g.Nodes {
			there[n.String()] = true
		}
	})
	for _, f := range p.Folds {
		for k, part := range [][]outcome.Step{f.Before, f.After} {
			for at, s := range part {
				n := s.Operator + ` "` + s.Node + `"`
				if k == 1 && !there[n] {
					t.Errorf("an example shows %s, which is not in the folded model", n)
				}
				for _, from := range s.From {
					if from < 0 || from >= at {
						t.Errorf("an example shows that %s reads node %d of %d", n, from, at)
					}
				}
			}
		}
		if len(f.Before) == 0 || f.Times < 1 {
			t.Errorf("an example shows nothing: %+v", f)
		}
	}
}

func said(t testing.TB, node string, why *fold.Reason) {
	t.Helper()
	if why == nil || why.Code == "" || why.Text == "" {
		t.Errorf("%s stays for no reason: %v", node, why)
	}
}
