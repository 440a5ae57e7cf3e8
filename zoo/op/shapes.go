package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that make tensors from shapes and numbers.

func init() {
	register(
		&Operator{Type: "Shape", Eval: shapeNode, DType: always(tensor.Int64), Wide: true, Shape: shapeNodeShape, Vector: shapeVector, Needs: noNeeds},
		&Operator{Type: "Size", Eval: sizeNode, DType: always(tensor.Int64), Wide: true, Shape: sizeShape, Vector: sizeVector, Needs: noNeeds},
		&Operator{Type: "ConstantOfShape", Inputs: []string{"shape"}, Eval: constantOfShape, DType: constantType, Shape: constantOfShapeShape, Magnitude: additive},
		&Operator{Type: "Range", Required: 3, Inputs: []string{"start", "limit", "step"}, Eval: rangeNode, Shape: rangeShape, Magnitude: additive},
		&Operator{Type: "EyeLike", Eval: eyeLike, DType: attribute("dtype", like(0)), Shape: sameShape, Needs: noNeeds},
	)
}

// sizeNode is the input's number of elements.
func sizeNode(_ *model.Node, in []*Array) ([]*Array, error) {
	return one(scalar(float64(len(in[0].Data))), nil)
}

// constantType is the type of the attribute's value.
func constantType(n *model.Node, _ Types, _ int) tensor.DType {
	if a := n.Attr("value"); a != nil && a.Tensor != nil {
		return a.Tensor.DType
	}
	return tensor.Float32
}

// shapeNode is the input's shape from start to end.
func shapeNode(n *model.Node, in []*Array) ([]*Array, error) {
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

// shapeNodeShape is [end − start].
func shapeNodeShape(in *Inference, n *model.Node) [][]int64 {
	if x := in.of(n.In(0)); x != nil {
		from, to := clampRange(n.Int("start", 0), n.Int("end", int64(len(x))), int64(len(x)))
		return shapes([]int64{to - from})
	}
	return shapes(freeShape(1))
}

// sizeShape is a scalar's.
func sizeShape(_ *Inference, n *model.Node) [][]int64 { return shapes([]int64{}) }

// constantOfShape is filled with value, 0 where there is none.
func constantOfShape(n *model.Node, in []*Array) ([]*Array, error) {
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

// constantOfShapeShape is the vector of extents in the input.
func constantOfShapeShape(in *Inference, n *model.Node) [][]int64 {
	want := in.ints(n.In(0))
	if want == nil {
		return in.ranked(n.In(0))
	}
	out := slices.Clone(want)
	for k, x := range out {
		out[k] = extent(x)
	}
	return shapes(out)
}

// rangeNode is start, start + delta, … below limit.
func rangeNode(_ *model.Node, in []*Array) ([]*Array, error) {
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

// rangeShape is the number of steps from start to limit. From 0 in steps of 1 up to a free extent it is that extent.
func rangeShape(in *Inference, n *model.Node) [][]int64 {
	out := freeShape(1)
	var bounds [3]float64
	known := true
	for k := range bounds {
		a, ok := in.consts.Value(n.In(k))
		if known = known && ok && len(a.Data) == 1; known {
			bounds[k] = a.Data[0]
		}
	}
	switch count := math.Ceil((bounds[1] - bounds[0]) / bounds[2]); {
	case known && count > 0 && count < 1<<31:
		out[0] = int64(count)
	case known && count <= 0:
		out[0] = 0
	case in.scalar(n.In(0)) == 0 && in.scalar(n.In(2)) == 1:
		out[0] = extent(in.scalar(n.In(1)))
	}
	return shapes(out)
}

// eyeLike is 1 on the diagonal k, 0 elsewhere.
func eyeLike(n *model.Node, in []*Array) ([]*Array, error) {
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
