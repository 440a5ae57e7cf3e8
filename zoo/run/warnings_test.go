package run

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	_ "github.com/zoofold/zoofold/zoo/format/keras"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// What a written file lacks of the original, the state of an optimizer, is in the report.
func TestWhatIsLeftOutIsInTheReport(t *testing.T) {
	s := newScene(t, 0)
	if err := os.MkdirAll(s.zoo(), 0o777); err != nil {
		t.Fatal(err)
	}
	path, _, err := zootest.Keras(2, s.zoo())
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
	root.Attrs.Set("training_config", hdf5.Text(`{"loss": "mse"}`))
	root.Links["optimizer_weights"] = &hdf5.Group{}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := hdf5.Write(f, root, nil); err != nil {
		t.Fatal(err)
	}
	s.rules = "models:\n  - match: '*.h5'\n"
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
