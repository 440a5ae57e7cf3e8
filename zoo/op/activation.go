package op

import (
	"fmt"
	"math"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Operators that apply a function of one number to each element: their pages in https://onnx.ai/onnx/operators/ have the
// formulas.

func init() {
	for name, f := range map[string]func(float64) float64{
		"Sqrt": math.Sqrt, "Exp": math.Exp, "Log": math.Log, "Reciprocal": func(x float64) float64 { return 1 / x },
		"Floor": math.Floor, "Ceil": math.Ceil, "Round": math.RoundToEven,
		"Tan": math.Tan, "Asin": math.Asin, "Acos": math.Acos, "Sinh": math.Sinh, "Cosh": math.Cosh, "Acosh": math.Acosh, "Atanh": math.Atanh,
	} {
		register(function(Operator{Type: name, Eval: unary(f)}))
	}
	for name, f := range map[string]func(float64) float64{ // slopes are hardly above 1: see gentle
		"Relu": func(x float64) float64 { return math.Max(x, 0) }, "Erf": math.Erf, "Softplus": softplus,
		"HardSwish": func(x float64) float64 { return x * math.Min(math.Max(x/6+0.5, 0), 1) },
		"Softsign":  func(x float64) float64 { return x / (1 + math.Abs(x)) },
		"Mish":      func(x float64) float64 { return x * math.Tanh(softplus(x)) },
		"Sin":       math.Sin, "Cos": math.Cos, "Atan": math.Atan, "Asinh": math.Asinh,
	} {
		register(function(Operator{Type: name, Eval: unary(f), Magnitude: gentle}))
	}
	for name, f := range map[string]func(*model.Node) func(float64) float64{
		"LeakyRelu": leakyRelu, "Elu": elu, "Selu": selu, "Celu": celu, "HardSigmoid": hardSigmoid, "ThresholdedRelu": thresholdedRelu,
		"Shrink": shrink, "Swish": swish, "Gelu": gelu,
	} {
		register(function(Operator{Type: name, Eval: byAttributes(f), Magnitude: gentle}))
	}
	register(
		function(Operator{Type: "Neg", Eval: unary(func(x float64) float64 { return -x }), Magnitude: gentle, Integers: negative}),
		function(Operator{Type: "Abs", Eval: unary(math.Abs), Magnitude: gentle, Integers: absolute}),
		function(Operator{Type: "Sign", Eval: unary(sign), Integers: signOf}),
		function(Operator{Type: "Sigmoid", Eval: unary(sigmoid), Magnitude: gentle, Saturates: true}),
		function(Operator{Type: "Tanh", Eval: unary(math.Tanh), Magnitude: gentle, Saturates: true}),
		function(Operator{Type: "Clip", Inputs: []string{"input", "least", "largest"}, Eval: clip, Magnitude: gentle}),
		function(Operator{Type: "Not", Eval: unary(func(x float64) float64 { return truth(x == 0) }), DType: always(tensor.Bool)}),
		function(Operator{Type: "IsNaN", Eval: unary(func(x float64) float64 { return truth(x != x) }), DType: always(tensor.Bool)}),
		function(Operator{Type: "IsInf", Eval: byAttributes(isInf), DType: always(tensor.Bool)}),
	)
}

// function completes an operator each of whose output elements is a function of the first input's element at the same
// position.
func function(o Operator) *Operator {
	o.Shape = sameShape
	return elementwise(o)
}

// byAttributes evaluates a function of one number whose parameters are attributes of the node.
func byAttributes(f func(n *model.Node) func(float64) float64) evaluator {
	return func(n *model.Node, in []*Array) ([]*Array, error) { return unary(f(n))(n, in) }
}

// leakyRelu is x for x ≥ 0, alpha·x below (Maas et al. 2013).
func leakyRelu(n *model.Node) func(float64) float64 {
	return sloped(n.Float("alpha", stored(0.01)), func(x float64) float64 { return x })
}

// elu is x for x ≥ 0, alpha·(eˣ − 1) below (Clevert et al. 2015, arXiv:1511.07289).
func elu(n *model.Node) func(float64) float64 { return sloped(n.Float("alpha", 1), math.Expm1) }

// selu is gamma·ELU with the constants of Klambauer et al. 2017 (arXiv:1706.02515).
func selu(n *model.Node) func(float64) float64 {
	f, gamma := sloped(n.Float("alpha", stored(1.67326319217681884765625)), math.Expm1), n.Float("gamma", stored(1.05070102214813232421875))
	return func(x float64) float64 { return gamma * f(x) }
}

// celu is max(0, x) + min(0, alpha·(e^(x/alpha) − 1)) (Barron 2017, arXiv:1704.07483).
func celu(n *model.Node) func(float64) float64 {
	alpha := n.Float("alpha", 1)
	return func(x float64) float64 { return math.Max(0, x) + math.Min(0, alpha*math.Expm1(x/alpha)) }
}

// hardSigmoid is max(0, min(1, alpha·x + beta)).
func hardSigmoid(n *model.Node) func(float64) float64 {
	alpha, beta := n.Float("alpha", stored(0.2)), n.Float("beta", 0.5)
	return func(x float64) float64 { return math.Max(0, math.Min(1, alpha*x+beta)) }
}

// thresholdedRelu is x for x > alpha, 0 elsewhere (Konda et al. 2014, arXiv:1402.3337).
func thresholdedRelu(n *model.Node) func(float64) float64 {
	alpha := n.Float("alpha", 1)
	return func(x float64) float64 {
		if x > alpha {
			return x
		}
		return 0
	}
}

// shrink is x + bias for x < −lambd, x − bias for x > lambd, 0 between.
func shrink(n *model.Node) func(float64) float64 {
	bias, lambda := n.Float("bias", 0), n.Float("lambd", 0.5)
	return func(x float64) float64 {
		switch {
		case x < -lambda:
			return x + bias
		case x > lambda:
			return x - bias
		}
		return 0
	}
}

// swish is x·sigmoid(alpha·x) (Ramachandran et al. 2017, arXiv:1710.05941).
func swish(n *model.Node) func(float64) float64 {
	alpha := n.Float("alpha", 1)
	return func(x float64) float64 { return x * sigmoid(alpha*x) }
}

// gelu is ½·x·(1 + erf(x/√2)), or its approximation by tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415).
func gelu(n *model.Node) func(float64) float64 {
	if n.Str("approximate", "none") == "tanh" {
		return func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}
	}
	return func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }
}

// isInf is 1 for the infinities that the attributes ask for, 0 elsewhere.
func isInf(n *model.Node) func(float64) float64 {
	negative, positive := n.Int("detect_negative", 1) != 0, n.Int("detect_positive", 1) != 0
	return func(x float64) float64 { return truth(negative && math.IsInf(x, -1) || positive && math.IsInf(x, 1)) }
}

// stored rounds the default of an attribute to float32, the type in which ONNX stores attributes.
func stored(x float64) float64 { return float64(float32(x)) }

// sloped is x for x ≥ 0 and alpha·f(x) below.
func sloped(alpha float64, f func(float64) float64) func(float64) float64 {
	return func(x float64) float64 {
		if x < 0 {
			return alpha * f(x)
		}
		return x
	}
}

// sign is −1, 0 or 1; a NaN stays.
func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

// sigmoid is 1/(1 + e⁻ˣ).
func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// softplus is log(1 + eˣ), without overflow.
func softplus(x float64) float64 { return math.Log1p(math.Exp(-math.Abs(x))) + math.Max(x, 0) }

// clip is min(max(x, lo), hi), whose limits are attributes before operator set 11 and scalar inputs since.
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
