package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Gather takes slices along one axis: maps over another one pass, maps over that one do where its indices are constant, and
// a table of constants (an embedding) absorbs them.

func init() {
	register(&operator{Family: "shape", Types: []string{"Gather"}, Back: gatherBack, Forward: gatherForward, Sees: gatherSees, Again: true})
}

// gatherAxis is a Gather's axis, and the rank of its indices.
func gatherAxis(n *model.Node) (along, rank int, why *Reason) {
	data, indices := n.In(0), n.In(1)
	if data == nil || indices == nil || data.Shape == nil || indices.Shape == nil && indices.Const == nil {
		return 0, 0, because(NotPerChannel, "the ranks around %v are not known", n)
	}
	rank = len(indices.Shape)
	if indices.Const != nil {
		rank = len(indices.Const.Shape)
	}
	if along = int(n.Int("axis", 0)); along < 0 {
		along += len(data.Shape)
	}
	return along, rank, nil
}

// gatherSees are the positions along its axis that a Gather with constant indices takes.
func gatherSees(m *move, n *model.Node, k, axis int) ([]int64, *Reason) {
	along, rank, why := gatherAxis(n)
	if why != nil {
		return nil, why
	}
	if k != 0 || axis != along || rank > 1 || along < 0 || along >= len(n.In(0).Shape) || n.In(0).Shape[along] < 0 {
		return nil, because(NotPerChannel, "%v takes slices along the channels", n)
	}
	indices, ok := m.p.integers(n, "", 1)
	if !ok {
		return nil, because(NotConstant, "%v takes channels that are computed at run time", n)
	}
	extent := n.In(0).Shape[along]
	for k := range indices {
		if indices[k] < 0 {
			indices[k] += extent
		}
		if indices[k] < 0 || indices[k] >= extent {
			return nil, because(Unsupported, "%v takes channel %d of %d", n, indices[k], extent)
		}
	}
	return indices, nil
}

func gatherBack(m *move, n *model.Node, _ int, a affine) *Reason {
	along, rank, why := gatherAxis(n)
	data := n.In(0)
	if m.p.isConstant(data) && (a.Axis == uniform || a.Shifts()) { // every element of the table changes
		if why := m.Absorbed(n); why != nil {
			return why
		}
	}
	switch {
	case a.Axis == uniform && why != nil:
		return m.Back(n, 0, a)
	case why != nil:
		return why
	case a.Axis == uniform:
		return m.backUniform(n, []int64{int64(along)}, a)
	case a.Axis >= along+rank:
		a.Axis += 1 - rank
	case a.Axis >= along && rank == 1:
		return m.backSeen(n, a)
	case a.Axis >= along:
		return because(NotPerChannel, "%v takes slices along the channels", n)
	}
	if !m.p.isConstant(data) && !isDequantized(data) || a.Shifts() {
		return m.Back(n, 0, a)
	}
	_, shape, why := m.weight(n, 0)
	if why != nil {
		return why
	}
	if a.Axis >= len(shape) || shape[a.Axis] != int64(len(a.Scale)) {
		return because(NotPerChannel, "the table %q of %v has shape %v", data.Name, n, shape)
	}
	return m.Rescale(n, 0, tensor.Factor{Layout: tensor.AxisLayout(shape, a.Axis), Scale: a.Scale})
}

func gatherForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its indices", n)
	}
	if a.Axis == uniform {
		return m.Forward(n.Outputs[0], a)
	}
	along, rank, why := gatherAxis(n)
	switch {
	case why != nil:
		return why
	case a.Axis > along:
		a.Axis += rank - 1
	case a.Axis == along:
		seen, why := gatherSees(m, n, 0, along)
		if why != nil {
			return why
		}
		if n.In(0).Shape[along] != int64(len(a.Scale)) {
			return because(NotPerChannel, "the map has %d channels, the input of %v %d", len(a.Scale), n, n.In(0).Shape[along])
		}
		if a = picked(a, seen); rank == 0 { // one channel, without an axis of its own
			a.Axis = uniform
		}
	}
	return m.Forward(n.Outputs[0], a)
}
