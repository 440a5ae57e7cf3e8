package keras

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	register(&class{build: buildActivation}, "Activation")
	register(&class{build: buildReLU}, "ReLU")
	register(&class{build: buildLeakyReLU}, "LeakyReLU")
	register(&class{build: buildELU}, "ELU")
	register(&class{build: buildThresholdedReLU}, "ThresholdedReLU")
	register(&class{build: buildPReLU, weights: func(*layer) []string { return []string{"alpha"} }}, "PReLU")
	register(&class{build: buildSoftmax, masks: true}, "Softmax")
}

// activations build a function by its name; last is the axis of x that is the last one in Keras' order.
var activations = map[string]func(s *site, x *model.Value, last int64) *model.Value{
	"relu":        simple("Relu"),
	"sigmoid":     simple("Sigmoid"),
	"tanh":        simple("Tanh"),
	"softplus":    simple("Softplus"),
	"softsign":    simple("Softsign"),
	"exponential": simple("Exp"),
	"elu":         simple("Elu", "alpha", 1.0),
	"selu":        simple("Selu"),
	"relu6": func(s *site, x *model.Value, _ int64) *model.Value {
		return s.clip(x, 0, 6)
	},
	"leaky_relu": simple("LeakyRelu", "alpha", 0.2),
	"softmax": func(s *site, x *model.Value, last int64) *model.Value {
		return s.op("Softmax", "softmax", []*model.Value{x}, "axis", last)
	},
	"log_softmax": func(s *site, x *model.Value, last int64) *model.Value {
		return s.op("LogSoftmax", "log_softmax", []*model.Value{x}, "axis", last)
	},
	"hard_sigmoid": func(s *site, x *model.Value, _ int64) *model.Value {
		alpha := 0.2
		if s.version.major >= 3 {
			alpha = 1.0 / 6
		}
		return s.op("HardSigmoid", "hard_sigmoid", []*model.Value{x}, "alpha", alpha, "beta", 0.5)
	},
	"swish": swish, "silu": swish,
	"hard_swish": simple("HardSwish"), "hard_silu": simple("HardSwish"),
	"mish": func(s *site, x *model.Value, _ int64) *model.Value {
		y := s.op("Tanh", "tanh", []*model.Value{s.op("Softplus", "softplus", []*model.Value{x})})
		return s.op("Mul", "mul", []*model.Value{x, y})
	},
	"gelu": func(s *site, x *model.Value, _ int64) *model.Value { // x·(1 + erf(x/√2))/2
		y := s.op("Div", "div", []*model.Value{x, s.constant("root", x.DType, []int64{}, []float64{math.Sqrt2})})
		y = s.op("Add", "add", []*model.Value{s.op("Erf", "erf", []*model.Value{y}), s.constant("one", x.DType, []int64{}, []float64{1})})
		y = s.op("Mul", "mul", []*model.Value{x, y})
		return s.op("Mul", "half", []*model.Value{y, s.constant("half", x.DType, []int64{}, []float64{0.5})})
	},
}

func simple(typ string, attrs ...any) func(*site, *model.Value, int64) *model.Value {
	return func(s *site, x *model.Value, _ int64) *model.Value {
		return s.op(typ, snake(typ), []*model.Value{x}, attrs...)
	}
}

func swish(s *site, x *model.Value, _ int64) *model.Value {
	return s.op("Mul", "mul", []*model.Value{x, s.op("Sigmoid", "sigmoid", []*model.Value{x})})
}

// clip limits a value.
func (s *site) clip(x *model.Value, lo, hi float64) *model.Value {
	limit := func(what string, x *model.Value, to float64) *model.Value {
		return s.constant(what, x.DType, []int64{}, []float64{to})
	}
	return s.op("Clip", "clip", []*model.Value{x, limit("min", x, lo), limit("max", x, hi)})
}

// activated applies the layer's activation to a value in that form; an unknown function becomes a node of the domain
// "keras".
func (s *site) activated(x *model.Value, rank, form int) *model.Value {
	v := s.setting("activation")
	name, ok := v.Str()
	if !ok { // a user's function, or a layer as a function
		name, _ = v.Get("config").Str()
		if module, _ := v.Get("module").Str(); module != "" && module != "builtins" && module != "keras.activations" || name == "" {
			name = className(v)
		}
	}
	if v.Null() || name == "linear" {
		return x
	}
	if f := activations[name]; f != nil {
		return f(s, x, position(rank, form, int64(rank-1)))
	}
	n := s.m.Graph.Append(name, s.unique(s.name+"/activation"), []*model.Value{x}, nil, s.unique(s.name+"/activation/out"))
	n.Domain = domain
	s.add(n, nil)
	n.Outputs[0].DType, n.Outputs[0].Shape = x.DType, x.Shape
	return n.Outputs[0]
}

