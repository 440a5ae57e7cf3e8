package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(&operator{Family: "recurrent", Types: []string{"LSTM", "GRU", "RNN"}, Forward: recurrentForward})
}

// Recurrent layers: what step t adds to the gates is W·X[t] + Wb, with X of shape [T, N, I], W of [D, G·H, I] and Wb the
// first half of B, of [D, 2·G·H], for D directions. A layer's output feeds back into it, so no map moves backward into it.

func recurrentForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(NotConstant, "the map is on input %d of %v", k, n)
	}
	w, shape, why := m.weight(n, 1)
	if why != nil {
		return why
	}
	if len(shape) != 3 {
		return because(Unsupported, "the weight of %v has shape %v", n, shape)
	}
	a, ok := a.Over(2, int(shape[2]))
	if !ok {
		return because(NotPerChannel, "the map is over axis %d, not over the %d features of %v", a.Axis, shape[2], n)
	}
	in := tensor.Factor{Layout: tensor.AxisLayout(shape, 2), Scale: a.Scale}
	if why := m.Rescale(n, 1, in); why != nil || !a.Shifts() {
		return why
	}
	directions, rows := int(shape[0]), int(shape[1])
	bias := make([]float64, 2*directions*rows)
	if v := n.In(3); v != nil {
		biasShape, old, ok := m.constant(n, 3)
		if !ok {
			return m.p.notConstant("bias", v, n)
		}
		if !slices.Equal(biasShape, []int64{shape[0], 2 * shape[1]}) {
			return because(Unsupported, "the bias %q of %v has shape %v", v.Name, n, biasShape)
		}
		copy(bias, old)
	}
	m.Check(func() *Reason {
		out := tensor.AxisLayout([]int64{shape[0] * shape[1], shape[2]}, 0)
		sums, err := m.p.sums(n.Inputs[1], out, tensor.Factor{Layout: in.Layout, Scale: a.Shift})
		if err != nil {
			return because(Unsupported, "the weight of %v cannot be read: %v", n, err)
		}
		for k, sum := range sums {
			bias[k/rows*2*rows+k%rows] += sum
		}
		return m.Values(n, 3, w.DType, []int64{shape[0], 2 * shape[1]}, bias)
	})
	return nil
}
