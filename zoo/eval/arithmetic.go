package eval

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Operators that work element by element, and reductions.

func init() {
	for name, f := range map[string]func(float64) float64{
		"Neg": func(x float64) float64 { return -x }, "Abs": math.Abs, "Sqrt": math.Sqrt, "Exp": math.Exp, "Log": math.Log,
		"Reciprocal": func(x float64) float64 { return 1 / x }, "Floor": math.Floor, "Ceil": math.Ceil, "Round": math.RoundToEven,
		"Not":     func(x float64) float64 { return truth(x == 0) },
		"Relu":    func(x float64) float64 { return math.Max(x, 0) },
		"Sigmoid": func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, "Tanh": math.Tanh, "Erf": math.Erf,
		"HardSwish": func(x float64) float64 { return x * math.Min(math.Max(x/6+0.5, 0), 1) },
		"Softplus":  func(x float64) float64 { return math.Log1p(math.Exp(-math.Abs(x))) + math.Max(x, 0) },
	} {
		operators[name] = unary(f)
	}
	for name, f := range map[string]func(a, b float64) float64{
		"Add": func(a, b float64) float64 { return a + b }, "Sub": func(a, b float64) float64 { return a - b },
		"Mul": func(a, b float64) float64 { return a * b }, "Div": func(a, b float64) float64 { return a / b },
		"Pow": math.Pow, "Max": math.Max, "Min": math.Min, "Sum": func(a, b float64) float64 { return a + b },
		"Equal":   func(a, b float64) float64 { return truth(a == b) },
		"Greater": func(a, b float64) float64 { return truth(a > b) }, "GreaterOrEqual": func(a, b float64) float64 { return truth(a >= b) },
		"Less": func(a, b float64) float64 { return truth(a < b) }, "LessOrEqual": func(a, b float64) float64 { return truth(a <= b) },
		"And": func(a, b float64) float64 { return truth(a != 0 && b != 0) }, "Or": func(a, b float64) float64 { return truth(a != 0 || b != 0) },
	} {
		operators[name] = binary(f)
	}
	operators["Mean"] = func(n *model.Node, in []*Array) ([]*Array, error) {
		out, err := operators["Sum"](n, in)
		if err == nil {
			out, err = unary(func(x float64) float64 { return x / float64(len(in)) })(n, out)
		}
		return out, err
	}
	operators["Where"] = where
	operators["Clip"] = clip
	operators["LeakyRelu"] = func(n *model.Node, in []*Array) ([]*Array, error) {
		alpha := n.Float("alpha", 0.01)
		return unary(func(x float64) float64 {
			if x < 0 {
				return alpha * x
			}
			return x
		})(n, in)
	}
	operators["PRelu"] = binary(func(x, slope float64) float64 {
		if x < 0 {
			return slope * x
		}
		return x
	})
	operators["Elu"] = func(n *model.Node, in []*Array) ([]*Array, error) {
		alpha := n.Float("alpha", 1)
		return unary(func(x float64) float64 {
			if x < 0 {
				return alpha * math.Expm1(x)
			}
			return x
		})(n, in)
	}
	operators["HardSigmoid"] = func(n *model.Node, in []*Array) ([]*Array, error) {
		alpha, beta := n.Float("alpha", float64(float32(0.2))), n.Float("beta", 0.5)
		return unary(func(x float64) float64 { return math.Max(0, math.Min(1, alpha*x+beta)) })(n, in)
	}
	for name, r := range map[string]reduction{
		"ReduceSum": {0, func(a, b float64) float64 { return a + b }, false}, "ReduceMean": {0, func(a, b float64) float64 { return a + b }, true},
		"ReduceMax": {math.Inf(-1), math.Max, false}, "ReduceMin": {math.Inf(1), math.Min, false},
		"ReduceProd": {1, func(a, b float64) float64 { return a * b }, false},
	} {
		operators[name] = r.node
	}
}

func unary(f func(float64) float64) operator {
	return func(_ *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 1); err != nil {
			return nil, err
		}
		out := &Array{in[0].Shape, make([]float64, len(in[0].Data))}
		for k, x := range in[0].Data {
			out.Data[k] = f(x)
		}
		return one(out, nil)
	}
}

