package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/verify/predict"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestIncremental_SecondRunDoesOnlyWhatIsNew(t *testing.T) {
	s := newScene(t, 5)
	s.must(nil)
	if r := s.must(nil); r.Counts[outcome.Unchanged] != 5 {
		t.Fatalf("nothing changed: %v", r.Counts)
	}
	paths := make([]string, 0, 5)
	for p := range contents(t, s.zoo()) {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	first := filepath.Join(s.zoo(), paths[0])
	s.settled()
	s.must(nil)
	long := time.Now().Add(-2 * time.Hour)
	for _, change := range []struct {
		name   string
		do     func() error
		redone int
		force  Force
		checks *[]string
	}{
		{name: "a touched input with the same content", do: func() error { return os.Chtimes(first, long, long) }, redone: 0},
		{name: "another input", do: func() error {
			data, err := os.ReadFile(filepath.Join(s.zoo(), paths[1]))
			return errors.Join(err, os.WriteFile(first, data, 0o666))
		}, redone: 1},
		{name: "a deleted output", do: func() error { return os.Remove(filepath.Join(s.out(), paths[2])) }, redone: 1},
		{name: "a deleted ledger", do: func() error { return os.Remove(filepath.Join(s.out(), stateFolder, "ledger")) }, redone: 5},
		{name: "-force", do: func() error { return nil }, redone: 5, force: ForceAll},
		{name: "fewer checks", do: func() error { return nil }, redone: 0, checks: &[]string{"parity"}},
		{name: "no checks", do: func() error { return nil }, redone: 0, checks: &[]string{}},
		{name: "more checks", do: func() error { return nil }, redone: 5, checks: &[]string{"parity", "algebra", "predictions"}},
	} {
		t.Run(change.name, func(t *testing.T) {
			if err := change.do(); err != nil {
				t.Fatal(err)
			}
			set := func(o *Options) {
				o.Force, o.Verify = change.force, change.checks
				o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check { return outcome.Check{Status: outcome.Passed} })
			}
			r := s.must(set)
			if r.Counts[outcome.Folded] != change.redone || r.Counts[outcome.Unchanged] != 5-change.redone {
				t.Errorf("%v, want %d folded", r.Counts, change.redone)
			}
			s.must(func(o *Options) { o.Verify = nil })
		})
	}
}

func TestIncremental_OneChangeRefoldsOneModel(t *testing.T) {
	const models = 200
	s := newScene(t, 0)
	paths, err := zootest.Write(s.zoo(), models, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: []\n"
	s.settled()
	s.must(nil)
	other, err := os.ReadFile(paths[5]) // of the same kind, with other weights
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[0], other, 0o666); err != nil {
		t.Fatal(err)
	}
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 || r.Counts[outcome.Unchanged] != models-1 {
		t.Errorf("%v", r.Counts)
	}
}

func TestIncremental_ChangedRuleRefoldsItsModels(t *testing.T) {
	s := newScene(t, 5) // one of each kind
	const rules = "models:\n  - match: 'dense/*.onnx'\n    verify: [parity]\n%s  - match: '**/*.onnx'\n    verify: [parity]\n%s"
	s.rules = fmt.Sprintf(rules, "", "")
	s.must(nil)
	for _, change := range []struct {
		first, second string
		redone        int
	}{
		{"    timeout: 5m\n", "", 0},
		{"    keep: ['no such node']\n", "", 1},
		{"    keep: ['no such node']\n", "    max_duplicate_bytes: 1000\n", 4},
		{"    keep: ['no such node']\n    output: '{dir}/{stem}.folded.onnx'\n", "    max_duplicate_bytes: 1000\n", 1},
		{"    output: '{dir}/{stem}.folded.onnx'\n", "", 5},
	} {
		s.rules = fmt.Sprintf(rules, change.first, change.second)
		if r := s.must(nil); r.Counts[outcome.Folded] != change.redone || r.Counts[outcome.Unchanged] != 5-change.redone {
			t.Errorf("%q, %q: %v", change.first, change.second, r.Counts)
		}
		if r := s.must(nil); r.Counts[outcome.Unchanged] != 5 {
			t.Errorf("%q, %q, once more: %v", change.first, change.second, r.Counts)
		}
	}
}

func TestIncremental_AnotherVersionOfFoldingRefolds(t *testing.T) {
	s := newScene(t, 3)
	s.must(nil)
	books, err := openLedger(onDisk(t, s.out()), s.out(), false)
	if err != nil {
		t.Fatal(err)
	}
	e := *books.get(s.owner("mobile/00000.onnx"))
	e.Settings = strings.Replace(e.Settings, "fold@"+fold.Version, "fold@0", 1)
	if err := errors.Join(books.add(&e), books.close()); err != nil {
		t.Fatal(err)
	}
	if r := s.must(nil); r.models[e.Model].Status != outcome.Folded || r.Counts[outcome.Unchanged] != 2 {
		t.Errorf("%v", r.Counts)
	}
}

