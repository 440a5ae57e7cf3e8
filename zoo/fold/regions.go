package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// regions remembers the wiring of the original model, and which of its nodes were touched by the same accepted moves. Each
// such group computes the same before and after, from the values that flow into it to those that flow out of it.
type regions struct {
	nodes    []wired               // the original nodes, outer graphs first
	place    table[int32]          // by node: its place in nodes, from 1; 0: it is new
	group    table[*model.Node]    // by node that a move touched: another one of its group, or itself
	output   map[*model.Value]bool // graph outputs
	constant constantValues
	renamed  map[*model.Value]*model.Value // by values that are gone: the values that replace them
	dropped  []*model.Node                 // first nodes of runs that were identities
}

// wired is a node as it was wired.
type wired struct {
	node            *model.Node
	operator        string // its type
	graph           *model.Graph
	inputs, outputs []*model.Value
	read            []int32 // how many inputs of nodes read each of the outputs
}

func newRegions(m *model.Model) *regions {
	r := &regions{output: map[*model.Value]bool{}, constant: constants(m), renamed: map[*model.Value]*model.Value{}}
	wires := 0
	m.Walk(func(g *model.Graph) {
		r.nodes = slices.Grow(r.nodes, len(g.Nodes))
		for _, n := range g.Nodes {
			wires += len(n.Inputs) + len(n.Outputs)
		}
	})
	values, counts := make([]*model.Value, 0, wires), make([]int32, 0, wires) // one piece of memory for all
	m.Walk(func(g *model.Graph) {
		for _, v := range g.Outputs {
			r.output[v] = true
		}
		for _, n := range g.Nodes {
			first := len(values)
			values = append(append(values, n.Inputs...), n.Outputs...)
			middle, read := first+len(n.Inputs), len(counts)
			for _, v := range n.Outputs {
				count := 0
				if v != nil {
					count = len(v.Uses)
				}
				counts = append(counts, int32(count))
			}
			r.nodes = append(r.nodes, wired{n, n.Type, g, values[first:middle:middle], values[middle:len(values):len(values)], counts[read:]})
			r.place.set(n.Number, int32(len(r.nodes)))
		}
	})
	return r
}

// of is a node of the original as it was wired, or nil.
func (r *regions) of(n *model.Node) *wired {
	k := r.place.at(n.Number)
	if k == 0 {
		return nil
	}
	return &r.nodes[k-1]
}

// leader is the representative of n's group; nil if no move touched n.
func (r *regions) leader(n *model.Node) *model.Node {
	up := r.group.at(n.Number)
	if up == nil || up == n {
		return up
	}
	top := r.leader(up)
	r.group.set(n.Number, top)
	return top
}

// join merges the groups of the nodes into one.
func (r *regions) join(nodes []*model.Node) {
	var top *model.Node
	for _, n := range nodes {
		l := r.leader(n)
		if l == nil {
			l = n
			r.group.set(n.Number, n)
		}
		if top == nil {
			top = l
		}
		r.group.set(l.Number, top)
	}
}

// drop records that an identity is gone, whose first node was first: its readers read kept instead of gone.
func (r *regions) drop(first *model.Node, gone, kept *model.Value) {
	r.dropped = append(r.dropped, first)
	r.renamed[gone] = kept
}

// name is what the folded model calls a value.
func (r *regions) name(v *model.Value) string { return r.now(v).Name }

// now is a value of the original as the folded model has it.
func (r *regions) now(v *model.Value) *model.Value {
	for r.renamed[v] != nil {
		v = r.renamed[v]
	}
	return v
}

// describe writes the groups into the plan, in the order of their first nodes.
func (r *regions) describe(p *planner) {
	r.joinDropped()
	groups := r.groups()
	shown := &examples{regions: r, kinds: map[string]int{}}
	var inside table[int]  // by value: the group that outputs it, from 1
	var reads table[int32] // by value of a group: how many inputs of nodes in the group read it
	for j, group := range groups {
		region := Region{Graph: group[0].graph.Path()}
		for _, n := range group {
			for _, v := range n.outputs {
				if v != nil {
					inside.set(v.Number, j+1)
				}
			}
		}
		for _, n := range group {
			for _, v := range n.inputs {
				if v != nil && inside.at(v.Number) == j+1 {
					reads.set(v.Number, reads.at(v.Number)+1)
				}
			}
			if e := p.accounts.own.at(n.node.Number); e != nil {
				region.Maps = append(region.Maps, e.number)
			}
		}
		for _, n := range group {
			for _, v := range n.inputs {
				if !r.constant.has(v) && inside.at(v.Number) != j+1 && !slices.Contains(region.Inputs, v.Name) {
					region.Inputs = append(region.Inputs, v.Name)
				}
			}
			for k, v := range n.outputs {
				if v != nil && (r.output[v] || n.read[k] > reads.at(v.Number)) {
					region.Outputs = append(region.Outputs, v.Name)
				}
			}
		}
		for _, n := range group {
			r.rename(&region, n.inputs)
			r.rename(&region, n.outputs)
		}
		slices.Sort(region.Maps)
		p.plan.Regions = append(p.plan.Regions, region)
		shown.add(p, &region, group)
	}
	p.plan.Folds = shown.most()
}

// groups are the nodes of each group, in the order of their first nodes.
func (r *regions) groups() [][]*wired {
	var place table[int] // by leader: its group's place, from 1
	var sizes []int
	members := 0
	for _, n := range r.nodes {
		if l := r.leader(n.node); l != nil {
			if place.at(l.Number) == 0 {
				sizes = append(sizes, 0)
				place.set(l.Number, len(sizes))
			}
			sizes[place.at(l.Number)-1]++
			members++
		}
	}
	groups, all := make([][]*wired, len(sizes)), make([]*wired, members) // one piece of memory for all
	for k, size := range sizes {
		groups[k], all = all[:0:size], all[size:]
	}
	for k := range r.nodes {
		n := &r.nodes[k]
		if l := r.leader(n.node); l != nil {
			j := place.at(l.Number) - 1
			groups[j] = append(groups[j], n)
		}
	}
	return groups
}

// joinDropped joins dropped identities with the producers of their inputs: a change of the input changes the output.
func (r *regions) joinDropped() {
	if len(r.dropped) == 0 {
		return
	}
	producer := make(map[*model.Value]*model.Node, len(r.nodes))
	for _, n := range r.nodes {
		for _, v := range n.outputs {
			producer[v] = n.node
		}
	}
	for _, n := range r.dropped {
		was := r.of(n)
		if was == nil {
			continue
		}
		for _, v := range was.inputs {
			if before := producer[v]; before != nil && r.leader(before) != nil {
				r.join([]*model.Node{before, n})
			}
		}
	}
}

// rename records the new names of those inputs and outputs of a region that the folded model renames.
func (r *regions) rename(region *Region, values []*model.Value) {
	for _, v := range values {
		if v == nil || r.renamed[v] == nil || r.name(v) == v.Name || !slices.Contains(region.Inputs, v.Name) && !slices.Contains(region.Outputs, v.Name) {
			continue
		}
		if region.Renamed == nil {
			region.Renamed = map[string]string{}
		}
		region.Renamed[v.Name] = r.name(v)
	}
}
