package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that take or put elements where indices say.

func init() {
	operators["GatherElements"] = gatherElements
	operators["GatherND"] = gatherND
	operators["ScatterElements"] = scatterElements
	operators["Scatter"] = scatterElements
	operators["ScatterND"] = scatterND
	operators["OneHot"] = oneHot
	operators["NonZero"] = nonZero
	operators["Compress"] = compress
	operators["Trilu"] = trilu
	operators["EyeLike"] = eyeLike
	operators["ReverseSequence"] = reverseSequence
	operators["CenterCropPad"] = centerCropPad
}

// position counts an index from 0.
func position(i, extent int64) (int64, error) {
	if i < 0 {
		i += extent
	}
	if i < 0 || i >= extent {
		return 0, fmt.Errorf("index %d of %d", i, extent)
	}
	return i, nil
}

// elementwise calls f for every element of index, an array of x's rank: with its number, and with where in x the element
// stands that it names along the axis.
func elementwise(x, index *Array, axis int, f func(e int, at int64)) error {
	if len(index.Shape) != len(x.Shape) {
		return fmt.Errorf("indices of shape %v into shape %v", index.Shape, x.Shape)
	}
	for k, d := range index.Shape {
		if k != axis && d > x.Shape[k] {
			return fmt.Errorf("indices of shape %v into shape %v", index.Shape, x.Shape)
		}
	}
	step, e := strides(x.Shape), 0
	var failed error
	walk(index.Shape, func(i []int64) {
		at := int64(0)
		for k, p := range i {
			if k == axis {
				var err error
				if p, err = position(index.Int(e), x.Shape[axis]); err != nil {
					failed = err
				}
			}
			at += p * step[k]
		}
		if failed == nil {
			f(e, at)
		}
		e++
	})
	return failed
}

