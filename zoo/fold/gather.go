package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Gather takes slices along one axis: maps over another one pass, and a table of constants (an embedding) absorbs them.

func init() {
	register(&Operator{Family: "shape", Types: []string{"Gather"}, Back: gatherBack, Forward: gatherForward})
}

// gatherAxis counts an axis of the output of n as one of its data, and the other way round where back is false.
func gatherAxis(n *model.Node, a Affine, back bool) (Affine, *Reason) {
	if a.Axis == Uniform {
		return a, nil
	}
	data, indices := n.In(0), n.In(1)
	if data == nil || indices == nil || data.Shape == nil || indices.Shape == nil && indices.Const == nil {
		return a, because(NotPerChannel, "the ranks around %v are not known", n)
	}
	rank := len(indices.Shape)
	if indices.Const != nil {
		rank = len(indices.Const.Shape)
	}
	along := int(n.Int("axis", 0))
	if along < 0 {
		along += len(data.Shape)
	}
	first, grown := along+1, rank-1 // data axes from first on move by grown
	if back {
		first, grown = along+rank, 1-rank
	}
	switch {
	case a.Axis < along:
		return a, nil
	case a.Axis >= first:
		return a.On(a.Axis + grown), nil
	}
	return a, because(NotPerChannel, "%v takes slices along the channels", n)
}

func gatherBack(m *Move, n *model.Node, _ int, a Affine) *Reason {
	b, why := gatherAxis(n, a, true)
	if why != nil {
		return why
	}
	data := n.In(0)
	if !m.p.isConstant(data) {
		return m.Back(n, 0, b)
	}
	if b.Shifts() || b.Axis == Uniform {
		if why := m.Absorbed(n); why != nil {
			return why
		}
		return m.Back(n, 0, b)
	}
	_, shape, why := m.weight(n, 0)
	if why != nil {
		return why
	}
	if b.Axis >= len(shape) || shape[b.Axis] != int64(len(b.Scale)) {
		return because(NotPerChannel, "the table %q of %v has shape %v", data.Name, n, shape)
	}
	return m.Rescale(n, 0, tensor.Factor{Layout: tensor.AxisLayout(shape, b.Axis), Scale: b.Scale})
}

func gatherForward(m *Move, n *model.Node, k int, a Affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "%v takes its indices from there", n)
	}
	b, why := gatherAxis(n, a, false)
	if why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], b)
}
