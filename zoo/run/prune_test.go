package run

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
)

func (s *scene) exists(path string) bool {
	_, err := os.Stat(filepath.Join(s.out(), path))
	return !errors.Is(err, fs.ErrNotExist)
}

func prune(o *Options) { o.Prune = true }

func TestPrune_OnlyPruneRemovesOutputsWithoutSource(t *testing.T) {
	s := newScene(t, 5)
	s.external("m", 1)
	s.must(nil)
	if err := errors.Join(os.Remove(filepath.Join(s.zoo(), "dense", "00002.onnx")), os.RemoveAll(filepath.Join(s.zoo(), "m"))); err != nil {
		t.Fatal(err)
	}
	want := []string{"dense/00002.onnx", "m/model.onnx", "m/weights.bin"}
	for _, round := range []struct {
		name            string
		change          func(*Options)
		orphans, pruned []string
		gone            bool
	}{
		{"a run", nil, want, nil, false},
		{"another", nil, want, nil, false},
		{"a dry run", func(o *Options) { o.DryRun = true }, want, nil, false},
		{"a dry run with -prune", func(o *Options) { o.DryRun, o.Prune = true, true }, nil, nil, false},
		{"-prune", prune, nil, want, true},
		{"a run after it", nil, nil, nil, true},
	} {
		r := s.must(round.change)
		if !slices.Equal(r.Orphans, round.orphans) || !slices.Equal(r.Pruned, round.pruned) || len(r.Notes) > 0 {
			t.Errorf("%s: orphans %q, pruned %q, notes %q", round.name, r.Orphans, r.Pruned, r.Notes)
		}
		if would := r.WouldRemove; (len(would) > 0) != strings.HasPrefix(round.name, "a dry run with") || len(would) > 0 && !slices.Equal(would, want) {
			t.Errorf("%s: would remove %q", round.name, would)
		}
		for _, path := range want {
			if gone := !s.exists(path); gone != round.gone {
				t.Errorf("%s: %s is gone: %v", round.name, path, gone)
			}
		}
	}
	if s.exists("m") || s.exists("dense") || !s.exists("mobile/00000.onnx") {
		t.Errorf("folders: %v", contents(t, s.out()))
	}
	if books, err := openLedger(disk{}, s.out(), true); err != nil || len(books.entries) != 4 {
		t.Errorf("the ledger has %d entries, %v", len(books.entries), err)
	}
}

func TestPrune_MovedOutputLeavesAnOrphan(t *testing.T) {
	s := newScene(t, 1)
	s.must(nil)
	s.rules += "    output: 'elsewhere/{name}'\n"
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 || !slices.Equal(r.Orphans, []string{"mobile/00000.onnx"}) {
		t.Fatalf("%v, %q", r.Counts, r.Orphans)
	}
	if r := s.must(nil); r.Counts[outcome.Unchanged] != 1 || len(r.Orphans) != 1 {
		t.Errorf("%v, %q", r.Counts, r.Orphans)
	}
	if r := s.must(prune); len(r.Pruned) != 1 || s.exists("mobile") || !s.exists("elsewhere/00000.onnx") {
		t.Errorf("pruned %q", r.Pruned)
	}
	if r := s.must(prune); r.Counts[outcome.Unchanged] != 1 || len(r.Orphans)+len(r.Pruned) != 0 {
		t.Errorf("%v, %q", r.Counts, r.Orphans)
	}
}

func TestPrune_KeepsChangedAndReassignedOutputs(t *testing.T) {
	source := func(s *scene, name string) string { return filepath.Join(s.zoo(), "mobile", name) }
	for _, test := range []struct {
		name    string
		change  func(s *scene) error
		kept    string
		orphans int
		note    string
	}{
		{"what somebody changed", func(s *scene) error {
			return errors.Join(os.Rename(source(s, "00000.onnx"), source(s, "renamed.onnx")), os.WriteFile(filepath.Join(s.out(), "mobile", "00000.onnx"), []byte("mine"), 0o666))
		}, "mobile/00000.onnx", 1, "mobile/00000.onnx was changed since it was written"},
		{"what another model writes now", func(s *scene) error {
			s.rules = "models:\n  - match: '**/*.onnx'\n    output: 'mobile/00000.onnx'\n"
			return os.Rename(source(s, "00000.onnx"), source(s, "renamed.onnx"))
		}, "mobile/00000.onnx", 0, ""},
		{"the old output of a model that fails", func(s *scene) error {
			return os.WriteFile(source(s, "00000.onnx"), nil, 0o666)
		}, "mobile/00000.onnx", 0, ""},
		{"everything, if the zoo is empty", func(s *scene) error {
			s.rules = "models:\n  - match: '**/*.onnx'\n    optional: true\n"
			return os.Remove(source(s, "00000.onnx"))
		}, "mobile/00000.onnx", 1, ""},
		{"what no run wrote", func(s *scene) error {
			return errors.Join(os.WriteFile(filepath.Join(s.out(), "mobile", "stranger"), nil, 0o666), os.Rename(source(s, "00000.onnx"), source(s, "renamed.onnx")))
		}, "mobile/stranger", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, 1)
			s.must(nil)
			if err := test.change(s); err != nil {
				t.Fatal(err)
			}
			r := s.must(prune)
			if !s.exists(test.kept) || len(r.Orphans) != test.orphans || !strings.Contains(strings.Join(r.Notes, "\n"), test.note) || (len(r.Notes) > 0) != (test.note != "") {
				t.Errorf("orphans %q, pruned %q, notes %q, kept: %v", r.Orphans, r.Pruned, r.Notes, s.exists(test.kept))
			}
		})
	}
}

func TestPrune_RemovesNothingAfterInterruptOrInACopiedFolder(t *testing.T) {
	s := newScene(t, 2)
	s.must(nil)
	moved := &scene{t: t, folder: t.TempDir(), rules: s.rules}
	if err := errors.Join(os.CopyFS(moved.out(), os.DirFS(s.out())), os.CopyFS(moved.zoo(), os.DirFS(s.zoo())), os.RemoveAll(filepath.Join(moved.zoo(), "residual"))); err != nil {
		t.Fatal(err)
	}
	r := moved.must(prune) // what the ledger says is true of the copies as well
	if r.Counts[outcome.Folded] != 1 || len(r.Pruned) != 1 || moved.exists("residual/00001.onnx") || !s.exists("residual/00001.onnx") {
		t.Errorf("%v, orphans %q, pruned %q", r.Counts, r.Orphans, r.Pruned)
	}
	if err := os.RemoveAll(filepath.Join(s.zoo(), "residual")); err != nil {
		t.Fatal(err)
	}
	interrupted, err := s.run(canceled(), prune)
	if err != nil || interrupted.Exit != 130 || len(interrupted.Pruned) != 0 || !s.exists("residual/00001.onnx") {
		t.Errorf("%v, exit %d, pruned %q", err, interrupted.Exit, interrupted.Pruned)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
