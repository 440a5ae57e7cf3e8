package zootest

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Keras writes one small Keras model into a folder, an .h5 file as Keras 2 writes it or a .keras file as Keras 3 does, and
// returns its path. Equal seeds make equal files, which Keras 3 loads.
func Keras(seed uint64, folder string) (path string, o format.Options, err error) {
	k := &kerasModel{rng: rand.New(rand.NewPCG(seed, 33)), archive: seed%2 == 1, named: seed%4 != 3, counts: map[string]int{}}
	k.network()
	path = filepath.Join(folder, fmt.Sprintf("model%d.h5", seed))
	write := k.writeLegacy
	if k.archive {
		path = filepath.Join(folder, fmt.Sprintf("model%d.keras", seed))
		write = k.writeArchive
	}
	f, err := os.Create(path)
	if err != nil {
		return "", o, err
	}
	return path, o, errors.Join(write(f), f.Close())
}

// KerasShards writes such a model as Keras 3 writes a configuration and weights in three files with an index.
func KerasShards(seed uint64, folder string) (path string, o format.Options, err error) {
	k := &kerasModel{rng: rand.New(rand.NewPCG(seed, 33)), archive: true, named: seed%4 != 3, counts: map[string]int{}}
	k.network()
	config, err := k.model()
	if err != nil {
		return "", o, err
	}
	tree, err := k.folder(k.layers)
	if err != nil {
		return "", o, err
	}
	name := fmt.Sprintf("model%d", seed)
	roots, listed, count := make([]*hdf5.Group, 3), map[string]any{}, 0
	for n := range roots {
		roots[n] = &hdf5.Group{}
	}
	var split func(g *hdf5.Group, path string) error
	split = func(g *hdf5.Group, path string) error {
		var files []string
		for _, link := range g.Names() {
			if inner, ok := g.Links[link].(*hdf5.Group); ok {
				if err := split(inner, path+"/"+link); err != nil {
					return err
				}
				continue
			}
			n := count * len(roots) / 16 % len(roots) // some layers' weights are in two files
			count++
			if err := roots[n].Set(path[1:]+"/"+link, g.Links[link]); err != nil {
				return err
			}
			if file := fmt.Sprintf("%s_%05d.weights.h5", name, n); !slices.Contains(files, file) {
				roots[n].Get(path[1:]).(*hdf5.Group).Attrs = g.Attrs
				files = append(files, file)
			}
		}
		if listed[path] = any(files); len(files) == 1 {
			listed[path] = files[0]
		}
		if len(files) == 0 {
			delete(listed, path)
		}
		return nil
	}
	if err := split(tree, "/layers"); err != nil {
		return "", o, err
	}
	index, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": 1.5}, "weight_map": listed}, "", "    ")
	if err != nil {
		return "", o, err
	}
	path = filepath.Join(folder, name+".json")
	if err := errors.Join(os.WriteFile(path, config, 0o666), os.WriteFile(filepath.Join(folder, name+".weights.json"), index, 0o666)); err != nil {
		return "", o, err
	}
	for n, root := range roots {
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%s_%05d.weights.h5", name, n)))
		if err != nil {
			return "", o, err
		}
		_, err = hdf5.Write(f, root, nil)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", o, err
		}
	}
	return path, o, nil
}

// kerasModel is a model being made: layers in the order in which Keras lists them.
type kerasModel struct {
	rng     *rand.Rand
	archive bool // Keras 3
	named   bool // names are noted in the archive, as since Keras 3.6
	counts  map[string]int
	layers  []*kerasLayer
}

// kerasLayer is one layer. A layer that is called several times reads inputs[k] in call k.
type kerasLayer struct {
	class, name string
	settings    map[string]any
	inputs      [][]kerasTensor
	merges      bool // it reads a list
	weights     []kerasWeight
	inner       []*kerasLayer // of a sequential model
}

// kerasTensor is an output of a call.
type kerasTensor struct {
	layer *kerasLayer
	call  int
	shape []int64 // without the batch
}

type kerasWeight struct {
	name   string
	shape  []int64
	values []float64
	frozen bool
}

// layer makes a layer that nothing is read by yet.
func (k *kerasModel) layer(class string, settings map[string]any, weights ...kerasWeight) *kerasLayer {
	name := kerasNames[class]
	if k.counts[name]++; k.counts[name] > 1 || !k.archive {
		name += "_" + strconv.Itoa(k.counts[name])
	}
	all := map[string]any{"name": name, "trainable": true, "dtype": "float32"}
	for key, v := range settings {
		all[key] = v
	}
	return &kerasLayer{class: class, name: name, settings: all, weights: weights}
}

