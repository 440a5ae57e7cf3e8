package fold

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(&Operator{Family: "pad", Types: []string{"Pad"}, Back: padBack, Forward: padForward})
}

// padBack: s·pad(x; v) + t = pad(s·x + t; s·v + t), where that is one number.
func padBack(m *Move, n *model.Node, _ int, a Affine) *Reason {
	if why := m.padValue(n, a, func(v, s, t float64) float64 { return s*v + t }); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

// padForward: pad(s·x + t; v) = s·pad(x; (v − t)/s) + t, where that is one number.
func padForward(m *Move, n *model.Node, k int, a Affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "%v takes its pads from there", n)
	}
	if why := m.padValue(n, a, func(v, s, t float64) float64 {
		if v == t { // also for s = 0: what is padded is then what the map makes of 0
			return 0
		}
		return (v - t) / s
	}); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

// padValue leaves the edit that the padding has the value that the map asks for: it has to be the same for all channels,
// and no channels may be padded. Padding that repeats the input's own values commutes with every map over other axes.
func (m *Move) padValue(n *model.Node, a Affine, of func(v, s, t float64) float64) *Reason {
	pads := n.Ints("pads")
	if pads == nil {
		_, values, ok := m.p.constant(n.In(1))
		if !ok {
			return because(NotConstant, "the pads of %v are computed at run time", n)
		}
		for _, x := range values {
			pads = append(pads, int64(x))
		}
	}
	rank := len(n.Outputs[0].Shape)
	if a.Axis != Uniform && (n.In(3) != nil || len(pads) != 2*rank || pads[a.Axis] != 0 || pads[a.Axis+rank] != 0) {
		return because(NotPerChannel, "%v pads the channels, or axes that are not known", n)
	}
	if mode := n.Str("mode", "constant"); mode != "constant" {
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
		m.Edit(func() { n.SetAttr(model.Attr{Name: "value", Kind: model.FloatAttr, Float: w}) })
		return nil
	}
	return m.Values(n, 2, n.Outputs[0].DType, []int64{}, []float64{w})
}
