package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	for _, o := range []*operator{
		{Types: []string{"LayerNormalization"}, Tail: layerNormTail, Counts: scalesOrShifts},
		{Types: []string{"InstanceNormalization"}, Tail: channelNormTail, Counts: scalesOrShifts},
		{Types: []string{"GroupNormalization"}, Tail: groupNormTail},
		{Types: []string{"RMSNormalization", "SimplifiedLayerNormalization"}, Tail: rmsNormTail, Counts: scalesOrShifts},
	} {
		o.Family, o.Back = "norm", tailBack
		register(o)
	}
}

// A normalisation with statistics of its input is not an affine map, but ends in one, its tail: the multiplication by γ and
// the addition of β. The tail can move into the linear operators that read the normalisation, which leaves γ = 1 and β = 0;
// and it can absorb maps from behind.

// tail is the map in which a normalisation ends, with γ as input 1 and β as input 2 (or none: bias is false).
func (p *planner) tail(n *model.Node, axis int, bias bool) (affine, *Reason) {
	if n.In(1) == nil {
		return affine{}, because(Unsupported, "%v has no scale", n)
	}
	shape, gamma, ok := p.constant(n.In(1))
	if !ok || len(shape) != 1 {
		return affine{}, because(NotConstant, "the scale of %v is not a constant over one axis", n)
	}
	beta := make([]float64, len(gamma))
	if v := n.In(2); bias && v != nil {
		_, values, ok := p.constant(v)
		if !ok || len(values) != len(gamma) {
			return affine{}, because(NotConstant, "the bias of %v is not a constant over one axis", n)
		}
		beta = values
	}
	return affine{axis, gamma, beta}, nil
}

func layerNormTail(p *planner, n *model.Node) (affine, *Reason) {
	return p.lastAxisTail(n, true)
}

func rmsNormTail(p *planner, n *model.Node) (affine, *Reason) {
	return p.lastAxisTail(n, false)
}

func (p *planner) lastAxisTail(n *model.Node, bias bool) (affine, *Reason) {
	y := n.Outputs[0]
	if y.Shape == nil || n.Int("axis", -1) != -1 && n.Int("axis", -1) != int64(len(y.Shape)-1) {
		return affine{}, because(NotPerChannel, "%v normalises over several axes, or an unknown one", n)
	}
	return p.tail(n, len(y.Shape)-1, bias)
}

func channelNormTail(p *planner, n *model.Node) (affine, *Reason) { return p.tail(n, 1, true) }

func groupNormTail(p *planner, n *model.Node) (affine, *Reason) {
	if p.model.Opset[""] < 21 {
		return affine{}, because(NotPerChannel, "%v has a scale for each group before operator set 21", n)
	}
	return p.tail(n, 1, true)
}

// setTail adds the edit that gives a normalisation another tail.
func (m *move) setTail(n *model.Node, a affine) *Reason {
	if why := m.Absorbed(n); why != nil {
		return why
	}
	shape := []int64{int64(len(a.Scale))}
	if (n.Type == "RMSNormalization" || n.Type == "SimplifiedLayerNormalization") && a.Shifts() {
		return because(Unsupported, "%v has no bias", n)
	}
	if why := m.Values(n, 1, n.In(1).DType, shape, a.Scale); why != nil {
		return why
	}
	if n.In(2) == nil && !a.Shifts() {
		return nil
	}
	return m.Values(n, 2, n.In(1).DType, shape, a.Shift)
}

func tailBack(m *move, n *model.Node, k int, a affine) *Reason {
	own, why := m.p.operator(n).Tail(m.p, n)
	if why != nil {
		return why
	}
	if m.p.opt.Neutralize {
		return because(Nonlinear, "no scale or offset can pass %v, which normalises its input", n)
	}
	b, ok := own.Then(a)
	if k != 0 || !ok {
		return because(NotPerChannel, "the map is over axis %d, %v ends in one over axis %d", a.Axis, n, own.Axis)
	}
	return m.setTail(n, b)
}

// sendTail moves the tail of a normalisation into its readers, and says whether it did. If the shift has to stay, the scale
// moves alone where that saves work: γ·x + β = γ·(x + β/γ).
func (p *planner) sendTail(n *model.Node) bool {
	a, why := p.operator(n).Tail(p, n)
	if why == nil && a.Identity() {
		return false
	}
	if why == nil && !a.Finite() {
		why = because(Statistics, "%v has a scale or bias that is not a finite number", n)
	}
	r := &run{nodes: []*model.Node{n}, a: a, cost: costSimple}
	if why == nil {
		why = p.send(r, a, p.nothing(a.Axis, len(a.Scale)))
	}
	if why != nil && p.model.ScaleAlone && a.Scales() && a.Shifts() {
		left := shifting(a.Axis, make([]float64, len(a.Scale)))
		for c, s := range a.Scale {
			left.Shift[c] = a.Shift[c] / s
		}
		if left.Finite() && p.send(r, a.OnlyScale(), left) == nil {
			return true
		}
	}
	if why != nil {
		p.explain(r, why)
	}
	return why == nil
}

// nothing is the identity. Identities of one size share their numbers, since a language model has a γ of ones for each of
// its normalisations.
func (p *planner) nothing(axis, channels int) affine {
	if len(p.plain.Scale) != channels {
		p.plain = shifting(axis, make([]float64, channels))
	}
	return affine{axis, p.plain.Scale, p.plain.Shift}
}

// send moves the map a into the readers of a normalisation, whose tail becomes left.
func (p *planner) send(r *run, a, left affine) *Reason {
	m, n := p.newMove(r.nodes), r.first()
	if why := m.setTail(n, left); why != nil {
		return why
	}
	m.into = nil
	if why := m.Forward(n.Outputs[0], a); why != nil {
		return why
	}
	return m.settle(r, func() {})
}
