package fold

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// A network whose architecture is code has to keep every node, and every constant with its name and shape. Neutralize moves
// what can be moved by changing values alone: the scales of batch normalisations, and γ and β of layer normalisations and
// their like. A batch normalisation is left with γ = 1, μ = 0, σ² = 1 − ε and for β the shift of its map.

// neutralPass is pass where Options.Neutralize holds.
func (p *planner) neutralPass() bool {
	changed := false
	p.graphs(func(g *model.Graph) {
		done := map[*model.Node]bool{}
		for _, n := range g.Nodes {
			switch {
			case p.operator(n).Tail != nil:
				changed = p.sendTail(n) || changed
			case done[n] || p.find(n).why != nil:
			case !isBatchNorm(n):
				p.explain(&run{nodes: []*model.Node{n}}, because(Keep, "norms: neutralize moves the scales of normalisations, and leaves every other map"))
			default:
				r := p.run(n, isBatchNorm)
				for _, k := range r.nodes {
					done[k] = true
				}
				changed = p.neutralize(r) || changed
			}
		}
	})
	return changed
}

// neutralize moves the scale of a run of batch normalisations, backward or else forward, and says whether it did.
func (p *planner) neutralize(r *run) bool {
	sent, back := p.sendScale(r, outputSide, func(m *move, a affine) *Reason {
		return m.Back(r.first(), p.find(r.first()).data, a)
	})
	if back == nil {
		return sent
	}
	sent, forward := p.sendScale(r, inputSide, func(m *move, a affine) *Reason {
		return m.Forward(r.last().Outputs[0], a)
	})
	if forward == nil {
		return sent
	}
	p.explain(r, &Reason{moreSpecific(back.Code, forward.Code), "before it: " + back.Text + "; after it: " + forward.Text})
	return false
}

// sendScale moves the scale of a run to the linear operators on that side, if it is not 1 and they take it.
func (p *planner) sendScale(r *run, to side, send func(*move, affine) *Reason) (sent bool, why *Reason) {
	m := p.newMove(r.nodes)
	scale, why := m.neutral(r, to)
	if why != nil {
		return false, why
	}
	unit := 2 * r.first().In(1).DType.Unit()
	if !slices.ContainsFunc(scale, func(s float64) bool { return !(math.Abs(s-1) <= unit) }) {
		p.explain(r, m.whyScaleStays(r, unit))
		return false, nil
	}
	if why := send(m, scaling(1, scale)); why != nil {
		return false, why
	}
	if why := m.settle(r, func() {}); why != nil {
		return false, why
	}
	return true, nil
}

// whyScaleStays is the reason why the scale of a run cannot be taken out of it: there may be none but 1.
func (m *move) whyScaleStays(r *run, unit float64) *Reason {
	if slices.ContainsFunc(r.a.Scale, func(s float64) bool { return !(math.Abs(s-1) <= unit) }) {
		for _, n := range r.nodes {
			if why := m.stores(n, 1); why != nil {
				return why
			}
		}
	}
	return because(Keep, "norms: neutralize keeps the node, which only adds")
}

