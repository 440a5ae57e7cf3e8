package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Images that are read at positions that are computed.

func init() {
	register(&Operator{Type: "GridSample", Required: 2, Inputs: []string{"input", "grid"}, Eval: gridSample, Shape: gridSampleShape, Needs: gridSampleNeeds})
}

// gridSample reads an image at positions from -1 to 1 along each axis, the last axis of the image first.
func gridSample(n *model.Node, in []*Array) ([]*Array, error) {
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

func gridSampleShape(in *Inference, n *model.Node) [][]int64 {
	x, grid := in.of(n.In(0)), in.of(n.In(1))
	if len(x) < 3 || len(grid) != len(x) {
		return nil
	}
	return shapes(slices.Concat(x[:2], grid[1:len(grid)-1]))
}

func gridSampleNeeds(_ *model.Node, in []*Array, out Part) []Box {
	x, grid := in[0], input(in, 1)
	if grid == nil || len(out.Box) < 3 || len(x.Shape) != len(out.Box) || len(grid.Shape) != len(out.Box) {
		return nil
	}
	image := slices.Concat(out.Box[:2], Whole(x.Shape)[2:])
	return []Box{image, slices.Concat(out.Box[:1], out.Box[2:], Whole(grid.Shape)[len(grid.Shape)-1:])}
}
