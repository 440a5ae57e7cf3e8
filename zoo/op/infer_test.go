package op_test

import (
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/op"
)

// b and v keep the table short.
type (
	b = modeltest.Builder
	v = model.Value
)

func in(x ...*v) []*v { return x }

func TestInfer_ShapesOfOperators(t *testing.T) {
	for _, test := range []struct {
		name  string
		build func(m *b) *v
		want  []int64 // nil: the rank is not known
	}{
		{"Reshape copies a free extent and computes the rest", func(m *b) *v {
			return m.Op("Reshape", in(m.Input(-1, 12, 4, 6), m.Ints(0, 3, -1)))
		}, []int64{-1, 3, 96}},
		{"Reshape to the extents of another value", func(m *b) *v {
			x := m.Input(-1, 12, 4, 6)
			return m.Op("Reshape", in(m.Op("Reshape", in(x, m.Ints(0, 0, -1))), m.Op("Shape", in(x))))
		}, []int64{-1, 12, 4, 6}},
		{"Reshape computes no extent of two that are free", func(m *b) *v {
			return m.Op("Reshape", in(m.Input(-1, 12, -1, 6), m.Ints(0, -1)))
		}, []int64{-1, -1}},
		{"Reshape computes a free extent from one that moved", func(m *b) *v {
			return m.Op("Reshape", in(m.Input(-1, 12, 4), m.Ints(12, -1, 4)))
		}, []int64{12, -1, 4}},
		{"Reshape joins a free extent with others", func(m *b) *v {
			return m.Op("Reshape", in(m.Input(-1, 12, 4), m.Ints(-1, 4)))
		}, []int64{-1, 4}},
		{"Reshape to the batch of another value and the rest", func(m *b) *v {
			x := m.Input(-1, 12, 4)
			batch := m.Op("Unsqueeze", in(m.Op("Gather", in(m.Op("Shape", in(x)), m.Const([]float64{0}))), m.Ints(0)))
			return m.Op("Reshape", in(m.Op("Relu", in(x)), m.Op("Concat", in(batch, m.Ints(-1)), "axis", 0)))
		}, []int64{-1, 48}},
		{"Expand to where a shape is not -1: what torch writes for expand", func(m *b) *v {
			x := m.Input(-1, 1, 4)
			want := m.Op("Concat", in(m.Op("Gather", in(m.Op("Shape", in(x)), m.Ints(0))), m.Ints(7, -1)), "axis", 0)
			ones := m.Op("ConstantOfShape", in(m.Op("Shape", in(want))))
			ones = m.Op("Cast", in(m.Op("Add", in(ones, m.Const([]float64{1})))), "to", 7)
			want = m.Op("Where", in(m.Op("Equal", in(want, m.Ints(-1))), ones, want))
			return m.Op("Expand", in(x, want))
		}, []int64{-1, 7, 4}},
		{"Reshape by a quotient of integers", func(m *b) *v {
			x := m.Input(-1, 98, 6)
			third := m.Op("Mul", in(m.Op("Div", in(m.Op("Slice", in(m.Op("Shape", in(x)), m.Ints(1), m.Ints(2))), m.Ints(3))), m.Ints(2)))
			return m.Op("Slice", in(x, m.Ints(0), third, m.Ints(1)))
		}, []int64{-1, 64, 6}},
		{"a Range over a free extent has as many elements", func(m *b) *v {
			x := m.Input(-1, 12)
			zero, one := m.Op("Squeeze", in(m.Ints(0))), m.Op("Squeeze", in(m.Ints(1)))
			return m.Op("Range", in(zero, m.Op("Squeeze", in(m.Op("Slice", in(m.Op("Shape", in(x)), m.Ints(1), m.Ints(2))))), one))
		}, []int64{12}},
		{"Split, and an Einsum of its parts", func(m *b) *v {
			parts := m.Ops("Split", 2, in(m.Input(-1, 8, 6, 10), m.Ints(3, 5)), "axis", 1)
			return m.Op("Einsum", in(parts[0], m.Input(7, 10)), "equation", "bchw,kw->bkch")
		}, []int64{-1, 7, 3, 6}},
		{"TopK", func(m *b) *v { return m.Op("TopK", in(m.Input(-1, 12), m.Ints(5))) }, []int64{-1, 5}},
		{"GatherND", func(m *b) *v { return m.Op("GatherND", in(m.Input(-1, 12, 5), m.Input(4, 2))) }, []int64{4, 5}},
		{"OneHot", func(m *b) *v { return m.Op("OneHot", in(m.Input(-1, 4), m.Ints(9), m.Const([]float64{0, 1}, 2))) }, []int64{-1, 4, 9}},
		{"Resize by factors of some axes", func(m *b) *v {
			return m.Op("Resize", in(m.Input(-1, 3, 10, 5), nil, m.Const([]float64{float64(float32(0.7)), 2}, 2)), "axes", []int64{2, -1})
		}, []int64{-1, 3, 7, 10}},
		{"Resize to sizes", func(m *b) *v {
			return m.Op("Resize", in(m.Input(1, 3, 10, 5), nil, nil, m.Ints(1, 3, 20, 7)))
		}, []int64{1, 3, 20, 7}},
		{"Resize to sizes that keep the aspect ratio", func(m *b) *v {
			return m.Op("Resize", in(m.Input(1, 3, 10, 5), nil, nil, m.Ints(20, 7)), "axes", []int64{2, 3}, "keep_aspect_ratio_policy", "not_larger")
		}, []int64{1, 3, -1, -1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := modeltest.New(1)
			y := test.build(m)
			m.Model.Opset[""] = 18
			op.Infer(m.Output(y), op.Constants())
			for k, d := range y.Shape { // which free extent it is
				y.Shape[k] = max(d, op.Unknown)
			}
			if !slices.Equal(y.Shape, test.want) || (y.Shape == nil) != (test.want == nil) {
				t.Errorf("shape %v, want %v", y.Shape, test.want)
			}
		})
	}
}

