package tensor_test

import (
	"math"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestElements_AreCountedWithoutOverflow(t *testing.T) {
	for _, c := range []struct {
		shape []int64
		n     int64
		ok    bool
	}{
		{nil, 1, true},
		{[]int64{3, 4}, 12, true},
		{[]int64{0}, 0, true},
		{[]int64{1 << 40, 1 << 40, 0}, 0, true},
		{[]int64{0, 1 << 40, 1 << 40}, 0, true},
		{[]int64{0, -1}, 0, false},
		{[]int64{-1, 0}, 0, false},
		{[]int64{-2, -2}, 0, false},
		{[]int64{1 << 31, 1 << 31}, 1 << 62, true},
		{[]int64{1 << 62, 1, 1}, 1 << 62, true},
		{[]int64{1<<62 + 1}, 0, false},
		{[]int64{1 << 31, 1<<31 + 1}, 0, false},
		{[]int64{1 << 32, 1 << 32}, 0, false},
		{[]int64{math.MaxInt64, 2}, 0, false},
	} {
		if n, ok := tensor.Elements(c.shape); n != c.n || ok != c.ok {
			t.Errorf("%v has %d, %v elements; want %d, %v", c.shape, n, ok, c.n, c.ok)
		}
	}
}

func TestAxisLayout_SplitsTheShape(t *testing.T) {
	shape := []int64{2, 3, 5, 7}
	for axis, want := range []tensor.Layout{
		{Blocks: 1, Outer: 1, Channels: 2, Inner: 105}, {Blocks: 1, Outer: 2, Channels: 3, Inner: 35},
		{Blocks: 1, Outer: 6, Channels: 5, Inner: 7}, {Blocks: 1, Outer: 30, Channels: 7, Inner: 1},
	} {
		if got := tensor.AxisLayout(shape, axis); got != want {
			t.Errorf("axis %d: %+v, want %+v", axis, got, want)
		}
	}
	for _, axis := range []int{-1, 4} {
		if got := tensor.AxisLayout(shape, axis); got != (tensor.Layout{}) {
			t.Errorf("axis %d: %+v, want the zero layout", axis, got)
		}
	}
}

func TestChannel_FollowsTheNesting(t *testing.T) {
	l := tensor.Layout{Blocks: 2, Outer: 3, Channels: 4, Inner: 5}
	e := int64(0)
	for b := range l.Blocks {
		for range l.Outer {
			for c := range l.Channels {
				for range l.Inner {
					if got := l.Channel(e); got != b*l.Channels+c {
						t.Fatalf("element %d belongs to channel %d, want %d", e, got, b*l.Channels+c)
					}
					e++
				}
			}
		}
	}
	if e != l.Elements() {
		t.Errorf("%d elements, want %d", l.Elements(), e)
	}
}

func TestScale_IsTheProductInOrder(t *testing.T) {
	one := tensor.Layout{Blocks: 1, Outer: 1, Channels: 1, Inner: 1}
	factor := func(s float64) tensor.Factor { return tensor.Factor{Layout: one, Scale: []float64{s}} }
	job := tensor.Rescale{DType: tensor.Float64, Elements: 1}
	if got := job.Scale(0); got != 1 {
		t.Errorf("no factors: %v, want 1", got)
	}
	job.Factors = []tensor.Factor{factor(1e200), factor(1e200), factor(1e-300)}
	if got := job.Scale(0); !math.IsInf(got, 1) {
		t.Errorf("1e200·1e200·1e-300 in order is infinite, got %v", got)
	}
	job.Factors = []tensor.Factor{factor(1e200), factor(1e-300), factor(1e200)}
	if got, want := job.Scale(0), 1e200*float64(1e-300)*1e200; math.Abs(got-want) > want*1e-15 {
		t.Errorf("got %v, want about %v", got, want)
	}
}

func TestTally_JoinsInAnyOrder(t *testing.T) {
	a, b := tensor.NewTally(), tensor.NewTally()
	a.Count(9, math.NaN(), math.NaN(), 1, tensor.Float32)
	a.Count(5, math.Inf(1), math.Inf(1), 1, tensor.Float32)
	a.Count(7, 1, 2, 2, tensor.Float32)
	b.Count(3, 1e38, math.Inf(1), 100, tensor.Float32)
	b.Count(4, 1, 0, 1e-60, tensor.Float32)
	b.Count(2, 1, 0, 0, tensor.Float32) // the scale is zero: as it should be
	want := tensor.Tally{
		NonFinite: 2, FirstNonFinite: 5, Overflow: 1, FirstOverflow: 3, Subnormal: 1, FirstSubnormal: 4,
	}
	x, y := a, b
	x.Add(b)
	y.Add(a)
	if x != want || y != want {
		t.Errorf("joined: %+v and %+v, want %+v", x, y, want)
	}
}
