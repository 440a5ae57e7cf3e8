package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(
		&operator{Family: "shape", Types: []string{"Transpose"}, Back: transposeBack, Forward: transposeForward, Again: true},
		&operator{Family: "shape", Types: []string{"Reshape", "Flatten", "Squeeze", "Unsqueeze"}, Back: reshapeBack, Forward: reshapeForward, Again: true},
		&operator{Family: "shape", Types: []string{"Shape", "Size"}, Forward: extentForward, Sees: extentSees, Again: true},
	)
}

// Shape and Size depend on extents alone.

// extentForward lets every map pass: the output does not depend on elements.
func extentForward(*move, *model.Node, int, affine) *Reason { return nil }

func extentSees(*move, *model.Node, int, int) ([]int64, *Reason) { return nil, nil }

// permutation is a Transpose's: output axis k is input axis perm[k].
func permutation(n *model.Node) ([]int64, *Reason) {
	perm := n.Ints("perm")
	if perm == nil {
		x := n.In(0)
		if x == nil || x.Shape == nil {
			return nil, because(NotPerChannel, "%v reverses axes of unknown number", n)
		}
		for k := len(x.Shape) - 1; k >= 0; k-- {
			perm = append(perm, int64(k))
		}
	}
	for k := range perm {
		if !slices.Contains(perm, int64(k)) {
			return nil, because(Unsupported, "%v has no permutation", n)
		}
	}
	return perm, nil
}

func transposeBack(m *move, n *model.Node, _ int, a affine) *Reason {
	perm, why := permutation(n)
	if why != nil {
		return why
	}
	if a.Axis >= len(perm) {
		return because(NotPerChannel, "the map is over axis %d, %v has %d", a.Axis, n, len(perm))
	}
	if a.Axis != uniform {
		a.Axis = int(perm[a.Axis])
	}
	return m.Back(n, 0, a)
}

func transposeForward(m *move, n *model.Node, _ int, a affine) *Reason {
	perm, why := permutation(n)
	if why != nil {
		return why
	}
	if a.Axis != uniform {
		to := slices.Index(perm, int64(a.Axis))
		if to < 0 {
			return because(NotPerChannel, "the map is over axis %d, %v has %d", a.Axis, n, len(perm))
		}
		a.Axis = to
	}
	return m.Forward(n.Outputs[0], a)
}

func reshapeBack(m *move, n *model.Node, _ int, a affine) *Reason {
	b, why := m.carry(n, n.Outputs[0].Shape, n.In(0).Shape, a)
	if why != nil {
		if s := m.p.shuffleTo(n, a.Axis); s != nil {
			return m.shuffleBack(s, a)
		}
		return why
	}
	return m.Back(n, 0, b)
}

func reshapeForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its shape", n)
	}
	b, why := m.carry(n, n.In(0).Shape, n.Outputs[0].Shape, a)
	if why != nil {
		if s := m.p.shuffleFrom(n, a.Axis); s != nil {
			return m.shuffleForward(s, a)
		}
		return why
	}
	return m.Forward(n.Outputs[0], b)
}

// carry writes a map on a value of shape from for the same elements in shape to. An element's channel is (e / inner) mod C,
// with inner the extents behind the axis: so the map is one along a single axis again, if an axis of to has the same
// period. Where the extents behind are not static, the extents before must be the same ones.
func (m *move) carry(n *model.Node, from, to []int64, a affine) (affine, *Reason) {
	if a.Axis == uniform {
		return a, nil
	}
	if from == nil || to == nil || a.Axis >= len(from) {
		return a, because(NotPerChannel, "the shapes around %v are not known", n)
	}
	if n.Type == "Squeeze" || n.Type == "Unsqueeze" {
		if axis, ok := m.renumbered(n, from, to, a.Axis); ok {
			return a.On(axis), nil
		}
	}
	channels := int64(len(a.Scale))
	if sameBefore(from, to, a.Axis) && to[a.Axis] == channels {
		return a, nil
	}
	inner, ok := static(from[a.Axis+1:])
	if !ok || inner == 0 || channels == 0 {
		return a, because(NotPerChannel, "%v joins channels with extents that are not static", n)
	}
	behind := int64(1) // extents behind axis j of to
	for j := len(to) - 1; j >= 0 && to[j] >= 0; j-- {
		if b, ok := periodic(a, j, inner, behind, to[j]); ok {
			return b, nil
		}
		if to[j] == 0 || behind > maxStatic/to[j] {
			break
		}
		behind *= to[j]
	}
	return a, because(NotPerChannel, "%v spreads the channels over several axes", n)
}

// periodic writes a map whose channel is (e / inner) mod C for an axis of that extent with `behind` elements behind it.
func periodic(a affine, axis int, inner, behind, extent int64) (affine, bool) {
	channels := int64(len(a.Scale))
	if extent > maxValues { // no weight has so many channels
		return affine{}, false
	}
	b := affine{axis, make([]float64, extent), make([]float64, extent)}
	switch {
	case inner%behind == 0 && extent%(inner/behind*channels) == 0: // the axis holds the channels and what is behind them
		step := inner / behind
		for t := range extent {
			c := t / step % channels
			b.Scale[t], b.Shift[t] = a.Scale[c], a.Shift[c]
		}
		return b, true
	case behind%inner == 0 && behind*extent == inner*channels: // the axis is the outer part of the channels: they must agree
		step := behind / inner
		for c := range channels {
			t := c / step
			if c%step == 0 {
				b.Scale[t], b.Shift[t] = a.Scale[c], a.Shift[c]
			} else if b.Scale[t] != a.Scale[c] || b.Shift[t] != a.Shift[c] {
				return affine{}, false
			}
		}
		return b, true
	}
	return affine{}, false
}

// maxStatic bounds products of extents, since files may claim any.
const maxStatic = 1 << 40

// static is the product of extents, and false where one is free or the product is too large to be true.
func static(extents []int64) (int64, bool) {
	n, ok := tensor.Elements(extents)
	return n, ok && n <= maxStatic
}

// sameBefore says whether the extents before an axis are the same on both sides of a node.
func sameBefore(from, to []int64, axis int) bool {
	return axis < len(to) && slices.Equal(from[:axis], to[:axis]) && !slices.Contains(from[:axis], op.Unknown)
}

// renumbered is the number of an axis on the other side of a Squeeze or Unsqueeze whose axes are known.
func (m *move) renumbered(n *model.Node, from, to []int64, axis int) (int, bool) {
	axes, known := m.p.integers(n, "axes", 1)
	if !known {
		return 0, false
	}
	rank := max(len(from), len(to))
	if len(axes) != rank-min(len(from), len(to)) || len(axes) == 0 {
		return 0, false
	}
	var kept []int // axes of the longer shape that the shorter one has too
	for k := range rank {
		if !slices.Contains(axes, int64(k)) && !slices.Contains(axes, int64(k-rank)) {
			kept = append(kept, k)
		}
	}
	if len(from) < len(to) {
		if axis >= len(kept) {
			return 0, false
		}
		return kept[axis], true
	}
	short := slices.Index(kept, axis)
	return short, short >= 0
}
