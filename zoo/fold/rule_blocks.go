package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// ONNX Runtime keeps images in blocks of channels from convolution to convolution. A batch normalisation is a convolution
// of one tap there; an Add or a Mul of a constant brings the whole image into ONNX's order and back, which takes longer
// than what it computes. The operators that work on blocks are those of core/optimizer/nchwc_transformer.cc.

// blockwise are operators that keep an image in blocks; runtimes remove an Identity.
var blockwise = []string{"Identity", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSigmoid", "HardSwish", "MaxPool", "AveragePool", "GlobalMaxPool",
	"GlobalAveragePool", "BatchNormalization", "Concat", "Upsample", "Resize", "Add", "Sum", "Mul"}

// mostSteps bounds how far back blocked looks for a convolution.
const mostSteps = 8

// blocked says whether ONNX Runtime has the image v in blocks: a convolution computes it, or blockwise operators and idioms
// behind one.
func (p *planner) blocked(v *model.Value) bool { return p.blockedWithin(v, 0, map[*model.Value]int{}) }

// blockedWithin is blocked after so many steps back. at has the fewest steps at which a value was reached before: it is not
// searched again from as many or more.
func (p *planner) blockedWithin(v *model.Value, steps int, at map[*model.Value]int) bool {
	if before, seen := at[v]; seen && before <= steps {
		return true
	}
	at[v] = steps
	n := v.Producer
	if len(v.Shape) != 4 || n == nil || n.Domain != "" || steps > mostSteps {
		return false
	}
	if n.Type == "Conv" {
		return true
	}
	if !slices.Contains(blockwise, n.Type) && p.idioms.at(n.Number) == nil {
		return false
	}
	images := 0
	for _, x := range n.Inputs {
		if x == nil || p.isConstant(x) || len(x.Shape) != 4 {
			continue
		}
		if images++; !p.blockedWithin(x, steps+1, at) {
			return false
		}
	}
	return images > 0
}

// leavesBlocks says whether a run is faster as one batch normalisation than as an Add, which is less arithmetic but
// converts the image.
func (p *planner) leavesBlocks(r *run) bool {
	x := r.first().In(p.find(r.first()).data)
	return len(x.Shape) == 4 && (slices.ContainsFunc(r.nodes, isBatchNorm) || p.normalises(r))
}

// normalises says whether a run of several nodes between convolutions is to become one batch normalisation.
func (p *planner) normalises(r *run) bool {
	x := r.first().In(p.find(r.first()).data)
	_, fits := r.a.Over(1, channelsOf(x))
	return fits && channelsOf(x) > 0 && len(r.nodes) > 1 && p.model.Place == nil && !p.opt.Neutralize && !p.opt.Off["norm"] && p.model.Opset[""] >= 9 &&
		x.DType == tensor.Float32 && p.blocked(x) && slices.ContainsFunc(r.last().Outputs[0].Uses, func(u model.Use) bool {
		return u.Node.Type == "Conv" && u.Node.Domain == "" && u.Index == 0
	})
}

// channelsOf is the number of an image's channels; 0 where it is not known.
func channelsOf(x *model.Value) int {
	if len(x.Shape) != 4 || x.Shape[1] < 1 || x.Shape[1] > maxValues {
		return 0
	}
	return int(x.Shape[1])
}

// normalise replaces a run by a batch normalisation with μ = 0, σ² = 1 − ε, rounded to its type, γ = s·√(σ² + ε) and β = t.
func (p *planner) normalise(r *run) bool {
	if !p.normalises(r) {
		return false
	}
	first, last := r.first(), r.last()
	in, out := first.In(p.find(first).data), last.Outputs[0]
	a, _ := r.a.Over(1, channelsOf(in))
	b := batchNorm{beta: a.Shift, mean: make([]float64, len(a.Scale)), variance: make([]float64, len(a.Scale)), gamma: make([]float64, len(a.Scale)), epsilon: op.DefaultEpsilon}
	for c := range a.Scale {
		b.variance[c] = in.DType.Round(1 - b.epsilon)
		b.gamma[c] = a.Scale[c] * b.deviation(c)
	}
	if !fits(b.gamma, in.DType) || !fits(b.beta, in.DType) {
		return false
	}
	m := p.newMove(r.nodes)
	m.added = costBatchNorm
	return m.settle(r, func() {
		g := last.Graph
		for _, n := range r.nodes {
			n.Remove()
		}
		inputs := []*model.Value{in}
		for k, values := range [][]float64{b.gamma, b.beta, b.mean, b.variance} {
			name := out.Name + "_" + []string{"scale", "bias", "mean", "variance"}[k]
			inputs = append(inputs, g.NewConst(name, &model.Constant{DType: in.DType, Shape: []int64{int64(len(values))}, Values: values}))
		}
		node := g.NewNode(last, "BatchNormalization", out.Name+"_normalised", inputs, []*model.Value{out})
		p.regions.join([]*model.Node{first, node})
		p.succeed(node, r)
	}) == nil
}