// neutral edits the run's nodes so that they compute what is left of its map when its scale moves to that side, and returns
// the scale. With e the part of the scale that the nodes have to keep, s·x + t = e·(s/e·x) + t = s/e·(e·x + t·e/s).
func (m *move) neutral(r *run, to side) (scale []float64, _ *Reason) {
	holder, nodes := -1, make([]*parameters, len(r.nodes))
	for k, n := range r.nodes {
		b, why := m.parameters(n)
		if why != nil {
			return nil, why
		}
		nodes[k] = b
		if b.stored[2] || b.stored[3] {
			holder = k
		}
	}
	channels := len(r.a.Scale)
	left := scaling(1, ones(channels)) // the map of the nodes without the shift of the node that keeps it
	after := ones(channels)            // the scale that multiplies that shift
	for k, n := range r.nodes {
		b := nodes[k]
		b.unscale(n)
		if b.stored[2] {
			b.beta = make([]float64, channels)
		}
		if b.stored[3] && (k != holder || b.stored[2]) {
			b.mean = make([]float64, channels)
		}
		for c := range channels {
			s, t := b.gamma[c]/b.deviation(c), 0.0
			if k != holder {
				t = b.beta[c] - b.mean[c]*s
			}
			left.Scale[c], left.Shift[c] = s*left.Scale[c], s*left.Shift[c]+t
			if k > holder {
				after[c] *= s
			}
		}
	}
	scale = make([]float64, channels)
	for c := range scale {
		scale[c] = r.a.Scale[c] / left.Scale[c]
		shift := r.a.Shift[c]
		if to == inputSide {
			shift /= scale[c]
		}
		if math.IsNaN(shift) || math.IsInf(shift, 0) {
			return nil, because(Sign, "channel %d of %v is multiplied by zero: an offset cannot come before that", c, r.last())
		}
		if holder < 0 {
			if shift != left.Shift[c] {
				return nil, because(Unsupported, "the file of %v has no place for another shift", r.last())
			}
			continue
		}
		b := nodes[holder]
		t, s := (shift-left.Shift[c])/after[c], b.gamma[c]/b.deviation(c)
		if b.stored[2] {
			b.beta[c] = t + b.mean[c]*s
		} else {
			b.mean[c] = (b.beta[c] - t) / s
		}
	}
	for k, n := range r.nodes {
		if why := m.setParameters(n, nodes[k]); why != nil {
			return nil, why
		}
	}
	return scale, nil
}

// parameters are a batch normalisation's parameters to be changed, and which of them, by the node's input, the file stores.
type parameters struct {
	batchNorm
	stored [5]bool
}

func (m *move) parameters(n *model.Node) (*parameters, *Reason) {
	b, why := m.p.batchNorm(n)
	if why != nil {
		return nil, why
	}
	p := &parameters{batchNorm: batchNorm{slices.Clone(b.gamma), slices.Clone(b.beta), slices.Clone(b.mean), slices.Clone(b.variance), b.epsilon}}
	for k := 1; k < len(p.stored); k++ {
		p.stored[k] = m.stores(n, k) == nil
	}
	return p, nil
}

// unscale makes γ/√(σ² + ε) as near to 1 as the parameters that the file stores allow.
func (b *parameters) unscale(n *model.Node) {
	gamma, variance := b.stored[1], b.stored[4]
	for c := range b.gamma {
		if variance && (gamma || b.gamma[c] == 1) {
			b.variance[c] = n.In(4).DType.Round(1 - b.epsilon)
			b.gamma[c] = 1
		} else if gamma {
			b.gamma[c] = n.In(1).DType.Round(b.deviation(c))
		}
	}
}

// setParameters adds the edits that give a batch normalisation these parameters, where they differ.
func (m *move) setParameters(n *model.Node, b *parameters) *Reason {
	for k, values := range [][]float64{b.gamma, b.beta, b.mean, b.variance} {
		v := n.In(k + 1)
		if _, old, _ := m.p.constant(v); slices.Equal(old, values) {
			continue
		}
		if why := m.Values(n, k+1, v.DType, []int64{int64(len(values))}, values); why != nil {
			return why
		}
	}
	return nil
}

// A scale on its way to a linear operator passes a batch normalisation. If it stopped there, the next pass would move it
// on, perhaps back to where it came from.

// backThroughNorm: s·(e·(x − μ) + β) = e·(s·x − s·μ) + s·β.
func (m *move) backThroughNorm(n *model.Node, a affine) *Reason {
	if why := m.scaleNorm(n, a); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

// forwardThroughNorm: e·(s·x − μ) + β = s·(e·(x − μ/s) + β/s).
func (m *move) forwardThroughNorm(n *model.Node, a affine) *Reason {
	inverse, ok := a.Inverse()
	if !ok {
		return because(Sign, "%v would have to be divided by zero", n)
	}
	if why := m.scaleNorm(n, inverse); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

// scaleNorm adds the edit that multiplies μ and β of a batch normalisation.
func (m *move) scaleNorm(n *model.Node, a affine) *Reason {
	b, why := m.parameters(n)
	if why != nil {
		return why
	}
	a, ok := a.Over(1, len(b.gamma))
	if !ok || a.Shifts() {
		return because(Nonlinear, "only scales of its channels can pass %v", n)
	}
	for c, s := range a.Scale {
		b.beta[c] *= s
		b.mean[c] *= s
	}
	return m.setParameters(n, b)
}
