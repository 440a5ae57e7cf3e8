package caffe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// python is a Python with what testdata/oracle.py needs.
func python(t *testing.T) string { return oracle.Python(t, "numpy", "cv2", "onnxruntime") }

// trial is one net for testdata/oracle.py: as it was, what was read of it as an ONNX model, and as it was folded.
type trial struct {
	Original      string             `json:"original"`
	Weights       string             `json:"weights"`
	ONNX          string             `json:"onnx"`
	Folded        string             `json:"folded"`
	FoldedWeights string             `json:"foldedWeights"`
	Inputs        map[string][]int64 `json:"inputs"`
	plan          *fold.Plan
}

// verdict is what the oracle says of a trial: differences relative to an output's largest value.
type verdict struct {
	Jitter float64        `json:"jitter"`
	ONNX   map[string]any `json:"onnx"`
	Folded map[string]any `json:"folded"`
	Error  string         `json:"error"`
}

// try exports a net as it is, folds it, and writes it, all into one folder.
func try(t *testing.T, path, weights, folder string) trial {
	t.Helper()
	f, err := format.Open(t.Context(), path, format.Options{Weights: weights})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x := trial{Original: path, Weights: f.Inputs()[1], Inputs: map[string][]int64{}}
	for _, v := range f.Model().Graph.Inputs {
		x.Inputs[v.Name] = v.Shape
	}
	x.ONNX = filepath.Join(folder, "original.onnx")
	if err := onnx.Export(context.Background(), f.Model(), formattest.Folder{Path: folder, Name: "original.onnx"}, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	g, err := format.Open(t.Context(), path, format.Options{Weights: weights})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if x.plan, err = fold.Fold(t.Context(), g.Model(), fold.Options{}); err != nil {
		t.Fatal(err)
	}
	out := formattest.Folder{Path: filepath.Join(folder, "folded"), Name: filepath.Base(path)}
	if _, err := g.Write(context.Background(), out, cpu.New(2)); err != nil {
		t.Fatal(err)
	}
	x.Folded = filepath.Join(out.Path, out.Name)
	x.FoldedWeights = filepath.Join(out.Path, format.Beside(path, g.Inputs()[1]))
	return x
}

// ask runs the oracle.
func ask(t *testing.T, trials []trial) []verdict {
	t.Helper()
	in, err := json.Marshal(trials)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python(t), filepath.Join("testdata", "oracle.py"))
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var list []verdict
	for line := range strings.Lines(string(out)) {
		var v verdict
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, v)
	}
	if err != nil || len(list) != len(trials) {
		t.Fatalf("%d answers for %d nets: %v: %s", len(list), len(trials), err, stderr.String())
	}
	return list
}

// holds fails where the oracle disagrees by more than float32 and the net's own sensitivity explain.
func (v verdict) holds(t *testing.T, name string) {
	t.Helper()
	limit := max(1e-4, 8*v.Jitter)
	if v.Error != "" || len(v.Folded) == 0 {
		t.Errorf("%s: %s, %d outputs compared", name, v.Error, len(v.Folded))
		return
	}
	for side, outputs := range map[string]map[string]any{"what was read": v.ONNX, "the folded net": v.Folded} {
		for output, d := range outputs {
			if x, ok := d.(float64); !ok || x > limit {
				t.Errorf("%s: %s: %s differs by %v, jitter %.1e", name, side, output, d, v.Jitter)
			}
		}
	}
}

func TestOpenCV_RunsGeneratedNetsAsReadAndFolded(t *testing.T) {
	python(t)
	count := uint64(200)
	if testing.Short() {
		count = 20
	}
	var trials []trial
	folded, left := 0, 0
	for seed := range count {
		folder := t.TempDir()
		path, o, err := zootest.Caffe(seed, folder)
		if err != nil {
			t.Fatal(err)
		}
		x := try(t, path, o.Weights, folder)
		folded, left = folded+x.plan.Before-x.plan.After, left+x.plan.After
		trials = append(trials, x)
	}
	t.Logf("%d nets: %d per-channel nodes folded, %d left", count, folded, left)
	if folded < int(count) {
		t.Errorf("only %d per-channel nodes of %d nets were folded", folded, count)
	}
	for seed, v := range ask(t, trials) {
		v.holds(t, fmt.Sprintf("seed %d", seed))
	}
}

