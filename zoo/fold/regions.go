package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// regions remembers how the original model was wired, and which of its nodes accepted moves touched together: each such
// group computes the same before and after, from what flows into it to what flows out of it.
type regions struct {
	order    []*model.Node // the original nodes, outer graphs first
	index    map[*model.Node]int
	wires    [][2][]*model.Value // inputs and outputs of the original nodes
	types    []string            // operators of the original nodes
	graphs   []*model.Graph
	uses     map[*model.Value]int // how many original node inputs read a value
	group    map[*model.Node]*model.Node
	output   map[*model.Value]bool // graph outputs
	constant map[*model.Value]bool
	renamed  map[*model.Value]*model.Value // values that are gone, and those that are the same now
	dropped  []*model.Node                 // first nodes of runs that did nothing
}

func newRegions(m *model.Model) *regions {
	nodes, consts := sizeOf(m)
	r := &regions{index: make(map[*model.Node]int, nodes), uses: make(map[*model.Value]int, nodes+consts), group: map[*model.Node]*model.Node{}, output: map[*model.Value]bool{}, constant: constants(m), renamed: map[*model.Value]*model.Value{}}
	m.Walk(func(g *model.Graph) {
		for _, v := range g.Outputs {
			r.output[v] = true
		}
		for _, n := range g.Nodes {
			r.index[n] = len(r.order)
			r.order = append(r.order, n)
			r.graphs = append(r.graphs, g)
			r.types = append(r.types, n.Type)
			r.wires = append(r.wires, [2][]*model.Value{slices.Clone(n.Inputs), slices.Clone(n.Outputs)})
			for _, v := range n.Inputs {
				r.uses[v]++
			}
		}
	})
	return r
}

// leader is the node that stands for n's group; nil if no move touched n.
func (r *regions) leader(n *model.Node) *model.Node {
	up := r.group[n]
	if up == nil || up == n {
		return up
	}
	top := r.leader(up)
	r.group[n] = top
	return top
}

// join makes one group of the nodes and their groups.
func (r *regions) join(nodes []*model.Node) {
	var top *model.Node
	for _, n := range nodes {
		l := r.leader(n)
		if l == nil {
			l = n
			r.group[n] = n
		}
		if top == nil {
			top = l
		}
		r.group[l] = top
	}
}

// drop notes that the run from first to last does nothing: gone is read as kept from now on.
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
	producer := make(map[*model.Value]*model.Node, len(r.order))
	for k, n := range r.order {
		for _, v := range r.wires[k][1] {
			producer[v] = n
		}
	}
	for _, n := range r.dropped { // what changes the value that it handed on changes what it output
		for _, v := range r.wires[r.index[n]][0] {
			if before := producer[v]; before != nil && r.leader(before) != nil {
				r.join([]*model.Node{before, n})
			}
		}
	}
	shown := &examples{regions: r, producer: producer, kinds: map[string]int{}}
	members := map[*model.Node][]int{}
	var leaders []*model.Node
	for k, n := range r.order {
		if l := r.leader(n); l != nil {
			if members[l] == nil {
				leaders = append(leaders, l)
			}
			members[l] = append(members[l], k)
		}
	}
	for _, l := range leaders {
		region := Region{Graph: r.graphs[members[l][0]].Path()}
		inside, reads := map[*model.Value]bool{}, map[*model.Value]int{}
		for _, k := range members[l] {
			for _, v := range r.wires[k][1] {
				inside[v] = true
			}
			for _, v := range r.wires[k][0] {
				reads[v]++
			}
			if e := p.accounts.own[r.order[k]]; e != nil {
				region.Maps = append(region.Maps, e.number)
			}
		}
		for _, k := range members[l] {
			for _, v := range r.wires[k][0] {
				if !inside[v] && !r.constant[v] && !slices.Contains(region.Inputs, v.Name) {
					region.Inputs = append(region.Inputs, v.Name)
				}
			}
			for _, v := range r.wires[k][1] {
				if v != nil && (r.output[v] || r.uses[v] > reads[v]) {
					region.Outputs = append(region.Outputs, v.Name)
				}
			}
		}
		for _, k := range members[l] {
			for _, v := range slices.Concat(r.wires[k][0], r.wires[k][1]) {
				if v == nil || r.name(v) == v.Name || !slices.Contains(region.Inputs, v.Name) && !slices.Contains(region.Outputs, v.Name) {
					continue
				}
				if region.Renamed == nil {
					region.Renamed = map[string]string{}
				}
				region.Renamed[v.Name] = r.name(v)
			}
		}
		slices.Sort(region.Maps)
		p.plan.Regions = append(p.plan.Regions, region)
		shown.add(p, &region, members[l])
	}
	p.plan.Folds = shown.most()
}
