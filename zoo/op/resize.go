package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Resize and its older forms.

func init() {
	register(
		&Operator{Type: "Resize", Inputs: []string{"input", "region of interest", "scales", "sizes"}, Eval: resize, Shape: resizeShape, Magnitude: resizeMagnitude, Needs: resizeNeeds},
		&Operator{Type: "Upsample", Inputs: []string{"input", "scales"}, Eval: resize, Shape: resizeShape, Magnitude: resizeMagnitude, Needs: resizeNeeds},
	)
}

func resizeMagnitude(n *model.Node, _, m, _ []*Array) ([]*Array, error) {
	return resizeBy(n, m, math.Abs)
}

// tap is one element of an axis that an element of the resized axis reads, and its weight.
type tap struct {
	from   int64
	weight float64
}

// resize interpolates axis by axis, as ONNX's Resize defines it.
func resize(n *model.Node, in []*Array) ([]*Array, error) {
	return resizeBy(n, in, func(weight float64) float64 { return weight })
}

// resizeBy interpolates as resize does, with other weights: absolute ones bound what errors may add up to.
func resizeBy(n *model.Node, in []*Array, by func(weight float64) float64) ([]*Array, error) {
	x := in[0]
	factors, shape, err := resized(n, in)
	if err != nil {
		return nil, err
	}
	if _, err := elements(shape); err != nil {
		return nil, err
	}
	for axis := range shape {
		if shape[axis] == x.Shape[axis] && factors[axis] == 1 {
			continue
		}
		taps := make([][]tap, shape[axis])
		for k := range taps {
			if taps[k], err = interpolation(n, int64(k), x.Shape[axis], shape[axis], factors[axis]); err != nil {
				return nil, err
			}
			for j, t := range taps[k] {
				taps[k][j].weight = by(t.weight)
			}
		}
		if x, err = along(x, axis, taps); err != nil {
			return nil, err
		}
	}
	return one(x, nil)
}

// resized are the factor and the new extent of each axis.
func resized(n *model.Node, in []*Array) (factors []float64, shape []int64, err error) {
	x := in[0]
	at := 2
	if n.Type == "Upsample" || opset(n) < 11 {
		at = 1
	}
	scales, sizes := n.Floats("scales"), input(in, 3)
	if a := input(in, at); a != nil && len(a.Data) > 0 {
		scales = a.Data
	}
	axes := n.Ints("axes")
	if axes == nil {
		for k := range x.Shape {
			axes = append(axes, int64(k))
		}
	}
	shape, factors = slices.Clone(x.Shape), make([]float64, len(x.Shape))
	for k := range factors {
		factors[k] = 1
	}
	if scales == nil && (sizes == nil || len(sizes.Data) != len(axes)) || scales != nil && len(scales) != len(axes) {
		return nil, nil, fmt.Errorf("neither scales nor sizes for %d axes", len(axes))
	}
	if policy := n.Str("keep_aspect_ratio_policy", "stretch"); scales == nil && policy != "stretch" {
		if scales, err = alike(policy, x.Shape, axes, sizes); err != nil {
			return nil, nil, err
		}
		for k, a := range axes {
			axis, err := axisOf(a, len(shape))
			if err != nil {
				return nil, nil, err
			}
			factors[axis], shape[axis] = scales[k], int64(math.Floor(scales[k]*float64(x.Shape[axis])+0.5))
		}
		return factors, shape, nil
	}
	for k, a := range axes {
		axis, err := axisOf(a, len(shape))
		switch {
		case err != nil:
			return nil, nil, err
		case scales != nil:
			factors[axis] = scales[k]
			shape[axis] = int64(float32(x.Shape[axis]) * float32(scales[k])) // rounded to float32, then down
		default:
			shape[axis] = int64(sizes.Data[k])
			factors[axis] = float64(shape[axis]) / float64(x.Shape[axis])
		}
	}
	return factors, shape, nil
}

// alike is one factor for several axes (keep_aspect_ratio_policy): with not_larger the largest that exceeds no given size,
// with not_smaller the smallest that falls below none.
func alike(policy string, x, axes []int64, sizes *Array) ([]float64, error) {
	counted, err := axesOf(axes, len(x))
	if err != nil {
		return nil, err
	}
	var factor float64
	for k, axis := range counted {
		switch f := sizes.Data[k] / float64(x[axis]); {
		case policy != "not_larger" && policy != "not_smaller":
			return nil, fmt.Errorf("policy %q: %w", policy, ErrUnsupported)
		case k == 0 || f < factor == (policy == "not_larger"):
			factor = f
		}
	}
	return slices.Repeat([]float64{factor}, len(axes)), nil
}

