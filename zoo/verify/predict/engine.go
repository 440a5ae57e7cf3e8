//go:build cgo

package predict

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Engine is ONNX Runtime. It may be used by several goroutines at once.
type Engine struct{ path string }

var opening sync.Mutex

// Open loads the library, once in a process.
func Open(path string) (*Engine, error) {
	opening.Lock()
	defer opening.Unlock()
	if !ort.IsInitialized() {
		ort.SetSharedLibraryPath(path)
		if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
			return nil, fmt.Errorf("%w: %s: %s", ErrNoLibrary, path, firstLine(err))
		}
		_ = ort.DisableTelemetry()
	}
	return &Engine{path}, nil
}

// Name is "ONNX Runtime 1.32.0 (path)".
func (e *Engine) Name() string { return fmt.Sprintf("ONNX Runtime %s (%s)", ort.GetVersion(), e.path) }

// seeds are those of the inputs: each model runs on several.
var seeds = []uint64{1, 2}

// sizes are tried, in order, for the free extents of a model's inputs; a free first one is 1.
var sizes = []int64{2, 64, 320, 256, 160, 513, 512, 576, 1}

// Compare runs both models. The largest difference of an output is relative to its largest value; it passes up to the
// tolerance, or to four times what a one-ulp jitter of the original's inputs, or of the parameters that were folded,
// changes.
func (e *Engine) Compare(ctx context.Context, c Comparison) report.Check {
	check, err := compare(ctx, c)
	switch {
	case ctx.Err() != nil:
		return report.Check{Status: report.NotRun, Note: "interrupted"}
	case err != nil:
		return report.Check{Status: report.NotRun, Note: err.Error()}
	}
	return check
}

func compare(ctx context.Context, c Comparison) (report.Check, error) {
	original, err := open(c.Original)
	if err != nil {
		return report.Check{}, fmt.Errorf("the original does not run: %s", firstLine(err))
	}
	defer original.close()
	folded, err := open(c.Folded)
	if err != nil {
		return failed("the folded model does not load: %s", firstLine(err)), nil
	}
	defer folded.close()
	if note := original.differs(folded); note != "" {
		return failed("%s", note), nil
	}
	check := report.Check{Status: report.Passed}
	for _, seed := range seeds {
		inputs, want, err := original.try(ctx, seed)
		if err != nil {
			return check, err
		}
		got, err := folded.run(ctx, inputs)
		if err != nil {
			return failed("the original runs, the folded model does not: %s", firstLine(err)), nil
		}
		g := gap(original.outputs, want, got)
		if g.note != "" {
			return failed("%s", g.note), nil
		}
		moved, err := original.run(ctx, jitter(inputs, seed))
		if err != nil {
			return check, err
		}
		noise := finite(gap(original.outputs, want, moved).largest)
		if g.largest > max(c.limit(), 4*noise) && c.Tolerance == 0 && c.Jittered != nil {
			answer, err := parameterJitter(ctx, c, original.outputs, inputs, want)
			if err != nil {
				return check, err
			}
			noise = max(noise, answer)
		}
		check.Difference, check.Jitter = max(check.Difference, finite(g.largest)), max(check.Jitter, noise)
		check.Compared += g.compared
		limit := c.limit()
		if c.Tolerance == 0 {
			limit = max(limit, 4*noise)
		}
		if g.largest > limit {
			check.Status = report.Mismatch
			check.Note = fmt.Sprintf("output %q is off by %.2g of its largest value at element %d, the limit is %.2g (jitter %.2g)", g.output, g.largest, g.element, limit, noise)
			return check, nil
		}
	}
	return check, nil
}

func finite(x float64) float64 {
	if math.IsNaN(x) || x > math.MaxFloat64 {
		return math.MaxFloat64
	}
	return x
}

func failed(text string, args ...any) report.Check {
	return report.Check{Status: report.Mismatch, Note: fmt.Sprintf(text, args...)}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}

