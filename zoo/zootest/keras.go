package zootest

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Keras writes one small Keras model into a folder: convolutions and batch normalisations one after another, as Keras 2
// stores them in an .h5 file for even seeds, as Keras 3 in a .keras file for odd ones. Equal seeds make equal files.
func Keras(seed uint64, folder string) (path string, o format.Options, err error) {
	k := &kerasNet{rng: rand.New(rand.NewPCG(seed, 0x4e7a5)), counts: map[string]int{}}
	k.net()
	if seed%2 == 0 {
		path = filepath.Join(folder, fmt.Sprintf("net%d.h5", seed))
		data, err := k.legacy()
		if err != nil {
			return "", o, err
		}
		return path, o, os.WriteFile(path, data, 0o666)
	}
	path = filepath.Join(folder, fmt.Sprintf("net%d.keras", seed))
	data, err := k.archive()
	if err != nil {
		return "", o, err
	}
	return path, o, os.WriteFile(path, data, 0o666)
}

// kerasNet is a sequential model being written.
type kerasNet struct {
	rng    *rand.Rand
	layers []kerasLayer
	counts map[string]int // layers by the name of their class
}

type kerasLayer struct {
	class, name string
	config      map[string]any
	roles       []string
	weights     []*hdf5.Dataset
}

// add is a layer; short is its class as names have it.
func (k *kerasNet) add(class, short string, config map[string]any) *kerasLayer {
	name := short
	if n := k.counts[short]; n > 0 {
		name = fmt.Sprintf("%s_%d", short, n)
	}
	k.counts[short]++
	config["name"] = name
	k.layers = append(k.layers, kerasLayer{class: class, name: name, config: config})
	return &k.layers[len(k.layers)-1]
}

// weight adds a weight of random numbers.
func (l *kerasLayer) weight(rng *rand.Rand, role string, lo, hi float64, shape ...int64) {
	n, _ := tensor.Elements(shape)
	values := make([]float64, n)
	for e := range values {
		values[e] = lo + (hi-lo)*rng.Float64()
	}
	data := make([]byte, 4*n)
	if err := tensor.Encode(data, values, tensor.Float32); err != nil {
		panic(err) // float32 holds them
	}
	l.roles = append(l.roles, role)
	l.weights = append(l.weights, &hdf5.Dataset{Type: hdf5.TypeOf(tensor.Float32), Shape: shape, Data: tensor.Buffer(data)})
}

func (k *kerasNet) net() {
	const size = 8
	k.add("InputLayer", "input", map[string]any{"batch_input_shape": []any{nil, size, size, 3}, "dtype": "float32"})
	channels := int64(3)
	for range 1 + k.rng.IntN(3) {
		out := 2 + k.rng.Int64N(4)
		k.linear(k.add("Conv2D", "conv2d", map[string]any{"filters": out, "kernel_size": []int{3, 3}, "padding": "same", "strides": []int{1, 1}}), 3, 3, channels, out)
		if channels = out; k.rng.IntN(3) > 0 {
			k.norm(channels)
		}
		k.add("Activation", "activation", map[string]any{"activation": []string{"relu", "tanh", "linear"}[k.rng.IntN(3)]})
	}
	k.add("GlobalAveragePooling2D", "global_average_pooling2d", map[string]any{})
	k.linear(k.add("Dense", "dense", map[string]any{"units": 5, "activation": "linear"}), channels, 5)
	k.norm(5)
	k.linear(k.add("Dense", "dense", map[string]any{"units": 4, "activation": "softmax"}), 5, 4)
}

func (k *kerasNet) linear(l *kerasLayer, shape ...int64) {
	biased := k.rng.IntN(2) == 0
	l.config["use_bias"] = biased
	l.weight(k.rng, "kernel", -1, 1, shape...)
	if biased {
		l.weight(k.rng, "bias", -1, 1, shape[len(shape)-1])
	}
}

func (k *kerasNet) norm(channels int64) {
	l := k.add("BatchNormalization", "batch_normalization", map[string]any{"axis": -1, "epsilon": 1e-3, "center": true, "scale": true, "momentum": 0.99})
	l.weight(k.rng, "gamma", 0.5, 1.5, channels)
	l.weight(k.rng, "beta", -1, 1, channels)
	l.weight(k.rng, "moving_mean", -1, 1, channels)
	l.weight(k.rng, "moving_variance", 0.5, 2, channels)
}

func (k *kerasNet) config() ([]byte, error) {
	var list []any
	for _, l := range k.layers {
		list = append(list, map[string]any{"class_name": l.class, "config": l.config})
	}
	return json.Marshal(map[string]any{"class_name": "Sequential", "config": map[string]any{"name": "sequential", "layers": list}})
}

// legacy is the model as an .h5 file.
func (k *kerasNet) legacy() ([]byte, error) {
	config, err := k.config()
	if err != nil {
		return nil, err
	}
	weights := &hdf5.Group{Links: map[string]hdf5.Object{}}
	var names []string
	for _, l := range k.layers {
		inner, list := map[string]hdf5.Object{}, []string{}
		for j, role := range l.roles {
			inner[role+":0"] = l.weights[j]
			list = append(list, l.name+"/"+role+":0")
		}
		group := &hdf5.Group{Attrs: hdf5.Attributes{{Name: "weight_names", Value: hdf5.Texts(list)}}}
		if len(inner) > 0 {
			group.Links = map[string]hdf5.Object{l.name: &hdf5.Group{Links: inner}}
		}
		weights.Links[l.name] = group
		names = append(names, l.name)
	}
	weights.Attrs = hdf5.Attributes{{Name: "layer_names", Value: hdf5.Texts(names)}, {Name: "backend", Value: hdf5.Text("tensorflow")}, {Name: "keras_version", Value: hdf5.Text("2.15.0")}}
	return kerasTree(&hdf5.Group{
		Attrs: hdf5.Attributes{{Name: "model_config", Value: hdf5.Text(string(config))}},
		Links: map[string]hdf5.Object{"model_weights": weights},
	})
}

// archive is the model as a .keras file.
func (k *kerasNet) archive() ([]byte, error) {
	config, err := k.config()
	if err != nil {
		return nil, err
	}
	layers := map[string]hdf5.Object{}
	for _, l := range k.layers {
		vars := &hdf5.Group{Attrs: hdf5.Attributes{{Name: "name", Value: hdf5.Text(l.name)}}, Links: map[string]hdf5.Object{}}
		for j, w := range l.weights {
			vars.Links[fmt.Sprint(j)] = w
		}
		layers[l.name] = &hdf5.Group{Links: map[string]hdf5.Object{"vars": vars}}
	}
	weights, err := kerasTree(&hdf5.Group{Links: map[string]hdf5.Object{"layers": &hdf5.Group{Links: layers}}})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range []struct {
		name string
		data []byte
	}{{"metadata.json", []byte(`{"keras_version": "3.6.0"}`)}, {"config.json", config}, {"model.weights.h5", weights}} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(m.data)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func kerasTree(root *hdf5.Group) ([]byte, error) {
	var m onnx.Memory
	_, err := hdf5.Write(&m, root, nil)
	return m.Bytes(), err
}
