package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(
		&operator{Family: "concat", Types: []string{"Concat"}, Back: concatBack, Forward: concatForward, Again: true},
		&operator{Family: "concat", Types: []string{"Split"}, Back: splitBack, Forward: splitForward, Again: true},
	)
}

// axisOf is a node's axis attribute counted from 0, for values of v's rank.
func axisOf(n *model.Node, def int64, v *model.Value) (int, *Reason) {
	axis := n.Int("axis", def)
	if axis < 0 {
		if v.Shape == nil {
			return 0, because(NotPerChannel, "the rank of the values of %v is not known", n)
		}
		if axis += int64(len(v.Shape)); axis < 0 {
			return 0, because(Unsupported, "%v has axis %d", n, n.Int("axis", def))
		}
	}
	return int(axis), nil
}

// extents are the extents of values along an axis, all of them known.
func extents(n *model.Node, values []*model.Value, axis int) ([]int, *Reason) {
	out := make([]int, len(values))
	for k, v := range values {
		if v == nil || axis >= len(v.Shape) || v.Shape[axis] < 0 {
			return nil, because(NotPerChannel, "%v has a part of unknown extent along axis %d", n, axis)
		}
		if out[k] = int(min(v.Shape[axis], maxValues+1)); total(out) > maxValues {
			return nil, because(NotPerChannel, "the parts of %v have more than %d channels", n, maxValues)
		}
	}
	return out, nil
}

func total(parts []int) int {
	sum := 0
	for _, p := range parts {
		sum += p
	}
	return sum
}

// part is the map of the channels of part k, out of a map of the joined channels; all are the extents of the parts.
func part(n *model.Node, a affine, all []int, k int) (affine, *Reason) {
	if a.Axis == uniform {
		return a, nil
	}
	if len(a.Scale) != total(all) {
		return a, because(NotPerChannel, "the map has %d channels, the parts of %v have %d", len(a.Scale), n, total(all))
	}
	from := total(all[:k])
	return a.Slice(from, from+all[k]), nil
}

// joined is the map of the joined channels that is a on part k and the identity on the others.
func joined(a affine, axis int, all []int, k int) (affine, *Reason) {
	a, ok := a.Over(axis, all[k])
	if !ok {
		return a, because(NotPerChannel, "the map is over axis %d, not over axis %d that is joined", a.Axis, axis)
	}
	b := affine{axis, ones(total(all)), make([]float64, total(all))}
	from := total(all[:k])
	copy(b.Scale[from:], a.Scale)
	copy(b.Shift[from:], a.Shift)
	return b, nil
}

func concatBack(m *move, n *model.Node, _ int, a affine) *Reason {
	axis, why := axisOf(n, 1, n.Outputs[0])
	if why != nil {
		return why
	}
	var all []int
	if a.Axis == axis {
		if all, why = extents(n, n.Inputs, axis); why != nil {
			return why
		}
	}
	for k := range n.Inputs {
		b := a
		if a.Axis == axis {
			if b, why = part(n, a, all, k); why != nil {
				return why
			}
		}
		if why := m.Back(n, k, b); why != nil {
			return why
		}
	}
	return nil
}

func concatForward(m *move, n *model.Node, k int, a affine) *Reason {
	axis, why := axisOf(n, 1, n.Outputs[0])
	if why != nil {
		return why
	}
	if a.Axis != axis && a.Axis != uniform {
		return m.concatAlong(n, k, a)
	}
	why = m.Try(func() *Reason {
		all, why := extents(n, n.Inputs, axis)
		if why != nil {
			return why
		}
		b, why := joined(a, axis, all, k)
		if why != nil {
			return why
		}
		return m.Forward(n.Outputs[0], b)
	})
	if why != nil && a.Axis == uniform && m.Try(func() *Reason { return m.concatAlong(n, k, a) }) == nil {
		return nil
	}
	return why
}

// concatAlong carries a map of one part over another axis than the joined one: a(x) beside y is a(x beside a⁻¹(y)).
func (m *move) concatAlong(n *model.Node, k int, a affine) *Reason {
	if why := m.backOthers(n, k, 0, a); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

func splitBack(m *move, n *model.Node, k int, a affine) *Reason {
	axis, why := axisOf(n, 0, n.In(0))
	if why != nil {
		return why
	}
	all, why := extents(n, n.Outputs, axis)
	if why != nil {
		return why
	}
	b, why := joined(a, axis, all, k)
	if why != nil {
		return why
	}
	return m.Back(n, 0, b)
}

func splitForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its sizes", n)
	}
	axis, why := axisOf(n, 0, n.In(0))
	if why != nil {
		return why
	}
	var all []int
	if a.Axis == axis {
		if all, why = extents(n, n.Outputs, axis); why != nil {
			return why
		}
	}
	for j, out := range n.Outputs {
		b := a
		if a.Axis == axis {
			if b, why = part(n, a, all, j); why != nil {
				return why
			}
		}
		if why := m.forwardIfRead(out, b); why != nil {
			return why
		}
	}
	return nil
}

// forwardIfRead is Forward for an output that may be unused.
func (m *move) forwardIfRead(v *model.Value, a affine) *Reason {
	if v == nil || len(v.Uses) == 0 && !v.Output {
		return nil
	}
	return m.Forward(v, a)
}
