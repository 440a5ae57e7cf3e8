package caffe

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	rules["BatchNorm"] = batchNorm
	rules["Scale"] = scale
	rules["Bias"] = bias
	rules["Power"] = power
}

// float32Of is a parameter's default, as the float32 that Caffe computes with.
func float32Of(x float64) float64 { return float64(float32(x)) }

// normalise adds the layer's BatchNormalization: y = γ·(x − μ)/√(σ² + ε) + β for each channel of axis 1.
func (b *builder) normalise(gamma, beta, mean, variance *model.Value, epsilon float64) *model.Node {
	return b.only("BatchNormalization", []*model.Value{b.in(0), gamma, beta, mean, variance}, model.Float("epsilon", epsilon))
}

// all is a constant of n equal elements.
func (b *builder) all(part string, n int64, x float64) *model.Value {
	return b.added(part, tensor.Float32, []int64{n}, slices.Repeat([]float64{x}, int(n)))
}

// batchNorm has the weights mean·f, variance·f and f (layers/batch_norm_layer.cpp); an f of 0, that of a layer that was
// never trained, makes both 0. It has no γ and β: those are in a Scale layer behind it, or, in NVIDIA's Caffe, two more
// weights if scale_bias is true or a filler for them is given.
func batchNorm(b *builder) error {
	p := b.params("batch_norm_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	global, epsilon := p.bool("use_global_stats", true), p.float("eps", float32Of(1e-5))
	own := p.bool("scale_bias", p.has("scale_filler", "bias_filler"))
	if in := b.shape(0); in != nil && len(in) < 2 {
		return errOpaque
	}
	if err := b.wants(3 + 2*truth(own)); err != nil {
		return err
	}
	channels, err := b.channels(0)
	if err != nil {
		return err
	}
	for k := range b.layer.weights[1:] {
		want := channels
		if k+1 == 2 {
			want = 1
		}
		if _, err := b.weightShape(k+1, want); err != nil {
			return err
		}
	}
	list, err := b.layer.weights[2].floats()
	if err != nil {
		return err
	}
	factor := list[0]
	switch {
	case own && factor != 1:
		return opaque(fmt.Sprintf("its third blob is %g: NVIDIA's Caffe does not divide by it, others do", factor))
	case own && epsilon < float32Of(minEpsilon):
		return opaque(fmt.Sprintf("eps is %g, but NVIDIA's Caffe uses at least %g", float32(epsilon), minEpsilon))
	}
	var statistics [2]*model.Value
	for k, part := range []string{"mean", "variance"} {
		values, err := b.layer.weights[k].floats()
		if err != nil {
			return err
		}
		for c := range values {
			if factor == 0 {
				values[c] = 0
			} else {
				values[c] /= factor
			}
		}
		statistics[k] = b.added(part, tensor.Float32, []int64{channels}, values)
	}
	gamma, beta, place := (*model.Value)(nil), (*model.Value)(nil), map[int]int{}
	if factor != 0 {
		place[3], place[4], b.layer.factor = 0, 1, factor
	}
	if own {
		gamma, beta = b.weight(3, "gamma", []int64{channels}), b.weight(4, "beta", []int64{channels})
		place[1], place[2] = 3, 4
	} else {
		gamma, beta = b.all("gamma", channels, 1), b.all("beta", channels, 0)
	}
	if global {
		b.stores(b.normalise(gamma, beta, statistics[0], statistics[1], epsilon), place)
		return nil
	}
	// use_global_stats: false holds in phase TEST too. In ONNX this is training_mode, with the running statistics as
	// outputs.
	in := []*model.Value{b.in(0), gamma, beta, statistics[0], statistics[1]}
	n := b.node("BatchNormalization", "", in, 3, model.Int("training_mode", 1), model.Float("epsilon", epsilon))
	b.layer.makes = []model.Use{{Node: n}}
	return nil
}

// span gives the axes of the first bottom that a weight of Scale or Bias applies to: num axes from axis on, −1 for all that
// follow. Leading axes of extent 1 of the weight are skipped: [1, C] from axis 0 on is [C] from axis 1 on.
func (b *builder) span(p *params) (axis, num int64, err error) {
	in := b.shape(0)
	axis, num = p.int("axis", 1), p.int("num_axes", 1)
	if p.err != nil {
		return 0, 0, p.err
	}
	if axis < 0 && in != nil {
		axis += int64(len(in))
	}
	if num == -1 && in != nil {
		num = int64(len(in)) - axis
	}
	if axis < 0 || num < 0 || in != nil && axis+num > int64(len(in)) || in != nil && len(in) < 2 {
		return 0, 0, errOpaque
	}
	if in == nil {
		return axis, num, nil
	}
	var stored []int64
	if len(b.layer.weights) > 0 {
		stored = b.layer.weights[0].shape
	}
	for num > 1 && (in[axis] == 1 || in[axis] < 0 && int64(len(stored)) == num && stored[0] == 1) {
		axis, num, stored = axis+1, num-1, stored[min(1, len(stored)):]
	}
	return axis, num, nil
}

// scale multiplies by its first weight, or by its second bottom, and adds its bias where it has one.
func scale(b *builder) error {
	l := b.layer
	p := b.params("scale_param")
	if len(l.in) == 2 {
		if p.bool("bias_term", false) {
			return errOpaque
		}
		return b.withSecond("Mul", p)
	}
	if err := b.counts(1, 1); err != nil {
		return err
	}
	axis, num, err := b.span(p)
	if err != nil {
		return err
	}
	biased := p.bool("bias_term", false)
	if err := b.wants(1 + truth(biased)); err != nil {
		return err
	}
	switch {
	case num == 0:
		return b.uniform(biased)
	case axis != 1 || num != 1:
		if biased {
			return errOpaque
		}
		return b.beside("Mul", axis, num)
	}
	channels, err := b.channels(0)
	if err != nil {
		return err
	}
	gamma, beta, place := b.weight(0, "gamma", []int64{channels}), (*model.Value)(nil), map[int]int{1: 0, 2: 1}
	if biased {
		if _, err := b.weightShape(1, channels); err != nil {
			return err
		}
		beta = b.weight(1, "beta", []int64{channels})
	} else {
		beta = b.all("beta", channels, 0)
	}
	b.stores(b.normalise(gamma, beta, b.all("mean", channels, 0), b.all("variance", channels, 1), 0), place)
	l.gains = "scale_param"
	return nil
}

// bias adds its weight, or its second bottom.
func bias(b *builder) error {
	p := b.params("bias_param")
	if len(b.layer.in) == 2 {
		return b.withSecond("Add", p)
	}
	if err := b.counts(1, 1); err != nil {
		return err
	}
	axis, num, err := b.span(p)
	if err != nil {
		return err
	}
	if err := b.wants(1); err != nil {
		return err
	}
	if num == 0 || axis != 1 || num != 1 {
		return b.beside("Add", axis, num)
	}
	channels, err := b.channels(0)
	if err != nil {
		return err
	}
	beta := b.weight(0, "beta", []int64{channels})
	b.stores(b.normalise(b.all("gamma", channels, 1), beta, b.all("mean", channels, 0), b.all("variance", channels, 1), 0), map[int]int{2: 0})
	return nil
}

// maxRepeated bounds vectors that repeat one number of the file for each channel, since a net can claim any number of
// channels.
const maxRepeated = 1 << 16

// uniform writes a Scale of one number for all elements.
func (b *builder) uniform(biased bool) error {
	var values [2]float64
	for k := range 1 + truth(biased) {
		list, err := b.layer.weights[k].floats()
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return fmt.Errorf("blob %d has %d elements, want 1 (num_axes is 0): %w", k, len(list), format.ErrCorrupt)
		}
		values[k] = list[0]
	}
	return b.affine(values[0], values[1])
}

