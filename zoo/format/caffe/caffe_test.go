package caffe_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/caffe"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Caffe, Seeds: 40, Damages: 2000}.Run(t)
}

func open(t testing.TB, path string) format.File {
	t.Helper()
	f, err := format.Open(t.Context(), path, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// folded folds a net, writes it into a new folder, and proves what was written.
func folded(t testing.TB, path string) (written string, plan *fold.Plan) {
	t.Helper()
	f := open(t, path)
	plan, err := fold.Fold(t.Context(), f.Model(), fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := formattest.Folder{Path: t.TempDir(), Name: filepath.Base(path)}
	renamed, err := f.Write(context.Background(), out, verify.NewParity(cpu.New(2)))
	if err != nil {
		t.Fatal(err)
	}
	written = filepath.Join(out.Path, out.Name)
	again := open(t, written)
	verify.Rename(again.Model(), renamed)
	r, err := verify.Algebra(context.Background(), open(t, path).Model(), again.Model(), plan)
	if err != nil || r.Failed != "" || len(r.NotRun) > 0 || r.Passed != len(plan.Regions) {
		t.Errorf("%d of %d regions hold, %s %v %v", r.Passed, len(plan.Regions), r.Failed, r.NotRun, err)
	}
	return written, plan
}

// bn is a BatchNorm's weights.
func bn(name string, channels int64) []byte {
	return weights(name, random(channels), random(channels), blob([]int64{1}, 2))
}

// texts are the nets of testdata/text, by name, with their weights.
var texts = map[string][][]byte{
	"inplace": {
		weights("conv", random(4, 3, 3, 3)), bn("conv/bn", 4), weights("conv/scale", random(4), random(4)),
		weights("fc", random(2, 256)), weights("fc/scale", random(2), random(2)),
	},
	"owntops": {
		bn("data/bn", 3), weights("conv1", random(4, 3, 3, 3), random(4)), bn("bn1", 4),
		weights("conv2", random(2, 4, 1, 1), random(2)), weights("scale2", random(2)),
	},
	"gains": {
		bn("bn1", 4), weights("scale1", random(4)), bn("bn2", 4), weights("scale2", random(4)), bn("bn3", 4), weights("scale3", random(4)),
		bn("bn4", 4), weights("scale4", random(4)), bn("bn5", 4), weights("scale5", random(4)), bn("bn6", 4), weights("scale6", random(4)),
	},
	"phases":      {weights("conv1", random(4, 3, 3, 3), random(4)), bn("bn1", 4), weights("fc", random(2, 144), random(2))},
	"overwritten": {weights("conv", random(4, 3, 3, 3), random(4)), bn("bn", 4), weights("conv2", random(2, 4, 1, 1), random(2)), weights("conv3", random(2, 4, 1, 1), random(2))},
	"shared":      {weights("conv1", random(4, 4, 3, 3), random(4)), bn("bn1", 4), weights("conv2", random(4, 4, 3, 3), random(4)), bn("bn2", 4)},
	"v1": {
		message(2, text(4, "conv1"), message(6, number(1, 4), number(2, 3), number(3, 3), number(4, 3), noise(108, true))),
		message(2, text(4, "fc"), message(6, number(1, 1), number(2, 1), number(3, 2), number(4, 144), noise(288, true)), message(6, shape(2), floats(1, 2))),
	},
}

// original is the prototxt of one of them.
func original(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "text", name+".prototxt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWrite_TextChangesOnlyWhereTheNetDoes(t *testing.T) {
	for name, layers := range texts {
		t.Run(name, func(t *testing.T) {
			written, _ := folded(t, net(t, original(t, name), layers...))
			got, err := os.ReadFile(written)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "text", name+".golden")
			if *formattest.Update {
				if err := os.WriteFile(golden, got, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || string(got) != string(want) {
				t.Errorf("%v: it is\n%s", err, got)
			}
		})
	}
}

func TestByteOrderMark_IsSkippedAndKept(t *testing.T) {
	const mark = "\ufeff"
	written, plan := folded(t, net(t, mark+original(t, "inplace"), texts["inplace"]...))
	got, err := os.ReadFile(written)
	if err != nil || plan.After != 0 || !strings.HasPrefix(string(got), mark+"name:") {
		t.Errorf("%v: %d left, it is\n%q", err, plan.After, got)
	}
}

func TestWrite_KeepsCRLFLineEnds(t *testing.T) {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for name, layers := range texts {
		written, _ := folded(t, net(t, crlf(original(t, name)), layers...))
		got, err := os.ReadFile(written)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", "text", name+".golden"))
		if err != nil || string(got) != crlf(string(want)) {
			t.Errorf("%s: %v: it is\n%q", name, err, got)
		}
	}
}

// conv is a net of one convolution of four channels, written with these parameters.
func conv(params string) string {
	return "input: 'data' input_shape { dim: 1 dim: 4 dim: 6 dim: 6 }\n" +
		"layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' convolution_param { " + params + " } }\n"
}

// one is a layer of a type that reads "data".
func one(typ, params string) string {
	return "input: 'data' input_shape { dim: 1 dim: 4 dim: 6 dim: 6 }\n" +
		"layer { name: 'l' type: '" + typ + "' bottom: 'data' top: 'l' " + params + " }\n"
}

func TestOpen_BadFilesGetOneClearError(t *testing.T) {
	good := conv("num_output: 4 kernel_size: 1")
	weight, bias := random(4, 4, 1, 1), random(4)
	whole := weights("conv", weight, bias)
	for _, test := range []struct {
		name   string
		text   string
		layers [][]byte
		kind   error
		want   string // the message holds that
	}{
		{"a value is missing", "name: \"x\"\nlayer { name: }\n", nil, format.ErrCorrupt, `net.prototxt:2:15: want a value for "name", found "}"`},
		{"a colon is missing", "layer { name \"x\" }", nil, format.ErrCorrupt, `net.prototxt:1:14: want : or { behind "name", found "\"x\""`},
		{"a brace is missing", "\n\nlayer { name: 'x' ", nil, format.ErrCorrupt, "net.prototxt:3:7: the message that starts here does not end"},
		{"a brace too many", good + "}", nil, format.ErrCorrupt, `net.prototxt:3:1: want the name of a field, found "}"`},
		{"a brace of the other kind", "layer { name: 'x' >", nil, format.ErrCorrupt, `net.prototxt:1:19: '>' closes '{'`},
		{"a string without end", "layer { name: 'x\n }", nil, format.ErrCorrupt, "net.prototxt:1:15: a string that does not end on its line"},
		{"a list without end", "layer { dim: [ 1 2 ] }", nil, format.ErrCorrupt, `net.prototxt:1:18: want , or ] in the list of "dim"`},
		{"messages in messages in messages", strings.Repeat("a { ", 1<<20), nil, format.ErrLimit, "nested more than 64 deep"},
		{"more fields than are granted", strings.Repeat("a: 1\n", 1<<20+1), nil, format.ErrLimit, "more than 1048576 fields"},
		{"more bytes than are granted", strings.Repeat(" ", 32<<20+1), nil, format.ErrLimit, "33554433 bytes of text"},
		{"a solver", "net: 'x.prototxt' base_lr: 0.1", nil, format.ErrCorrupt, "it has no layer for phase TEST"},
		{"two versions in one", good + "layers { name: 'x' type: RELU bottom: 'conv' top: 'conv' }", nil, format.ErrCorrupt, "net.prototxt:2:1: layer here, but layers in line 3"},
		{"the first version of all", "layers { layer { name: 'x' type: 'conv' } bottom: 'a' top: 'b' }", nil, format.ErrCorrupt, "upgrade_net_proto_text"},
		{"layers in a list", "layer: [ { name: 'x' type: 'Input' top: 'x' } ]", nil, format.ErrCorrupt, "net.prototxt:1:10: layers in a list cannot be edited"},
		{"a layer without a type", "layer { name: 'x' }", nil, format.ErrCorrupt, `net.prototxt:1:1: layer "x" has no type`},
		{"a blob that nobody makes", "layer { name: 'x' type: 'ReLU' bottom: 'y' top: 'x' }", nil, format.ErrCorrupt, `net.prototxt:1:32: layer "x" reads "y", which no layer before it makes`},
		{"a blob of training alone", "layer { name: 'd' type: 'Input' top: 'y' include { phase: TRAIN } } layer { name: 'x' type: 'ReLU' bottom: 'y' top: 'x' }", nil, format.ErrUnread, `net.prototxt:1:100: layer "x" reads "y", which in phase TEST no layer makes, only "d" for another phase`},
		{"a blob that two layers make", good + "layer { name: 'x' type: 'ReLU' bottom: 'data' top: 'conv' }", nil, format.ErrCorrupt, `layer "x" makes "conv", as layer "conv" does`},
		{"include and exclude", "layer { name: 'x' type: 'Input' top: 'x' include { } exclude { } }", nil, format.ErrCorrupt, "both include and exclude"},
		{"inputs without their shapes", "input: 'a' input: 'b' input_dim: 1 layer { name: 'x' type: 'ReLU' bottom: 'a' top: 'x' }", nil, format.ErrCorrupt, "want one shape or four dims for each"},
		{"a word for a number", conv("num_output: many kernel_size: 1"), [][]byte{whole}, format.ErrCorrupt, `net.prototxt:2:89: layer "conv": want a whole number as value of "num_output", found "many"`},
		{"a number twice", conv("num_output: 4 num_output: 4 kernel_size: 1"), [][]byte{whole}, format.ErrCorrupt, `want one value of "num_output"`},
		{"a number out of all bounds", conv("num_output: 99999999999999999999 kernel_size: 1"), [][]byte{whole}, format.ErrCorrupt, `want a whole number`},
		{"no kernel", conv("num_output: 4"), [][]byte{whole}, format.ErrCorrupt, "have to be positive"},
		{"groups that do not fit", conv("num_output: 4 kernel_size: 1 group: 3"), [][]byte{whole}, format.ErrCorrupt, "4 outputs, 3 groups for 4 channels"},
		{"a pad as large as the kernel", one("Pooling", "pooling_param { kernel_size: 2 pad: 2 }"), nil, format.ErrCorrupt, "the pad has to be less than the kernel"},
		{"slice points that do not rise", one("Slice", "top: 'm' slice_param { slice_point: 4 }"), nil, format.ErrCorrupt, "slice points [4] of an axis of extent 4"},
		{"a layer without weights", good, [][]byte{weights("other", weight)}, format.ErrCorrupt, `net.prototxt:2:1: layer "conv": net.caffemodel holds no layer of that name: do the files belong together?`},
		{"a weight missing", good, [][]byte{weights("conv", weight)}, format.ErrCorrupt, `layer "conv": net.caffemodel holds 1 blobs for it, want 2`},
		{"a weight too many", conv("num_output: 4 kernel_size: 1 bias_term: false"), [][]byte{whole}, format.ErrCorrupt, "holds 2 blobs for it, want 1"},
		{"a weight of another shape", good, [][]byte{weights("conv", random(4, 3, 1, 1), bias)}, format.ErrCorrupt, "blob 0 in net.caffemodel has shape [4 3 1 1], want [4 4 1 1]"},
		{"a bias of another length", good, [][]byte{weights("conv", weight, random(5))}, format.ErrCorrupt, "blob 1 in net.caffemodel has shape [5], want [4]"},
		{"statistics of another length", one("BatchNorm", ""), [][]byte{weights("l", random(4), random(3), random(1))}, format.ErrCorrupt, "has shape [3], want [4]"},
		{"fewer elements than the shape has", good, [][]byte{weights("conv", blob([]int64{4, 4, 1, 1}, 1, 2, 3), bias)}, format.ErrCorrupt, `net.caffemodel: layer "conv": blob 0: byte`},
		{"2^60 elements", good, [][]byte{weights("conv", blob([]int64{1 << 30, 1 << 30}), bias)}, format.ErrCorrupt, "its shape is [1073741824 1073741824], but it has 0 elements"},
		{"a negative extent", good, [][]byte{weights("conv", blob([]int64{-4}, 1), bias)}, format.ErrCorrupt, "its shape is [-4]"},
		{"elements of two types", good, [][]byte{weights("conv", message(7, shape(2), floats(1), doubles(2)), bias)}, format.ErrCorrupt, "elements of two types"},
		{"an unknown type of raw elements", good, [][]byte{weights("conv", message(7, shape(1), number(10, 3), text(12, "abcd")), bias)}, format.ErrCorrupt, "4 bytes of elements of type 3"},
		{"half an element", good, [][]byte{weights("conv", message(7, shape(1), text(5, "abc")), bias)}, format.ErrCorrupt, "3 bytes are no whole number of elements"},
		{"more blobs than are granted", good, [][]byte{message(100, bytes.Repeat(message(7), 1<<18))}, format.ErrLimit, "more than 262144 layers and blobs"},
		{"a layer twice", good, [][]byte{whole, whole}, format.ErrCorrupt, `layer "conv" is there twice`},
		{"a caffemodel that ends early", good, [][]byte{whole[:len(whole)-3]}, format.ErrCorrupt, "net.caffemodel: byte 0: field 100 claims"},
		{"an HDF5 file", good, [][]byte{[]byte("\x89HDF\r\n\x1a\n")}, format.ErrCorrupt, "net.caffemodel: not a caffemodel: it looks like an HDF5 file"},
		{"a pointer to the file", good, [][]byte{[]byte("version https://git-lfs.github.com/spec/v1\n")}, format.ErrCorrupt, "Git LFS pointer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := net(t, test.text, test.layers...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := format.Open(t.Context(), path, format.Options{})
			runtime.ReadMemStats(&after)
			if err == nil {
				f.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Errorf("%v\nwant %s", err, test.want)
			}
			size := len(test.text) + len(slices.Concat(test.layers...))
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20+40*uint64(size) {
				t.Errorf("%d MB were allocated for %d bytes", used>>20, size)
			}
		})
	}
}

func TestOpen_MissingCaffemodelNamesTheManifestsKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.prototxt")
	if err := os.WriteFile(path, []byte(conv("num_output: 4")), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, o := range []format.Options{{}, {Weights: filepath.Join(t.TempDir(), "other.caffemodel")}} {
		if _, err := format.Open(t.Context(), path, o); !errors.Is(err, fs.ErrNotExist) || o.Weights == "" && !strings.Contains(err.Error(), "the manifest's weights") {
			t.Errorf("%v", err)
		}
	}
}

// inside is the content of the first field that a path of numbers leads to.
func inside(t *testing.T, data []byte, path ...protowire.Number) []byte {
	t.Helper()
	for _, n := range path {
		found := false
		for len(data) > 0 && !found {
			number, kind, head := protowire.ConsumeTag(data)
			size := protowire.ConsumeFieldValue(number, kind, data[max(head, 0):])
			if head < 0 || size < 0 {
				t.Fatalf("field %d of %v: not protobuf", n, path)
			}
			value := data[head : head+size]
			data = data[head+size:]
			if found = number == n; found {
				data = value
				if kind == protowire.BytesType {
					data, _ = protowire.ConsumeBytes(value)
				}
			}
		}
		if !found {
			t.Fatalf("there is no field %d of %v", n, path)
		}
	}
	return data
}

func TestWrite_CaffemodelAndPrototxtDescribeLayersAlike(t *testing.T) {
	text12 := "a field that nobody knows"
	prototxt := conv("num_output: 4 kernel_size: 1 bias_term: false") +
		"layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'y' }\nlayer { name: 'bn2' type: 'BatchNorm' bottom: 'data' top: 'z' }\n" +
		"layer { name: 's2' type: 'Scale' bottom: 'z' top: 'z' }"
	path := net(t, prototxt, message(100,
		text(1, "conv"), text(2, "Convolution"), text(3, "data"), text(4, "conv"), random(4, 4, 1, 1),
		message(106, number(1, 4), number(2, 0), number(4, 1)), text(7777, text12),
	), bn("bn", 4), bn("bn2", 4), weights("s2", random(4)))
	written, _ := folded(t, path)
	data, err := os.ReadFile(strings.TrimSuffix(written, ".prototxt") + ".caffemodel")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		path []protowire.Number
		want string
	}{
		{[]protowire.Number{100, 3}, "data"}, {[]protowire.Number{100, 4}, "y"},
		{[]protowire.Number{100, 106, 1}, "\x04"}, {[]protowire.Number{100, 106, 2}, "\x01"}, {[]protowire.Number{100, 7777}, text12},
	} {
		if got := string(inside(t, data, x.path...)); got != x.want {
			t.Errorf("%v is %q, want %q", x.path, got, x.want)
		}
	}
	if bytes.Contains(data, []byte("bn")) {
		t.Error("a layer that is gone is still there")
	}
	scale := data[bytes.Index(data, []byte("s2"))-2:]
	if got := inside(t, append(protowire.AppendTag(nil, 1, protowire.BytesType), protowire.AppendBytes(nil, scale)...), 1, 142, 4); string(got) != "\x01" {
		t.Errorf("the Scale that gained a bias says bias_term %q", got)
	}
}

func TestWrite_KeepsLayersThatOnlyTheCaffemodelHas(t *testing.T) {
	extra := weights("training only", random(7))
	path := net(t, conv("num_output: 4 kernel_size: 1"), extra, weights("conv", random(4, 4, 1, 1), random(4)))
	written, _ := folded(t, path)
	data, err := os.ReadFile(strings.TrimSuffix(written, ".prototxt") + ".caffemodel")
	if err != nil || !bytes.HasPrefix(data, extra) {
		t.Errorf("%v: the layer is gone", err)
	}
}

// elements are those of the graph's constant of that name.
func elements(t testing.TB, f format.File, name string) []float64 {
	t.Helper()
	for _, v := range f.Model().Graph.Consts {
		if v.Name == name {
			list, err := v.Const.Float64s(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
	}
	t.Fatalf("there is no constant %q", name)
	return nil
}

func TestWeights_EveryFormHasTheSameElements(t *testing.T) {
	want := []float64{1, -2, 0.5, 0.1875, 7, 0, -0.25, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	var singles, halves, singleDoubles []byte
	for _, x := range want {
		singles = protowire.AppendFixed32(protowire.AppendTag(singles, 5, protowire.Fixed32Type), math.Float32bits(float32(x)))
		singleDoubles = protowire.AppendFixed64(protowire.AppendTag(singleDoubles, 8, protowire.Fixed64Type), math.Float64bits(x))
		halves = binary.LittleEndian.AppendUint16(halves, tensor.Float16Bits(x))
	}
	old := slices.Concat(number(1, 4), number(2, 4), number(3, 1), number(4, 1))
	for name, b := range map[string][]byte{
		"packed":                        message(7, shape(4, 4, 1, 1), floats(want...)),
		"the old shape":                 message(7, old, floats(want...)),
		"data before the shape":         message(7, floats(want...), shape(4, 4, 1, 1)),
		"with gradients":                message(7, shape(4, 4, 1, 1), floats(want...), message(6, make([]byte, 64))),
		"one field an element":          message(7, shape(4, 4, 1, 1), singles),
		"in two pieces":                 message(7, shape(4, 4, 1, 1), floats(want[:5]...), floats(want[5:]...)),
		"double":                        message(7, shape(4, 4, 1, 1), doubles(want...)),
		"one field a double":            message(7, shape(4, 4, 1, 1), singleDoubles),
		"raw float32":                   message(7, shape(4, 4, 1, 1), number(10, 1), text(12, string(floats(want...)[2:]))),
		"raw half":                      message(7, shape(4, 4, 1, 1), number(10, 2), text(12, string(halves))),
		"raw double":                    message(7, shape(4, 4, 1, 1), text(12, string(doubles(want...)[3:]))),
		"an empty list of another type": message(7, shape(4, 4, 1, 1), doubles(), floats(want...)),
	} {
		t.Run(name, func(t *testing.T) {
			prototxt := conv("num_output: 4 kernel_size: 1 bias_term: false") + `layer { name: "s" type: "Scale" bottom: "conv" top: "conv" }`
			path := net(t, prototxt, weights("conv", b), weights("s", blob([]int64{4}, 2, 2, 2, 2)))
			if got := elements(t, open(t, path), "conv/weight"); !slices.Equal(got, want) {
				t.Errorf("read as %v", got)
			}
			written, _ := folded(t, path)
			twice := make([]float64, len(want))
			for k, x := range want {
				twice[k] = 2 * x
			}
			if got := elements(t, open(t, written), "conv/weight"); !slices.Equal(got, twice) {
				t.Errorf("written as %v", got)
			}
		})
	}
}

// values says what the graph of a net is like: node types, and shapes of its inputs and outputs.
func values(f format.File) (types []string, shapes [][]int64) {
	g := f.Model().Graph
	for _, n := range g.Nodes {
		types = append(types, n.Domain+strings.Repeat(".", min(len(n.Domain), 1))+n.Type)
	}
	for _, v := range slices.Concat(g.Inputs, g.Outputs) {
		shapes = append(shapes, v.Shape)
	}
	return types, shapes
}

func TestLayers_BecomeOperatorsOrStayOpaque(t *testing.T) {
	gamma := weights("l", random(4))
	for _, test := range []struct {
		name, text string
		layers     [][]byte
		types      string
	}{
		{"a parameter that nobody knows", conv("num_output: 4 kernel_size: 1 bias_term: false fused_relu: true"), [][]byte{weights("conv", random(4, 4, 1, 1))}, "caffe.Convolution with fused_relu"},
		{"more weights than are known, for a parameter that nobody knows", conv("num_output: 4 kernel_size: 1 fused_scale: true"), [][]byte{weights("conv", random(4, 4, 1, 1), random(4), random(4))}, "caffe.Convolution with fused_scale"},
		{"a BatchNorm with scale and bias", one("BatchNorm", "batch_norm_param { scale_bias: true }"), [][]byte{weights("l", random(4), random(4), blob([]int64{1}, 1), random(4), random(4))}, "BatchNormalization"},
		{"what BN starts with", one("BN", "bn_param { frozen: true momentum: 0.9 slope_filler { value: 1 } bias_filler { value: 0 } }"), [][]byte{weights("l", random(4), random(4), random(4), random(4))}, "BatchNormalization"},
		{"training in phase TEST", one("Dropout", "phase: TRAIN"), nil, "caffe.Dropout"},
		{"weights not scaled in training", one("Dropout", "dropout_param { scale_train: false }"), nil, "caffe.Dropout"},
		{"a type that nobody knows", one("Whatever", "whatever_param { x: 1 }"), nil, "caffe.Whatever"},
		{"a height without a width", one("Pooling", "pooling_param { kernel_h: 2 }"), nil, "caffe.Pooling"},
		{"random pooling", one("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), nil, "caffe.Pooling"},
		{"floor pooling", one("Pooling", "pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }"), nil, "MaxPool"},
		{"an average beyond its padding", one("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"), nil, "Pad AveragePool"},
		{"a scale with a bias along the height", one("Scale", "scale_param { axis: 2 bias_term: true }"), [][]byte{weights("l", random(6), random(6))}, "caffe.Scale"},
		{"one scale for all", one("Scale", "scale_param { num_axes: 0 }"), [][]byte{weights("l", blob(nil, 3))}, "BatchNormalization"},
		{"a bias", one("Bias", ""), [][]byte{gamma}, "BatchNormalization"},
		{"a bias along the height", one("Bias", "bias_param { axis: -2 }"), [][]byte{weights("l", random(6))}, "Add"},
		{"a bias of two bottoms", one("Bias", "bottom: 'data' bias_param { axis: 0 }"), nil, "Add"},
		{"a general power", one("Power", "power_param { power: 2 scale: 3 }"), nil, "caffe.Power"},
		{"a base", one("Exp", "exp_param { base: 2 }"), nil, "caffe.Exp"},
		{"limits", one("Clip", "clip_param { min: -1 max: 1 }"), nil, "Clip"},
		{"a sum with coefficients", one("Eltwise", "bottom: 'data' eltwise_param { coeff: 1 coeff: 0.5 }"), nil, "Mul Add"},
		{"a sum with a coefficient too few", one("Eltwise", "bottom: 'data' eltwise_param { coeff: 1 }"), nil, "caffe.Eltwise"},
		{"a pad of the width alone", one("Pooling", "pooling_param { kernel_size: 2 pad_w: 1 }"), nil, "caffe.Pooling"},
		{"a difference", one("Eltwise", "bottom: 'data' eltwise_param { coeff: 1 coeff: -1 }"), nil, "Sub"},
		{"three factors", one("Eltwise", "bottom: 'data' bottom: 'data' eltwise_param { operation: PROD }"), nil, "Mul Mul"},
		{"a depthwise convolution", one("DepthwiseConvolution", "convolution_param { num_output: 4 group: 4 kernel_size: 3 bias_term: false }"), [][]byte{weights("l", random(4, 1, 3, 3))}, "Conv"},
		{"a matrix stored by columns", one("InnerProduct", "inner_product_param { num_output: 3 transpose: true bias_term: false }"), [][]byte{weights("l", random(144, 3))}, "Flatten Gemm"},
		{"boxes", one("PriorBox", "bottom: 'data'"), nil, "Shape Shape caffe.PriorBox"},
		{"nothing to say", "input: 'data' layer { name: 'l' type: 'Silence' bottom: 'data' }", nil, "caffe.Silence"},
		{"a weight as a blob", one("Silence", "") + "layer { name: 'p' type: 'Parameter' top: 'p' }", nil, "caffe.Silence caffe.Parameter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := open(t, net(t, test.text, test.layers...))
			types, _ := values(f)
			if got := strings.Join(types, " "); got != test.types {
				t.Errorf("%s, want %s", got, test.types)
			}
			if got := len(f.Model().Foreign()); got != strings.Count(test.types, "caffe.") {
				t.Errorf("%d nodes of %s are said to be foreign", got, test.types)
			}
		})
	}
}

func TestInputs_HaveTheShapesOfTheNet(t *testing.T) {
	relu := "layer { name: 'r' type: 'ReLU' bottom: 'data' top: 'r' }"
	for _, test := range []struct {
		text string
		want [][]int64 // of inputs and output
	}{
		{"input: 'data' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4", [][]int64{{1, 2, 3, 4}, {1, 2, 3, 4}}},
		{"input: 'data'", [][]int64{nil, nil}},
		{"input: 'data' input_shape { dim: [0, 5] }", [][]int64{{-1, 5}, {-1, 5}}},
		{"layer { name: 'd' type: 'Input' top: 'data' top: 'more' input_param { shape { dim: 1 dim: 2 } } }", [][]int64{{1, 2}, {1, 2}, {1, 2}}},
		{"layer { name: 'd' type: 'DummyData' top: 'data' dummy_data_param { num: 1 channels: 2 height: 3 width: 4 } }", [][]int64{{1, 2, 3, 4}, {1, 2, 3, 4}}},
		{"layer { name: 'd' type: 'MemoryData' top: 'data' top: 'label' memory_data_param { batch_size: 5 channels: 2 height: 3 width: 4 } }", [][]int64{{5, 2, 3, 4}, {5}, {5, 2, 3, 4}}},
		{"layer { name: 'd' type: 'Data' top: 'data' top: 'label' transform_param { crop_size: 7 force_gray: true } data_param { batch_size: 5 } }", [][]int64{{5, 1, 7, 7}, {5}, {5, 1, 7, 7}}},
		{"layer { name: 'd' type: 'ImageData' top: 'data' image_data_param { batch_size: 5 new_height: 8 new_width: 9 } }", [][]int64{{5, -1, 8, 9}, {5, -1, 8, 9}}},
		{"layer { name: 'd' type: 'AnnotatedData' top: 'data' top: 'label' transform_param { mean_value: 1 mean_value: 2 mean_value: 3 resize_param { height: 8 width: 9 } } data_param { batch_size: 5 } }", [][]int64{{5, 3, 8, 9}, {1, 1, -1, 8}, {5, 3, 8, 9}}},
		{"layer { name: 'd' type: 'Python' top: 'data' python_param { module: 'm' } }", [][]int64{nil, nil}},
	} {
		_, got := values(open(t, net(t, test.text+" "+relu)))
		for _, shape := range got {
			for k := range shape {
				shape[k] = max(shape[k], -1) // free extents have numbers
			}
		}
		if !slices.EqualFunc(got, test.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", test.text, got, test.want)
		}
	}
}

func TestWeights_SharedAreNotChanged(t *testing.T) {
	twice := "input: 'data' input_shape { dim: 1 dim: 4 dim: 6 dim: 6 }" +
		"layer { name: 'a' type: 'Convolution' bottom: 'data' top: 'a' PARAM convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }" +
		"layer { name: 'a/scale' type: 'Scale' bottom: 'a' top: 'a' }" +
		"layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'a' }" +
		"layer { name: 'NAME' type: 'Convolution' bottom: 'a' top: 'b' PARAM convolution_param { num_output: 4 kernel_size: 1 bias_term: false } RULE }"
	layers := [][]byte{weights("a", random(4, 4, 1, 1)), weights("a/scale", random(4)), weights("b", random(4, 4, 1, 1))}
	for name, with := range map[string]*strings.Replacer{
		"by a name":              strings.NewReplacer("PARAM", "param { name: 'w' }", "NAME", "b", "RULE", ""),
		"of the same layer":      strings.NewReplacer("PARAM", "", "NAME", "a", "RULE", ""),
		"of a layer in training": strings.NewReplacer("PARAM", "", "NAME", "a", "RULE", "include { phase: TRAIN }"),
	} {
		_, plan := folded(t, net(t, with.Replace(twice), layers...))
		if plan.After != 1 || plan.Maps[0].Reason == nil || plan.Maps[0].Reason.Code != fold.SharedOutput || !strings.Contains(plan.Maps[0].Reason.Text, with.Replace(`layer "NAME"`)) && !strings.Contains(plan.Maps[0].Reason.Text, "where it would change differently") {
			t.Errorf("%s: %d -> %d, %+v", name, plan.Before, plan.After, plan.Maps)
		}
	}
	_, plan := folded(t, net(t, strings.NewReplacer("PARAM", "", "NAME", "b", "RULE", "").Replace(twice), layers...))
	if plan.After != 0 {
		t.Errorf("nobody shares: %+v", plan.Maps)
	}
}

func TestBatchNorm_OfBatchStatisticsIsLeftAsTraining(t *testing.T) {
	text := conv("num_output: 4 kernel_size: 1") + "layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'conv' batch_norm_param { use_global_stats: false } }"
	_, plan := folded(t, net(t, text, weights("conv", random(4, 4, 1, 1), random(4)), bn("bn", 4)))
	if plan.After != 1 || plan.Maps[0].Reason.Code != fold.Training {
		t.Errorf("%+v", plan.Maps)
	}
}

func TestBatchNorm_FactorZeroMeansMeanAndVarianceZero(t *testing.T) {
	text := conv("num_output: 4 kernel_size: 1 bias_term: false") + "layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'conv' batch_norm_param { eps: 0.25 } }"
	ones := blob([]int64{4, 4, 1, 1}, slices.Repeat([]float64{1}, 16)...)
	written, plan := folded(t, net(t, text, weights("conv", ones), weights("bn", random(4), random(4), blob([]int64{1}, 0))))
	if got := elements(t, open(t, written), "conv/weight"); plan.After != 0 || !slices.Equal(got, slices.Repeat([]float64{2}, 16)) {
		t.Errorf("%d left, %v", plan.After, got)
	}
}

func FuzzPrototxt(f *testing.F) {
	paths, _ := filepath.Glob("testdata/text/*.prototxt")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	dir := f.TempDir()
	for seed := range uint64(10) {
		path, _, err := zootest.Caffe(seed, dir)
		if err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	o := format.Options{Weights: filepath.Join(dir, "net0.caffemodel")}
	path := filepath.Join(dir, "fuzz.prototxt")
	f.Fuzz(func(t *testing.T, data string) {
		if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
		formattest.Try(t, path, o)
	})
}

func FuzzCaffemodel(f *testing.F) {
	dir := f.TempDir()
	text := conv("num_output: 4 kernel_size: 1 bias_term: false") + `layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" } layer { name: "s" type: "Scale" bottom: "conv" top: "conv" }`
	path := net(f, text, weights("conv", random(4, 4, 1, 1)), bn("bn", 4), weights("s", random(4)))
	data, err := os.ReadFile(filepath.Join(filepath.Dir(path), "net.caffemodel"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(slices.Concat(weights("conv", message(7, number(1, 4), number(2, 4), number(3, 1), number(4, 1), doubles(make([]float64, 16)...))), bn("bn", 4), weights("s", message(7, shape(4), number(10, 2), message(12, make([]byte, 8))))))
	o := format.Options{Weights: filepath.Join(dir, "fuzz.caffemodel")}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(o.Weights, data, 0o666); err != nil {
			t.Fatal(err)
		}
		formattest.Try(t, path, o)
	})
}
