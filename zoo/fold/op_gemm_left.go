package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// A Gemm whose weight is A: the rows of A' are the channels of Y, on axis 0, and it sums over the columns of A'. C then has
// a number for each row.

// leftWeighted says whether the weight of a Gemm is its first operand.
func (p *planner) leftWeighted(n *model.Node) bool {
	return n.In(0) != nil && n.In(1) != nil && p.isConstant(n.In(0)) && !p.isConstant(n.In(1)) && !isDequantized(n.In(1))
}

// gemmLeftWeight is that weight with its shape, and the axes of it that are rows of Y and that are summed over.
func (m *move) gemmLeftWeight(n *model.Node) (w *model.Value, shape []int64, rows, summed int, why *Reason) {
	if w, shape, why = m.weight(n, 0); why != nil {
		return nil, nil, 0, 0, why
	}
	if len(shape) != 2 || m.p.model.Opset[""] < 7 {
		return nil, nil, 0, 0, because(Unsupported, "the weight of %v has shape %v", n, shape)
	}
	if n.Int("transA", 0) != 0 {
		return w, shape, 1, 0, nil
	}
	return w, shape, 0, 1, nil
}

func gemmLeftBack(m *move, n *model.Node, a affine) *Reason {
	w, shape, rows, _, why := m.gemmLeftWeight(n)
	if why != nil {
		return why
	}
	b, ok := a.Over(0, int(shape[rows]))
	if !ok {
		return because(NotPerChannel, "the map is over axis %d, not over the %d rows of %v", a.Axis, shape[rows], n)
	}
	if why := m.Rescale(n, 0, tensor.Factor{Layout: tensor.AxisLayout(shape, rows), Scale: b.Scale}); why != nil {
		return why
	}
	cShape, c, why := gemmRowsC(m, n, len(b.Scale))
	if why != nil {
		return why
	}
	width := len(c) / max(len(b.Scale), 1)
	return m.gemmSetC(n, w.DType, cShape, c, func(e int) (float64, float64) {
		return b.Scale[e/width], b.Shift[e/width]
	})
}

func gemmLeftForward(m *move, n *model.Node, a affine) *Reason {
	w, shape, rows, summed, why := m.gemmLeftWeight(n)
	if why != nil {
		return why
	}
	axis := 0
	if n.Int("transB", 0) != 0 {
		axis = 1
	}
	b, ok := a.Over(axis, int(shape[summed]))
	if !ok {
		return because(NotPerChannel, "the map is over axis %d, not over the %d rows that %v multiplies", a.Axis, shape[summed], n)
	}
	layout := tensor.AxisLayout(shape, summed)
	if why := m.Rescale(n, 0, tensor.Factor{Layout: layout, Scale: b.Scale}); why != nil || !b.Shifts() {
		return why
	}
	cShape, c, why := gemmRowsC(m, n, int(shape[rows]))
	if why != nil {
		return why
	}
	m.Check(func() *Reason {
		sums, err := m.p.sums(n.Inputs[0], tensor.AxisLayout(shape, rows), tensor.Factor{Layout: layout, Scale: b.Shift})
		if err != nil {
			return because(Unsupported, "the weight of %v cannot be read: %v", n, err)
		}
		alpha, width := n.Float("alpha", 1), len(c)/max(len(sums), 1)
		return m.gemmSetC(n, w.DType, cShape, c, func(e int) (float64, float64) {
			return 1, alpha * sums[e/width]
		})
	})
	return nil
}

// gemmRowsC is beta·C as constant values of shape [rows, 1] or [rows, columns]; zeros of shape [rows, 1] where C is omitted
// or beta is 0.
func gemmRowsC(m *move, n *model.Node, rows int) (shape []int64, values []float64, why *Reason) {
	beta := n.Float("beta", 1)
	if n.In(2) == nil || beta == 0 {
		return []int64{int64(rows), 1}, make([]float64, rows), nil
	}
	old, c, ok := m.p.constant(n.In(2))
	if !ok {
		return nil, nil, m.p.notConstant("bias", n.In(2), n)
	}
	old = slices.Concat([]int64{1, 1}, old)
	high, wide := int(old[len(old)-2]), int(old[len(old)-1])
	if len(old) > 4 || high != 1 && high != rows || len(c) != high*wide || wide < 1 || rows > maxValues/wide {
		return nil, nil, because(Unsupported, "the bias %q of %v has shape %v", n.In(2).Name, n, n.In(2).Shape)
	}
	values = make([]float64, rows*wide)
	for e := range values {
		values[e] = beta * c[e/wide%high*wide+e%wide]
	}
	return []int64{int64(rows), int64(wide)}, values, nil
}
