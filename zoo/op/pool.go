package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Pooling.

func init() {
	register(
		&Operator{Type: "MaxPool", Eval: maxPool, DType: withPlaces, Shape: poolShape, Magnitude: additive, Terms: poolTerms, Needs: poolNeeds, Window: poolWindow},
		&Operator{Type: "AveragePool", Eval: pool(0, add, true), Shape: poolShape, Magnitude: additive, Terms: poolTerms, Needs: poolNeeds, Window: poolWindow},
		&Operator{Type: "LpPool", Eval: lpPool(pool(0, add, false)), Shape: poolShape, Terms: poolTerms, Needs: poolNeeds, Window: poolWindow},
		&Operator{Type: "GlobalAveragePool", Eval: globalPool(0, add, true), Shape: globalPoolShape, Magnitude: additive, Terms: allTerms, Needs: globalPoolNeeds, Parts: true},
		&Operator{Type: "GlobalMaxPool", Eval: globalPool(math.Inf(-1), math.Max, false), Shape: globalPoolShape, Magnitude: additive, Needs: globalPoolNeeds, Parts: true},
		&Operator{Type: "GlobalLpPool", Eval: lpPool(globalPool(0, add, false)), Shape: globalPoolShape, Needs: globalPoolNeeds, Parts: true},
	)
}

func poolTerms(n *model.Node, _ []*Array) int64 { return product(n.Ints("kernel_shape")) + 1 }

func poolWindow(n *model.Node) Window {
	return Window{n.Ints("kernel_shape"), n.Ints("strides"), n.Ints("dilations")}
}

func pool(start float64, step func(a, b float64) float64, mean bool) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		x := in[0]
		if len(x.Shape) < 3 {
			return nil, fmt.Errorf("shape %v", x.Shape)
		}
		w, err := newWindow(n, x.Shape[2:], n.Ints("kernel_shape"))
		if err != nil {
			return nil, err
		}
		out, err := NewArray(slices.Concat(x.Shape[:2], w.out))
		if err != nil {
			return nil, err
		}
		if err := within(maxWork, int64(len(out.Data)), product(w.kernel)); err != nil {
			return nil, err
		}
		taps, counts, size := w.taps(), w.counts(), int(product(x.Shape[2:]))
		for plane := range int(x.Shape[0] * x.Shape[1]) {
			from := x.Data[plane*size:][:size]
			for p, row := range taps {
				y, count := start, 0
				for _, at := range row {
					if at >= 0 {
						y, count = step(y, from[at]), count+1
					}
				}
				if mean {
					if n.Int("count_include_pad", 0) != 0 {
						count = int(counts[p])
					}
					y /= float64(count)
				}
				out.Data[plane*len(taps)+p] = y
			}
		}
		return one(out, nil)
	}
}

// maxPool has a second output: where the largest elements stand in the flattened input, rows first or columns first.
func maxPool(n *model.Node, in []*Array) ([]*Array, error) {
	out, err := pool(math.Inf(-1), math.Max, false)(n, in)
	if err != nil || n.Out(1) == nil {
		return out, err
	}
	x := in[0]
	w, err := newWindow(n, x.Shape[2:], n.Ints("kernel_shape"))
	if err != nil {
		return nil, err
	}
	places, _ := NewArray(out[0].Shape)
	taps, size := w.taps(), int(product(x.Shape[2:]))
	for plane := range int(x.Shape[0] * x.Shape[1]) {
		from := x.Data[plane*size:][:size]
		for p, row := range taps {
			best := -1
			for _, at := range row {
				if at >= 0 && (best < 0 || from[at] > from[best]) {
					best = int(at)
				}
			}
			if n.Int("storage_order", 0) != 0 {
				best = columnFirst(best, x.Shape[2:])
			}
			places.Data[plane*len(taps)+p] = float64(plane*size + best)
		}
	}
	return []*Array{out[0], places}, nil
}

// columnFirst is the position in an image stored column after column of what stands at a position in one stored row after
// row.
func columnFirst(at int, shape []int64) int {
	to, step := 0, 1
	for _, d := range shape {
		step *= int(d)
	}
	for k := len(shape) - 1; k >= 0; k-- {
		step /= int(shape[k])
		to += at % int(shape[k]) * step
		at /= int(shape[k])
	}
	return to
}

func globalPool(start float64, step func(a, b float64) float64, mean bool) evaluator {
	return func(_ *model.Node, in []*Array) ([]*Array, error) {
		x := in[0]
		if len(x.Shape) < 3 {
			return nil, fmt.Errorf("shape %v", x.Shape)
		}
		shape := slices.Repeat([]int64{1}, len(x.Shape))
		copy(shape, x.Shape[:2])
		out, err := NewArray(shape)
		if err != nil {
			return nil, err
		}
		size := int(product(x.Shape[2:]))
		for k := range out.Data {
			y := start
			for _, v := range x.Data[k*size:][:size] {
				y = step(y, v)
			}
			if mean {
				y /= float64(size)
			}
			out.Data[k] = y
		}
		return one(out, nil)
	}
}

// lpPool is the p-norm of each window, or of each channel.
func lpPool(sums evaluator) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		p := float64(n.Int("p", 2))
		list, err := unary(func(x float64) float64 { return math.Pow(math.Abs(x), p) })(n, in)
		if err != nil {
			return nil, err
		}
		if list, err = sums(n, list); err != nil {
			return nil, err
		}
		return unary(func(x float64) float64 { return math.Pow(x, 1/p) })(n, list)
	}
}

// poolShape has one position for each step of the window: ⌊(x + pads − dilation·(kernel − 1) − 1)/stride⌋ + 1 per axis,
// rounded up where ceil_mode says so.
func poolShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	if len(x) < 3 {
		return nil
	}
	out := append([]int64{x[0], x[1]}, windowExtents(n, x[2:], n.Ints("kernel_shape"))...)
	return shapes(out, out)
}

// globalPoolShape has extent 1 on all axes behind the channels.
func globalPoolShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	if len(x) < 2 {
		return nil
	}
	out := slices.Repeat([]int64{1}, len(x))
	out[0], out[1] = x[0], x[1]
	return shapes(out)
}

func poolNeeds(n *model.Node, in []*Array, out Part) []Box {
	x := in[0]
	if len(x.Shape) < 3 || len(out.Box) != len(x.Shape) {
		return nil
	}
	w, err := newWindow(n, x.Shape[2:], n.Ints("kernel_shape"))
	if err != nil {
		return nil
	}
	return []Box{slices.Concat(out.Box[:2], w.reads(out.Box[2:]))}
}

// globalPoolNeeds are whole images.
var globalPoolNeeds = alongNeeds(func(_ *model.Node, rank int) []int64 { return axesFrom(2, rank) })
