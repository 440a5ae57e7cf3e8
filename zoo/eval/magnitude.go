package eval

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Magnitude bounds the sums behind a node's outputs. For linear operators it is Σ|W|·m + |b|, with m the magnitudes of its
// inputs (absolute values, for constants); for others, how much the output answers to its inputs, in units of theirs. It is
// what rounding errors are relative to. in and out are the true values of the node's inputs and outputs.
func Magnitude(n *model.Node, in, m, out []*Array) ([]*Array, error) {
	if len(out) > 0 && out[0] != nil && out[0].DType != tensor.Undefined && !out[0].DType.Float() {
		return out, nil // integers are exact, and so are truth values where nothing is near their threshold
	}
	switch n.Type {
	case "Sub":
		return binary(func(a, b float64) float64 { return a + b })(n, m)
	case "Min", "Max":
		return binary(math.Max)(n, m)
	case "ReduceMin", "ReduceMax":
		return reduction{start: math.Inf(-1), step: math.Max}.node(n, m)
	case "BatchNormalization":
		return magnitudeBatchNorm(n, m)
	case "Gemm", "Pad":
		return operators[n.Type](positive(n), m)
	case "Resize", "Upsample":
		return resizeBy(n, m, math.Abs)
	case "DequantizeLinear":
		return unary(math.Abs)(n, out)
	case "Neg", "Abs", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Erf", "Elu", "Selu", "Celu",
		"Softplus", "Softsign", "Gelu", "Mish", "Swish", "ThresholdedRelu", "Shrink", "Sin", "Cos", "Atan", "Asinh": // nowhere much steeper than 1
		return one(&Array{Shape: m[0].Shape, Data: largest(m[0].Data, out[0].Data)}, nil)
	}
	if additive[n.Type] {
		return Node(n, m)
	}
	return sensitivity(n, in, m, out)
}

// additive are the operators whose outputs are sums of products of their inputs, or one of them: what they make of the
// magnitudes is the magnitude.
var additive = map[string]bool{}

func init() {
	for _, name := range strings.Fields("Add Sum Mul Mean Conv ConvTranspose MatMul Einsum AveragePool GlobalAveragePool MaxPool GlobalMaxPool " +
		"ReduceSum ReduceMean ReduceL1 ReduceProd ReduceSumSquare CumSum CumProd Col2Im Identity Dropout Cast CastLike Reshape Flatten Squeeze " +
		"Unsqueeze Transpose Expand Concat Slice Split Gather GatherElements GatherND ScatterElements ScatterND Tile Where Trilu Compress " +
		"DepthToSpace SpaceToDepth CenterCropPad ReverseSequence ConstantOfShape Range OneHot") {
		additive[name] = true
	}
}

// nudge is how far sensitivity moves the inputs, in units of their magnitudes.
const nudge = 0x1p-20

// sensitivity is how much each output moves when all inputs move by their magnitudes, measured on a small part of that, all
// in one direction and each in a direction of its own; at least the output itself.
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
		other, err := Node(n, moved)
		if err != nil {
			return nil, err
		}
		for k, a := range result {
			if a == nil || k >= len(other) || other[k] == nil || len(other[k].Data) != len(a.Data) {
				continue
			}
			for e := range a.Data {
				if d := math.Abs(other[k].Data[e]-out[k].Data[e]) / nudge; d > a.Data[e] { // not where one of them is no number
					a.Data[e] = d
				}
			}
		}
	}
	return result, nil
}

// positive is a node whose numbers are absolute values.
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

// magnitudeBatchNorm is |s|·m + |s·μ| + |β|.
func magnitudeBatchNorm(n *model.Node, m []*Array) ([]*Array, error) {
	if err := need(m, 5); err != nil {
		return nil, err
	}
	x, epsilon := m[0], n.Float("epsilon", float64(float32(1e-5)))
	if len(x.Shape) < 2 {
		return nil, ErrUnsupported
	}
	if err := vectors(m, 1, 5, int(x.Shape[1])); err != nil {
		return nil, err
	}
	out := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	perChannel(x, func(e, c int) {
		out.Data[e] = m[1].Data[c]/math.Sqrt(m[4].Data[c]+epsilon)*(x.Data[e]+m[3].Data[c]) + m[2].Data[c]
	})
	return one(out, nil)
}

// Terms is how many terms are added up for one element of a node's output.
func Terms(n *model.Node, in []*Array) int64 {
	switch n.Type {
	case "Conv", "DeformConv":
		return product(in[1].Shape[1:]) + 1
	case "LSTM", "GRU", "RNN":
		return in[1].Shape[2] + in[2].Shape[2] + 2
	case "ConvTranspose":
		return in[1].Shape[0]*product(in[1].Shape[2:]) + 1
	case "Gemm", "MatMul":
		return int64(len(in[0].Data))/max(1, rows(n, in)) + 1
	case "AveragePool", "MaxPool", "LpPool":
		return product(n.Ints("kernel_shape")) + 1
	case "GlobalAveragePool", "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
		"InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization":
		return int64(len(in[0].Data))
	case "Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "LpNormalization", "CumSum", "LRN":
		return slices.Max(append([]int64{4}, in[0].Shape...))
	case "Einsum", "Attention":
		terms := int64(4)
		for _, a := range in {
			if a != nil && len(a.Shape) > 0 {
				terms = max(terms, 0) + slices.Max(a.Shape)
			}
		}
		return terms
	}
	return 4
}

// rows is the number of rows of a product's left matrix, over all batches.
func rows(n *model.Node, in []*Array) int64 {
	shape := in[0].Shape
	if n.Type == "Gemm" && n.Int("transA", 0) != 0 {
		return shape[1]
	}
	return product(shape[:len(shape)-1])
}
