package keras_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/keras"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Keras, Seeds: 40, Damages: 600}.Run(t)
}

func TestSuite_WeightsInSeveralFiles(t *testing.T) {
	t.Chdir("testdata/shards")
	formattest.Suite{Generate: zootest.KerasShards, Seeds: 16, Damages: 200}.Run(t)
}

func TestOpen_WrongIndexOfWeightsIsAClearError(t *testing.T) {
	for name, x := range map[string]struct {
		edit func(index object)
		want string
	}{
		"outside": {func(x object) { list(x)["/layers/dense/vars"] = "../model1_00000.weights.h5" }, `"/layers/dense/vars" is in "../model1_00000.weights.h5"`},
		"missing": {func(x object) { list(x)["/layers/more/vars"] = "model1_00007.weights.h5" }, `"model1_00007.weights.h5": the index names it: no such file`},
		"nothing": {func(x object) { list(x)["/layers/more/vars"] = "model1_00000.weights.h5" }, `has no weights of "/layers/more/vars"`},
		"hidden":  {func(x object) { delete(list(x), firstOf(list(x))) }, "which the index does not say"},
		"twice":   {func(x object) { list(x)["/layers/more/vars"] = []string{"a.h5", "a.h5"} }, `is in "a.h5" twice`},
		"number":  {func(x object) { list(x)["/layers/more/vars"] = 7 }, "is in no file"},
		"empty":   {func(x object) { x["weight_map"] = object{} }, "an index of 0 files"},
		"no map":  {func(x object) { delete(x, "weight_map") }, "it has no weight_map"},
	} {
		folder := t.TempDir()
		path, o, err := zootest.KerasShards(1, folder)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(folder, "model1.weights.json")
		text, err := os.ReadFile(at)
		if err != nil {
			t.Fatal(err)
		}
		var index object
		if err := json.Unmarshal(text, &index); err != nil {
			t.Fatal(err)
		}
		x.edit(index)
		if text, err = json.Marshal(index); err == nil {
			err = os.WriteFile(at, text, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := format.Open(t.Context(), path, o); err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "model1.weights.json") {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
}

// list is the weight_map of an index.
func list(index object) object { return index["weight_map"].(object) }

// firstOf is the first key in alphabetical order.
func firstOf(x object) string { return slices.Min(slices.Collect(maps.Keys(x))) }

// object is JSON being edited.
type object = map[string]any

// layers are the layers of a configuration.
func layers(config object) []any { return config["config"].(object)["layers"].([]any) }

// layerOf is the first layer of a class.
func layerOf(config object, class string) object {
	for _, l := range layers(config) {
		if l.(object)["class_name"] == class {
			return l.(object)
		}
	}
	panic("no layer " + class)
}

func settings(layer object) object { return layer["config"].(object) }

// legacy writes an .h5 file of a small convolutional network, after edits.
func legacy(t *testing.T, edit func(config object, root *hdf5.Group)) string {
	t.Helper()
	path, _, err := zootest.Keras(2, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := root.Attrs.Get("model_config")
	text, _ := v.Text()
	var config object
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	edit(config, root)
	if hasConfig(root) {
		edited, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		root.Attrs.Set("model_config", hdf5.Text(string(edited)))
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "model.h5"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := hdf5.Write(f, root, nil); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestOpen_MissingOrForeignWeightsAreAClearError(t *testing.T) {
	config := `{"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [null, 3]}}]}, "keras_version": "2.2.4"}`
	other, _, err := zootest.Keras(2, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ text, weights, want string }{
		{config, "", "it is the configuration of a network, and has no weights beside it: the manifest's weights names another file"},
		{config, other, `layer "d"`},
		{"{", "", "JSON, byte 1"},
		{`{"metadata": {}, "weight_map": {"/layers/dense/vars": "model_00000.weights.h5"}}`, "", "the index of a network's weights, and nothing of the network"},
		{`{"weights": [1, 2]}`, "", "not the configuration of a Keras model"},
	} {
		path := filepath.Join(t.TempDir(), "model.json")
		if err := os.WriteFile(path, []byte("\ufeff"+x.text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := format.Open(t.Context(), path, format.Options{Weights: x.weights}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %s", err, x.want)
		}
	}
}

func hasConfig(root *hdf5.Group) bool {
	_, ok := root.Attrs.Get("model_config")
	return ok
}

// member is one file in an archive.
type member struct {
	zip.FileHeader
	data []byte
	raw  bool // data are as stored, and the header is as it is
}

// archive writes a .keras file of a small convolutional network, with its members after edits.
func archive(t *testing.T, edit func(members []member) []member) string {
	t.Helper()
	return archiveFrom(t, 1, edit)
}

func archiveFrom(t *testing.T, seed uint64, edit func(members []member) []member) string {
	t.Helper()
	path, _, err := zootest.Keras(seed, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var members []member
	for _, m := range z.File {
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, member{FileHeader: zip.FileHeader{Name: m.Name, Method: m.Method}, data: data})
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "model.keras"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := zip.NewWriter(f)
	for _, m := range edit(members) {
		create := w.CreateHeader
		if m.raw {
			create = w.CreateRaw
		}
		to, err := create(&m.FileHeader)
		if err == nil {
			_, err = to.Write(m.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// configured is an archive whose configuration was edited.
func configured(t *testing.T, edit func(config object)) string {
	return archiveOf(t, 1, edit)
}

func archiveOf(t *testing.T, seed uint64, edit func(config object)) string {
	return archiveFrom(t, seed, func(members []member) []member {
		var config object
		if err := json.Unmarshal(members[1].data, &config); err != nil {
			t.Fatal(err)
		}
		edit(config)
		members[1].data, _ = json.Marshal(config)
		return members
	})
}

func written(t *testing.T, name string, data []byte) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen_BadFilesGetOneClearError(t *testing.T) {
	weightsOf := func(root *hdf5.Group, layer string) *hdf5.Group {
		return root.Get("model_weights/" + layer).(*hdf5.Group)
	}
	nested := func(depth int) object {
		inner := object{"class_name": "Sequential", "config": object{"name": "deepest", "layers": []any{}}}
		for k := range depth {
			inner = object{"class_name": "Sequential", "config": object{"name": fmt.Sprint("deep", k), "layers": []any{inner}}}
		}
		return inner
	}
	for _, test := range []struct {
		name string
		path func(*testing.T) string
		want error
		text string
	}{
		{"no file", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none.h5") }, os.ErrNotExist, "none.h5"},
		{"a folder", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "folder.h5")
			if err := os.Mkdir(path, 0o777); err != nil {
				t.Fatal(err)
			}
			return path
		}, format.ErrCorrupt, "not a file"},
		{"no HDF5", func(t *testing.T) string { return written(t, "model.h5", []byte(strings.Repeat("text ", 40))) }, format.ErrCorrupt, "not an HDF5 file"},
		{"no ZIP", func(t *testing.T) string { return written(t, "model.keras", []byte(strings.Repeat("text ", 40))) }, format.ErrCorrupt, "not a ZIP file"},
		{"an archive called .h5", func(t *testing.T) string {
			data, err := os.ReadFile(archive(t, func(m []member) []member { return m }))
			if err != nil {
				t.Fatal(err)
			}
			return written(t, "model.h5", data)
		}, format.ErrCorrupt, "not an HDF5 file"},
		{"weights only", func(t *testing.T) string {
			return legacy(t, func(_ object, root *hdf5.Group) {
				inner := root.Links["model_weights"].(*hdf5.Group)
				root.Links, root.Attrs = inner.Links, inner.Attrs
			})
		}, format.ErrCorrupt, "weights only"},
		{"another program's HDF5", func(t *testing.T) string {
			return legacy(t, func(_ object, root *hdf5.Group) { root.Links, root.Attrs = nil, nil })
		}, format.ErrCorrupt, "not a Keras model"},
		{"another program's configuration", func(t *testing.T) string {
			return configured(t, func(c object) { clear(c); c["model_type"] = "bert" })
		}, format.ErrCorrupt, "no class_name"},
		{"a model of one's own", func(t *testing.T) string {
			return configured(t, func(c object) { c["class_name"] = "MyModel"; delete(c["config"].(object), "layers") })
		}, format.ErrUnread, `the model is a "MyModel"`},
		{"JSON cut short", func(t *testing.T) string {
			return archive(t, func(m []member) []member { m[1].data = m[1].data[:len(m[1].data)/2]; return m })
		}, format.ErrCorrupt, "JSON, byte"},
		{"JSON within itself", func(t *testing.T) string {
			return archive(t, func(m []member) []member { m[1].data = bytes.Repeat([]byte("["), 100_000); return m })
		}, format.ErrLimit, "within each other"},
		{"models within models", func(t *testing.T) string {
			return configured(t, func(c object) { inner := nested(50); c["class_name"], c["config"] = "Sequential", inner["config"] })
		}, format.ErrLimit, "models within each other"},
		{"no weights at all", func(t *testing.T) string {
			return legacy(t, func(_ object, root *hdf5.Group) { delete(root.Links, "model_weights") })
		}, format.ErrCorrupt, "no group"},
		{"a layer without weights", func(t *testing.T) string {
			return legacy(t, func(_ object, root *hdf5.Group) { delete(root.Links["model_weights"].(*hdf5.Group).Links, "conv2d_1") })
		}, format.ErrCorrupt, `layer "conv2d_1": it has 0 weights`},
		{"a missing dataset", func(t *testing.T) string {
			return legacy(t, func(_ object, root *hdf5.Group) { delete(weightsOf(root, "conv2d_1/conv2d_1").Links, "kernel:0") })
		}, format.ErrCorrupt, `its weight "conv2d_1/kernel:0" is not in the file`},
		{"a weight too many", func(t *testing.T) string {
			return legacy(t, func(_ object, root *hdf5.Group) {
				own := weightsOf(root, "batch_normalization_1")
				names, _ := func() ([]string, bool) { v, _ := own.Attrs.Get("weight_names"); return v.Texts() }()
				own.Attrs.Set("weight_names", hdf5.Texts(append(names, names[0])))
			})
		}, format.ErrCorrupt, "weights in the file"},
		{"a kernel of another shape", func(t *testing.T) string {
			return legacy(t, func(_ object, root *hdf5.Group) {
				set := root.Get("model_weights/conv2d_1/conv2d_1/kernel:0").(*hdf5.Dataset)
				set.Shape = []int64{3, 3, 4, 3}
			})
		}, format.ErrCorrupt, `layer "conv2d_1": its kernel has shape [3 3 4 3], its settings and what it reads ask for [3 3 3 4]`},
		{"an archive without weights of a layer", func(t *testing.T) string {
			return archive(t, func(m []member) []member {
				var b onnx.Memory
				if _, err := hdf5.Write(&b, &hdf5.Group{}, nil); err != nil {
					t.Fatal(err)
				}
				m[2].data = b.Bytes()
				return m
			})
		}, format.ErrCorrupt, "it has 0 weights in the file"},
		{"no configuration", func(t *testing.T) string {
			return archive(t, func(m []member) []member { return m[2:] })
		}, format.ErrCorrupt, "no config.json"},
		{"no weights", func(t *testing.T) string {
			return archive(t, func(m []member) []member { return m[:2] })
		}, format.ErrCorrupt, "no model.weights.h5"},
		{"weights of NumPy", func(t *testing.T) string {
			return archive(t, func(m []member) []member { m[2].Name = "model.weights.npz"; return m })
		}, format.ErrUnread, ".npz"},
		{"a bomb", func(t *testing.T) string {
			return archive(t, func(m []member) []member {
				m[2].FileHeader = zip.FileHeader{Name: m[2].Name, Method: zip.Deflate, UncompressedSize64: 1 << 40, CompressedSize64: uint64(len(m[2].data))}
				m[2].raw = true
				return m
			})
		}, format.ErrLimit, "1099511627776 bytes made of"},
		{"a bomb that does not say so", func(t *testing.T) string {
			return archive(t, func(m []member) []member {
				var b bytes.Buffer
				z := zip.NewWriter(&b)
				w, _ := z.CreateHeader(&zip.FileHeader{Name: "x", Method: zip.Deflate})
				_, _ = w.Write(make([]byte, 8<<20))
				z.Close()
				r, _ := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
				raw, _ := r.File[0].OpenRaw()
				data, _ := io.ReadAll(raw)
				m[2].FileHeader = zip.FileHeader{Name: m[2].Name, Method: zip.Deflate, UncompressedSize64: 1000, CompressedSize64: uint64(len(data))}
				m[2].data, m[2].raw = data, true
				return m
			})
		}, format.ErrCorrupt, "it is not what the archive says"},
		{"weights beyond the end", func(t *testing.T) string {
			return archive(t, func(m []member) []member {
				m[2].FileHeader = zip.FileHeader{Name: m[2].Name, UncompressedSize64: 1 << 30, CompressedSize64: 1 << 30}
				m[2].raw = true
				return m
			})
		}, format.ErrCorrupt, "1073741824 bytes are claimed"},
		{"a member twice", func(t *testing.T) string {
			return archive(t, func(m []member) []member { return append(m, m[1]) })
		}, format.ErrCorrupt, "it is there twice"},
		{"a member outside", func(t *testing.T) string {
			return archive(t, func(m []member) []member {
				return append(m, member{FileHeader: zip.FileHeader{Name: "assets/../../../etc/passwd"}, data: []byte("x")})
			})
		}, format.ErrOutside, "outside the archive"},
		{"a compression that nobody knows", func(t *testing.T) string {
			return archive(t, func(m []member) []member {
				m[2].FileHeader = zip.FileHeader{Name: m[2].Name, Method: 14, UncompressedSize64: uint64(len(m[2].data)), CompressedSize64: uint64(len(m[2].data))}
				m[2].raw = true
				return m
			})
		}, format.ErrUnread, "method 14"},
		{"a circle", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) {
				layerOf(c, "Conv2D")["inbound_nodes"] = []any{[]any{[]any{"batch_normalization_1", 0, 0, object{}}}}
			})
		}, format.ErrCorrupt, "it reads what is made of its own output"},
		{"a layer that is not there", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) {
				layerOf(c, "Conv2D")["inbound_nodes"] = []any{[]any{[]any{"nowhere", 0, 0, object{}}}}
			})
		}, format.ErrCorrupt, `there is no layer "nowhere"`},
		{"a call that is not there", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) { c["config"].(object)["output_layers"] = []any{[]any{"conv2d_1", 7, 0}} })
		}, format.ErrCorrupt, `layer "conv2d_1": output 0 of its call 7 is read, it has 1 calls`},
		{"a name twice", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) {
				c["config"].(object)["layers"] = append(layers(c), layers(c)[1])
			})
		}, format.ErrCorrupt, "a second layer of that name"},
		{"no outputs", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) { delete(c["config"].(object), "output_layers") })
		}, format.ErrCorrupt, "no output_layers"},
		{"an input without a shape", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) { delete(settings(layerOf(c, "InputLayer")), "batch_input_shape") })
		}, format.ErrCorrupt, "the shape of the input"},
		{"a million filters", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) { settings(layerOf(c, "Conv2D"))["filters"] = 1_000_000_000_000 })
		}, format.ErrCorrupt, "ask for [3 3 3 1000000000000]"},
		{"groups that do not divide", func(t *testing.T) string {
			return legacy(t, func(c object, _ *hdf5.Group) { settings(layerOf(c, "Conv2D"))["groups"] = 3 })
		}, format.ErrCorrupt, "4 filters in 3 groups"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := test.path(t)
			f, err := format.Open(t.Context(), path, format.Options{})
			if err == nil {
				f.Close()
				t.Fatal("it opens")
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("%v\nwant %v, with %q", err, test.want, test.text)
			}
		})
	}
}

