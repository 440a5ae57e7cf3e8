package op

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
		"Sign": sign, "Sin": math.Sin, "Cos": math.Cos, "Tan": math.Tan, "Asin": math.Asin, "Acos": math.Acos, "Atan": math.Atan,
		"Sinh": math.Sinh, "Cosh": math.Cosh, "Asinh": math.Asinh, "Acosh": math.Acosh, "Atanh": math.Atanh,
		"Not":     func(x float64) float64 { return truth(x == 0) },
		"IsNaN":   func(x float64) float64 { return truth(x != x) },
		"Relu":    func(x float64) float64 { return math.Max(x, 0) },
		"Sigmoid": sigmoid, "Tanh": math.Tanh, "Erf": math.Erf, "Softplus": softplus,
		"HardSwish": func(x float64) float64 { return x * math.Min(math.Max(x/6+0.5, 0), 1) },
		"Softsign":  func(x float64) float64 { return x / (1 + math.Abs(x)) },
		"Mish":      func(x float64) float64 { return x * math.Tanh(softplus(x)) },
	} {
		operators[name] = unary(f)
	}
	for name, f := range map[string]func(a, b float64) float64{
		"Add": func(a, b float64) float64 { return a + b }, "Sub": func(a, b float64) float64 { return a - b },
		"Mul": func(a, b float64) float64 { return a * b }, "Div": func(a, b float64) float64 { return a / b },
		"Max": math.Max, "Min": math.Min, "Sum": func(a, b float64) float64 { return a + b },
		"Equal":   func(a, b float64) float64 { return truth(a == b) },
		"Greater": func(a, b float64) float64 { return truth(a > b) }, "GreaterOrEqual": func(a, b float64) float64 { return truth(a >= b) },
		"Less": func(a, b float64) float64 { return truth(a < b) }, "LessOrEqual": func(a, b float64) float64 { return truth(a <= b) },
		"And": func(a, b float64) float64 { return truth(a != 0 && b != 0) }, "Or": func(a, b float64) float64 { return truth(a != 0 || b != 0) },
		"Xor": func(a, b float64) float64 { return truth((a != 0) != (b != 0)) },
		"PRelu": func(x, slope float64) float64 {
			if x < 0 {
				return slope * x
			}
			return x
		},
	} {
		operators[name] = binary(f)
	}
	for _, name := range []string{"BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift"} {
		operators[name] = ofIntegersOnly
	}
	for name, f := range parametric {
		operators[name] = func(n *model.Node, in []*Array) ([]*Array, error) { return unary(f(n))(n, in) }
	}
	operators["Pow"] = pow
	operators["Mod"] = mod
	operators["Mean"] = func(n *model.Node, in []*Array) ([]*Array, error) {
		out, err := operators["Sum"](n, in)
		if err == nil {
			out, err = unary(func(x float64) float64 { return x / float64(len(in)) })(n, out)
		}
		return out, err
	}
	operators["Where"] = where
	operators["Clip"] = clip
}

// parametric are functions of one number that a node's attributes decide.
var parametric = map[string]func(n *model.Node) func(float64) float64{
	"LeakyRelu": func(n *model.Node) func(float64) float64 { return sloped(n.Float("alpha", stored(0.01)), identity) },
	"Elu":       func(n *model.Node) func(float64) float64 { return sloped(n.Float("alpha", 1), math.Expm1) },
	"Selu": func(n *model.Node) func(float64) float64 {
		f, gamma := sloped(n.Float("alpha", stored(1.67326319217681884765625)), math.Expm1), n.Float("gamma", stored(1.05070102214813232421875))
		return func(x float64) float64 { return gamma * f(x) }
	},
	"Celu": func(n *model.Node) func(float64) float64 {
		alpha := n.Float("alpha", 1)
		return func(x float64) float64 { return math.Max(0, x) + math.Min(0, alpha*math.Expm1(x/alpha)) }
	},
	"HardSigmoid": func(n *model.Node) func(float64) float64 {
		alpha, beta := n.Float("alpha", stored(0.2)), n.Float("beta", 0.5)
		return func(x float64) float64 { return math.Max(0, math.Min(1, alpha*x+beta)) }
	},
	"ThresholdedRelu": func(n *model.Node) func(float64) float64 {
		alpha := n.Float("alpha", 1)
		return func(x float64) float64 {
			if x > alpha {
				return x
			}
			return 0
		}
	},
	"Shrink": func(n *model.Node) func(float64) float64 {
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
	},
	"Swish": func(n *model.Node) func(float64) float64 {
		alpha := n.Float("alpha", 1)
		return func(x float64) float64 { return x * sigmoid(alpha*x) }
	},
	"Gelu": func(n *model.Node) func(float64) float64 {
		if n.Str("approximate", "none") == "tanh" {
			return func(x float64) float64 {
				return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
			}
		}
		return func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }
	},
	"IsInf": func(n *model.Node) func(float64) float64 {
		negative, positive := n.Int("detect_negative", 1) != 0, n.Int("detect_positive", 1) != 0
		return func(x float64) float64 { return truth(negative && math.IsInf(x, -1) || positive && math.IsInf(x, 1)) }
	},
}

// stored is a default of an attribute, which ONNX keeps in float32.
func stored(x float64) float64 { return float64(float32(x)) }

func identity(x float64) float64 { return x }

// sloped is x above 0 and alpha·f(x) below.
func sloped(alpha float64, f func(float64) float64) func(float64) float64 {
	return func(x float64) float64 {
		if x < 0 {
			return alpha * f(x)
		}
		return x
	}
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// softplus is log(1 + eˣ), without overflow.
func softplus(x float64) float64 { return math.Log1p(math.Exp(-math.Abs(x))) + math.Max(x, 0) }

// pow has the type of its base: an integer is rounded towards 0.
func pow(n *model.Node, in []*Array) ([]*Array, error) {
	out, err := binary(math.Pow)(n, in)
	if err == nil && integer(in[0].DType) && out[0].wide == nil {
		for k, x := range out[0].Data {
			out[0].Data[k] = math.Trunc(x)
		}
	}
	return out, err
}

// mod of floats has the sign of the dividend, as fmod asks; without that, which ONNX has for integers only, of the divisor.
func mod(n *model.Node, in []*Array) ([]*Array, error) {
	return binary(func(a, b float64) float64 {
		r := math.Mod(a, b)
		if n.Int("fmod", 0) == 0 && r != 0 && (r < 0) != (b < 0) {
			r += b
		}
		return r
	})(n, in)
}

// ofIntegersOnly are operators that ONNX does not have for floats.
func ofIntegersOnly(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, max(1, len(in))); err != nil {
		return nil, err
	}
	f, ok := integerOf(n, in...)
	if !ok || len(in) > 2 {
		return nil, fmt.Errorf("operands that are no integers: %w", ErrUnsupported)
	}
	return one(combineInts(f, in[0], in[len(in)-1]))
}

func unary(f func(float64) float64) operator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 1); err != nil {
			return nil, err
		}
		if g, ok := integerOf(n, in[0]); ok {
			return one(combineInts(g, in[0], in[0]))
		}
		out := &Array{Shape: in[0].Shape, Data: make([]float64, len(in[0].Data))}
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
				b = &Array{DType: b.DType, Shape: shape, Data: b.Data, wide: b.wide}
			}
			z, err := combine(f, out, b)
			if g, ok := integerOf(n, out, b); ok {
				if z, err = combineInts(g, out, b); err == nil {
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
	out := &Array{Shape: shape, Data: make([]float64, len(parts[0].Data))}
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
