package op

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Shape inference follows vectors of extents element by element through Shape, Gather, Concat and their like, since some
// elements are known where others are free. A scalar counts as a vector of one element.

// vector notes what is known of the elements of a node's outputs.
func (in *Inference) vector(n *model.Node, o *Operator) {
	if o.Vector == nil {
		return
	}
	for k, x := range o.Vector(in, n) {
		if v := n.Out(k); x != nil && len(x) <= 64 && v != nil {
			in.vectors[v] = x
		}
	}
}

// handedOn is the Vector of operators that do not change a vector's elements.
func handedOn(in *Inference, n *model.Node) [][]int64 { return shapes(in.ints(n.In(0))) }

// operands is the Vector of an elementwise operator of two operands; f computes an element.
func operands(f func(a, b int64) int64) func(*Inference, *model.Node) [][]int64 {
	return func(in *Inference, n *model.Node) [][]int64 {
		if !whole(valueType(n.In(0))) || len(n.Inputs) != 2 {
			return nil
		}
		return shapes(together(func(list ...int64) int64 { return f(list[0], list[1]) }, in.ints(n.In(0)), in.ints(n.In(1))))
	}
}

// Arithmetic on elements that may be unknown, or free extents: 0·x, x·1 and their like have a known result all the same.

func addExtents(a, b int64) int64 {
	switch {
	case b == 0:
		return a
	case a == 0:
		return b
	case unknown(a) || unknown(b):
		return noElement
	}
	return a + b
}

func subtractExtents(a, b int64) int64 {
	switch {
	case b == 0:
		return a
	case unknown(a) || unknown(b):
		return noElement
	}
	return a - b
}

func multiplyExtents(a, b int64) int64 {
	switch {
	case b == 1:
		return a
	case a == 1:
		return b
	case unknown(a) || unknown(b):
		return noElement
	}
	return a * b
}

func divideExtents(a, b int64) int64 {
	switch {
	case b == 1:
		return a
	case unknown(a) || unknown(b) || b == 0:
		return noElement
	}
	return a / b
}

func remainderOfExtents(a, b int64) int64 {
	if unknown(a) || unknown(b) || b == 0 {
		return noElement
	}
	r := a % b
	if r != 0 && (r < 0) != (b < 0) {
		r += b
	}
	return r
}

// largerExtent knows that a free extent is at least 0.
func largerExtent(a, b int64) int64 {
	switch {
	case a == b || a != noElement && unknown(a) && b <= 0 && !unknown(b):
		return a
	case unknown(a) || unknown(b):
		return noElement
	}
	return max(a, b)
}

func smallerExtent(a, b int64) int64 {
	switch {
	case a == b:
		return a
	case unknown(a) || unknown(b):
		return noElement
	}
	return min(a, b)
}

// equalExtents knows that a free extent is at least 0.
func equalExtents(a, b int64) int64 {
	switch {
	case a == b && a != noElement:
		return 1
	case unknown(a) && b < 0 && !unknown(b), unknown(b) && a < 0 && !unknown(a):
		return 0
	case unknown(a) || unknown(b):
		return noElement
	}
	return 0
}

// modVector follows no remainder that has the sign of the dividend.
func modVector(in *Inference, n *model.Node) [][]int64 {
	if n.Int("fmod", 0) != 0 {
		return nil
	}
	return operands(remainderOfExtents)(in, n)
}

func whereVector(in *Inference, n *model.Node) [][]int64 {
	return shapes(together(func(list ...int64) int64 {
		switch {
		case list[1] == list[2]:
			return list[1]
		case unknown(list[0]):
			return noElement
		case list[0] != 0:
			return list[1]
		}
		return list[2]
	}, in.ints(n.In(0)), in.ints(n.In(1)), in.ints(n.In(2))))
}

func shapeVector(in *Inference, n *model.Node) [][]int64 {
	s := in.of(n.In(0))
	if s == nil {
		return nil
	}
	from, to := clampRange(n.Int("start", 0), n.Int("end", int64(len(s))), int64(len(s)))
	out := []int64{}
	for _, d := range s[from:to] {
		out = append(out, element(d))
	}
	return shapes(out)
}

func sizeVector(in *Inference, n *model.Node) [][]int64 {
	s := in.of(n.In(0))
	if s == nil {
		return nil
	}
	return shapes([]int64{element(extents(s))})
}

func castVector(in *Inference, n *model.Node) [][]int64 {
	x := n.In(0)
	if to := tensor.DType(n.Int("to", int64(valueType(n.In(1))))); !whole(valueType(x)) || to != tensor.Int64 && to != tensor.Int32 {
		return nil
	}
	return shapes(in.ints(x))
}

func gatherVector(in *Inference, n *model.Node) [][]int64 {
	return shapes(gathered(in.ints(n.In(0)), in.ints(n.In(1))))
}

func splitVector(in *Inference, n *model.Node) (out [][]int64) {
	data, at := in.ints(n.In(0)), int64(0)
	for _, size := range in.parts(n, int64(len(data))) {
		if size < 0 || size > int64(len(data))-at || data == nil {
			break
		}
		out = append(out, data[at:at+size])
		at += size
	}
	return out
}

