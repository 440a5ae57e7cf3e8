package run

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	_ "github.com/zoofold/zoofold/zoo/format/keras"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/verify/predict"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// kerasModel puts a small Keras model into the zoo, after edits.
func kerasModel(s *scene, edit func(root *hdf5.Group)) {
	s.t.Helper()
	if err := os.MkdirAll(s.zoo(), 0o777); err != nil {
		s.t.Fatal(err)
	}
	path, _, err := zootest.Keras(2, s.zoo())
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	root, err := hdf5.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		s.t.Fatal(err)
	}
	edit(root)
	f, err := os.Create(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := hdf5.Write(f, root, nil); err != nil {
		s.t.Fatal(err)
	}
	s.rules = "models:\n  - match: '*.h5'\n"
}

// What a written file lacks of the original, the state of an optimizer, is in the report.
func TestReport_WarnsOfWhatOutputsLack(t *testing.T) {
	s := newScene(t, 0)
	kerasModel(s, func(root *hdf5.Group) {
		root.Attrs.Set("training_config", hdf5.Text(`{"loss": "mse"}`))
		root.Links["optimizer_weights"] = &hdf5.Group{}
	})
	r := s.must(nil)
	for name, m := range r.models {
		if !slices.ContainsFunc(m.Warnings, func(w string) bool { return strings.Contains(w, "optimizer") }) || len(m.Warnings) != 1 {
			t.Errorf("%s: warnings %q", name, m.Warnings)
		}
	}
	if len(r.models) != 1 {
		t.Errorf("%d models", len(r.models))
	}
}

// A model of which all depends on a layer that ONNX has no operators for is folded, and its predictions are not run.
func TestPredictions_UnknownOperatorsAreNotRun(t *testing.T) {
	s := newScene(t, 0)
	kerasModel(s, func(root *hdf5.Group) {
		v, _ := root.Attrs.Get("model_config")
		config, _ := v.Text()
		root.Attrs.Set("model_config", hdf5.Text(strings.Replace(config, `"class_name":"Conv2D"`, `"class_name":"Custom>Conv2D"`, 1)))
	})
	r := s.must(func(o *Options) {
		o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check {
			t.Error("something was run")
			return outcome.Check{}
		})
	})
	for name, m := range r.models {
		if m.Status != outcome.Folded || m.Algebra.Status != outcome.Passed || m.Predictions.Status != outcome.NotRun || !strings.Contains(m.Predictions.Note, "ONNX") {
			t.Errorf("%s: %s, algebra %v, predictions %v", name, m.Status, m.Algebra, m.Predictions)
		}
	}
	if len(r.models) != 1 {
		t.Errorf("%d models", len(r.models))
	}
}
