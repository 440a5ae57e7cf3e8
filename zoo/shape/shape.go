// Package shape infers types and shapes of values that the file does not declare: enough to know ranks and static extents,
// which say along which axis a constant is broadcast.
package shape

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/eval"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Unknown is an extent of which nothing is known. Infer gives every free extent a number of its own below that, and where
// operators hand an extent on, its number with it: equal numbers are equal extents.
const Unknown = -1

// firstNamed is above the numbers of free extents, and below what a senseless attribute makes of an extent.
const firstNamed = -1 << 40

// Infer fills in DType and Shape of the values of a model, where they are not declared and the operators tell them. A
// declared extent is believed, a free one is narrowed to what the operators tell.
func Infer(m *model.Model, consts *eval.Folder) {
	in := newInference(m, consts)
	var walk func(*model.Graph)
	walk = func(g *model.Graph) {
		for _, v := range g.Inputs {
			in.name(v)
		}
		for _, n := range g.Nodes {
			for _, b := range n.Bodies {
				walk(b)
			}
			in.node(n)
		}
	}
	walk(m.Graph)
}

// Each is Infer for one node after the other, in an order in which each stands behind those that it reads: for who builds a
// graph, whose inputs are there, and needs to know shapes on the way.
func Each(m *model.Model, consts *eval.Folder) func(*model.Node) {
	in := newInference(m, consts)
	for _, v := range m.Graph.Inputs {
		in.name(v)
	}
	return in.node
}

// newInference goes on behind the numbers that free extents have already.
func newInference(m *model.Model, consts *eval.Folder) *inference {
	in := &inference{consts: consts, vectors: map[*model.Value][]int64{}, opset: m.Opset[""]}
	m.Walk(func(g *model.Graph) {
		values := slices.Clone(g.Inputs)
		for _, n := range g.Nodes {
			values = append(values, n.Outputs...)
		}
		for _, v := range values {
			if v != nil && len(v.Shape) > 0 {
				in.named = max(in.named, firstNamed-slices.Min(v.Shape))
			}
		}
	})
	return in
}

type inference struct {
	consts  *eval.Folder
	vectors map[*model.Value][]int64 // elements of small integer vectors that depend on shapes
	opset   int64
	named   int64 // free extents that have a number
}

// noElement is an element of a vector that is not known; below it are free extents, less noElement.
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

// name gives a value's free extents numbers.
func (in *inference) name(v *model.Value) {
	if v == nil || !slices.Contains(v.Shape, Unknown) {
		return
	}
	v.Shape = slices.Clone(v.Shape)
	for k, d := range v.Shape {
		if d == Unknown {
			in.named++
			v.Shape[k] = firstNamed - in.named
		}
	}
}

func (in *inference) node(n *model.Node) {
	if n.Domain != "" && n.Domain != "ai.onnx" || n.Out(0) == nil {
		return
	}
	in.vector(n)
	if n.Outputs[0].Const != nil {
		return
	}
	if rule, ok := rules[n.Type]; ok {
		rule(in, n)
	}
	for _, v := range n.Outputs {
		in.name(v)
	}
}

// set notes what is known of output k; nil shapes and Undefined types say nothing.
func set(n *model.Node, k int, d tensor.DType, shape []int64) {
	v := n.Out(k)
	if v == nil {
		return
	}
	if v.DType == tensor.Undefined {
		v.DType = d
	}
	for k, d := range shape {
		if firstNamed <= d && d < Unknown {
			shape = slices.Clone(shape)
			shape[k] = Unknown
		}
	}
	switch {
	case shape == nil:
	case v.Shape == nil:
		v.Shape = shape
	case len(v.Shape) == len(shape):
		v.Shape = slices.Clone(v.Shape)
		for k, d := range shape {
			if v.Shape[k] < 0 {
				v.Shape[k] = d
			}
		}
	}
}

// of is the shape of a value: nil where its rank is not known.
func (in *inference) of(v *model.Value) []int64 {
	if v == nil {
		return nil
	}
	if v.Const != nil {
		return append([]int64{}, v.Const.Shape...) // a scalar's shape is empty, not unknown
	}
	if v.Shape == nil {
		if a, ok := in.consts.Value(v); ok {
			return a.Shape
		}
	}
	return v.Shape
}

