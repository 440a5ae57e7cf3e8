package torch

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// integer is the type of indices and shapes.
const integer = tensor.Int64

func init() {
	register(buildPad, "pad", "constant_pad_nd")
	register(pad("reflect"), "reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
	register(pad("edge"), "replication_pad1d", "replication_pad2d", "replication_pad3d")
	register(upsample("nearest"), "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
	register(upsample("linear"), "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
	register(buildPixelShuffle, "pixel_shuffle")
	register(buildAttention, "scaled_dot_product_attention")
}

func buildPad(s *site) error {
	mode, ok := map[string]string{"constant": "constant", "reflect": "reflect", "replicate": "edge"}[s.word("mode", "constant")]
	if !ok {
		return unclear("padding of another kind")
	}
	return pad(mode)(s)
}

// pad adds elements around a tensor. Pads are given for the last axis first, at its beginning and at its end.
func pad(mode string) builds {
	return func(s *site) error {
		x, rank, err := s.x("self", "input")
		if err != nil {
			return err
		}
		key := "pad"
		if s.node.arg(key) == nil {
			key = "padding"
		}
		list, err := s.ints(key)
		if err != nil {
			return err
		}
		if len(list)%2 != 0 || len(list) > 2*rank {
			return unclear("padding of axes that there are not")
		}
		pads := make([]int64, 2*rank)
		for k, n := range list {
			axis := rank - 1 - k/2
			if n < 0 || n > maxSize {
				return unclear("a padding that is none")
			}
			pads[k%2*rank+axis] = n
		}
		inputs := []*model.Value{x, s.list("pads", pads...)}
		value, err := s.float("value", 0)
		if err != nil {
			return err
		}
		if mode == "constant" && value != 0 {
			inputs = append(inputs, s.constant("value", x.DType, []float64{value}))
		}
		return s.result(0, s.op("Pad", inputs, "mode", mode))
	}
}

// upsample resizes an image to the size that the program gives.
func upsample(mode string) builds {
	return func(s *site) error {
		x, rank, err := s.x("self", "input")
		if err != nil {
			return err
		}
		want := s.p.metas[s.outputs[0]].sizes
		if len(want) != rank || rank < 3 || slices.ContainsFunc(slices.Concat(want[2:], x.Shape[2:]), func(d int64) bool { return d < 1 }) {
			return unclear("sizes that depend on the input")
		}
		if !s.scales(x.Shape[2:], want[2:]) {
			return unclear("scales that are not those of the sizes")
		}
		scales := make([]float64, rank)
		for k := range scales {
			if scales[k] = 1; k > 1 {
				scales[k] = float64(want[k]) / float64(x.Shape[k])
			}
		}
		attrs := []any{"mode", mode, "coordinate_transformation_mode", "asymmetric", "nearest_mode", "floor"}
		if mode == "linear" {
			attrs = []any{"mode", mode, "coordinate_transformation_mode", "half_pixel"}
			if s.yes("align_corners", false) {
				attrs[3] = "align_corners"
			}
		}
		if !slices.ContainsFunc(scales, func(x float64) bool { return x != float64(float32(x)) }) {
			return s.result(0, s.op("Resize", []*model.Value{x, nil, s.constant("scales", tensor.Float32, scales, int64(rank))}, attrs...))
		}
		if x.Shape[0] < 0 || x.Shape[1] < 0 {
			return unclear("sizes that depend on the input")
		}
		return s.result(0, s.op("Resize", []*model.Value{x, nil, nil, s.list("sizes", want...)}, attrs...))
	}
}

// scales says whether the scales in the arguments, if there are any, equal the ratio of the sizes.
func (s *site) scales(from, to []int64) bool {
	var given []float64
	if a := s.node.arg("scale_factors"); a != nil {
		for _, v := range a.value.List() {
			x, _ := v.Float()
			given = append(given, x)
		}
	}
	for _, key := range []string{"scales", "scales_d", "scales_h", "scales_w"} {
		if a := s.node.arg(key); a != nil {
			x, _ := a.value.Float()
			given = append(given, x)
		}
	}
	if len(given) == 0 {
		return true
	}
	for k, x := range given {
		if k >= len(from) || math.Abs(x*float64(from[k])-float64(to[k])) > 1e-6*float64(to[k]) {
			return false
		}
	}
	return len(given) == len(from)
}

func buildPixelShuffle(s *site) error {
	x, rank, err := s.x("self")
	if err != nil {
		return err
	}
	r, err := s.int("upscale_factor", 0)
	if err != nil {
		return err
	}
	if rank != 4 || r < 1 || r > 1<<10 || x.Shape[1]%(r*r) != 0 {
		return unclear("an image without a batch")
	}
	return s.result(0, s.op("DepthToSpace", []*model.Value{x}, "blocksize", r, "mode", "CRD"))
}

// buildAttention: softmax(query·keyᵀ·scale + mask)·value, for each batch and head.
func buildAttention(s *site) error {
	if p, err := s.float("dropout_p", 0); err != nil || p != 0 {
		return unclear("it drops at random")
	}
	var inputs []*model.Value
	for _, name := range []string{"query", "key", "value", "attn_mask"} {
		if s.node.arg(name) == nil && name == "attn_mask" {
			continue
		}
		v, rank, err := s.x(name)
		if err != nil {
			return err
		}
		if rank != 4 && name != "attn_mask" || !v.DType.Float() && v.DType != tensor.Bool {
			return unclear("tensors of another rank or type")
		}
		inputs = append(inputs, v)
	}
	var attrs []any
	if s.yes("is_causal", false) {
		attrs = append(attrs, "is_causal", 1)
	}
	if s.node.arg("scale") != nil {
		scale, err := s.float("scale", 1)
		if err != nil {
			return err
		}
		attrs = append(attrs, "scale", scale)
	}
	return s.result(0, s.op("Attention", inputs, attrs...))
}