// elementwise builds a layer that treats all elements alike, in the form of its input.
func (s *site) elementwise(f func(x *model.Value) *model.Value) *value {
	x := s.in[0]
	return s.result(f(s.form(x, x.main)), x.rank, x.main)
}

func buildActivation(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 1); err != nil {
		return nil, err
	}
	y := s.activated(s.form(x, x.main), x.rank, x.main)
	if len(s.parts) == 0 {
		return x, nil
	}
	if s.parts[0].node.Domain != "" {
		s.parts[0].node.Name = s.name
	}
	return s.result(y, x.rank, x.main), nil
}

// ReLU: max_value where x reaches it, x above the threshold, and negative_slope·(x − threshold) below.
func buildReLU(s *site) (*value, error) {
	top, err := s.number("max_value", math.Inf(1))
	if err != nil {
		return nil, err
	}
	slope, err := s.number("negative_slope", 0)
	if err != nil {
		return nil, err
	}
	threshold, err := s.number("threshold", 0)
	if err != nil {
		return nil, err
	}
	bounded := !math.IsInf(top, 1)
	if (bounded || threshold != 0) && slope != 0 || bounded && (threshold != 0 || top < 0) {
		return nil, unclear("a ReLU with several of a limit, a slope and a threshold")
	}
	return s.elementwise(func(x *model.Value) *model.Value {
		switch {
		case bounded:
			return s.clip(x, 0, top)
		case threshold != 0:
			return s.op("ThresholdedRelu", "relu", []*model.Value{x}, "alpha", threshold)
		case slope != 0:
			return s.op("LeakyRelu", "relu", []*model.Value{x}, "alpha", slope)
		}
		return s.op("Relu", "relu", []*model.Value{x})
	}), nil
}

func buildLeakyReLU(s *site) (*value, error) {
	key := "negative_slope"
	if s.setting(key).Null() {
		key = "alpha" // before Keras 3
	}
	return s.parametric("LeakyRelu", key, 0.3)
}

func buildELU(s *site) (*value, error) { return s.parametric("Elu", "alpha", 1) }

func buildThresholdedReLU(s *site) (*value, error) {
	return s.parametric("ThresholdedRelu", "theta", 1)
}

// parametric makes an ONNX operator whose attribute alpha is a setting.
func (s *site) parametric(typ, key string, def float64) (*value, error) {
	alpha, err := s.number(key, def)
	if err != nil {
		return nil, err
	}
	return s.elementwise(func(x *model.Value) *model.Value {
		return s.op(typ, "function", []*model.Value{x}, "alpha", alpha)
	}), nil
}

// PReLU: slopes are stored for all axes but the batch's, with extent 1 along shared axes.
func buildPReLU(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 2); err != nil {
		return nil, err
	}
	e := x.extents()
	if e == nil {
		return nil, unclear("the shape is not known")
	}
	shape := e[1:]
	for _, v := range s.setting("shared_axes").List() {
		a, ok := v.Int()
		if !ok || a < 1 || a >= int64(x.rank) {
			return nil, unclear("shared_axes is " + short(s.setting("shared_axes")))
		}
		shape[a-1] = 1
	}
	if err := s.expect("alpha", x.dtype(), shape...); err != nil {
		return nil, err
	}
	stored := s.layer.variable("alpha").set.Shape
	perm, shape := make([]int, x.rank-1), make([]int64, x.rank-1)
	for k, axis := range order(x.rank, x.main)[1:] {
		perm[k], shape[k] = int(axis)-1, stored[axis-1]
	}
	return s.elementwise(func(x *model.Value) *model.Value {
		return s.weighted("PRelu", "function", []*model.Value{x, s.weight("alpha", shape, perm...)}, []string{"", "alpha"})
	}), nil
}

func buildSoftmax(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 1); err != nil {
		return nil, err
	}
	axis, err := s.axis(x.rank, -1)
	if err != nil {
		return nil, err
	}
	return s.elementwise(func(y *model.Value) *model.Value {
		return s.op("Softmax", "softmax", []*model.Value{y}, "axis", position(x.rank, x.main, int64(axis)))
	}), nil
}
