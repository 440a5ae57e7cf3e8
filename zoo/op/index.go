package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that read or write elements at positions that another input gives.

func init() {
	register(
		&Operator{Type: "Gather", Required: 2, Inputs: []string{"table", "indices"}, Eval: gather, Moves: []int{0}, Shape: gatherShape, Vector: gatherVector, Magnitude: additive, Needs: gatherNeeds, Positions: gatherPositions},
		&Operator{Type: "GatherElements", Required: 2, Inputs: []string{"input", "indices"}, Eval: gatherElements, Moves: []int{0}, Shape: gatherElementsShape, Magnitude: additive, Needs: gatherElementsNeeds, Positions: gatherPositions},
		&Operator{Type: "GatherND", Required: 2, Inputs: []string{"input", "indices"}, Eval: gatherND, Moves: []int{0}, Shape: gatherNDShape, Magnitude: additive, Needs: gatherNDNeeds},
		&Operator{Type: "OneHot", Required: 3, Inputs: []string{"indices", "depth", "values"}, Eval: oneHot, Moves: []int{2}, DType: like(2), Shape: oneHotShape, Magnitude: additive, Needs: oneHotNeeds},
		&Operator{Type: "NonZero", Eval: nonZero, DType: always(tensor.Int64), Shape: nonZeroShape},
		&Operator{Type: "Compress", Required: 2, Inputs: []string{"input", "condition"}, Eval: compress, Moves: []int{0}, Shape: compressShape, Magnitude: additive},
	)
	scattered := []string{"input", "indices", "updates"}
	register(
		&Operator{Type: "ScatterElements", Required: 3, Inputs: scattered, Eval: scatterElements, Moves: []int{0, 2}, Shape: sameShape, Magnitude: additive},
		&Operator{Type: "Scatter", Required: 3, Inputs: scattered, Eval: scatterElements, Shape: sameShape}, // the name of ScatterElements before operator set 11
		&Operator{Type: "ScatterND", Required: 3, Inputs: scattered, Eval: scatterND, Moves: []int{0, 2}, Shape: sameShape, Magnitude: additive},
	)
}

