package fold

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// Bounds of the examples of a plan, which are for people.
const (
	mostExamples = 4 // kinds of change
	mostShown    = 8 // nodes of one, before and after
	mostReaders  = 2 // of those, nodes that only read what has changed
)

// examples are the kinds of change that folding makes: parts of the graph with the same operators, wired alike, before and
// after, are one kind, and the first of them is shown.
type examples struct {
	*regions
	kinds map[string]int
	list  []outcome.Fold
}

// add takes a region and its nodes before folding. It skips regions that are too large to show, and those in which no node
// changes.
func (x *examples) add(p *planner, region *Region, members []*wired) {
	if len(members) > mostShown {
		return
	}
	before, outputs := x.before(region, members)
	after := x.after(p, region, members, outputs)
	if after == nil {
		return
	}
	kind, changed := "", false
	for _, s := range slices.Concat(before.steps, []outcome.Step{{}}, after.steps) {
		kind += fmt.Sprint(s.Operator, s.From, s.Fate, ";")
		changed = changed || s.Fate != ""
	}
	if !changed {
		return
	}
	k, known := x.kinds[kind]
	if !known {
		k = len(x.list)
		x.kinds[kind] = k
		x.readers(before, after, outputs)
		x.list = append(x.list, outcome.Fold{Graph: region.Graph, Before: before.steps, After: after.steps})
	}
	x.list[k].Times++
}

// most are the most frequent kinds.
func (x *examples) most() []outcome.Fold {
	slices.SortStableFunc(x.list, func(a, b outcome.Fold) int { return cmp.Compare(b.Times, a.Times) })
	return slices.Clip(x.list[:min(len(x.list), mostExamples)])
}

// drawing is a part of the graph being drawn.
type drawing struct {
	steps []outcome.Step
	of    map[*model.Node]bool
	made  map[*model.Value]int // by which step
}

func newDrawing() *drawing {
	return &drawing{[]outcome.Step{}, map[*model.Node]bool{}, map[*model.Value]int{}}
}

// add draws a node behind those that it reads.
func (d *drawing) add(n *model.Node, s outcome.Step, inputs, outputs []*model.Value) {
	for _, v := range inputs {
		if k, ok := d.made[v]; ok && !slices.Contains(s.From, k) {
			s.From = append(s.From, k)
		}
	}
	for _, v := range outputs {
		if v != nil {
			d.made[v] = len(d.steps)
		}
	}
	d.of[n] = true
	d.steps = append(d.steps, s)
}

// before draws a region as it was, and returns its output values.
func (x *examples) before(region *Region, members []*wired) (d *drawing, outputs []*model.Value) {
	d = newDrawing()
	for _, m := range members {
		s := step(m.operator, m.name())
		if m.node.Removed() {
			s.Fate = outcome.Gone
		}
		d.add(m.node, s, m.inputs, m.outputs)
		for _, v := range m.outputs {
			if v != nil && slices.Contains(region.Outputs, v.Name) {
				outputs = append(outputs, v)
			}
		}
	}
	return d, outputs
}

// after draws a region as it is now: all nodes between its inputs and its outputs.
func (x *examples) after(p *planner, region *Region, members []*wired, outputs []*model.Value) *drawing {
	d, inputs, takers := newDrawing(), map[*model.Value]bool{}, map[string]bool{}
	for _, m := range members {
		for _, v := range m.inputs {
			if v != nil && slices.Contains(region.Inputs, v.Name) {
				inputs[x.now(v)] = true
			}
		}
		if e := p.accounts.own[m.node]; e != nil {
			for _, taker := range p.plan.Maps[e.number].Into {
				takers[taker] = true
			}
		}
	}
	var draw func(v *model.Value) bool // says whether there was room
	draw = func(v *model.Value) bool {
		n := v.Producer
		if n == nil || inputs[v] || v.Const != nil {
			return true
		}
		if d.of[n] {
			return true
		}
		for _, in := range n.Inputs {
			if in != nil && !draw(in) {
				return false
			}
		}
		if len(d.steps) >= mostShown {
			return false
		}
		s := step(n.Type, n.Label())
		if x.of(n) == nil {
			s.Fate = outcome.New
		} else if takers[n.String()] {
			s.Fate = outcome.Took
		}
		d.add(n, s, n.Inputs, n.Outputs)
		return true
	}
	for _, v := range outputs {
		if !draw(x.now(v)) {
			return nil
		}
	}
	return d
}

// readers draws nodes that read what a region outputs, and are the same before and after.
func (x *examples) readers(before, after *drawing, outputs []*model.Value) {
	drawn := 0
	for _, v := range outputs {
		for _, u := range x.now(v).Uses {
			was := x.of(u.Node)
			if was == nil || after.of[u.Node] || x.leader(u.Node) != nil {
				continue
			}
			if drawn++; drawn > mostReaders || max(len(before.steps), len(after.steps)) >= mostShown {
				return
			}
			s := step(was.operator, was.name())
			before.add(u.Node, s, was.inputs, was.outputs)
			after.add(u.Node, s, u.Node.Inputs, u.Node.Outputs)
		}
	}
}

// step is a node that folding does not change. Characters of its name that are not printable are escaped, as in
// Node.String.
func step(operator, name string) outcome.Step {
	bare := func(s string) string {
		q := strconv.Quote(s)
		return q[1 : len(q)-1]
	}
	return outcome.Step{Operator: bare(operator), Node: bare(name)}
}

// name is the node's name, or that of its first output before folding.
func (w *wired) name() string {
	if w.node.Name != "" {
		return w.node.Name
	}
	for _, v := range w.outputs {
		if v != nil {
			return v.Name
		}
	}
	return ""
}
