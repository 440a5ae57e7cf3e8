package keras

import (
	"math"
	"strings"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(&class{build: buildNothing},
		"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout", "GaussianNoise",
		"ActivityRegularization", "Identity", "InputLayer", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom",
		"RandomContrast", "RandomBrightness", "RandomHeight", "RandomWidth")
	register(&class{build: buildReshape}, "Reshape")
	register(&class{build: buildFlatten}, "Flatten")
	register(&class{build: buildPermute}, "Permute")
	register(&class{build: buildRepeatVector}, "RepeatVector")
	for _, n := range []string{"1D", "2D", "3D"} {
		register(&class{build: buildZeroPadding}, "ZeroPadding"+n)
		register(&class{build: buildCropping}, "Cropping"+n)
		register(&class{build: buildUpSampling}, "UpSampling"+n)
	}
	register(&class{weights: func(*layer) []string { return nil }}, "Lambda", "Masking", "Dot", "Merge")
}

// buildNothing is a layer that does something in training only.
func buildNothing(s *site) (*value, error) {
	if d := s.in[0].dtype(); !d.Float() {
		return nil, unclear("it turns " + d.String() + " into numbers of another type")
	}
	return s.in[0], nil
}

func buildReshape(s *site) (*value, error) {
	x := s.in[0]
	list := s.setting("target_shape").List()
	if err := known(x, 1); err != nil {
		return nil, err
	}
	if list == nil || len(list) >= maxRank {
		return nil, unclear("target_shape is " + short(s.setting("target_shape")))
	}
	target, free := []int64{0}, 0 // 0 is the input's extent
	for _, v := range list {
		d, ok := v.Int()
		if v.Kind == 'n' {
			d, ok = -1, true
		}
		if d < 0 {
			free++
		}
		if !ok || d == 0 || d < -1 || free > 1 {
			return nil, unclear("target_shape is " + short(s.setting("target_shape")))
		}
		target = append(target, d)
	}
	y := s.op("Reshape", "reshape", []*model.Value{s.form(x, 1), s.ints("shape", target...)})
	return s.result(y, len(target), 1), nil
}

// Flatten joins all axes but the first, with the channels last.
func buildFlatten(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 2); err != nil {
		return nil, err
	}
	first, err := s.channels(x.rank)
	if err != nil {
		return nil, err
	}
	y := s.form(x, 1)
	if x.rank > 2 && first == 1 {
		perm := []int64{0}
		for k := 2; k < x.rank; k++ {
			perm = append(perm, int64(k))
		}
		y = s.op("Transpose", "last", []*model.Value{y}, "perm", append(perm, 1))
	}
	return s.result(s.op("Flatten", "flatten", []*model.Value{y}, "axis", 1), 2, 1), nil
}

func buildPermute(s *site) (*value, error) {
	x, list := s.in[0], s.setting("dims").List()
	if err := ranked(x, len(list)+1); err != nil || x.rank < 2 {
		return nil, unclear("a tensor of another rank")
	}
	perm, seen := []int64{0}, map[int64]bool{}
	for _, v := range list {
		d, ok := v.Int()
		if !ok || d < 1 || d >= int64(x.rank) || seen[d] {
			return nil, unclear("dims is " + short(s.setting("dims")))
		}
		seen[d] = true
		perm = append(perm, d)
	}
	return s.result(s.op("Transpose", "permute", []*model.Value{s.form(x, 1)}, "perm", perm), x.rank, 1), nil
}

func buildRepeatVector(s *site) (*value, error) {
	x := s.in[0]
	n, err := s.filters("n")
	if err != nil {
		return nil, err
	}
	if err := known(x, 2); err != nil || x.rank != 2 {
		return nil, unclear("a tensor of another rank")
	}
	y := s.op("Unsqueeze", "expanded", []*model.Value{s.form(x, 1), s.ints("axis", 1)})
	return s.result(s.op("Tile", "repeated", []*model.Value{y, s.ints("repeats", 1, n, 1)}), 3, 1), nil
}