// kerasNames are classes as Keras writes them in names.
var kerasNames = map[string]string{
	"Conv2D": "conv2d", "SeparableConv2D": "separable_conv2d", "DepthwiseConv2D": "depthwise_conv2d", "Conv2DTranspose": "conv2d_transpose",
	"BatchNormalization": "batch_normalization", "Activation": "activation", "ReLU": "re_lu", "MaxPooling2D": "max_pooling2d",
	"AveragePooling2D": "average_pooling2d", "Add": "add", "Concatenate": "concatenate", "Flatten": "flatten", "Dense": "dense",
	"GlobalAveragePooling2D": "global_average_pooling2d", "Dropout": "dropout", "ZeroPadding2D": "zero_padding2d", "UpSampling2D": "up_sampling2d",
	"InputLayer": "input_layer", "Sequential": "sequential",
}

// call adds a call of a layer, and the layer if it is the first.
func (k *kerasModel) call(l *kerasLayer, shape []int64, inputs ...kerasTensor) kerasTensor {
	if len(l.inputs) == 0 {
		k.layers = append(k.layers, l)
	}
	l.inputs = append(l.inputs, inputs)
	l.merges = len(inputs) > 1
	return kerasTensor{l, len(l.inputs) - 1, shape}
}

func (k *kerasModel) uniform(lo, hi float64, shape ...int64) []float64 {
	n, _ := tensor.Elements(shape)
	values := make([]float64, n)
	for e := range values {
		values[e] = lo + (hi-lo)*k.rng.Float64()
	}
	return values
}

// kernel is a weight whose sums keep the size of what they are made of.
func (k *kerasModel) kernel(name string, fanIn int64, shape ...int64) kerasWeight {
	values := k.uniform(-1, 1, shape...)
	for e := range values {
		values[e] *= 1.7 / float64(max(fanIn, 1))
	}
	return kerasWeight{name: name, shape: shape, values: values}
}

func (k *kerasModel) biased(n int64, weights ...kerasWeight) (bool, []kerasWeight) {
	if k.rng.IntN(2) == 0 {
		return false, weights
	}
	return true, append(weights, kerasWeight{name: "bias", shape: []int64{n}, values: k.uniform(-0.5, 0.5, n)})
}

func (k *kerasModel) normLayer(channels int64) *kerasLayer {
	scale, center := k.rng.IntN(5) > 0, k.rng.IntN(5) > 0
	var weights []kerasWeight
	if scale {
		weights = append(weights, kerasWeight{name: "gamma", shape: []int64{channels}, values: k.uniform(0.5, 1.5, channels)})
	}
	if center {
		weights = append(weights, kerasWeight{name: "beta", shape: []int64{channels}, values: k.uniform(-1, 1, channels)})
	}
	weights = append(weights,
		kerasWeight{name: "moving_mean", shape: []int64{channels}, values: k.uniform(-1, 1, channels), frozen: true},
		kerasWeight{name: "moving_variance", shape: []int64{channels}, values: k.uniform(0.3, 2, channels), frozen: true})
	return k.layer("BatchNormalization", map[string]any{"axis": -1, "epsilon": 0.001, "momentum": 0.99, "scale": scale, "center": center}, weights...)
}

func (k *kerasModel) norm(x kerasTensor) kerasTensor {
	return k.call(k.normLayer(x.shape[len(x.shape)-1]), x.shape, x)
}

// windowed are the settings of a layer with a window, and what is left of the extents.
func (k *kerasModel) windowed(x kerasTensor, taps, stride int64, padding string) (map[string]any, []int64) {
	settings := map[string]any{
		"kernel_size": []int64{taps, taps}, "strides": []int64{stride, stride}, "padding": padding, "data_format": "channels_last",
		"dilation_rate": []int64{1, 1}, "activation": "linear",
	}
	out := slices.Clone(x.shape)
	for a := range 2 {
		if out[a] = (x.shape[a] + stride - 1) / stride; padding == "valid" {
			out[a] = (x.shape[a]-taps)/stride + 1
		}
	}
	return settings, out
}

func (k *kerasModel) padding(x kerasTensor, taps int64) string {
	if x.shape[0] >= taps+3 && x.shape[1] >= taps+3 && k.rng.IntN(2) == 0 {
		return "valid"
	}
	return "same"
}