// interpolation is what element k of a resized axis reads.
func interpolation(n *model.Node, k, from, to int64, factor float64) ([]tap, error) {
	if from == 0 {
		return nil, fmt.Errorf("an axis without elements")
	}
	at := float64(k)
	mode := n.Str("coordinate_transformation_mode", "half_pixel")
	if n.Type == "Upsample" || opset(n) < 11 {
		mode = "asymmetric"
	}
	switch mode {
	case "half_pixel":
		at = (at+0.5)/factor - 0.5
	case "pytorch_half_pixel":
		if at = (at+0.5)/factor - 0.5; to <= 1 {
			at = 0
		}
	case "align_corners":
		if float64(from)*factor != float64(to) { // ONNX computes with the fractional extent from·factor, ONNX Runtime with the rounded one: they differ here
			return nil, ErrUnsupported
		}
		if to > 1 {
			at *= float64(from-1) / float64(to-1)
		} else {
			at = 0
		}
	case "asymmetric":
		at /= factor
	case "half_pixel_symmetric": // the centres of both images coincide, however the extent was rounded
		at = float64(from)/2*(1-float64(to)/(factor*float64(from))) + (at+0.5)/factor - 0.5
	default:
		return nil, ErrUnsupported
	}
	inside := func(i float64) int64 { return int64(min(max(i, 0), float64(from-1))) }
	switch mode := n.Str("mode", "nearest"); mode {
	case "nearest":
		return []tap{{inside(nearest(n, at)), 1}}, nil
	case "linear", "bilinear":
		if n.Int("antialias", 0) != 0 && factor < 1 {
			return weighted(n, at, factor, 1, inside, func(d float64) float64 { return max(1-d, 0) }), nil
		}
		at = min(max(at, 0), float64(from-1))
		low := math.Floor(at)
		return []tap{{inside(low), 1 - (at - low)}, {inside(low + 1), at - low}}, nil
	case "cubic":
		stretch := 1.0
		if n.Int("antialias", 0) != 0 {
			stretch = min(factor, 1)
		}
		a := n.Float("cubic_coeff_a", -0.75)
		return weighted(n, at, stretch, 2, inside, func(d float64) float64 { return keys(d, a) }), nil
	}
	return nil, ErrUnsupported
}

// weighted are the taps around a position, weighted by a kernel of that reach. A factor below 1 widens the kernel by its
// inverse. The weights add up to 1.
func weighted(n *model.Node, at, factor, reach float64, inside func(float64) int64, kernel func(distance float64) float64) []tap {
	var taps []tap
	low, sum := math.Floor(at), 0.0
	for k := low + math.Floor(-reach/factor) + 1; k < low+1+math.Ceil(reach/factor); k++ {
		from, weight := inside(k), kernel(math.Abs(at-k)*factor)
		if n.Int("exclude_outside", 0) != 0 && float64(from) != k {
			continue
		}
		taps, sum = append(taps, tap{from, weight}), sum+weight
	}
	for k := range taps {
		taps[k].weight /= sum
	}
	return taps
}

// keys is the kernel of R. G. Keys, "Cubic convolution interpolation for digital image processing" (1981), at a distance.
func keys(d, a float64) float64 {
	if d >= 2 {
		return 0
	}
	if d > 1 {
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return ((a+2)*d-(a+3))*d*d + 1
}

// nearest is the whole position that nearest_mode rounds a position to.
func nearest(n *model.Node, at float64) float64 {
	mode := n.Str("nearest_mode", "round_prefer_floor")
	if n.Type == "Upsample" || opset(n) < 11 {
		mode = "floor"
	}
	switch mode {
	case "floor":
		return math.Floor(at)
	case "ceil":
		return math.Ceil(at)
	case "round_prefer_ceil":
		return math.Floor(at + 0.5)
	}
	return math.Ceil(at - 0.5)
}

// along combines elements of one axis.
func along(x *Array, axis int, taps [][]tap) (*Array, error) {
	shape := slices.Clone(x.Shape)
	shape[axis] = int64(len(taps))
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	inner, extent := product(x.Shape[axis+1:]), x.Shape[axis]
	outer := product(x.Shape[:axis])
	for o := range outer {
		for k, list := range taps {
			to := out.Data[(o*int64(len(taps))+int64(k))*inner:][:inner]
			for _, t := range list {
				from := x.Data[(o*extent+t.from)*inner:][:inner]
				for e, v := range from {
					to[e] += t.weight * v
				}
			}
		}
	}
	return out, nil
}

// resizeShape is the input's times the scales, rounded down, or the sizes.
func resizeShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axes, err := axesOf(n.Ints("axes"), len(x))
	if x == nil || err != nil {
		return nil
	}
	if len(axes) == 0 {
		for k := range x {
			axes = append(axes, k)
		}
	}
	scales, sizes := n.In(2), []int64(nil)
	if n.Type == "Upsample" || in.opset < 11 {
		scales = n.In(1)
	} else if n.Str("keep_aspect_ratio_policy", "stretch") == "stretch" {
		sizes = in.ints(n.In(3))
	}
	factors := n.Floats("scales")
	if a, ok := in.consts.Value(scales); ok {
		factors = a.Data
	}
	out := slices.Clone(x)
	for k, axis := range axes {
		out[axis] = Unknown
		switch {
		case len(sizes) == len(axes):
			out[axis] = extent(sizes[k])
		case len(factors) == len(axes) && x[axis] >= 0 && factors[k] > 0 && factors[k] < 1<<20:
			out[axis] = int64(float32(x[axis]) * float32(factors[k])) // rounded to float32, then down
		}
	}
	return shapes(out)
}

func resizeNeeds(n *model.Node, in []*Array, out Part) []Box {
	for k := 1; k < len(in); k++ {
		if in[k] != nil && in[k].Data == nil {
			return nil
		}
	}
	factors, shape, err := resized(n, in)
	if err != nil || !slices.Equal(shape, out.Shape) {
		return nil
	}
	box := slices.Clone(out.Box)
	for axis, r := range out.Box {
		extent := in[0].Shape[axis]
		if shape[axis] == extent && factors[axis] == 1 {
			continue
		}
		box[axis] = Range{extent, 0}
		for k := r.From; k < r.To; k++ {
			taps, err := interpolation(n, k, extent, shape[axis], factors[axis])
			if err != nil {
				return nil
			}
			for _, t := range taps {
				box[axis] = Range{min(box[axis].From, t.from), max(box[axis].To, t.from+1)}
			}
		}
	}
	return []Box{box}
}
