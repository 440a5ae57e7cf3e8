package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Normalisations.

// DefaultEpsilon is the epsilon of ONNX's normalisations where the attribute is omitted, a float32:
// https://onnx.ai/onnx/operators/onnx__BatchNormalization.html.
const DefaultEpsilon = float64(float32(1e-5))

func init() {
	parameters := []string{"input", "scale", "bias"}
	register(
		&Operator{Type: "BatchNormalization", Inputs: []string{"input", "scale", "bias", "mean", "variance"}, Eval: batchNorm, Shape: sameShape, Magnitude: batchNormMagnitude, Needs: batchNormNeeds, PerChannel: true, Wants: batchNormWants},
		&Operator{Type: "InstanceNormalization", Inputs: parameters, Eval: instanceNorm, Shape: sameShape, Terms: allTerms, Needs: instanceNormNeeds, Lines: true},
		&Operator{Type: "GroupNormalization", Required: 3, Inputs: parameters, Eval: groupNorm, Shape: sameShape, Terms: allTerms, Needs: groupNormNeeds, Lines: true},
		&Operator{Type: "LayerNormalization", Required: 2, Inputs: parameters, Eval: layerNorm, DType: layerNormType, Shape: layerNormShape, Terms: axisTerms, Needs: layerNormNeeds, Lines: true},
		&Operator{Type: "LRN", Eval: lrn, Shape: sameShape, Terms: axisTerms, Needs: lrnNeeds},
		&Operator{Type: "MeanVarianceNormalization", Eval: meanVariance, Shape: sameShape, Terms: allTerms, Needs: meanVarianceNeeds, Lines: true},
	)
	for _, name := range []string{"RMSNormalization", "SimplifiedLayerNormalization"} { // ONNX Runtime registers the latter in ONNX's domain, for the same operator
		register(&Operator{Type: name, Required: 2, Inputs: parameters[:2], Eval: rmsNorm, Shape: sameShape, Terms: axisTerms, Needs: layerNormNeeds, Lines: true})
	}
}

// layerNormType: the mean and the inverse deviation are float32 by default (stash_type).
func layerNormType(_ *model.Node, inputs Types, k int) tensor.DType {
	if k > 0 {
		return tensor.Float32
	}
	return inputs.At(0)
}

// batchNormWants is an image's shape, as most normalised values have it.
func batchNormWants(n *model.Node) []int64 {
	w := weightShape(n, 1, 1)
	if len(w) != 1 {
		return nil
	}
	return []int64{Unknown, w[0], Unknown, Unknown}
}

// perChannel calls f with every element and its channel on axis 1.
func perChannel(x *Array, f func(e, c int)) {
	inner, channels := int(product(x.Shape[2:])), int(x.Shape[1])
	for first, c := 0, 0; first < len(x.Data); first, c = first+inner, (c+1)%channels {
		for e := first; e < first+inner; e++ {
			f(e, c)
		}
	}
}

func vectors(in []*Array, from, to, n int) error {
	for k := from; k < to; k++ {
		if a := input(in, k); a == nil || len(a.Data) != n {
			return fmt.Errorf("input %d is not a vector of %d", k, n)
		}
	}
	return nil
}

// batchNorm is γ·(x − μ)/√(σ² + ε) + β for each channel, with stored statistics (Ioffe and Szegedy 2015, arXiv:1502.03167);
// training_mode is not evaluated.
func batchNorm(n *model.Node, in []*Array) ([]*Array, error) {
	x := in[0]
	if len(x.Shape) < 2 || n.Int("training_mode", 0) != 0 {
		return nil, fmt.Errorf("shape %v or training: %w", x.Shape, ErrUnsupported)
	}
	if err := vectors(in, 1, 5, int(x.Shape[1])); err != nil {
		return nil, err
	}
	epsilon := n.Float("epsilon", DefaultEpsilon)
	out := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	perChannel(x, func(e, c int) {
		out.Data[e] = in[1].Data[c]*(x.Data[e]-in[3].Data[c])/math.Sqrt(in[4].Data[c]+epsilon) + in[2].Data[c]
	})
	return one(out, nil)
}

// batchNormMagnitude is |s|·m + |s·μ| + |β|.
func batchNormMagnitude(n *model.Node, _, m, _ []*Array) ([]*Array, error) {
	if err := need(m, 5); err != nil {
		return nil, err
	}
	x, epsilon := m[0], n.Float("epsilon", DefaultEpsilon)
	if len(x.Shape) < 2 {
		return nil, ErrUnsupported
	}
	if err := vectors(m, 1, 5, int(x.Shape[1])); err != nil {
		return nil, err
	}
	out := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	perChannel(x, func(e, c int) {
		out.Data[e] = m[1].Data[c]/math.Sqrt(m[4].Data[c]+epsilon)*(x.Data[e]+m[3].Data[c]) + m[2].Data[c]
	})
	return one(out, nil)
}