func TestIncremental_TouchedInputsAreReadOnce(t *testing.T) {
	s := newScene(t, 3)
	s.must(nil) // the inputs changed a moment before
	s.settled()
	reads := func() (inputs, outputs int) {
		r := s.must(func(o *Options) {
			o.over = (&hooked{before: func(operation, path string) error {
				switch {
				case operation == "open" && strings.HasPrefix(path, s.zoo()):
					inputs++
				case operation == "open" && strings.HasSuffix(path, ".onnx"):
					outputs++
				}
				return nil
			}}).over
		})
		if r.Counts[outcome.Unchanged] != 3 {
			t.Fatalf("%v", r.Counts)
		}
		return inputs, outputs
	}
	if in, out := reads(); in != 3 || out != 0 {
		t.Errorf("%d inputs and %d outputs were read, want 3 and 0", in, out)
	}
	if in, out := reads(); in != 0 || out != 0 {
		t.Errorf("once more: %d inputs and %d outputs were read", in, out)
	}
}

func TestIncremental_InputChangedTwiceInATickIsNoticed(t *testing.T) {
	s := newScene(t, 1)
	path := filepath.Join(s.zoo(), "mobile", "00000.onnx")
	soon := time.Now().Add(tick / 2) // as fresh now as it is in a moment
	if err := os.Chtimes(path, soon, soon); err != nil {
		t.Fatal(err)
	}
	s.must(nil)
	if err := alter(path); err != nil {
		t.Fatal(err)
	}
	if r := s.must(nil); r.Counts[outcome.Unchanged] != 0 {
		t.Errorf("%v", r.Counts)
	}
}

// alter changes a byte of a file and gives it its old time back.
func alter(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func TestLedger_DamagedLineCostsOneModel(t *testing.T) {
	s := newScene(t, 5)
	s.must(nil)
	path := filepath.Join(s.out(), stateFolder, "ledger")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-40] ^= 0x20 // in the last model's line
	if err := os.WriteFile(path, append(data, "half a li"...), 0o666); err != nil {
		t.Fatal(err)
	}
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 || r.Counts[outcome.Unchanged] != 4 {
		t.Errorf("%v", r.Counts)
	}
	if r := s.must(nil); r.Counts[outcome.Unchanged] != 5 {
		t.Errorf("after it was mended: %v", r.Counts)
	}
}

func TestIncremental_NewEngineProvesWhatWasNotProven(t *testing.T) {
	s := newScene(t, 2)
	s.rules = "models:\n  - match: '**/*.onnx'\n"
	if r := s.must(nil); r.Counts[outcome.Folded] != 2 {
		t.Fatalf("%v", r.Counts)
	}
	if r := s.must(nil); r.Counts[outcome.Unchanged] != 2 {
		t.Fatalf("without an engine: %v", r.Counts)
	}
	r := s.must(func(o *Options) {
		o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check { return outcome.Check{Status: outcome.Passed} })
	})
	if r.Counts[outcome.Folded] != 2 {
		t.Errorf("with one: %v", r.Counts)
	}
}

func TestNeverReplaced_ChangedOutputUnlessAllowed(t *testing.T) {
	for _, change := range []struct {
		name  string
		do    func(path string) error
		force Force
	}{
		{"truncated", func(path string) error { return os.Truncate(path, 10) }, ForceNothing},
		{"altered without its size or time", alter, ForceHash},
		{"another file", func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("mine"), 0o666))
		}, ForceNothing},
	} {
		t.Run(change.name, func(t *testing.T) {
			s := newScene(t, 1)
			s.settled()
			s.must(nil)
			path := filepath.Join(s.out(), "mobile", "00000.onnx")
			if err := change.do(path); err != nil {
				t.Fatal(err)
			}
			before := contents(t, s.out())
			r := s.must(func(o *Options) { o.Force = change.force })
			if m := r.models["mobile/00000.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, "was changed since zoofold wrote it") || m.After != m.Before {
				t.Errorf("%+v", m)
			}
			if !equal(before, contents(t, s.out())) {
				t.Error("it was replaced")
			}
			s.rules += "    overwrite: true\n"
			if r := s.must(func(o *Options) { o.Force = change.force }); r.Counts[outcome.Folded] != 1 {
				t.Errorf("with overwrite: true: %v", r.Counts)
			}
		})
	}
}

func TestNeverReplaced_ForeignFileUnlessAllowed(t *testing.T) {
	s := newScene(t, 1)
	path := filepath.Join(s.out(), "mobile", "00000.onnx")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte("mine"), 0o666)); err != nil {
		t.Fatal(err)
	}
	r := s.must(nil)
	if m := r.models["mobile/00000.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, "was not made by zoofold") {
		t.Errorf("%+v", m)
	}
	if data, _ := os.ReadFile(path); string(data) != "mine" {
		t.Error("it was replaced")
	}
	s.rules += "    overwrite: true\n"
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 {
		t.Errorf("with overwrite: true: %v", r.Counts)
	}
}
