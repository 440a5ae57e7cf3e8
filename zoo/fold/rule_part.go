package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// part moves the scale of a run alone, or its shift, if the whole map cannot move, and leaves the other half in one node:
// s·x + t = s·(x + t/s). It does so only if that leaves fewer or cheaper nodes than the run has.
func (p *planner) part(r *run) bool {
	if !costSimple.less(r.cost) || p.newMove(r.nodes).Rebuild(r.first()) != nil {
		return false
	}
	scale, shift := r.a.OnlyScale(), shifting(r.a.Axis, r.a.Shift)
	before := shifting(r.a.Axis, make([]float64, len(r.a.Shift))) // the shift that comes before the scale
	for c := range before.Shift {
		before.Shift[c] = r.a.Shift[c] / r.a.Scale[c]
	}
	return p.partBack(r, scale, shift) || p.partForward(r, scale, before) || p.partBack(r, before, scale) || p.partForward(r, shift, scale)
}

// partBack moves half of a run's map backward and leaves the other.
func (p *planner) partBack(r *run, half, rest affine) bool {
	m := p.newMove(r.nodes)
	return half.Finite() && m.Back(r.first(), p.find(r.first()).data, half) == nil && p.leave(m, r, rest)
}

// partForward moves half of a run's map forward and leaves the other.
func (p *planner) partForward(r *run, half, rest affine) bool {
	m := p.newMove(r.nodes)
	return rest.Finite() && m.Forward(r.last().Outputs[0], half) == nil && p.leave(m, r, rest)
}

// leave accepts a move of half of a run's map, and puts the rest in the run's place.
func (p *planner) leave(m *move, r *run, rest affine) bool {
	if rest.Shifts() && p.leavesBlocks(r) {
		return false
	}
	if _, ok := p.shape(rest, r.first().In(p.find(r.first()).data)); !ok {
		return false
	}
	m.added = m.added.plus(costSimple)
	return m.settle(r, func() { p.replace(r, rest) }) == nil
}

// merge rewrites a run of several nodes in place as fewer or cheaper nodes.
func (p *planner) merge(r *run) bool {
	bn := -1
	for k, n := range r.nodes {
		if len(r.nodes) == 1 || p.model.Place == nil && !(r.a.Scales() && r.a.Shifts()) || !isBatchNorm(n) {
			continue
		}
		bn = k
		m := p.newMove(r.nodes)
		m.added = costBatchNorm
		if m.setBatchNorm(n, r.a) == nil && m.settle(r, func() { p.keepOne(r, k) }) == nil {
			return true
		}
	}
	m := p.newMove(r.nodes)
	if bn >= 0 || m.Rebuild(r.first()) != nil {
		return false
	}
	if r.a.Scales() && r.a.Shifts() && p.normalise(r) {
		return true
	}
	m.added = costOfMap(r.a)
	if _, ok := p.shape(r.a, r.first().In(p.find(r.first()).data)); !ok {
		return false
	}
	return m.settle(r, func() { p.replace(r, r.a) }) == nil
}

// keepOne removes all nodes of a run but the one at k, which becomes the map of all.
func (p *planner) keepOne(r *run, k int) {
	for _, n := range slices.Backward(r.nodes[:k]) {
		n.Graph.Bypass(n, p.find(n).data)
	}
	for _, n := range r.nodes[k+1:] {
		n.Graph.Absorb(n, p.find(n).data)
	}
	p.succeed(r.nodes[k], r)
}

// succeed makes a node account for a run in the plan: its fate is the fate of the run's nodes.
func (p *planner) succeed(n *model.Node, r *run) {
	p.successors = append(p.successors, successor{n, p.accounts.of(r.nodes)})
}

// replace writes a run as a Mul, an Add or both.
func (p *planner) replace(r *run, a affine) {
	g, last := r.last().Graph, r.last()
	in, out := r.first().In(p.find(r.first()).data), last.Outputs[0]
	for _, n := range r.nodes {
		n.Remove()
	}
	steps := []struct {
		op     string
		values []float64
		needed bool
	}{{"Mul", a.Scale, a.Scales()}, {"Add", a.Shift, a.Shifts()}}
	for k, step := range steps {
		if !step.needed {
			continue
		}
		shape, _ := p.shape(a, in)
		c := g.NewConst(out.Name+"_"+step.op, &model.Constant{DType: in.DType, Shape: shape, Values: step.values})
		z := out
		if k == 0 && steps[1].needed {
			z = g.NewValue(out.Name+"_scaled", out)
		}
		node := g.NewNode(last, step.op, out.Name+"_"+step.op, []*model.Value{in, c}, []*model.Value{z})
		p.regions.join([]*model.Node{r.first(), node})
		in, last = z, node
		p.succeed(node, r)
	}
}

// shape is the shape of a constant that holds one number for each of the map's channels and broadcasts over x along them:
// [C, 1, 1] for axis 1 of four. It needs x's element type and, unless the map is uniform, its rank.
func (p *planner) shape(a affine, x *model.Value) ([]int64, bool) {
	if x.DType == tensor.Undefined || !x.DType.Float() {
		return nil, false
	}
	if p.model.Opset[""] < 7 { // before operator set 7, broadcasting needs attributes
		return nil, false
	}
	if a.Axis == uniform {
		return []int64{}, true
	}
	if x.Shape == nil || a.Axis >= len(x.Shape) {
		return nil, false
	}
	shape := make([]int64, len(x.Shape)-a.Axis)
	for k := range shape {
		shape[k] = 1
	}
	shape[0] = int64(len(a.Scale))
	return shape, true
}
