package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

func init() {
	register(&operator{Family: "concat", Types: []string{"Slice"}, Back: sliceBack, Forward: sliceForward, Sees: sliceSees, Again: true})
}

// A Slice, and a Gather with constant indices, outputs some channels of its input, the seen ones, in an order of its own.

// scattered is the map of all channels of an axis that is a on the seen ones and the identity on the others. It fails if a
// channel is seen twice with different maps.
func scattered(n *model.Node, a affine, seen []int64, channels int64) (affine, *Reason) {
	if len(seen) != len(a.Scale) {
		return a, because(NotPerChannel, "the map has %d channels, %v outputs %d", len(a.Scale), n, len(seen))
	}
	if channels > maxValues {
		return a, because(NotPerChannel, "%v keeps only some of %d channels", n, channels)
	}
	b, set := affine{a.Axis, ones(int(channels)), make([]float64, channels)}, make([]bool, channels)
	for k, c := range seen {
		if set[c] && (b.Scale[c] != a.Scale[k] || b.Shift[c] != a.Shift[k]) {
			return a, because(NotPerChannel, "%v reads channel %d more than once, for different maps", n, c)
		}
		b.Scale[c], b.Shift[c], set[c] = a.Scale[k], a.Shift[k], true
	}
	return b, nil
}

// picked is a map of all channels for the seen ones.
func picked(a affine, seen []int64) affine {
	b := affine{a.Axis, make([]float64, len(seen)), make([]float64, len(seen))}
	for k, c := range seen {
		b.Scale[k], b.Shift[k] = a.Scale[c], a.Shift[c]
	}
	return b
}

// sliceSees are the positions along an axis that a Slice takes.
func sliceSees(m *move, n *model.Node, k, axis int) ([]int64, *Reason) {
	x := n.In(0)
	if k != 0 || axis < 0 || axis >= len(x.Shape) || x.Shape[axis] < 0 {
		return nil, because(NotPerChannel, "the input of %v has an unknown extent along axis %d", n, axis)
	}
	extent := x.Shape[axis]
	along, why := m.slicedAxes(n)
	if why != nil {
		return nil, why
	}
	first, step, count := int64(0), int64(1), extent
	if at := slices.Index(along, int64(axis)); at >= 0 {
		starts, ok1 := m.p.integers(n, "starts", 1)
		ends, ok2 := m.p.integers(n, "ends", 2)
		steps, ok3 := m.p.integers(n, "steps", 4)
		if !ok1 || !ok2 || !ok3 || at >= len(starts) || at >= len(ends) {
			return nil, because(NotConstant, "the range of %v is computed at run time", n)
		}
		if at < len(steps) {
			step = steps[at]
		}
		if step == 0 {
			return nil, because(Unsupported, "%v has a step of 0", n)
		}
		first, count = op.Sliced(starts[at], ends[at], step, extent)
	}
	if count < 1 || count > maxValues {
		return nil, because(Unsupported, "%v takes %d elements along axis %d", n, count, axis)
	}
	seen := make([]int64, count)
	for k := range seen {
		seen[k] = first + int64(k)*step
	}
	return seen, nil
}

// slicedAxes are the axes that a Slice cuts, counted from 0.
func (m *move) slicedAxes(n *model.Node) ([]int64, *Reason) {
	rank := int64(len(n.In(0).Shape))
	axes, ok := m.p.integers(n, "axes", 3)
	if !ok {
		return nil, because(NotConstant, "the axes of %v are computed at run time", n)
	}
	if axes == nil { // the first ones
		for k := range rank {
			axes = append(axes, k)
		}
	}
	axes = slices.Clone(axes)
	for k := range axes {
		if axes[k] < 0 {
			axes[k] += rank
		}
	}
	return axes, nil
}

func sliceBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if a.Axis == uniform {
		along, why := m.slicedAxes(n)
		if why != nil {
			return why
		}
		return m.backUniform(n, along, a)
	}
	return m.backSeen(n, a)
}

// backSeen asks the input of n for a map over an axis of which n outputs some channels.
func (m *move) backSeen(n *model.Node, a affine) *Reason {
	seen, why := m.p.operator(n).Sees(m, n, 0, a.Axis)
	if why != nil {
		return why
	}
	b, why := scattered(n, a, seen, n.In(0).Shape[a.Axis])
	if why != nil {
		return why
	}
	return m.Back(n, 0, b)
}

// backUniform asks the input of n for a map that is the same for all elements, or, where others read the input too, for for
// a map of the channels that n alone reads along an axis.
func (m *move) backUniform(n *model.Node, along []int64, a affine) *Reason {
	first := m.Try(func() *Reason { return m.Back(n, 0, a) })
	if first == nil || len(n.In(0).Uses) == 1 {
		return first
	}
	for _, axis := range along {
		if m.Try(func() *Reason {
			seen, why := m.p.operator(n).Sees(m, n, 0, int(axis))
			if why != nil {
				return why
			}
			b, _ := a.Over(int(axis), len(seen))
			return m.backSeen(n, b)
		}) == nil {
			return nil
		}
	}
	return first
}

func sliceForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its range", n)
	}
	if a.Axis != uniform {
		seen, why := sliceSees(m, n, 0, a.Axis)
		if why != nil {
			return why
		}
		if n.In(0).Shape[a.Axis] != int64(len(a.Scale)) {
			return because(NotPerChannel, "the map has %d channels, the input of %v %d", len(a.Scale), n, n.In(0).Shape[a.Axis])
		}
		a = picked(a, seen)
	}
	return m.Forward(n.Outputs[0], a)
}
