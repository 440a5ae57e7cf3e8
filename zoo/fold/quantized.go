package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// QuantizeLinear's inverse in front of a weight: w = (q − z)·d, so that a positive scale of w is one of d.

// dequantizer is the DequantizeLinear from which a weight comes, and the nodes on the way, itself the last: Transposes. axes
// are the stored weight's in the order of the weight's. It is nil where there is none.
func dequantizer(v *model.Value) (d *model.Node, way []*model.Node, axes []int64) {
	for v != nil && v.Producer != nil && v.Producer.Domain == "" && len(way) < maxWay {
		n := v.Producer
		way = append(way, n)
		if n.Type == "DequantizeLinear" {
			if axes == nil && n.In(0) != nil && n.In(0).Const != nil {
				for k := range n.In(0).Const.Shape {
					axes = append(axes, int64(k))
				}
			}
			return n, way, axes
		}
		if n.Type != "Transpose" {
			break
		}
		perm, why := permutation(n)
		if why != nil || axes != nil && len(axes) != len(perm) {
			break
		}
		if axes == nil {
			axes = slices.Clone(perm)
		} else {
			for k, axis := range axes {
				axes[k] = perm[axis]
			}
		}
		v = n.In(0)
	}
	return nil, nil, nil
}

// maxWay bounds the Transposes between a weight and its use.
const maxWay = 8

func isDequantized(v *model.Value) bool {
	d, _, _ := dequantizer(v)
	return d != nil
}

// quantized says whether an expression of constants holds a DequantizeLinear.
func (p *Planner) quantized(v *model.Value) bool {
	if v == nil || v.Const != nil || v.Producer == nil {
		return false
	}
	q, known := p.dequantized[v]
	if !known {
		q = v.Producer.Type == "DequantizeLinear" || slices.ContainsFunc(v.Producer.Inputs, p.quantized)
		p.dequantized[v] = q
	}
	return q
}

// dequantizedWeight checks that input k of n is a stored weight that a DequantizeLinear of its own brings to n.
func (m *Move) dequantizedWeight(n *model.Node, k int) (*model.Value, []int64, *Reason) {
	v := n.Inputs[k]
	d, way, axes := dequantizer(v)
	q := d.In(0)
	switch {
	case q == nil || q.Const == nil || q.Input && !m.p.opt.Overridable:
		return nil, nil, because(NotConstant, "the weight of %v is quantised at run time", n)
	case d.Int("block_size", 0) != 0:
		return nil, nil, because(Quantized, "the weight of %v is quantised in blocks", n)
	case len(axes) != len(q.Const.Shape):
		return nil, nil, because(Unsupported, "the weight of %v is transposed by more or fewer axes than it has", n)
	}
	for _, x := range way {
		switch y := x.Outputs[0]; {
		case len(y.Uses) != 1 || y.Output:
			return nil, nil, because(Quantized, "the quantised weight of %v has other users", n)
		case m.seen[x] != 0:
			return nil, nil, because(Quantized, "the map would reach %v twice", x)
		case m.p.kept(x):
			return nil, nil, because(Keep, "%v is to be kept", x)
		}
	}
	shape := make([]int64, len(axes))
	for k, axis := range axes {
		shape[k] = q.Const.Shape[axis]
	}
	return v, shape, m.Absorbed(n)
}

// rescaleDequantized leaves the edit that a dequantised weight of n, of that shape, is multiplied by the factor in its
// DequantizeLinear: one scale per channel of one axis, all of them positive.
func (m *Move) rescaleDequantized(n *model.Node, v *model.Value, f tensor.Factor) *Reason {
	d, way, axes := dequantizer(v)
	stored := d.In(0).Const.Shape
	shape := make([]int64, len(axes))
	for k := range axes {
		shape[k] = stored[axes[k]]
	}
	axis := -1
	for k := range shape {
		if tensor.AxisLayout(shape, k) == f.Layout {
			axis = int(axes[k])
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
		per += len(stored)
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
	for _, x := range way {
		m.seen[x], m.nodes = noSide, append(m.nodes, x)
	}
	if single {
		m.Edit(func() { d.SetAttr(model.Int("axis", int64(axis))) })
	}
	return m.Values(d, 1, d.In(1).DType, []int64{int64(len(values))}, values)
}
