package fold

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// What bounds the examples of a plan, which are for people to look at.
const (
	mostExamples = 4 // kinds of change
	mostShown    = 8 // nodes of one, before and after
	mostReaders  = 2 // of those, nodes that only read what has changed
)

// examples are the kinds of change that folding makes: parts of the graph with the same operators, wired alike, before and
// after, are one kind, and the first of them is shown.
type examples struct {
	*regions
	producer map[*model.Value]*model.Node // before folding
	kinds    map[string]int
	list     []outcome.Fold
}

// add takes a region, whose nodes before folding are those members of order. One that is too large to look at, or in which no
// node changes, is passed over.
func (x *examples) add(p *planner, region *Region, members []int) {
	before, outputs := x.before(region, members)
	after := x.after(p, region, members, outputs)
	if before == nil || after == nil {
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
	of    map[*model.Node]int
}

// add draws a node behind those that it reads.
func (d *drawing) add(n *model.Node, s outcome.Step, inputs []*model.Value, producer func(*model.Value) *model.Node) {
	for _, v := range inputs {
		if v == nil {
			continue
		}
		if k, ok := d.of[producer(v)]; ok && !slices.Contains(s.From, k) {
			s.From = append(s.From, k)
		}
	}
	d.of[n] = len(d.steps)
	d.steps = append(d.steps, s)
}

func newDrawing() *drawing { return &drawing{[]outcome.Step{}, map[*model.Node]int{}} }

// was is the node that computed a value before folding.
func (x *examples) was(v *model.Value) *model.Node { return x.producer[v] }

// is is the node that computes a value now.
func is(v *model.Value) *model.Node { return v.Producer }

// before draws a region as it was, and is the values that it outputs.
func (x *examples) before(region *Region, members []int) (d *drawing, outputs []*model.Value) {
	if len(members) > mostShown {
		return nil, nil
	}
	d = newDrawing()
	for _, k := range members {
		s := step(x.types[k], x.named(k))
		if x.order[k].Removed() {
			s.Fate = outcome.Gone
		}
		d.add(x.order[k], s, x.wires[k][0], x.was)
		for _, v := range x.wires[k][1] {
			if v != nil && slices.Contains(region.Outputs, v.Name) {
				outputs = append(outputs, v)
			}
		}
	}
	return d, outputs
}

// after draws a region as it is now: all that lies between its inputs and its outputs.
func (x *examples) after(p *planner, region *Region, members []int, outputs []*model.Value) *drawing {
	d, inputs, takers := newDrawing(), map[*model.Value]bool{}, map[string]bool{}
	for _, k := range members {
		for _, v := range x.wires[k][0] {
			if v != nil && slices.Contains(region.Inputs, v.Name) {
				inputs[x.now(v)] = true
			}
		}
		if e := p.accounts.own[x.order[k]]; e != nil {
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
		if _, drawn := d.of[n]; drawn {
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
		s := step(n.Type, nameOf(n))
		if _, old := x.index[n]; !old {
			s.Fate = outcome.New
		} else if takers[n.String()] {
			s.Fate = outcome.Took
		}
		d.add(n, s, n.Inputs, is)
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
			k, old := x.index[u.Node]
			_, known := after.of[u.Node]
			if !old || known || x.leader(u.Node) != nil {
				continue
			}
			if drawn++; drawn > mostReaders || max(len(before.steps), len(after.steps)) >= mostShown {
				return
			}
			s := step(x.types[k], x.named(k))
			before.add(u.Node, s, x.wires[k][0], x.was)
			after.add(u.Node, s, u.Node.Inputs, is)
		}
	}
}

// step is a node that folding passes by. A file may call it anything: what is not printable is escaped, as in Node.String.
func step(operator, name string) outcome.Step {
	bare := func(s string) string {
		q := strconv.Quote(s)
		return q[1 : len(q)-1]
	}
	return outcome.Step{Operator: bare(operator), Node: bare(name)}
}

// named is the name of a node as it was before folding.
func (r *regions) named(k int) string {
	if n := r.order[k]; n.Name != "" {
		return n.Name
	}
	for _, v := range r.wires[k][1] {
		if v != nil {
			return v.Name
		}
	}
	return ""
}

// nameOf is a node's name, or that of what it outputs.
func nameOf(n *model.Node) string {
	if n.Name == "" && n.Out(0) != nil {
		return n.Outputs[0].Name
	}
	return n.Name
}
