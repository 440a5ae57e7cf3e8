package keras

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
)

// Keras 2 writes a function of TensorFlow that is applied to its tensors, an operator of Python's among them, as a layer of the
// class TFOpLambda, or SlicingOpLambda, whose config names the function. The call's first argument is the inbound node, with
// the others behind it: ["conv", 0, 0, {"y": 2.0, "name": null}]; one that is no tensor is ["_CONSTANT_VALUE", -1, 2.0, ...].
// See Node.serialize in keras/engine/node.py and layers/core/tf_op_layer.py of Keras 2.

// lambdas are the classes of such layers.
var lambdas = map[string]bool{"TFOpLambda": true, "SlicingOpLambda": true}

// functions are TensorFlow's by their names; what is not here is not understood.
var functions = map[string]*operation{
	"__operators__.add":     operations["Add"],
	"math.add":              operations["Add"],
	"math.subtract":         operations["Subtract"],
	"math.multiply":         operations["Multiply"],
	"math.truediv":          operations["TrueDivide"],
	"math.divide":           operations["Divide"],
	"math.maximum":          operations["Maximum"],
	"math.minimum":          operations["Minimum"],
	"math.pow":              operations["Power"],
	"math.negative":         operations["Negative"],
	"math.abs":              operations["Absolute"],
	"math.sqrt":             operations["Sqrt"],
	"math.exp":              operations["Exp"],
	"math.log":              operations["Log"],
	"math.reciprocal":       operations["Reciprocal"],
	"math.square":           operations["Square"],
	"math.sigmoid":          operations["Sigmoid"],
	"math.tanh":             operations["Tanh"],
	"math.softplus":         operations["Softplus"],
	"nn.relu":               operations["Relu"],
	"nn.relu6":              operations["Relu6"],
	"nn.silu":               operations["Silu"],
	"nn.elu":                {build: function("elu")},
	"nn.selu":               operations["Selu"],
	"identity":              operations["Identity"],
	"stop_gradient":         operations["Identity"],
	"__operators__.getitem": operations["GetItem"],
}

// operates says whether the layer is an operation that is applied to tensors: one of keras.ops, or a function of TensorFlow.
func (l *layer) operates() bool { return !l.counted || lambdas[l.class] && !l.foreign }

// operation is the one that the layer is; nil where it is not known, or none.
func (l *layer) operation() *operation {
	switch {
	case !l.operates():
		return nil
	case l.counted:
		name, _ := l.config.Get("function").Str()
		return functions[name]
	}
	return operations[l.class]
}

// first is the inbound node of such a layer: its first argument, and the others by their names.
func first(v *jsontext.Value) (arg, more *jsontext.Value) {
	if v.Kind == '[' && len(v.Items) == 1 {
		v = v.Items[0]
	}
	if v.Kind == '[' && len(v.Items) == 4 && v.Items[3].Kind == '{' {
		more = v.Items[3]
	}
	return v, more
}

// lambdaOperands are the arguments of a TFOpLambda's call.
func (s *site) lambdaOperands(c *call) (list []operand, err error) {
	arg, more := first(c.tree)
	args := []*jsontext.Value{arg}
	if more != nil {
		for k, v := range more.Items {
			switch {
			case v.Null():
			case more.Keys[k] == "y":
				args = append(args, v)
			default:
				return nil, unclear("its argument " + more.Keys[k] + " is not known")
			}
		}
	}
	tensors := 0
	for _, v := range args {
		if constant, ok := constantValue(v); ok {
			v = constant
		} else if _, ok := c.layer.net.ref(v); ok {
			if tensors == len(s.in) {
				return nil, unclear("it reads other tensors")
			}
			list = append(list, operand{tensor: s.in[tensors]})
			tensors++
			continue
		}
		var o operand
		var ok bool
		if o.shape, o.values, ok = array(v, maxRank); !ok {
			return nil, unclear("it is called with " + short(v))
		}
		list = append(list, o)
	}
	if tensors != len(s.in) {
		return nil, unclear("it reads other tensors")
	}
	return list, nil
}

// constantValue is the first argument of a call that is no tensor.
func constantValue(v *jsontext.Value) (*jsontext.Value, bool) {
	if v.Kind != '[' || len(v.Items) < 3 {
		return nil, false
	}
	name, _ := v.Items[0].Str()
	return v.Items[2], name == "_CONSTANT_VALUE"
}

