package op

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Magnitude is what rounding errors of a node's outputs are relative to. For linear operators it is the sum of absolute
// terms, Σ|W|·m + |b|, where m are the magnitudes of the inputs (absolute values, for constants). For others it is how far
// the outputs move when the inputs move by their magnitudes. in and out are the values of the node's inputs and outputs.
func Magnitude(n *model.Node, in, m, out []*Array) ([]*Array, error) {
	if len(out) > 0 && out[0] != nil && out[0].DType != tensor.Undefined && !out[0].DType.Float() {
		return out, nil // integers are exact, and so are truth values where nothing is near their threshold
	}
	if f := Of(n).Magnitude; f != nil {
		return f(n, in, m, out)
	}
	return sensitivity(n, in, m, out)
}

// additive is the magnitude of operators whose outputs are sums of products of their inputs, or elements of them: the
// operator applied to the inputs' magnitudes. Inputs that are indices or shapes are passed unchanged.
func additive(n *model.Node, in, m, _ []*Array) ([]*Array, error) {
	if o := Of(n); len(o.Moves) > 0 {
		m = slices.Clone(m)
		for k := range m {
			if !o.moves(k) {
				m[k] = in[k]
			}
		}
	}
	return Eval(n, m)
}

// byMagnitudes is the magnitude that f computes from the inputs' magnitudes.
func byMagnitudes(f evaluator) func(n *model.Node, in, m, out []*Array) ([]*Array, error) {
	return func(n *model.Node, _, m, _ []*Array) ([]*Array, error) { return f(n, m) }
}

// gentle is the magnitude of functions whose slope is hardly above 1 anywhere: an error of the input is no larger in the
// output.
func gentle(_ *model.Node, _, m, out []*Array) ([]*Array, error) {
	return one(&Array{Shape: out[0].Shape, Data: largest(m[0].Data, out[0].Data)}, nil)
}

// ofOutput is the magnitude of operators that add nothing up: the output's absolute value.
func ofOutput(n *model.Node, _, _, out []*Array) ([]*Array, error) { return unary(math.Abs)(n, out) }

// Terms is how many terms are added up for one element of a node's output.
func Terms(n *model.Node, in []*Array) int64 {
	if f := Of(n).Terms; f != nil {
		return f(n, in)
	}
	return 4
}

// allTerms are the terms of sums over whole images, or rows of them.
func allTerms(_ *model.Node, in []*Array) int64 { return product(in[0].Shape) }

// axisTerms bounds the terms of sums along one axis by the largest extent of the first input.
func axisTerms(_ *model.Node, in []*Array) int64 {
	return slices.Max(append([]int64{4}, in[0].Shape...))
}

// operandTerms bounds the terms of sums along one axis of each operand by their largest extents.
func operandTerms(_ *model.Node, in []*Array) int64 {
	terms := int64(4)
	for _, a := range in {
		if a != nil && len(a.Shape) > 0 {
			terms += slices.Max(a.Shape)
		}
	}
	return terms
}

// nudge is the step by which sensitivity moves the inputs, in units of their magnitudes.
const nudge = 0x1p-20

// sensitivity estimates how far each output moves when all inputs move by their magnitudes, by finite differences: once
// with all inputs moved in one direction, and once each in a direction of its own. The result is at least the output's
// absolute value.
func sensitivity(n *model.Node, in, m, out []*Array) ([]*Array, error) {
	result := make([]*Array, len(out))
	for k, a := range out {
		if a != nil {
			result[k] = &Array{Shape: a.Shape, Data: largest(nil, a.Data)}
		}
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(in))))
	for _, sign := range []func() float64{
		func() float64 { return nudge }, func() float64 { return nudge * float64(1-2*rng.IntN(2)) },
	} {
		moved := slices.Clone(in)
		for k, a := range in {
			if a == nil || a.DType != tensor.Undefined && !a.DType.Float() {
				continue
			}
			moved[k] = &Array{DType: a.DType, Shape: a.Shape, Data: slices.Clone(a.Data)}
			for e := range a.Data {
				moved[k].Data[e] += sign() * m[k].Data[e]
			}
		}
		other, err := Eval(n, moved)
		if err != nil {
			return nil, err
		}
		for k, a := range result {
			if a == nil || k >= len(other) || other[k] == nil || len(other[k].Data) != len(a.Data) {
				continue
			}
			for e := range a.Data {
				if d := math.Abs(other[k].Data[e]-out[k].Data[e]) / nudge; d > a.Data[e] { // the comparison is false for NaN
					a.Data[e] = d
				}
			}
		}
	}
	return result, nil
}

// positive is a copy of the node with the absolute values of its float attributes.
func positive(n *model.Node) *model.Node {
	out := *n
	out.Attrs = nil
	for _, a := range n.Attrs {
		a.Float = math.Abs(a.Float)
		out.Attrs = append(out.Attrs, a)
	}
	return &out
}

func largest(a, b []float64) []float64 {
	out := make([]float64, len(b))
	for k := range out {
		out[k] = math.Abs(b[k])
		if k < len(a) {
			out[k] = max(out[k], a[k])
		}
	}
	return out
}
