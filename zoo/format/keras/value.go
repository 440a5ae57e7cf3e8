package keras

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// value is a tensor of Keras in one or several forms. Form k has axis k of Keras' order as its second axis, and the others
// in their order; form 1 is Keras' own order.
type value struct {
	name   string
	rank   int // -1: not known
	main   int // the form that was computed
	forms  map[int]*model.Value
	masked bool // Keras passes a mask with it, which some layers use
}

// view marks a Transpose that makes another form of a tensor, and belongs to no layer.
type view struct{}

// order are Keras' axes in a form of a tensor of that rank.
func order(rank, form int) []int64 {
	axes := []int64{0, int64(form)}
	for k := 1; k < rank; k++ {
		if k != form {
			axes = append(axes, int64(k))
		}
	}
	return axes[:rank]
}

// position is where a form of a tensor has one of Keras' axes.
func position(rank, form int, axis int64) int64 {
	return int64(slices.Index(order(rank, form), axis))
}

// formName is what the form of a tensor is called.
func formName(name string, rank, form int) string {
	switch {
	case form == 1:
		return name
	case form == rank-1:
		return name + "/first"
	}
	return fmt.Sprintf("%s/axis%d", name, form)
}

// form is a tensor with that one of Keras' axes as its second one.
func (b *builder) form(v *value, form int) *model.Value {
	if v.rank < 3 {
		form = v.main
	}
	if x := v.forms[form]; x != nil {
		return x
	}
	perm := order(v.rank, form)
	for k, axis := range perm {
		perm[k] = position(v.rank, v.main, axis)
	}
	name, node := v.name, "" // the name is the tensor's
	if form == 1 {
		node = b.unique(v.name + "/last")
	} else {
		name = b.unique(formName(v.name, v.rank, form))
		node = name
	}
	n := b.m.Graph.Append("Transpose", node, []*model.Value{v.forms[v.main]}, []model.Attr{{Name: "perm", Kind: model.IntsAttr, Ints: perm}}, name)
	n.Source = view{}
	b.infer(n)
	v.forms[form] = n.Outputs[0]
	return n.Outputs[0]
}

// extents are a tensor's extents in Keras' order; nil where its rank is not known.
func (v *value) extents() []int64 {
	x := v.forms[v.main]
	if v.rank < 0 || len(x.Shape) != v.rank {
		return nil
	}
	out := make([]int64, v.rank)
	for k, axis := range order(v.rank, v.main) {
		out[axis] = x.Shape[k]
	}
	return out
}

// dtype is the type of a tensor's elements.
func (v *value) dtype() tensor.DType { return v.forms[v.main].DType }
