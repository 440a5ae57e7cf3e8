package keras

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	affine := map[string]string{"gamma": "scale", "beta": "center"}
	register(&class{build: buildBatchNorm, weights: func(l *layer) []string { return append(l.affine(), "moving_mean", "moving_variance") }, gains: affine}, "BatchNormalization", "SyncBatchNormalization")
	register(&class{build: buildLayerNorm, weights: (*layer).affine, gains: affine}, "LayerNormalization")
	register(&class{build: buildGroupNorm, weights: (*layer).affine, gains: affine}, "GroupNormalization")
	register(&class{build: buildNormalization, weights: func(l *layer) []string {
		if l.config.Get("mean").Null() {
			return []string{"mean", "variance", "count"}
		}
		return nil
	}}, "Normalization")
	register(&class{build: buildRescaling, said: map[string]string{"scale": "scale", "offset": "offset"}}, "Rescaling")
}

// affine are the roles of a normalisation's γ and β, as far as its settings give it those.
func (l *layer) affine() []string {
	var roles []string
	if l.config.Get("scale").Yes(true) {
		roles = append(roles, "gamma")
	}
	if l.config.Get("center").Yes(true) {
		roles = append(roles, "beta")
	}
	return roles
}

// normal checks a normalisation over the channels of one axis, and returns the axis, the number of channels and ε.
func (s *site) normal() (axis int, channels int64, epsilon float64, err error) {
	x := s.in[0]
	if err := known(x, 2); err != nil {
		return 0, 0, 0, err
	}
	if axis, err = s.axis(x.rank, -1); err != nil {
		return 0, 0, 0, err
	}
	if axis == 0 {
		return 0, 0, 0, unclear("axis is 0")
	}
	channels = -1
	if e := x.extents(); e != nil {
		channels = e[axis]
	}
	epsilon, err = s.number("epsilon", 1e-3)
	return axis, channels, epsilon, err
}

// affineWeights are γ and β, or ones and zeros where the layer has none.
func (s *site) affineWeights(channels int64) (gamma, beta *model.Value) {
	return s.constOrWeight("gamma", channels, 1), s.constOrWeight("beta", channels, 0)
}

func (s *site) constOrWeight(role string, channels int64, def float64) *model.Value {
	if s.has(role) {
		return s.weight(role, []int64{channels})
	}
	return s.repeated(role, channels, def)
}

// repeated is a vector of equal numbers.
func (s *site) repeated(what string, n int64, x float64) *model.Value {
	values := make([]float64, n)
	for k := range values {
		values[k] = x
	}
	return s.constant(what, s.in[0].dtype(), []int64{n}, values)
}

// expectAffine checks γ and β.
func (s *site) expectAffine(channels int64) error {
	for _, role := range s.layer.affine() {
		if err := s.expect(role, s.in[0].dtype(), channels); err != nil {
			return err
		}
	}
	return nil
}

func buildBatchNorm(s *site) (*value, error) {
	axis, channels, epsilon, err := s.normal()
	if err != nil {
		return nil, err
	}
	if s.setting("renorm").Yes(false) || !s.setting("virtual_batch_size").Null() || !s.setting("adjustment").Null() {
		return nil, unclear("it has settings of normalisation that are not supported")
	}
	x := s.in[0]
	if err := s.expect("moving_mean", x.dtype(), channels); err != nil {
		return nil, err
	}
	channels = s.layer.variable("moving_mean").set.Shape[0]
	if err := s.expect("moving_variance", x.dtype(), channels); err != nil {
		return nil, err
	}
	if err := s.expectAffine(channels); err != nil {
		return nil, err
	}
	gamma, beta := s.affineWeights(channels)
	mean, variance := s.weight("moving_mean", []int64{channels}), s.weight("moving_variance", []int64{channels})
	y := s.weighted("BatchNormalization", "norm", []*model.Value{s.form(x, axis), gamma, beta, mean, variance}, []string{"", "gamma", "beta", "moving_mean", "moving_variance"}, "epsilon", epsilon)
	return s.result(y, x.rank, axis), nil
}

// affineNode appends y = scale·x + offset for each channel of an axis, as one node: a batch normalisation.
func (s *site) affineNode(axis int, scale, offset []float64) *value {
	x, n := s.in[0], int64(len(scale))
	first := s.form(x, axis)
	gamma := s.constant("scale", first.DType, []int64{n}, scale)
	beta := s.constant("offset", first.DType, []int64{n}, offset)
	inputs, roles := []*model.Value{first, gamma, beta, s.repeated("mean", n, 0), s.repeated("variance", n, 1)}, []string(nil)
	if classes[s.layer.class].said != nil { // the settings can change
		roles = []string{"", "scale", "offset"}
	}
	y := s.weighted("BatchNormalization", "norm", inputs, roles, "epsilon", 0.0)
	return s.result(y, x.rank, axis)
}

// numbers is a setting that is one number, or a list of n.
func (s *site) numbers(key string, n int64, def float64) ([]float64, error) {
	v := s.setting(key)
	for v.Get("config", "value") != nil { // an array of numpy's
		v = v.Get("config", "value")
	}
	for len(v.List()) == 1 && v.List()[0].Kind == '[' { // leading axes of extent 1
		v = v.List()[0]
	}
	out := make([]float64, n)
	for k, item := range each(v, int(n)) {
		if v.Null() {
			out[k] = def
			continue
		}
		x, ok := item.Float()
		if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, unclear(key + " is " + short(v))
		}
		out[k] = float64(float32(x))
	}
	return out, nil
}

// maxChannels bounds vectors that are made of settings.
const maxChannels = 1 << 16

