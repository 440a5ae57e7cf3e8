package torch

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	for name, typ := range map[string]string{"add": "Add", "sub": "Sub", "subtract": "Sub", "mul": "Mul", "multiply": "Mul", "div": "Div", "divide": "Div", "true_divide": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min"} {
		register(binary(typ, false), name)
	}
	register(binary("Sub", true), "rsub")
	register(buildWhere, "where")
	register(reduce("ReduceMean"), "mean")
	register(reduce("ReduceSum"), "sum")
	register(reduce("ReduceMax"), "amax")
	register(reduce("ReduceMin"), "amin")
}

// binary is an operator of two tensors, or of a tensor and a number. Types that differ, which PyTorch promotes, are not
// understood, nor is an alpha.
func binary(typ string, reversed bool) builds {
	return func(s *site) error {
		if err := s.only("self", "input", "other", "exponent", "alpha"); err != nil { // rounding_mode, out
			return err
		}
		if alpha, err := s.float("alpha", 1); err != nil || alpha != 1 {
			return unclear("alpha is not 1")
		}
		d := s.p.metas[s.outputs[0]].dtype
		operand := func(names ...string) (*model.Value, error) {
			for _, name := range names {
				if s.ref(name) != nil {
					v, err := s.tensor(name)
					if err == nil && v.DType != d {
						err = unclear("types that differ")
					}
					return v, err
				}
				if s.node.arg(name) == nil {
					continue
				}
				x, err := s.float(name, 0)
				if err == nil && !d.Float() && x != math.Trunc(x) {
					err = unclear("types that differ")
				}
				return s.constant(name, d, []float64{x}), err
			}
			return nil, unclear("an operand is missing")
		}
		x, err := operand("self", "input")
		if err != nil {
			return err
		}
		y, err := operand("other", "exponent")
		if err != nil {
			return err
		}
		if reversed {
			x, y = y, x
		}
		v := s.op(typ, []*model.Value{x, y})
		if reversed {
			s.places("other", "self")
		} else {
			s.places("self", "other")
		}
		return s.result(0, v)
	}
}

func buildWhere(s *site) error {
	if len(s.refs) != 3 {
		return unclear("it has other operands")
	}
	var inputs []*model.Value
	for _, name := range []string{"condition", "self", "other"} {
		v, err := s.tensor(name)
		if err != nil {
			return err
		}
		inputs = append(inputs, v)
	}
	if inputs[1].DType != inputs[2].DType {
		return unclear("types that differ")
	}
	return s.result(0, s.op("Where", inputs))
}

// reduce is an operator over some axes, or over all.
func reduce(typ string) builds {
	return func(s *site) error {
		x, err := s.input()
		if err != nil {
			return err
		}
		axes, err := s.ints("dim")
		if err != nil {
			return err
		}
		for k, a := range axes {
			axis, err := axisOf(a, len(x.Shape))
			if err != nil {
				return err
			}
			axes[k] = int64(axis)
		}
		keep := 0
		if s.yes("keepdim", false) {
			keep = 1
		}
		inputs := []*model.Value{x}
		if len(axes) > 0 {
			inputs = append(inputs, s.list("axes", axes...))
		}
		return s.result(0, s.op(typ, inputs, "keepdims", keep))
	}
}
