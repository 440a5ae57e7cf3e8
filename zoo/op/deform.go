package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(&Operator{
		Type: "DeformConv", Inputs: []string{"input", "weight", "offset", "bias", "mask"}, Eval: deformConv, DType: common, Shape: convShape,
		Terms: convTerms, Window: convWindow, Wants: convWants,
	})
}

// deformConv is a convolution of images whose taps are moved: X of shape [N, C, H, W], W of [O, C/G, kH, kW], an offset of
// [N, 2·D·kH·kW, oH, oW], the way down before the way right, a bias of [O] and a mask of [N, D·kH·kW, oH, oW], for G groups
// and D groups of offsets. Between pixels it interpolates linearly; beyond the edge all is 0.
func deformConv(n *model.Node, in []*Array) ([]*Array, error) {
	x, w, groups, err := convolution(n, in)
	if err != nil {
		return nil, err
	}
	if err := need(in, 3); err != nil {
		return nil, err
	}
	if len(x.Shape) != 4 || w.Shape[1]*groups != x.Shape[1] {
		return nil, fmt.Errorf("input %v, weight %v: %w", x.Shape, w.Shape, ErrUnsupported)
	}
	win, err := newWindow(n, x.Shape[2:], w.Shape[2:])
	if err != nil {
		return nil, err
	}
	fields, taps, points := n.Int("offset_group", 1), product(w.Shape[2:]), product(win.out)
	offset, bias, mask := in[2], input(in, 3), input(in, 4)
	switch {
	case fields < 1 || x.Shape[1]%fields != 0, !slices.Equal(offset.Shape, slices.Concat([]int64{x.Shape[0], 2 * fields * taps}, win.out)):
		return nil, fmt.Errorf("an offset of shape %v in %d groups", offset.Shape, fields)
	case bias != nil && int64(len(bias.Data)) != w.Shape[0]:
		return nil, fmt.Errorf("a bias of shape %v for %d channels", bias.Shape, w.Shape[0])
	case mask != nil && !slices.Equal(mask.Shape, slices.Concat([]int64{x.Shape[0], fields * taps}, win.out)):
		return nil, fmt.Errorf("a mask of shape %v", mask.Shape)
	}
	out, err := NewArray(slices.Concat([]int64{x.Shape[0], w.Shape[0]}, win.out))
	if err != nil {
		return nil, err
	}
	if err := within(maxWork, int64(len(out.Data)), product(w.Shape[1:]), 4); err != nil {
		return nil, err
	}
	height, width, perGroup := x.Shape[2], x.Shape[3], w.Shape[0]/groups
	for b := range x.Shape[0] {
		for c := range x.Shape[1] {
			field, group := c/(x.Shape[1]/fields), c/w.Shape[1]
			image := x.Data[(b*x.Shape[1]+c)*height*width:][:height*width]
			for tap := range taps {
				down, right := (b*fields*taps+field*taps+tap)*2*points, ((b*fields*taps+field*taps+tap)*2+1)*points
				for p := range points {
					i, j := p/win.out[1], p%win.out[1]
					y := float64(i*win.stride[0]-win.begin[0]+tap/w.Shape[3]*win.dilation[0]) + offset.Data[down+p]
					z := float64(j*win.stride[1]-win.begin[1]+tap%w.Shape[3]*win.dilation[1]) + offset.Data[right+p]
					v := between(image, height, width, y, z)
					if mask != nil {
						v *= mask.Data[(b*fields*taps+field*taps+tap)*points+p]
					}
					for k := range perGroup {
						o := group*perGroup + k
						out.Data[(b*w.Shape[0]+o)*points+p] += v * w.Data[(o*w.Shape[1]+c%w.Shape[1])*taps+tap]
					}
				}
			}
		}
	}
	if bias != nil {
		perChannel(out, func(e, o int) { out.Data[e] += bias.Data[o] })
	}
	return one(out, nil)
}

// between is an image at a position between its pixels, 0 beyond its edge.
func between(image []float64, height, width int64, y, x float64) float64 {
	if !(y > -1 && x > -1 && y < float64(height) && x < float64(width)) {
		return 0
	}
	sum, top, left := 0.0, math.Floor(y), math.Floor(x)
	for _, t := range [4][2]float64{{0, 0}, {0, 1}, {1, 0}, {1, 1}} {
		i, j := int64(top+t[0]), int64(left+t[1])
		if i >= 0 && j >= 0 && i < height && j < width {
			sum += image[i*width+j] * (1 - math.Abs(y-top-t[0])) * (1 - math.Abs(x-left-t[1]))
		}
	}
	return sum
}