func TestEach_InfersShapesOfAppendedNodes(t *testing.T) {
	m := modeltest.New(1)
	x := m.Input(-1, 3, 8, 8)
	node := op.Each(m.Model, op.Constants())
	y := m.Op("Conv", in(x, m.Weight(4, 3, 3, 3)))
	node(y.Producer)
	z := m.Op("Flatten", in(y))
	node(z.Producer)
	if y, z := y.Shape, z.Shape; len(y) != 4 || !slices.Equal(y[1:], []int64{4, 6, 6}) || !slices.Equal(z[1:], []int64{4 * 6 * 6}) {
		t.Fatalf("shapes %v and %v", y, z)
	}
	if n := x.Shape[0]; n >= 0 || y.Shape[0] != n || z.Shape[0] != n {
		t.Errorf("the batch of %v is not that of %v and %v", x.Shape, y.Shape, z.Shape)
	}
}

func TestInfer_IgnoresDeclaredShapesOfComputedValues(t *testing.T) {
	build := func(height int64) (*v, *v) {
		m := modeltest.New(1)
		x := m.Input(-1, 3, height, height)
		y := m.Op("Conv", in(x, m.Weight(4, 3, 3, 3)), "pads", []int64{1, 1, 1, 1})
		z := m.Op("SomethingOfNoStandard", in(y))
		y.Shape, z.Shape = []int64{1, 4, 320, 320}, []int64{1, 4, 320, 320} // of the size at which the model was exported
		y.Producer.Inputs[0].Shape[0] = 1
		op.Infer(m.Output(z), op.Constants())
		return y, z
	}
	y, z := build(-1)
	if y.Shape[2] >= 0 || len(z.Shape) != 4 || slices.Max(z.Shape) >= 0 {
		t.Errorf("of a free height: shapes %v and %v", y.Shape, z.Shape)
	}
	y, z = build(64)
	if !slices.Equal(y.Shape, []int64{1, 4, 64, 64}) || !slices.Equal(z.Shape, []int64{1, 4, 320, 320}) {
		t.Errorf("of height 64: shapes %v and %v", y.Shape, z.Shape)
	}
}

func TestConstants_SeeABiasOfZerosAsTorchWritesIt(t *testing.T) {
	m := modeltest.New(1)
	x, w := m.Input(-1, 3, -1, -1), m.Weight(4, 3, 3, 3)
	zero := m.Op("CastLike", in(m.Op("Squeeze", in(m.Ints(0))), x))
	bias := m.Op("Expand", in(zero, m.Op("Shape", in(w), "start", 0, "end", 1)))
	consts := op.Constants()
	op.Infer(m.Output(m.Op("Conv", in(x, w, bias))), consts)
	if a, ok := consts.Value(bias); !ok || !slices.Equal(a.Data, make([]float64, 4)) || !a.DType.Float() {
		t.Errorf("the bias is %v, known: %v", a, ok)
	}
}