// affine writes s·x + t for all elements as a batch normalisation of equal channels.
func (b *builder) affine(s, t float64) error {
	in := b.shape(0)
	if len(in) < 2 || in[1] < 1 || in[1] > maxRepeated {
		return errOpaque
	}
	n := in[1]
	b.normalise(b.all("gamma", n, s), b.all("beta", n, t), b.all("mean", n, 0), b.all("variance", n, 1), 0)
	return nil
}

// power computes (shift + scale·x)^power.
func power(b *builder) error {
	p := b.params("power_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	exponent, s, t := p.float("power", 1), p.float("scale", 1), p.float("shift", 0)
	switch {
	case exponent == 1 && s == 1 && t == 0:
		b.only("Identity", []*model.Value{b.in(0)})
	case exponent == 1:
		return b.affine(s, t)
	case s == 1 && t == 0:
		b.only("Pow", []*model.Value{b.in(0), b.added("power", tensor.Float32, []int64{}, []float64{exponent})})
	default:
		return errOpaque
	}
	return nil
}

// beside adds an operator of the first bottom and a weight that is aligned with num of its axes from axis on.
func (b *builder) beside(op string, axis, num int64) error {
	in := b.shape(0)
	if in == nil {
		return errOpaque
	}
	want := slices.Clone(in[axis : axis+num])
	extents, err := b.weightShape(0, want...)
	if err != nil {
		return err
	}
	for range int64(len(in)) - axis - num {
		extents = append(extents, 1)
	}
	b.only(op, []*model.Value{b.in(0), b.weight(0, "weight", extents)})
	return nil
}

// withSecond adds an operator of two bottoms, of which the second is aligned with the first one's axes from axis on.
func (b *builder) withSecond(op string, p *params) error {
	if err := b.counts(2, 1); err != nil {
		return err
	}
	first, second := b.shape(0), b.shape(1)
	axis := p.int("axis", 1)
	p.int("num_axes", 1) // has no meaning with two bottoms
	if axis < 0 {
		axis += int64(len(first))
	}
	if len(b.layer.weights) > 0 || first == nil || second == nil || axis < 0 || axis+int64(len(second)) > int64(len(first)) ||
		!slices.Equal(second, first[axis:axis+int64(len(second))]) {
		return errOpaque
	}
	y := b.in(1)
	if behind := int64(len(first)) - axis - int64(len(second)); behind > 0 {
		var axes []int64
		for k := range behind {
			axes = append(axes, int64(len(second))+k)
		}
		y = b.node("Unsqueeze", "unsqueeze", []*model.Value{y, b.integers("axes", axes...)}, 1).Outputs[0]
	}
	b.only(op, []*model.Value{b.in(0), y})
	return nil
}
