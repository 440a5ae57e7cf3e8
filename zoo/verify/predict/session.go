//go:build cgo

package predict

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// session is a model that ONNX Runtime has loaded.
type session struct {
	inputs, outputs []ort.InputOutputInfo
	asked           []string // the outputs that are computed: the model's own, or casts of them, and the taps
	labels          []string // their names in messages
	session         *ort.DynamicAdvancedSession
}

// level is ONNX Runtime's level of graph optimisation.
type level = ort.GraphOptimizationLevel

const (
	asWritten  level = ort.GraphOptimizationLevelDisableAll // for comparisons: the graph runs as it is in the file
	production level = ort.GraphOptimizationLevelEnableAll  // for latency: as users run it
)

// open loads a model. taps are inner values that are computed beside the outputs.
func open(path string, taps []string, optimize level) (*session, error) {
	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer options.Destroy()
	if err := errors.Join(
		options.SetGraphOptimizationLevel(optimize), options.SetIntraOpNumThreads(1), options.SetInterOpNumThreads(1),
		options.SetLogSeverityLevel(ort.LoggingLevelFatal),
		options.AddSessionConfigEntry("session.model_external_initializers_file_folder_path", filepath.Dir(path)),
	); err != nil {
		return nil, err
	}
	s := &session{}
	if s.inputs, s.outputs, err = ort.GetInputOutputInfoWithOptions(path, options); err != nil {
		return nil, err
	}
	casts := s.ask(taps)
	if len(casts) == 0 {
		s.session, err = ort.NewDynamicAdvancedSession(path, names(s.inputs), s.asked, options)
		return s, err
	}
	data, err := extended(path, casts)
	if err != nil {
		return nil, err
	}
	s.session, err = ort.NewDynamicAdvancedSessionWithONNXData(data, names(s.inputs), s.asked, options)
	return s, err
}

// ask decides which outputs are computed, and returns the casts that have to be added to the model.
func (s *session) ask(taps []string) (casts []cast) {
	for k, x := range s.outputs {
		name := x.Name
		if d := tensor.DType(x.DataType); d == tensor.Float16 || d == tensor.BFloat16 { // the binding cannot read these
			name = fmt.Sprintf("zoofold.output.%d", k)
			casts = append(casts, cast{x.Name, name, tensor.Float32})
		}
		s.asked, s.labels = append(s.asked, name), append(s.labels, fmt.Sprintf("output %q", x.Name))
	}
	for k, t := range taps {
		name := fmt.Sprintf("zoofold.tap.%d", k)
		casts = append(casts, cast{t, name, tensor.Float64})
		s.asked, s.labels = append(s.asked, name), append(s.labels, fmt.Sprintf("%q, before it is squashed,", t))
	}
	return casts
}

func (s *session) close() { _ = s.session.Destroy() } // it is not used again, whatever the answer

func names(list []ort.InputOutputInfo) []string {
	var out []string
	for _, x := range list {
		out = append(out, x.Name)
	}
	return out
}

// differs says how two models differ for callers: in the names (unless unnamed), order or types of inputs and outputs.
func (s *session) differs(o *session, unnamed bool) string {
	for _, side := range []struct {
		what string
		a, b []ort.InputOutputInfo
	}{{"input", s.inputs, o.inputs}, {"output", s.outputs, o.outputs}} {
		if len(side.a) != len(side.b) {
			return fmt.Sprintf("the original has %d %ss, the folded model %d", len(side.a), side.what, len(side.b))
		}
		for k := range side.a {
			a, b := side.a[k], side.b[k]
			if !unnamed && a.Name != b.Name || a.DataType != b.DataType || a.OrtValueType != b.OrtValueType {
				return fmt.Sprintf("%s %d is %s in the original, %s in the folded model", side.what, k, a.String(), b.String())
			}
		}
	}
	return ""
}

// trial is a choice for the free axes of a model's inputs: batch for a first axis, size for others.
type trial struct{ size, batch int64 }

// extents are the choices that are tried for the free axes of a model's inputs.
type extents struct {
	trials []trial // in this order
	most   int64   // elements of one input
}

// small are for comparisons: any size shows a difference, and a small one is fastest.
var small = extents{single(2, 64, 224, 128, 320, 256, 160, 384, 640, 513, 512, 576, 32, 1), 1 << 27}

// single are trials with a batch of 1.
func single(sizes ...int64) (list []trial) {
	for _, size := range sizes {
		list = append(list, trial{size, 1})
	}
	return list
}