// What a layer says that is too much to be believed, or not understood, makes it a node that is left alone.
func TestOpen_LeavesUnknownLayersAlone(t *testing.T) {
	for name, edit := range map[string]func(conv, norm, act object){
		"a kernel of another world": func(conv, _, _ object) { settings(conv)["kernel_size"] = []any{1e9, 1} },
		"no number":                 func(conv, _, _ object) { settings(conv)["strides"] = "two" },
		"strides of zero":           func(conv, _, _ object) { settings(conv)["strides"] = []any{0, 0} },
		"a padding nobody knows":    func(conv, _, _ object) { settings(conv)["padding"] = "mirror" },
		"an axis beyond":            func(_, norm, _ object) { settings(norm)["axis"] = 9 },
		"two axes":                  func(_, norm, _ object) { settings(norm)["axis"] = []any{1, 3} },
		"the batch's statistics":    func(_, norm, _ object) { settings(norm)["virtual_batch_size"] = 4 },
		"in training": func(_, norm, _ object) {
			node := norm["inbound_nodes"].([]any)[0].([]any)[0].([]any)
			node[3] = object{"training": true}
		},
		"another type":       func(_, norm, _ object) { settings(norm)["dtype"] = "int8_from_float32" },
		"a class of its own": func(_, norm, _ object) { norm["class_name"] = "Custom>Norm" },
	} {
		t.Run(name, func(t *testing.T) {
			path := legacy(t, func(c object, _ *hdf5.Group) {
				edit(layerOf(c, "Conv2D"), layerOf(c, "BatchNormalization"), layerOf(c, "Activation"))
			})
			f, err := format.Open(t.Context(), path, format.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			opaque := 0
			for _, n := range f.Model().Graph.Nodes {
				if n.Domain == "keras" {
					opaque++
				}
			}
			if opaque == 0 {
				t.Error("every layer was understood")
			}
			formattest.Try(t, path, format.Options{})
		})
	}
}

// Members that are compressed, of an archive that somebody packed again, are read like others and written as they should be.
func TestOpen_CompressedArchives(t *testing.T) {
	path := archive(t, func(m []member) []member {
		for k := range m {
			m[k].Method = zip.Deflate
		}
		return append(m, member{FileHeader: zip.FileHeader{Name: "assets/vocabulary.txt"}, data: []byte("a word")})
	})
	formattest.Try(t, path, format.Options{})
	f, err := format.Open(t.Context(), path, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, v := range f.Model().Graph.Consts {
		if v.Const.DType == tensor.Float32 {
			if _, err := v.Const.Float64s(1 << 20); err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
		}
	}
}

// Keras 3 has another hard sigmoid than Keras 2 had.
func TestHardSigmoid_IsThatOfTheFilesKerasVersion(t *testing.T) {
	activate := func(c object) { settings(layerOf(c, "Activation"))["activation"] = "hard_sigmoid" }
	for path, want := range map[string]float64{
		legacy(t, func(c object, _ *hdf5.Group) { activate(c) }): 0.2,
		archiveOf(t, 3, activate):                                1.0 / 6,
	} {
		f, err := format.Open(t.Context(), path, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		found := 0
		for _, n := range f.Model().Graph.Nodes {
			if n.Type == "HardSigmoid" {
				found++
				if a, b := n.Float("alpha", 0), n.Float("beta", 0); a != float64(float32(want)) || b != 0.5 {
					t.Errorf("%s: %g·x + %g, want %g·x + 0.5", path, a, b, want)
				}
			}
		}
		if found != 1 {
			t.Errorf("%s: %d hard sigmoids", path, found)
		}
	}
}

func TestFunctionsOfTensorFlow_AreNodesOrHaveAReason(t *testing.T) {
	for _, test := range []struct{ class, function, arguments, node, why string }{
		{"TFOpLambda", "math.multiply", `{"y": 2, "name": null}`, "Mul", ""},
		{"TFOpLambda", "math.subtract", `{"y": [1.5], "name": null}`, "Sub", ""},
		{"TFOpLambda", "nn.relu", `{"name": null}`, "Relu", ""},
		{"TFOpLambda", "nn.leaky_relu", `{"alpha": 0.1}`, "", "an operation that is not known"},
		{"TFOpLambda", "nn.silu", `{"beta": 2.0}`, "", "its argument beta is not known"},
		{"TFOpLambda", "math.multiply", `{"y": "x"}`, "", `it is called with "x"`},
		{"TFOpLambda", "math.multiply", `{"y": [[1, 2], [3]]}`, "", "it is called with"},
		{"TFOpLambda", "math.multiply", `{}`, "", "it reads another number of tensors"},
		{"SlicingOpLambda", "__operators__.getitem", `{"slice_spec": [{"start": null, "stop": null, "step": null}, {"start": 0, "stop": 1000, "step": 1}]}`, "Slice", ""},
		{"SlicingOpLambda", "__operators__.getitem", `{"slice_spec": [{"start": null, "stop": null, "step": -1}]}`, "", "it takes"},
		{"SlicingOpLambda", "__operators__.getitem", `{"slice_spec": [{"start": 99999999999, "stop": null, "step": null}]}`, "", "it takes"},
		{"SlicingOpLambda", "__operators__.getitem", `{"slice_spec": [0, 0, 0, 0, 0, 0, 0]}`, "", "it names more axes than there are"},
		{"SlicingOpLambda", "__operators__.getitem", `{"slice_spec": [0, 0, 0, 0]}`, "", "nothing but a number is left"},
		{"SlicingOpLambda", "__operators__.getitem", `{}`, "", "it is called with other arguments"},
	} {
		path := legacy(t, func(config object, _ *hdf5.Group) {
			l := layerOf(config, "ReLU")
			node := l["inbound_nodes"].([]any)[0].([]any)[0].([]any)
			var arguments object
			if err := json.Unmarshal([]byte(test.arguments), &arguments); err != nil {
				t.Fatal(err)
			}
			l["class_name"], l["config"] = test.class, object{"name": l["name"], "dtype": "float32", "function": test.function}
			l["inbound_nodes"] = []any{append(slices.Clone(node[:3]), arguments)}
		})
		f, err := format.Open(t.Context(), path, format.Options{})
		if err != nil {
			t.Errorf("%s %s: %v", test.function, test.arguments, err)
			continue
		}
		defer f.Close()
		why, found := "", false
		for _, n := range f.Model().Graph.Nodes {
			found = found || n.Type == test.node && n.Domain == ""
			if n.Type == test.class {
				why = n.Why
			}
		}
		if found != (test.node != "") || !strings.HasPrefix(why, test.why) || (why == "") != (test.why == "") {
			t.Errorf("%s %s: a node %s: %v, because %q", test.function, test.arguments, test.node, found, why)
		}
	}
}
