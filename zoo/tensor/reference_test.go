package tensor_test

import (
	"bytes"
	"context"
	"math"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

func TestReference_PassesTheSuite(t *testing.T) { tensortest.Backend(t, tensor.Reference{}) }

// late is a source that has nothing before a byte.
type late struct {
	tensor.Buffer
	t    *testing.T
	from int64
}

func (l late) ReadAt(p []byte, off int64) (int, error) {
	if off < l.from {
		l.t.Errorf("byte %d is read, before byte %d", off, l.from)
	}
	return l.Buffer.ReadAt(p, off)
}

func TestReference_FinishesWhatWasBegun(t *testing.T) {
	const n = 10_000
	src, values := make(tensor.Buffer, 4*n), make([]float64, n)
	for k := range values {
		values[k] = float64(k)
	}
	values[9_000] = math.Inf(1)
	if err := tensor.Encode(src, values, tensor.Float32); err != nil {
		t.Fatal(err)
	}
	job := &tensor.Rescale{DType: tensor.Float32, Elements: n, Factors: []tensor.Factor{{
		Layout: tensor.Layout{Blocks: 1, Outer: 100, Channels: 10, Inner: 10}, Scale: []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
	}}}
	whole := make(tensor.Buffer, len(src))
	if _, err := (tensor.Reference{}).Rescale(context.Background(), whole, src, job); err != nil {
		t.Fatal(err)
	}
	for _, first := range []int64{0, 1, 4095, 4096, 8999, 9000, 9001, n - 1, n} {
		dst := make(tensor.Buffer, len(src))
		tally, err := (tensor.Reference{}).Range(context.Background(), dst, late{src, t, 4 * first}, job, first, n)
		want := tensor.NewTally()
		if first <= 9_000 {
			want.NonFinite, want.FirstNonFinite = 1, 9_000
		}
		if err != nil || tally != want || !bytes.Equal(dst[4*first:], whole[4*first:]) || !bytes.Equal(dst[:4*first], make([]byte, 4*first)) {
			t.Errorf("from element %d: %v, tally %+v, or other bytes", first, err, tally)
		}
	}
}
