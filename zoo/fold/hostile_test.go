package fold_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestFold_HostileShapesTakeLittleMemory(t *testing.T) {
	const huge = 1 << 40
	claim := func(v *model.Value, shape ...int64) *model.Value {
		v.DType, v.Shape = tensor.Float32, shape
		return v
	}
	for _, test := range []struct {
		name  string
		build func(b *modeltest.Builder) *model.Value
	}{
		{"a Conv of 2^40 outputs without weights", func(b *modeltest.Builder) *model.Value {
			y := b.Op("Conv", []*model.Value{b.Input(1, 0, 8, 8), b.Const([]float64{}, huge, 0, 1, 1)})
			return b.Op("Mul", []*model.Value{claim(y, 1, huge, 8, 8), b.Const([]float64{2})})
		}},
		{"a Concat with a part of 2^40 channels", func(b *modeltest.Builder) *model.Value {
			x := b.Op("Mul", []*model.Value{b.Input(1, 4, 2), b.Const([]float64{2})})
			return b.Op("Concat", []*model.Value{claim(x, 1, 4, 2), b.Input(1, huge, 2)}, "axis", 1)
		}},
		{"a Concat along an axis before the first", func(b *modeltest.Builder) *model.Value {
			x := b.Op("Mul", []*model.Value{b.Input(1, 4, 2), b.Const([]float64{2})})
			return claim(b.Op("Concat", []*model.Value{claim(x, 1, 4, 2), b.Input(1, 4, 2)}, "axis", -100), 1, 8, 2)
		}},
		{"a Concat without its first part", func(b *modeltest.Builder) *model.Value {
			x := b.Op("Concat", []*model.Value{nil, b.Input(1, 2)}, "axis", 1)
			return b.Op("Mul", []*model.Value{claim(x, 1, 2), b.Const([]float64{2})})
		}},
		{"a Mul of nothing", func(b *modeltest.Builder) *model.Value {
			return b.Op("Mul", []*model.Value{nil, nil})
		}},
		{"a Softmax of scores that are the quotient of nothing", func(b *modeltest.Builder) *model.Value {
			scores := b.Op("Div", []*model.Value{nil, b.Const([]float64{3})})
			return b.Op("Softmax", []*model.Value{b.Op("Add", []*model.Value{scores, b.Input(2, 3)})})
		}},
		{"a Slice of one of 2^40 channels", func(b *modeltest.Builder) *model.Value {
			x := claim(b.Op("Relu", []*model.Value{b.Input(1, 1<<40, 4, 4)}), 1, 1<<40, 4, 4)
			return b.BatchNorm(b.Op("Slice", []*model.Value{x, b.Ints(0), b.Ints(1), b.Ints(1)}), 1)
		}},
		{"blocks of 2^30 positions", func(b *modeltest.Builder) *model.Value {
			x := b.Op("DepthToSpace", []*model.Value{b.Input(1, 1<<32, 1, 1)}, "blocksize", 1<<15)
			return b.BatchNorm(claim(x, 1, 4, 1<<15, 1<<15), 4)
		}},
		{"blocks of no position", func(b *modeltest.Builder) *model.Value {
			x := b.Op("SpaceToDepth", []*model.Value{b.BatchNorm(b.Input(1, 4, 8, 8), 4)}, "blocksize", 0)
			return b.BatchNorm(claim(x, 1, 4, 8, 8), 4)
		}},
		{"blocks whose number of positions is no number", func(b *modeltest.Builder) *model.Value {
			x := b.Op("SpaceToDepth", []*model.Value{b.Input(1, 4, 8, 8)}, "blocksize", 1<<32)
			return b.BatchNorm(claim(x, 1, 4, 8, 8), 4)
		}},
		{"a Reshape of 2^64 elements", func(b *modeltest.Builder) *model.Value {
			x := b.BatchNorm(b.Input(1, 4, 1<<31, 1<<31), 4)
			return claim(b.Op("Reshape", []*model.Value{claim(x, 1, 4, 1<<31, 1<<31), b.Ints(1, 1<<31, 1<<31, 4)}), 1, 1<<31, 1<<31, 4)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := modeltest.New(1)
			m := b.Output(test.build(b))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := fold.Fold(t.Context(), m, fold.Options{}); err != nil {
				t.Error(err)
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 {
				t.Errorf("%d MiB were allocated", used>>20)
			}
		})
	}
}

func TestFold_EndsWithItsContext(t *testing.T) {
	b := modeltest.New(1)
	x, parts := b.Input(1, 2, 4, 4), []*model.Value{}
	for range 20000 { // each map asks all others: a quarter of an hour
		parts = append(parts, b.Op("Mul", []*model.Value{x, b.Const([]float64{2})}))
	}
	m := b.Output(b.Op("Sum", parts))
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("it is enough"))
	if _, err := fold.Fold(ctx, m, fold.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