func binary(f func(a, b float64) float64) operator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, max(1, len(in))); err != nil {
			return nil, err
		}
		out := in[0]
		for _, b := range in[1:] {
			if err := within(maxWork, int64(len(in)), int64(len(out.Data))); err != nil {
				return nil, err
			}
			if opset(n) < 7 && n.Int("broadcast", 0) != 0 && len(b.Shape) < len(out.Shape) {
				axis := n.Int("axis", int64(len(out.Shape)-len(b.Shape)))
				shape := slices.Repeat([]int64{1}, len(out.Shape))
				if axis < 0 || int(axis)+len(b.Shape) > len(shape) {
					return nil, fmt.Errorf("axis %d of %d", axis, len(shape))
				}
				copy(shape[axis:], b.Shape)
				b = &Array{shape, b.Data}
			}
			z, err := combine(f, out, b)
			if err != nil {
				return nil, err
			}
			out = z
		}
		return one(out, nil)
	}
}

// combine works element by element, broadcasting.
func combine(f func(a, b float64) float64, a, b *Array) (*Array, error) {
	shape, err := broadcastShape(a.Shape, b.Shape)
	if err != nil {
		return nil, err
	}
	out, err := New(shape)
	if err != nil {
		return nil, err
	}
	if len(b.Data) == 1 && len(a.Data) == len(out.Data) {
		for k := range out.Data {
			out.Data[k] = f(a.Data[k], b.Data[0])
		}
		return out, nil
	}
	if a, err = broadcastTo(a, shape); err != nil {
		return nil, err
	}
	if b, err = broadcastTo(b, shape); err != nil {
		return nil, err
	}
	for k := range out.Data {
		out.Data[k] = f(a.Data[k], b.Data[k])
	}
	return out, nil
}

func where(_ *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	shape, err := broadcastShape(in[1].Shape, in[2].Shape)
	if err == nil {
		shape, err = broadcastShape(in[0].Shape, shape)
	}
	if err != nil {
		return nil, err
	}
	var parts [3]*Array
	for k := range parts {
		if parts[k], err = broadcastTo(in[k], shape); err != nil {
			return nil, err
		}
	}
	out := &Array{shape, make([]float64, len(parts[0].Data))}
	for k := range out.Data {
		if parts[0].Data[k] != 0 {
			out.Data[k] = parts[1].Data[k]
		} else {
			out.Data[k] = parts[2].Data[k]
		}
	}
	return one(out, nil)
}

func clip(n *model.Node, in []*Array) ([]*Array, error) {
	lo, hi := n.Float("min", math.Inf(-1)), n.Float("max", math.Inf(1))
	for k, limit := range []*float64{&lo, &hi} {
		if a := input(in, k+1); a != nil {
			if len(a.Data) != 1 {
				return nil, fmt.Errorf("a limit of shape %v", a.Shape)
			}
			*limit = a.Data[0]
		}
	}
	return unary(func(x float64) float64 { return math.Min(math.Max(x, lo), hi) })(n, in)
}

type reduction struct {
	start float64
	step  func(a, b float64) float64
	mean  bool
}

func (r reduction) node(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x, axes := in[0], ints(n, "axes", in, 1)
	if len(axes) == 0 && n.Int("noop_with_empty_axes", 0) != 0 {
		return in[:1], nil
	}
	reduced := make([]bool, len(x.Shape))
	for k := range reduced {
		reduced[k] = len(axes) == 0
	}
	for _, a := range axes {
		axis, err := axisOf(a, len(x.Shape))
		if err != nil {
			return nil, err
		}
		reduced[axis] = true
	}
	kept, final := slices.Clone(x.Shape), []int64{}
	count := 1.0
	for k, d := range x.Shape {
		switch {
		case !reduced[k]:
			final = append(final, d)
			continue
		case n.Int("keepdims", 1) != 0:
			final = append(final, 1)
		}
		kept[k], count = 1, count*float64(d)
	}
	out, err := New(kept)
	if err != nil {
		return nil, err
	}
	for k := range out.Data {
		out.Data[k] = r.start
	}
	step, e := strides(kept), 0
	walk(x.Shape, func(index []int64) {
		at := int64(0)
		for k, i := range index {
			if !reduced[k] {
				at += i * step[k]
			}
		}
		out.Data[at] = r.step(out.Data[at], x.Data[e])
		e++
	})
	if r.mean {
		for k := range out.Data {
			out.Data[k] /= count
		}
	}
	out.Shape = final
	return one(out, nil)
}
