package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(&operator{Family: "gemm", Types: []string{"Gemm"}, Back: gemmBack, Forward: gemmForward})
}

// Gemm: Y = alpha·A'·B' + beta·C, with A' of shape [M, K], B' of shape [K, N] (stored transposed where transA, transB say
// so), and C broadcast to [M, N].

// gemmAxes are the axes of the stored B that are K and N.
func gemmAxes(n *model.Node) (k, cols int) {
	if n.Int("transB", 0) != 0 {
		return 1, 0
	}
	return 0, 1
}

// gemmWeight is the weight of a Gemm, B, with its two extents.
func (m *move) gemmWeight(n *model.Node) (w *model.Value, shape []int64, why *Reason) {
	if w, shape, why = m.weight(n, 1); why == nil && len(shape) != 2 {
		why = because(Unsupported, "the weight of %v has %d dimensions, want 2", n, len(shape))
	}
	return w, shape, why
}

func gemmBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if m.p.leftWeighted(n) {
		return gemmLeftBack(m, n, a)
	}
	w, shape, why := m.gemmWeight(n)
	if why != nil {
		return why
	}
	_, cols := gemmAxes(n)
	if a, why = channels(n, a, shape[cols]); why != nil {
		return why
	}
	if why := m.Rescale(n, 1, tensor.Factor{Layout: tensor.AxisLayout(shape, cols), Scale: a.Scale}); why != nil {
		return why
	}
	cShape, c, why := gemmC(m, n, len(a.Scale))
	if why != nil {
		return why
	}
	return m.gemmSetC(n, w.DType, cShape, c, func(e int) (float64, float64) {
		col := e % len(a.Scale)
		return a.Scale[col], a.Shift[col]
	})
}

func gemmForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k == 1 && m.p.leftWeighted(n) {
		return gemmLeftForward(m, n, a)
	}
	if k != 0 {
		return because(NotConstant, "the map is on input %d of %v", k, n)
	}
	w, shape, why := m.gemmWeight(n)
	if why != nil {
		return why
	}
	rows, cols := gemmAxes(n)
	axis := 1
	if n.Int("transA", 0) != 0 {
		axis = 0
	}
	b, ok := a.Over(axis, int(shape[rows]))
	if !ok {
		return because(NotPerChannel, "the map is over axis %d, not over the %d columns that %v multiplies", a.Axis, shape[rows], n)
	}
	layout := tensor.AxisLayout(shape, rows)
	if why := m.Rescale(n, 1, tensor.Factor{Layout: layout, Scale: b.Scale}); why != nil {
		return why
	}
	if !b.Shifts() {
		return nil
	}
	cShape, c, why := gemmC(m, n, int(shape[cols]))
	if why != nil {
		return why
	}
	m.Check(func() *Reason {
		sums, err := m.p.sums(n.Inputs[1], tensor.AxisLayout(shape, cols), tensor.Factor{Layout: layout, Scale: b.Shift})
		if err != nil {
			return because(Unsupported, "the weight of %v cannot be read: %v", n, err)
		}
		alpha := n.Float("alpha", 1)
		return m.gemmSetC(n, w.DType, cShape, c, func(e int) (float64, float64) {
			return 1, alpha * sums[e%len(sums)]
		})
	})
	return nil
}

// gemmC is beta·C as constant values, of shape [cols] or [M, cols]; zeros of shape [cols] where C is omitted or beta is 0.
func gemmC(m *move, n *model.Node, cols int) (shape []int64, values []float64, why *Reason) {
	beta := n.Float("beta", 1)
	if n.In(2) == nil || beta == 0 {
		return []int64{int64(cols)}, make([]float64, cols), nil
	}
	shape, c, ok := m.p.constant(n.In(2))
	if !ok {
		return nil, nil, m.p.notConstant("bias", n.In(2), n)
	}
	rows := 1
	if len(shape) == 2 {
		rows = int(shape[0])
	}
	last := 1
	if len(shape) > 0 {
		last = int(shape[len(shape)-1])
	}
	if len(shape) > 2 || last != 1 && last != cols || len(c) != rows*last || rows > 0 && cols > maxValues/rows {
		return nil, nil, because(Unsupported, "the bias %q of %v has shape %v", n.In(2).Name, n, shape)
	}
	values = make([]float64, rows*cols)
	for e := range values {
		values[e] = beta * c[e/cols*last+e%cols%last]
	}
	if rows == 1 {
		return []int64{int64(cols)}, values, nil
	}
	return []int64{int64(rows), int64(cols)}, values, nil
}

// gemmSetC leaves the edit that C becomes s·c + t with the s and t of each element, and beta 1.
func (m *move) gemmSetC(n *model.Node, dtype tensor.DType, shape []int64, c []float64, st func(e int) (s, t float64)) *Reason {
	values := slices.Clone(c)
	for e := range values {
		s, t := st(e)
		values[e] = s*values[e] + t
	}
	if n.In(2) == nil && !slices.ContainsFunc(values, func(x float64) bool { return x != 0 }) {
		return nil
	}
	if why := m.Values(n, 2, dtype, shape, values); why != nil {
		return why
	}
	broadcast, beta := m.p.model.Opset[""] < 7 && n.Int("broadcast", 0) != 1, n.Float("beta", 1) != 1
	if !broadcast && !beta {
		return nil
	}
	m.Edit(func() {
		if broadcast {
			n.SetAttr(model.Int("broadcast", 1))
		}
		if beta {
			n.SetAttr(model.Float("beta", 1))
		}
	})
	return m.Rebuild(n)
}
