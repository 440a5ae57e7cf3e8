package fold

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(&operator{Family: "pad", Types: []string{"Pad"}, Back: padBack, Forward: padForward})
}

// padBack: s·pad(x; v) + t = pad(s·x + t; s·v + t), if s·v + t is the same number for all channels.
func padBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if why := m.padValue(n, a, func(v, s, t float64) float64 { return s*v + t }); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

// padForward: pad(s·x + t; v) = s·pad(x; (v − t)/s) + t, if (v − t)/s is the same number for all channels.
func padForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its pads", n)
	}
	if why := m.padValue(n, a, func(v, s, t float64) float64 {
		if v == t { // holds for s = 0 too
			return 0
		}
		return (v - t) / s
	}); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

// padding is how many elements a Pad adds before and behind each axis; a negative number removes some.
func (m *move) padding(n *model.Node) (before, behind []int64, why *Reason) {
	pads, ok := m.p.integers(n, "pads", 1)
	axes, okAxes := m.p.integers(n, "", 3)
	if !ok || !okAxes {
		return nil, nil, because(NotConstant, "the pads of %v are computed at run time", n)
	}
	count := len(pads) / 2
	if n.In(3) == nil {
		return pads[:count], pads[count:], nil
	}
	rank := len(n.Outputs[0].Shape)
	before, behind = make([]int64, rank), make([]int64, rank)
	for k, axis := range axes {
		if axis < 0 {
			axis += int64(rank)
		}
		if axis < 0 || axis >= int64(rank) || k >= count {
			return nil, nil, because(NotPerChannel, "%v pads axes that are not known", n)
		}
		before[axis], behind[axis] = pads[k], pads[count+k]
	}
	return before, behind, nil
}

// padValue adds the edit that gives the padding the value that the map needs. The value has to be the same for all
// channels, and no channels may be padded. Padding that repeats the input's own values commutes with every map over other
// axes, and so does a Pad that only takes elements away.
func (m *move) padValue(n *model.Node, a affine, of func(v, s, t float64) float64) *Reason {
	before, behind, why := m.padding(n)
	if why != nil {
		return why
	}
	if a.Axis != uniform && (a.Axis >= len(before) || before[a.Axis] != 0 || behind[a.Axis] != 0) {
		return because(NotPerChannel, "%v pads the channels, or axes that are not known", n)
	}
	positive := func(x int64) bool { return x > 0 }
	if n.Str("mode", "constant") != "constant" || !slices.ContainsFunc(before, positive) && !slices.ContainsFunc(behind, positive) {
		return nil
	}
	opset := m.p.model.Opset[""]
	v := n.Float("value", 0)
	if opset >= 11 && n.In(2) != nil {
		_, values, ok := m.p.constant(n.In(2))
		if !ok || len(values) != 1 {
			return because(NotConstant, "the value of %v is computed at run time", n)
		}
		v = values[0]
	}
	w := of(v, a.Scale[0], a.Shift[0])
	for c := range a.Scale {
		if of(v, a.Scale[c], a.Shift[c]) != w {
			return because(Border, "%v pads with %g, where the map would need another value for each channel", n, v)
		}
	}
	switch {
	case math.IsNaN(w) || math.IsInf(w, 0):
		return because(Border, "%v would have to pad with %g", n, w)
	case w == v:
		return nil
	case m.p.kept(n):
		return because(Keep, "%v is to be kept", n)
	case opset < 11 && m.Rebuild(n) != nil:
		return m.Rebuild(n)
	case opset < 11:
		m.Edit(func() { n.SetAttr(model.Float("value", w)) })
		return nil
	}
	return m.Values(n, 2, n.Outputs[0].DType, []int64{}, []float64{w})
}
