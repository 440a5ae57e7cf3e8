package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Operators that rearrange elements: shapes, order, slices and joins.

func init() {
	register(
		&Operator{Type: "Reshape", Inputs: []string{"input", "shape"}, Eval: reshape, Moves: []int{0}, Shape: reshapeShape, Vector: handedOn, Magnitude: additive, Needs: reshapeNeeds, Rearranges: true},
		&Operator{Type: "Flatten", Eval: flatten, Moves: []int{0}, Shape: flattenShape, Vector: handedOn, Magnitude: additive, Needs: reshapeNeeds, Rearranges: true},
		&Operator{Type: "Squeeze", Inputs: []string{"input", "axes"}, Eval: squeeze, Moves: []int{0}, Shape: squeezeShape, Vector: handedOn, Magnitude: additive, Needs: reshapeNeeds, Rearranges: true},
		&Operator{Type: "Unsqueeze", Inputs: []string{"input", "axes"}, Eval: unsqueeze, Moves: []int{0}, Shape: unsqueezeShape, Vector: handedOn, Magnitude: additive, Needs: reshapeNeeds, Rearranges: true},
		&Operator{Type: "Transpose", Eval: transpose, Moves: []int{0}, Shape: transposeShape, Magnitude: additive, Needs: transposeNeeds, Parts: true, Rearranges: true},
		&Operator{Type: "Expand", Required: 2, Inputs: []string{"input", "shape"}, Eval: expand, Moves: []int{0}, Shape: expandShape, Magnitude: additive, Needs: expandNeeds},
		&Operator{Type: "Tile", Required: 2, Inputs: []string{"input", "repeats"}, Eval: tile, Moves: []int{0}, Shape: tileShape, Magnitude: additive, Needs: tileNeeds},
		&Operator{Type: "Concat", Eval: concat, Moves: []int{0}, Variadic: true, DType: common, Shape: concatShape, Vector: concatVector, Magnitude: additive, Needs: concatNeeds, Parts: true},
		&Operator{Type: "Slice", Inputs: []string{"input", "starts", "ends", "axes", "steps"}, Eval: slice, Moves: []int{0}, Shape: sliceShape, Vector: sliceVector, Magnitude: additive, Needs: sliceNeeds},
		&Operator{Type: "Split", Inputs: []string{"input", "sizes"}, Eval: split, Moves: []int{0}, Shape: splitShape, Vector: splitVector, Magnitude: additive, Needs: splitNeeds},
		&Operator{Type: "ReverseSequence", Required: 2, Inputs: []string{"input", "lengths"}, Eval: reverseSequence, Moves: []int{0}, Shape: sameShape, Magnitude: additive, Needs: reverseSequenceNeeds},
		&Operator{Type: "Trilu", Inputs: []string{"input", "diagonal"}, Eval: trilu, Moves: []int{0}, Shape: sameShape, Magnitude: additive, Needs: firstNeeds},
	)
}

// reshape gives the elements another shape: 0 copies an extent unless allowzero says otherwise, −1 stands for what is left.
func reshape(n *model.Node, in []*Array) ([]*Array, error) {
	want := slices.Clone(ints(n, "shape", in, 1))
	rest, known := -1, int64(1)
	for k, d := range want {
		switch {
		case d == 0 && n.Int("allowzero", 0) == 0:
			if k >= len(in[0].Shape) {
				return nil, fmt.Errorf("axis %d of shape %v is to be copied", k, in[0].Shape)
			}
			want[k] = in[0].Shape[k]
		case d == -1 && rest < 0:
			rest = k
			continue
		}
		known *= want[k]
	}
	if rest >= 0 {
		if known == 0 {
			return nil, fmt.Errorf("shape %v is not determined", want)
		}
		want[rest] = int64(len(in[0].Data)) / known
	}
	return one(reshaped(in[0], want))
}

