package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// QuantizeLinear's inverse in front of a weight: w = (q − z)·d, so that a positive scale of w is one of d.

func isDequantized(v *model.Value) bool {
	return v != nil && v.Producer != nil && v.Producer.Type == "DequantizeLinear" && v.Producer.Domain == ""
}

// dequantized checks that input k of n is a stored weight that a DequantizeLinear of its own brings to n.
func (m *Move) dequantized(n *model.Node, k int) (*model.Value, []int64, *Reason) {
	v := n.Inputs[k]
	d := v.Producer
	q := d.In(0)
	switch {
	case q == nil || q.Const == nil || q.Input && !m.p.opt.Overridable:
		return nil, nil, because(NotConstant, "the weight of %v is quantised at run time", n)
	case len(v.Uses) != 1 || v.Output:
		return nil, nil, because(Quantized, "the quantised weight of %v has other users", n)
	case d.Int("block_size", 0) != 0:
		return nil, nil, because(Quantized, "the weight of %v is quantised in blocks", n)
	case m.seen[d]:
		return nil, nil, because(Quantized, "the map would reach %v twice", d)
	case m.p.kept(d):
		return nil, nil, because(Keep, "%v is to be kept", d)
	}
	return v, q.Const.Shape, m.Absorbed(n)
}

// rescaleDequantized leaves the edit that the scale of d, a DequantizeLinear, is multiplied by the factor: one scale per
// channel of one axis, all of them positive.
func (m *Move) rescaleDequantized(n, d *model.Node, f tensor.Factor) *Reason {
	shape := d.In(0).Const.Shape
	axis := -1
	for k := range shape {
		if tensor.AxisLayout(shape, k) == f.Layout {
			axis = k
		}
	}
	if axis < 0 || slices.ContainsFunc(f.Scale, func(s float64) bool { return !(s > 0) }) {
		return because(Quantized, "the quantised weight of %v would need scales that are not positive, or not of one axis", n)
	}
	_, old, ok := m.p.constant(d.In(1))
	if !ok {
		return because(NotConstant, "the scale of %v is computed at run time", d)
	}
	per := int(d.Int("axis", 1))
	if per < 0 {
		per += len(shape)
	}
	single := len(old) == 1
	switch {
	case single && m.p.model.Opset[""] < 13:
		return because(Quantized, "%v has one scale for all channels, operator sets before 13 allow no other", d)
	case single:
		old = slices.Repeat(old, len(f.Scale))
	case per != axis || len(old) != len(f.Scale):
		return because(Quantized, "%v has scales along another axis", d)
	}
	values := make([]float64, len(old))
	for c := range values {
		values[c] = old[c] * f.Scale[c]
	}
	if z := d.In(2); z != nil && single { // as many zero points as scales
		_, zero, ok := m.p.constant(z)
		if !ok || len(zero) != 1 || z.Const == nil {
			return because(NotConstant, "the zero point of %v is computed at run time", d)
		}
		m.Edit(func() {
			m.p.setConst(d, 2, &model.Constant{DType: z.Const.DType, Shape: []int64{int64(len(values))}, Values: slices.Repeat(zero, len(values))})
		})
	}
	m.seen[d], m.nodes = true, append(m.nodes, d)
	m.Edit(func() { d.SetAttr(model.Attr{Name: "axis", Kind: model.IntAttr, Int: int64(axis)}) })
	return m.Values(d, 1, d.In(1).DType, []int64{int64(len(values))}, values)
}
