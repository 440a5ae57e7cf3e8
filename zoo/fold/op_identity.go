package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

func init() {
	register(
		&operator{Family: "shape", Types: []string{"Identity"}, Back: identityBack, Forward: identityForward, Again: true},
		&operator{Family: "shape", Types: []string{"Dropout"}, Back: dropoutBack, Forward: dropoutForward, Again: true},
		&operator{Family: "shape", Types: []string{"Cast"}, Back: castBack, Forward: castForward, Again: true},
		&operator{Family: "shape", Types: []string{"CastLike"}, Back: castBack, Forward: castLikeForward, Sees: castLikeSees, Again: true},
	)
}

func identityBack(m *move, n *model.Node, _ int, a affine) *Reason { return m.Back(n, 0, a) }

func identityForward(m *move, n *model.Node, _ int, a affine) *Reason {
	return m.Forward(n.Outputs[0], a)
}

// inference is the reason why a Dropout may change its input at inference, or nil.
func (m *move) inference(n *model.Node, k int) *Reason {
	training := m.p.model.Opset[""] < 7 && n.Int("is_test", 0) == 0
	if v := n.In(2); v != nil {
		_, values, ok := m.p.constant(v)
		training = !ok || slices.ContainsFunc(values, func(x float64) bool { return x != 0 })
	}
	if training || k != 0 {
		return because(Training, "%v drops at random", n)
	}
	return nil
}

func dropoutBack(m *move, n *model.Node, k int, a affine) *Reason {
	if why := m.inference(n, k); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

func dropoutForward(m *move, n *model.Node, k int, a affine) *Reason {
	if why := m.inference(n, k); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

func castBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if why := sameType(n); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

func castForward(m *move, n *model.Node, _ int, a affine) *Reason {
	if why := sameType(n); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

// castLikeForward lets the map pass from input 0. Elements of input 1 do not matter: only its type does.
func castLikeForward(m *move, n *model.Node, k int, a affine) *Reason {
	if op.OnlyType(n, k) {
		return nil
	}
	return castForward(m, n, k, a)
}

func castLikeSees(_ *move, n *model.Node, k, _ int) ([]int64, *Reason) {
	if op.OnlyType(n, k) {
		return nil, nil
	}
	return nil, because(SharedOutput, "%v takes all elements", n)
}

func sameType(n *model.Node) *Reason {
	if from, to := n.In(0).DType, n.Outputs[0].DType; from != to || !from.Float() {
		return because(Nonlinear, "%v rounds from %v to %v", n, from, to)
	}
	return nil
}
