package fold_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// b and v keep the table short.
type (
	b = modeltest.Builder
	v = model.Value
)

func in(x ...*v) []*v { return x }

// image is a convolution of an image to four channels, 6 by 7.
func image(m *b) *v { return m.Conv(m.Input(1, 3, 6, 7), 3, 4, 3, 1, "pads", []int64{1, 1, 1, 1}) }

func positive(m *b, x *v) *v {
	return m.Op("Mul", in(x, m.Const(m.Uniform(4, 0.5, 2), 4, 1, 1)))
}

func negative(m *b, x *v) *v {
	return m.Op("Mul", in(x, m.Const(m.Uniform(4, -2, -0.5), 4, 1, 1)))
}

func shift(m *b, x *v) *v { return m.Op("Add", in(x, m.Weight(4, 1, 1))) }

func uniform(m *b, x *v, scale, shift float64) *v {
	return m.Op("Add", in(m.Op("Mul", in(x, m.Const([]float64{scale}))), m.Const([]float64{shift})))
}

// valid is a convolution without padding, same one with.
func valid(m *b, x *v) *v { return m.Conv(x, 4, 5, 2, 1) }
func same(m *b, x *v) *v  { return m.Conv(x, 4, 5, 3, 1, "pads", []int64{1, 1, 1, 1}) }

func pool(op string, attrs ...any) func(m *b, x *v) *v {
	return func(m *b, x *v) *v {
		return m.Op(op, in(x), append([]any{"kernel_shape", []int64{2, 2}, "strides", []int64{2, 2}}, attrs...)...)
	}
}

func TestOperators_PassOrRefuseMaps(t *testing.T) {
	type step = func(m *b, x *v) *v
	op := func(name string, attrs ...any) step {
		return func(m *b, x *v) *v { return m.Op(name, in(x), attrs...) }
	}
	pads := []any{"pads", []int64{1, 1, 1, 1}}
	for _, test := range []struct {
		name  string
		steps []step    // behind image
		left  int       // per-channel nodes
		code  fold.Code // of the first map that is left
	}{
		{"Relu lets a positive scale through", []step{op("Relu"), positive}, 0, ""},
		{"Relu keeps a negative scale back", []step{op("Relu"), negative}, 1, fold.Sign},
		{"Relu keeps a shift back", []step{op("Relu"), shift}, 1, fold.Nonlinear},
		{"LeakyRelu lets a positive scale through", []step{op("LeakyRelu", "alpha", 0.2), positive}, 0, ""},
		{"LeakyRelu keeps a negative scale back", []step{op("LeakyRelu", "alpha", 0.2), negative}, 1, fold.Sign},
		{"PRelu lets a positive scale through", []step{func(m *b, x *v) *v { return m.Op("PRelu", in(x, m.Weight(4, 1, 1))) }, positive}, 0, ""},
		{"Abs lets a positive scale through", []step{op("Abs"), positive}, 0, ""},
		{"Sigmoid lets nothing through", []step{op("Sigmoid"), positive}, 1, fold.Nonlinear},
		{"HardSwish lets nothing through", []step{op("HardSwish"), positive}, 1, fold.Nonlinear},
		{"MaxPool lets a positive scale and a shift through", []step{pool("MaxPool"), positive, shift}, 0, ""},
		{"padded MaxPool pads with minus infinity", []step{pool("MaxPool", pads...), positive, shift}, 0, ""},
		{"MaxPool keeps a negative scale back", []step{pool("MaxPool"), negative}, 1, fold.Sign},
		{"MaxPool lets the shift of a negative scale through", []step{pool("MaxPool"), negative, shift, op("Tanh")}, 1, ""},
		{"the shift of a negative scale goes forward", []step{op("Tanh"), negative, shift, pool("MaxPool"), valid}, 1, ""},
		{"AveragePool lets all through", []step{pool("AveragePool"), negative, shift}, 0, ""},
		{"padded AveragePool that does not count the padding", []step{pool("AveragePool", pads...), negative, shift}, 0, ""},
		{"padded AveragePool that counts the padding lets a scale through", []step{pool("AveragePool", append(pads, "count_include_pad", 1)...), negative}, 0, ""},
		{"padded AveragePool that counts the padding keeps a shift back", []step{pool("AveragePool", append(pads, "count_include_pad", 1)...), shift}, 1, fold.Border},
		{"AveragePool rounded up that counts the padding keeps a shift back", []step{pool("AveragePool", "ceil_mode", 1, "count_include_pad", 1), shift}, 1, fold.Border},
		{"AveragePool rounded up that reaches over no edge", []step{op("AveragePool", "kernel_shape", []int64{2, 3}, "strides", []int64{2, 2}, "ceil_mode", 1, "count_include_pad", 1), negative, shift}, 0, ""},
		{"AveragePool rounded up that does not count the padding", []step{pool("AveragePool", "ceil_mode", 1), negative, shift}, 0, ""},
		{"AveragePool of automatic padding that comes to none", []step{op("AveragePool", "kernel_shape", []int64{2, 1}, "strides", []int64{2, 2}, "auto_pad", "SAME_UPPER", "count_include_pad", 1), negative, shift}, 0, ""},
		{"AveragePool of automatic padding that counts the padding keeps a shift back", []step{pool("AveragePool", "auto_pad", "SAME_LOWER", "count_include_pad", 1), shift}, 1, fold.Border},
		{"a shift goes forward into automatic padding that comes to none", []step{op("Relu"), shift, func(m *b, x *v) *v {
			return m.Op("Conv", in(x, m.Weight(5, 4, 2, 1)), "auto_pad", "SAME_UPPER", "strides", []int64{2, 3})
		}}, 0, ""},
		{"a shift does not go forward into automatic padding", []step{op("Relu"), shift, func(m *b, x *v) *v {
			return m.Op("Conv", in(x, m.Weight(5, 4, 2, 2)), "auto_pad", "SAME_UPPER", "strides", []int64{2, 2})
		}}, 1, fold.Border},
		{"a shift goes forward into padding behind that no window sees", []step{op("Relu"), shift, func(m *b, x *v) *v {
			return m.Op("Conv", in(x, m.Weight(5, 4, 2, 3)), "pads", []int64{0, 0, 1, 1}, "strides", []int64{2, 2})
		}}, 0, ""},
		{"GlobalAveragePool lets all through", []step{op("GlobalAveragePool"), negative, shift}, 0, ""},
		{"ReduceSum over static positions lets all through", []step{func(m *b, x *v) *v { return m.Op("ReduceSum", in(x, m.Ints(2, -1))) }, negative, shift}, 0, ""},
		{"ReduceSum over static positions lets all through forward", []step{op("Tanh"), negative, shift, func(m *b, x *v) *v { return m.Op("ReduceSum", in(x, m.Ints(3)), "keepdims", 1) }, func(m *b, x *v) *v { return m.Op("Conv", in(x, m.Weight(5, 4, 2, 1))) }}, 0, ""},
		{"ReduceMin over positions lets a positive scale and a shift through", []step{op("ReduceMin", "axes", []int64{2, 3}), positive, shift}, 0, ""},
		{"ReduceMin over positions keeps a negative scale back", []step{op("ReduceMin", "axes", []int64{2, 3}), negative}, 1, fold.Sign},
		{"GlobalMaxPool keeps a negative scale back", []step{op("GlobalMaxPool"), negative}, 1, fold.Sign},
		{"ReduceMean over positions lets all through", []step{op("ReduceMean", "axes", []int64{2, 3}), negative, shift}, 0, ""},
		{"ReduceMean over channels lets no per-channel map through", []step{positive, op("Relu"), op("ReduceMean", "axes", []int64{1})}, 0, ""},
		{"Transpose renumbers the axis", []step{op("Transpose", "perm", []int64{0, 2, 3, 1}), func(m *b, x *v) *v { return m.Op("Mul", in(x, m.Const(m.Signed(4), 4))) }}, 0, ""},
		{"a constant along the width is no channel map", []step{op("Transpose", "perm", []int64{0, 2, 3, 1}), func(m *b, x *v) *v { return m.Op("Mul", in(x, m.Const(m.Signed(7), 7, 1))) }}, 1, ""},
		{"Dropout and Identity are nothing", []step{op("Dropout"), op("Identity"), negative, shift}, 0, ""},
		{"Pad with zeros lets a scale through", []step{pad("constant"), negative}, 0, ""},
		{"Pad with zeros keeps a shift back", []step{pad("constant"), shift}, 1, fold.Border},
		{"Pad by reflection lets all through", []step{pad("reflect"), negative, shift}, 0, ""},
		{"Pad by the edge lets all through", []step{pad("edge"), negative, shift}, 0, ""},
		{"Pad that takes away lets all through", []step{func(m *b, x *v) *v { return m.Op("Pad", in(x, m.Ints(0, 0, -1, -1, 0, 0, 0, -2))) }, negative, shift}, 0, ""},
		{"Pad of some axes lets a scale through", []step{padAxes("constant"), negative}, 0, ""},
		{"Pad of some axes with zeros keeps a shift back", []step{padAxes("constant"), shift}, 1, fold.Border},
		{"Pad of some axes by the edge lets all through", []step{padAxes("edge"), negative, shift}, 0, ""},
		{"Resize lets all through", []step{resize("nearest"), negative, shift}, 0, ""},
		{"linear Resize lets all through", []step{resize("linear"), negative, shift}, 0, ""},
		{"Resize that fills in keeps a shift back", []step{resize("linear", "coordinate_transformation_mode", "tf_crop_and_resize"), shift}, 1, fold.Border},
		{"cubic Resize lets all through", []step{resize("cubic"), negative, shift}, 0, ""},
		{"cubic Resize that leaves out what is outside lets all through", []step{resize("cubic", "exclude_outside", 1), negative, shift}, 0, ""},
		{"Resize of some axes lets all through", []step{func(m *b, x *v) *v {
			return m.Op("Resize", in(x, nil, m.Const([]float64{2, 0.7}, 2)), "mode", "linear", "axes", []int64{-2, 3})
		}, negative, shift}, 0, ""},
		{"a shift does not cross a padded border forward", []step{op("Relu"), shift, same}, 1, fold.Border},
		{"a scale crosses a padded border forward", []step{op("Relu"), negative, same}, 0, ""},
		{"only the shift is left at a padded border", []step{op("Relu"), negative, shift, same}, 1, ""},
		{"all goes forward without padding", []step{op("Relu"), negative, shift, valid}, 0, ""},
		{"forward through Relu", []step{op("Sigmoid"), positive, op("Relu"), same}, 0, ""},
		{"forward through MaxPool", []step{op("Sigmoid"), positive, shift, pool("MaxPool"), valid}, 0, ""},
		{"forward through Flatten into Gemm", []step{op("Sigmoid"), negative, shift, op("Flatten"), gemm}, 0, ""},
		{"what asks for the extents reads no elements", []step{op("Sigmoid"), negative, shift, func(m *b, x *v) *v {
			return m.Op("Mul", in(valid(m, x), m.Op("Cast", in(m.Op("Size", in(x))), "to", 1)))
		}}, 0, ""},
		{"Clip takes a uniform map", []step{func(m *b, x *v) *v { return uniform(m, x, 2, 1) }, clip(0, 6)}, 0, ""},
		{"Clip takes a uniform map with a negative scale, its limits change places", []step{clip(-1, 6), func(m *b, x *v) *v { return uniform(m, x, -2, 1) }}, 0, ""},
		{"Clip takes a uniform map with a negative scale forward", []step{op("Tanh"), func(m *b, x *v) *v { return uniform(m, x, -2, 0.3) }, clip(-0.5, 1), valid}, 0, ""},
		{"Clip from one side takes no negative scale", []step{clip(1, math.MaxFloat32), func(m *b, x *v) *v { return m.Op("Mul", in(x, m.Const([]float64{-2}))) }}, 1, fold.Sign},
		{"Clip of equal limits takes no negative scale", []step{clip(1, 1), func(m *b, x *v) *v { return m.Op("Mul", in(x, m.Const([]float64{-2}))) }}, 1, fold.Unsupported},
		{"Clip at the largest number has no limit there", []step{clip(0, math.MaxFloat32), positive}, 0, ""},
		{"Clip from below at the largest number has a limit there", []step{clip(math.MaxFloat32, math.MaxFloat32), positive}, 1, fold.Nonlinear},
		{"Clip from above at 0 lets a positive scale through", []step{clip(-math.MaxFloat32, 0), positive}, 0, ""},
		{"Clip from above at 0 keeps a negative scale back", []step{clip(-math.MaxFloat32, 0), negative}, 1, fold.Sign},
		{"Clip at 0 takes a uniform shift", []step{clip(0, math.MaxFloat32), func(m *b, x *v) *v { return uniform(m, x, 2, 1) }}, 0, ""},
		{"Clip at 0 takes a uniform shift forward", []step{op("Tanh"), func(m *b, x *v) *v { return uniform(m, x, 2, 1) }, clip(0, math.MaxFloat32), valid}, 0, ""},
		{"Clip without limits lets all through", []step{op("Clip"), negative, shift}, 0, ""},
		{"Clip takes no map that differs from channel to channel", []step{clip(0, 6), positive}, 1, fold.Nonlinear},
		{"HardSigmoid becomes a Clip that has taken a uniform map", []step{op("HardSigmoid", "alpha", 0.3), func(m *b, x *v) *v { return uniform(m, x, 2, -1) }}, 0, ""},
		{"HardSigmoid with nothing linear before it keeps a map back", []step{op("Tanh"), op("HardSigmoid"), func(m *b, x *v) *v { return uniform(m, x, 2, -1) }}, 2, fold.Nonlinear},
		{"HardSigmoid takes a uniform map", []step{op("Sigmoid"), func(m *b, x *v) *v { return uniform(m, x, 2, 1) }, op("HardSigmoid")}, 0, ""},
		{"HardSigmoid takes no negative scale", []step{op("Sigmoid"), func(m *b, x *v) *v { return m.Op("Mul", in(x, m.Const([]float64{-2}))) }, op("HardSigmoid")}, 1, fold.Sign},
		{"InstanceNormalization gives its scale and bias forward", []step{func(m *b, x *v) *v {
			return m.Op("InstanceNormalization", in(x, m.Const(m.Signed(4), 4), m.Weight(4)))
		}, valid}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := func() *model.Model {
				m := modeltest.New(3)
				x := image(m)
				for _, s := range test.steps {
					x = s(m, x)
				}
				return m.Output(x)
			}
			check(t, build, test.left, test.code)
		})
	}
}

