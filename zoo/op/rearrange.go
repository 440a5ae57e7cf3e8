package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that move elements about.

func init() {
	operators["Identity"] = func(_ *model.Node, in []*Array) ([]*Array, error) { return in[:1], need(in, 1) }
	operators["Dropout"] = dropout
	operators["Cast"] = castNode
	operators["CastLike"] = castLike
	operators["Reshape"] = reshape
	operators["Flatten"] = flatten
	operators["Squeeze"] = squeeze
	operators["Unsqueeze"] = unsqueeze
	operators["Transpose"] = transpose
	operators["Expand"] = expand
	operators["Concat"] = concat
	operators["Slice"] = slice
	operators["Split"] = split
	operators["Gather"] = gather
	operators["Shape"] = shapeNode
	operators["Size"] = func(_ *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 1); err != nil {
			return nil, err
		}
		return one(Scalar(float64(len(in[0].Data))), nil)
	}
	operators["ConstantOfShape"] = constantOfShape
	operators["Range"] = rangeNode
	operators["Tile"] = tile
}

// dropout keeps all elements where nobody trains.
func dropout(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	nonzero := func(x float64) bool { return x != 0 }
	if training := input(in, 2); training != nil && slices.ContainsFunc(training.Data, nonzero) && (input(in, 1) == nil || slices.ContainsFunc(in[1].Data, nonzero)) {
		return nil, fmt.Errorf("training: %w", ErrUnsupported)
	}
	mask := &Array{Shape: in[0].Shape, Data: slices.Repeat([]float64{1}, len(in[0].Data))}
	return []*Array{in[0], mask}, nil
}

func castNode(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	return one(cast(in[0], tensor.DType(n.Int("to", 0))))
}

func castLike(_ *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	if in[1].DType == tensor.Undefined {
		return nil, fmt.Errorf("cast to an unknown type: %w", ErrUnsupported)
	}
	return one(cast(in[0], in[1].DType))
}