// parameterJitter is the original's answer to a jitter of the parameters that were folded.
func parameterJitter(ctx context.Context, c Comparison, outputs []ort.InputOutputInfo, inputs []value, want []value) (float64, error) {
	folder, err := os.MkdirTemp("", "zoofold-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	path, err := c.Jittered(folder)
	if err != nil {
		return 0, fmt.Errorf("the jitter of parameters: %w", err)
	}
	s, err := open(path)
	if err != nil {
		return 0, fmt.Errorf("the jitter of parameters: %s", firstLine(err))
	}
	defer s.close()
	got, err := s.run(ctx, inputs)
	if err != nil {
		return 0, fmt.Errorf("the jitter of parameters: %s", firstLine(err))
	}
	return finite(gap(outputs, want, got).largest), nil
}

// session is a model that ONNX Runtime has loaded.
type session struct {
	inputs, outputs []ort.InputOutputInfo
	session         *ort.DynamicAdvancedSession
}

func open(path string) (*session, error) {
	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer options.Destroy()
	if err := errors.Join(options.SetGraphOptimizationLevel(ort.GraphOptimizationLevelDisableAll), options.SetIntraOpNumThreads(1), options.SetInterOpNumThreads(1), options.SetLogSeverityLevel(ort.LoggingLevelFatal)); err != nil {
		return nil, err
	}
	s := &session{}
	if s.inputs, s.outputs, err = ort.GetInputOutputInfoWithOptions(path, options); err != nil {
		return nil, err
	}
	if s.session, err = ort.NewDynamicAdvancedSession(path, names(s.inputs), names(s.outputs), options); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) close() { _ = s.session.Destroy() }

func names(list []ort.InputOutputInfo) []string {
	var out []string
	for _, x := range list {
		out = append(out, x.Name)
	}
	return out
}

// differs says what callers would notice: names, order and types of inputs and outputs.
func (s *session) differs(o *session) string {
	for _, side := range []struct {
		what string
		a, b []ort.InputOutputInfo
	}{{"input", s.inputs, o.inputs}, {"output", s.outputs, o.outputs}} {
		if len(side.a) != len(side.b) {
			return fmt.Sprintf("the original has %d %ss, the folded model %d", len(side.a), side.what, len(side.b))
		}
		for k := range side.a {
			a, b := side.a[k], side.b[k]
			if a.Name != b.Name || a.DataType != b.DataType || a.OrtValueType != b.OrtValueType {
				return fmt.Sprintf("%s %d is %s in the original, %s in the folded model", side.what, k, a.String(), b.String())
			}
		}
	}
	return ""
}

// value is a tensor that goes into a model or comes out of it.
type value struct {
	dtype tensor.DType
	shape []int64
	data  []float64
}

// try finds extents of free axes with which the model runs, and is the inputs and what it outputs.
func (s *session) try(ctx context.Context, seed uint64) (inputs, outputs []value, err error) {
	for _, x := range s.inputs {
		if x.OrtValueType != ort.ONNXTypeTensor || tensor.DType(x.DataType) == tensor.String || tensor.DType(x.DataType).Size() == 0 {
			return nil, nil, fmt.Errorf("input %q is no tensor of numbers", x.Name)
		}
	}
	for _, x := range s.outputs {
		if x.OrtValueType != ort.ONNXTypeTensor {
			return nil, nil, fmt.Errorf("output %q is no tensor", x.Name)
		}
	}
	var last error
	for _, size := range sizes {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		inputs, free, err := s.draw(size, seed)
		if err != nil {
			return nil, nil, err
		}
		outputs, err = s.run(ctx, inputs)
		if err == nil {
			return inputs, outputs, nil
		}
		last = err
		if !free {
			break
		}
	}
	return nil, nil, fmt.Errorf("the original does not run: %s", firstLine(last))
}

// maxInput bounds the elements of one input.
const maxInput = 1 << 27

// draw makes random inputs; free says that some extent was chosen.
func (s *session) draw(size int64, seed uint64) (inputs []value, free bool, err error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	for _, x := range s.inputs {
		v := value{dtype: tensor.DType(x.DataType), shape: []int64{}}
		for k, d := range x.Dimensions {
			if d < 0 {
				free = true
				if d = size; k == 0 {
					d = 1
				}
			}
			v.shape = append(v.shape, d)
		}
		n, ok := tensor.Elements(v.shape)
		if !ok || n > maxInput {
			return nil, false, fmt.Errorf("input %q of shape %v is too large to try", x.Name, v.shape)
		}
		v.data = make([]float64, n)
		for k := range v.data {
			switch {
			case v.dtype.Float():
				v.data[k] = rounded(rng.NormFloat64(), v.dtype)
			case v.dtype == tensor.Bool:
				v.data[k] = float64(seed % 2)
			case x.Name == "sr": // a sampling rate, as speech models have it
				v.data[k] = 16000
			default:
				v.data[k] = float64(rng.IntN(2))
			}
		}
		inputs = append(inputs, v)
	}
	return inputs, free, nil
}

// rounded is the number of a type that is nearest to x.
func rounded(x float64, d tensor.DType) float64 {
	raw, out := make([]byte, d.Size()), []float64{x}
	if tensor.Encode(raw, out, d) == nil {
		_ = tensor.Decode(out, raw, d) // of the same length and type
	}
	return out[0]
}

// jitter moves every float by at most one unit in the last place.
func jitter(inputs []value, seed uint64) []value {
	rng := rand.New(rand.NewPCG(seed, 9))
	unit := map[tensor.DType]float64{tensor.Float16: 0x1p-10, tensor.BFloat16: 0x1p-7, tensor.Float32: 0x1p-23, tensor.Float64: 0x1p-52}
	out := make([]value, len(inputs))
	for k, v := range inputs {
		out[k] = v
		if !v.dtype.Float() {
			continue
		}
		out[k].data = make([]float64, len(v.data))
		for j, x := range v.data {
			out[k].data[j] = rounded(x*(1+(2*rng.Float64()-1)*unit[v.dtype]), v.dtype)
		}
	}
	return out
}

// run is one prediction. It ends early when the context does.
func (s *session) run(ctx context.Context, inputs []value) (out []value, err error) {
	var in []ort.Value
	results := make([]ort.Value, len(s.outputs))
	defer func() {
		for _, v := range append(in, results...) {
			if v != nil {
				_ = v.Destroy()
			}
		}
	}()
	for _, v := range inputs {
		t, err := feed(v)
		if err != nil {
			return nil, err
		}
		in = append(in, t)
	}
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, err
	}
	defer options.Destroy()
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
			_ = options.Terminate()
		case <-done:
		}
	})
	err = s.session.RunWithOptions(in, results, options)
	close(done)
	watch.Wait()
	if err != nil {
		return nil, err
	}
	for k, r := range results {
		v, err := read(r)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", s.outputs[k].Name, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// feed makes an input of ONNX Runtime's.
func feed(v value) (ort.Value, error) {
	raw := make([]byte, len(v.data)*v.dtype.Size())
	if v.dtype.Float() {
		if err := tensor.Encode(raw, v.data, v.dtype); err != nil {
			return nil, err
		}
	} else {
		size := v.dtype.Size()
		for k, x := range v.data {
			for j := range size {
				raw[k*size+j] = byte(int64(x) >> (8 * j))
			}
		}
	}
	if len(v.shape) == 0 {
		switch v.dtype {
		case tensor.Int64:
			return ort.NewScalar(int64(v.data[0]))
		case tensor.Int32:
			return ort.NewScalar(int32(v.data[0]))
		case tensor.Float32:
			return ort.NewScalar(float32(v.data[0]))
		case tensor.Float64:
			return ort.NewScalar(v.data[0])
		case tensor.Bool:
			return ort.NewScalar(v.data[0] != 0)
		}
		return nil, fmt.Errorf("a single %v as input", v.dtype)
	}
	return ort.NewCustomDataTensor(ort.NewShape(v.shape...), raw, ort.TensorElementDataType(v.dtype))
}

// read is what an output holds.
func read(r ort.Value) (value, error) {
	v := value{shape: r.GetShape()}
	switch t := r.(type) {
	case *ort.Tensor[float32]:
		v.dtype, v.data = tensor.Float32, wide(t.GetData())
	case *ort.Tensor[float64]:
		v.dtype, v.data = tensor.Float64, wide(t.GetData())
	case *ort.Tensor[int64]:
		v.dtype, v.data = tensor.Int64, wide(t.GetData())
	case *ort.Tensor[int32]:
		v.dtype, v.data = tensor.Int32, wide(t.GetData())
	case *ort.Tensor[int16]:
		v.dtype, v.data = tensor.Int16, wide(t.GetData())
	case *ort.Tensor[int8]:
		v.dtype, v.data = tensor.Int8, wide(t.GetData())
	case *ort.Tensor[uint8]:
		v.dtype, v.data = tensor.Uint8, wide(t.GetData())
	case *ort.Tensor[uint16]:
		v.dtype, v.data = tensor.Uint16, wide(t.GetData())
	case *ort.Tensor[uint32]:
		v.dtype, v.data = tensor.Uint32, wide(t.GetData())
	case *ort.Tensor[uint64]:
		v.dtype, v.data = tensor.Uint64, wide(t.GetData())
	case *ort.Tensor[bool]:
		v.dtype = tensor.Bool
		for _, x := range t.GetData() {
			if x {
				v.data = append(v.data, 1)
			} else {
				v.data = append(v.data, 0)
			}
		}
	case *ort.CustomDataTensor:
		v.dtype = tensor.DType(t.DataType())
		raw := t.GetData()
		if size := v.dtype.Size(); size > 0 {
			v.data = make([]float64, len(raw)/size)
		}
		if err := tensor.Decode(v.data, raw, v.dtype); err != nil {
			return v, err
		}
	default:
		return v, fmt.Errorf("%v is not compared", r.GetONNXType())
	}
	return v, nil
}

func wide[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64](in []T) []float64 {
	out := make([]float64, len(in))
	for k, x := range in {
		out[k] = float64(x)
	}
	return out
}

// difference is how far outputs are apart.
type difference struct {
	largest  float64 // relative to the largest value of its output
	output   string
	element  int
	compared int64
	note     string // what no tolerance covers
}

// gap compares outputs. Numbers that are not finite have to be so in both.
func gap(infos []ort.InputOutputInfo, want, got []value) (d difference) {
	for k, a := range want {
		b := got[k]
		if a.dtype != b.dtype || len(a.data) != len(b.data) || fmt.Sprint(a.shape) != fmt.Sprint(b.shape) {
			d.note = fmt.Sprintf("output %q has shape %v in the original, %v in the folded model", infos[k].Name, a.shape, b.shape)
			d.largest = math.Inf(1)
			return d
		}
		top := 0.0
		for _, x := range a.data {
			if !math.IsNaN(x) && !math.IsInf(x, 0) {
				top = max(top, math.Abs(x))
			}
		}
		for j, x := range a.data {
			y := b.data[j]
			d.compared++
			switch {
			case x == y || math.IsNaN(x) && math.IsNaN(y):
				continue
			case math.IsNaN(x) || math.IsNaN(y) || math.IsInf(x, 0) || math.IsInf(y, 0):
				d.note = fmt.Sprintf("output %q is %g in the original and %g in the folded model at element %d", infos[k].Name, x, y, j)
				d.largest = math.Inf(1)
				return d
			}
			if r := math.Abs(x-y) / (top + 1e-30); r > d.largest {
				d.largest, d.output, d.element = r, infos[k].Name, j
			}
		}
	}
	return d
}
