package run

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/checkpoint" // whose files may be called .bin, as external data may
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/verify/predict"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// pair puts an encoder and a decoder into the zoo whose weights lie in one file. The seeds are those of their weights.
func (s *scene) pair(encoder, decoder uint64) {
	s.t.Helper()
	a, weights, err := zootest.External(plain(s.t, encoder), "data/w.bin", 64)
	if err != nil {
		s.t.Fatal(err)
	}
	b, weights, err := zootest.External(plain(s.t, decoder), "data/w.bin", 64, weights...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put("zoo/encoder.onnx", a)
	s.put("zoo/decoder.onnx", b)
	s.put("zoo/data/w.bin", weights)
	s.settled()
}

// reads checks that a written model reads each of its files, and that all of them are there.
func (s *scene) reads(name string) []string {
	s.t.Helper()
	f, err := format.Open(s.t.Context(), filepath.Join(s.out(), name), format.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	return f.Inputs()[1:]
}

func TestOutputs_TwoModelsOnOneExternalFileBothFold(t *testing.T) {
	for _, workers := range []int{1, 2} {
		s := newScene(t, 0)
		s.pair(1, 2)
		before := contents(t, s.zoo())
		first := s.must(func(o *Options) { o.Workers = workers })
		if first.Counts[outcome.Folded] != 2 {
			t.Fatalf("%v: %+v", first.Counts, first.models)
		}
		if !equal(before, contents(t, s.zoo())) {
			t.Error("the originals have changed")
		}
		encoder, decoder := s.reads("encoder.onnx"), s.reads("decoder.onnx")
		if len(encoder) != 1 || len(decoder) != 1 || slices.Equal(encoder, decoder) || !slices.Contains(slices.Concat(encoder, decoder), filepath.Join(s.out(), "data", "w.bin")) {
			t.Errorf("the encoder has %v, the decoder %v", encoder, decoder)
		}
		told := 0
		for name, m := range first.models {
			own := strings.TrimSuffix(name, ".onnx") + ".w.bin"
			if slices.ContainsFunc(m.Warnings, func(w string) bool { return strings.Contains(w, "data/w.bin is written as data/"+own+": ") }) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%d models say that their external data have another name", told)
		}
		kept := contents(t, s.out())
		if again := s.must(func(o *Options) { o.Workers = workers }); again.Counts[outcome.Unchanged] != 2 || !equal(kept, contents(t, s.out())) {
			t.Errorf("once more: %v", again.Counts)
		}
		if forced := s.must(func(o *Options) { o.Workers, o.Force = workers, ForceAll }); forced.Counts[outcome.Failed] != 0 {
			t.Errorf("anew: %+v", forced.models)
		}
		s.pair(1, 3) // another decoder, and so another file for both
		if changed := s.must(func(o *Options) { o.Workers = workers }); changed.Counts[outcome.Failed] != 0 {
			t.Errorf("changed: %+v", changed.models)
		}
		encoder, decoder = s.reads("encoder.onnx"), s.reads("decoder.onnx")
		if slices.Equal(encoder, decoder) {
			t.Errorf("both have %v", encoder)
		}
	}
}

// The model that is written a second time, with other names for its files, is found slower only then.
func TestOutputs_SlowerModelWithRenamedFilesIsCopied(t *testing.T) {
	s := newScene(t, 0)
	s.pair(1, 2)
	s.rules = "models:\n  - match: '**/*.onnx'\n    latency: gate\n"
	calls := 0
	r := s.must(func(o *Options) {
		o.Workers, o.Latency = 1, true
		o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check {
			calls++
			ratio := 1.0
			if calls == 3 {
				ratio = 1.3
			}
			return outcome.Check{Status: outcome.Passed, Latency: &outcome.Latency{Ratio: ratio, Pairs: 20}}
		})
	})
	if calls != 3 || r.Counts[outcome.Copied] != 1 || r.Counts[outcome.Folded] != 1 {
		t.Fatalf("%d comparisons, %v: %+v", calls, r.Counts, r.models)
	}
	nodes := func(path string) (list []string) {
		f, err := format.Open(t.Context(), path, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, n := range f.Model().Graph.Nodes {
			list = append(list, n.String())
		}
		return list
	}
	for name, m := range r.models {
		before, after := nodes(filepath.Join(s.zoo(), name)), nodes(filepath.Join(s.out(), name))
		if same := slices.Equal(before, after); same != (m.Status == outcome.Copied) {
			t.Errorf("%s is said to be %s: %v, was %v", name, m.Status, after, before)
		}
	}
}
