package fold

import (
	"cmp"
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

	was, is drawing // room for those of a region
	key     []byte  // room for the text of a kind
}

// add takes a region and its nodes before folding. It skips regions that are too large to show, and those in which no node
// changes.
func (x *examples) add(p *planner, region *Region, members []*wired) {
	if len(members) > mostShown {
		return
	}
	before, after := x.was.blank(), x.is.blank()
	outputs := x.before(before, region, members)
	if !x.after(after, p, region, members, outputs) {
		return
	}
	changed := func(s outcome.Step) bool { return s.Fate != "" }
	if !slices.ContainsFunc(before.steps, changed) && !slices.ContainsFunc(after.steps, changed) {
		return
	}
	kind := after.kind(append(before.kind(x.key[:0]), '|'))
	x.key = kind
	k, known := x.kinds[string(kind)]
	if !known {
		k = len(x.list)
		x.kinds[string(kind)] = k
		x.readers(before, after, outputs)
		x.list = append(x.list, outcome.Fold{Graph: region.Graph, Before: before.printable(), After: after.printable()})
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
	steps   []outcome.Step
	nodes   []*model.Node    // of the steps
	outputs [][]*model.Value // of the steps
}

// blank is the drawing without what was drawn.
func (d *drawing) blank() *drawing {
	d.steps, d.nodes, d.outputs = d.steps[:0], d.nodes[:0], d.outputs[:0]
	return d
}

// add draws a node behind those that it reads.
func (d *drawing) add(n *model.Node, s outcome.Step, inputs, outputs []*model.Value) {
	for _, v := range inputs {
		k := slices.IndexFunc(d.outputs, func(made []*model.Value) bool { return v != nil && slices.Contains(made, v) })
		if k >= 0 && !slices.Contains(s.From, k) {
			s.From = append(s.From, k)
		}
	}
	d.steps, d.nodes, d.outputs = append(d.steps, s), append(d.nodes, n), append(d.outputs, outputs)
}

// kind appends to a text what the steps have in common with those of other parts of the same kind.
func (d *drawing) kind(text []byte) []byte {
	for _, s := range d.steps {
		text = append(append(text, s.Operator...), ' ')
		for _, k := range s.From {
			text = append(strconv.AppendInt(text, int64(k), 10), ' ')
		}
		text = append(append(text, s.Fate...), ';')
	}
	return text
}

// printable are the steps with characters of their names that are not printable escaped, as in Node.String.
func (d *drawing) printable() []outcome.Step {
	bare := func(s string) string {
		q := strconv.Quote(s)
		return q[1 : len(q)-1]
	}
	steps := append([]outcome.Step{}, d.steps...) // never nil
	for k := range steps {
		steps[k].Operator, steps[k].Node = bare(steps[k].Operator), bare(steps[k].Node)
	}
	return steps
}

// before draws a region as it was, and returns its output values.
func (x *examples) before(d *drawing, region *Region, members []*wired) (outputs []*model.Value) {
	for _, m := range members {
		s := outcome.Step{Operator: m.operator, Node: m.name()}
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
	return outputs
}

// after draws a region as it is now: all nodes between its inputs and its outputs. It says whether there was room.
func (x *examples) after(d *drawing, p *planner, region *Region, members []*wired, outputs []*model.Value) bool {
	var inputs []*model.Value
	var takers []string
	for _, m := range members {
		for _, v := range m.inputs {
			if v != nil && slices.Contains(region.Inputs, v.Name) {
				inputs = append(inputs, x.now(v))
			}
		}
		if e := p.accounts.own.at(m.node.Number); e != nil {
			takers = append(takers, p.plan.Maps[e.number].Into...)
		}
	}
	var draw func(v *model.Value) bool // says whether there was room
	draw = func(v *model.Value) bool {
		n := v.Producer
		if n == nil || v.Const != nil || slices.Contains(inputs, v) || slices.Contains(d.nodes, n) {
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
		s := outcome.Step{Operator: n.Type, Node: n.Label()}
		if x.of(n) == nil {
			s.Fate = outcome.New
		} else if slices.Contains(takers, n.String()) {
			s.Fate = outcome.Took
		}
		d.add(n, s, n.Inputs, n.Outputs)
		return true
	}
	for _, v := range outputs {
		if !draw(x.now(v)) {
			return false
		}
	}
	return true
}

// readers draws nodes that read what a region outputs, and are the same before and after.
func (x *examples) readers(before, after *drawing, outputs []*model.Value) {
	drawn := 0
	for _, v := range outputs {
		for _, u := range x.now(v).Uses {
			was := x.of(u.Node)
			if was == nil || slices.Contains(after.nodes, u.Node) || x.leader(u.Node) != nil {
				continue
			}
			if drawn++; drawn > mostReaders || max(len(before.steps), len(after.steps)) >= mostShown {
				return
			}
			s := outcome.Step{Operator: was.operator, Node: was.name()}
			before.add(u.Node, s, was.inputs, was.outputs)
			after.add(u.Node, s, u.Node.Inputs, u.Node.Outputs)
		}
	}
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