// borders reads a setting that is one size for all sides, one for each axis, or one for each side of each axis.
func (s *site) borders(key string, spatial int) ([]int64, error) {
	v := s.setting(key)
	out := make([]int64, 2*spatial)
	bad := unclear(key + " is " + short(v))
	list := v.List()
	for k := range spatial {
		item := v
		switch {
		case v.Null():
			out[k], out[spatial+k] = 1, 1
			continue
		case spatial == 1 && len(list) == 2:
		case len(list) == spatial:
			item = list[k]
		case list != nil:
			return nil, bad
		}
		sides := []*jsontext.Value{item, item}
		if pair := item.List(); pair != nil {
			if sides = pair; len(pair) != 2 {
				return nil, bad
			}
		}
		for side, item := range sides {
			x, ok := item.Int()
			if !ok || x < 0 || x > maxSize {
				return nil, bad
			}
			out[side*spatial+k] = x
		}
	}
	return out, nil
}

// spatially checks a layer that works on spatial axes by themselves: 1D layers of this kind have the channels last.
func (s *site) spatially() (spatial, axis int, err error) {
	spatial = int(s.layer.class[len(s.layer.class)-2] - '0')
	if err := ranked(s.in[0], spatial+2); err != nil {
		return 0, 0, err
	}
	axis, err = s.channels(spatial + 2)
	return spatial, axis, err
}

func buildZeroPadding(s *site) (*value, error) {
	spatial, axis, err := s.spatially()
	if err != nil {
		return nil, err
	}
	sides, err := s.borders("padding", spatial)
	if err != nil {
		return nil, err
	}
	x := s.in[0]
	x.settled(spatial + 2)
	first := s.form(x, axis)
	pads := make([]int64, 2*x.rank)
	for k := range spatial {
		pads[2+k], pads[x.rank+2+k] = sides[k], sides[spatial+k]
	}
	zero := s.constant("zero", first.DType, []int64{}, []float64{0})
	return s.result(s.op("Pad", "pad", []*model.Value{first, s.ints("pads", pads...), zero}), x.rank, axis), nil
}

func buildCropping(s *site) (*value, error) {
	spatial, axis, err := s.spatially()
	if err != nil {
		return nil, err
	}
	sides, err := s.borders("cropping", spatial)
	if err != nil {
		return nil, err
	}
	x := s.in[0]
	x.settled(spatial + 2)
	first := s.form(x, axis)
	var axes, ends []int64
	for k := range spatial {
		end := -sides[spatial+k]
		if end == 0 {
			end = math.MaxInt32
		}
		axes, ends = append(axes, int64(2+k)), append(ends, end)
	}
	inputs := []*model.Value{first, s.ints("starts", sides[:spatial]...), s.ints("ends", ends...), s.ints("axes", axes...)}
	return s.result(s.op("Slice", "crop", inputs), x.rank, axis), nil
}

func buildUpSampling(s *site) (*value, error) {
	spatial, axis, err := s.spatially()
	if err != nil {
		return nil, err
	}
	factors, err := s.sizes("size", spatial, 2)
	if err != nil {
		return nil, err
	}
	if err := positive(factors); err != nil {
		return nil, err
	}
	attrs := []any{"mode", "nearest", "coordinate_transformation_mode", "asymmetric", "nearest_mode", "floor"}
	switch way := strings.ToLower(s.word("interpolation", "nearest")); {
	case way == "nearest":
	case way == "bilinear" && !s.version.before(2, 4): // of pixels' centres
		attrs = []any{"mode", "linear", "coordinate_transformation_mode", "half_pixel"}
	default:
		return nil, unclear("interpolation is " + way)
	}
	x := s.in[0]
	x.settled(spatial + 2)
	first := s.form(x, axis)
	scales := []float64{1, 1}
	for _, f := range factors {
		scales = append(scales, float64(f))
	}
	size := s.constant("scales", dtypes["float32"], []int64{int64(len(scales))}, scales)
	return s.result(s.op("Resize", "resize", []*model.Value{first, nil, size}, attrs...), x.rank, axis), nil
}
