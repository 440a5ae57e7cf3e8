package caffe

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	for typ, op := range map[string]string{"Sigmoid": "Sigmoid", "TanH": "Tanh", "AbsVal": "Abs", "BNLL": "Softplus"} {
		rules[typ] = func(b *builder) error {
			if err := b.counts(1, 1); err != nil {
				return err
			}
			b.only(op, []*model.Value{b.in(0)})
			return nil
		}
	}
	rules["ReLU"] = relu
	rules["ReLU6"] = relu6
	rules["PReLU"] = prelu
	rules["ELU"] = elu
	rules["Exp"] = exponential("exp_param", "Exp")
	rules["Log"] = exponential("log_param", "Log")
	rules["Swish"] = swish
	rules["Clip"] = clip
	rules["Softmax"] = softmax
	rules["LRN"] = lrn
}

func relu(b *builder) error {
	p := b.params("relu_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	if slope := p.float("negative_slope", 0); slope != 0 {
		b.only("LeakyRelu", []*model.Value{b.in(0)}, model.Float("alpha", slope))
	} else {
		b.only("Relu", []*model.Value{b.in(0)})
	}
	return nil
}

func relu6(b *builder) error {
	b.params("relu_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	b.clip(0, 6)
	return nil
}

func clip(b *builder) error {
	p := b.params("clip_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	if !p.has("min") || !p.has("max") {
		return errOpaque
	}
	b.clip(p.float("min", 0), p.float("max", 0))
	return nil
}

func (b *builder) clip(lo, hi float64) {
	limit := func(part string, x float64) *model.Value {
		return b.added(part, tensor.Float32, []int64{}, []float64{x})
	}
	b.only("Clip", []*model.Value{b.in(0), limit("min", lo), limit("max", hi)})
}

// prelu has a slope for each channel, or one for all.
func prelu(b *builder) error {
	p := b.params("prelu_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in, one := b.shape(0), p.bool("channel_shared", false)
	if err := b.wants(1); err != nil {
		return err
	}
	if len(in) < 2 {
		return errOpaque
	}
	want := slices.Repeat([]int64{1}, len(in)-1)
	if !one {
		want[0] = in[1]
	}
	extents, err := b.weightShape(0, want[0])
	if err != nil {
		return err
	}
	want[0] = extents[0]
	b.only("PRelu", []*model.Value{b.in(0), b.weight(0, "slope", want)})
	return nil
}

func elu(b *builder) error {
	p := b.params("elu_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	b.only("Elu", []*model.Value{b.in(0)}, model.Float("alpha", p.float("alpha", 1)))
	return nil
}

// exponential is base^(shift + scale·x), or its inverse; a base of −1 is e.
func exponential(kind, op string) func(*builder) error {
	return func(b *builder) error {
		p := b.params(kind)
		if err := b.counts(1, 1); err != nil {
			return err
		}
		if p.float("base", -1) != -1 || p.float("scale", 1) != 1 || p.float("shift", 0) != 0 {
			return errOpaque
		}
		b.only(op, []*model.Value{b.in(0)})
		return nil
	}
}

// swish is x·sigmoid(βx).
func swish(b *builder) error {
	p := b.params("swish_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	if p.float("beta", 1) != 1 {
		return errOpaque
	}
	gate := b.node("Sigmoid", "sigmoid", []*model.Value{b.in(0)}, 1)
	b.only("Mul", []*model.Value{b.in(0), gate.Outputs[0]})
	return nil
}

func softmax(b *builder) error {
	p := b.params("softmax_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	b.only("Softmax", []*model.Value{b.in(0)}, model.Int("axis", p.int("axis", 1)))
	return nil
}

// lrn divides by (k + α/n·Σ x²)^β, over the n channels around each.
func lrn(b *builder) error {
	p := b.params("lrn_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	size := p.int("local_size", 5)
	alpha, beta, bias := p.float("alpha", 1), p.float("beta", 0.75), p.float("k", 1)
	if p.enum("norm_region", "ACROSS_CHANNELS", "ACROSS_CHANNELS", "WITHIN_CHANNEL") != "ACROSS_CHANNELS" || size < 1 || size%2 == 0 {
		return errOpaque
	}
	b.only("LRN", []*model.Value{b.in(0)}, model.Float("alpha", alpha), model.Float("beta", beta), model.Float("bias", bias), model.Int("size", size))
	return nil
}
