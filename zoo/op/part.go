package op

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Crop is the part of an array that stands in a box.
func Crop(a *Array, box Box) (*Array, error) {
	shape, step, start := make([]int64, len(box)), strides(a.Shape), int64(0)
	if len(box) != len(a.Shape) {
		return nil, fmt.Errorf("a part %v of shape %v", box, a.Shape)
	}
	for k, r := range box {
		if r.within(a.Shape[k]) != r {
			return nil, fmt.Errorf("a part %v of shape %v", box, a.Shape)
		}
		shape[k], start = r.To-r.From, start+r.From*step[k]
	}
	if slices.Equal(shape, a.Shape) {
		return a, nil
	}
	if a.wide != nil {
		return nil, fmt.Errorf("a part of integers beyond 2^53: %w", ErrUnsupported)
	}
	out, err := pick(a, shape, start, step)
	if err == nil {
		out.DType = a.DType
	}
	return out, err
}

// EvalPart computes a part of a node's output of the parts of its inputs that Needs says, cropped: boxes are where these lie.
// in are the whole inputs, as Needs takes them. Where an operator does not know how to compute a part alone, the rest of the
// inputs is taken for zeros, and the whole output computed.
func EvalPart(n *model.Node, in []*Array, boxes []Box, parts []*Array, out Part) (*Array, error) {
	o := Of(n)
	if o.Eval == nil {
		return nil, fmt.Errorf("%v: %w", n, ErrUnsupported)
	}
	if len(parts) != len(in) || len(boxes) != len(in) {
		return nil, fmt.Errorf("%v: %d parts in %d boxes of %d inputs", n, len(parts), len(boxes), len(in))
	}
	for k, a := range in {
		if a != nil && (parts[k] == nil || !slices.Equal(parts[k].Shape, boxes[k].shape())) {
			return nil, fmt.Errorf("%v: no part %v of input %d", n, boxes[k], k)
		}
	}
	if err := need(in, max(o.Required, 1)); err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	if o.Part != nil && !out.Box.Empty() && o.needs(n, in, out) != nil {
		a, err := o.Part(n, in, boxes, parts, out)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", n, err)
		}
		if a != nil {
			own := *a
			if own.DType = typeOf(n, in, out.Output); integer(own.DType) && own.wide == nil {
				err = own.settle()
			}
			return &own, err
		}
	}
	whole := make([]*Array, len(in))
	for k, a := range in {
		if a == nil {
			continue
		}
		var err error
		if whole[k], err = paste(parts[k], boxes[k], a.Shape); err != nil {
			return nil, fmt.Errorf("%v: %w", n, err)
		}
	}
	list, err := Eval(n, whole)
	if err != nil {
		return nil, err
	}
	if out.Output >= len(list) || list[out.Output] == nil {
		return nil, fmt.Errorf("%v has no output %d", n, out.Output)
	}
	return Crop(list[out.Output], out.Box)
}

// paste is an array of zeros of that shape with a part of it in its place.
func paste(part *Array, box Box, shape []int64) (*Array, error) {
	if slices.Equal(part.Shape, shape) {
		return part, nil
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	out.DType = part.DType
	step, e := strides(shape), 0
	walk(part.Shape, func(index []int64) {
		at := int64(0)
		for k, i := range index {
			at += (box[k].From + i) * step[k]
		}
		out.Data[at] = part.Data[e]
		e++
	})
	return out, nil
}

// shape are the extents of a box.
func (b Box) shape() []int64 {
	shape := make([]int64, len(b))
	for k, r := range b {
		shape[k] = r.To - r.From
	}
	return shape
}

// partOf computes a part of an output.
type partOf func(n *model.Node, in []*Array, boxes []Box, parts []*Array, out Part) (*Array, error)

// samePart is that of operators that make of the parts of their inputs just the part of their output.
func samePart(n *model.Node, in []*Array, _ []Box, parts []*Array, out Part) (*Array, error) {
	list, err := Of(n).Eval(n, parts)
	if err != nil || out.Output >= len(list) || !slices.Equal(list[out.Output].Shape, out.Box.shape()) {
		return nil, err
	}
	return list[out.Output], nil
}

// widerPart is that of operators whose output has the first input's shape, and which make a wider part: that for which there
// is all that it needs is cut out.
func widerPart(n *model.Node, in []*Array, boxes []Box, parts []*Array, out Part) (*Array, error) {
	if out.Output > 0 || !slices.Equal(out.Shape, in[0].Shape) {
		return nil, nil
	}
	list, err := Of(n).Eval(n, parts)
	if err != nil {
		return nil, err
	}
	own := make(Box, len(out.Box))
	for k, r := range out.Box {
		own[k] = r.shifted(-boxes[0][k].From)
	}
	return Crop(list[0], own)
}

// elementwisePart is samePart where operands are aligned to the right.
func elementwisePart(n *model.Node, in []*Array, boxes []Box, parts []*Array, out Part) (*Array, error) {
	if opset(n) < 7 && n.Int("broadcast", 0) != 0 {
		return nil, nil
	}
	return samePart(n, in, boxes, parts, out)
}

// reshapedPart is that of operators that leave the order of elements: if there are as many in the input's part, they are those.
func reshapedPart(_ *model.Node, _ []*Array, _ []Box, parts []*Array, out Part) (*Array, error) {
	shape := out.Box.shape()
	if int64(len(parts[0].Data)) != product(shape) {
		return nil, nil
	}
	return reshaped(parts[0], shape)
}

// withAttrs is a node with other attributes beside its own.
func withAttrs(n *model.Node, list ...any) *model.Node {
	out, attrs := *n, model.Attrs(list...)
	out.Attrs = slices.DeleteFunc(slices.Clone(n.Attrs), func(a model.Attr) bool {
		return slices.ContainsFunc(attrs, func(b model.Attr) bool { return a.Name == b.Name })
	})
	out.Attrs = append(out.Attrs, attrs...)
	return &out
}
