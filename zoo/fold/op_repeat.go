package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Expand and Tile repeat their input. A map of the input is a map of the output; the reverse holds if all copies of an
// element have the same map.

func init() {
	register(
		&operator{Family: "shape", Types: []string{"Expand"}, Back: repeatBack, Forward: repeatForward, Again: true},
		&operator{Family: "shape", Types: []string{"Tile"}, Back: repeatBack, Forward: repeatForward, Again: true},
	)
}

// repeated gives the axis of n's input that corresponds to an axis of its output, counted from the right, or the reverse;
// and both extents.
func repeated(n *model.Node, axis int, back bool) (other int, in, out int64, why *Reason) {
	x, y := n.In(0).Shape, n.Outputs[0].Shape
	if x == nil || y == nil {
		return 0, 0, 0, because(NotPerChannel, "the shapes around %v are not known", n)
	}
	behind := len(x) - axis
	if back {
		behind = len(y) - axis
	}
	j, k := len(x)-behind, len(y)-behind
	if j < 0 || k < 0 || behind < 1 || x[j] < 0 || y[k] < 0 {
		return 0, 0, 0, because(NotPerChannel, "%v repeats an axis of unknown extent, or adds it", n)
	}
	if x[j] == 0 || y[k]%x[j] != 0 || y[k] > maxValues || n.Type == "Expand" && x[j] != 1 && x[j] != y[k] {
		return 0, 0, 0, because(Unsupported, "%v makes %d channels of %d", n, y[k], x[j])
	}
	if back {
		return j, x[j], y[k], nil
	}
	return k, x[j], y[k], nil
}

func repeatBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if a.Axis == uniform {
		return m.Back(n, 0, a)
	}
	axis, in, out, why := repeated(n, a.Axis, true)
	if why != nil {
		return why
	}
	if int64(len(a.Scale)) != out {
		return because(NotPerChannel, "the map has %d channels, %v outputs %d", len(a.Scale), n, out)
	}
	for c := range a.Scale {
		if a.Scale[c] != a.Scale[int64(c)%in] || a.Shift[c] != a.Shift[int64(c)%in] {
			return because(NotPerChannel, "%v repeats channels that would need different maps", n)
		}
	}
	return m.Back(n, 0, a.Slice(0, int(in)).On(axis))
}

func repeatForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its shape", n)
	}
	if a.Axis == uniform {
		return m.forwardAtNoCost(n, a)
	}
	axis, in, out, why := repeated(n, a.Axis, false)
	if why != nil {
		return why
	}
	if int64(len(a.Scale)) != in {
		return because(NotPerChannel, "the map has %d channels, the input of %v %d", len(a.Scale), n, in)
	}
	times := int(out / in)
	return m.forwardAtNoCost(n, affine{axis, slices.Repeat(a.Scale, times), slices.Repeat(a.Shift, times)})
}

// forwardAtNoCost moves a map forward past n, if no new node is needed there: it would have more elements to compute than
// one before n.
func (m *move) forwardAtNoCost(n *model.Node, a affine) *Reason {
	before := m.added
	why := m.Forward(n.Outputs[0], a)
	if why == nil && before.less(m.added) {
		why = because(NoGain, "%v enlarges its input: a node behind it would have more elements to compute", n)
	}
	return why
}