func typeOf(v *model.Value) tensor.DType {
	if v == nil {
		return tensor.Undefined
	}
	if v.Const != nil {
		return v.Const.DType
	}
	return v.DType
}

// ints are the elements of an integer vector, some of which may be unknown; nil where nothing is known.
func (in *inference) ints(v *model.Value) []int64 {
	if v == nil {
		return nil
	}
	if x, ok := in.vectors[v]; ok {
		return x
	}
	if s := in.of(v); len(s) > 1 || len(s) == 1 && s[0] > 64 {
		return nil
	}
	if a, ok := in.consts.Value(v); ok && len(a.Shape) <= 1 && len(a.Data) <= 64 {
		return a.Ints()
	}
	return nil
}

// vector follows integer vectors that are made of shapes: Shape, Gather, Concat and their like.
func (in *inference) vector(n *model.Node) {
	keep := func(x []int64) {
		if x != nil && len(x) <= 64 {
			in.vectors[n.Outputs[0]] = x
		}
	}
	x := n.In(0)
	switch n.Type {
	case "Shape":
		if s := in.of(x); s != nil {
			from, to := clampRange(n.Int("start", 0), n.Int("end", int64(len(s))), int64(len(s)))
			var out []int64
			for _, d := range s[from:to] {
				out = append(out, element(d))
			}
			keep(out)
		}
	case "Identity", "Squeeze", "Unsqueeze", "Cast":
		if s := in.of(x); s != nil && len(s) <= 1 {
			keep(in.ints(x))
		}
	case "Gather":
		data, index := in.ints(x), in.ints(n.In(1))
		if data == nil || index == nil {
			return
		}
		out := make([]int64, len(index))
		for k, i := range index {
			if i < 0 {
				i += int64(len(data))
			}
			if i < 0 || i >= int64(len(data)) {
				return
			}
			out[k] = data[i]
		}
		keep(out)
	case "Concat":
		var out []int64
		for _, v := range n.Inputs {
			part := in.ints(v)
			if part == nil {
				s := in.of(v)
				if len(s) != 1 || s[0] < 0 || s[0] > 64 {
					return
				}
				part = slices.Repeat([]int64{noElement}, int(s[0]))
			}
			if out = append(out, part...); len(out) > 64 {
				return
			}
		}
		keep(out)
	case "Slice":
		data, starts, ends := in.ints(x), n.Ints("starts"), n.Ints("ends")
		if in.opset >= 10 {
			starts, ends = in.ints(n.In(1)), in.ints(n.In(2))
			if steps := in.ints(n.In(4)); n.In(4) != nil && (len(steps) != 1 || steps[0] != 1) {
				return
			}
		}
		if data == nil || len(starts) != 1 || len(ends) != 1 || unknown(starts[0]) || unknown(ends[0]) {
			return
		}
		from, to := clampRange(starts[0], ends[0], int64(len(data)))
		keep(data[from:to])
	case "Add", "Sub", "Mul", "Div":
		a, b := in.ints(x), in.ints(n.In(1))
		if len(a) == 0 || len(b) == 0 || len(a) != len(b) && len(a) != 1 && len(b) != 1 || typeOf(x).Float() {
			return
		}
		out := make([]int64, max(len(a), len(b)))
		for k := range out {
			out[k] = arithmetic(n.Type, a[k%len(a)], b[k%len(b)])
		}
		keep(out)
	}
}

func arithmetic(op string, a, b int64) int64 {
	switch {
	case unknown(a) || unknown(b):
		return noElement
	case op == "Add":
		return a + b
	case op == "Sub":
		return a - b
	case op == "Mul":
		return a * b
	case b == 0:
		return noElement
	}
	return a / b
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

func axisOf(axis int64, rank int) (int, bool) {
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), axis >= 0 && axis < int64(rank)
}

func free(rank int) []int64 { return slices.Repeat([]int64{Unknown}, rank) }
