package torch

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(buildBatchNorm, "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
	register(buildLayerNorm, "layer_norm", "native_layer_norm")
	register(buildGroupNorm, "group_norm")
	register(buildInstanceNorm, "instance_norm")
	register(buildRMSNorm, "rms_norm")
}

// affine are γ and β of a normalisation of so many channels, ones and zeros where they are left out.
func (s *site) affine(d tensor.DType, channels int64) (gamma, beta *model.Value, err error) {
	if channels < 1 || channels > maxChannels {
		return nil, nil, unclear("the number of channels is not known")
	}
	if gamma, err = s.optional("weight", d, channels); err == nil {
		beta, err = s.optional("bias", d, channels)
	}
	if gamma == nil {
		gamma = s.repeated("ones", d, channels, 1)
	}
	if beta == nil {
		beta = s.repeated("zeros", d, channels, 0)
	}
	return gamma, beta, err
}

// buildBatchNorm: y = weight·(x − mean)/√(var + eps) + bias, along axis 1.
func buildBatchNorm(s *site) error {
	x, rank, err := s.x("input")
	if err != nil {
		return err
	}
	if rank < 2 || s.node.trains() || s.ref("running_mean") == nil || s.ref("running_var") == nil {
		return unclear("it works on the statistics of the batch")
	}
	if s.missing() {
		return s.identity(x)
	}
	gamma, beta, err := s.affine(x.DType, x.Shape[1])
	if err != nil {
		return err
	}
	mean, err := s.optional("running_mean", x.DType, x.Shape[1])
	if err != nil {
		return err
	}
	variance, err := s.optional("running_var", x.DType, x.Shape[1])
	if err != nil {
		return err
	}
	key := "eps"
	if s.node.arg(key) == nil {
		key = "epsilon"
	}
	epsilon, err := s.float(key, 1e-5)
	if err != nil {
		return err
	}
	y := s.op("BatchNormalization", []*model.Value{x, gamma, beta, mean, variance}, "epsilon", epsilon)
	s.places("", "weight", "bias", "running_mean", "running_var")
	return s.result(0, y)
}

// lastAxis says whether a normalisation is over the last axis, and how many elements that has.
func (s *site) lastAxis(x *model.Value) (int64, error) {
	shape, err := s.ints("normalized_shape")
	if err != nil {
		return 0, err
	}
	if len(shape) != 1 || len(x.Shape) < 2 || shape[0] != x.Shape[len(x.Shape)-1] {
		return 0, unclear("it normalises over several axes")
	}
	return shape[0], nil
}

func buildLayerNorm(s *site) error {
	x, _, err := s.x("input")
	if err != nil {
		return err
	}
	channels, err := s.lastAxis(x)
	if err != nil {
		return err
	}
	gamma, beta, err := s.affine(x.DType, channels)
	if err != nil {
		return err
	}
	epsilon, err := s.float("eps", 1e-5)
	if err != nil {
		return err
	}
	y := s.op("LayerNormalization", []*model.Value{x, gamma, beta}, "axis", -1, "epsilon", epsilon)
	s.places("", "weight", "bias")
	return s.result(0, y)
}

// buildRMSNorm: y = weight·x/√(mean(x²) + eps). An eps that is left out is that of the type.
func buildRMSNorm(s *site) error {
	x, _, err := s.x("input")
	if err != nil {
		return err
	}
	channels, err := s.lastAxis(x)
	if err != nil {
		return err
	}
	gamma, _, err := s.affine(x.DType, channels)
	if err != nil {
		return err
	}
	if x.DType != tensor.Float32 {
		return unclear("it computes in another type")
	}
	epsilon, err := s.float("eps", 0x1p-23)
	if err != nil {
		return err
	}
	y := s.op("RMSNormalization", []*model.Value{x, gamma}, "axis", -1, "epsilon", epsilon)
	s.places("", "weight")
	return s.result(0, y)
}

func buildGroupNorm(s *site) error {
	x, rank, err := s.x("input")
	if err != nil {
		return err
	}
	groups, err := s.int("num_groups", 1)
	if err != nil {
		return err
	}
	if rank < 3 || groups < 1 || x.Shape[1]%groups != 0 {
		return unclear("it normalises in a way of its own")
	}
	gamma, beta, err := s.affine(x.DType, x.Shape[1])
	if err != nil {
		return err
	}
	epsilon, err := s.float("eps", 1e-5)
	if err != nil {
		return err
	}
	y := s.op("GroupNormalization", []*model.Value{x, gamma, beta}, "num_groups", groups, "epsilon", epsilon)
	s.places("", "weight", "bias")
	return s.result(0, y)
}

func buildInstanceNorm(s *site) error {
	x, rank, err := s.x("input")
	if err != nil {
		return err
	}
	if rank < 3 || !s.yes("use_input_stats", true) || slices.ContainsFunc(s.refs, func(r *ref) bool { return r.arg.name == "running_mean" }) {
		return unclear("it keeps statistics")
	}
	gamma, beta, err := s.affine(x.DType, x.Shape[1])
	if err != nil {
		return err
	}
	epsilon, err := s.float("eps", 1e-5)
	if err != nil {
		return err
	}
	y := s.op("InstanceNormalization", []*model.Value{x, gamma, beta}, "epsilon", epsilon)
	s.places("", "weight", "bias")
	return s.result(0, y)
}
