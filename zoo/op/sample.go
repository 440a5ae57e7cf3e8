package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Operators that read images at computed positions.

func init() {
	register(
		&Operator{Type: "GridSample", Required: 2, Inputs: []string{"input", "grid"}, Eval: gridSample, Shape: gridSampleShape, Needs: gridSampleNeeds},
		&Operator{Type: "AffineGrid", Required: 2, Inputs: []string{"matrices", "size"}, Eval: affineGrid, Shape: affineGridShape, Magnitude: affineGridMagnitude, Needs: batchNeeds},
		&Operator{Type: "DeformConv", Required: 3, Inputs: []string{"input", "weight", "offsets", "bias", "mask"}, Eval: deformConv, DType: common, Shape: convShape, Terms: convTerms, Needs: deformConvNeeds},
	)
}

// gridSample reads an image at positions from −1 to 1 along each axis, the image's last axis first (Jaderberg et al. 2015,
// arXiv:1506.02025).
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

// sampled are the elements of an axis that a position from -1 to 1 reads. Outside of the image padding_mode says what is
// read: zeros, the border or its mirror image.
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

// gridSampleShape is [N, C] of the image and the positions of the grid [N, …, rank].
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

// affineGrid are the positions for GridSample that apply an affine matrix to the regular grid of an image of the given
// size.
func affineGrid(n *model.Node, in []*Array) ([]*Array, error) {
	theta, size := in[0], in[1].Ints()
	rank := int64(len(size) - 2)
	if rank < 1 || rank > 3 || !slices.Equal(theta.Shape, []int64{size[0], rank, rank + 1}) {
		return nil, fmt.Errorf("matrices of shape %v for size %v", theta.Shape, size)
	}
	out, err := NewArray(slices.Concat(size[:1], size[2:], []int64{rank}))
	if err != nil {
		return nil, err
	}
	corners, e := n.Int("align_corners", 0) != 0, 0
	walk(out.Shape, func(index []int64) {
		row := theta.Data[(index[0]*rank+index[rank+1])*(rank+1):][:rank+1]
		out.Data[e] = row[rank]
		for axis := range rank {
			i, extent := float64(index[1+axis]), float64(size[2+axis])
			at := (2*i+1)/extent - 1
			switch {
			case corners && extent > 1:
				at = 2*i/(extent-1) - 1
			case corners:
				at = -1
			}
			out.Data[e] += row[rank-1-axis] * at
		}
		e++
	})
	return one(out, nil)
}

// affineGridMagnitude takes the positions of the regular grid, whose absolute values are at most 1, for 1.
func affineGridMagnitude(_ *model.Node, _, m, out []*Array) ([]*Array, error) {
	largest, rank := &Array{Shape: out[0].Shape, Data: make([]float64, len(out[0].Data))}, m[0].Shape[1]
	points := product(out[0].Shape[1 : len(out[0].Shape)-1])
	for e := range largest.Data {
		row := (int64(e)/(points*rank)*rank + int64(e)%rank) * (rank + 1)
		for _, x := range m[0].Data[row:][:rank+1] {
			largest.Data[e] += x
		}
	}
	return one(largest, nil)
}

// affineGridShape is [N, …, rank] for a size [N, C, …].
func affineGridShape(in *Inference, n *model.Node) [][]int64 {
	size := in.ints(n.In(1))
	if len(size) < 3 {
		return nil
	}
	out := []int64{extent(size[0])}
	for _, d := range size[2:] {
		out = append(out, extent(d))
	}
	return shapes(append(out, int64(len(size)-2)))
}

