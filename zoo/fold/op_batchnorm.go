package fold

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

func init() {
	register(&operator{Family: "norm", Types: []string{"BatchNormalization"}, Map: batchNormMap, Cost: costBatchNorm, Counts: always, Back: batchNormBack, Forward: batchNormForward})
}

func isBatchNorm(n *model.Node) bool { return n.Type == "BatchNormalization" && n.Domain == "" }

// batchNorm are the parameters γ, β, μ, σ² and ε of an inference-time BatchNormalization with n channels:
// y = γ·(x − μ)/√(σ² + ε) + β.
type batchNorm struct {
	gamma, beta, mean, variance []float64
	epsilon                     float64
}

// deviation is √(σ² + ε) of channel c.
func (b *batchNorm) deviation(c int) float64 { return math.Sqrt(b.variance[c] + b.epsilon) }

func batchNormMap(p *planner, n *model.Node) (int, affine, *Reason) {
	b, why := p.batchNorm(n)
	if why != nil {
		return 0, affine{}, why
	}
	a := affine{1, make([]float64, len(b.gamma)), make([]float64, len(b.gamma))}
	for c := range b.gamma {
		if !(b.variance[c]+b.epsilon > 0) || math.IsInf(b.variance[c], 0) {
			return 0, affine{}, because(Statistics, "channel %d of %v has variance %g, which is not positive with epsilon %g: is this a valid model?", c, n, b.variance[c], b.epsilon)
		}
		a.Scale[c] = b.gamma[c] / b.deviation(c)
		a.Shift[c] = b.beta[c] - b.mean[c]*a.Scale[c]
	}
	return 0, a, nil
}

// batchNorm reads the parameters, or says why the node is no inference-time batch normalisation per channel.
func (p *planner) batchNorm(n *model.Node) (*batchNorm, *Reason) {
	opset := p.model.Opset[""]
	switch {
	case len(n.Inputs) != 5:
		return nil, because(Unsupported, "%v has %d inputs, want 5", n, len(n.Inputs))
	case opset >= 14 && n.Int("training_mode", 0) != 0:
		return nil, because(Training, "%v normalises with the statistics of the batch", n)
	case opset < 7 && n.Int("is_test", 0) != 1:
		return nil, because(Training, "%v normalises with the statistics of the batch (no is_test)", n)
	case opset < 9 && n.Int("spatial", 1) != 1 && (n.In(0) == nil || len(n.In(0).Shape) != 2): // an input of two axes has no spatial ones
		return nil, because(Unsupported, "%v has statistics for each position, not for each channel (spatial=0)", n)
	}
	for _, v := range n.Outputs[1:] {
		if v != nil && (len(v.Uses) > 0 || v.Output || opset < 14) {
			return nil, because(Training, "%v outputs running statistics", n)
		}
	}
	for _, v := range n.Inputs {
		if v == nil {
			return nil, because(Unsupported, "%v lacks an input", n)
		}
	}
	if p.isConstant(n.In(0)) {
		return nil, &Reason{}
	}
	b := &batchNorm{epsilon: n.Float("epsilon", op.DefaultEpsilon)}
	for k, into := range []*[]float64{&b.gamma, &b.beta, &b.mean, &b.variance} {
		v := n.In(k + 1)
		shape, values, ok := p.constant(v)
		if !ok {
			return nil, p.notConstant("parameter", v, n)
		}
		if len(shape) != 1 || k > 0 && len(values) != len(b.gamma) {
			return nil, because(Unsupported, "the parameter %q of %v has shape %v", v.Name, n, shape)
		}
		*into = values
	}
	return b, nil
}

func batchNormBack(m *move, n *model.Node, k int, a affine) *Reason {
	own := m.p.find(n)
	if k != 0 || own.why != nil {
		return because(Nonlinear, "no scale or offset can pass %v", n)
	}
	if m.p.opt.Neutralize {
		return m.backThroughNorm(n, a)
	}
	a, ok := own.a.Then(a)
	if !ok {
		return because(NotPerChannel, "the map is over axis %d, not over the channels of %v", a.Axis, n)
	}
	return m.setBatchNorm(n, a)
}

func batchNormForward(m *move, n *model.Node, k int, a affine) *Reason {
	own := m.p.find(n)
	if k != 0 || own.why != nil {
		return because(Nonlinear, "no scale or offset can pass %v", n)
	}
	if m.p.opt.Neutralize {
		return m.forwardThroughNorm(n, a)
	}
	a, ok := a.Then(own.a)
	if !ok {
		return because(NotPerChannel, "the map is over axis %d, not over the channels of %v", a.Axis, n)
	}
	return m.setBatchNorm(n, a)
}

// setBatchNorm adds the edit that makes a BatchNormalization compute the map. It keeps its variance, and its mean unless
// the shift would lose its precision to it: γ' = s·√(σ² + ε), β' = t + μ·s.
func (m *move) setBatchNorm(n *model.Node, a affine) *Reason {
	b, why := m.p.batchNorm(n)
	if why != nil {
		return why
	}
	a, ok := a.Over(1, len(b.gamma))
	if !ok {
		return because(NotPerChannel, "the map is over axis %d, not over the channels of %v", a.Axis, n)
	}
	if why := m.Absorbed(n); why != nil {
		return why
	}
	gamma, beta := make([]float64, len(a.Scale)), make([]float64, len(a.Scale))
	for c := range gamma {
		gamma[c] = a.Scale[c] * b.deviation(c)
		beta[c] = a.Shift[c] + b.mean[c]*a.Scale[c]
	}
	shape := []int64{int64(len(gamma))}
	if b.drowns(a) {
		beta = a.Shift
		if why := m.Values(n, 3, n.In(3).DType, shape, make([]float64, len(gamma))); why != nil {
			return why
		}
	}
	if why := m.Values(n, 1, n.In(1).DType, shape, gamma); why != nil {
		return why
	}
	return m.Values(n, 2, n.In(2).DType, shape, beta)
}

// drowns says whether μ·s is over 2¹² times larger than the shifts of the node and of the map, so that t + μ·s would keep
// few of t's digits.
func (b *batchNorm) drowns(a affine) bool {
	for c, mu := range b.mean {
		usual := math.Abs(mu*b.gamma[c]/b.deviation(c)) + math.Abs(b.beta[c]) + math.Abs(a.Shift[c])
		if math.Abs(mu*a.Scale[c]) > 0x1p12*usual {
			return true
		}
	}
	return false
}
