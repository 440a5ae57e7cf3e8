package fold

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// A DequantizeLinear in front of a weight: w = (q − z)·d, so that a positive scale of w goes into d. A negative one also
// mirrors q at z.

// dequantizer is the DequantizeLinear that computes a weight; nil if there is none. way are the nodes from the weight back
// to it, Transposes and then itself. axes are the stored weight's axes in the order of the weight's.
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
func (p *planner) quantized(v *model.Value) bool {
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

// dequantizedWeight returns input k of n and its shape, if it is a stored weight that a DequantizeLinear computes for n
// alone.
func (m *move) dequantizedWeight(n *model.Node, k int) (*model.Value, []int64, *Reason) {
	v := n.Inputs[k]
	d, way, axes := dequantizer(v)
	q := d.In(0)
	switch {
	case q == nil || q.Const == nil || q.Input && !m.p.opt.Overridable:
		return nil, nil, because(NotConstant, "the weight of %v is quantised at run time", n)
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

// rescaleDequantized adds the edit that multiplies a dequantised weight of n, of that shape, by the factor, in the scale of
// its DequantizeLinear. The factor has one number per channel of one axis.
func (m *move) rescaleDequantized(n *model.Node, v *model.Value, f tensor.Factor) *Reason {
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
	if axis < 0 || slices.Contains(f.Scale, 0) {
		return because(Quantized, "the quantised weight of %v would need scales that are 0, or not of one axis", n)
	}
	scaleShape, old, ok := m.p.constant(d.In(1))
	if !ok {
		return because(NotConstant, "the scale of %v is computed at run time", d)
	}
	per := int(d.Int("axis", 1))
	if per < 0 {
		per += len(stored)
	}
	block := d.Int("block_size", 0)
	single := len(old) == 1 && block == 0
	var values []float64
	switch {
	case block != 0:
		var why *Reason
		if values, why = m.blockScales(d, scaleShape, old, per, axis, f.Scale); why != nil {
			return why
		}
	case single && m.p.model.Opset[""] < 13:
		return because(Quantized, "%v has one scale for all channels, operator sets before 13 allow no other", d)
	case single:
		scaleShape, values = []int64{int64(len(f.Scale))}, slices.Repeat(old, len(f.Scale))
	case per != axis || len(old) != len(f.Scale):
		return because(Quantized, "%v has scales along another axis", d)
	default:
		values = slices.Clone(old)
	}
	if block == 0 {
		for c := range values {
			values[c] *= math.Abs(f.Scale[c])
		}
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
	if slices.ContainsFunc(f.Scale, func(s float64) bool { return s < 0 }) {
		m.Check(func() *Reason { return m.mirror(d, axis, f.Scale) })
	}
	for _, x := range way {
		m.seen[x], m.nodes = noSide, append(m.nodes, x)
	}
	if single {
		m.Edit(func() { d.SetAttr(model.Int("axis", int64(axis))) })
	}
	return m.Values(d, 1, d.In(1).DType, scaleShape, values)
}

// blockScales are the scales of a weight that is quantised in blocks along axis per, multiplied by the absolute values of
// one scale per channel of axis. Along the axis per these may differ from block to block only.
func (m *move) blockScales(d *model.Node, shape []int64, old []float64, per, axis int, scale []float64) ([]float64, *Reason) {
	stored, block := d.In(0).Const.Shape, int(d.Int("block_size", 0))
	if len(shape) != len(stored) || block < 0 {
		return nil, because(Unsupported, "the scales of %v have shape %v for a weight of %v", d, shape, stored)
	}
	if z := d.In(2); z != nil && slices.ContainsFunc(scale, func(s float64) bool { return s < 0 }) {
		return nil, because(Quantized, "%v has a zero point for each block: its weight is not mirrored", d)
	}
	along := 1 // channels of one scale
	if axis == per {
		along = block
		for c := range scale {
			if scale[c] != scale[c/block*block] {
				return nil, because(Quantized, "%v has one scale for %d channels that the map scales each by its own", d, block)
			}
		}
	}
	if int(shape[axis]) != (len(scale)+along-1)/along {
		return nil, because(Unsupported, "the scales of %v have shape %v for a weight of %v", d, shape, stored)
	}
	layout := tensor.AxisLayout(shape, axis)
	values := slices.Clone(old)
	for e := range values {
		values[e] *= math.Abs(scale[layout.Channel(int64(e))*int64(along)])
	}
	return values, nil
}

// mirror adds the edit that mirrors the channels of a quantised weight with a negative scale at their zero point: −(q − z)
// = (2·z − q) − z. The zero points stay, since runtimes have fast paths for some. It refuses a weight with an element whose
// mirror image is outside the type's range, such as −128.
func (m *move) mirror(d *model.Node, axis int, scale []float64) *Reason {
	v := d.In(0)
	c := v.Const
	low, high := -128.0, 127.0
	switch {
	case c.DType == tensor.Uint8:
		low, high = 0, 255
	case c.DType != tensor.Int8:
		return because(Quantized, "the quantised weight %q is of type %v, which is not mirrored", v.Name, c.DType)
	}
	if len(v.Uses) != 1 || v.Output {
		return because(Quantized, "the quantised weight %q has other users", v.Name)
	}
	old, err := c.Float64s(maxValues)
	if err != nil {
		return because(Quantized, "the quantised weight %q is too large to be mirrored", v.Name)
	}
	zero := []float64{0}
	if z := d.In(2); z != nil {
		var ok bool
		if _, zero, ok = m.p.constant(z); !ok || len(zero) != 1 && len(zero) != len(scale) {
			return because(NotConstant, "the zero point of %v is computed at run time", d)
		}
	}
	layout := tensor.Factor{Layout: tensor.AxisLayout(c.Shape, axis), Scale: scale}
	values := slices.Clone(old)
	for e, q := range values {
		channel := layout.Channel(int64(e))
		if scale[channel] > 0 {
			continue
		}
		if values[e] = 2*zero[int(channel)%len(zero)] - q; values[e] < low || values[e] > high {
			return because(Quantized, "the quantised weight %q holds %g, whose negative %v does not hold", v.Name, q, c.DType)
		}
	}
	m.Edit(func() {
		m.p.setConst(d, 0, &model.Constant{DType: c.DType, Shape: c.Shape, Values: values})
	})
	return nil
}
