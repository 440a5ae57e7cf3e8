package op

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Unknown is an extent of which nothing is known. Infer gives every free extent a number of its own below Unknown, and
// outputs of operators the numbers of the extents that they take over: equal numbers are equal extents.
const Unknown = -1

// firstNamed is above the numbers of free extents, and below any extent that a senseless attribute leads to.
const firstNamed = -1 << 40

// Infer fills in DType and Shape of a model's values, from its inputs and constants on. A file's declaration of an
// intermediate value may be stale, from an export at another size: it counts only where the operator's own rule gives
// nothing, and its extents only if no input of the model has free extents.
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

// Each is Infer for callers that build a graph and need shapes on the way: call the function for each node that is added,
// in topological order. The model's inputs have to be there.
func Each(m *model.Model, consts *Folder) func(*model.Node) {
	in := newInference(m, consts)
	for _, v := range m.Graph.Inputs {
		in.name(v)
	}
	return in.node
}

// ShapesOf are the shapes of a node's outputs, as far as they are known, if the values in of have the shapes there instead
// of their own.
func ShapesOf(n *model.Node, consts *Folder, of map[*model.Value][]int64) [][]int64 {
	o := Of(n)
	if o.Shape == nil || n.Graph == nil || n.Graph.Model == nil {
		return nil
	}
	return o.Shape(&Inference{consts: consts, opset: n.Graph.Model.Opset[""], domains: n.Graph.Model.Opset, others: of}, n)
}

// newInference numbers further free extents below those that have numbers already.
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

// Inference is the state of Infer: the expressions of constants, and, element by element, the short vectors of integers
// that shapes determine.
type Inference struct {
	consts  *Folder
	vectors map[*model.Value][]int64 // elements of small integer vectors that depend on shapes
	opset   int64
	domains map[string]int64         // of the operator sets that the model imports
	others  map[*model.Value][]int64 // shapes that replace the values' own: see ShapesOf
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
		for _, v := range n.Outputs { // an operator of no operator set: the format's reader gave its shapes
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

// outputs sets the types, shapes and vectors that an operator's rules give for a node's outputs.
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

// ranked is a shape of which only the rank is known: the number of elements of v, which lists its extents.
func (in *Inference) ranked(v *model.Value) [][]int64 {
	if s := in.of(v); len(s) == 1 && s[0] >= 0 && s[0] <= 64 {
		return shapes(freeShape(int(s[0])))
	}
	return nil
}

// declare fills in from the file's declaration what the operators' rules left open.
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

// learn hands a vector all of whose elements are known to the expressions of constants.
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

// set gives output k a type and shape; an Undefined type and a nil shape leave what is there.
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

// extents is the product of extents: known if all are, a numbered free extent if all others are 1, else Unknown.
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
