package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// A weight may be a product of constants: torch's weight_norm is g·v/‖v‖, or v·(g/‖v‖). It is one constant, stored in
// parts. A small one is replaced by a single constant when something folds into it (move.weight). For one above maxValues,
// which is not computed while planning, a scale goes into the smallest part, and the file does not grow.

// fixed says whether a value is the same in every run, also if it is too large to be computed here. Dequantised weights do
// not count.
func (p *planner) fixed(v *model.Value) bool {
	if v == nil || v.Const != nil {
		return p.isConstant(v)
	}
	return p.regions.constant.has(v) && !p.quantized(v)
}

// varies says whether a value may differ from run to run. A node without such inputs is part of a constant expression, not
// a map.
func (p *planner) varies(v *model.Value) bool { return v != nil && !p.fixed(v) }

// isProduct says whether a value is a weight that is stored in parts and has over maxValues elements.
func (p *planner) isProduct(v *model.Value) bool {
	if v == nil || v.Producer == nil || !p.fixed(v) || p.isConstant(v) {
		return false
	}
	_, ok := static(v.Shape)
	return ok && v.Shape != nil && v.DType.Float() && (v.Producer.Type == "Mul" || v.Producer.Type == "Div")
}

// rescaleProduct adds the edit that multiplies such a weight by the factor, in one of its parts.
func (m *move) rescaleProduct(n *model.Node, v *model.Value, f tensor.Factor) *Reason {
	for axis := range v.Shape {
		if tensor.AxisLayout(v.Shape, axis) == f.Layout {
			size, _ := static(v.Shape)
			return m.rescalePart(n, v, size/2, scaling(axis, f.Scale))
		}
	}
	return because(NotConstant, "the weight %q of %v is computed from constants, and would need scales that are not of one axis", v.Name, n)
}

// rescalePart moves a scale into an operand of the node that computes v, a product that only n reads. Parts of more than
// most elements are left: other readers of theirs would need a copy.
func (m *move) rescalePart(n *model.Node, v *model.Value, most int64, a affine) *Reason {
	x := v.Producer
	why := because(NotConstant, "the weight %q of %v is computed from constants, none of which takes a scale", v.Name, n)
	switch {
	case x == nil || x.Domain != "" || x.Type != "Mul" && x.Type != "Div" || len(x.Inputs) != 2 || x.Graph != n.Graph || m.p.model.Opset[""] < 7:
		return why
	case v.Output || len(v.Uses) != 1:
		return because(SharedOutput, "the weight %q of %v, which is computed from constants, has other readers", v.Name, n)
	case m.seen[x] != 0 || m.p.idioms.at(x.Number) != nil:
		return because(NotConstant, "the map would reach %v twice", x)
	}
	m.seen[x], m.nodes = noSide, append(m.nodes, x)
	for k := range x.Inputs {
		if k == 1 && x.Type == "Div" {
			break
		}
		if m.Try(func() *Reason { return m.rescaleOperand(x, k, most, a) }) == nil {
			return nil
		}
	}
	return why
}

// rescaleOperand moves a scale of x's result into x's operand k: a constant, or a product in turn.
func (m *move) rescaleOperand(x *model.Node, k int, most int64, a affine) *Reason {
	part := x.In(k)
	if !m.p.isConstant(part) {
		b, why := operand(x, k, a)
		if why != nil {
			return why
		}
		return m.rescalePart(x, part, most, b)
	}
	if size, ok := static(part.Shape); !ok || size > most {
		return because(Duplicate, "the operand %q of %v is as large as the weight", part.Name, x)
	}
	return m.backConstant(x, k, a, x.Outputs[0].Shape)
}
