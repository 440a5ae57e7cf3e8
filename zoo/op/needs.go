package op

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Range are the positions along an axis from From up to, and without, To.
type Range struct{ From, To int64 }

// Box is a part of an array: a range of each axis.
type Box []Range

// Part is a part of a node's output of that number and shape.
type Part struct {
	Output int
	Shape  []int64
	Box    Box
}

// Whole is all of an array of that shape.
func Whole(shape []int64) Box {
	box := make(Box, len(shape))
	for k, d := range shape {
		box[k] = Range{0, d}
	}
	return box
}

// Empty says that there is nothing in the box. That of a scalar is never empty.
func (b Box) Empty() bool {
	return slices.ContainsFunc(b, func(r Range) bool { return r.From >= r.To })
}

// within is the range between the ends of an axis of that extent.
func (r Range) within(extent int64) Range {
	from := min(max(r.From, 0), extent)
	return Range{from, min(max(r.To, from), extent)}
}

// shifted is the range, so much further on.
func (r Range) shifted(by int64) Range { return Range{r.From + by, r.To + by} }

// Needs are the boxes of a node's inputs from which a part of its output is computed: elements outside them do not change
// it. They may be larger than necessary. in are the node's inputs. Their Data may be nil where only the shape is known; the
// elements of indices and the like make the boxes smaller. The box of an omitted input is nil.
func Needs(n *model.Node, in []*Array, out Part) []Box {
	own := Of(n).needs(n, in, out)
	boxes := make([]Box, len(in))
	for k, a := range in {
		switch {
		case a == nil:
		case out.Box.Empty():
			boxes[k] = nothing(in, k)
		case k < len(own) && own[k] != nil && len(own[k]) == len(a.Shape):
			boxes[k] = slices.Clone(own[k])
			for j, r := range boxes[k] {
				boxes[k][j] = r.within(a.Shape[j])
			}
		default:
			boxes[k] = Whole(a.Shape)
		}
	}
	return boxes
}

// needs are the boxes that the operator's rule gives, of which some may be nil; nil if it has no rule.
func (o *Operator) needs(n *model.Node, in []*Array, out Part) []Box {
	if o.Needs == nil || len(out.Box) != len(out.Shape) || need(in, max(o.Required, 1)) != nil {
		return nil
	}
	return o.Needs(n, in, out)
}

// nothing is the empty box of input k.
func nothing(in []*Array, k int) Box {
	if a := input(in, k); a != nil {
		return make(Box, len(a.Shape))
	}
	return nil
}

// sameNeeds are those of elementwise operators: the same positions of each operand, which may be broadcast.
func sameNeeds(n *model.Node, in []*Array, out Part) []Box {
	boxes := make([]Box, len(in))
	for k, a := range in {
		if a != nil {
			boxes[k] = broadcastBox(out.Box, a.Shape)
		}
	}
	if opset(n) < 7 && n.Int("broadcast", 0) != 0 { // the second operand starts at some axis of the first
		return boxes[:1]
	}
	return boxes
}

// broadcastBox is what a box of a shape reads of an array that is broadcast to it.
func broadcastBox(box Box, shape []int64) Box {
	before := len(box) - len(shape)
	if before < 0 {
		return nil
	}
	own := slices.Clone(box[before:])
	for k, d := range shape {
		if d == 1 {
			own[k] = Range{0, 1}
		}
	}
	return own
}

// firstNeeds are those of operators that read the same positions of the first input, and all of the others.
func firstNeeds(_ *model.Node, _ []*Array, out Part) []Box { return []Box{out.Box} }

// noNeeds are those of operators that read nothing but the first input's shape.
func noNeeds(_ *model.Node, in []*Array, _ Part) []Box { return []Box{nothing(in, 0)} }

// alongNeeds are those of operators that read, for each position, the whole lines through it along some axes.
func alongNeeds(axes func(n *model.Node, rank int) []int64) func(*model.Node, []*Array, Part) []Box {
	return func(n *model.Node, in []*Array, out Part) []Box {
		along, err := axesOf(axes(n, len(in[0].Shape)), len(in[0].Shape))
		if err != nil || len(out.Box) != len(in[0].Shape) {
			return nil
		}
		box := slices.Clone(out.Box)
		for _, k := range along {
			box[k] = Range{0, in[0].Shape[k]}
		}
		return []Box{box}
	}
}

// axesFrom are the axes from one on, which may count from the last.
func axesFrom(axis int64, rank int) []int64 {
	if axis < 0 {
		axis += int64(rank)
	}
	axes := []int64{}
	for k := max(axis, 0); k < int64(rank); k++ {
		axes = append(axes, k)
	}
	return axes
}

// given are the elements of input k, or those of an attribute in old operator sets; false where they are not known.
func given(n *model.Node, attr string, in []*Array, k int) ([]int64, bool) {
	a := input(in, k)
	return ints(n, attr, in, k), a == nil || a.Data != nil
}
