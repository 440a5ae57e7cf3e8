package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	operators["Resize"] = resize
	operators["Upsample"] = resize
}

// tap is one element of an axis that an element of the resized axis reads, and its weight.
type tap struct {
	from   int64
	weight float64
}

// resize interpolates axis by axis, as ONNX's Resize defines it, without antialiasing.
func resize(n *model.Node, in []*Array) ([]*Array, error) {
	return resizeBy(n, in, func(weight float64) float64 { return weight })
}

func resizeBy(n *model.Node, in []*Array, by func(weight float64) float64) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x := in[0]
	factors, shape, err := resized(n, in)
	if err != nil {
		return nil, err
	}
	if n.Int("antialias", 0) != 0 || n.Str("keep_aspect_ratio_policy", "stretch") != "stretch" {
		return nil, ErrUnsupported
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
		if float64(from)*factor != float64(to) { // ONNX counts the fraction of an element, ONNX Runtime does not
			return nil, ErrUnsupported
		}
		if to > 1 {
			at *= float64(from-1) / float64(to-1)
		} else {
			at = 0
		}
	case "asymmetric":
		at /= factor
	default:
		return nil, ErrUnsupported
	}
	inside := func(i float64) int64 { return int64(min(max(i, 0), float64(from-1))) }
	switch n.Str("mode", "nearest") {
	case "nearest":
		return []tap{{inside(nearest(n, at)), 1}}, nil
	case "linear", "bilinear":
		at = min(max(at, 0), float64(from-1))
		low := math.Floor(at)
		return []tap{{inside(low), 1 - (at - low)}, {inside(low + 1), at - low}}, nil
	case "cubic":
		return cubic(n, at, inside), nil
	}
	return nil, ErrUnsupported
}

// cubic are the four taps around a position, weighted by Keys' kernel; the weights add up to 1.
func cubic(n *model.Node, at float64, inside func(float64) int64) []tap {
	a, low, sum := n.Float("cubic_coeff_a", -0.75), math.Floor(at), 0.0
	taps := make([]tap, 0, 4)
	for k := -1.0; k <= 2; k++ {
		from, d := inside(low+k), math.Abs(at-low-k)
		weight := keys(d, a)
		if n.Int("exclude_outside", 0) != 0 && float64(from) != low+k {
			continue
		}
		taps, sum = append(taps, tap{from, weight}), sum+weight
	}
	for k := range taps {
		taps[k].weight /= sum
	}
	return taps
}

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