// gatherPositions is the number of positions along the axis that the indices of input 1 refer to: see Operator.Positions.
func gatherPositions(n *model.Node, k int) int64 {
	table := n.In(0)
	if k != 1 || table == nil {
		return 0
	}
	shape := table.Shape
	if table.Const != nil {
		shape = table.Const.Shape
	}
	axis, err := axisOf(n.Int("axis", 0), len(shape))
	if err != nil {
		return 0
	}
	return max(shape[axis], 0)
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

// eachNamed calls f for every element e of index, an array of x's rank, with the offset in x of the element that it refers
// to: the one at e's own position, but for the axis, where index[e] counts.
func eachNamed(x, index *Array, axis int, f func(e int, at int64)) error {
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

// gather is numpy.take: slices along an axis, in the order of the indices; negative ones count from the end.
func gather(n *model.Node, in []*Array) ([]*Array, error) {
	axis, err := axisOf(n.Int("axis", 0), len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	return take(in[0], axis, in[1])
}

// take is x at the indices along an axis, whose place the axes of indices take.
func take(x *Array, axis int, indices *Array) ([]*Array, error) {
	index := indices.Ints()
	out, err := NewArray(slices.Concat(x.Shape[:axis], indices.Shape, x.Shape[axis+1:]))
	if err != nil {
		return nil, err
	}
	outer, inner, extent := product(x.Shape[:axis]), product(x.Shape[axis+1:]), x.Shape[axis]
	at := 0
	for o := range outer {
		for _, i := range index {
			if i, err = position(i, extent); err != nil {
				return nil, err
			}
			from := (o*extent + i) * inner
			at += copy(out.Data[at:], x.Data[from:from+inner])
		}
	}
	return one(out, nil)
}

// gatherShape has the indices' shape in the place of the axis.
func gatherShape(in *Inference, n *model.Node) [][]int64 {
	x, index := in.of(n.In(0)), in.of(n.In(1))
	axis, err := axisOf(n.Int("axis", 0), len(x))
	if err != nil || index == nil {
		return nil
	}
	out := append([]int64{}, x[:axis]...) // a scalar's shape is empty, not nil
	return shapes(append(append(out, index...), x[axis+1:]...))
}

// gatherElements is numpy.take_along_axis.
func gatherElements(n *model.Node, in []*Array) ([]*Array, error) {
	axis, err := axisOf(n.Int("axis", 0), len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	out, err := NewArray(in[1].Shape)
	if err != nil {
		return nil, err
	}
	return one(out, eachNamed(in[0], in[1], axis, func(e int, at int64) { out.Data[e] = in[0].Data[at] }))
}

// gatherElementsShape is the indices'.
func gatherElementsShape(in *Inference, n *model.Node) [][]int64 { return shapes(in.of(n.In(1))) }

// reductionOf is how a scattered element is combined with the one that is there: the attribute reduction.
func reductionOf(n *model.Node) (func(a, b float64) float64, error) {
	switch how := n.Str("reduction", "none"); how {
	case "none":
		return func(_, b float64) float64 { return b }, nil
	case "add":
		return add, nil
	case "mul":
		return times, nil
	case "max":
		return math.Max, nil
	case "min":
		return math.Min, nil
	default:
		return nil, fmt.Errorf("reduction %q: %w", how, ErrUnsupported)
	}
}

// scatterElements puts the updates where numpy.put_along_axis does, joined with what is there as reduction says.
func scatterElements(n *model.Node, in []*Array) ([]*Array, error) {
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
	return one(out, eachNamed(out, in[1], axis, func(e int, at int64) { out.Data[at] = join(out.Data[at], in[2].Data[e]) }))
}

// named goes through the slices of x that GatherND and ScatterND address: the last axis of index is a list of positions
// along x's axes behind the batch axes, which both have. The function f gets each slice's number and offset; size is the
// length of a slice.
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

// gatherND takes the slice that each index tuple names, behind batch_dims axes in common.
func gatherND(n *model.Node, in []*Array) ([]*Array, error) {
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

// gatherNDShape has the indices' shape but its last axis, and what the tuples leave of the data's.
func gatherNDShape(in *Inference, n *model.Node) [][]int64 {
	x, index, batch := in.of(n.In(0)), in.of(n.In(1)), int(n.Int("batch_dims", 0))
	last := len(index) - 1
	if x == nil || last < 0 || index[last] < 0 || batch < 0 || batch > last || batch+int(index[last]) > len(x) {
		return nil
	}
	return shapes(slices.Concat([]int64{}, index[:last], x[batch+int(index[last]):]))
}

// scatterND puts an update into the slice that each index tuple names, joined as reduction says.
func scatterND(n *model.Node, in []*Array) ([]*Array, error) {
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

// oneHot is values[1] where the position on the new axis is the index, values[0] elsewhere.
func oneHot(n *model.Node, in []*Array) ([]*Array, error) {
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

// oneHotShape has depth positions on the new axis.
func oneHotShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axis, err := axisOf(n.Int("axis", -1), len(x)+1)
	if x == nil || err != nil {
		return nil
	}
	return shapes(slices.Insert(slices.Clone(x), axis, extent(in.scalar(n.In(1)))))
}

// nonZero are the positions of all elements that are not 0: a row for each axis.
func nonZero(_ *model.Node, in []*Array) ([]*Array, error) {
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

// nonZeroShape is [rank, count], where the count depends on the elements.
func nonZeroShape(in *Inference, n *model.Node) [][]int64 {
	out := freeShape(2)
	if x := in.of(n.In(0)); x != nil {
		out[0] = int64(len(x))
	}
	return shapes(out)
}

// compress keeps the elements for which the condition is true, along an axis or of the flattened input.
func compress(n *model.Node, in []*Array) ([]*Array, error) {
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

// compressShape leaves the extent of the axis free, since it depends on the condition.
func compressShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	a := n.Attr("axis")
	if a == nil {
		return shapes(freeShape(1))
	}
	axis, err := axisOf(a.Int, len(x))
	if err != nil {
		return nil
	}
	out := slices.Clone(x)
	out[axis] = Unknown
	return shapes(out)
}

func gatherNeeds(n *model.Node, in []*Array, out Part) []Box {
	x, index := in[0], input(in, 1)
	if index == nil || len(x.Shape) == 0 || len(out.Box) != len(x.Shape)-1+len(index.Shape) {
		return nil
	}
	axis, err := axisOf(n.Int("axis", 0), len(x.Shape))
	if err != nil {
		return nil
	}
	behind := axis + len(index.Shape)
	indices := out.Box[axis:behind]
	rows := Range{0, x.Shape[axis]}
	if index.Data != nil {
		rows = Range{x.Shape[axis], 0}
		e := 0
		walk(index.Shape, func(at []int64) {
			for k, i := range at {
				if i < indices[k].From || i >= indices[k].To {
					e++
					return
				}
			}
			if i, err := position(index.Int(e), x.Shape[axis]); err == nil {
				rows = Range{min(rows.From, i), max(rows.To, i+1)}
			}
			e++
		})
	}
	return []Box{slices.Concat(out.Box[:axis], Box{rows}, out.Box[behind:]), indices}
}

func gatherElementsNeeds(n *model.Node, in []*Array, out Part) []Box {
	axis, err := axisOf(n.Int("axis", 0), len(in[0].Shape))
	if err != nil || len(out.Box) != len(in[0].Shape) {
		return nil
	}
	box := slices.Clone(out.Box)
	box[axis] = Range{0, in[0].Shape[axis]}
	return []Box{box, out.Box}
}

func gatherNDNeeds(n *model.Node, in []*Array, out Part) []Box {
	x, index, batch := in[0], input(in, 1), int(n.Int("batch_dims", 0))
	if index == nil || len(index.Shape) == 0 {
		return nil
	}
	last := len(index.Shape) - 1
	depth := int(min(index.Shape[last], int64(len(x.Shape))))
	if batch < 0 || batch > last || batch+depth > len(x.Shape) || len(out.Box) != last+len(x.Shape)-batch-depth {
		return nil
	}
	box := Whole(x.Shape)
	copy(box, out.Box[:batch])
	copy(box[batch+depth:], out.Box[last:])
	return []Box{box, slices.Concat(out.Box[:last], Box{{0, index.Shape[last]}})}
}

func oneHotNeeds(n *model.Node, _ []*Array, out Part) []Box {
	axis, err := axisOf(n.Int("axis", -1), len(out.Box))
	if err != nil {
		return nil
	}
	return []Box{slices.Delete(slices.Clone(out.Box), axis, axis+1)}
}
