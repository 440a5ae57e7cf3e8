package torch

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	for name, typ := range map[string]string{
		"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "abs": "Abs", "neg": "Neg", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "erf": "Erf",
		"floor": "Floor", "ceil": "Ceil", "reciprocal": "Reciprocal", "hardswish": "HardSwish", "mish": "Mish", "sin": "Sin", "cos": "Cos",
	} {
		register(unary(typ), name)
	}
	register(parametric("LeakyRelu", "negative_slope", 0.01), "leaky_relu")
	register(parametric("Celu", "alpha", 1), "celu")
	register(parametric("Elu", "alpha", 1), "elu")
	register(buildHardSigmoid, "hardsigmoid")
	register(buildSilu, "silu")
	register(buildGelu, "gelu")
	register(buildPrelu, "prelu", "_prelu_kernel")
	register(clip("min_val", "max_val", -1, 1), "hardtanh")
	register(clip("", "", 0, 6), "relu6")
	register(clip("min", "max", math.Inf(-1), math.Inf(1)), "clamp", "clip", "clamp_min", "clamp_max")
	register(softmax("Softmax"), "softmax", "_softmax")
	register(softmax("LogSoftmax"), "log_softmax", "_log_softmax")
}

// input is the tensor that an activation works on, which has to hold floating-point numbers.
func (s *site) input() (*model.Value, error) {
	x, _, err := s.x("self", "input")
	if err == nil && !x.DType.Float() {
		err = unclear("it works on " + x.DType.String())
	}
	return x, err
}

func unary(typ string) builds {
	return func(s *site) error {
		x, err := s.input()
		if err != nil {
			return err
		}
		if err := s.only("self", "input"); err != nil {
			return err
		}
		return s.result(0, s.op(typ, []*model.Value{x}))
	}
}

// parametric makes an ONNX operator whose attribute alpha is an argument. ELU's scales have to be 1.
func parametric(typ, key string, def float64) builds {
	return func(s *site) error {
		x, err := s.input()
		if err != nil {
			return err
		}
		alpha, err := s.float(key, def)
		if err != nil {
			return err
		}
		for _, other := range []string{"scale", "input_scale"} {
			if x, err := s.float(other, 1); err != nil || x != 1 {
				return unclear(other + " is not 1")
			}
		}
		return s.result(0, s.op(typ, []*model.Value{x}, "alpha", alpha))
	}
}

func buildHardSigmoid(s *site) error {
	x, err := s.input()
	if err != nil {
		return err
	}
	return s.result(0, s.op("HardSigmoid", []*model.Value{x}, "alpha", 1.0/6, "beta", 0.5))
}

func buildSilu(s *site) error {
	x, err := s.input()
	if err != nil {
		return err
	}
	return s.result(0, s.op("Mul", []*model.Value{x, s.op("Sigmoid", []*model.Value{x})}))
}

func buildGelu(s *site) error {
	x, err := s.input()
	if err != nil {
		return err
	}
	return s.result(0, s.op("Gelu", []*model.Value{x}, "approximate", s.word("approximate", "none")))
}

// buildPrelu: one slope for each channel of axis 1, or one for all.
func buildPrelu(s *site) error {
	x, err := s.input()
	if err != nil {
		return err
	}
	if !s.isStored("weight") || len(x.Shape) < 2 {
		return unclear("slopes that are computed")
	}
	w, err := s.weight("weight", len(x.Shape)-1)
	if err != nil {
		return err
	}
	if w.DType != x.DType || len(w.Shape) != len(x.Shape)-1 || w.Shape[0] != 1 && w.Shape[0] != x.Shape[1] {
		return unclear("slopes of another shape")
	}
	y := s.op("PRelu", []*model.Value{x, w})
	s.places("", "weight")
	return s.result(0, y)
}

// clip limits a value by two arguments, which are numbers.
func clip(low, high string, least, most float64) builds {
	return func(s *site) error {
		x, err := s.input()
		if err != nil {
			return err
		}
		lo, hi := least, most
		if low != "" {
			if lo, err = s.float(low, lo); err != nil {
				return err
			}
			if hi, err = s.float(high, hi); err != nil {
				return err
			}
		}
		if lo > hi {
			return unclear("limits the wrong way round")
		}
		inputs := []*model.Value{x, nil, nil}
		if !math.IsInf(lo, -1) {
			inputs[1] = s.constant("min", x.DType, []float64{lo})
		}
		if !math.IsInf(hi, 1) {
			inputs[2] = s.constant("max", x.DType, []float64{hi})
		}
		return s.result(0, s.op("Clip", inputs))
	}
}

func softmax(typ string) builds {
	return func(s *site) error {
		x, err := s.input()
		if err != nil {
			return err
		}
		axis, err := s.axis("dim", len(x.Shape), -1)
		if err != nil {
			return err
		}
		return s.result(0, s.op(typ, []*model.Value{x}, "axis", axis))
	}
}
