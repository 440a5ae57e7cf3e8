package fold

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(
		&operator{Family: "activation", Types: []string{"Relu", "LeakyRelu", "PRelu", "Abs"}, Back: homogeneousBack, Forward: homogeneousForward, Again: true},
		&operator{Family: "activation", Types: []string{"Clip"}, Back: clipBack, Forward: clipForward},
		&operator{Family: "activation", Types: []string{"HardSigmoid"}, Back: hardSigmoidBack, Forward: hardSigmoidForward},
	)
}

// positivelyHomogeneous says why f(s·x) = s·f(x) does not hold for the map, or nil: it needs s > 0 and no shift.
func positivelyHomogeneous(n *model.Node, a affine) *Reason {
	if a.Shifts() {
		return because(Nonlinear, "an offset cannot pass %v", n)
	}
	if !a.Positive() {
		return because(Sign, "a scale that is not positive cannot pass %v", n)
	}
	return nil
}

func homogeneousBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if why := positivelyHomogeneous(n, a); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

func homogeneousForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its slope", n)
	}
	if why := positivelyHomogeneous(n, a); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

// limits are a Clip's limits; infinite where it has none, or where its limit is the largest number of the type.
type limits struct{ lo, hi float64 }

func (m *move) limits(n *model.Node) (limits, *Reason) {
	l := limits{n.Float("min", math.Inf(-1)), n.Float("max", math.Inf(1))}
	d := n.Outputs[0].DType
	for k, x := range []*float64{&l.lo, &l.hi} {
		if v := n.In(k + 1); v != nil {
			_, values, ok := m.p.constant(v)
			if !ok || len(values) != 1 {
				return l, because(NotConstant, "the limit %q of %v is computed at run time", v.Name, n)
			}
			*x = values[0]
		}
		if none := math.Inf(2*k - 1); d.Float() && math.Signbit(*x) == math.Signbit(none) && !fits([]float64{*x * (1 + 2*d.Unit())}, d) {
			*x = none
		}
	}
	return l, nil
}

// none says whether there are no limits.
func (l limits) none() bool { return math.IsInf(l.lo, -1) && math.IsInf(l.hi, 1) }

// finite says whether there are both limits.
func (l limits) finite() bool { return !math.IsInf(l.lo, 0) && !math.IsInf(l.hi, 0) }

// turned are the limits multiplied by a number: a negative one exchanges them.
func (l limits) turned(s float64) limits {
	if s < 0 {
		l.lo, l.hi = l.hi, l.lo
	}
	return l
}

// rectify says whether each limit is 0 or infinite: a rectifier.
func (l limits) rectify() bool {
	return (l.lo == 0 || math.IsInf(l.lo, -1)) && (l.hi == 0 || math.IsInf(l.hi, 1))
}

// clamp checks that a map can pass a Clip, and returns the Clip's limits and the map, uniform where it goes into the
// limits. A Clip without limits lets every map pass, and a rectifier scales above 0. Others take a map that is the same for
// all channels into their limits, which a negative scale exchanges.
func (m *move) clamp(n *model.Node, a affine) (l limits, b affine, why *Reason) {
	if l, why = m.limits(n); why != nil {
		return l, a, why
	}
	b, uniform := a.Flat()
	switch {
	case l.none():
		return l, a, nil
	case l.rectify() && !(uniform && a.Shifts()):
		return l, a, positivelyHomogeneous(n, a)
	case !uniform:
		return l, a, because(Nonlinear, "%v has one pair of limits, the map differs from channel to channel", n)
	case !b.Positive() && !(b.Scale[0] < 0 && l.finite()):
		return l, a, because(Sign, "a scale that is not positive cannot pass %v", n)
	case !(l.lo < l.hi):
		return l, a, because(Unsupported, "%v has limits %g and %g", n, l.lo, l.hi)
	}
	return l, b, nil
}

// setLimits adds the edit that changes a Clip's finite limits.
func (m *move) setLimits(n *model.Node, from, to limits) *Reason {
	for k, x := range [][2]float64{{from.lo, to.lo}, {from.hi, to.hi}} {
		switch {
		case x[0] == x[1]:
		case m.p.kept(n):
			return because(Keep, "%v is to be kept", n)
		case m.p.model.Opset[""] < 11:
			if why := m.Rebuild(n); why != nil {
				return why
			}
			m.Edit(func() {
				n.SetAttr(model.Float([]string{"min", "max"}[k], x[1]))
			})
		default:
			if why := m.Values(n, k+1, n.Outputs[0].DType, []int64{}, []float64{x[1]}); why != nil {
				return why
			}
		}
	}
	return nil
}