func (k *kerasModel) conv(x kerasTensor, out, taps, stride int64, activation string) kerasTensor {
	settings, shape := k.windowed(x, taps, stride, k.padding(x, taps))
	in := x.shape[2]
	use, weights := k.biased(out, k.kernel("kernel", taps*taps*in, taps, taps, in, out))
	settings["filters"], settings["use_bias"], settings["activation"] = out, use, activation
	shape[2] = out
	return k.call(k.layer("Conv2D", settings, weights...), shape, x)
}

func (k *kerasModel) separable(x kerasTensor, out, taps int64) kerasTensor {
	settings, shape := k.windowed(x, taps, 1, k.padding(x, taps))
	in := x.shape[2]
	use, weights := k.biased(out, k.kernel("depthwise_kernel", taps*taps, taps, taps, in, 2), k.kernel("pointwise_kernel", 2*in, 1, 1, 2*in, out))
	settings["filters"], settings["use_bias"], settings["depth_multiplier"] = out, use, 2
	shape[2] = out
	return k.call(k.layer("SeparableConv2D", settings, weights...), shape, x)
}

func (k *kerasModel) depthwise(x kerasTensor, multiplier int64) kerasTensor {
	settings, shape := k.windowed(x, 3, 1, "same")
	in := x.shape[2]
	name := "depthwise_kernel"
	if k.archive {
		name = "kernel"
	}
	use, weights := k.biased(in*multiplier, k.kernel(name, 9, 3, 3, in, multiplier))
	settings["use_bias"], settings["depth_multiplier"] = use, multiplier
	shape[2] = in * multiplier
	return k.call(k.layer("DepthwiseConv2D", settings, weights...), shape, x)
}

func (k *kerasModel) transposed(x kerasTensor, out int64) kerasTensor {
	settings, shape := k.windowed(x, 3, 2, "same")
	use, weights := k.biased(out, k.kernel("kernel", 9*x.shape[2]/4, 3, 3, out, x.shape[2]))
	settings["filters"], settings["use_bias"], settings["output_padding"] = out, use, nil
	for a := range 2 {
		shape[a] = 2 * x.shape[a]
	}
	shape[2] = out
	return k.call(k.layer("Conv2DTranspose", settings, weights...), shape, x)
}

func (k *kerasModel) dense(x kerasTensor, out int64, activation string) kerasTensor {
	in := x.shape[0]
	use, weights := k.biased(out, k.kernel("kernel", in, in, out))
	return k.call(k.layer("Dense", map[string]any{"units": out, "use_bias": use, "activation": activation}, weights...), []int64{out}, x)
}

func (k *kerasModel) pool(class string, x kerasTensor) kerasTensor {
	settings := map[string]any{"pool_size": []int64{2, 2}, "strides": []int64{2, 2}, "padding": "same", "data_format": "channels_last"}
	return k.call(k.layer(class, settings), []int64{(x.shape[0] + 1) / 2, (x.shape[1] + 1) / 2, x.shape[2]}, x)
}

// simple is a layer that keeps the shape.
func (k *kerasModel) simple(class string, settings map[string]any, x ...kerasTensor) kerasTensor {
	return k.call(k.layer(class, settings), x[0].shape, x...)
}

