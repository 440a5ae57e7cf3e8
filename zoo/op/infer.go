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

// ShapesOf are the shapes of a node's outputs, as far as they are known, where some values have other shapes than the model
// says.
func ShapesOf(n *model.Node, consts *Folder, of map[*model.Value][]int64) [][]int64 {
	o := Of(n)
	if o.Shape == nil || n.Graph == nil || n.Graph.Model == nil {
		return nil
	}
	return o.Shape(&Inference{consts: consts, opset: n.Graph.Model.Opset[""], domains: n.Graph.Model.Opset, others: of}, n)
}

// newInference goes on behind the numbers that free extents have already.
func newInference(m *model.Model, consts *Folder) *Inference {
	in := &Inference{consts: consts, vectors: map[*model.Value][]int64{}, opset: m.Opset[""], domains: m.Opset, static: true}
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

// Inference is what is known of a model's values while Infer goes through its nodes: expressions of constants, and short
// vectors of integers that follow from shapes, element by element.
type Inference struct {
	consts  *Folder
	vectors map[*model.Value][]int64 // elements of small integer vectors that depend on shapes
	opset   int64
	domains map[string]int64         // of the operator sets that the model imports
	others  map[*model.Value][]int64 // shapes that are not the values' own
	static  bool                     // no input of the model has free extents
	named   int64                    // free extents that have a number
}

// name gives a value's free extents numbers.
func (in *Inference) name(v *model.Value) {
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

func (in *Inference) node(n *model.Node) {
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
	if o := Of(n); o.Shape != nil {
		in.vector(n, o)
		in.outputs(n, o)
	}
	for k, v := range n.Outputs {
		if v != nil {
			in.declare(v, declared[k])
			in.name(v)
		}
	}
	in.learn(n.Outputs[0])
}

// outputs notes what an operator tells of a node's outputs.
func (in *Inference) outputs(n *model.Node, o *Operator) {
	inputs := make(Types, len(n.Inputs))
	for k, v := range n.Inputs {
		inputs[k] = valueType(v)
	}
	list := o.Shape(in, n)
	set(n, 0, o.dtype(n, inputs, 0), nil)
	for k, shape := range list {
		set(n, k, o.dtype(n, inputs, k), shape)
	}
}

// shapes are those of a node's first outputs.
func shapes(list ...[]int64) [][]int64 { return list }

// ranked is a shape of which no more is known than that v lists its extents.
func (in *Inference) ranked(v *model.Value) [][]int64 {
	if s := in.of(v); len(s) == 1 && s[0] >= 0 && s[0] <= 64 {
		return shapes(freeShape(int(s[0])))
	}
	return nil
}

// declare takes from a declared shape what the operators did not tell.
func (in *Inference) declare(v *model.Value, declared []int64) {
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
func (in *Inference) learn(v *model.Value) {
	x, ok := in.vectors[v]
	if !ok || slices.ContainsFunc(x, func(d int64) bool { return d < -math.MaxInt32 || d > math.MaxInt32 }) || v.DType == tensor.Undefined || v.DType.Float() {
		return
	}
	if n, ok := tensor.Elements(v.Shape); v.Shape == nil || !ok || n != int64(len(x)) {
		return
	}
	if _, known := in.consts.Value(v); !known {
		a := vector(x...)
		a.DType, a.Shape = v.DType, slices.Clone(v.Shape)
		in.consts.learn(v, a)
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
func (in *Inference) of(v *model.Value) []int64 {
	if v == nil {
		return nil
	}
	if shape, ok := in.others[v]; ok {
		return shape
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

// axes are a node's axes, an attribute in old operator sets and input k in new ones; false where they are not known.
func (in *Inference) axes(n *model.Node, k, rank int) ([]int, bool) {
	list := n.Ints("axes")
	if list == nil && n.In(k) != nil {
		if list = in.ints(n.In(k)); list == nil {
			return nil, false
		}
	}
	axes, err := axesOf(list, rank)
	return axes, err == nil
}

func freeShape(rank int) []int64 { return slices.Repeat([]int64{Unknown}, rank) }

func elementAt(list []int64, k int, def int64) int64 {
	if k >= 0 && k < len(list) {
		return list[k]
	}
	return def
}

// extents is known if all extents are, and a free extent if it is one of it and ones.
func extents(s []int64) int64 {
	p := int64(1)
	for _, d := range s {
		switch {
		case p == 1:
			p = d
		case d == 1:
		case d < 0 || p < 0:
			return Unknown
		default:
			p *= d
		}
	}
	return p
}

func sameShape(in *Inference, n *model.Node) [][]int64 { return shapes(in.of(n.In(0))) }
