package keras

import "github.com/zoofold/zoofold/zoo/model"

// Layers that models of keras.applications define for themselves.
func init() {
	register(&class{build: buildCustomScale, merges: true}, "CustomScaleLayer")
	register(&class{build: buildLayerScale, weights: func(*layer) []string { return []string{"gamma"} }}, "LayerScale")
}

// CustomScaleLayer of Inception-ResNet-v2 is x₀ + scale·x₁.
func buildCustomScale(s *site) (*value, error) {
	scale, err := s.number("scale", 1)
	if err != nil {
		return nil, err
	}
	if len(s.in) != 2 || s.in[0].rank != s.in[1].rank {
		return nil, unclear("it reads another number of tensors, or of other ranks")
	}
	inputs, rank, form, err := s.aligned()
	if err != nil {
		return nil, err
	}
	scaled := s.op("Mul", "scaled", []*model.Value{inputs[1], s.constant("scale", inputs[1].DType, []int64{}, []float64{float64(float32(scale))})})
	return s.result(s.op("Add", "merged", []*model.Value{inputs[0], scaled}), rank, form), nil
}

// LayerScale of ConvNeXt multiplies by a factor for each channel.
func buildLayerScale(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 2); err != nil {
		return nil, err
	}
	channels, axis := int64(-1), x.rank-1
	if e := x.extents(); e != nil {
		channels = e[axis]
	}
	if err := s.expect("gamma", x.dtype(), channels); err != nil {
		return nil, err
	}
	channels = s.layer.variable("gamma").set.Shape[0]
	inputs := []*model.Value{s.form(x, axis), s.weight("gamma", []int64{channels}), s.repeated("beta", channels, 0), s.repeated("mean", channels, 0), s.repeated("variance", channels, 1)}
	y := s.weighted("BatchNormalization", "scale", inputs, []string{"", "gamma"}, "epsilon", 0.0)
	return s.result(y, x.rank, axis), nil
}
