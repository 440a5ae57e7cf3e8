package keras

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	for name, typ := range map[string]string{"Add": "Add", "Multiply": "Mul", "Subtract": "Sub", "Maximum": "Max", "Minimum": "Min"} {
		masks := typ == "Max" || typ == "Min"
		register(&class{build: func(s *site) (*value, error) { return s.merge(typ, nil) }, merges: true, masks: masks}, name)
	}
	register(&class{build: buildAverage, merges: true}, "Average")
	register(&class{build: buildConcatenate, merges: true}, "Concatenate")
}

// aligned are the site's inputs in one form, that of the majority. Inputs of lower rank get axes of extent 1 behind the
// first axis, as in Keras.
func (s *site) aligned() (inputs []*model.Value, rank, form int, err error) {
	forms := map[int]int{}
	for _, v := range s.in {
		if err := known(v, 2); err != nil {
			return nil, 0, 0, err
		}
		if v.dtype() != s.in[0].dtype() {
			return nil, 0, 0, unclear("tensors of several types")
		}
		rank = max(rank, v.rank)
	}
	for _, v := range s.in {
		if v.rank == rank {
			forms[v.main]++
		}
	}
	form = 1
	for f, count := range forms {
		if count > forms[form] || count == forms[form] && f > form {
			form = f
		}
	}
	if slices.ContainsFunc(s.in, func(v *value) bool { return v.rank != rank }) {
		form = 1
	}
	for _, v := range s.in {
		x := s.form(v, form)
		if missing := rank - v.rank; missing > 0 {
			var axes []int64
			for k := range missing {
				axes = append(axes, int64(1+k))
			}
			x = s.op("Unsqueeze", "expanded", []*model.Value{x, s.ints("axes", axes...)})
		}
		inputs = append(inputs, x)
	}
	return inputs, rank, form, nil
}

// merge combines the inputs by an operator of two, one after the other, and then by another function.
func (s *site) merge(typ string, then func(*model.Value) *model.Value) (*value, error) {
	if len(s.in) < 2 || typ == "Sub" && len(s.in) != 2 {
		return nil, unclear("it reads another number of tensors")
	}
	inputs, rank, form, err := s.aligned()
	if err != nil {
		return nil, err
	}
	y := inputs[0]
	for _, x := range inputs[1:] {
		y = s.op(typ, "merged", []*model.Value{y, x})
	}
	if then != nil {
		y = then(y)
	}
	return s.result(y, rank, form), nil
}

func buildAverage(s *site) (*value, error) {
	return s.merge("Add", func(x *model.Value) *model.Value {
		return s.op("Div", "mean", []*model.Value{x, s.constant("count", x.DType, []int64{}, []float64{float64(len(s.in))})})
	})
}

func buildConcatenate(s *site) (*value, error) {
	rank := -1
	for _, v := range s.in {
		rank = max(rank, v.rank)
	}
	for _, v := range s.in {
		if v.rank >= 0 && v.rank != rank {
			return nil, unclear("tensors of several ranks")
		}
	}
	if len(s.in) < 2 || rank < 2 {
		return nil, unclear("tensors of unknown rank")
	}
	axis, err := s.axis(rank, -1)
	if err != nil {
		return nil, err
	}
	for _, v := range s.in {
		v.settled(rank)
	}
	inputs, rank, form, err := s.aligned()
	if err != nil {
		return nil, err
	}
	return s.result(s.op("Concat", "concat", inputs, "axis", position(rank, form, int64(axis))), rank, form), nil
}