// other are further trials after t, which runs, the most different first, and t last: an odd size or a larger batch shows
// whether folding relied on a size that the file declares and the inputs do not imply.
func (e extents) other(t trial) extents {
	odd := t.size + 1 + t.size%2
	e.trials = nil
	for _, batch := range []int64{2, 1} {
		for _, size := range []int64{odd, t.size + 32, t.size} {
			e.trials = append(e.trials, trial{size, batch})
		}
	}
	return e
}

// try finds extents of free axes with which the model runs, and returns its inputs and outputs.
func (s *session) try(ctx context.Context, seed uint64, e extents) (inputs, outputs []value, with trial, err error) {
	for _, x := range s.inputs {
		if x.OrtValueType != ort.ONNXTypeTensor || tensor.DType(x.DataType) == tensor.String || tensor.DType(x.DataType).Size() == 0 {
			return nil, nil, with, fmt.Errorf("input %q is no tensor of numbers", x.Name)
		}
	}
	for _, x := range s.outputs {
		if x.OrtValueType != ort.ONNXTypeTensor {
			return nil, nil, with, fmt.Errorf("output %q is no tensor", x.Name)
		}
	}
	var last error
	for _, with := range e.trials {
		if err := ctx.Err(); err != nil {
			return nil, nil, with, err
		}
		inputs, free, err := s.draw(with, seed, e.most)
		if err == nil {
			if outputs, err = s.run(ctx, inputs); err == nil {
				return inputs, outputs, with, nil
			}
		}
		last = err
		if !free {
			break
		}
	}
	return nil, nil, with, fmt.Errorf("the original does not run: %s", firstLine(last))
}

// draw makes random inputs of at most so many elements; free says that some extent was chosen.
func (s *session) draw(with trial, seed uint64, most int64) (inputs []value, free bool, err error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	for _, x := range s.inputs {
		v := value{dtype: tensor.DType(x.DataType), shape: []int64{}}
		for k, d := range x.Dimensions {
			if d < 0 {
				free = true
				if d = with.size; k == 0 {
					d = with.batch
				}
			}
			v.shape = append(v.shape, d)
		}
		n, ok := tensor.Elements(v.shape)
		if !ok || n > most {
			return nil, free, fmt.Errorf("input %q of shape %v is too large to try", x.Name, v.shape)
		}
		v.data = make([]float64, n)
		for k := range v.data {
			switch {
			case v.dtype.Float():
				v.data[k] = v.dtype.Round(rng.NormFloat64())
			case v.dtype == tensor.Bool:
				v.data[k] = float64(seed % 2)
			case x.Name == "sr": // the sampling rate of a speech model
				v.data[k] = 16000
			default:
				v.data[k] = float64(rng.IntN(2))
			}
		}
		inputs = append(inputs, v)
	}
	return inputs, free, nil
}

// run is one prediction. It ends early when the context does.
func (s *session) run(ctx context.Context, inputs []value) (out []value, err error) {
	in, err := feeds(inputs)
	defer destroy(in)
	if err != nil {
		return nil, err
	}
	results, _, err := s.execute(ctx, in)
	defer destroy(results)
	if err != nil {
		return nil, err
	}
	for k, r := range results {
		v, err := read(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.labels[k], err)
		}
		out = append(out, v)
	}
	return out, nil
}

// execute is ONNX Runtime's part of a prediction; took is its time by clock. The results have to be destroyed, also after
// an error.
func (s *session) execute(ctx context.Context, in []ort.Value) (results []ort.Value, took time.Duration, err error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, 0, err
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
	results = make([]ort.Value, len(s.asked))
	runtime.LockOSThread() // ONNX Runtime works on this thread, whose time clock measures
	started := clock()
	err = s.session.RunWithOptions(in, results, options)
	took = clock() - started
	runtime.UnlockOSThread()
	close(done)
	watch.Wait()
	return results, took, err
}

// feeds makes inputs of ONNX Runtime's. They have to be destroyed, also after an error.
func feeds(inputs []value) (in []ort.Value, err error) {
	for _, v := range inputs {
		t, err := feed(v)
		if err != nil {
			return in, err
		}
		in = append(in, t)
	}
	return in, nil
}

func destroy(list []ort.Value) {
	for _, v := range list {
		if v != nil {
			_ = v.Destroy() // it is not used again, whatever the answer
		}
	}
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

// read copies an output.
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