func productVector(in *Inference, n *model.Node) [][]int64 {
	a := in.ints(n.In(0))
	if a == nil || n.In(1) != nil || len(n.Ints("axes")) > 1 {
		return nil
	}
	p := int64(1)
	for _, d := range a {
		p = multiplyExtents(p, d)
	}
	return shapes([]int64{p})
}

func concatVector(in *Inference, n *model.Node) [][]int64 { return shapes(in.joined(n)) }

func sliceVector(in *Inference, n *model.Node) [][]int64 { return shapes(in.sliced(n)) }

// noElement is an element that is not known. A free extent d < 0 is the element noElement + d.
const noElement = -1 << 62

func unknown(element int64) bool { return element <= noElement }

// element is an extent as an element of a vector, and extent the reverse.
func element(extent int64) int64 {
	switch {
	case extent >= 0:
		return extent
	case extent == Unknown:
		return noElement
	}
	return noElement + extent
}

func extent(element int64) int64 {
	switch {
	case element == noElement:
		return Unknown
	case element < noElement:
		return element - noElement
	}
	return element
}

// ints are the elements of an integer vector, some of which may be unknown; nil where nothing is known.
func (in *Inference) ints(v *model.Value) []int64 {
	if v == nil {
		return nil
	}
	if x, ok := in.vectors[v]; ok {
		return x
	}
	if s := in.of(v); len(s) > 1 || len(s) == 1 && s[0] > 64 {
		return nil
	}
	if a, ok := in.consts.Value(v); ok && len(a.Shape) <= 1 && len(a.Data) <= 64 && !slices.ContainsFunc(a.Data, func(x float64) bool { return x != math.Trunc(x) }) {
		return a.Ints()
	}
	return nil
}

// scalar is the element of a value of one element; else noElement.
func (in *Inference) scalar(v *model.Value) int64 {
	if x := in.ints(v); len(x) == 1 {
		return x[0]
	}
	return noElement
}

// whole says whether the type is an integer type. Values of unknown type count as integers: they are extents, most likely.
func whole(d tensor.DType) bool { return !d.Float() }

// together combines vectors element by element; a vector of one element is broadcast.
func together(f func(list ...int64) int64, vectors ...[]int64) []int64 {
	count := 1
	for _, x := range vectors {
		if len(x) == 0 || len(x) != 1 && count != 1 && len(x) != count {
			return nil
		}
		count = max(count, len(x))
	}
	out, list := make([]int64, count), make([]int64, len(vectors))
	for k := range out {
		for j, x := range vectors {
			list[j] = x[k%len(x)]
		}
		out[k] = f(list...)
	}
	return out
}

func gathered(data, index []int64) []int64 {
	if data == nil || index == nil {
		return nil
	}
	out := make([]int64, len(index))
	for k, i := range index {
		if i < 0 && !unknown(i) {
			i += int64(len(data))
		}
		if i < 0 || i >= int64(len(data)) {
			return nil
		}
		out[k] = data[i]
	}
	return out
}

func (in *Inference) joined(n *model.Node) []int64 {
	var out []int64
	for _, v := range n.Inputs {
		part, s := in.ints(v), in.of(v)
		if len(s) > 1 {
			return nil
		}
		if part == nil {
			if len(s) != 1 || s[0] < 0 || s[0] > 64 {
				return nil
			}
			part = slices.Repeat([]int64{noElement}, int(s[0]))
		}
		if out = append(out, part...); len(out) > 64 {
			return nil
		}
	}
	return out
}

// parts are the sizes of a Split's outputs along an axis of that extent; nil where they are not known.
func (in *Inference) parts(n *model.Node, extent int64) []int64 {
	sizes, count := n.Ints("split"), int64(len(n.Outputs))
	switch {
	case sizes != nil:
	case n.In(1) != nil:
		if sizes = in.ints(n.In(1)); slices.ContainsFunc(sizes, unknown) {
			return nil
		}
	case extent >= 0 && count > 0:
		part := (extent + count - 1) / count
		for k := range count {
			sizes = append(sizes, min(part, extent-k*part))
		}
	}
	return sizes
}

func (in *Inference) sliced(n *model.Node) []int64 {
	data, starts, ends, steps := in.ints(n.In(0)), n.Ints("starts"), n.Ints("ends"), []int64{1}
	if in.opset >= 10 {
		starts, ends = in.ints(n.In(1)), in.ints(n.In(2))
		if n.In(4) != nil {
			steps = in.ints(n.In(4))
		}
	}
	if data == nil || len(starts) != 1 || len(ends) != 1 || len(steps) != 1 || unknown(starts[0]) || unknown(ends[0]) || unknown(steps[0]) || steps[0] == 0 {
		return nil
	}
	first, count := Sliced(starts[0], ends[0], steps[0], int64(len(data)))
	out := make([]int64, count)
	for k := range out {
		out[k] = data[first+int64(k)*steps[0]]
	}
	return out
}

// clampRange is Slice's range of step 1 over an axis of that extent.
func clampRange(from, to, extent int64) (int64, int64) {
	if from < 0 {
		from += extent
	}
	if to < 0 {
		to += extent
	}
	from, to = min(max(from, 0), extent), min(max(to, 0), extent)
	return from, max(from, to)
}
