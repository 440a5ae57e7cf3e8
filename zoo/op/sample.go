package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	operators["GridSample"] = gridSample
	operators["LRN"] = lrn
	operators["Col2Im"] = col2im
	operators["MeanVarianceNormalization"] = meanVariance
	operators["LpPool"] = lpPool
	operators["GlobalLpPool"] = lpPool
}

// gridSample reads an image at positions from -1 to 1 along each axis, the last axis of the image first.
func gridSample(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	x, grid := in[0], in[1]
	rank := len(x.Shape) - 2
	if rank < 1 || rank > 3 || len(grid.Shape) != rank+2 || grid.Shape[rank+1] != int64(rank) || grid.Shape[0] != x.Shape[0] {
		return nil, fmt.Errorf("image %v, grid %v", x.Shape, grid.Shape)
	}
	out, err := NewArray(slices.Concat(x.Shape[:2], grid.Shape[1:rank+1]))
	if err != nil {
		return nil, err
	}
	if err := within(maxWork, int64(len(out.Data)), 1<<(2*rank)); err != nil {
		return nil, err
	}
	image, points := int(product(x.Shape[2:])), int(product(grid.Shape[1:rank+1]))
	step := strides(x.Shape[2:])
	for p := range int(x.Shape[0]) * points {
		taps := []tap{{0, 1}}
		for axis := range rank {
			at := grid.Data[p*rank+rank-1-axis]
			list, err := sampled(n, at, x.Shape[2+axis])
			if err != nil {
				return nil, err
			}
			var next []tap
			for _, t := range taps {
				for _, u := range list {
					next = append(next, tap{t.from + u.from*step[axis], t.weight * u.weight})
				}
			}
			taps = next
		}
		for c := range int(x.Shape[1]) {
			plane := p/points*int(x.Shape[1]) + c
			for _, t := range taps {
				out.Data[plane*points+p%points] += t.weight * x.Data[plane*image+int(t.from)]
			}
		}
	}
	return one(out, nil)
}

// sampled are the elements of an axis that a position from -1 to 1 reads. Those outside of it are zeros, the nearest of the
// border, or mirrored.
func sampled(n *model.Node, at float64, extent int64) ([]tap, error) {
	low, high := -0.5, float64(extent)-0.5
	if n.Int("align_corners", 0) != 0 {
		low, high, at = 0, float64(extent)-1, (at+1)/2*float64(extent-1)
	} else {
		at = ((at+1)*float64(extent) - 1) / 2
	}
	padding, mode := n.Str("padding_mode", "zeros"), n.Str("mode", "linear")
	if mode == "nearest" {
		at = math.RoundToEven(at)
	}
	if at < low || at > high {
		switch padding {
		case "border":
			at = min(max(at, 0), float64(extent-1))
		case "reflection":
			at = mirrored(at, low, high)
		}
	}
	var taps []tap
	floor := math.Floor(at)
	switch mode {
	case "nearest":
		taps = []tap{{int64(at), 1}}
	case "linear", "bilinear":
		taps = []tap{{int64(floor), 1 - (at - floor)}, {int64(floor) + 1, at - floor}}
	case "cubic", "bicubic":
		for k := -1.0; k <= 2; k++ {
			taps = append(taps, tap{int64(floor + k), keys(math.Abs(at-floor-k), -0.75)})
		}
	default:
		return nil, fmt.Errorf("mode %q: %w", mode, ErrUnsupported)
	}
	var inside []tap
	for _, t := range taps {
		if t.from < 0 || t.from >= extent {
			switch padding {
			case "zeros":
				continue
			case "border":
				t.from = min(max(t.from, 0), extent-1)
			default:
				t.from = min(max(int64(mirrored(float64(t.from), low, high)), 0), extent-1)
			}
		}
		inside = append(inside, t)
	}
	return inside, nil
}

// mirrored is a position reflected at both ends until it lies between them.
func mirrored(at, low, high float64) float64 {
	width := high - low
	if width <= 0 {
		return low
	}
	d := math.Abs(at - low)
	if at > high {
		d = at - high
	} else if at >= low {
		return at
	}
	times := math.Floor(d / width)
	rest := d - times*width
	if (math.Mod(times, 2) == 0) == (at < low) {
		return low + rest
	}
	return high - rest
}

// keys is the kernel of R. G. Keys, "Cubic convolution interpolation for digital image processing" (1981), at a distance.
func keys(d, a float64) float64 {
	if d > 1 {
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return ((a+2)*d-(a+3))*d*d + 1
}

// lrn divides by a power of the mean square of neighbouring channels.
func lrn(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
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

// col2im adds up what windows hold, each at its place in the image.
func col2im(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	x, image, block := in[0], in[1].Ints(), in[2].Ints()
	if len(x.Shape) != 3 || len(image) != len(block) {
		return nil, fmt.Errorf("shape %v, image %v, blocks %v", x.Shape, image, block)
	}
	w, err := newWindow(n, image, block)
	if err != nil {
		return nil, err
	}
	taps, kernel := w.taps(), int(product(block))
	if x.Shape[1]%int64(kernel) != 0 || x.Shape[2] != int64(len(taps)) {
		return nil, fmt.Errorf("shape %v, image %v, blocks %v", x.Shape, image, block)
	}
	channels := x.Shape[1] / int64(kernel)
	out, err := NewArray(slices.Concat([]int64{x.Shape[0], channels}, image))
	if err != nil {
		return nil, err
	}
	size := int(product(image))
	for plane := range int(x.Shape[0] * channels) {
		for p, row := range taps {
			for k, at := range row {
				if at >= 0 {
					out.Data[plane*size+int(at)] += x.Data[(plane*kernel+k)*len(taps)+p]
				}
			}
		}
	}
	return one(out, nil)
}

// meanVariance is (x - mean) / deviation over some axes.
func meanVariance(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	axes := n.Ints("axes")
	if axes == nil {
		axes = []int64{0, 2, 3}
	}
	over := &model.Node{Type: "ReduceMean", Attrs: model.Attrs("axes", axes, "keepdims", 1)}
	mean, err := operators["ReduceMean"](over, in[:1])
	if err != nil {
		return nil, err
	}
	centred, err := combine(func(a, b float64) float64 { return a - b }, in[0], mean[0])
	if err != nil {
		return nil, err
	}
	square, err := reduction{step: func(a, b float64) float64 { return a + b }, before: func(x float64) float64 { return x * x },
		after: func(x, count float64) float64 { return x / count }}.node(over, []*Array{centred})
	if err != nil {
		return nil, err
	}
	return one(combine(func(a, b float64) float64 { return a / (math.Sqrt(b) + 1e-9) }, centred, square[0]))
}

// lpPool is the p-norm of each window, or of each channel.
func lpPool(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	p := float64(n.Int("p", 2))
	list, err := unary(func(x float64) float64 { return math.Pow(math.Abs(x), p) })(n, in)
	if err != nil {
		return nil, err
	}
	add := func(a, b float64) float64 { return a + b }
	if n.Type == "LpPool" {
		list, err = pool(0, add, false)(n, list)
	} else {
		list, err = globalPool(0, add, false)(n, list)
	}
	if err != nil {
		return nil, err
	}
	return unary(func(x float64) float64 { return math.Pow(x, 1/p) })(n, list)
}
