package keras_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestFold_UnabsorbedMapsBecomeOneLayer(t *testing.T) {
	path := legacy(t, func(config object, root *hdf5.Group) {
		for key := range config {
			delete(config, key)
		}
		layer := func(class, name string, settings object) any {
			settings["name"] = name
			return object{"class_name": class, "config": settings}
		}
		config["class_name"] = "Sequential"
		config["config"] = object{"name": "s", "layers": []any{
			layer("Rescaling", "rescaling", object{"batch_input_shape": []any{nil, 4, 4, 3}, "scale": 0.5, "offset": 0.25}),
			layer("Normalization", "normalization", object{"axis": []any{-1}, "mean": []any{0.25, 0.5, 0.75}, "variance": []any{0.25, 1.0, 4.0}}),
			layer("ZeroPadding2D", "pad", object{"padding": 1}),
		}}
		root.Links["model_weights"] = &hdf5.Group{Attrs: hdf5.Attributes{{Name: "keras_version", Value: hdf5.Text("2.12.0")}}}
	})
	f, err := format.Open(t.Context(), path, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plan, err := fold.Fold(t.Context(), f.Model(), fold.Options{})
	if err != nil || plan.Before != 2 || plan.After != 1 || plan.Tally() != (fold.Tally{Merged: 2, Into: 1}) {
		t.Fatalf("%v: %+v", err, plan)
	}
	out := formattest.Folder{Path: t.TempDir(), Name: "m.h5"}
	if _, err := f.Write(t.Context(), out, tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	config := configOf(t, out.Path+"/m.h5")
	if n := len(layers(config)); n != 2 {
		t.Fatalf("%d layers", n)
	}
	said, err := json.Marshal([]any{settings(layerOf(config, "Rescaling"))["scale"], settings(layerOf(config, "Rescaling"))["offset"]})
	if err != nil || !slices.Equal([]byte("[[1,0.5,0.25],[0,-0.25,-0.25]]"), said) {
		t.Errorf("%v: %s", err, said)
	}
}

// configOf is the configuration of an .h5 file.
func configOf(t *testing.T, path string) (config object) {
	t.Helper()
	data := formattest.Read(t, path)
	root, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := root.Attrs.Get("model_config")
	text, _ := v.Text()
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	return config
}