// floating checks a layer that computes with numbers of its settings: its input has to be float32 with a known number of
// channels.
func (s *site) floating(channels int64) error {
	if channels < 1 || channels > maxChannels {
		return unclear("the number of channels is not known")
	}
	if x := s.in[0]; x.dtype() != dtypes["float32"] {
		return unclear("it works on " + x.dtype().String())
	}
	return nil
}

// Rescaling: y = scale·x + offset, along the last axis where they are lists.
func buildRescaling(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 2); err != nil {
		return nil, err
	}
	e := x.extents()
	if e == nil {
		return nil, unclear("the shape is not known")
	}
	channels := e[x.rank-1]
	if err := s.floating(channels); err != nil {
		return nil, err
	}
	scale, err := s.numbers("scale", channels, 1)
	if err != nil {
		return nil, err
	}
	offset, err := s.numbers("offset", channels, 0)
	if err != nil {
		return nil, err
	}
	return s.affineNode(x.rank-1, scale, offset), nil
}

// Normalization: y = (x − mean)/max(√variance, 1e-7), or the inverse.
func buildNormalization(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 2); err != nil {
		return nil, err
	}
	e, axis := x.extents(), x.rank-1
	if e == nil {
		return nil, unclear("the shape is not known")
	}
	shape := []int64{} // of mean and variance
	if v := s.setting("axis"); !v.Null() && (v.Kind != '[' || len(v.Items) > 0) {
		var err error
		if axis, err = s.axis(x.rank, -1); err != nil || axis == 0 {
			return nil, unclear("axis is " + short(v))
		}
		shape = []int64{e[axis]}
	}
	channels := e[axis]
	if err := s.floating(channels); err != nil {
		return nil, err
	}
	of := func(key string) ([]float64, error) {
		if !s.setting(key).Null() {
			return s.numbers(key, channels, 0)
		}
		if err := s.expect(key, x.dtype(), shape...); err != nil {
			return nil, err
		}
		c := s.weightValues(key)
		if c == nil {
			return nil, wrong(s.layer, "its %s cannot be read", key)
		}
		if len(shape) == 0 {
			for int64(len(c)) < channels {
				c = append(c, c[0])
			}
		}
		return c, nil
	}
	mean, err := of("mean")
	if err != nil {
		return nil, err
	}
	variance, err := of("variance")
	if err != nil {
		return nil, err
	}
	scale, offset := make([]float64, channels), make([]float64, channels)
	for c := range scale {
		deviation := max(math.Sqrt(variance[c]), 1e-7)
		if scale[c], offset[c] = 1/deviation, -mean[c]/deviation; s.setting("invert").Yes(false) {
			scale[c], offset[c] = deviation, mean[c]
		}
	}
	return s.affineNode(axis, scale, offset), nil
}

// weightValues are the elements of a small weight; nil where they cannot be read.
func (s *site) weightValues(role string) []float64 {
	v := s.layer.variable(role)
	values, err := (&model.Constant{DType: v.dtype, Shape: v.set.Shape, Data: v.data}).Float64s(maxChannels)
	if err != nil {
		return nil
	}
	return values
}

// LayerNormalization over the last axis.
func buildLayerNorm(s *site) (*value, error) {
	axis, channels, epsilon, err := s.normal()
	if err != nil {
		return nil, err
	}
	x := s.in[0]
	if axis != x.rank-1 || s.setting("rms_scaling").Yes(false) || s.version.before(2, 4) && !s.version.tf {
		return nil, unclear("it has settings of normalisation that are not supported")
	}
	if channels < 1 && !s.has("gamma") {
		return nil, unclear("the number of channels is not known")
	}
	if err := s.expectAffine(channels); err != nil {
		return nil, err
	}
	if s.has("gamma") {
		channels = s.layer.variable("gamma").set.Shape[0]
	}
	gamma, beta := s.affineWeights(channels)
	y := s.weighted("LayerNormalization", "norm", []*model.Value{s.form(x, 1), gamma, beta}, []string{"", "gamma", "beta"}, "axis", -1, "epsilon", epsilon)
	return s.result(y, x.rank, 1), nil
}

// GroupNormalization: the channels of a group and all positions are normalised together, which InstanceNormalization does
// with groups for channels; then come γ and β for each channel.
func buildGroupNorm(s *site) (*value, error) {
	axis, channels, epsilon, err := s.normal()
	if err != nil {
		return nil, err
	}
	groups, ok := s.setting("groups").Int()
	if !ok {
		groups = 32
	}
	if groups == -1 {
		groups = channels
	}
	x := s.in[0]
	if err := s.floating(channels); err != nil {
		return nil, err
	}
	if x.rank < 3 || groups < 1 || channels%groups != 0 || s.version.before(2, 11) {
		return nil, unclear("it has settings of normalisation that are not supported")
	}
	if err := s.expectAffine(channels); err != nil {
		return nil, err
	}
	first := s.form(x, axis)
	y := s.op("Reshape", "groups", []*model.Value{first, s.ints("groups/shape", 0, groups, -1)})
	y = s.op("InstanceNormalization", "norm", []*model.Value{y, s.repeated("ones", groups, 1), s.repeated("zeros", groups, 0)}, "epsilon", epsilon)
	y = s.op("Reshape", "channels", []*model.Value{y, s.op("Shape", "shape", []*model.Value{first})})
	if s.has("gamma") || s.has("beta") {
		gamma, beta := s.affineWeights(channels)
		inputs := []*model.Value{y, gamma, beta, s.repeated("mean", channels, 0), s.repeated("variance", channels, 1)}
		y = s.weighted("BatchNormalization", "affine", inputs, []string{"", "gamma", "beta"}, "epsilon", 0.0)
		s.parts[len(s.parts)-1].tail = true
	}
	return s.result(y, x.rank, axis), nil
}
