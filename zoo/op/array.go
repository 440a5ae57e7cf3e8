package op

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Array is a tensor of numbers in row-major order. Integers and truth values are numbers too.
type Array struct {
	DType tensor.DType // Undefined where the type is not known: the numbers are then treated as floats
	Shape []int64
	Data  []float64
	wide  []int64 // the elements of an integer type, where float64 does not hold some of them: see Int
}

// Bounds on one node: a file can claim any extents for its constants, and for what is computed with them.
const (
	maxElements = 1 << 25 // of an array
	maxTaps     = 1 << 25 // of a window: positions times taps of the kernel
	maxWork     = 1 << 34 // multiplications
	maxSteps    = 1 << 28 // multiplications of a recurrent layer, which go one by one
	maxBlock    = 1 << 12 // the block size of DepthToSpace and its like
)

// ErrTooLarge says that an array, or the work to compute it, exceeds one of the bounds above.
var ErrTooLarge = errors.New("too large to evaluate")

// elements is the number of elements of a shape. The bounds hold for arrays without elements too: some loops run over their
// other extents.
func elements(shape []int64) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 || max(d, 1) > maxElements/n {
			return 0, fmt.Errorf("an array of shape %v: %w", shape, ErrTooLarge)
		}
		n *= max(d, 1)
	}
	if slices.Contains(shape, 0) {
		return 0, nil
	}
	return n, nil
}

// within says whether a product of counts is within a bound.
func within(bound int64, counts ...int64) error {
	n := int64(1)
	for _, c := range counts {
		if c < 0 || max(c, 1) > bound/n {
			return fmt.Errorf("%v operations: %w", counts, ErrTooLarge)
		}
		n *= max(c, 1)
	}
	return nil
}

// NewArray is an array of zeros. It fails with ErrTooLarge for negative extents and for more than maxElements elements.
func NewArray(shape []int64) (*Array, error) {
	n, err := elements(shape)
	if err != nil {
		return nil, err
	}
	return &Array{Shape: slices.Clone(shape), Data: make([]float64, n)}, nil
}

// scalar is an array of one number and no axes.
func scalar(x float64) *Array { return &Array{Shape: []int64{}, Data: []float64{x}} }

// Ints are the elements as integers, cut to ±Huge: files write the largest number of a type for "to the end".
func (a *Array) Ints() []int64 {
	out := make([]int64, len(a.Data))
	for k := range out {
		out[k] = max(min(a.Int(k), Huge), -Huge)
	}
	return out
}

// Huge is larger than any extent. A sum of it and an extent does not overflow.
const Huge = 1 << 61

// FromConstant reads a constant, its factors applied but not rounded.
func FromConstant(c *model.Constant, limit int64) (*Array, error) {
	if n, err := elements(c.Shape); err != nil {
		return nil, err
	} else if n > limit {
		return nil, fmt.Errorf("a constant of shape %v: %w", c.Shape, ErrTooLarge)
	}
	data, err := c.Float64s(limit)
	if err != nil {
		return nil, err
	}
	a := &Array{DType: c.DType, Shape: append([]int64{}, c.Shape...), Data: data}
	if c.Data != nil && slices.ContainsFunc(data, func(x float64) bool { return math.Abs(x) >= exact }) {
		return a, a.widen(c)
	}
	return a, nil
}

// axisOf turns an axis that may count from the last one (−1) into one that counts from 0.
func axisOf(axis int64, rank int) (int, error) {
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		return 0, fmt.Errorf("axis %d of %d", axis, rank)
	}
	return int(axis), nil
}

// axesOf does axisOf for a list.
func axesOf(list []int64, rank int) ([]int, error) {
	axes := make([]int, len(list))
	for k, a := range list {
		var err error
		if axes[k], err = axisOf(a, rank); err != nil {
			return nil, err
		}
	}
	return axes, nil
}

func product(shape []int64) int64 {
	p := int64(1)
	for _, d := range shape {
		p *= d
	}
	return p
}

// walk calls f with every index of a shape, in row-major order.
func walk(shape []int64, f func(index []int64)) {
	if product(shape) == 0 {
		return
	}
	index := make([]int64, len(shape))
	for {
		f(index)
		k := len(shape) - 1
		for ; k >= 0; k-- {
			if index[k]++; index[k] < shape[k] {
				break
			}
			index[k] = 0
		}
		if k < 0 {
			return
		}
	}
}

// strides are how far apart, in elements, neighbours along each axis lie.
func strides(shape []int64) []int64 {
	out, step := make([]int64, len(shape)), int64(1)
	for k := len(shape) - 1; k >= 0; k-- {
		out[k] = step
		step *= shape[k]
	}
	return out
}

// pick is the array of that shape whose element at an index is a's at start + Σ index·step.
func pick(a *Array, shape []int64, start int64, step []int64) (*Array, error) {
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	if len(shape) == 0 {
		out.Data[0] = a.Data[start]
		return out, nil
	}
	last := len(shape) - 1
	count, by, rest := int(shape[last]), int(step[last]), out.Data
	walk(shape[:last], func(index []int64) {
		from := start
		for k, i := range index {
			from += i * step[k]
		}
		row := rest[:min(count, len(rest))]
		rest = rest[len(row):]
		switch at := int(from); by {
		case 1:
			copy(row, a.Data[at:])
		default:
			for k := range row {
				row[k] = a.Data[at+k*by]
			}
		}
	})
	return out, nil
}

// reshaped is the same data with another shape.
func reshaped(a *Array, shape []int64) (*Array, error) {
	if n, err := elements(shape); err != nil {
		return nil, err
	} else if n != int64(len(a.Data)) {
		return nil, fmt.Errorf("%d elements do not have shape %v", len(a.Data), shape)
	}
	return &Array{DType: a.DType, Shape: shape, Data: a.Data, wide: a.wide}, nil
}

// broadcastShape is the shape of arrays that are combined element by element.
func broadcastShape(a, b []int64) ([]int64, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for k, d := range b {
		j := len(a) - len(b) + k
		switch {
		case out[j] == d || d == 1:
		case out[j] == 1:
			out[j] = d
		default:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}

// broadcastTo repeats a's elements along axes of extent 1.
func broadcastTo(a *Array, shape []int64) (*Array, error) {
	if slices.Equal(a.Shape, shape) {
		return a, nil
	}
	step, from := make([]int64, len(shape)), strides(a.Shape)
	for k, d := range a.Shape {
		j := len(shape) - len(a.Shape) + k
		if j < 0 || d != 1 && d != shape[j] {
			return nil, fmt.Errorf("shape %v does not broadcast to %v", a.Shape, shape)
		}
		if d != 1 {
			step[j] = from[k]
		}
	}
	return pick(a, shape, 0, step)
}
