package op_test

import (
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// node is a node of a graph of its own, of operator set 17.
func node(op string, attrs ...any) *model.Node {
	b := modeltest.New(1)
	return b.Op(op, []*model.Value{b.Input(1)}, attrs...).Producer
}

func array(shape []int64, values ...float64) *op.Array {
	n, _ := tensor.Elements(shape)
	a := &op.Array{Shape: shape, Data: make([]float64, n)}
	copy(a.Data, values)
	return a
}

func TestEval_RefusesOutputsBeyondTheLimit(t *testing.T) {
	const huge = 1 << 40
	image := array([]int64{1, 1, 8, 8})
	for _, test := range []struct {
		name string
		node *model.Node
		in   []*op.Array
	}{
		{"a window over endless padding", node("Conv", "pads", []int64{huge, huge, huge, huge}), []*op.Array{image, array([]int64{1, 1, 3, 3})}},
		{"an endless kernel over as much padding", node("MaxPool", "kernel_shape", []int64{huge, 1}, "pads", []int64{huge, 0, huge, 0}), []*op.Array{image}},
		{"a dilation beyond all numbers", node("Conv", "dilations", []int64{math.MaxInt64, math.MaxInt64}, "pads", []int64{math.MaxInt64, 1, math.MaxInt64, 1}), []*op.Array{image, array([]int64{1, 1, 3, 3})}},
		{"strides that make a giant", node("ConvTranspose", "strides", []int64{huge, huge}), []*op.Array{image, array([]int64{1, 1, 3, 3})}},
		{"many rows of nothing", node("Gemm"), []*op.Array{array([]int64{huge, 0}), array([]int64{0, 0})}},
		{"many matrices of nothing", node("MatMul"), []*op.Array{array([]int64{huge, 1, 0}), array([]int64{huge, 0, 1})}},
		{"days of multiplying", node("MatMul"), []*op.Array{array([]int64{1 << 12, 1 << 11}), array([]int64{1 << 11, 1 << 12})}},
		{"a constant of 2^60 elements", node("ConstantOfShape"), []*op.Array{array([]int64{2}, 1<<30, 1<<30)}},
		{"a constant of many empty rows", node("ConstantOfShape"), []*op.Array{array([]int64{2}, huge, 0)}},
		{"a resize to the skies", node("Resize"), []*op.Array{image, nil, array([]int64{4}, 1, 1, 1e12, 1e12)}},
		{"a resize to no number", node("Resize"), []*op.Array{image, nil, array([]int64{4}, 1, 1, math.NaN(), math.Inf(1))}},
		{"tiles of tiles", node("Tile"), []*op.Array{image, array([]int64{4}, 1, 1, 1<<20, 1<<20)}},
		{"an expansion", node("Expand"), []*op.Array{image, array([]int64{5}, huge, 1, 1, 8, 8)}},
		{"padding without end", node("Pad"), []*op.Array{image, array([]int64{8}, 0, 0, huge, huge, 0, 0, huge, huge)}},
		{"an edge of nothing", node("Pad", "mode", "edge"), []*op.Array{array([]int64{0}), array([]int64{2}, 1, 1)}},
		{"a hot one among endless cold ones", node("OneHot"), []*op.Array{array([]int64{2}, 1, 2), array([]int64{}, 1<<60), array([]int64{2}, 0, 1)}},
		{"a crop that is none", node("CenterCropPad"), []*op.Array{image, array([]int64{4}, 1, 1, huge, huge)}},
		{"an Einsum of many labels", node("Einsum", "equation", "ab,cd,ef->abcdef"), []*op.Array{array([]int64{64, 64}), array([]int64{64, 64}), array([]int64{64, 64})}},
		{"a grid of many axes", node("GridSample"), []*op.Array{array(make([]int64, 40)), array(make([]int64, 40))}},
		{"a grid of endless extents", node("AffineGrid"), []*op.Array{array([]int64{1, 2, 3}), array([]int64{4}, 1, 1, huge, huge)}},
		{"a layer of many times of nothing", node("RNN"), []*op.Array{array([]int64{huge, 1, 0}), array([]int64{1, 0, 0}), array([]int64{1, 0, 0})}},
		{"an image of windows without end", node("Col2Im"), []*op.Array{array([]int64{1, 9, 4}), array([]int64{2}, huge, huge), array([]int64{2}, 3, 3)}},
		{"a range without end", node("Range"), []*op.Array{array([]int64{}, 0), array([]int64{}, 1e18), array([]int64{}, 1)}},
		{"a reshape to many empty rows", node("Reshape"), []*op.Array{array([]int64{0}), array([]int64{2}, huge, 0)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := op.Eval(test.node, test.in)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("it was evaluated")
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 {
				t.Errorf("%d MiB were allocated", used>>20)
			}
		})
	}
}

func TestConstants_HaveABudget(t *testing.T) {
	b := modeltest.New(1)
	x := b.Const(make([]float64, 1<<16), 1<<8, 1<<8)
	for range 2000 { // each of them alone would do
		x = b.Op("Add", []*model.Value{x, b.Const([]float64{1})})
	}
	b.Output(x)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, known := op.Constants().Value(x)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; known || used > 512<<20 {
		t.Errorf("it is known: %v; %d MiB were allocated", known, used>>20)
	}
}

func TestSlice_EndBeyondRange(t *testing.T) {
	a := array([]int64{5}, math.MaxInt64, math.MinInt64, math.Inf(1), math.NaN(), -3)
	if got, want := a.Ints(), []int64{op.Huge, -op.Huge, op.Huge, 0, -3}; !slices.Equal(got, want) {
		t.Errorf("%d, want %d", got, want)
	}
	out, err := op.Eval(node("Slice"), []*op.Array{array([]int64{3}, 7, 8, 9), array([]int64{1}, 1), array([]int64{1}, math.MaxInt64)})
	if err != nil || !slices.Equal(out[0].Data, []float64{8, 9}) {
		t.Errorf("[7 8 9][1:] is %v, %v", out, err)
	}
}

func TestEval_SaysThatAnArrayIsTooLarge(t *testing.T) {
	if _, err := op.NewArray([]int64{1 << 40}); !errors.Is(err, op.ErrTooLarge) {
		t.Error(err)
	}
}
