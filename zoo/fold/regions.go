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
	graphs   []*model.Graph
	uses     map[*model.Value]int // how many original node inputs read a value
	group    map[*model.Node]*model.Node
	output   map[*model.Value]bool // graph outputs
	constant map[*model.Value]bool
}

func newRegions(m *model.Model) *regions {
	r := &regions{index: map[*model.Node]int{}, uses: map[*model.Value]int{}, group: map[*model.Node]*model.Node{}, output: map[*model.Value]bool{}, constant: constants(m)}
	m.Walk(func(g *model.Graph) {
		for _, v := range g.Outputs {
			r.output[v] = true
		}
		for _, n := range g.Nodes {
			r.index[n] = len(r.order)
			r.order = append(r.order, n)
			r.graphs = append(r.graphs, g)
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

// describe writes the groups into the plan, in the order of their first nodes.
func (r *regions) describe(p *Planner) {
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
	number := map[*Map]int{}
	for k, entry := range p.list {
		number[entry] = k
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
			for _, entry := range p.entries[r.order[k]] {
				if k := number[entry]; !slices.Contains(region.Maps, k) {
					region.Maps = append(region.Maps, k)
				}
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
		slices.Sort(region.Maps)
		p.plan.Regions = append(p.plan.Regions, region)
	}
}
