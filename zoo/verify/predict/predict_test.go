package predict

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// library is ONNX Runtime's, as make fetch brings it.
func library(t *testing.T) string {
	path := os.Getenv("ONNXRUNTIME_LIB")
	if found, _ := filepath.Glob("../../../.cache/onnxruntime/libonnxruntime*"); path == "" && len(found) > 0 {
		path = found[0]
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("no ONNX Runtime: make fetch brings it")
		}
		t.Skip("no ONNX Runtime: make fetch brings it")
	}
	return path
}

func inProcess(t *testing.T) *engine {
	e, err := load(library(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// file writes a model: x → Gemm → an activation.
func file(t *testing.T, d tensor.DType, activation string, change func(weights []float64)) (path, before string) {
	b := modeltest.New(1)
	x := b.Input(-1, 8)
	w := b.Uniform(8*4, -1, 1)
	if change != nil {
		change(w)
	}
	x.DType = d
	weight, bias := b.Const(w, 8, 4), b.Const(make([]float64, 4), 4)
	weight.Const.DType, bias.Const.DType = d, d
	y := b.Op("Gemm", []*model.Value{x, weight, bias})
	z := b.Op(activation, []*model.Value{y})
	z.DType, z.Shape = d, []int64{-1, 4}
	var out onnx.Memory
	if err := onnx.Export(context.Background(), b.Output(z), &out, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	return write(t, out.Bytes()), y.Name
}

func write(t *testing.T, b []byte) (path string) {
	path = filepath.Join(t.TempDir(), "m.onnx")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPredict_EqualModelsPassAndOthersDoNot(t *testing.T) {
	e := inProcess(t)
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float64, tensor.Float16} {
		a, _ := file(t, d, "Identity", nil)
		if c := e.Compare(context.Background(), Comparison{Original: a, Folded: a}); c.Status != outcome.Passed || c.Compared == 0 || c.Difference != 0 {
			t.Errorf("%v, a model and itself: %+v", d, c)
		}
		b, _ := file(t, d, "Identity", func(w []float64) { w[5] += 0.25 })
		c := e.Compare(context.Background(), Comparison{Original: a, Folded: b})
		if c.Status != outcome.Mismatch || !strings.Contains(c.Note, "the limit is") {
			t.Errorf("%v, one weight off: %+v", d, c)
		}
		if c := e.Compare(context.Background(), Comparison{Original: a, Folded: b, Tolerance: 2}); c.Status != outcome.Passed {
			t.Errorf("%v, one weight off within the tolerance asked for: %+v", d, c)
		}
	}
}

func TestPredict_SeesBeforeASigmoidWhatItHides(t *testing.T) {
	e := inProcess(t)
	faint := func(w []float64) {
		for k := range w {
			w[k] = 1e-7 * w[k]
		}
	}
	a, before := file(t, tensor.Float32, "Sigmoid", faint)
	b, _ := file(t, tensor.Float32, "Sigmoid", func(w []float64) { faint(w); w[5] += 1e-7 })
	if c := e.Compare(context.Background(), Comparison{Original: a, Folded: b}); c.Status != outcome.Passed {
		t.Errorf("the outputs are all near 0.5: %+v", c)
	}
	c := e.Compare(context.Background(), Comparison{Original: a, Folded: b, Taps: []Tap{{before, before}}})
	if c.Status != outcome.Mismatch || !strings.Contains(c.Note, before) {
		t.Errorf("before the Sigmoid they are not: %+v", c)
	}
}

func TestPredict_ModelThatTheEngineRefusesIsNotRun(t *testing.T) {
	e := inProcess(t)
	a, _ := file(t, tensor.Float32, "Identity", nil)
	odd, _ := file(t, tensor.Float32, "NoSuchOperator", nil)
	if c := e.Compare(context.Background(), Comparison{Original: odd, Folded: odd}); c.Status != outcome.NotRun || c.Note == "" {
		t.Errorf("an original that does not load: %+v", c)
	}
	if c := e.Compare(context.Background(), Comparison{Original: a, Folded: odd}); c.Status != outcome.Mismatch {
		t.Errorf("a folded model that does not load: %+v", c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if c := e.Compare(ctx, Comparison{Original: a, Folded: a}); c.Status != outcome.NotRun {
		t.Errorf("interrupted: %+v", c)
	}
}

func TestPredict_DecisionsChangeOnlyWithinTheNoise(t *testing.T) {
	row := func(x ...float64) []value { return []value{{tensor.Float32, []int64{1, int64(len(x))}, x}} }
	for _, test := range []struct {
		name    string
		a, b    []value
		flipped int64
		bad     bool
	}{
		{"the same", row(0, 1, 0.5), row(0, 1, 0.5), 0, false},
		{"a near tie", row(0, 1, 0.999999), row(0, 0.999999, 1), 1, false},
		{"a clear decision", row(0, 1, 0.5), row(0, 0.5, 1), 1, true},
	} {
		n, flipped, worst := decide(test.a, test.b, 1e-5)
		if n != 1 || flipped != test.flipped || (worst != "") != test.bad {
			t.Errorf("%s: %d decisions, %d flipped, %q", test.name, n, flipped, worst)
		}
	}
}

func TestPredict_NonFiniteNumbersAgree(t *testing.T) {
	v := func(x float64) []value { return []value{{tensor.Float32, []int64{1}, []float64{x}}} }
	inf, nan := math.Inf(1), math.NaN()
	for _, test := range []struct {
		a, b float64
		same bool
	}{{nan, nan, true}, {inf, inf, true}, {inf, -inf, false}, {1, nan, false}, {nan, 1, false}, {1, inf, false}} {
		if d := gap([]string{"y"}, v(test.a), v(test.b)); (d.note == "") != test.same {
			t.Errorf("%g and %g: %q", test.a, test.b, d.note)
		}
	}
}

// Padding that follows the size of the input, and padding that was worked out for an even size, are one thing at even sizes
// alone.
func TestPredict_TriesFreeSizesOddAndInBatches(t *testing.T) {
	e := inProcess(t)
	convolution := func(free int64, attrs ...any) string {
		b := modeltest.New(1)
		y := b.Op("Conv", []*model.Value{b.Input(free, 2, free, free), b.Weight(3, 2, 3, 3)}, append([]any{"strides", []int64{2, 2}}, attrs...)...)
		y.DType, y.Shape = tensor.Float32, []int64{free, 3, -1, -1}
		var out onnx.Memory
		if err := onnx.Export(context.Background(), b.Output(y), &out, "", tensor.Reference{}); err != nil {
			t.Fatal(err)
		}
		return write(t, out.Bytes())
	}
	same, even := []any{"auto_pad", "SAME_UPPER"}, []any{"pads", []int64{0, 0, 1, 1}}
	for _, test := range []struct {
		name string
		free int64
		want outcome.CheckStatus
	}{{"free extents", -1, outcome.Mismatch}, {"even ones", 8, outcome.Passed}} {
		c := e.Compare(context.Background(), Comparison{Original: convolution(test.free, same...), Folded: convolution(test.free, even...)})
		if c.Status != test.want {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
	if c := e.Compare(context.Background(), Comparison{Original: convolution(-1, same...), Folded: convolution(-1, same...)}); c.Status != outcome.Passed {
		t.Errorf("the same twice: %+v", c)
	}
}

func TestCompare_ModelsThatDrawRandomNumbersAreNotRun(t *testing.T) {
	b := modeltest.New(1)
	x := b.Op("Gemm", []*model.Value{b.Input(4, 8), b.Weight(8, 4)})
	y := b.Op("Add", []*model.Value{x, b.Op("RandomNormalLike", []*model.Value{x})})
	y.DType, y.Shape = tensor.Float32, []int64{4, 4}
	var out onnx.Memory
	if err := onnx.Export(context.Background(), b.Output(y), &out, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	path := write(t, out.Bytes())
	for _, tolerance := range []float64{0, 1e-6} {
		c := inProcess(t).Compare(context.Background(), Comparison{Original: path, Folded: path, Tolerance: tolerance})
		if c.Status != outcome.NotRun || !strings.Contains(c.Note, "answers the same input differently") {
			t.Errorf("tolerance %g: %+v", tolerance, c)
		}
	}
}

// Where the original itself answers a one-ulp jitter with noise, a difference that is no larger says nothing: that is no
// check that was passed.
func TestPredict_NoiseIsNotMeaningful(t *testing.T) {
	e := inProcess(t)
	b := modeltest.New(1)
	x := b.Op("Gemm", []*model.Value{b.Input(4, 8), b.Weight(8, 4)})
	y := b.Op("Sin", []*model.Value{b.Op("Mul", []*model.Value{x, b.Const([]float64{1e9}, 1)})})
	y.DType, y.Shape = tensor.Float32, []int64{4, 4}
	var out onnx.Memory
	if err := onnx.Export(context.Background(), b.Output(y), &out, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	path := write(t, out.Bytes())
	if c := e.Compare(context.Background(), Comparison{Original: path, Folded: path}); c.Status != outcome.NotRun || !strings.Contains(c.Note, "not meaningful") {
		t.Errorf("%+v", c)
	}
	if c := e.Compare(context.Background(), Comparison{Original: path, Folded: path, Tolerance: 1e-6}); c.Status != outcome.Passed {
		t.Errorf("with a tolerance: %+v", c)
	}
}