func pad(mode string) func(m *b, x *v) *v {
	return func(m *b, x *v) *v { return m.Op("Pad", in(x, m.Ints(0, 0, 1, 1, 0, 0, 1, 1)), "mode", mode) }
}

func padAxes(mode string) func(m *b, x *v) *v {
	return func(m *b, x *v) *v { return m.Op("Pad", in(x, m.Ints(1, 0, 1, 2), nil, m.Ints(2, -1)), "mode", mode) }
}

func resize(mode string, attrs ...any) func(m *b, x *v) *v {
	return func(m *b, x *v) *v {
		return m.Op("Resize", in(x, m.Const(nil, 0), m.Const([]float64{1, 1, 2, 2}, 4)), append([]any{"mode", mode}, attrs...)...)
	}
}

func clip(low, high float64) func(m *b, x *v) *v {
	return func(m *b, x *v) *v { return m.Op("Clip", in(x, m.Const([]float64{low}), m.Const([]float64{high}))) }
}

func gemm(m *b, x *v) *v { return m.Op("Gemm", in(x, m.Weight(4*6*7, 5), m.Weight(5))) }

// shuffled splits the channels of x as the first extents say, puts the axes in another order, and joins them: to the rest of
// the extents, or to those of x.
func shuffled(m *b, x *v, extents []int64, perm ...int64) *v {
	apart, joined := extents[:len(perm)], extents[len(perm):]
	if len(joined) == 0 {
		joined = []int64{0, -1, apart[len(perm)-2], apart[len(perm)-1]}
	}
	y := m.Op("Transpose", in(m.Op("Reshape", in(x, m.Ints(apart...)))), "perm", perm)
	return m.Op("Reshape", in(y, m.Ints(joined...)))
}

// dequantized is a weight of two axes that is stored in eight bits, with one scale.
func dequantized(m *b, rows, cols int64) *v {
	q := m.Ints(make([]int64, rows*cols)...)
	q.DType, q.Const.DType, q.Shape, q.Const.Shape = tensor.Int8, tensor.Int8, []int64{rows, cols}, []int64{rows, cols}
	for k := range q.Const.Values {
		q.Const.Values[k] = float64(m.Rand.IntN(255) - 127)
	}
	return m.Op("DequantizeLinear", in(q, m.Const([]float64{0.01})))
}

// inBlocks is a weight of two axes that is stored in eight bits, with one scale for two rows of each column.
func inBlocks(m *b, rows, cols int64) *v {
	y := dequantized(m, rows, cols)
	y.Producer.Set(1, m.Const(m.Uniform(rows/2*cols, 0.01, 0.02), rows/2, cols))
	y.Producer.Attrs = model.Attrs("axis", 0, "block_size", 2)
	return y
}

