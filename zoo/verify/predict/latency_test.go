//go:build cgo

package predict

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestLatency_IsMeasuredOnRequest(t *testing.T) {
	e := inProcess(t)
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float16} {
		a, _ := file(t, d, "Identity", nil)
		if c := e.Compare(context.Background(), Comparison{Original: a, Folded: a}); c.Latency != nil {
			t.Errorf("nobody asked: %+v", c.Latency)
		}
		l := e.Compare(context.Background(), Comparison{Original: a, Folded: a, Latency: true}).Latency
		if l == nil || l.Note != "" || l.Pairs < fewestPairs || l.Pairs > mostPairs || l.Before <= 0 || l.After <= 0 || l.Low > l.Ratio || l.Ratio > l.High {
			t.Errorf("%v: %+v", d, l)
		}
		if want := "x1[1,8]"; l != nil && l.Input != want {
			t.Errorf("%v: measured on %q, want %q", d, l.Input, want)
		}
	}
}

func TestLatency_ThatCannotBeMeasuredSaysWhy(t *testing.T) {
	e := inProcess(t)
	a, _ := file(t, tensor.Float32, "Identity", nil)
	b, _ := file(t, tensor.Float32, "Identity", func(w []float64) { w[5] += 0.25 })
	if c := e.Compare(context.Background(), Comparison{Original: a, Folded: b, Latency: true}); c.Status != outcome.Mismatch || c.Latency != nil {
		t.Errorf("the models differ: %+v", c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if l := measure(ctx, a, a); l.Note != "interrupted" || l.Pairs != 0 {
		t.Errorf("interrupted: %+v", l)
	}
	if l := measure(context.Background(), a, "none.onnx"); l.Note == "" {
		t.Errorf("no such file: %+v", l)
	}
}

func TestLatency_MediansOfPairsIgnoreAnOutlier(t *testing.T) {
	ms := func(list ...int) (out []time.Duration) {
		for _, x := range list {
			out = append(out, time.Duration(x)*time.Millisecond)
		}
		return out
	}
	got := summary(ms(100, 900, 100, 110, 90), ms(50, 60, 50, 55, 90))
	for _, x := range []struct {
		name      string
		got, want float64
	}{{"before", got.Before, 0.1}, {"after", got.After, 0.055}, {"ratio", got.Ratio, 0.5}, {"low", got.Low, 0.5}, {"high", got.High, 0.5}, {"pairs", float64(got.Pairs), 5}} {
		if math.Abs(x.got-x.want) > 1e-12 {
			t.Errorf("%s is %g, want %g", x.name, x.got, x.want)
		}
	}
	if q := quantile([]float64{4, 1, 2}, 0.25); q != 1.5 {
		t.Errorf("the lower quartile of 1, 2, 4 is %g, want 1.5", q)
	}
}