func (k *kerasModel) relu(x kerasTensor) kerasTensor {
	if k.rng.IntN(3) == 0 {
		return k.simple("ReLU", map[string]any{"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}, x)
	}
	return k.simple("Activation", map[string]any{"activation": "relu"}, x)
}

// nested is a sequential model of a convolution, a batch normalisation and an activation, used as a layer.
func (k *kerasModel) nested(x kerasTensor, out int64) kerasTensor {
	inner := &kerasModel{rng: k.rng, archive: k.archive, counts: map[string]int{}}
	for class, n := range k.counts {
		inner.counts[class] = n
	}
	start := inner.call(inner.layer("InputLayer", nil), x.shape)
	start.layer.settings["batch_input_shape"] = append([]any{nil}, anys(x.shape)...)
	inner.relu(inner.norm(inner.conv(start, out, 1, 1, "linear")))
	k.counts = inner.counts
	l := k.layer("Sequential", nil)
	l.inner = inner.layers
	return k.call(l, []int64{x.shape[0], x.shape[1], out}, x)
}

// network is a small convolutional network of random blocks.
func (k *kerasModel) network() {
	size := 8 + k.rng.Int64N(3)
	input := k.layer("InputLayer", nil)
	shape := []int64{size, size + 1, 3}
	input.settings["batch_input_shape"] = append([]any{nil}, anys(shape)...)
	x := k.call(input, shape)
	x = k.relu(k.norm(k.conv(x, 4, 3, 1, "linear")))
	for range 2 + k.rng.IntN(3) {
		switch c := x.shape[2]; k.rng.IntN(9) {
		case 0:
			x = k.relu(k.norm(k.separable(x, 4, 3)))
		case 1:
			x = k.relu(k.norm(k.depthwise(x, 1+k.rng.Int64N(2))))
		case 2: // beside a shortcut
			y := k.norm(k.conv(k.simple("Dropout", map[string]any{"rate": 0.1}, x), c, 1, 1, "linear"))
			x = k.relu(k.simple("Add", nil, x, y))
		case 3:
			a, b := k.conv(x, 2, 1, 1, "linear"), k.conv(x, 3, 1, 1, "linear")
			joined := k.call(k.layer("Concatenate", map[string]any{"axis": -1}), []int64{x.shape[0], x.shape[1], 5}, a, b)
			x = k.relu(k.norm(joined))
		case 4:
			x = k.relu(k.norm(k.pool([]string{"MaxPooling2D", "AveragePooling2D"}[k.rng.IntN(2)], k.conv(x, 4, 3, 1, "linear"))))
		case 5: // the activation stands between
			x = k.norm(k.conv(x, 4, 1, 1, "relu"))
			x = k.conv(x, 4, 3, 1, "relu") // it may pad
		case 6:
			x = k.relu(k.norm(k.transposed(x, 3)))
			x = k.pool("AveragePooling2D", x)
		case 7: // one normalisation in two places
			n := k.normLayer(4)
			y := k.relu(k.call(n, []int64{x.shape[0], x.shape[1], 4}, k.onto(x, 4)))
			x = k.relu(k.call(n, y.shape, k.onto(y, 4)))
		case 8:
			x = k.nested(x, 4)
		}
	}
	if k.rng.IntN(2) == 0 {
		x = k.call(k.layer("GlobalAveragePooling2D", map[string]any{"data_format": "channels_last"}), []int64{x.shape[2]}, x)
	} else {
		x = k.norm(x)
		x = k.call(k.layer("Flatten", map[string]any{"data_format": "channels_last"}), []int64{x.shape[0] * x.shape[1] * x.shape[2]}, x)
	}
	x = k.relu(k.norm(k.dense(x, 6, "linear")))
	k.dense(x, 5, "softmax")
}

// onto is a convolution by single taps without padding.
func (k *kerasModel) onto(x kerasTensor, out int64) kerasTensor {
	return k.conv(x, out, 1, 1, "linear")
}

func anys(list []int64) []any {
	var out []any
	for _, d := range list {
		out = append(out, d)
	}
	return out
}

// config is a layer as the configuration describes it.
func (k *kerasModel) config(l *kerasLayer, functional bool) map[string]any {
	settings := l.settings
	if l.inner != nil {
		var list []any
		for _, inner := range l.inner {
			list = append(list, k.config(inner, false))
		}
		settings = map[string]any{"name": l.name, "layers": list}
	}
	if k.archive && l.class == "InputLayer" {
		settings = map[string]any{"name": l.name, "dtype": "float32", "sparse": false, "batch_shape": l.settings["batch_input_shape"]}
	} else if l.class == "InputLayer" {
		settings = map[string]any{"name": l.name, "dtype": "float32", "sparse": false, "batch_input_shape": l.settings["batch_input_shape"]}
	}
	c := map[string]any{"class_name": l.class, "config": settings}
	if k.archive {
		c["module"], c["registered_name"] = "keras.layers", nil
		if l.inner != nil {
			c["module"] = "keras"
		}
	}
	if !functional {
		return c
	}
	nodes := []any{}
	for _, inputs := range l.inputs {
		var refs []any
		for _, t := range inputs {
			ref := []any{t.layer.name, t.call, 0}
			if t.layer.inner != nil && !k.archive {
				ref[1] = t.call + 1
			}
			if !k.archive {
				refs = append(refs, append(ref, map[string]any{}))
				continue
			}
			tensor := map[string]any{"shape": append([]any{nil}, anys(t.shape)...), "dtype": "float32", "keras_history": ref}
			refs = append(refs, map[string]any{"class_name": "__keras_tensor__", "config": tensor})
		}
		switch {
		case len(refs) == 0:
		case !k.archive:
			nodes = append(nodes, refs)
		case l.merges:
			nodes = append(nodes, map[string]any{"args": []any{refs}, "kwargs": map[string]any{}})
		default:
			nodes = append(nodes, map[string]any{"args": refs, "kwargs": map[string]any{}})
		}
	}
	c["name"], c["inbound_nodes"] = l.name, nodes
	return c
}

// model is the whole configuration.
func (k *kerasModel) model() ([]byte, error) {
	var list []any
	for _, l := range k.layers {
		list = append(list, k.config(l, true))
	}
	first, last := k.layers[0], k.layers[len(k.layers)-1]
	config := map[string]any{
		"name": "model", "trainable": true, "layers": list,
		"input_layers": []any{[]any{first.name, 0, 0}}, "output_layers": []any{[]any{last.name, 0, 0}},
	}
	c := map[string]any{"class_name": "Functional", "config": config}
	if k.archive {
		c["module"], c["registered_name"] = "keras.src.models.functional", "Functional"
	}
	return json.Marshal(c)
}

// dataset is a weight as it is stored.
func (w kerasWeight) dataset() (*hdf5.Dataset, error) {
	raw := make([]byte, 4*len(w.values))
	if err := tensor.Encode(raw, w.values, tensor.Float32); err != nil {
		return nil, err
	}
	return &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Float32), Shape: w.shape, Data: tensor.Buffer(raw)}, nil
}