// reshapeShape is the wanted one, as far as it is known.
func reshapeShape(in *Inference, n *model.Node) [][]int64 {
	x, want := in.of(n.In(0)), in.ints(n.In(1))
	if in.opset < 5 {
		want = n.Ints("shape")
	}
	if want == nil {
		return in.ranked(n.In(1))
	}
	out, rest, others := make([]int64, len(want)), -1, slices.Clone(x)
	known := int64(1)
	for k, w := range want {
		switch {
		case w == 0 && n.Int("allowzero", 0) == 0:
			out[k] = elementAt(x, k, Unknown)
		case w == -1:
			rest, out[k] = k, Unknown
			continue
		default:
			out[k] = extent(w)
		}
		switch j := slices.Index(others, out[k]); {
		case out[k] >= 0 && known >= 0:
			known *= out[k]
		case out[k] < Unknown && j >= 0: // input and target share a free extent: the products of the remaining extents are equal
			others[j] = 1
		default:
			known = Unknown
		}
	}
	if total := extents(others); rest >= 0 && x != nil {
		switch {
		case known == 1:
			out[rest] = total
		case known > 0 && total >= 0 && total%known == 0:
			out[rest] = total / known
		case known > 0 && total < 0:
			out[rest] = quotientOf(others, known)
		}
	}
	return shapes(out)
}

// quotientOf is the one free extent among others, if the product of the remaining ones is known.
func quotientOf(others []int64, known int64) int64 {
	free := int64(Unknown)
	for _, d := range others {
		switch {
		case d < 0 && free != Unknown:
			return Unknown
		case d < 0:
			free = d
		case d == 0 || known%d != 0:
			return Unknown
		default:
			known /= d
		}
	}
	if known != 1 {
		return Unknown
	}
	return free
}

// flatten is a matrix: the axes before axis, and the others.
func flatten(n *model.Node, in []*Array) ([]*Array, error) {
	shape, axis := in[0].Shape, n.Int("axis", 1)
	if axis < 0 {
		axis += int64(len(shape))
	}
	if axis < 0 || axis > int64(len(shape)) {
		return nil, fmt.Errorf("axis %d of %d", axis, len(shape))
	}
	return one(reshaped(in[0], []int64{product(shape[:axis]), product(shape[axis:])}))
}

// flattenShape is [product before axis, product from axis on].
func flattenShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	out := freeShape(2)
	if axis := n.Int("axis", 1); x != nil {
		if axis < 0 {
			axis += int64(len(x))
		}
		if axis >= 0 && axis <= int64(len(x)) {
			out = []int64{extents(x[:axis]), extents(x[axis:])}
		}
	}
	return shapes(out)
}

// squeeze drops axes of extent 1: those named, or all.
func squeeze(n *model.Node, in []*Array) ([]*Array, error) {
	axes := slices.Clone(ints(n, "axes", in, 1))
	for k := range axes {
		axis, err := axisOf(axes[k], len(in[0].Shape))
		if err != nil {
			return nil, err
		}
		axes[k] = int64(axis)
	}
	shape := []int64{}
	for k, d := range in[0].Shape {
		if len(axes) == 0 && d == 1 || slices.Contains(axes, int64(k)) {
			continue
		}
		shape = append(shape, d)
	}
	return one(reshaped(in[0], shape))
}

// squeezeShape is the input's without those axes.
func squeezeShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axes, ok := in.axes(n, 1, len(x))
	if x == nil || !ok {
		return nil
	}
	out := []int64{}
	for k, d := range x {
		switch {
		case len(axes) == 0 && d < 0: // may be 1 or not
			return nil
		case len(axes) == 0 && d == 1 || slices.Contains(axes, k):
		default:
			out = append(out, d)
		}
	}
	return shapes(out)
}

// unsqueeze adds axes of extent 1.
func unsqueeze(n *model.Node, in []*Array) ([]*Array, error) {
	axes := ints(n, "axes", in, 1)
	rank := len(in[0].Shape) + len(axes)
	added := make([]bool, rank)
	for _, a := range axes {
		axis, err := axisOf(a, rank)
		if err != nil || added[axis] {
			return nil, fmt.Errorf("axes %v of %d", axes, rank)
		}
		added[axis] = true
	}
	shape, next := make([]int64, rank), 0
	for k := range shape {
		if added[k] {
			shape[k] = 1
		} else {
			shape[k] = in[0].Shape[next]
			next++
		}
	}
	return one(reshaped(in[0], shape))
}