func TestOpenCV_RunsEveryFormOfALayerAsRead(t *testing.T) {
	python(t)
	var trials []trial
	var names []string
	for _, x := range []struct {
		typ, params string
		blobs       [][]byte
	}{
		{"Convolution", "convolution_param { num_output: 6 kernel_h: 3 kernel_w: 2 pad_h: 0 pad_w: 1 stride_h: 2 stride_w: 1 group: 2 bias_term: false }", [][]byte{random(6, 2, 3, 2)}},
		{"Convolution", "convolution_param { num_output: 6 kernel_size: [3, 2] pad: 1 pad: 0 stride: 2 dilation: 1 }", [][]byte{random(6, 4, 3, 2), random(6)}},
		{"ConvolutionDepthwise", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }", [][]byte{random(4, 1, 3, 3), random(4)}},
		{"Deconvolution", "convolution_param { num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 2 }", [][]byte{random(4, 3, 4, 4), random(6)}},
		{"InnerProduct", "inner_product_param { num_output: 3 axis: 3 }", [][]byte{random(3, 7), random(3)}},
		{"InnerProduct", "inner_product_param { num_output: 3 axis: -2 bias_term: false }", [][]byte{random(3, 42)}},
		{"BatchNorm", "", [][]byte{random(4), random(4), blob([]int64{1}, 0)}},
		{"BatchNorm", "batch_norm_param { eps: 0.01 }", [][]byte{random(4), random(4), blob([]int64{1}, 0.25)}},
		{"BatchNorm", "batch_norm_param { scale_bias: true eps: 0.01 }", [][]byte{random(4), random(4), blob([]int64{1}, 1), random(4), random(4)}},
		{"BN", "bn_param { eps: 0.01 frozen: true }", [][]byte{random(1, 4), random(1, 4), random(1, 4), absolute(1, 4)}},
		{"BN", "bn_param { bn_mode: INFERENCE }", [][]byte{random(1, 4, 1, 1), random(1, 4, 1, 1)}},
		{"SyncBN", "", [][]byte{random(4), random(4), random(4), absolute(4)}},
		{"CuDNNBatchNorm", "cudnn_batch_norm_param { eps: 0.01 momentum: 0.9 }", [][]byte{random(1, 4, 1, 1), random(1, 4, 1, 1), random(1, 4, 1, 1), absolute(1, 4, 1, 1)}},
		{"BatchNorm", "batch_norm_param { use_global_stats: false }", [][]byte{random(4), random(4), blob([]int64{1}, 1)}},
		{"Scale", "scale_param { axis: 2 }", [][]byte{random(6)}},
		{"Scale", "scale_param { axis: 3 }", [][]byte{random(7)}},
		{"Scale", "scale_param { num_axes: -1 }", [][]byte{random(4, 6, 7)}},
		{"Scale", "scale_param { axis: 1 bias_term: true }", [][]byte{random(4), random(4)}},
		{"Scale", "scale_param { axis: 0 num_axes: 2 }", [][]byte{random(1, 4)}},
		{"Power", "power_param { power: 1 scale: 2 shift: -0.5 }", nil},
		{"Power", "power_param { power: 2 }", nil},
		{"Power", "", nil},
		{"ReLU", "relu_param { negative_slope: 0.25 }", nil},
		{"PReLU", "", [][]byte{random(4)}},
		{"ELU", "elu_param { alpha: 0.5 }", nil},
		{"Sigmoid", "", nil}, {"TanH", "", nil}, {"AbsVal", "", nil}, {"BNLL", "", nil}, {"Exp", "", nil}, {"Swish", "", nil},
		{"Softmax", "softmax_param { axis: 2 }", nil},
		{"Softmax", "softmax_param { axis: -1 }", nil},
		{"LRN", "lrn_param { local_size: 3 alpha: 2 beta: 0.5 }", nil},
		{"Pooling", "pooling_param { kernel_size: 3 stride: 2 }", nil},
		{"Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 pad: 1 }", nil},
		{"Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }", nil},
		{"Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", nil},
		{"Pooling", "pooling_param { pool: 1 kernel_size: 4 stride: 3 pad: 2 }", nil},
		{"Pooling", "pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0 }", nil},
		{"Pooling", "pooling_param { pool: AVE global_pooling: true }", nil},
		{"Pooling", "pooling_param { pool: MAX global_pooling: true }", nil},
		{"Flatten", "", nil},
		{"Flatten", "flatten_param { axis: 2 }", nil},
		{"Flatten", "flatten_param { axis: 1 end_axis: 2 }", nil},
		{"Flatten", "flatten_param { axis: 0 end_axis: 1 }", nil},
		{"Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }", nil},
		{"Reshape", "reshape_param { shape { dim: 3 dim: -1 } axis: 2 num_axes: 1 }", nil},
		{"Permute", "permute_param { order: 0 order: 3 order: 1 order: 2 }", nil},
		{"ShuffleChannel", "shuffle_channel_param { group: 2 }", nil},
		{"Interp", "interp_param { height: 9 width: 8 }", nil},
		{"Interp", "interp_param { zoom_factor: 3 }", nil},
		{"Dropout", "dropout_param { dropout_ratio: 0.9 }", nil},
	} {
		prototxt := fmt.Sprintf("layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 4 dim: 6 dim: 7 } } }\nlayer { name: 'l' type: %q bottom: 'data' top: 'l' %s }\n", x.typ, x.params)
		path := net(t, prototxt, weights("l", x.blobs...))
		trials, names = append(trials, try(t, path, "", filepath.Dir(path))), append(names, x.typ+" "+x.params)
	}
	for k, v := range ask(t, trials) {
		if len(v.ONNX) == 0 && v.Error == "" {
			v.Error = "nothing was read"
		}
		v.holds(t, names[k])
	}
}