// recurrent is a layer of five units over sequences of four features, in both directions.
func recurrent(m *b, x *v, typ string, gates int64, bias bool) *v {
	in := in(x, m.Weight(2, gates*5, 4), m.Weight(2, gates*5, 5))
	if bias {
		in = append(in, m.Weight(2, 2*gates*5))
	}
	return m.Op(typ, in, "hidden_size", 5, "direction", "bidirectional")
}

// check folds a model, counts what is left, looks at the first reason, and compares predictions where they can be had.
func check(t *testing.T, build func() *model.Model, left int, code fold.Code) {
	t.Helper()
	original, m := build(), build()
	plan, err := fold.Fold(t.Context(), m, fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	foldtest.AddsUp(t, plan, m)
	if plan.After != left {
		t.Errorf("%d per-channel nodes are left, want %d: %+v", plan.After, left, plan.Maps)
	}
	if code != "" {
		k := slices.IndexFunc(plan.Maps, func(x fold.Map) bool { return x.Verdict == fold.Left })
		if k < 0 || plan.Maps[k].Reason == nil || plan.Maps[k].Reason.Code != code {
			t.Errorf("the reason is not %s: %+v", code, plan.Maps)
		} else if plan.Maps[k].Reason.Text == "" {
			t.Error("the reason has no sentence")
		}
	}
	if again := refold(t, m, fold.Options{}); len(again.Nodes)+len(again.Consts) > 0 {
		t.Errorf("folding the result again changes %v %v", again.Nodes, again.Consts)
	}
	for _, v := range slices.Concat(original.Graph.Inputs, m.Graph.Inputs) { // free extents
		for k, d := range v.Shape {
			if d < 0 {
				v.Shape[k] = 4
			}
		}
	}
	if d := differs(original, m, 1); d != "" && !unevaluated(original) {
		t.Error(d)
	}
}

// refold folds a folded model again, as if it had been written and read.
func refold(t *testing.T, m *model.Model, o fold.Options) *fold.Plan {
	for _, n := range m.Graph.Nodes {
		n.Edited = false
	}
	plan, err := fold.Fold(t.Context(), m, o)
	if err != nil {
		t.Errorf("folded again: %v", err)
		return &fold.Plan{}
	}
	return plan
}

// unevaluated are models with operators that this program's evaluator does not have: these stay where they are.
func unevaluated(m *model.Model) bool {
	return slices.ContainsFunc(m.Graph.Nodes, func(n *model.Node) bool {
		return n.Int("ceil_mode", 0) != 0 || n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize"
	})
}

func TestOperators_LinearTakeMaps(t *testing.T) {
	bn := func(m *b, x *v, c int64) *v { return m.BatchNorm(x, c) }
	for _, test := range []struct {
		name  string
		left  int
		code  fold.Code
		build func(m *b) *v
	}{
		{"grouped convolution", 0, "", func(m *b) *v { return bn(m, m.Conv(m.Input(1, 4, 5, 5), 4, 6, 2, 2), 6) }},
		{"depthwise convolution with strides and dilations", 0, "", func(m *b) *v {
			return bn(m, m.Conv(m.Input(1, 4, 9, 9), 4, 8, 3, 4, "strides", []int64{2, 2}, "dilations", []int64{2, 2}), 8)
		}},
		{"convolution without a bias, no shift: it gains none", 0, "", func(m *b) *v {
			return m.Op("Mul", in(m.Op("Conv", in(m.Input(1, 3, 5, 5), m.Weight(4, 3, 1, 1))), m.Const(m.Signed(4), 4, 1, 1)))
		}},
		{"grouped transposed convolution", 0, "", func(m *b) *v {
			return bn(m, m.Op("ConvTranspose", in(m.Input(1, 4, 4, 4), m.Weight(4, 3, 2, 2)), "group", 2, "strides", []int64{2, 2}), 6)
		}},
		{"a scale before a transposed convolution", 0, "", func(m *b) *v {
			return m.Op("ConvTranspose", in(m.Op("Mul", in(m.Input(1, 4, 4, 4), m.Const(m.Signed(4), 4, 1, 1))), m.Weight(4, 3, 2, 2)), "group", 2)
		}},
		{"a shift before a transposed convolution", 1, fold.Border, func(m *b) *v {
			return m.Op("ConvTranspose", in(shift(m, m.Input(1, 4, 4, 4)), m.Weight(4, 3, 2, 2)))
		}},
		{"a shift before a transposed convolution of one tap", 0, "", func(m *b) *v {
			return m.Op("ConvTranspose", in(m.BatchNorm(m.Input(1, 4, 4, 4), 4), m.Weight(4, 3, 1, 1), m.Weight(6)), "group", 2, "pads", []int64{0, 1, 0, 0})
		}},
		{"a shift before a transposed convolution of one tap and stride 2", 1, fold.Border, func(m *b) *v {
			return m.Op("ConvTranspose", in(shift(m, m.Input(1, 4, 4, 4)), m.Weight(4, 3, 1, 1)), "strides", []int64{2, 1})
		}},
		{"a shift before a transposed convolution of one tap that pads its output", 1, fold.Border, func(m *b) *v {
			return m.Op("ConvTranspose", in(shift(m, m.Input(1, 4, 4, 4)), m.Weight(4, 3, 1, 1)), "pads", []int64{0, -1, 0, 0})
		}},
		{"a scale of 2^31 before a batch normalisation and a shift after it", 0, "", func(m *b) *v {
			x := m.Op("Mul", in(m.Input(2, 6), m.Const([]float64{1 << 31})))
			return m.Op("Gemm", in(bn(m, x, 6), m.Weight(6, 5), m.Weight(5)))
		}},
		{"Gemm, B transposed, alpha and beta", 0, "", func(m *b) *v {
			return bn(m, m.Op("Gemm", in(m.Input(2, 6), m.Weight(5, 6), m.Weight(5)), "transB", 1, "alpha", 0.5, "beta", 2.0), 5)
		}},
		{"Gemm with one number for C", 0, "", func(m *b) *v { return bn(m, m.Op("Gemm", in(m.Input(2, 6), m.Weight(6, 5), m.Weight())), 5) }},
		{"Gemm with C by rows", 0, "", func(m *b) *v { return bn(m, m.Op("Gemm", in(m.Input(2, 6), m.Weight(6, 5), m.Weight(2, 1))), 5) }},
		{"Gemm with beta 0", 0, "", func(m *b) *v {
			return bn(m, m.Op("Gemm", in(m.Input(2, 6), m.Weight(6, 5), m.Weight(5)), "beta", 0.0), 5)
		}},
		{"a map before Gemm", 0, "", func(m *b) *v {
			return m.Op("Gemm", in(bn(m, m.Input(2, 6), 6), m.Weight(6, 5), m.Weight(5)), "alpha", 0.5, "beta", 2.0)
		}},
		{"Gemm with the weight on the left", 0, "", func(m *b) *v {
			y := m.Op("Gemm", in(m.Weight(5, 6), m.Input(6, 2), m.Weight(5, 1)), "alpha", 0.5, "beta", 2.0)
			return m.Op("Add", in(m.Op("Mul", in(y, m.Const(m.Signed(5), 5, 1))), m.Weight(5, 1)))
		}},
		{"Gemm with the weight on the left, both transposed, C by columns", 0, "", func(m *b) *v {
			y := m.Op("Gemm", in(m.Weight(6, 5), m.Input(2, 6), m.Weight(2)), "transA", 1, "transB", 1)
			return m.Op("Add", in(m.Op("Mul", in(y, m.Const(m.Signed(5), 5, 1))), m.Weight(5, 1)))
		}},
		{"Gemm with the weight on the left gains a C by rows", 0, "", func(m *b) *v {
			return m.Op("Add", in(m.Op("Gemm", in(m.Weight(5, 6), m.Input(6, 2))), m.Weight(5, 1)))
		}},
		{"a map before Gemm with the weight on the left", 0, "", func(m *b) *v {
			x := m.Op("Add", in(m.Op("Mul", in(m.Op("Tanh", in(m.Input(6, 2))), m.Const(m.Signed(6), 6, 1))), m.Weight(6, 1)))
			return m.Op("Gemm", in(m.Weight(5, 6), x, m.Weight(5, 2)), "alpha", 0.5, "beta", 2.0)
		}},
		{"a map before Gemm with the weight on the left, both transposed", 0, "", func(m *b) *v {
			x := bn(m, m.Op("Tanh", in(m.Input(2, 6))), 6)
			return m.Op("Gemm", in(m.Weight(6, 5), x), "transA", 1, "transB", 1, "alpha", 0.5)
		}},
		{"a map of the columns behind Gemm with the weight on the left stays", 1, fold.NotPerChannel, func(m *b) *v {
			return bn(m, m.Op("Gemm", in(m.Weight(5, 6), m.Input(6, 2))), 2)
		}},
		{"a map before a product with a vector, its shift into the Add behind it", 1, "", func(m *b) *v {
			x := m.Op("Add", in(m.Op("Mul", in(m.Op("Tanh", in(m.Input(2, 3, 4))), m.Const(m.Signed(4), 4))), m.Weight(4)))
			return m.Op("Add", in(m.Op("MatMul", in(x, m.Weight(4))), m.Weight(3)))
		}},
		{"a map before a product with a vector leaves one Add", 1, "", func(m *b) *v {
			x := m.Op("Add", in(m.Op("Mul", in(m.Op("Tanh", in(m.Input(2, 3, 4))), m.Const(m.Signed(4), 4))), m.Weight(4)))
			return m.Op("MatMul", in(x, m.Weight(4)))
		}},
		{"a map before a product with a vector on the left", 1, "", func(m *b) *v {
			x := m.Op("Add", in(m.Op("Mul", in(m.Op("Tanh", in(m.Input(2, 3, 4))), m.Const(m.Signed(3), 3, 1))), m.Weight(3, 1)))
			return m.Op("MatMul", in(m.Weight(3), x))
		}},
		{"one scale behind a product with a vector", 0, "", func(m *b) *v {
			return m.Op("Mul", in(m.Op("MatMul", in(m.Input(2, 3, 4), m.Weight(4))), m.Const([]float64{-3})))
		}},
		{"scales of rows behind a product with a vector stay", 1, fold.NotPerChannel, func(m *b) *v {
			return m.Op("Mul", in(m.Op("MatMul", in(m.Op("Tanh", in(m.Input(2, 3, 4))), m.Weight(4))), m.Const(m.Signed(3), 3)))
		}},
		{"MatMul of a matrix becomes Gemm", 0, "", func(m *b) *v { return bn(m, m.Op("MatMul", in(m.Input(2, 6), m.Weight(6, 5))), 5) }},
		{"LayerNormalization into MatMuls, its bias into the Adds behind them", 2, "", func(m *b) *v {
			y := m.Op("LayerNormalization", in(m.Input(1, 3, 4), m.Const(m.Signed(4), 4), m.Weight(4)))
			branch := func() *v { return m.Op("Add", in(m.Op("MatMul", in(y, m.Weight(4, 5))), m.Weight(5))) }
			return m.Op("Concat", in(branch(), branch()), "axis", 1)
		}},
		{"LayerNormalization with an omitted bias", 0, "", func(m *b) *v {
			return m.Op("MatMul", in(m.Op("LayerNormalization", in(m.Input(1, 3, 4), m.Const(m.Signed(4), 4), nil)), m.Weight(4, 5)))
		}},
		{"a shift before a weight on the left, into the Add behind it", 1, "", func(m *b) *v {
			x := m.Op("Add", in(m.Op("Tanh", in(m.Input(1, 3, 4))), m.Weight(3, 1)))
			return m.Op("Add", in(m.Op("MatMul", in(m.Weight(5, 3), x)), m.Weight(5, 1)))
		}},
		{"a scale of two values' product goes into one of them", 0, "", func(m *b) *v {
			x := m.Input(2, 3, 4)
			q, k := m.Op("MatMul", in(x, m.Weight(4, 5))), m.Op("Transpose", in(m.Op("MatMul", in(x, m.Weight(4, 5)))), "perm", []int64{0, 2, 1})
			y := m.Op("MatMul", in(m.Op("Mul", in(q, m.Const([]float64{0.5}))), k))
			return m.Op("Softmax", in(m.Op("Div", in(y, m.Const([]float64{3})))), "axis", -1)
		}},
		{"a weight for each of several batches takes a map of batches", 0, "", func(m *b) *v {
			return m.Op("Mul", in(m.Op("MatMul", in(m.Input(2, 3, 4), m.Weight(2, 4, 5))), m.Const(m.Signed(2), 2, 1, 1)))
		}},
		{"a scale of rows passes a product", 0, "", func(m *b) *v {
			x := m.Op("Mul", in(m.Op("Tanh", in(m.Input(2, 3, 4))), m.Const(m.Signed(3), 3, 1)))
			return m.Op("MatMul", in(m.Weight(2, 3), m.Op("MatMul", in(x, m.Weight(4, 5)))))
		}},
		{"a scale of rows passes a product with a vector on the right, which has an axis less", 0, "", func(m *b) *v {
			x := m.Op("Mul", in(m.Op("Tanh", in(m.Input(6, 6, 4))), m.Const(m.Signed(6), 6, 1)))
			return m.Op("MatMul", in(m.Op("MatMul", in(x, m.Weight(4))), m.Weight(6, 3)))
		}},
		{"a scale of batches passes a product with a vector on the left, which has an axis less", 0, "", func(m *b) *v {
			x := m.Op("Mul", in(m.Op("Tanh", in(m.Input(6, 4, 6))), m.Const(m.Signed(6), 6, 1, 1)))
			return m.Op("MatMul", in(m.Weight(3, 6), m.Op("MatMul", in(m.Weight(4), x))))
		}},
		{"a shift of two values' product stays", 1, fold.NotConstant, func(m *b) *v {
			x := m.Input(2, 3, 4)
			return m.Op("Add", in(m.Op("MatMul", in(x, m.Op("Transpose", in(x), "perm", []int64{0, 2, 1}))), m.Weight(3)))
		}},
		{"a dequantised weight takes positive scales, through a Transpose", 0, "", func(m *b) *v {
			y := m.Op("MatMul", in(m.Input(1, 3, 4), m.Op("Transpose", in(dequantized(m, 5, 4)))))
			return m.Op("Mul", in(y, m.Const(m.Uniform(5, 0.5, 2), 5)))
		}},
		{"a dequantised weight takes negative scales, through a Transpose: it is mirrored", 0, "", func(m *b) *v {
			y := m.Op("MatMul", in(m.Input(1, 3, 4), m.Op("Transpose", in(dequantized(m, 5, 4)))))
			return m.Op("Mul", in(y, m.Const(m.Signed(5), 5)))
		}},
		{"a dequantised weight without a sign is mirrored at its zero point", 0, "", func(m *b) *v {
			w := dequantized(m, 4, 5)
			d := w.Producer
			q := d.In(0)
			for k := range q.Const.Values {
				q.Const.Values[k] += 128
			}
			zero := m.Ints(128)
			for _, v := range in(q, zero) {
				v.DType, v.Const.DType = tensor.Uint8, tensor.Uint8
			}
			zero.Shape, zero.Const.Shape = []int64{}, []int64{}
			d.Inputs = append(d.Inputs, nil)
			d.Set(2, zero)
			return m.Op("Mul", in(m.Op("MatMul", in(m.Input(1, 3, 4), w)), m.Const(m.Signed(5), 5)))
		}},
		{"a dequantised weight that holds -128 takes no negative scale", 1, fold.Quantized, func(m *b) *v {
			w := dequantized(m, 4, 5)
			w.Producer.In(0).Const.Values[1] = -128
			return m.Op("Mul", in(m.Op("MatMul", in(m.Input(1, 3, 4), w)), m.Const([]float64{1, -2, 1, 1, 1}, 5)))
		}},
		{"a dequantised weight takes no scale of 0, and stays as it is stored", 1, fold.Quantized, func(m *b) *v {
			y := m.Op("MatMul", in(m.Input(1, 3, 4), m.Op("Transpose", in(dequantized(m, 5, 4)))))
			return m.Op("Mul", in(y, m.Const([]float64{1, 2, 0, -1, 1}, 5)))
		}},
		{"a quantised weight that two layers read is not mirrored", 1, fold.Quantized, func(m *b) *v {
			w, x := dequantized(m, 4, 5), m.Input(1, 3, 4)
			other := m.Op("DequantizeLinear", in(w.Producer.In(0), m.Const([]float64{0.02})))
			return m.Op("Concat", in(m.Op("Mul", in(m.Op("MatMul", in(x, w)), m.Const(m.Signed(5), 5))), m.Op("MatMul", in(x, other))), "axis", 1)
		}},
		{"a weight computed from a dequantised one stays", 1, fold.Quantized, func(m *b) *v {
			w := m.Op("Relu", in(dequantized(m, 4, 5)))
			return m.Op("Mul", in(m.Op("MatMul", in(m.Input(1, 3, 4), w)), m.Const(m.Uniform(5, 0.5, 2), 5)))
		}},
		{"a weight quantised in blocks takes scales across them", 0, "", func(m *b) *v {
			return m.Op("Mul", in(m.Op("MatMul", in(m.Input(1, 3, 4), inBlocks(m, 4, 5))), m.Const(m.Signed(5), 5)))
		}},
		{"a weight quantised in blocks takes scales along them that are the same within each", 0, "", func(m *b) *v {
			return m.Op("MatMul", in(m.Op("Mul", in(m.Op("Tanh", in(m.Input(1, 3, 4))), m.Const([]float64{2, 2, -3, -3}, 4))), inBlocks(m, 4, 5)))
		}},
		{"a weight quantised in blocks takes no other scales along them", 1, fold.Quantized, func(m *b) *v {
			return m.Op("MatMul", in(m.Op("Mul", in(m.Op("Tanh", in(m.Input(1, 3, 4))), m.Const([]float64{2, 3, 3, 3}, 4))), inBlocks(m, 4, 5)))
		}},
		{"an LSTM takes a map of its input", 0, "", func(m *b) *v {
			x := m.Op("Add", in(m.Op("Mul", in(m.Op("Tanh", in(m.Input(3, 2, 4))), m.Const(m.Signed(4), 4))), m.Weight(4)))
			return recurrent(m, x, "LSTM", 4, true)
		}},
		{"a GRU without a bias gains one", 0, "", func(m *b) *v {
			return recurrent(m, m.Op("Add", in(m.Op("Tanh", in(m.Input(3, 2, 4))), m.Weight(4))), "GRU", 3, false)
		}},
		{"an RNN takes a map of its input", 0, "", func(m *b) *v {
			return recurrent(m, m.Op("Sub", in(m.Op("Tanh", in(m.Input(3, 2, 4))), m.Weight(4))), "RNN", 1, true)
		}},
		{"no map goes back into a GRU", 1, fold.Nonlinear, func(m *b) *v {
			return m.Op("Mul", in(recurrent(m, m.Input(3, 2, 4), "GRU", 3, true), m.Const(m.Signed(5), 5)))
		}},
		{"a map over the steps stays before an LSTM", 1, fold.NotPerChannel, func(m *b) *v {
			return recurrent(m, m.Op("Mul", in(m.Op("Tanh", in(m.Input(3, 2, 4))), m.Const(m.Signed(3), 3, 1, 1))), "LSTM", 4, true)
		}},
		{"a deformable convolution takes a map of its output and a scale of its input", 0, "", func(m *b) *v {
			x := negative(m, m.Op("Tanh", in(m.Input(1, 4, 5, 6))))
			return bn(m, m.Op("DeformConv", in(x, m.Weight(6, 2, 2, 2), m.Input(1, 8, 4, 5), m.Weight(6)), "group", 2), 6)
		}},
		{"a deformable convolution takes no shift of its input", 1, fold.Border, func(m *b) *v {
			return m.Op("DeformConv", in(shift(m, m.Op("Tanh", in(m.Input(1, 4, 5, 6)))), m.Weight(6, 4, 2, 2), m.Input(1, 8, 4, 5)))
		}},
		{"a dequantised table takes positive scales", 0, "", func(m *b) *v {
			y := m.Op("Gather", in(dequantized(m, 7, 5), m.Op("Cast", in(m.Op("Abs", in(m.Input(4)))), "to", 7)))
			return m.Op("Mul", in(y, m.Const(m.Uniform(5, 0.5, 2), 5)))
		}},
		{"one weight, two convolutions, two maps", 0, "", func(m *b) *v {
			x, w := m.Input(1, 3, 5, 5), m.Weight(4, 3, 2, 2)
			return m.Op("Concat", in(bn(m, m.Op("Conv", in(x, w)), 4), bn(m, m.Op("Conv", in(x, w)), 4)), "axis", 2)
		}},
		{"Concat of two convolutions", 0, "", func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			return bn(m, m.Op("Concat", in(m.Conv(x, 3, 2, 2, 1), m.Conv(x, 3, 3, 2, 1)), "axis", 1), 5)
		}},
		{"Concat with what cannot take it", 1, fold.Nonlinear, func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			return bn(m, m.Op("Concat", in(m.Conv(x, 3, 2, 1, 1), m.Op("Sigmoid", in(x))), "axis", 1), 5)
		}},
		{"a residual Add: the scale into both, the shift into one", 0, "", func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			y := m.Op("Relu", in(m.Conv(x, 3, 4, 2, 1)))
			z := m.Conv(x, 3, 4, 2, 1, "strides", []int64{1, 1})
			return m.Op("Add", in(bn(m, m.Conv(y, 4, 4, 1, 1), 4), bn(m, z, 4)))
		}},
		{"equal maps of both operands of an Add go forward as one", 0, "", func(m *b) *v {
			x, c := m.Input(1, 4, 5, 5), m.Const([]float64{49, 107, -49, 3}, 4, 1, 1)
			return valid(m, m.Op("Add", in(m.Op("Mul", in(m.Op("Sigmoid", in(x)), c)), m.Op("Mul", in(m.Op("Tanh", in(x)), c)))))
		}},
		{"equal maps of all parts of a Concat along the width go forward as one", 0, "", func(m *b) *v {
			x, bn := m.Input(1, 4, 5, 5), in(m.Const(m.Signed(4), 4), m.Weight(4), m.Weight(4), m.Const(m.Uniform(4, 0.4, 1.8), 4))
			norm := func(y *v) *v { return m.Op("BatchNormalization", append(in(y), bn...)) }
			return valid(m, m.Op("Concat", in(norm(m.Op("Sigmoid", in(x))), norm(m.Op("Tanh", in(x)))), "axis", 3))
		}},
		{"unequal maps of the parts of a Concat along the width stay", 1, fold.Nonlinear, func(m *b) *v {
			x := m.Input(1, 4, 5, 5)
			return valid(m, m.Op("Concat", in(negative(m, m.Op("Sigmoid", in(x))), m.Op("Tanh", in(x))), "axis", 3))
		}},
		{"Sum: the scale into all, the shift into one", 0, "", func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			return bn(m, m.Op("Sum", in(m.Conv(x, 3, 4, 2, 1), m.Conv(m.Op("Relu", in(x)), 3, 4, 2, 1), m.Const([]float64{2, -1, 0, 1}, 4, 1, 1))), 4)
		}},
		{"Where and Mean: all into all", 0, "", func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			y := m.Op("Where", in(m.Op("Greater", in(x, m.Const([]float64{0}))), m.Const([]float64{0.5}), m.Conv(x, 3, 3, 1, 1)))
			return bn(m, m.Op("Mean", in(y, m.Conv(x, 3, 3, 1, 1), m.Const([]float64{1}, 1, 1, 1))), 3)
		}},
		{"Where with zeros lets a scale through", 0, "", func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			y := m.Op("Where", in(m.Op("Greater", in(x, m.Const([]float64{0}))), m.Conv(x, 3, 3, 1, 1), m.Const([]float64{0})))
			return m.Op("Mul", in(y, m.Const(m.Signed(3), 3, 1, 1)))
		}},
		{"Max and Min let positive scales and shifts through", 0, "", func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			y := m.Op("Min", in(m.Op("Max", in(m.Conv(x, 3, 4, 2, 1), m.Const([]float64{0}))), m.Const([]float64{6})))
			return shift(m, positive(m, m.Op("Max", in(y, m.Conv(x, 3, 4, 2, 1)))))
		}},
		{"Max keeps a negative scale back", 1, fold.Sign, func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			return negative(m, m.Op("Max", in(m.Conv(x, 3, 4, 2, 1), m.Conv(x, 3, 4, 2, 1))))
		}},
		{"Max lets a map forward that the other operand can undo", 0, "", func(m *b) *v {
			x := m.Op("Tanh", in(m.Input(1, 4, 5, 5)))
			return valid(m, m.Op("Max", in(shift(m, positive(m, x)), m.Op("Conv", in(x, m.Weight(4, 4, 1, 1))))))
		}},
		{"a gate: the scale into one factor", 0, "", func(m *b) *v {
			x := m.Input(1, 3, 5, 5)
			return m.Op("Mul", in(m.Op("Mul", in(m.Conv(x, 3, 4, 2, 1), m.Op("Sigmoid", in(m.Conv(x, 3, 4, 2, 1))))), m.Const(m.Signed(4), 4, 1, 1)))
		}},
		{"Split into parts with maps of their own", 0, "", func(m *b) *v {
			parts := m.Ops("Split", 2, in(m.Conv(m.Input(1, 3, 5, 5), 3, 5, 2, 1), m.Ints(2, 3)), "axis", 1)
			return m.Op("Concat", in(bn(m, parts[0], 2), m.Op("Relu", in(bn(m, parts[1], 3)))), "axis", 1)
		}},
		{"parallel convolutions add up", 0, "", func(m *b) *v {
			x := m.Input(1, 4, 5, 5)
			y := m.Op("Add", in(bn(m, m.Conv(x, 4, 4, 3, 1, "pads", []int64{1, 1, 1, 1}), 4), bn(m, m.Conv(x, 4, 4, 1, 1), 4)))
			return m.Op("Add", in(y, bn(m, x, 4)))
		}},
		{"an embedding takes scale and shift", 0, "", func(m *b) *v {
			return bn(m, m.Op("Identity", in(m.Op("Gather", in(m.Weight(7, 3), m.Op("Cast", in(m.Input(4)), "to", 7))))), 3)
		}},
		{"readers that see other channels are no obstacle", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 7, 2, 1)
			first, last := m.Op("Slice", in(x, m.Ints(0), m.Ints(7), m.Ints(-3), m.Ints(3))), m.Op("Gather", in(x, m.Ints(5, -3, 2, 2)), "axis", 1)
			return m.Op("Concat", in(bn(m, first, 3), m.Op("Relu", in(last))), "axis", 1)
		}},
		{"a scale of a part that others see other parts of goes into the weights of that part", 0, "", func(m *b) *v {
			y := m.Op("Reshape", in(m.Op("MatMul", in(m.Input(2, 3, 6), m.Weight(6, 12))), m.Ints(0, 0, 3, 4)))
			y = m.Op("Transpose", in(y), "perm", []int64{2, 0, 1, 3})
			q := m.Op("Mul", in(m.Op("Squeeze", in(m.Op("Slice", in(y, m.Ints(0), m.Ints(1), m.Ints(0))), m.Ints(0))), m.Const([]float64{0.5})))
			k := m.Op("Transpose", in(m.Op("Gather", in(y, m.Const([]float64{1})))), "perm", []int64{0, 2, 1})
			v := m.Op("Div", in(m.Op("Gather", in(y, m.Const([]float64{-1}))), m.Const([]float64{3})))
			return m.Op("MatMul", in(m.Op("Softmax", in(m.Op("MatMul", in(q, k)))), v))
		}},
		{"one channel of several goes forward as a map of all there is", 0, "", func(m *b) *v {
			y := m.Op("Gather", in(bn(m, m.Op("Tanh", in(m.Input(1, 4, 5, 5))), 4), m.Const([]float64{2})), "axis", 1)
			return m.Op("Conv", in(y, m.Weight(3, 5, 2)))
		}},
		{"parts that are put together again in another order", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 7, 2, 1)
			parts := m.Ops("Split", 2, in(m.Op("Relu", in(x)), m.Ints(3, 4)), "axis", 1)
			y := m.Op("Concat", in(parts[1], parts[0]), "axis", 1)
			return m.Op("Mul", in(y, m.Const(m.Uniform(7, 0.5, 2), 7, 1, 1)))
		}},
		{"positions that become channels, a map before them", 0, "", func(m *b) *v {
			x := bn(m, m.Input(1, 3, 6, 6), 3)
			pick := func(i, j int64) *v {
				return m.Op("Slice", in(x, m.Ints(i, j), m.Ints(1<<40, 1<<40), m.Ints(2, 3), m.Ints(2, 2)))
			}
			return m.Conv(m.Op("Concat", in(pick(0, 0), pick(1, 0), pick(0, 1), pick(1, 1)), "axis", 1), 12, 4, 2, 1)
		}},
		{"a convolution that would take a map from both sides", 1, "", func(m *b) *v {
			x := m.Op("Mul", in(m.Op("Tanh", in(m.Input(1, 4, 5, 5))), m.Const(m.Signed(4), 4, 1, 1)))
			return valid(m, m.Op("Add", in(m.Op("Identity", in(m.Conv(x, 4, 4, 1, 1))), x)))
		}},
		{"readers that see the same channels are", 1, fold.SharedOutput, func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 7, 2, 1)
			first, last := m.Op("Slice", in(x, m.Ints(0), m.Ints(4), m.Ints(1))), m.Op("Gather", in(x, m.Ints(5, 3)), "axis", 1)
			return m.Op("Concat", in(bn(m, first, 4), m.Op("Relu", in(last))), "axis", 1)
		}},
		{"readers of the shape are no obstacle", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)
			y := m.Op("Reshape", in(m.Op("Relu", in(bn(m, x, 4))), m.Op("Shape", in(x))))
			z := m.Op("Reshape", in(bn(m, y, 4), m.Op("Shape", in(y))))
			return valid(m, z)
		}},
		{"readers of the type are no obstacle", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)
			like := m.Op("CastLike", in(m.Const([]float64{2}, 1), x))
			y := m.Op("Tanh", in(m.Op("Add", in(bn(m, x, 4), like))))
			bias := m.Op("Expand", in(m.Op("CastLike", in(m.Const([]float64{2}, 1), y)), m.Ints(4)))
			return m.Op("Conv", in(bn(m, y, 4), m.Weight(4, 4, 1, 1), bias))
		}},
		{"Expand of positions lets all through", 0, "", func(m *b) *v {
			x := m.Op("GlobalAveragePool", in(m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)))
			return bn(m, m.Op("Expand", in(x, m.Ints(2, 4, 3, 3))), 4)
		}},
		{"Expand that adds an axis lets all through forward", 0, "", func(m *b) *v {
			x := m.Op("Mul", in(m.Op("Tanh", in(m.Input(4, 6))), m.Const(m.Signed(6), 6)))
			return m.Op("MatMul", in(m.Op("Expand", in(x, m.Ints(3, 4, 6))), m.Weight(6, 5)))
		}},
		{"Expand keeps a shift back that would be an Add of more elements behind it", 1, fold.NoGain, func(m *b) *v {
			x := m.Op("Add", in(m.Op("Tanh", in(m.Input(4, 6))), m.Weight(6)))
			return m.Op("MatMul", in(m.Op("Expand", in(x, m.Ints(3, 4, 6))), m.Weight(6, 5)))
		}},
		{"Expand of one channel to several lets a map that is theirs all through", 0, "", func(m *b) *v {
			return uniform(m, m.Op("Expand", in(m.Conv(m.Input(1, 3, 5, 5), 3, 1, 2, 1), m.Ints(1, 4, 4, 4))), 2, 3)
		}},
		{"Expand of one channel to several keeps back maps that differ", 1, fold.NotPerChannel, func(m *b) *v {
			return bn(m, m.Op("Expand", in(m.Conv(m.Input(1, 3, 5, 5), 3, 1, 2, 1), m.Ints(1, 4, 4, 4))), 4)
		}},
		{"Expand of one channel to several gives each its map forward", 0, "", func(m *b) *v {
			x := bn(m, m.Op("Tanh", in(m.Input(1, 1, 5, 5))), 1)
			return valid(m, m.Op("Expand", in(x, m.Ints(1, 4, 5, 5))))
		}},
		{"Tile of positions lets all through", 0, "", func(m *b) *v {
			return bn(m, m.Op("Tile", in(m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1), m.Ints(2, 1, 2, 3))), 4)
		}},
		{"Tile of channels repeats the map forward", 0, "", func(m *b) *v {
			x := bn(m, m.Op("Tanh", in(m.Input(1, 2, 5, 5))), 2)
			return valid(m, m.Op("Tile", in(x, m.Ints(1, 2, 1, 1))))
		}},
		{"Tile of channels lets a map through that repeats", 0, "", func(m *b) *v {
			x := m.Op("Tile", in(m.Conv(m.Input(1, 3, 5, 5), 3, 2, 2, 1), m.Ints(1, 2, 1, 1)))
			return m.Op("Mul", in(x, m.Const([]float64{2, -3, 2, -3}, 4, 1, 1)))
		}},
		{"Tile of channels keeps a map back that does not", 1, fold.NotPerChannel, func(m *b) *v {
			x := m.Op("Tile", in(m.Conv(m.Input(1, 3, 5, 5), 3, 2, 2, 1), m.Ints(1, 2, 1, 1)))
			return m.Op("Mul", in(x, m.Const([]float64{2, -3, 2, -4}, 4, 1, 1)))
		}},
		{"a sum of a value with itself", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)
			return bn(m, m.Op("Add", in(x, x)), 4)
		}},
		{"a sum of a value with itself, forward", 0, "", func(m *b) *v {
			x := bn(m, m.Op("Tanh", in(m.Input(1, 4, 5, 5))), 4)
			return valid(m, m.Op("Add", in(x, x)))
		}},
		{"a sum of a value with itself, which somebody else reads too", 1, fold.SharedOutput, func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)
			return m.Op("Concat", in(bn(m, m.Op("Add", in(x, x)), 4), m.Op("Tanh", in(x))), "axis", 1)
		}},
		{"a square lets a scale through forward", 0, "", func(m *b) *v {
			x := m.Op("Mul", in(m.Op("Tanh", in(m.Input(1, 4, 5, 5))), m.Const(m.Signed(4), 4, 1, 1)))
			return valid(m, m.Op("Mul", in(x, x)))
		}},
		{"a square keeps a shift back", 1, fold.Nonlinear, func(m *b) *v {
			x := shift(m, m.Op("Tanh", in(m.Input(1, 4, 5, 5))))
			return valid(m, m.Op("Mul", in(x, x)))
		}},
		{"a square keeps a scale behind it back", 1, fold.SharedOutput, func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)
			return m.Op("Mul", in(m.Op("Mul", in(x, x)), m.Const(m.Signed(4), 4, 1, 1)))
		}},
		{"a normalisation that nobody reads goes", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)
			bn(m, x, 4)
			return m.Op("Tanh", in(x))
		}},
		{"a channel shuffle lets all through", 0, "", func(m *b) *v {
			return bn(m, shuffled(m, m.Conv(m.Input(2, 3, 5, 5), 3, 12, 2, 1), []int64{2, 3, 4, 4, 4}, 0, 2, 1, 3, 4), 12)
		}},
		{"a channel shuffle lets all through forward", 0, "", func(m *b) *v {
			x := shuffled(m, bn(m, m.Op("Tanh", in(m.Input(2, 12, 4, 4))), 12), []int64{2, 3, 4, 4, 4}, 0, 2, 1, 3, 4)
			return m.Conv(x, 12, 5, 2, 1)
		}},
		{"a channel shuffle of three parts and free extents", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(-1, 3, 5, 5), 3, 12, 2, 1)
			return bn(m, shuffled(m, x, []int64{0, 2, 3, 2, 4, 4, -1, 12, 4, 4}, 0, 3, 1, 2, 4, 5), 12)
		}},
		{"a channel shuffle before channels with a sign that their activation keeps back", 1, fold.Sign, func(m *b) *v {
			x := m.Op("Relu", in(m.Conv(m.Input(2, 3, 5, 5), 3, 12, 2, 1)))
			return m.Op("Mul", in(shuffled(m, x, []int64{2, 3, 4, 4, 4}, 0, 2, 1, 3, 4), m.Const(m.Signed(12), 12, 1, 1)))
		}},
		{"a transposition of channels and positions is no shuffle", 1, fold.NotPerChannel, func(m *b) *v {
			return bn(m, shuffled(m, m.Conv(m.Input(1, 3, 5, 5), 3, 12, 2, 1), []int64{1, 3, 4, 4, 4}, 0, 2, 3, 1, 4), 12)
		}},
		{"a channel shuffle of which somebody reads the middle", 1, fold.NotPerChannel, func(m *b) *v {
			y := shuffled(m, m.Conv(m.Input(1, 3, 5, 5), 3, 12, 2, 1), []int64{1, 3, 4, 4, 4}, 0, 2, 1, 3, 4)
			middle := m.Op("Reshape", in(m.Op("Tanh", in(y.Producer.In(0))), m.Ints(1, 12, 4, 4)))
			return m.Op("Concat", in(bn(m, y, 12), middle), "axis", 1)
		}},
		{"a Gather of channels takes the maps of those that it hands on", 0, "", func(m *b) *v {
			return bn(m, m.Op("Gather", in(m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1), m.Ints(3, 0, -2)), "axis", 1), 3)
		}},
		{"a Gather that hands a channel on twice", 1, fold.NotPerChannel, func(m *b) *v {
			return bn(m, m.Op("Gather", in(m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1), m.Ints(3, 0, 3)), "axis", 1), 3)
		}},
		{"channels in reverse go forward", 0, "", func(m *b) *v {
			y := m.Op("Slice", in(bn(m, m.Op("Sigmoid", in(m.Input(1, 4, 5, 5))), 4), m.Ints(-1), m.Ints(-9), m.Ints(1), m.Ints(-1)))
			return valid(m, m.Op("Gather", in(y, m.Ints(1, 1, 0, 3)), "axis", 1))
		}},
		{"a Slice of positions that are known at run time only", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(1, 3, -1, 5), 3, 4, 2, 1)
			end := m.Op("Gather", in(m.Op("Shape", in(x)), m.Ints(3)))
			return bn(m, m.Op("Slice", in(x, m.Ints(1), end, m.Ints(2))), 4)
		}},
		{"a Reshape of free extents that keeps the channels apart", 0, "", func(m *b) *v {
			x := m.Conv(m.Input(-1, 3, -1, 5), 3, 4, 2, 1)
			shape := m.Op("Concat", in(m.Op("Slice", in(m.Op("Shape", in(x)), m.Ints(0), m.Ints(2))), m.Ints(-1)), "axis", 0)
			return bn(m, m.Op("Reshape", in(x, shape)), 4)
		}},
		{"a Reshape of a free batch and static channels into rows", 0, "", func(m *b) *v {
			x := bn(m, m.Input(-1, 4, 6, 7), 4)
			shape := m.Op("Concat", in(m.Op("Gather", in(m.Op("Shape", in(x)), m.Ints(0))), m.Ints(-1)), "axis", 0)
			return gemm(m, m.Op("Reshape", in(x, shape)))
		}},
		{"a value with another reader stays", 1, fold.SharedOutput, func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 4, 2, 1)
			return m.Op("Concat", in(bn(m, x, 4), m.Op("Sigmoid", in(x))), "axis", 1)
		}},
		{"equal maps of one value are one", 1, "", func(m *b) *v {
			x := m.Op("Sigmoid", in(m.Input(1, 4, 5, 5)))
			c := m.Const(m.Signed(4), 4, 1, 1)
			return m.Op("Concat", in(m.Op("Tanh", in(m.Op("Mul", in(x, c)))), m.Op("Exp", in(m.Op("Mul", in(x, c))))), "axis", 1)
		}},
		{"equal maps of one value, one of them behind maps that become nothing", 0, "", func(m *b) *v {
			x, c := m.Op("Tanh", in(m.Input(1, 4, 5, 5))), m.Const([]float64{-1.5})
			n := m.Op("Neg", in(x))
			y, z := m.Op("Mul", in(m.Op("Neg", in(n)), c)), m.Op("Mul", in(x, c))
			return m.Op("Concat", in(valid(m, m.Op("Add", in(y, z))), valid(m, m.Op("Sub", in(n, m.Const([]float64{2}))))), "axis", 1)
		}},
		{"a variance below zero is reported and left", 1, fold.Statistics, func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 2, 1, 1)
			return m.Op("BatchNormalization", in(x, m.Weight(2), m.Weight(2), m.Weight(2), m.Const([]float64{1, -1}, 2)))
		}},
		{"training mode is left", 1, fold.Training, func(m *b) *v {
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 2, 1, 1)
			return m.Ops("BatchNormalization", 3, in(x, m.Weight(2), m.Weight(2), m.Weight(2), m.Const([]float64{1, 2}, 2)), "training_mode", 1)[0]
		}},
		{"statistics for each position are left, where there is more than one", 1, fold.Unsupported, func(m *b) *v {
			m.Model.Opset[""] = 8
			x := m.Conv(m.Input(1, 3, 5, 5), 3, 2, 5, 1)
			y := m.BatchNorm(x, 2)
			y.Producer.Attrs = model.Attrs("spatial", 0)
			return y
		}},
		{"statistics for each position of a matrix are those of its channels", 0, "", func(m *b) *v {
			m.Model.Opset[""] = 8
			y := m.BatchNorm(m.Op("Gemm", in(m.Input(2, 3), m.Weight(3, 4))), 4)
			y.Producer.Attrs = model.Attrs("spatial", 0)
			return y
		}},
		{"operator set 6 broadcasts from an axis on", 0, "", func(m *b) *v {
			m.Model.Opset[""] = 6
			y := m.Op("Mul", in(image(m), m.Const(m.Signed(4), 4)), "broadcast", 1, "axis", 1)
			return m.Op("Add", in(y, m.Const([]float64{2})), "broadcast", 1)
		}},
		{"operator set 6 leaves no new nodes that would have to broadcast", 1, fold.Border, func(m *b) *v {
			m.Model.Opset[""] = 6
			y := m.BatchNorm(m.Op("Relu", in(image(m))), 4)
			y.Producer.Attrs = []model.Attr{{Name: "is_test", Kind: model.IntAttr, Int: 1}}
			return same(m, y)
		}},
		{"a scale goes on through a bias that other nodes part it from", 1, "", func(m *b) *v {
			x := m.Op("Add", in(m.Op("MatMul", in(m.Input(2, 3, 6), m.Weight(6, 6))), m.Weight(6)))
			y := m.Op("Transpose", in(m.Op("Reshape", in(x, m.Ints(0, 0, 2, 3)))), "perm", []int64{0, 2, 1, 3})
			return m.Op("Softmax", in(m.Op("Div", in(y, m.Const([]float64{3})))), "axis", -1)
		}},
		{"a shift goes on through a negative scale that has to stay", 1, "", func(m *b) *v {
			y := m.Op("Transpose", in(negative(m, pool("MaxPool")(m, image(m)))), "perm", []int64{0, 2, 3, 1})
			return m.Op("Tanh", in(m.Op("Add", in(y, m.Weight(4)))))
		}},
		{"a chain of many choices comes to an end", 1, "", func(m *b) *v {
			x := uniform(m, m.Op("Tanh", in(m.Input(1, 4, 5, 5))), 2, 0)
			for range 60 {
				x = clip(-1, 1)(m, x)
			}
			return m.Op("Tanh", in(x))
		}},
		{"ReduceSum over positions whose number is not static keeps a shift back", 1, fold.Nonlinear, func(m *b) *v {
			return shift(m, m.Op("ReduceSum", in(m.Conv(m.Input(1, 3, -1, 5), 3, 4, 1, 1), m.Ints(2))))
		}},
		{"a division by zero is left", 1, "", func(m *b) *v {
			return m.Op("Div", in(m.Conv(m.Input(1, 3, 5, 5), 3, 2, 1, 1), m.Const([]float64{1, 0}, 2, 1, 1)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := func() *model.Model {
				m := modeltest.New(4)
				return m.Output(test.build(m))
			}
			if test.code == fold.Training || test.code == fold.Statistics || test.name == "a division by zero is left" {
				m := build()
				plan, err := fold.Fold(t.Context(), m, fold.Options{})
				if err != nil || plan.After != test.left || len(plan.Nodes) > 0 || plan.Maps[0].Reason == nil || test.code != "" && plan.Maps[0].Reason.Code != test.code {
					t.Errorf("%v, %+v", err, plan)
				}
				return
			}
			check(t, build, test.left, test.code)
		})
	}
}