// unsqueezeShape has 1 at the new axes.
func unsqueezeShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	count := len(n.Ints("axes"))
	if count == 0 {
		count = len(in.ints(n.In(1)))
	}
	axes, ok := in.axes(n, 1, len(x)+count)
	if x == nil || !ok || count == 0 {
		return nil
	}
	out, next := make([]int64, len(x)+count), 0
	for k := range out {
		if slices.Contains(axes, k) {
			out[k] = 1
		} else if next < len(x) {
			out[k] = x[next]
			next++
		}
	}
	return shapes(out)
}

// transpose permutes the axes: output axis k is input axis perm[k]; without perm they are reversed.
func transpose(n *model.Node, in []*Array) ([]*Array, error) {
	rank := len(in[0].Shape)
	perm, err := permutation(n, rank)
	if err != nil {
		return nil, err
	}
	shape, step, from := make([]int64, rank), make([]int64, rank), strides(in[0].Shape)
	for k, p := range perm {
		shape[k], step[k] = in[0].Shape[p], from[p]
	}
	return one(pick(in[0], shape, 0, step))
}

// permutation is, for each axis of a Transpose's output, that of its input.
func permutation(n *model.Node, rank int) ([]int64, error) {
	perm := n.Ints("perm")
	if perm == nil {
		for k := range rank {
			perm = append(perm, int64(rank-1-k))
		}
	}
	sorted := slices.Sorted(slices.Values(perm))
	for k, p := range sorted {
		if p != int64(k) {
			return nil, fmt.Errorf("permutation %v of %d axes", perm, rank)
		}
	}
	if len(perm) != rank {
		return nil, fmt.Errorf("permutation %v of %d axes", perm, rank)
	}
	return perm, nil
}

// transposeShape is the input's, permuted.
func transposeShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	perm := n.Ints("perm")
	if x == nil || perm != nil && len(perm) != len(x) {
		return nil
	}
	out := make([]int64, len(x))
	for k := range out {
		from := int64(len(x) - 1 - k)
		if perm != nil {
			from = perm[k]
		}
		if from < 0 || from >= int64(len(x)) {
			return nil
		}
		out[k] = x[from]
	}
	return shapes(out)
}

// expand broadcasts the input with a shape.
func expand(n *model.Node, in []*Array) ([]*Array, error) {
	shape, err := broadcastShape(in[0].Shape, in[1].Ints())
	if err != nil {
		return nil, err
	}
	return one(broadcastTo(in[0], shape))
}

// expandShape is the broadcast of both.
func expandShape(in *Inference, n *model.Node) [][]int64 {
	want := in.ints(n.In(1))
	want = slices.Clone(want)
	for k, d := range want {
		want[k] = extent(d)
	}
	return shapes(broadcastExtents(in.of(n.In(0)), want))
}