// mobileNet is the net of the blog post, with weights, in a new folder; deploy is what its author made of it by hand.
func mobileNet(t *testing.T) (path, deploy string) {
	t.Helper()
	deploy = oracle.Shared(t, "models/caffe/mobilenet-ssd/MobileNetSSD_deploy.prototxt")
	path = filepath.Join(t.TempDir(), "mobilenet-ssd")
	test := strings.Replace(deploy, "deploy", "test", 1)
	if out, err := exec.Command(python(t), oracle.Shared(t, "conformance/make_caffe.py"), test, path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path + ".prototxt", deploy
}

func TestPublished_BlogNetFoldsIntoItsAuthorsDeployNet(t *testing.T) {
	path, deploy := mobileNet(t)
	x := try(t, path, "", filepath.Dir(path))
	if x.plan.Before != 70 || x.plan.After != 0 {
		t.Errorf("%d -> %d per-channel nodes, want 70 -> 0", x.plan.Before, x.plan.After)
	}
	// The author keeps more boxes; the generated net has a layer for what the deploy net calls its input.
	differs := map[string]string{"data": "", "detection_out": "nms_param.top_k keep_top_k confidence_threshold"}
	want, got := lines(t, deploy), lines(t, x.Folded)
	for name, a := range got {
		allowed, known := differs[name]
		for field, value := range a {
			if want[name][field] != value && !(known && (allowed == "" || strings.Contains(allowed, strings.TrimPrefix(field, "detection_output_param.")))) {
				t.Errorf("%s: %s is %s, the author has %q", name, field, value, want[name][field])
			}
		}
	}
	for name, a := range want {
		for field, value := range a {
			if _, ok := got[name][field]; !ok {
				t.Errorf("%s: %s is missing, the author has %s", name, field, value)
			}
		}
	}
	for _, v := range ask(t, []trial{x}) {
		v.holds(t, "MobileNet-SSD")
		t.Logf("read: %v, folded: %v, jitter %.1e", v.ONNX, v.Folded, v.Jitter)
	}
}

// lines are the parameters of each layer of a prototxt, by path: "convolution_param.num_output". Those that say how a net is
// trained, and a bias_term true where that is the default, are left out. The text is read line by line, as it is indented.
func lines(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]string{}
	var at []string
	var layer map[string]string
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		key = strings.TrimSuffix(key, ":")
		switch {
		case value == "{" && key == "layer":
			layer = map[string]string{}
			at = nil
		case value == "{":
			at = append(at, key)
		case key == "}" && len(at) > 0:
			at = at[:len(at)-1]
		case key == "}" && layer != nil:
			all[strings.Trim(layer["name"], `";`)], layer = layer, nil
		case layer != nil && !slices.ContainsFunc(at, func(p string) bool { return p == "param" || strings.HasSuffix(p, "_filler") }) && line != "    bias_term: true\n":
			layer[strings.Join(append(at, key), ".")] += value + ";"
		}
	}
	return all
}

func TestOpenCV_RunsThePublishedNetThatStartsWithABatchNorm(t *testing.T) {
	x := try(t, oracle.Shared(t, "models/caffe/wechat-detect.prototxt"), "", t.TempDir())
	if x.plan.Before != 4 || x.plan.After != 0 { // its first BatchNorm has mean 0: no border stands in its way
		t.Errorf("%d -> %d: %+v", x.plan.Before, x.plan.After, x.plan.Maps)
	}
	for _, v := range ask(t, []trial{x}) {
		v.holds(t, "wechat-detect")
		t.Logf("read: %v, folded: %v, jitter %.1e", v.ONNX, v.Folded, v.Jitter)
	}
}

func TestOpenCV_RunsEditedTexts(t *testing.T) {
	var trials []trial
	var names []string
	for name, layers := range texts {
		if name != "phases" { // OpenCV has no layers that read data
			path := net(t, original(t, name), layers...)
			trials, names = append(trials, try(t, path, "", filepath.Dir(path))), append(names, name)
		}
	}
	for k, v := range ask(t, trials) {
		v.holds(t, names[k])
	}
}
