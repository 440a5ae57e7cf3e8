package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators whose output is their input, or their input in another type.

func init() {
	register(
		&Operator{Type: "Identity", Eval: func(_ *model.Node, in []*Array) ([]*Array, error) { return in[:1], nil }, Moves: []int{0}, Shape: sameShape, Vector: handedOn, Magnitude: additive, Needs: sameNeeds, Elementwise: true, Rearranges: true},
		&Operator{Type: "Dropout", Inputs: []string{"input", "ratio", "mode"}, Eval: dropout, DType: dropoutType, Shape: dropoutShape, Magnitude: additive, Needs: dropoutNeeds, Elementwise: true},
		&Operator{Type: "Cast", Eval: castNode, DType: attribute("to", always(tensor.Undefined)), Wide: true, Shape: sameShape, Vector: castVector, Magnitude: additive, Needs: sameNeeds, Elementwise: true, Rearranges: true},
		&Operator{Type: "CastLike", Required: 2, Inputs: []string{"input", "model of the type"}, Eval: castLike, DType: like(1), Wide: true, Shape: sameShape, Vector: castVector, Magnitude: castLikeMagnitude, Needs: castLikeNeeds, Elementwise: true},
	)
}

// dropoutType is the input's type, and bool for the mask.
func dropoutType(_ *model.Node, inputs Types, k int) tensor.DType {
	if k == 1 {
		return tensor.Bool
	}
	return inputs.At(0)
}

// dropoutNeeds are the same elements of the input: ratio and training_mode only say that nothing is dropped.
func dropoutNeeds(_ *model.Node, _ []*Array, out Part) []Box { return []Box{out.Box} }

// OnlyType says whether a node reads only the type of an input, not its elements.
func OnlyType(n *model.Node, k int) bool { return n.Type == "CastLike" && k == 1 }

// OfType is an array for such an input: it has the value's type and no elements.
func OfType(v *model.Value) *Array {
	return &Array{DType: dtypeOf(v), Shape: []int64{0}, Data: []float64{}}
}

// castLikeNeeds no element of the second input.
func castLikeNeeds(_ *model.Node, in []*Array, out Part) []Box { return []Box{out.Box, nothing(in, 1)} }

// castLikeMagnitude casts the magnitudes of the elements; magnitudes of the model have no type.
func castLikeMagnitude(n *model.Node, in, m, _ []*Array) ([]*Array, error) {
	return Eval(n, []*Array{m[0], in[1]})
}

// dropout keeps all elements. In training mode it is not evaluated.
func dropout(n *model.Node, in []*Array) ([]*Array, error) {
	nonzero := func(x float64) bool { return x != 0 }
	if training := input(in, 2); training != nil && slices.ContainsFunc(training.Data, nonzero) && (input(in, 1) == nil || slices.ContainsFunc(in[1].Data, nonzero)) {
		return nil, fmt.Errorf("training: %w", ErrUnsupported)
	}
	mask := &Array{Shape: in[0].Shape, Data: slices.Repeat([]float64{1}, len(in[0].Data))}
	return []*Array{in[0], mask}, nil
}

// dropoutShape is the input's for the output and the mask.
func dropoutShape(in *Inference, n *model.Node) [][]int64 {
	return shapes(in.of(n.In(0)), in.of(n.In(0)))
}

// castNode converts to the type that the attribute "to" names.
func castNode(n *model.Node, in []*Array) ([]*Array, error) {
	return one(cast(in[0], tensor.DType(n.Int("to", 0))))
}

// castLike converts to the type of input 1.
func castLike(_ *model.Node, in []*Array) ([]*Array, error) {
	if in[1].DType == tensor.Undefined {
		return nil, fmt.Errorf("cast to an unknown type: %w", ErrUnsupported)
	}
	return one(cast(in[0], in[1].DType))
}

// cast converts floats to integers by rounding towards 0, and refuses those that the type does not hold, since ONNX leaves
// their value open. Integers wrap around. A cast to float64 or float32 changes no number; one to a 16-bit float rounds.
func cast(x *Array, to tensor.DType) (*Array, error) {
	out := &Array{DType: to, Shape: x.Shape, Data: make([]float64, len(x.Data))}
	if integer(to) && (integer(x.DType) || x.DType == tensor.Bool) {
		list := make([]int64, len(x.Data))
		for k := range list {
			list[k] = x.Int(k)
		}
		return ofInts(to, x.Shape, list), nil
	}
	for k, v := range x.Data {
		switch {
		case to == tensor.Float64 || to == tensor.Float32:
			out.Data[k] = v
		case to == tensor.Float16 || to == tensor.BFloat16:
			out.Data[k] = to.Round(v)
		case to == tensor.Bool:
			out.Data[k] = truth(v != 0)
		case integer(to):
			if v = math.Trunc(v); !(math.Abs(v) < exact) || number(wrapped(int64(v), to), to) != v {
				return nil, fmt.Errorf("%g as %v: %w", v, to, ErrUnsupported)
			}
			out.Data[k] = v
		default:
			return nil, fmt.Errorf("cast to %v: %w", to, ErrUnsupported)
		}
	}
	return out, nil
}