// tile is numpy.tile.
func tile(_ *model.Node, in []*Array) ([]*Array, error) {
	x, times := in[0], in[1].Ints()
	if len(times) != len(x.Shape) {
		return nil, fmt.Errorf("%d repeats for %d axes", len(times), len(x.Shape))
	}
	shape, from := slices.Clone(x.Shape), strides(x.Shape)
	for k, t := range times {
		if t < 0 || t > maxElements {
			return nil, fmt.Errorf("repeats %v", times)
		}
		shape[k] *= t
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	e := 0
	walk(shape, func(index []int64) {
		at := int64(0)
		for k, i := range index {
			at += i % x.Shape[k] * from[k]
		}
		out.Data[e] = x.Data[at]
		e++
	})
	return one(out, nil)
}

// tileShape is the input's times the repeats.
func tileShape(in *Inference, n *model.Node) [][]int64 {
	x, times := in.of(n.In(0)), in.ints(n.In(1))
	if x == nil {
		return nil
	}
	out := freeShape(len(x))
	for k := range out {
		switch {
		case k >= len(times) || unknown(times[k]):
		case times[k] == 1:
			out[k] = x[k]
		case x[k] >= 0:
			out[k] = times[k] * x[k]
		}
	}
	return shapes(out)
}

// concat joins the operands along an axis.
func concat(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, max(1, len(in))); err != nil {
		return nil, err
	}
	axis, err := axisOf(n.Int("axis", 1), len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(in[0].Shape)
	shape[axis] = 0
	for _, a := range in {
		if len(a.Shape) != len(shape) {
			return nil, fmt.Errorf("shapes %v and %v do not join", in[0].Shape, a.Shape)
		}
		for k, d := range a.Shape {
			if k != axis && d != shape[k] {
				return nil, fmt.Errorf("shapes %v and %v do not join along axis %d", in[0].Shape, a.Shape, axis)
			}
		}
		shape[axis] += a.Shape[axis]
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	outer, at := int(product(shape[:axis])), 0
	for o := range outer {
		for _, a := range in {
			run := len(a.Data) / max(outer, 1)
			at += copy(out.Data[at:], a.Data[o*run:(o+1)*run])
		}
	}
	return one(out, nil)
}

// concatShape adds their extents up on the axis.
func concatShape(in *Inference, n *model.Node) [][]int64 {
	var out []int64
	axis := -1
	for _, v := range n.Inputs {
		s := in.of(v)
		if s == nil {
			continue
		}
		if out == nil {
			a, err := axisOf(n.Int("axis", 1), len(s))
			if err != nil {
				return nil
			}
			axis, out = a, slices.Clone(s)
			out[axis] = 0
		}
		if len(s) != len(out) {
			return nil
		}
		for k, x := range s {
			if k != axis && out[k] < 0 {
				out[k] = x
			}
		}
	}
	if out == nil {
		return nil
	}
	for _, v := range n.Inputs {
		s := in.of(v)
		if s == nil || s[axis] < 0 {
			out[axis] = Unknown
			break
		}
		out[axis] += s[axis]
	}
	return shapes(out)
}

// slice is numpy's x[start:end:step] on the named axes; ends beyond the axis are cut to it.
func slice(n *model.Node, in []*Array) ([]*Array, error) {
	cuts, err := cutsOf(n, in)
	if err != nil {
		return nil, err
	}
	x := in[0]
	shape, step, first := make([]int64, len(cuts)), strides(x.Shape), int64(0)
	for k, c := range cuts {
		shape[k], first, step[k] = c.count, first+c.first*step[k], c.step*step[k]
	}
	if product(shape) == 0 {
		return one(NewArray(shape))
	}
	return one(pick(x, shape, first, step))
}

// cut is the part of an axis that a Slice takes: count elements, from position first on in steps of step.
type cut struct{ first, count, step int64 }

// cutsOf are the cuts of a Slice, one for each axis.
func cutsOf(n *model.Node, in []*Array) ([]cut, error) {
	starts, ends := ints(n, "starts", in, 1), ints(n, "ends", in, 2)
	axes, steps := ints(n, "axes", in, 3), ints(n, "steps", in, 4)
	shape := in[0].Shape
	cuts, seen := make([]cut, len(shape)), make([]bool, len(shape))
	for k, d := range shape {
		cuts[k] = cut{0, d, 1}
	}
	if len(starts) != len(ends) || axes != nil && len(axes) != len(starts) || steps != nil && len(steps) != len(starts) {
		return nil, fmt.Errorf("%d starts, %d ends, %d axes, %d steps", len(starts), len(ends), len(axes), len(steps))
	}
	for k := range starts {
		along := int64(k)
		if axes != nil {
			along = axes[k]
		}
		axis, err := axisOf(along, len(shape))
		if err != nil {
			return nil, err
		}
		if seen[axis] {
			return nil, fmt.Errorf("axis %d twice: %w", axis, ErrUnsupported)
		}
		seen[axis] = true
		by := int64(1)
		if steps != nil {
			by = steps[k]
		}
		if by == 0 {
			return nil, fmt.Errorf("step 0")
		}
		first, count := Sliced(starts[k], ends[k], by, shape[axis])
		cuts[axis] = cut{first, count, by}
	}
	return cuts, nil
}

// Sliced is what a Slice from one position to another takes of an axis of that extent: count elements, the first one and
// then every step-th. Positions below 0 count from the end; the step is not 0.
func Sliced(from, to, step, extent int64) (first, count int64) {
	bound := func(i, lowest, highest int64) int64 {
		if i < 0 {
			i += extent
		}
		return min(max(i, lowest), highest)
	}
	if step > 0 {
		from, to = bound(from, 0, extent), bound(to, 0, extent)
		if to <= from {
			return from, 0
		}
		return from, (to-from-1)/step + 1
	}
	from, to = bound(from, 0, extent-1), bound(to, -1, extent-1)
	if from <= to {
		return max(from, 0), 0
	}
	return max(from, 0), (from-to-1)/-max(step, -math.MaxInt64) + 1
}

// sliceShape has, for each axis, the number of elements that are taken.
func sliceShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	if x == nil {
		return nil
	}
	starts, ends, axes, steps := n.Ints("starts"), n.Ints("ends"), n.Ints("axes"), []int64(nil)
	if in.opset >= 10 {
		starts, ends, axes, steps = in.ints(n.In(1)), in.ints(n.In(2)), in.ints(n.In(3)), in.ints(n.In(4))
		if n.In(3) != nil && axes == nil {
			return shapes(freeShape(len(x)))
		}
	}
	out := slices.Clone(x)
	count := max(len(starts), len(ends), len(axes))
	if starts == nil && ends == nil && axes == nil {
		out = freeShape(len(x))
	}
	for k := range count {
		axis, err := axisOf(elementAt(axes, k, int64(k)), len(x))
		if err != nil {
			return nil
		}
		from, to, step := elementAt(starts, k, noElement), elementAt(ends, k, noElement), elementAt(steps, k, 1)
		if n.In(4) != nil && in.opset >= 10 && steps == nil {
			step = noElement
		}
		switch whole := from == 0 && to >= math.MaxInt32 && step == 1; {
		case whole:
		case x[axis] < 0 || unknown(from) || unknown(to) || unknown(step) || step == 0:
			out[axis] = Unknown
		default:
			_, out[axis] = Sliced(from, to, step, x[axis])
		}
	}
	return shapes(out)
}

// split cuts an axis into parts of the sizes that split says, or into num_outputs equal ones of which the last may be
// smaller.
func split(n *model.Node, in []*Array) ([]*Array, error) {
	x := in[0]
	axis, err := axisOf(n.Int("axis", 0), len(x.Shape))
	if err != nil {
		return nil, err
	}
	sizes := splitSizes(n, in, axis)
	step, at := strides(x.Shape), int64(0)
	var out []*Array
	for _, size := range sizes {
		if size < 0 || at+size > x.Shape[axis] {
			return nil, fmt.Errorf("parts %v of %d", sizes, x.Shape[axis])
		}
		shape := slices.Clone(x.Shape)
		shape[axis] = size
		part, err := pick(x, shape, at*step[axis], step)
		if err != nil {
			return nil, err
		}
		out, at = append(out, part), at+size
	}
	return out, nil
}

// splitShape gives the shape of each part.
func splitShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	axis, err := axisOf(n.Int("axis", 0), len(x))
	sizes := n.Ints("split")
	if sizes == nil {
		sizes = in.ints(n.In(1))
	}
	list := make([][]int64, len(n.Outputs))
	for k := range list {
		if err != nil {
			break
		}
		out := slices.Clone(x)
		switch count := int64(len(n.Outputs)); {
		case k < len(sizes):
			out[axis] = extent(sizes[k])
		case sizes == nil && n.In(1) == nil && x[axis] >= 0:
			part := (x[axis] + count - 1) / count
			out[axis] = min(part, x[axis]-int64(k)*part)
		default:
			out[axis] = Unknown
		}
		list[k] = out
	}
	return list
}