// clipBack: s·clip(x; lo, hi) + t = clip(s·x + t; s·lo + t, s·hi + t).
func clipBack(m *move, n *model.Node, _ int, a affine) *Reason {
	l, b, why := m.clamp(n, a)
	if why != nil {
		return why
	}
	if !l.none() {
		s, t := b.Scale[0], b.Shift[0]
		if why := m.setLimits(n, l, limits{s*l.lo + t, s*l.hi + t}.turned(s)); why != nil {
			return why
		}
	}
	return m.Back(n, 0, b)
}

// clipForward: clip(s·x + t; lo, hi) = s·clip(x; (lo − t)/s, (hi − t)/s) + t; or, where both limits are finite, the
// activation takes the map and its range travels on: (hi − lo)·HardSigmoid(x; s/(hi − lo), (t − lo)/(hi − lo)) + lo.
func clipForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its limits", n)
	}
	l, b, why := m.clamp(n, a)
	if why != nil {
		return why
	}
	if l.none() || l.rectify() && !b.Shifts() {
		return m.Forward(n.Outputs[0], b)
	}
	s, t := b.Scale[0], b.Shift[0]
	if why := m.Try(func() *Reason { return m.becomeHardSigmoid(n, l, s, t) }); why == nil {
		return nil
	}
	if why := m.setLimits(n, l, limits{(l.lo - t) / s, (l.hi - t) / s}.turned(s)); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], b)
}

// becomeHardSigmoid adds the edit that turns clip(s·x + t; lo, hi) into a HardSigmoid, and moves the map from [0, 1] to
// [lo, hi] forward.
func (m *move) becomeHardSigmoid(n *model.Node, l limits, s, t float64) *Reason {
	width := l.hi - l.lo
	y := n.Outputs[0]
	if math.IsInf(width, 0) || s < 0 || y.DType != tensor.Float32 {
		return because(Unsupported, "%v is not a HardSigmoid", n)
	}
	if why := m.Absorbed(n); why != nil {
		return why
	}
	if why := m.Rebuild(n); why != nil {
		return why
	}
	alpha, beta := s/width, (t-l.lo)/width
	m.Edit(func() {
		n.Type, n.Attrs, n.Edited = "HardSigmoid", nil, true
		for len(n.Inputs) > 1 {
			n.Set(len(n.Inputs)-1, nil)
			n.Inputs = n.Inputs[:len(n.Inputs)-1]
		}
		setHardSigmoid(n, alpha, beta)
	})
	return m.Forward(y, affine{uniform, []float64{width}, []float64{l.lo}})
}

func setHardSigmoid(n *model.Node, alpha, beta float64) {
	n.SetAttr(model.Float("alpha", alpha))
	n.SetAttr(model.Float("beta", beta))
}

// intoHardSigmoid is the map as one scale above 0 and one shift, which a HardSigmoid can take into its attributes.
func (m *move) intoHardSigmoid(n *model.Node, a affine) (s, t float64, why *Reason) {
	b, ok := a.Flat()
	if !ok {
		return 0, 0, because(Nonlinear, "%v has one slope, the map differs from channel to channel", n)
	}
	if !b.Positive() {
		return 0, 0, because(Sign, "a scale that is not positive cannot pass %v", n)
	}
	if why := m.Absorbed(n); why != nil {
		return 0, 0, why
	}
	return b.Scale[0], b.Shift[0], m.Rebuild(n)
}

// hardSigmoidBack: s·HardSigmoid(x; α, β) + t = clip(s·α·x + s·β + t; t, s + t).
func hardSigmoidBack(m *move, n *model.Node, _ int, a affine) *Reason {
	s, t, why := m.intoHardSigmoid(n, a)
	if why != nil {
		return why
	}
	alpha, beta := slope(n)
	m.Edit(func() { n.Type, n.Attrs, n.Edited = "Clip", nil, true })
	none := limits{math.Inf(-1), math.Inf(1)}
	if why := m.setLimits(n, none, limits{t, s + t}); why != nil {
		return why
	}
	return m.Back(n, 0, affine{uniform, []float64{s * alpha}, []float64{s*beta + t}})
}

// hardSigmoidForward: HardSigmoid(s·x + t; α, β) = HardSigmoid(x; α·s, α·t + β).
func hardSigmoidForward(m *move, n *model.Node, k int, a affine) *Reason {
	s, t, why := m.intoHardSigmoid(n, a)
	if why != nil {
		return why
	}
	alpha, beta := slope(n)
	m.Edit(func() { setHardSigmoid(n, alpha*s, alpha*t+beta) })
	return nil
}

// slope are α and β of a HardSigmoid.
func slope(n *model.Node) (alpha, beta float64) {
	return n.Float("alpha", float64(float32(0.2))), n.Float("beta", 0.5)
}