// normalize divides x into stretches of that many elements, subtracts each one's mean and divides by √(variance + epsilon).
// It returns the means and the inverse deviations too.
func normalize(x *Array, stretch int, epsilon float64) (out *Array, means, inverses []float64) {
	out = &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	for first := 0; first+stretch <= len(x.Data) && stretch > 0; first += stretch {
		mean, square := 0.0, 0.0
		for _, v := range x.Data[first : first+stretch] {
			mean += v
		}
		mean /= float64(stretch)
		for _, v := range x.Data[first : first+stretch] {
			square += (v - mean) * (v - mean)
		}
		deviation := math.Sqrt(square/float64(stretch) + epsilon)
		for e := first; e < first+stretch; e++ {
			out.Data[e] = (x.Data[e] - mean) / deviation
		}
		means, inverses = append(means, mean), append(inverses, 1/deviation)
	}
	return out, means, inverses
}

// instanceNorm normalises each channel of each image by its own mean and variance, then multiplies by γ and adds β (Ulyanov
// et al. 2016, arXiv:1607.08022).
func instanceNorm(n *model.Node, in []*Array) ([]*Array, error) {
	x := in[0]
	if len(x.Shape) < 3 {
		return nil, fmt.Errorf("shape %v", x.Shape)
	}
	if err := vectors(in, 1, 3, int(x.Shape[1])); err != nil {
		return nil, err
	}
	out, _, _ := normalize(x, int(product(x.Shape[2:])), n.Float("epsilon", DefaultEpsilon))
	perChannel(out, func(e, c int) { out.Data[e] = out.Data[e]*in[1].Data[c] + in[2].Data[c] })
	return one(out, nil)
}

