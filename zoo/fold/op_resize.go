package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(
		&operator{Family: "resize", Types: []string{"Resize", "Upsample"}, Back: resizeBack, Forward: resizeForward, Again: true},
		&operator{Family: "resize", Types: []string{"DepthToSpace"}, Back: backAs(spread), Forward: forwardAs(gathered), Again: true},
		&operator{Family: "resize", Types: []string{"SpaceToDepth"}, Back: backAs(gathered), Forward: forwardAs(spread), Again: true},
	)
}

// interpolates is the reason why an output element is not a sum of elements of its channel with weights that add up to 1,
// or nil.
func interpolates(n *model.Node, a affine) *Reason {
	x, y := n.In(0), n.Outputs[0]
	if a.Axis != uniform && (a.Axis >= len(x.Shape) || a.Axis >= len(y.Shape) || x.Shape[a.Axis] != y.Shape[a.Axis] || x.Shape[a.Axis] < 0) {
		return because(NotPerChannel, "%v may resize the channels", n)
	}
	switch mode := n.Str("mode", "nearest"); {
	case n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize" && (a.Shifts() || n.Float("extrapolation_value", 0) != 0):
		return because(Border, "%v fills in positions outside of its input", n)
	case mode != "nearest" && mode != "linear" && mode != "bilinear" && mode != "cubic":
		return because(Unsupported, "%v has mode %s", n, mode)
	}
	return nil
}

func resizeBack(m *move, n *model.Node, _ int, a affine) *Reason {
	if why := interpolates(n, a); why != nil {
		return why
	}
	return m.Back(n, 0, a)
}

func resizeForward(m *move, n *model.Node, k int, a affine) *Reason {
	if k != 0 {
		return because(Nonlinear, "the map is on the input of %v that gives its size", n)
	}
	if why := interpolates(n, a); why != nil {
		return why
	}
	return m.Forward(n.Outputs[0], a)
}

// DepthToSpace and SpaceToDepth move elements between channels (axis 1) and blocks of b×b positions. channelOf gives, for a
// channel on the side with more channels, its channel on the other side.
func channelOf(n *model.Node, few int) func(many int) int {
	b := int(n.Int("blocksize", 1))
	if n.Type == "DepthToSpace" && n.Str("mode", "DCR") == "CRD" {
		return func(many int) int { return many / (b * b) }
	}
	return func(many int) int { return many % few }
}

// spread writes a map over the fewer channels for the side with more.
func spread(n *model.Node, a affine) (affine, *Reason) {
	if a.Axis == uniform {
		return a, nil
	}
	if a.Axis != 1 {
		return a, because(NotPerChannel, "the map is over axis %d, %v moves channels", a.Axis, n)
	}
	b := int(n.Int("blocksize", 1))
	few := len(a.Scale)
	if b < 1 || b > maxValues || few*b > maxValues/b {
		return a, because(NotPerChannel, "%v has blocks of %d positions", n, b)
	}
	of := channelOf(n, few)
	out := affine{1, make([]float64, few*b*b), make([]float64, few*b*b)}
	for c := range out.Scale {
		out.Scale[c], out.Shift[c] = a.Scale[of(c)], a.Shift[of(c)]
	}
	return out, nil
}

// gathered writes a map over the more numerous channels for the side with fewer: channels that become one must have the
// same map.
func gathered(n *model.Node, a affine) (affine, *Reason) {
	if a.Axis == uniform {
		return a, nil
	}
	b := int(n.Int("blocksize", 1))
	if a.Axis != 1 || b < 1 || b > len(a.Scale) || len(a.Scale)%(b*b) != 0 {
		return a, because(NotPerChannel, "the map is over axis %d, %v moves channels", a.Axis, n)
	}
	few := len(a.Scale) / (b * b)
	of := channelOf(n, few)
	out, set := affine{1, make([]float64, few), make([]float64, few)}, make([]bool, few)
	for c := range a.Scale {
		k := of(c)
		if set[k] && (out.Scale[k] != a.Scale[c] || out.Shift[k] != a.Shift[c]) {
			return a, because(NotPerChannel, "%v puts channels of different scale side by side", n)
		}
		out.Scale[k], out.Shift[k], set[k] = a.Scale[c], a.Shift[c], true
	}
	return out, nil
}

// backAs is a Back that passes the map other(a) on, and forwardAs is a Forward that does.
func backAs(other func(*model.Node, affine) (affine, *Reason)) func(*move, *model.Node, int, affine) *Reason {
	return func(m *move, n *model.Node, _ int, a affine) *Reason {
		b, why := other(n, a)
		if why != nil {
			return why
		}
		return m.Back(n, 0, b)
	}
}

func forwardAs(other func(*model.Node, affine) (affine, *Reason)) func(*move, *model.Node, int, affine) *Reason {
	return func(m *move, n *model.Node, _ int, a affine) *Reason {
		b, why := other(n, a)
		if why != nil {
			return why
		}
		return m.Forward(n.Outputs[0], b)
	}
}
