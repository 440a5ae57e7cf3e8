package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(&operator{Family: "elementwise", Types: []string{"Where", "Max", "Min", "Mean"}, Back: selectBack, Forward: selectForward})
}

// A map of these operators' result is the same map of all operands: f(a(x), a(y)) = a(f(x, y)). Max and Min need positive
// scales.

// operands is the index of the first operand: a Where's condition, input 0, is not one.
func operands(n *model.Node, a affine) (first int, why *Reason) {
	switch n.Type {
	case "Where":
		first = 1
	case "Max", "Min":
		why = extreme(n, a)
	}
	return first, why
}

func selectBack(m *move, n *model.Node, _ int, a affine) *Reason {
	first, why := operands(n, a)
	if why != nil {
		return why
	}
	for k := first; k < len(n.Inputs); k++ {
		if why := m.backOperand(n, k, a); why != nil {
			return why
		}
	}
	return nil
}

func selectForward(m *move, n *model.Node, k int, a affine) *Reason {
	first, why := operands(n, a)
	if why != nil {
		return why
	}
	if k < first {
		return because(Nonlinear, "the map is on the input of %v that gives its condition", n)
	}
	b, why := forwardOperand(n, k, a)
	if why != nil {
		return why
	}
	if why := m.backOthers(n, k, first, b); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], b)
}