func TestMerge_ParallelConvolutionsBecomeOne(t *testing.T) {
	conv := func(m *b, x *v, h, w int64, pads ...int64) *v {
		return m.Op("Conv", in(x, m.Weight(4, 4, h, w), m.Weight(4)), "pads", pads)
	}
	for _, test := range []struct {
		name  string
		left  int // convolutions and Adds
		build func(m *b, x *v) *v
	}{
		{"three kernels of which two fit into the third", 1, func(m *b, x *v) *v {
			y := m.Op("Add", in(conv(m, x, 1, 3, 0, 1, 0, 1), conv(m, x, 3, 1, 1, 0, 1, 0)))
			return m.Op("Add", in(y, conv(m, x, 3, 3, 1, 1, 1, 1)))
		}},
		{"a sum of sums, and the input", 1, func(m *b, x *v) *v {
			y := m.Op("Add", in(conv(m, x, 3, 3, 1, 1, 1, 1), conv(m, x, 1, 1)))
			z := m.Op("Add", in(conv(m, x, 1, 3, 0, 1, 0, 1), m.BatchNorm(x, 4)))
			return m.Op("Add", in(m.Op("Add", in(y, z)), x))
		}},
		{"the input goes into the convolution of it, past one of something else", 3, func(m *b, x *v) *v {
			y := m.Op("Add", in(conv(m, m.Op("Tanh", in(x)), 1, 1), conv(m, x, 3, 3, 1, 1, 1, 1)))
			return m.Op("Add", in(x, y))
		}},
		{"one tap beside taps that lie apart", 1, func(m *b, x *v) *v {
			wide := m.Op("Conv", in(x, m.Weight(4, 4, 3, 1)), "pads", []int64{2, 0, 2, 0}, "dilations", []int64{2, 3})
			return m.Op("Add", in(m.Op("Conv", in(x, m.Weight(4, 4, 1, 1)), "dilations", []int64{5, 5}), wide))
		}},
		{"kernels that would have to grow stay apart", 3, func(m *b, x *v) *v {
			return m.Op("Add", in(conv(m, x, 1, 3, 0, 1, 0, 1), conv(m, x, 3, 1, 1, 0, 1, 0)))
		}},
		{"other centres", 3, func(m *b, x *v) *v {
			return m.Op("Add", in(conv(m, x, 2, 2, 1, 1, 0, 0), m.Op("Conv", in(x, m.Weight(4, 4, 2, 2)), "pads", []int64{2, 2, 0, 0}, "dilations", []int64{2, 2})))
		}},
		{"what somebody else reads stays", 3, func(m *b, x *v) *v {
			y := conv(m, x, 1, 1)
			return m.Op("Concat", in(m.Op("Add", in(m.Op("Add", in(conv(m, x, 3, 3, 1, 1, 1, 1), y)), x)), y), "axis", 1)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := func() *model.Model {
				m := modeltest.New(6)
				return m.Output(test.build(m, m.Input(1, 4, 6, 5)))
			}
			m := build()
			if _, err := fold.Fold(t.Context(), m, fold.Options{}); err != nil {
				t.Fatal(err)
			}
			left := 0
			for _, n := range m.Graph.Nodes {
				if n.Type == "Conv" || n.Type == "Add" {
					left++
				}
			}
			if left != test.left {
				t.Errorf("%d convolutions and Adds are left, want %d", left, test.left)
			}
			if d := differs(build(), m, 1); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPlanUnit_CoversNewAttributes(t *testing.T) {
	m := modeltest.New(2)
	y := m.Op("HardSigmoid", in(uniform(m, m.Op("Tanh", in(m.Input(1, 4, 5, 5))), 2, 0.3)), "alpha", 0.3)
	plan, err := fold.Fold(t.Context(), m.Output(y), fold.Options{})
	if err != nil || plan.After != 0 || len(plan.Consts) != 2 {
		t.Fatal(err, plan)
	}
	if plan.Unit != tensor.Float32.Unit() {
		t.Errorf("the slope is stored as float32, the unit roundoff is %g", plan.Unit)
	}
}

func TestFold_10000NodesInLinearTime(t *testing.T) {
	edits := func(blocks int) int {
		m := modeltest.New(1)
		x := m.Input(1, 2, 4, 4)
		for range blocks {
			x = m.Op("Relu", in(m.BatchNorm(m.Conv(x, 2, 2, 1, 1), 2)))
		}
		plan, err := fold.Fold(t.Context(), m.Output(x), fold.Options{})
		if err != nil || plan.After != 0 {
			t.Fatal(err, plan.After)
		}
		return len(plan.Nodes)
	}
	if small, large := edits(100), edits(3334); large != small*3334/100 {
		t.Errorf("%d edits for 300 nodes, %d for 10,002", small, large)
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, blocks := range []int{334, 3334, 33334, 333334} {
		b.Run(fmt.Sprint(3*blocks), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				m := modeltest.New(1)
				x := m.Input(1, 2, 4, 4)
				for range blocks {
					x = m.Op("Relu", in(m.BatchNorm(m.Conv(x, 2, 2, 1, 1), 2)))
				}
				built := m.Output(x)
				b.StartTimer()
				if _, err := fold.Fold(b.Context(), built, fold.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*3*blocks), "ns/node")
		})
	}
}

func TestFold_WeightsInMemory(t *testing.T) {
	m := modeltest.New(4)
	x := m.Input(1, 3, 8, 8)
	w := m.Weight(4, 3, 1, 1)
	w.Const = &model.Constant{DType: tensor.Float32, Shape: w.Const.Shape, Data: make(tensor.Buffer, 48)}
	m.Output(m.BatchNorm(m.Op("Conv", in(x, w)), 4))
	if plan, err := fold.Fold(t.Context(), m.Model, fold.Options{}); err != nil || plan.After != 0 {
		t.Errorf("%v %+v", err, plan)
	}
}

// unread fails the test if a constant's elements are read.
type unread struct{ t *testing.T }

func (u unread) ReadAt([]byte, int64) (int, error) {
	u.t.Error("a weight was read")
	return 0, errors.New("not to be read")
}

func TestFold_ReadsNoWeights(t *testing.T) {
	m := modeltest.New(4)
	x := m.BatchNorm(m.Conv(m.Op("Relu", in(m.BatchNorm(m.Conv(m.Input(1, 3, 8, 8), 3, 4, 3, 1), 4))), 4, 5, 3, 1), 5)
	m.Output(m.Op("MatMul", in(m.Op("Flatten", in(m.Op("GlobalAveragePool", in(x)))), m.Weight(5, 6))))
	for _, v := range m.Model.Graph.Consts {
		if len(v.Const.Shape) > 1 {
			v.Const = &model.Constant{DType: v.Const.DType, Shape: v.Const.Shape, Data: unread{t}}
		}
	}
	plan, err := fold.Fold(t.Context(), m.Model, fold.Options{})
	if err != nil || plan.After != 0 || plan.Before != 2 {
		t.Errorf("%v, %d per-channel nodes became %d", err, plan.Before, plan.After)
	}
}