// layerNorm normalises over the axes from axis on, then multiplies by γ and adds β; the mean and the inverse deviation are
// outputs too (Ba et al. 2016, arXiv:1607.06450).
func layerNorm(n *model.Node, in []*Array) ([]*Array, error) {
	x := in[0]
	axis, err := axisOf(n.Int("axis", -1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	out, means, inverses := normalize(x, int(product(x.Shape[axis:])), n.Float("epsilon", DefaultEpsilon))
	if out, err = combine(times, out, in[1]); err != nil {
		return nil, err
	}
	if b := input(in, 2); b != nil {
		if out, err = combine(add, out, b); err != nil {
			return nil, err
		}
	}
	kept := slices.Concat(x.Shape[:axis], slices.Repeat([]int64{1}, len(x.Shape)-axis))
	return []*Array{out, {Shape: kept, Data: means}, {Shape: kept, Data: inverses}}, nil
}

// layerNormShape outputs, besides, the mean and the inverse deviation of each stretch.
func layerNormShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axis, err := axisOf(n.Int("axis", -1), len(x))
	if err != nil {
		return shapes(x)
	}
	kept := slices.Clone(x)
	for k := axis; k < len(kept); k++ {
		kept[k] = 1
	}
	return shapes(x, kept, kept)
}

// rmsNorm divides by the root of the mean square over the axes from axis on, then multiplies by γ (Zhang and Sennrich 2019,
// arXiv:1910.07467).
func rmsNorm(n *model.Node, in []*Array) ([]*Array, error) {
	x := in[0]
	axis, err := axisOf(n.Int("axis", -1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	out, size, epsilon := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}, int(product(x.Shape[axis:])), n.Float("epsilon", DefaultEpsilon)
	for first := 0; size > 0 && first+size <= len(x.Data); first += size {
		square := 0.0
		for _, v := range x.Data[first : first+size] {
			square += v * v
		}
		root := math.Sqrt(square/float64(size) + epsilon)
		for k, v := range x.Data[first : first+size] {
			out.Data[first+k] = v / root
		}
	}
	return one(combine(times, out, in[1]))
}

// groupNorm normalises groups of channels (Wu and He 2018, arXiv:1803.08494). From operator set 21 on it has a scale and a
// bias for each channel; before that, for each group.
func groupNorm(n *model.Node, in []*Array) ([]*Array, error) {
	x, groups := in[0], n.Int("num_groups", 1)
	if len(x.Shape) < 2 || groups < 1 || x.Shape[1]%groups != 0 {
		return nil, fmt.Errorf("%d groups of shape %v", groups, x.Shape)
	}
	each := 1
	if opset(n) < 21 {
		each = int(x.Shape[1] / groups)
	}
	if err := vectors(in, 1, 3, int(x.Shape[1])/each); err != nil {
		return nil, err
	}
	out, _, _ := normalize(x, int(x.Shape[1]/groups*product(x.Shape[2:])), n.Float("epsilon", DefaultEpsilon))
	perChannel(x, func(e, c int) { out.Data[e] = out.Data[e]*in[1].Data[c/each] + in[2].Data[c/each] })
	return one(out, nil)
}

// lrn divides by (bias + alpha/size·Σ x²)^beta, the sum over size neighbouring channels (Krizhevsky et al. 2012).
func lrn(n *model.Node, in []*Array) ([]*Array, error) {
	x, size := in[0], n.Int("size", 0)
	if len(x.Shape) < 2 || size < 1 {
		return nil, fmt.Errorf("shape %v, %d channels", x.Shape, size)
	}
	alpha, beta, bias := n.Float("alpha", stored(1e-4)), n.Float("beta", 0.75), n.Float("bias", 1)
	return one(changed(x, 1, func(line []float64) {
		old := slices.Clone(line)
		for c := range line {
			first, last := max(0, c-int(size-1)/2), min(len(old), c+int(size)/2+1)
			sum := 0.0
			for _, v := range old[first:last] {
				sum += v * v
			}
			line[c] /= math.Pow(bias+alpha/float64(size)*sum, beta)
		}
	}), nil)
}

// meanVarianceAxes are the axes over which a MeanVarianceNormalization goes.
func meanVarianceAxes(n *model.Node) []int64 {
	if axes := n.Ints("axes"); axes != nil {
		return axes
	}
	return []int64{0, 2, 3}
}

// meanVariance is (x − mean)/(deviation + 1e-9) over some axes, as in ONNX's function body of MeanVarianceNormalization.
func meanVariance(n *model.Node, in []*Array) ([]*Array, error) {
	over := &model.Node{Type: "ReduceMean", Attrs: model.Attrs("axes", meanVarianceAxes(n), "keepdims", 1)}
	mean, err := average.node(over, in[:1])
	if err != nil {
		return nil, err
	}
	centred, err := combine(subtract, in[0], mean[0])
	if err != nil {
		return nil, err
	}
	square, err := reduction{step: add, before: square, after: average.after}.node(over, []*Array{centred})
	if err != nil {
		return nil, err
	}
	return one(combine(func(a, b float64) float64 { return a / (math.Sqrt(b) + 1e-9) }, centred, square[0]))
}

func batchNormNeeds(_ *model.Node, _ []*Array, out Part) []Box {
	if len(out.Box) < 2 || out.Output > 0 {
		return nil
	}
	parameter := Box{out.Box[1]}
	return []Box{out.Box, parameter, parameter, parameter, parameter}
}

func instanceNormNeeds(n *model.Node, in []*Array, out Part) []Box {
	if len(out.Box) < 2 {
		return nil
	}
	return append(globalPoolNeeds(n, in, out), Box{out.Box[1]}, Box{out.Box[1]})
}

// groupNormNeeds are all channels of the groups.
func groupNormNeeds(n *model.Node, in []*Array, out Part) []Box {
	groups, boxes := n.Int("num_groups", 1), globalPoolNeeds(n, in, out)
	if boxes == nil || len(out.Box) < 2 || groups < 1 || in[0].Shape[1]%groups != 0 {
		return nil
	}
	group, channels := in[0].Shape[1]/groups, out.Box[1]
	boxes[0][1] = Range{channels.From / group * group, ((channels.To-1)/group + 1) * group}
	return boxes
}

func layerNormNeeds(n *model.Node, in []*Array, out Part) []Box {
	rows := alongNeeds(func(n *model.Node, rank int) []int64 { return axesFrom(n.Int("axis", -1), rank) })(n, in, out)
	if rows == nil || out.Output > 0 {
		return rows
	}
	for _, a := range in[1:] {
		var parameter Box
		if a != nil {
			parameter = broadcastBox(out.Box, a.Shape)
		}
		rows = append(rows, parameter)
	}
	return rows
}

// lrnNeeds are the neighbouring channels.
func lrnNeeds(n *model.Node, _ []*Array, out Part) []Box {
	size := n.Int("size", 0)
	if len(out.Box) < 2 || size < 1 || size > maxElements {
		return nil
	}
	box := slices.Clone(out.Box)
	box[1] = Range{box[1].From - (size-1)/2, box[1].To + size/2}
	return []Box{box}
}

var meanVarianceNeeds = alongNeeds(func(n *model.Node, _ int) []int64 { return meanVarianceAxes(n) })
