package op

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// elementwise completes an operator that combines its operands element by element, with numpy's broadcasting.
func elementwise(o Operator) *Operator {
	o.Elementwise, o.Needs = true, sameNeeds
	if o.Shape == nil {
		o.Shape = elementwiseShape
	}
	return &o
}

func elementwiseShape(in *Inference, n *model.Node) [][]int64 {
	if in.opset < 7 && n.Int("broadcast", 0) != 0 { // before operator set 7, B alone is broadcast, and only on request
		return shapes(in.of(n.In(0)))
	}
	out := in.of(n.In(0))
	for k := 1; k < len(n.Inputs); k++ {
		out = broadcastExtents(out, in.of(n.In(k)))
	}
	return shapes(out)
}

// broadcastExtents is the shape of two values combined element by element, aligned to the right.
func broadcastExtents(a, b []int64) []int64 {
	if a == nil || b == nil {
		return nil
	}
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for k, d := range b {
		j := len(a) - len(b) + k
		switch {
		case out[j] == 1:
			out[j] = d
		case d == 1 || d == out[j]:
		case out[j] < 0 && d > 1: // a free extent is 1 or that one
			out[j] = d
		case out[j] < 0 || d > 1: // either is 1, or the shapes do not broadcast
			out[j] = Unknown
		}
	}
	return out
}

func unary(f func(float64) float64) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if g, ok := integerOf(n, in[0]); ok {
			return one(combineInts(n, g, in[0], in[0]))
		}
		out := &Array{Shape: in[0].Shape, Data: make([]float64, len(in[0].Data))}
		for k, x := range in[0].Data {
			out.Data[k] = f(x)
		}
		return one(out, nil)
	}
}

func binary(f func(a, b float64) float64) evaluator {
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
				b = &Array{DType: b.DType, Shape: shape, Data: b.Data, wide: b.wide}
			}
			z, err := combine(f, out, b)
			if g, ok := integerOf(n, out, b); ok {
				if z, err = combineInts(n, g, out, b); err == nil {
					z.DType = typeOf(n, in, 0)
				}
			}
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
	out, err := NewArray(shape)
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

// ofIntegersOnly evaluates operators that ONNX defines for integers only, and refuses floats.
func ofIntegersOnly(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, max(1, len(in))); err != nil {
		return nil, err
	}
	f, ok := integerOf(n, in...)
	if !ok || len(in) > 2 {
		return nil, fmt.Errorf("operands that are no integers: %w", ErrUnsupported)
	}
	return one(combineInts(n, f, in[0], in[len(in)-1]))
}