// deformConv is a convolution whose taps are moved by an offset for each position, tap and axis, and weighted by a mask
// (Dai et al. 2017, arXiv:1703.06211; Zhu et al. 2018, arXiv:1811.11168). Between elements it interpolates bilinearly;
// outside of the image it reads zeros.
func deformConv(n *model.Node, in []*Array) ([]*Array, error) {
	x, w, groups, err := convolution(n, in)
	if err != nil {
		return nil, err
	}
	win, err := newWindow(n, x.Shape[2:], w.Shape[2:])
	if err != nil {
		return nil, err
	}
	out, err := NewArray(slices.Concat([]int64{x.Shape[0], w.Shape[0]}, win.out))
	if err != nil {
		return nil, err
	}
	offset, bias, mask, parts := in[2], input(in, 3), input(in, 4), n.Int("offset_group", 1)
	rank, kernel, points, size := len(win.out), product(w.Shape[2:]), product(win.out), product(x.Shape[2:])
	if w.Shape[1]*groups != x.Shape[1] || parts < 1 || x.Shape[1]%parts != 0 || w.Shape[0] == 0 {
		return nil, fmt.Errorf("input %v, weight %v, %d groups, %d groups of offsets", x.Shape, w.Shape, groups, parts)
	}
	moved := x.Shape[0] * parts * kernel * points
	if int64(len(offset.Data)) != moved*int64(rank) || mask != nil && int64(len(mask.Data)) != moved || bias != nil && int64(len(bias.Data)) != w.Shape[0] {
		return nil, fmt.Errorf("offsets of shape %v for an output of shape %v", offset.Shape, out.Shape)
	}
	if err := within(maxWork, int64(len(out.Data)), max(w.Shape[1], x.Shape[1])*kernel*1<<rank); err != nil {
		return nil, err
	}
	step, column := strides(x.Shape[2:]), make([]float64, x.Shape[1]*kernel)
	for b := range x.Shape[0] {
		p := int64(0)
		walk(win.out, func(o []int64) {
			for part := range parts {
				t := int64(0)
				walk(w.Shape[2:], func(k []int64) {
					first := (b*parts+part)*kernel + t
					taps := []tap{{0, 1}}
					if mask != nil {
						taps[0].weight = mask.Data[first*points+p]
					}
					for a := range rank {
						at := float64(o[a]*win.stride[a]+k[a]*win.dilation[a]-win.begin[a]) + offset.Data[(first*int64(rank)+int64(a))*points+p]
						taps = spreadOver(taps, at, x.Shape[2+a], step[a])
					}
					for c := part * x.Shape[1] / parts; c < (part+1)*x.Shape[1]/parts; c++ {
						sum, image := 0.0, x.Data[(b*x.Shape[1]+c)*size:]
						for _, t := range taps {
							sum += t.weight * image[t.from]
						}
						column[c*kernel+t] = sum
					}
					t++
				})
			}
			for c := range w.Shape[0] {
				sum, first := 0.0, c/(w.Shape[0]/groups)*w.Shape[1]*kernel
				for k, v := range w.Data[c*w.Shape[1]*kernel:][:w.Shape[1]*kernel] {
					sum += v * column[first+int64(k)]
				}
				if bias != nil {
					sum += bias.Data[c]
				}
				out.Data[(b*w.Shape[0]+c)*points+p] = sum
			}
			p++
		})
	}
	return one(out, nil)
}

// spreadOver splits taps between the two elements of one more axis around a position, weighted by distance; elements
// outside are left out.
func spreadOver(taps []tap, at float64, extent, step int64) (out []tap) {
	if !(at > -1 && at < float64(extent)) {
		return nil
	}
	low := math.Floor(at)
	for _, t := range taps {
		for k, weight := range []float64{1 - (at - low), at - low} {
			if i := int64(low) + int64(k); i >= 0 && i < extent {
				out = append(out, tap{t.from + i*step, t.weight * weight})
			}
		}
	}
	return out
}

func deformConvNeeds(_ *model.Node, in []*Array, out Part) []Box {
	x, w, offset := in[0], input(in, 1), input(in, 2)
	if w == nil || offset == nil || len(x.Shape) < 3 || len(out.Box) != len(x.Shape) || len(w.Shape) != len(x.Shape) || len(offset.Shape) != len(x.Shape) {
		return nil
	}
	image, weight, moved := Whole(x.Shape), Whole(w.Shape), slices.Clone(out.Box)
	image[0], weight[0], moved[1] = out.Box[0], out.Box[1], Range{0, offset.Shape[1]}
	boxes := []Box{image, weight, moved, {out.Box[1]}, nil}
	if mask := input(in, 4); mask != nil && len(mask.Shape) == len(x.Shape) {
		boxes[4] = slices.Clone(out.Box)
		boxes[4][1] = Range{0, mask.Shape[1]}
	}
	return boxes
}