func gatherElements(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	axis, err := axisOf(n.Int("axis", 0), len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	out, err := NewArray(in[1].Shape)
	if err != nil {
		return nil, err
	}
	return one(out, elementwise(in[0], in[1], axis, func(e int, at int64) { out.Data[e] = in[0].Data[at] }))
}

// reductionOf is how a scattered element joins the one that is there.
func reductionOf(n *model.Node) (func(a, b float64) float64, error) {
	switch how := n.Str("reduction", "none"); how {
	case "none":
		return func(_, b float64) float64 { return b }, nil
	case "add":
		return func(a, b float64) float64 { return a + b }, nil
	case "mul":
		return func(a, b float64) float64 { return a * b }, nil
	case "max":
		return math.Max, nil
	case "min":
		return math.Min, nil
	default:
		return nil, fmt.Errorf("reduction %q: %w", how, ErrUnsupported)
	}
}

func scatterElements(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	axis, err := axisOf(n.Int("axis", 0), len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	join, err := reductionOf(n)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(in[1].Shape, in[2].Shape) {
		return nil, fmt.Errorf("indices of shape %v for updates of shape %v", in[1].Shape, in[2].Shape)
	}
	out := &Array{Shape: in[0].Shape, Data: slices.Clone(in[0].Data)}
	return one(out, elementwise(out, in[1], axis, func(e int, at int64) { out.Data[at] = join(out.Data[at], in[2].Data[e]) }))
}

// slices of an array that the last axis of indices names: f gets the number of each and where it starts. Behind the first
// batch axes, which both have, an index is a list of positions along the next axes.
func named(x, index *Array, batch int, f func(k int, at int64)) (size int64, err error) {
	rank := len(index.Shape)
	if rank == 0 || batch < 0 || batch >= rank || batch > len(x.Shape) || !slices.Equal(x.Shape[:batch], index.Shape[:batch]) {
		return 0, fmt.Errorf("indices of shape %v into shape %v", index.Shape, x.Shape)
	}
	depth := int(index.Shape[rank-1])
	if batch+depth > len(x.Shape) {
		return 0, fmt.Errorf("indices of shape %v into shape %v", index.Shape, x.Shape)
	}
	size = product(x.Shape[batch+depth:])
	each, whole, step := product(index.Shape[batch:rank-1]), product(x.Shape[batch:]), strides(x.Shape)
	for k := range int(product(index.Shape[:rank-1])) {
		at := int64(k) / each * whole
		for j := range depth {
			i, err := position(index.Int(k*depth+j), x.Shape[batch+j])
			if err != nil {
				return 0, err
			}
			at += i * step[batch+j]
		}
		f(k, at)
	}
	return size, nil
}

func gatherND(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	var starts []int64
	batch := int(n.Int("batch_dims", 0))
	size, err := named(in[0], in[1], batch, func(_ int, at int64) { starts = append(starts, at) })
	if err != nil {
		return nil, err
	}
	rank := len(in[1].Shape)
	out, err := NewArray(slices.Concat(in[1].Shape[:rank-1], in[0].Shape[batch+int(in[1].Shape[rank-1]):]))
	if err != nil {
		return nil, err
	}
	for k, at := range starts {
		copy(out.Data[int64(k)*size:], in[0].Data[at:at+size])
	}
	return one(out, nil)
}

func scatterND(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	join, err := reductionOf(n)
	if err != nil {
		return nil, err
	}
	out := &Array{Shape: in[0].Shape, Data: slices.Clone(in[0].Data)}
	var starts []int64
	size, err := named(out, in[1], 0, func(_ int, at int64) { starts = append(starts, at) })
	if err != nil {
		return nil, err
	}
	if int64(len(in[2].Data)) != int64(len(starts))*size {
		return nil, fmt.Errorf("updates of shape %v for indices of shape %v", in[2].Shape, in[1].Shape)
	}
	for k, at := range starts {
		for e := range size {
			out.Data[at+e] = join(out.Data[at+e], in[2].Data[int64(k)*size+e])
		}
	}
	return one(out, nil)
}

// oneHot is the second of two values where the new axis is at the index, the first elsewhere.
func oneHot(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	index, values := in[0], in[2]
	if len(in[1].Data) != 1 || len(values.Data) != 2 {
		return nil, fmt.Errorf("a depth of shape %v, values of shape %v", in[1].Shape, values.Shape)
	}
	axis, err := axisOf(n.Int("axis", -1), len(index.Shape)+1)
	if err != nil {
		return nil, err
	}
	depth := in[1].Int(0)
	out, err := NewArray(slices.Insert(slices.Clone(index.Shape), axis, depth))
	if err != nil {
		return nil, err
	}
	inner := int(product(index.Shape[axis:]))
	for e := range out.Data {
		out.Data[e] = values.Data[0]
	}
	for e := range index.Data {
		i := index.Int(e)
		if i < 0 {
			i += depth
		}
		if i >= 0 && i < depth {
			out.Data[(int64(e/inner)*depth+i)*int64(inner)+int64(e%inner)] = values.Data[1]
		}
	}
	return one(out, nil)
}

// nonZero are the positions of all elements that are not 0: a row for each axis.
func nonZero(_ *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x, e := in[0], 0
	rows := make([][]float64, len(x.Shape))
	count := int64(0)
	walk(x.Shape, func(index []int64) {
		if x.Data[e] != 0 {
			for k, i := range index {
				rows[k] = append(rows[k], float64(i))
			}
			count++
		}
		e++
	})
	return one(&Array{Shape: []int64{int64(len(rows)), count}, Data: slices.Concat(rows...)}, nil)
}

// compress keeps what a list of truth values says, along an axis or of all elements.
func compress(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	x, axis := in[0], 0
	if a := n.Attr("axis"); a == nil {
		x = &Array{Shape: []int64{int64(len(x.Data))}, Data: x.Data}
	} else {
		var err error
		if axis, err = axisOf(a.Int, len(x.Shape)); err != nil {
			return nil, err
		}
	}
	index := &Array{Shape: []int64{0}}
	for k, keep := range in[1].Data {
		if keep != 0 && int64(k) < x.Shape[axis] {
			index.Data = append(index.Data, float64(k))
		}
	}
	index.Shape[0] = int64(len(index.Data))
	return take(x, axis, index)
}

// trilu keeps the elements of matrices on one side of a diagonal, that included.
func trilu(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x, k := in[0], int64(0)
	if len(x.Shape) < 2 {
		return nil, fmt.Errorf("shape %v", x.Shape)
	}
	if a := input(in, 1); a != nil && len(a.Data) == 1 {
		k = a.Ints()[0]
	}
	out := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	rows, cols, upper := x.Shape[len(x.Shape)-2], x.Shape[len(x.Shape)-1], n.Int("upper", 1) != 0
	for e, v := range x.Data {
		i, j := int64(e)/cols%rows, int64(e)%cols
		if upper && j-i >= k || !upper && j-i <= k {
			out.Data[e] = v
		}
	}
	return one(out, nil)
}

func eyeLike(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	if len(in[0].Shape) != 2 {
		return nil, fmt.Errorf("shape %v", in[0].Shape)
	}
	out := &Array{DType: tensor.DType(n.Int("dtype", 0)), Shape: in[0].Shape, Data: make([]float64, len(in[0].Data))}
	for e := range out.Data {
		i, j := int64(e)/out.Shape[1], int64(e)%out.Shape[1]
		out.Data[e] = truth(j-i == n.Int("k", 0))
	}
	return one(out, nil)
}

// reverseSequence turns the first elements of each sequence of a batch around, as many as its length says.
func reverseSequence(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	x, batch, time := in[0], n.Int("batch_axis", 1), n.Int("time_axis", 0)
	if len(x.Shape) < 2 || batch+time != 1 || batch*time != 0 || int64(len(in[1].Data)) != x.Shape[batch] {
		return nil, fmt.Errorf("axes %d and %d of shape %v, %d lengths", batch, time, x.Shape, len(in[1].Data))
	}
	out, step, e := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}, strides(x.Shape), int64(0)
	lengths := in[1].Ints()
	walk(x.Shape, func(index []int64) {
		from := e
		if t, length := index[time], min(lengths[index[batch]], x.Shape[time]); t < length {
			from += (length - 1 - 2*t) * step[time]
		}
		out.Data[e] = x.Data[from]
		e++
	})
	return one(out, nil)
}

// centerCropPad cuts axes to an extent, or pads them with zeros, alike on both sides; what is odd goes behind.
func centerCropPad(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	x, want, axes := in[0], in[1].Ints(), n.Ints("axes")
	if axes == nil {
		for k := range x.Shape {
			axes = append(axes, int64(k))
		}
	}
	if len(axes) != len(want) {
		return nil, fmt.Errorf("%d extents for %d axes", len(want), len(axes))
	}
	shape, shift := slices.Clone(x.Shape), make([]int64, len(x.Shape))
	for k, a := range axes {
		axis, err := axisOf(a, len(shape))
		if err != nil {
			return nil, err
		}
		if shape[axis] = want[k]; want[k] < x.Shape[axis] {
			shift[axis] = (x.Shape[axis] - want[k]) / 2
		} else {
			shift[axis] = -((want[k] - x.Shape[axis]) / 2)
		}
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	step, e := strides(x.Shape), 0
	walk(shape, func(index []int64) {
		at, inside := int64(0), true
		for k, i := range index {
			i += shift[k]
			inside = inside && i >= 0 && i < x.Shape[k]
			at += i * step[k]
		}
		if inside {
			out.Data[e] = x.Data[at]
		}
		e++
	})
	return one(out, nil)
}
