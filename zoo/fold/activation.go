package fold

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(
		&Operator{Family: "activation", Types: []string{"Relu", "LeakyRelu", "PRelu", "Abs"}, Back: homogeneousBack, Forward: homogeneousForward},
		&Operator{Family: "activation", Types: []string{"Clip"}, Back: clipBack, Forward: clipForward},
		&Operator{Family: "activation", Types: []string{"HardSigmoid"}, Forward: hardSigmoidForward},
	)
}

// positivelyHomogeneous says why f(s·x) = s·f(x) does not hold for the map, or nil: it needs s > 0 and no shift.
func positivelyHomogeneous(n *model.Node, a Affine) *Reason {
	if a.Shifts() {
		return because(Nonlinear, "%v has a shift to carry", n)
	}
	if !a.Positive() {
		return because(Sign, "%v has a scale to carry that is not positive", n)
	}
	return nil
}

func homogeneousBack(m *Move, n *model.Node, _ int, a Affine) *Reason {
	if why := positivelyHomogeneous(n, a); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

func homogeneousForward(m *Move, n *model.Node, k int, a Affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "%v takes its slope from there", n)
	}
	if why := positivelyHomogeneous(n, a); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

// bounds are a Clip's limits, infinite where there are none.
func (m *Move) bounds(n *model.Node) (lo, hi float64, why *Reason) {
	if m.p.model.Opset[""] < 11 {
		return n.Float("min", math.Inf(-1)), n.Float("max", math.Inf(1)), nil
	}
	limits := [2]float64{math.Inf(-1), math.Inf(1)}
	for k := range limits {
		v := n.In(k + 1)
		if v == nil {
			continue
		}
		_, values, ok := m.p.constant(v)
		if !ok || len(values) != 1 {
			return 0, 0, because(NotConstant, "the limit %q of %v is computed at run time", v.Name, n)
		}
		limits[k] = values[0]
	}
	return limits[0], limits[1], nil
}

// clamp is what a Clip does to a map: a rectifier lets positive scales pass, others take only a map that is the same for
// all channels, with a positive scale, into their limits.
func (m *Move) clamp(n *model.Node, a Affine) (lo, hi float64, b Affine, why *Reason) {
	lo, hi, why = m.bounds(n)
	if why != nil {
		return 0, 0, a, why
	}
	if lo == 0 && math.IsInf(hi, 1) {
		return lo, hi, a, positivelyHomogeneous(n, a)
	}
	b, ok := a.Flat()
	switch {
	case !ok:
		return 0, 0, a, because(Nonlinear, "%v has limits, which a map that differs from channel to channel would shift", n)
	case !b.Positive():
		return 0, 0, a, because(Sign, "%v has a scale to carry that is not positive", n)
	case !(lo < hi):
		return 0, 0, a, because(Unsupported, "%v has limits %g and %g", n, lo, hi)
	}
	return lo, hi, b, nil
}

// setBounds leaves the edit that a Clip has other limits; infinite ones stay.
func (m *Move) setBounds(n *model.Node, lo, hi float64) *Reason {
	if m.p.kept(n) {
		return because(Keep, "%v is to be kept", n)
	}
	for k, x := range []float64{lo, hi} {
		switch {
		case math.IsInf(x, 0):
		case m.p.model.Opset[""] < 11:
			if why := m.Rebuild(n); why != nil {
				return why
			}
			m.Edit(func() {
				n.SetAttr(model.Attr{Name: []string{"min", "max"}[k], Kind: model.FloatAttr, Float: x})
			})
		default:
			if why := m.Values(n, k+1, n.In(k+1).DType, []int64{}, []float64{x}); why != nil {
				return why
			}
		}
	}
	return nil
}

// clipBack: s·clip(x; lo, hi) + t = clip(s·x + t; s·lo + t, s·hi + t).
func clipBack(m *Move, n *model.Node, _ int, a Affine) *Reason {
	lo, hi, b, why := m.clamp(n, a)
	if why != nil {
		return why
	}
	if lo != 0 || !math.IsInf(hi, 1) || b.Axis == Uniform && b.Shifts() {
		s, t := b.Scale[0], b.Shift[0]
		if why := m.setBounds(n, s*lo+t, s*hi+t); why != nil {
			return why
		}
	}
	return m.Back(n, 0, b)
}

// clipForward: clip(s·x + t; lo, hi) = s·clip(x; (lo − t)/s, (hi − t)/s) + t; or, where both limits are finite, the
// activation takes the map and its range travels on: (hi − lo)·HardSigmoid(x; s/(hi − lo), (t − lo)/(hi − lo)) + lo.
func clipForward(m *Move, n *model.Node, k int, a Affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "%v takes its limits from there", n)
	}
	lo, hi, b, why := m.clamp(n, a)
	if why != nil {
		return why
	}
	if lo == 0 && math.IsInf(hi, 1) {
		return m.Forward(n.Outputs[0], b)
	}
	s, t := b.Scale[0], b.Shift[0]
	if why := m.Try(func() *Reason { return m.becomeHardSigmoid(n, lo, hi, s, t) }); why == nil {
		return nil
	}
	if why := m.setBounds(n, (lo-t)/s, (hi-t)/s); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], b)
}

// becomeHardSigmoid leaves the edit that clip(s·x + t; lo, hi) is computed by a HardSigmoid, and sends its range on.
func (m *Move) becomeHardSigmoid(n *model.Node, lo, hi, s, t float64) *Reason {
	width := hi - lo
	y := n.Outputs[0]
	if math.IsInf(width, 0) || y.DType != tensor.Float32 {
		return because(Unsupported, "%v is not a HardSigmoid", n)
	}
	if why := m.Absorbed(n); why != nil {
		return why
	}
	if why := m.Rebuild(n); why != nil {
		return why
	}
	alpha, beta := s/width, (t-lo)/width
	m.Edit(func() {
		n.Type, n.Attrs, n.Edited = "HardSigmoid", nil, true
		for len(n.Inputs) > 1 {
			n.Set(len(n.Inputs)-1, nil)
			n.Inputs = n.Inputs[:len(n.Inputs)-1]
		}
		setHardSigmoid(n, alpha, beta)
	})
	return m.Forward(y, Affine{Uniform, []float64{width}, []float64{lo}})
}

func setHardSigmoid(n *model.Node, alpha, beta float64) {
	n.SetAttr(model.Attr{Name: "alpha", Kind: model.FloatAttr, Float: alpha})
	n.SetAttr(model.Attr{Name: "beta", Kind: model.FloatAttr, Float: beta})
}

// hardSigmoidForward: HardSigmoid(s·x + t; α, β) = HardSigmoid(x; α·s, α·t + β).
func hardSigmoidForward(m *Move, n *model.Node, k int, a Affine) *Reason {
	b, ok := a.Flat()
	if !ok {
		return because(Nonlinear, "%v has one slope, the map differs from channel to channel", n)
	}
	if !b.Positive() {
		return because(Sign, "%v has a scale to carry that is not positive", n)
	}
	if why := m.Absorbed(n); why != nil {
		return why
	}
	if why := m.Rebuild(n); why != nil {
		return why
	}
	alpha, beta := n.Float("alpha", float64(float32(0.2))), n.Float("beta", 0.5)
	m.Edit(func() { setHardSigmoid(n, alpha*b.Scale[0], alpha*b.Shift[0]+beta) })
	return nil
}