// splitSizes are the extents of the parts along the axis.
func splitSizes(n *model.Node, in []*Array, axis int) []int64 {
	sizes, extent, count := ints(n, "split", in, 1), in[0].Shape[axis], int64(len(n.Outputs))
	if sizes != nil || count == 0 {
		return sizes
	}
	part := (extent + count - 1) / count
	for k := range count {
		sizes = append(sizes, min(part, extent-k*part))
	}
	return sizes
}

// reverseSequence reverses the first elements of each sequence of a batch, as many as sequence_lens says.
func reverseSequence(n *model.Node, in []*Array) ([]*Array, error) {
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

// trilu keeps the upper or lower triangle of each matrix, with the diagonal k, and sets the rest to 0.
func trilu(n *model.Node, in []*Array) ([]*Array, error) {
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

// reshapeNeeds splits both shapes into groups of axes with equal products, and maps each group by itself.
func reshapeNeeds(_ *model.Node, in []*Array, out Part) []Box {
	from, to := in[0].Shape, out.Shape
	if product(from) != product(to) || product(from) == 0 {
		return nil
	}
	box := Whole(from)
	for i, j := 0, 0; i < len(from) || j < len(to); {
		first, start, a, b := i, j, int64(1), int64(1)
		for a != b || i == first && j == start {
			if i < len(from) && (a <= b || j == len(to)) {
				a *= from[i]
				i++
			} else {
				b *= to[j]
				j++
			}
		}
		regroup(box[first:i], from[first:i], to[start:j], out.Box[start:j])
	}
	return []Box{box}
}

// regroup shrinks box, at first all of the shape from, to the smallest box that holds all elements between the first and
// the last one, in row-major order, of a part of the shape to.
func regroup(box Box, from, to []int64, part Box) {
	low, high := int64(0), int64(0)
	for k, step := range strides(to) {
		low, high = low+part[k].From*step, high+(part[k].To-1)*step
	}
	for k, step := range strides(from) {
		first, last := low/step, high/step
		if box[k] = (Range{first, last + 1}); first != last {
			return
		}
		low, high = low-first*step, high-last*step
	}
}

func transposeNeeds(n *model.Node, in []*Array, out Part) []Box {
	rank := len(in[0].Shape)
	perm, err := permutation(n, rank)
	if err != nil || len(out.Box) != rank {
		return nil
	}
	box := make(Box, rank)
	for k, p := range perm {
		box[p] = out.Box[k]
	}
	return []Box{box}
}

func expandNeeds(_ *model.Node, in []*Array, out Part) []Box {
	return []Box{broadcastBox(out.Box, in[0].Shape)}
}

func tileNeeds(_ *model.Node, in []*Array, out Part) []Box {
	x := in[0].Shape
	if len(out.Box) != len(x) {
		return nil
	}
	box := Whole(x)
	for k, r := range out.Box {
		if x[k] > 0 && r.From/x[k] == (r.To-1)/x[k] {
			box[k] = r.shifted(-r.From / x[k] * x[k])
		}
	}
	return []Box{box}
}

func concatNeeds(n *model.Node, in []*Array, out Part) []Box {
	axis, err := axisOf(n.Int("axis", 1), len(out.Box))
	if err != nil {
		return nil
	}
	boxes, at := make([]Box, len(in)), int64(0)
	for k, a := range in {
		if a == nil || len(a.Shape) != len(out.Box) {
			return nil
		}
		boxes[k] = slices.Clone(out.Box)
		boxes[k][axis] = out.Box[axis].shifted(-at)
		at += a.Shape[axis]
	}
	return boxes
}

func sliceNeeds(n *model.Node, in []*Array, out Part) []Box {
	for k := 1; k < len(in); k++ {
		if in[k] != nil && in[k].Data == nil {
			return nil
		}
	}
	cuts, err := cutsOf(n, in)
	if err != nil || !slices.EqualFunc(out.Shape, cuts, func(d int64, c cut) bool { return d == c.count }) {
		return nil
	}
	box := make(Box, len(cuts))
	for k, r := range out.Box {
		first, last := cuts[k].first+r.From*cuts[k].step, cuts[k].first+(r.To-1)*cuts[k].step
		box[k] = Range{min(first, last), max(first, last) + 1}
	}
	return []Box{box}
}

func splitNeeds(n *model.Node, in []*Array, out Part) []Box {
	axis, err := axisOf(n.Int("axis", 0), len(out.Box))
	if _, ok := given(n, "split", in, 1); err != nil || !ok || len(out.Box) != len(in[0].Shape) {
		return nil
	}
	box, sizes := slices.Clone(out.Box), splitSizes(n, in, axis)
	for _, size := range sizes[:min(out.Output, len(sizes))] {
		box[axis] = box[axis].shifted(size)
	}
	return []Box{box}
}

// reverseSequenceNeeds are whole sequences.
var reverseSequenceNeeds = alongNeeds(func(n *model.Node, _ int) []int64 { return []int64{n.Int("time_axis", 0)} })
