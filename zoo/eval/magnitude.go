package eval

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Magnitude bounds the sums behind a node's outputs: for linear operators Σ|W|·m + |b|, with m the magnitudes of its
// inputs (absolute values, for constants). It is what rounding errors are relative to. out are the outputs' true values.
func Magnitude(n *model.Node, m, out []*Array) ([]*Array, error) {
	if len(out) > 0 && out[0] != nil && out[0].DType != tensor.Undefined && !out[0].DType.Float() {
		return out, nil // integers are exact, and so are truth values where nothing is near their threshold
	}
	switch n.Type {
	case "Sub":
		return binary(func(a, b float64) float64 { return a + b })(n, m)
	case "Min":
		return binary(math.Max)(n, m)
	case "ReduceMin":
		return reduction{start: math.Inf(-1), step: math.Max}.node(n, m)
	case "Div":
		return binary(func(a, b float64) float64 { return a / b })(n, m)
	case "BatchNormalization":
		return magnitudeBatchNorm(n, m)
	case "Gemm":
		positive := *n
		positive.Attrs = nil
		for _, a := range n.Attrs {
			a.Float = math.Abs(a.Float)
			positive.Attrs = append(positive.Attrs, a)
		}
		return gemm(&positive, m)
	case "Softmax":
		return unary(func(x float64) float64 { return math.Abs(x) })(n, out)
	case "Neg", "Abs", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "Erf", "Elu", "Softplus":
		return one(&Array{Shape: m[0].Shape, Data: largest(m[0].Data, out[0].Data)}, nil)
	case "HardSigmoid":
		alpha, beta := math.Abs(n.Float("alpha", float64(float32(0.2)))), math.Abs(n.Float("beta", 0.5))
		return unary(func(x float64) float64 { return alpha*x + beta })(n, m)
	case "InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization":
		bias := 0.0
		if b := input(m, 2); b != nil {
			for _, x := range b.Data {
				bias = max(bias, x)
			}
		}
		return unary(func(x float64) float64 { return math.Abs(x) + 2*bias })(n, out)
	case "Resize", "Upsample":
		return resizeBy(n, m, math.Abs)
	case "DequantizeLinear":
		return unary(math.Abs)(n, out)
	case "Pad":
		positive := *n
		positive.Attrs = nil
		for _, a := range n.Attrs {
			a.Float = math.Abs(a.Float)
			positive.Attrs = append(positive.Attrs, a)
		}
		return pad(&positive, m)
	}
	return Node(n, m)
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
	case "Conv":
		return product(in[1].Shape[1:]) + 1
	case "ConvTranspose":
		return in[1].Shape[0]*product(in[1].Shape[2:]) + 1
	case "Gemm", "MatMul":
		return int64(len(in[0].Data))/max(1, rows(n, in)) + 1
	case "AveragePool", "MaxPool":
		return product(n.Ints("kernel_shape")) + 1
	case "GlobalAveragePool", "ReduceMean", "ReduceSum":
		return int64(len(in[0].Data))
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
