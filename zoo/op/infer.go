// Package shape infers types and shapes of values that the file does not declare: enough to know ranks and static extents,
// which say along which axis a constant is broadcast.
package op

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Unknown is an extent of which nothing is known. Infer gives every free extent a number of its own below that, and where
// operators hand an extent on, its number with it: equal numbers are equal extents.
const Unknown = -1

// firstNamed is above the numbers of free extents, and below what a senseless attribute makes of an extent.
const firstNamed = -1 << 40

// Infer fills in DType and Shape of the values of a model, as they follow from its inputs. What a file declares of a value
// that an operator computes may be of an earlier version of the model: it counts only where the operators do not tell, its
// extents only where all of the model's inputs are declared without free ones.
func Infer(m *model.Model, consts *Folder) {
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
func Each(m *model.Model, consts *Folder) func(*model.Node) {
	in := newInference(m, consts)
	for _, v := range m.Graph.Inputs {
		in.name(v)
	}
	return in.node
}

// newInference goes on behind the numbers that free extents have already.
func newInference(m *model.Model, consts *Folder) *inference {
	in := &inference{consts: consts, vectors: map[*model.Value][]int64{}, opset: m.Opset[""], domains: m.Opset, static: true}
	for _, v := range m.Graph.Inputs {
		if v.Const == nil && (v.Shape == nil || slices.ContainsFunc(v.Shape, func(d int64) bool { return d < 0 })) {
			in.static = false
		}
	}
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
	consts  *Folder
	vectors map[*model.Value][]int64 // elements of small integer vectors that depend on shapes
	opset   int64
	domains map[string]int64 // of the operator sets that the model imports
	static  bool             // no input of the model has free extents
	named   int64            // free extents that have a number
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
	if _, imported := in.domains[n.Domain]; !imported && n.Domain != "" {
		for _, v := range n.Outputs { // of a layer that the format's reader knows
			in.name(v)
		}
		return
	}
	if n.Out(0) == nil || n.Outputs[0].Const != nil {
		return
	}
	declared := make([][]int64, len(n.Outputs))
	for k, v := range n.Outputs {
		if v != nil {
			declared[k], v.Shape = v.Shape, nil
		}
	}
	onnx := n.Domain == "" || n.Domain == "ai.onnx"
	if onnx {
		in.vector(n)
		if rule, ok := rules[n.Type]; ok {
			rule(in, n)
		}
	}
	for k, v := range n.Outputs {
		if v != nil {
			in.declare(v, declared[k])
			in.name(v)
		}
	}
	if onnx {
		in.learn(n.Outputs[0])
	}
}

// declare takes from a declared shape what the operators did not tell.
func (in *inference) declare(v *model.Value, declared []int64) {
	switch {
	case declared == nil:
	case v.Shape == nil && in.static:
		v.Shape = declared
	case v.Shape == nil:
		v.Shape = freeShape(len(declared))
	case in.static && len(v.Shape) == len(declared):
		v.Shape = slices.Clone(v.Shape)
		for k, d := range v.Shape {
			if d < 0 && declared[k] >= 0 {
				v.Shape[k] = declared[k]
			}
		}
	}
}

// learn makes a vector of shapes known to expressions of constants, where all its elements are.
func (in *inference) learn(v *model.Value) {
	x, ok := in.vectors[v]
	if !ok || slices.ContainsFunc(x, func(d int64) bool { return d < -math.MaxInt32 || d > math.MaxInt32 }) || v.DType == tensor.Undefined || v.DType.Float() {
		return
	}
	if n, ok := tensor.Elements(v.Shape); v.Shape == nil || !ok || n != int64(len(x)) {
		return
	}
	if _, known := in.consts.Value(v); !known {
		a := Integers(x...)
		a.DType, a.Shape = v.DType, slices.Clone(v.Shape)
		in.consts.Learn(v, a)
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

func valueType(v *model.Value) tensor.DType {
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
	if a, ok := in.consts.Value(v); ok && len(a.Shape) <= 1 && len(a.Data) <= 64 && !slices.ContainsFunc(a.Data, func(x float64) bool { return x != math.Trunc(x) }) {
		return a.Ints()
	}
	return nil
}

// vector follows integer vectors that are made of shapes: Shape, Gather, Concat and their like. A number is a vector of one
// element here.
func (in *inference) vector(n *model.Node) {
	keep := func(k int, x []int64) {
		if v := n.Out(k); x != nil && len(x) <= 64 && v != nil {
			in.vectors[v] = x
		}
	}
	x := n.In(0)
	switch n.Type {
	case "Shape":
		if s := in.of(x); s != nil {
			from, to := clampRange(n.Int("start", 0), n.Int("end", int64(len(s))), int64(len(s)))
			out := []int64{}
			for _, d := range s[from:to] {
				out = append(out, element(d))
			}
			keep(0, out)
		}
	case "Size":
		if s := in.of(x); s != nil {
			keep(0, []int64{element(productOfExtents(s))})
		}
	case "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten":
		keep(0, in.ints(x))
	case "Cast", "CastLike":
		if to := tensor.DType(n.Int("to", int64(valueType(n.In(1))))); whole(valueType(x)) && (to == tensor.Int64 || to == tensor.Int32) {
			keep(0, in.ints(x))
		}
	case "Gather":
		keep(0, gathered(in.ints(x), in.ints(n.In(1))))
	case "Concat":
		keep(0, in.joined(n))
	case "Slice":
		keep(0, in.sliced(n))
	case "Split":
		data, at := in.ints(x), int64(0)
		for k, size := range in.parts(n, int64(len(data))) {
			if size < 0 || size > int64(len(data))-at || data == nil {
				return
			}
			keep(k, data[at:at+size])
			at += size
		}
	case "ReduceProd":
		if a := in.ints(x); a != nil && n.In(1) == nil && len(n.Ints("axes")) <= 1 {
			p := int64(1)
			for _, d := range a {
				p = elementArithmetic("Mul", p, d)
			}
			keep(0, []int64{p})
		}
	case "Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Equal":
		if whole(valueType(x)) && len(n.Inputs) == 2 && n.Int("fmod", 0) == 0 {
			keep(0, together(func(list ...int64) int64 { return elementArithmetic(n.Type, list[0], list[1]) }, in.ints(x), in.ints(n.In(1))))
		}
	case "Where":
		keep(0, together(func(list ...int64) int64 {
			switch {
			case list[1] == list[2]:
				return list[1]
			case unknown(list[0]):
				return noElement
			case list[0] != 0:
				return list[1]
			}
			return list[2]
		}, in.ints(x), in.ints(n.In(1)), in.ints(n.In(2))))
	}
}

// whole says whether numbers of the type are whole; those of an unknown type are taken for extents.
func whole(d tensor.DType) bool { return !d.Float() }

// together combines vectors element by element; one element stands for all.
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

func (in *inference) joined(n *model.Node) []int64 {
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

// parts are the sizes into which a Split cuts an axis of that extent; nil where they are not known.
func (in *inference) parts(n *model.Node, extent int64) []int64 {
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

func (in *inference) sliced(n *model.Node) []int64 {
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

// elementArithmetic is one operator on integers, the second of which may leave the first as it is. A free extent is at least 0.
func elementArithmetic(op string, a, b int64) int64 {
	switch {
	case op == "Equal" && a == b && a != noElement:
		return 1
	case op == "Equal" && unknown(a) && b < 0 && !unknown(b), op == "Equal" && unknown(b) && a < 0 && !unknown(a):
		return 0
	case (op == "Max" || op == "Min") && a == b:
		return a
	case op == "Max" && a != noElement && unknown(a) && b <= 0 && !unknown(b), (op == "Mul" || op == "Div") && b == 1, (op == "Add" || op == "Sub") && b == 0:
		return a
	case op == "Mul" && a == 1, op == "Add" && a == 0:
		return b
	case unknown(a) || unknown(b):
		return noElement
	}
	switch op {
	case "Add":
		return a + b
	case "Sub":
		return a - b
	case "Mul":
		return a * b
	case "Max":
		return max(a, b)
	case "Min":
		return min(a, b)
	case "Equal":
		return 0
	}
	if b == 0 {
		return noElement
	}
	r := a % b
	switch {
	case op == "Div":
		return a / b
	case r != 0 && (r < 0) != (b < 0):
		return r + b
	}
	return r
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

func countedAxis(axis int64, rank int) (int, bool) {
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), axis >= 0 && axis < int64(rank)
}

func freeShape(rank int) []int64 { return slices.Repeat([]int64{Unknown}, rank) }
