package run

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// twins are two models that share their weights' file, as decoders with and without a cache do.
func (s *scene) twins(seed uint64) {
	s.t.Helper()
	s.external("m", seed)
	data, err := os.ReadFile(filepath.Join(s.zoo(), "m", "model.onnx"))
	if err = errors.Join(err, os.WriteFile(filepath.Join(s.zoo(), "m", "twin.onnx"), data, 0o666)); err != nil {
		s.t.Fatal(err)
	}
}

func TestExternalData_EqualForTwoModelsIsShared(t *testing.T) {
	s := newScene(t, 0)
	for seed := range uint64(6) { // which of them is first differs
		s.twins(seed + 1)
		s.settled()
		if r := s.must(nil); r.Counts[outcome.Folded] != 2 {
			t.Fatalf("weights %d: %v: %s; %s", seed, r.Counts, r.models["m/model.onnx"].Error, r.models["m/twin.onnx"].Error)
		}
		if r := s.must(nil); r.Counts[outcome.Unchanged] != 2 {
			t.Fatalf("weights %d, once more: %v", seed, r.Counts)
		}
	}
}

// A model whose external data another one is about to replace is removed, perhaps while it is looked at itself.
func TestExternalData_OutputThatAnotherModelRemovesIsNotInTheWay(t *testing.T) {
	s := newScene(t, 1)
	s.plain("0.onnx", 1)
	s.must(nil)
	s.plain("0.onnx", 77)
	s.settled()
	output, removed := filepath.Join(s.out(), "0.onnx"), false
	r := s.must(func(o *Options) {
		o.over = (&hooked{before: func(operation, path string) error {
			if operation == "open" && path == output && !removed {
				removed = true
				return os.Remove(output)
			}
			return nil
		}}).over
	})
	if !removed || r.models["0.onnx"].Status != outcome.Folded {
		t.Errorf("removed: %v, %v: %s", removed, r.Counts, r.models["0.onnx"].Error)
	}
}

func TestExternalData_DifferentForTwoModelsIsTwoFiles(t *testing.T) {
	s := newScene(t, 0)
	s.rules = "models:\n  - match: '**/twin.onnx'\n    verify: [parity]\n    fold: {norm: off}\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	s.twins(1)
	s.settled()
	if first := s.must(nil); first.Counts[outcome.Folded] != 1 || first.Counts[outcome.Copied] != 1 {
		t.Fatalf("%v", first.Counts)
	}
	if a, b := s.reads("m/model.onnx"), s.reads("m/twin.onnx"); slices.Equal(a, b) {
		t.Errorf("both have %v", a)
	}
	kept := contents(t, s.out())
	if again := s.must(nil); again.Counts[outcome.Unchanged] != 2 || !equal(kept, contents(t, s.out())) {
		t.Errorf("once more: %v", again.Counts)
	}
}

func TestExternalData_ModelNeverKeepsThatOfAnother(t *testing.T) {
	s := newScene(t, 0)
	s.twins(1)
	s.settled()
	s.must(nil)
	s.twins(2)
	twin := filepath.Join(s.zoo(), "m", "twin.onnx")
	if err := os.WriteFile(twin, []byte("no model"), 0o666); err != nil {
		t.Fatal(err)
	}
	s.settled()
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 || r.Counts[outcome.Failed] != 1 {
		t.Fatalf("%v", r.Counts)
	}
	if _, err := os.Stat(filepath.Join(s.out(), "m", "twin.onnx")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old model stands beside new weights: %v", err)
	}
}