// slices are the elements between the brackets of x[...].
func (s *site) slices(c *call) ([]*jsontext.Value, error) {
	var spec *jsontext.Value
	if s.layer.counted {
		_, more := first(c.tree)
		spec = more.Get("slice_spec")
	} else if args := c.tree.Get("args").List(); len(args) == 2 {
		spec = args[1]
	}
	switch {
	case spec == nil || len(s.in) != 1:
		return nil, unclear("it is called with other arguments")
	case spec.Kind == '[':
		return spec.Items, nil
	}
	return []*jsontext.Value{spec}, nil
}

// slice makes the nodes of x[...]: of slices with positive steps, whole numbers, new axes and an ellipsis.
func (s *site) slice(c *call) (*value, error) {
	list, err := s.slices(c)
	if err != nil {
		return nil, err
	}
	x := s.in[0]
	if err := known(x, 1); err != nil {
		return nil, err
	}
	ellipsis := slices.IndexFunc(list, func(v *jsontext.Value) bool { return className(v) == "__ellipsis__" })
	taken := 0 // axes of x that are said
	for k, v := range list {
		if !v.Null() && k != ellipsis {
			taken++
		}
	}
	if taken > x.rank || x.rank > maxRank {
		return nil, unclear("it names more axes than there are")
	}
	var starts, ends, axes, steps, gone, added []int64
	axis, out := int64(0), int64(0) // of x, and of what comes out
	for k, v := range list {
		whole, isWhole := v.Int()
		switch {
		case k == ellipsis:
			rest := int64(x.rank - taken)
			axis, out = axis+rest, out+rest
			continue
		case v.Null():
			added = append(added, out)
			out++
			continue
		case isWhole && whole >= -toTheEnd && whole < toTheEnd:
			end := whole + 1
			if whole == -1 {
				end = toTheEnd
			}
			starts, ends, axes, steps, gone = append(starts, whole), append(ends, end), append(axes, axis), append(steps, 1), append(gone, axis)
			axis++
			continue
		}
		if of := v.Get("config"); className(v) == "__slice__" {
			v = of
		}
		from, to, step, ok := bounds(v)
		if !ok {
			return nil, unclear("it takes " + short(v))
		}
		if from != 0 || to != toTheEnd || step != 1 {
			starts, ends, axes, steps = append(starts, from), append(ends, to), append(axes, axis), append(steps, step)
		}
		axis++
		out++
	}
	rank := x.rank - len(gone) + len(added)
	if rank < 1 || rank > maxRank {
		return nil, unclear("nothing but a number is left, or a tensor of too many axes")
	}
	form := x.main
	if len(gone)+len(added) > 0 || x.rank < 2 {
		form = 1
	}
	y := s.form(x, form)
	if len(axes) > 0 {
		at := slices.Clone(axes)
		if x.rank > 1 {
			for k, a := range at {
				at[k] = position(x.rank, form, a)
			}
		}
		y = s.op("Slice", "slice", []*model.Value{y, s.ints("starts", starts...), s.ints("ends", ends...), s.ints("axes", at...), s.ints("steps", steps...)})
	}
	if len(gone) > 0 {
		y = s.op("Squeeze", "squeeze", []*model.Value{y, s.ints("gone", gone...)})
	}
	if len(added) > 0 {
		y = s.op("Unsqueeze", "expanded", []*model.Value{y, s.ints("added", added...)})
	}
	if len(axes)+len(added) == 0 {
		return x, nil
	}
	return s.result(y, rank, form), nil
}

// toTheEnd is behind the end of every axis.
const toTheEnd = math.MaxInt32

// bounds are those of a slice, whose step has to be positive.
func bounds(v *jsontext.Value) (from, to, step int64, ok bool) {
	from, to, step, ok = 0, toTheEnd, 1, v.Kind == '{'
	for key, into := range map[string]*int64{"start": &from, "stop": &to, "step": &step} {
		said := v.Get(key)
		if said.Null() {
			continue
		}
		n, whole := said.Int()
		*into, ok = n, ok && whole && n >= -toTheEnd && n <= toTheEnd
	}
	return from, to, step, ok && step > 0
}