// cast makes floats truth values, or integers, rounded towards 0; ONNX leaves open what becomes of those that the type does
// not hold. Integers wrap around. Numbers stay as they are in float64 and float32, and are rounded to 16 bits.
func cast(x *Array, to tensor.DType) (*Array, error) {
	out := &Array{DType: to, Shape: x.Shape, Data: make([]float64, len(x.Data))}
	if integer(to) && (integer(x.DType) || x.DType == tensor.Bool) {
		list := make([]int64, len(x.Data))
		for k := range list {
			list[k] = x.Int(k)
		}
		return ofInts(to, x.Shape, list), nil
	}
	for k, v := range x.Data {
		switch {
		case to == tensor.Float64 || to == tensor.Float32:
			out.Data[k] = v
		case to == tensor.Float16 || to == tensor.BFloat16:
			out.Data[k] = to.Round(v)
		case to == tensor.Bool:
			out.Data[k] = truth(v != 0)
		case integer(to):
			if v = math.Trunc(v); !(math.Abs(v) < exact) || number(wrapped(int64(v), to), to) != v {
				return nil, fmt.Errorf("%g as %v: %w", v, to, ErrUnsupported)
			}
			out.Data[k] = v
		default:
			return nil, fmt.Errorf("cast to %v: %w", to, ErrUnsupported)
		}
	}
	return out, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
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

func reshape(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
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

func flatten(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	shape, axis := in[0].Shape, n.Int("axis", 1)
	if axis < 0 {
		axis += int64(len(shape))
	}
	if axis < 0 || axis > int64(len(shape)) {
		return nil, fmt.Errorf("axis %d of %d", axis, len(shape))
	}
	return one(reshaped(in[0], []int64{product(shape[:axis]), product(shape[axis:])}))
}

func squeeze(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
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

func unsqueeze(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
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
	e := 0
	walk(shape, func(index []int64) {
		from := start
		for k, i := range index {
			from += i * step[k]
		}
		out.Data[e] = a.Data[from]
		e++
	})
	return out, nil
}

func transpose(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	rank := len(in[0].Shape)
	perm := n.Ints("perm")
	if perm == nil {
		for k := range rank {
			perm = append(perm, int64(rank-1-k))
		}
	}
	shape, step, from := make([]int64, rank), make([]int64, rank), strides(in[0].Shape)
	seen := make([]bool, rank)
	if len(perm) != rank {
		return nil, fmt.Errorf("permutation %v of %d axes", perm, rank)
	}
	for k, p := range perm {
		if p < 0 || p >= int64(rank) || seen[p] {
			return nil, fmt.Errorf("permutation %v of %d axes", perm, rank)
		}
		seen[p] = true
		shape[k], step[k] = in[0].Shape[p], from[p]
	}
	return one(pick(in[0], shape, 0, step))
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

func expand(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	shape, err := broadcastShape(in[0].Shape, in[1].Ints())
	if err != nil {
		return nil, err
	}
	return one(broadcastTo(in[0], shape))
}

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

func slice(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x := in[0]
	starts, ends := ints(n, "starts", in, 1), ints(n, "ends", in, 2)
	axes, steps := ints(n, "axes", in, 3), ints(n, "steps", in, 4)
	shape, step, first, seen := slices.Clone(x.Shape), strides(x.Shape), int64(0), make([]bool, len(x.Shape))
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
		by, extent := int64(1), x.Shape[axis]
		if steps != nil {
			by = steps[k]
		}
		if by == 0 {
			return nil, fmt.Errorf("step 0")
		}
		var from int64
		from, shape[axis] = Sliced(starts[k], ends[k], by, extent)
		first += from * step[axis]
		step[axis] *= by
	}
	if product(shape) == 0 {
		return one(NewArray(shape))
	}
	return one(pick(x, shape, first, step))
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

func split(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x := in[0]
	axis, err := axisOf(n.Int("axis", 0), len(x.Shape))
	if err != nil {
		return nil, err
	}
	sizes := ints(n, "split", in, 1)
	if sizes == nil {
		count := int64(len(n.Outputs))
		part := (x.Shape[axis] + count - 1) / count
		for k := range count {
			sizes = append(sizes, min(part, x.Shape[axis]-k*part))
		}
	}
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

func gather(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	axis, err := axisOf(n.Int("axis", 0), len(in[0].Shape))
	if err != nil {
		return nil, err
	}
	return take(in[0], axis, in[1])
}

// take is what stands at the indices along an axis.
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

func shapeNode(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	return one(shapeOf(n, in[0].Shape))
}

func shapeOf(n *model.Node, shape []int64) (*Array, error) {
	rank := int64(len(shape))
	bound := func(i int64) int64 {
		if i < 0 {
			i += rank
		}
		return min(max(i, 0), rank)
	}
	from, to := bound(n.Int("start", 0)), bound(n.Int("end", rank))
	out := &Array{Shape: []int64{max(to-from, 0)}, Data: nil}
	out.DType = tensor.Int64
	for k := from; k < to; k++ {
		out.Data = append(out.Data, float64(shape[k]))
	}
	return out, nil
}

func constantOfShape(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	out, err := NewArray(in[0].Ints())
	if err != nil {
		return nil, err
	}
	a := n.Attr("value")
	if a == nil || a.Tensor == nil {
		out.DType = tensor.Float32
		return one(out, nil)
	}
	v, err := FromConstant(a.Tensor, 1)
	if err != nil || len(v.Data) != 1 {
		return nil, fmt.Errorf("value: %w", ErrUnsupported)
	}
	out.DType = v.DType
	for k := range out.Data {
		out.Data[k] = v.Data[0]
	}
	if v.wide != nil {
		out.wide = slices.Repeat(v.wide, len(out.Data))
	}
	return one(out, nil)
}

func rangeNode(_ *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	for _, a := range in[:3] {
		if len(a.Data) != 1 {
			return nil, fmt.Errorf("a bound of shape %v", a.Shape)
		}
	}
	from, to, by := in[0].Data[0], in[1].Data[0], in[2].Data[0]
	count := math.Max(math.Ceil((to-from)/by), 0)
	if !(count <= maxElements) {
		return nil, fmt.Errorf("a range of %g elements", count)
	}
	out, err := NewArray([]int64{int64(count)})
	if err != nil {
		return nil, err
	}
	for k := range out.Data {
		out.Data[k] = from + float64(k)*by
	}
	return one(out, nil)
}

func tile(_ *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
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
