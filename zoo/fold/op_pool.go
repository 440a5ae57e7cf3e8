package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(
		&operator{Family: "pool", Types: []string{"MaxPool", "GlobalMaxPool"}, Back: poolBack(maximum), Forward: poolForward(maximum), Again: true},
		&operator{Family: "pool", Types: []string{"AveragePool", "GlobalAveragePool"}, Back: poolBack(average), Forward: poolForward(average), Again: true},
		&operator{Family: "pool", Types: []string{"ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum"}, Back: reduceBack, Forward: reduceForward, Again: true},
	)
}

// maximum says why a maximum over positions does not commute with the map, or nil. Padding is minus infinity, so that the
// border is no concern.
func maximum(n *model.Node, a affine) *Reason {
	if v := n.Out(1); v != nil && (v.Output || len(v.Uses) > 0) {
		return because(Unsupported, "%v outputs indices too", n)
	}
	return extreme(n, a)
}

// extreme is the reason why the map may change which of some values is the largest or smallest, or nil.
func extreme(n *model.Node, a affine) *Reason {
	if !a.Positive() {
		return because(Sign, "%v compares: a scale that is not positive would reverse its result", n)
	}
	return nil
}

// average says why an average over positions does not commute with the map, or nil: zeros of the padding that are counted
// do not get the shift.
func average(n *model.Node, a affine) *Reason {
	if n.Type == "AveragePool" && a.Shifts() && n.Int("count_include_pad", 0) != 0 && overhangs(n, n.Ints("kernel_shape")) {
		return because(Border, "%v averages over its padding: an offset would change its edge", n)
	}
	return nil
}

type condition func(*model.Node, affine) *Reason

func overChannels(n *model.Node, a affine, commutes condition) *Reason {
	if a.Axis != uniform && a.Axis > 1 {
		return because(NotPerChannel, "the map is over axis %d, over which %v pools", a.Axis, n)
	}
	return commutes(n, a)
}

func poolBack(commutes condition) func(*move, *model.Node, int, affine) *Reason {
	return func(m *move, n *model.Node, k int, a affine) *Reason {
		if why := overChannels(n, a, commutes); why != nil {
			return why
		}
		return m.Back(n, 0, a)
	}
}

func poolForward(commutes condition) func(*move, *model.Node, int, affine) *Reason {
	return func(m *move, n *model.Node, k int, a affine) *Reason {
		if why := overChannels(n, a, commutes); why != nil {
			return why
		}
		return m.Forward(n.Outputs[0], a)
	}
}

// reduction describes a Reduce*: which axes of its input it keeps, in order, and how many elements it reduces to one; −1 if
// that is not static.
func (m *move) reduction(n *model.Node, a affine) (kept []int, count int64, why *Reason) {
	if n.Type == "ReduceMax" || n.Type == "ReduceMin" {
		if why := extreme(n, a); why != nil {
			return nil, 0, why
		}
	}
	x := n.In(0)
	if x.Shape == nil {
		return nil, 0, because(NotPerChannel, "the rank of the input of %v is not known", n)
	}
	axes, known := m.p.integers(n, "axes", 1)
	if !known || len(axes) == 0 {
		return nil, 0, because(NotPerChannel, "%v reduces all axes, or axes that are not static", n)
	}
	var reduced []int64
	for k, d := range x.Shape {
		if slices.Contains(axes, int64(k)) || slices.Contains(axes, int64(k-len(x.Shape))) {
			reduced = append(reduced, d)
		} else {
			kept = append(kept, k)
		}
	}
	count, ok := static(reduced)
	if !ok || count == 0 {
		count = -1
	}
	if n.Type == "ReduceSum" && a.Shifts() && count < 0 {
		return nil, 0, because(Nonlinear, "%v would add an offset once per position", n)
	}
	return kept, count, nil
}

// summedShift is the map with its shift multiplied by times, the number of elements that a ReduceSum adds up.
func summedShift(n *model.Node, a affine, times float64) affine {
	if n.Type == "ReduceSum" {
		a.Shift = each(a.Shift, func(t float64) float64 { return t * times })
	}
	return a
}

func reduceBack(m *move, n *model.Node, _ int, a affine) *Reason {
	kept, count, why := m.reduction(n, a)
	if why != nil {
		return why
	}
	if a.Axis != uniform {
		axis := a.Axis
		if n.Int("keepdims", 1) == 0 {
			if axis >= len(kept) {
				return because(NotPerChannel, "the map is over axis %d, %v keeps %d", axis, n, len(kept))
			}
			axis = kept[axis]
		}
		if !slices.Contains(kept, axis) {
			return because(NotPerChannel, "the map is over axis %d, which %v reduces", axis, n)
		}
		a.Axis = axis
	}
	return m.Back(n, 0, summedShift(n, a, 1/float64(count)))
}

func reduceForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its axes", n)
	}
	kept, count, why := m.reduction(n, a)
	if why != nil {
		return why
	}
	if a.Axis != uniform {
		to := slices.Index(kept, a.Axis)
		if to < 0 {
			return because(NotPerChannel, "the map is over axis %d, which %v reduces", a.Axis, n)
		}
		if n.Int("keepdims", 1) == 0 {
			a.Axis = to
		}
	}
	return m.Forward(n.Outputs[0], summedShift(n, a, float64(count)))
}
