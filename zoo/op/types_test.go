package op_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// stored is a constant of int64 or uint64, as a file holds it.
func stored(b *modeltest.Builder, d tensor.DType, list ...int64) *model.Value {
	raw := make([]byte, 8*len(list))
	for k, x := range list {
		binary.LittleEndian.PutUint64(raw[8*k:], uint64(x))
	}
	return b.Model.Graph.AddConst("stored", &model.Constant{DType: d, Shape: []int64{int64(len(list))}, Data: bytes.NewReader(raw)})
}

func TestConstants_IntegersStayIntegers(t *testing.T) {
	type b = modeltest.Builder
	type v = model.Value
	in := func(x ...*v) []*v { return x }
	for _, test := range []struct {
		name  string
		build func(m *b) *v
		want  []int64
	}{
		{"two thirds of an extent, in even steps: lowformer's end of a slice", func(m *b) *v {
			width := m.Op("Gather", in(m.Op("Shape", in(m.Input(1, 96, 98, 4))), m.Ints(2)))
			third := m.Op("Div", in(m.Op("Add", in(width, m.Ints(0))), m.Ints(3)))
			return m.Op("Mul", in(third, m.Ints(2)))
		}, []int64{64}},
		{"a quotient below 0 is rounded towards it", func(m *b) *v {
			return m.Op("Div", in(m.Ints(-7, 7, -7, 7), m.Ints(2, -2, -2, 2)))
		}, []int64{-3, -3, 3, 3}},
		{"a remainder has the sign of the divisor", func(m *b) *v {
			return m.Op("Mod", in(m.Ints(-7, 7, -7, 7), m.Ints(3, -3, -3, 3)))
		}, []int64{2, -2, -1, 1}},
		{"a remainder by fmod has the sign of the dividend", func(m *b) *v {
			return m.Op("Mod", in(m.Ints(-7, 7, -7, 7), m.Ints(3, -3, -3, 3)), "fmod", 1)
		}, []int64{-1, 1, -1, 1}},
		{"an int8 wraps around", func(m *b) *v {
			x := m.Op("Cast", in(m.Ints(127, -128, 100)), "to", int64(tensor.Int8))
			return m.Op("Add", in(x, m.Op("Cast", in(m.Ints(1, -1, 100)), "to", int64(tensor.Int8))))
		}, []int64{-128, 127, -56}},
		{"a float is cut, not rounded", func(m *b) *v {
			return m.Op("Cast", in(m.Const([]float64{2.75, -2.75, 2.5}, 3)), "to", int64(tensor.Int64))
		}, []int64{2, -2, 2}},
		{"no bit of an int64 is lost by arithmetic", func(m *b) *v {
			return m.Op("Sub", in(stored(m, tensor.Int64, math.MaxInt64, 1<<53+1, math.MinInt64), m.Ints(1, 0, 1)))
		}, []int64{math.MaxInt64 - 1, 1<<53 + 1, math.MaxInt64}},
		{"nor when it is moved", func(m *b) *v {
			x := m.Op("Unsqueeze", in(stored(m, tensor.Int64, math.MaxInt64, 1<<53+1, -1, math.MinInt64), m.Ints(0)))
			x = m.Op("Concat", in(m.Op("Transpose", in(x)), m.Op("Transpose", in(x))), "axis", 1)
			return m.Op("Gather", in(x, m.Ints(1, 2, 3)))
		}, []int64{1<<53 + 1, 1<<53 + 1, -1, -1, math.MinInt64, math.MinInt64}},
		{"a uint64 is divided without a sign", func(m *b) *v {
			x := stored(m, tensor.Uint64, -1, 10)
			return m.Op("Div", in(x, m.Op("Cast", in(m.Ints(5, 3)), "to", int64(tensor.Uint64))))
		}, []int64{math.MaxUint64 / 5, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := modeltest.New(1)
			y := test.build(m)
			m.Output(y)
			a, ok := op.Constants().Value(y)
			if !ok {
				t.Fatal("it is not known")
			}
			got := make([]int64, len(a.Data))
			for k := range got {
				got[k] = a.Int(k)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

func TestConstants_RefuseWhatONNXLeavesUndefined(t *testing.T) {
	type v = model.Value
	for name, build := range map[string]func(m *modeltest.Builder) *v{
		"a quotient by 0":             func(m *modeltest.Builder) *v { return m.Op("Div", []*v{m.Ints(1), m.Ints(0)}) },
		"a float that no int64 holds": func(m *modeltest.Builder) *v { return m.Op("Cast", []*v{m.Const([]float64{1e30})}, "to", 7) },
		"no number as an integer":     func(m *modeltest.Builder) *v { return m.Op("Cast", []*v{m.Const([]float64{math.NaN()})}, "to", 7) },
		"a sum of integers beyond 2^53": func(m *modeltest.Builder) *v {
			return m.Op("ReduceSum", []*v{stored(m, tensor.Int64, math.MaxInt64, 1)})
		},
		"a product of integers beyond 2^53": func(m *modeltest.Builder) *v { return m.Op("ReduceProd", []*v{m.Ints(1<<30, 1<<30)}) },
	} {
		m := modeltest.New(1)
		y := build(m)
		m.Output(y)
		if a, ok := op.Constants().Value(y); ok {
			t.Errorf("%s is %v", name, a.Data)
		}
	}
}