// writeLegacy writes an .h5 file.
func (k *kerasModel) writeLegacy(f *os.File) error {
	config, err := k.model()
	if err != nil {
		return err
	}
	root, group := &hdf5.Group{}, &hdf5.Group{Links: map[string]hdf5.Object{}}
	root.Attrs.Set("keras_version", hdf5.Text("2.11.0"))
	root.Attrs.Set("backend", hdf5.Text("tensorflow"))
	root.Attrs.Set("model_config", hdf5.Text(string(config)))
	group.Attrs.Set("keras_version", hdf5.Text("2.11.0"))
	group.Attrs.Set("backend", hdf5.Text("tensorflow"))
	var names []string
	for _, l := range k.layers {
		names = append(names, l.name)
		own := &hdf5.Group{}
		var listed []string
		for _, frozen := range []bool{false, true} {
			for _, of := range append([]*kerasLayer{l}, l.inner...) {
				for _, w := range of.weights {
					if w.frozen != frozen {
						continue
					}
					set, err := w.dataset()
					if err != nil {
						return err
					}
					name := of.name + "/" + w.name + ":0"
					if err := own.Set(name, set); err != nil {
						return err
					}
					listed = append(listed, name)
				}
			}
		}
		own.Attrs.Set("weight_names", hdf5.Texts(listed))
		group.Links[l.name] = own
	}
	group.Attrs.Set("layer_names", hdf5.Texts(names))
	root.Links = map[string]hdf5.Object{"model_weights": group}
	_, err = hdf5.Write(f, root, nil)
	return err
}

// folder is the group of some layers in a .keras file: classes, counted.
func (k *kerasModel) folder(layers []*kerasLayer) (*hdf5.Group, error) {
	folder, counts := &hdf5.Group{Links: map[string]hdf5.Object{}}, map[string]int{}
	for _, l := range layers {
		name := kerasNames[l.class]
		if counts[name]++; counts[name] > 1 {
			name += "_" + strconv.Itoa(counts[name]-1)
		}
		own, vars := &hdf5.Group{}, &hdf5.Group{}
		if k.named {
			vars.Attrs.Set("name", hdf5.Text(l.name))
		}
		for n, w := range l.weights {
			set, err := w.dataset()
			if err == nil {
				err = vars.Set(strconv.Itoa(n), set)
			}
			if err != nil {
				return nil, err
			}
		}
		own.Links = map[string]hdf5.Object{"vars": vars}
		if l.inner != nil {
			inner, err := k.folder(slices.DeleteFunc(slices.Clone(l.inner), func(l *kerasLayer) bool { return l.class == "InputLayer" }))
			if err != nil {
				return nil, err
			}
			own.Links["layers"] = inner
		}
		folder.Links[name] = own
	}
	return folder, nil
}

// writeArchive writes a .keras file.
func (k *kerasModel) writeArchive(f *os.File) error {
	config, err := k.model()
	if err != nil {
		return err
	}
	folder, err := k.folder(k.layers)
	if err != nil {
		return err
	}
	var weights onnx.Memory
	if _, err := hdf5.Write(&weights, &hdf5.Group{Links: map[string]hdf5.Object{"layers": folder, "vars": &hdf5.Group{}}}, nil); err != nil {
		return err
	}
	z := zip.NewWriter(f)
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"metadata.json", []byte(`{"keras_version": "3.15.1", "date_saved": "2024-01-01@00:00:00"}`)},
		{"config.json", config},
		{"model.weights.h5", weights.Bytes()},
	} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(m.data)
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}
