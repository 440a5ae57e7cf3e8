package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// QuantizeLinear's inverse in front of a weight: w = (q − z)·d, so that a positive scale of w is one of d.

func isDequantized(v *model.Value) bool {
	return v != nil && v.Producer != nil && v.Producer.Type == "DequantizeLinear" && v.Producer.Domain == ""
}

// dequantized leaves the edit that the weight at input k of n, dequantised, is multiplied by a scale for each channel of
// its axis. It returns the weight's shape before that is known to fit.
func (m *Move) dequantized(n *model.Node, k int) (d *model.Node, shape []int64, why *Reason) {
	d = n.Inputs[k].Producer
	q := d.In(0)
	switch {
	case q == nil || q.Const == nil || q.Input && !m.p.opt.Overridable:
		return nil, nil, because(NotConstant, "the weight of %v is quantised at run time", n)
	case len(n.Inputs[k].Uses) != 1:
		return nil, nil, because(Quantized, "the quantised weight of %v has other users", n)
	case d.Int("block_size", 0) != 0:
		return nil, nil, because(Quantized, "the weight of %v is quantised in blocks", n)
	}
	return d, q.Const.Shape, m.Absorbed(n)
}

// rescaleDequantized leaves that edit: the scale of DequantizeLinear becomes one per channel of the axis.
func (m *Move) rescaleDequantized(n, d *model.Node, shape []int64, axis int, scale []float64) *Reason {
	if slices.ContainsFunc(scale, func(s float64) bool { return !(s > 0) }) {
		return because(Quantized, "the quantised weight of %v would need a scale that is not positive", n)
	}
	_, old, ok := m.p.constant(d.In(1))
	if !ok {
		return because(NotConstant, "the scale of %v is computed at run time", d)
	}
	per := int(d.Int("axis", 1))
	if per < 0 {
		per += len(shape)
	}
	if len(old) == 1 {
		if m.p.model.Opset[""] < 13 {
			return because(Quantized, "%v has one scale for all channels, operator sets before 13 allow no other", d)
		}
		old = slices.Repeat(old, len(scale))
	} else if per != axis || len(old) != len(scale) {
		return because(Quantized, "%v has scales along another axis", d)
	}
	values := make([]float64, len(scale))
	for c := range values {
		values[c] = old[c] * scale[c]
	}
	dtype := d.In(1).DType
	if z := d.In(2); z != nil {
		zShape, _, ok := m.p.constant(z)
		if !ok || z.Const == nil {
			return because(NotConstant, "the zero point of %v is computed at run time", d)
		}
		if len(zShape) == 0 || zShape[0] == 1 && len(scale) != 1 { // as many zero points as scales
			m.Edit(func() {
				_, zero, _ := m.p.constant(z)
				c := &model.Constant{DType: z.Const.DType, Shape: []int64{int64(len(scale))}, Values: slices.Repeat(zero, len(scale))}
				m.p.setConst(d, 2, c)
			})
		}
	}
	if why := m.Values(d, 1, dtype, []int64{int64(len(values))}, values); why != nil {
		return why
	}
	m.Edit(func() { d.SetAttr(model.Attr{Name: "axis", Kind: model.IntAttr, Int: int64(axis)}) })
	m.nodes = append(m.nodes, d)
	return nil
}
