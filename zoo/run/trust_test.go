package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify/predict"
	"github.com/zoofold/zoofold/zoo/zootest"

	_ "github.com/zoofold/zoofold/zoo/format/darknet"
	_ "github.com/zoofold/zoofold/zoo/format/metal"
)

// under runs another manifest of the scene's folder.
func (s *scene) under(name, text string, change func(*Options)) (result, error) {
	s.t.Helper()
	path := filepath.Join(s.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		s.t.Fatal(err)
	}
	return s.load(context.Background(), path, change)
}

// put writes a file of the scene.
func (s *scene) put(rel string, data []byte) {
	s.t.Helper()
	path := filepath.Join(s.folder, rel)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, data, 0o666)); err != nil {
		s.t.Fatal(err)
	}
}

// plain is the bytes of a small model.
func plain(t *testing.T, seed uint64) []byte {
	t.Helper()
	data, err := zootest.Kinds[0].Bytes(seed, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// exported is a model as bytes.
func exported(t *testing.T, m *model.Model) []byte {
	t.Helper()
	var out onnx.Memory
	if err := onnx.Export(context.Background(), m, &out, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestStale_OtherWeightsFileIsFoldedAnew(t *testing.T) {
	s := newScene(t, 0)
	for k, name := range []string{"one", "two"} {
		folder := filepath.Join(s.zoo(), name)
		if err := os.MkdirAll(folder, 0o777); err != nil {
			t.Fatal(err)
		}
		path, o, err := zootest.Darknet(uint64(3+10*k), folder)
		if err != nil {
			t.Fatal(err)
		}
		if o.Weights == "" {
			o.Weights = strings.TrimSuffix(path, ".cfg") + ".weights"
		}
		if err := errors.Join(os.Rename(o.Weights, filepath.Join(s.zoo(), name+".weights")), os.Rename(path, filepath.Join(s.zoo(), name+".cfg"))); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := os.ReadFile(filepath.Join(s.zoo(), "one.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(filepath.Join(s.zoo(), "one.weights"))
	if err != nil {
		t.Fatal(err)
	}
	weights[len(weights)-2] ^= 1
	if err := errors.Join(os.WriteFile(filepath.Join(s.zoo(), "two.weights"), weights, 0o666), os.Remove(filepath.Join(s.zoo(), "two.cfg")), os.WriteFile(filepath.Join(s.zoo(), "one.cfg"), cfg, 0o666)); err != nil {
		t.Fatal(err)
	}
	s.settled()
	rule := func(name string) string {
		return "models:\n  - match: one.cfg\n    weights: " + name + ".weights\n    verify: [parity]\n"
	}
	s.rules = rule("one")
	s.must(nil)
	if r := s.must(nil); r.Counts[outcome.Unchanged] != 1 {
		t.Fatalf("%v", r.Counts)
	}
	before := contents(t, s.out())
	s.rules = rule("two")
	r := s.must(nil)
	if r.Counts[outcome.Unchanged] != 0 || r.Counts[outcome.Failed] != 0 || equal(before, contents(t, s.out())) {
		t.Errorf("other weights: %v, %s", r.Counts, r.models["one.cfg"].Error)
	}
}

func TestStale_OtherZooOfTheSameNamesIsFoldedAnew(t *testing.T) {
	s := newScene(t, 0)
	s.put("zoo/m.onnx", plain(t, 1))
	s.put("other/m.onnx", plain(t, 2))
	s.settled()
	s.must(nil)
	first := contents(t, s.out())
	const text = "version: 1\nzoo: other\nout: out\nmodels:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	for _, force := range []Force{ForceNothing, ForceHash} {
		r, err := s.under("models.yaml", text, func(o *Options) { o.Force = force })
		if err != nil || r.Counts[outcome.Failed] > 0 || equal(first, contents(t, s.out())) {
			t.Errorf("force %q: %v, %v: the output is still the first zoo's", force, err, r.Counts)
		}
	}
}

func TestStale_OtherVersionOfFormatOrCheckIsMadeAnew(t *testing.T) {
	s := newScene(t, 1)
	s.settled()
	s.must(nil)
	for _, change := range []func(e *entry){
		func(e *entry) { e.Settings = strings.Replace(e.Settings, " onnx@", " onnx@9", 1) },
		func(e *entry) { e.Asked = []string{"parity@1", "algebra@0"} },
	} {
		books, err := openLedger(onDisk(t, s.out()), s.out(), false)
		if err != nil {
			t.Fatal(err)
		}
		e := *books.get(s.owner("mobile/00000.onnx"))
		change(&e)
		if err := errors.Join(books.add(&e), books.close()); err != nil {
			t.Fatal(err)
		}
		if r := s.must(nil); r.Counts[outcome.Folded] != 1 {
			t.Errorf("%v", r.Counts)
		}
	}
}

func TestOutputs_TwoModelsNeverWriteOneFile(t *testing.T) {
	for _, workers := range []int{1, 2} {
		s := newScene(t, 0)
		big := exported(t, func() *model.Model {
			b := modeltest.New(1)
			return b.Output(b.BatchNorm(b.Conv(b.Input(1, 32, 8, 8), 32, 32, 3, 1), 32))
		}())
		m, weights, err := zootest.External(big, "b.onnx", 64)
		if err != nil {
			t.Fatal(err)
		}
		s.put("zoo/a.onnx", m)
		s.put("zoo/b.onnx", weights) // no model: a's data
		s.settled()
		r := s.must(func(o *Options) { o.Workers = workers })
		if r.Counts[outcome.Folded] != 1 || r.Counts[outcome.Failed] != 1 {
			t.Errorf("%v", r.Counts)
		}
		s.put("zoo/b.onnx", plain(t, 1)) // a model, and too short to be a's data
		s.put("zoo/a.onnx", plain(t, 2))
		for range 2 {
			r = s.must(func(o *Options) { o.Workers = workers })
			if r.Counts[outcome.Failed] != 0 {
				t.Errorf("%v: %s; %s", r.Counts, r.models["a.onnx"].Error, r.models["b.onnx"].Error)
			}
		}
	}
}

func TestOutputs_ModelFileThatIsDataOfAnotherIsOneFile(t *testing.T) {
	for _, workers := range []int{1, 2} {
		s := newScene(t, 0)
		b := plain(t, 2)
		m, weights, err := zootest.External(plain(t, 1), "b.onnx", 64)
		if err != nil || len(weights) > len(b) {
			t.Fatal(err, len(weights), len(b))
		}
		s.put("zoo/a.onnx", m)
		s.put("zoo/b.onnx", b) // a model, whose bytes are a's weights
		s.settled()
		first := s.must(func(o *Options) { o.Workers = workers })
		if first.Counts[outcome.Failed] != 1 {
			t.Fatalf("%v: %+v", first.Counts, first.models)
		}
		kept := contents(t, s.out())
		again := s.must(func(o *Options) { o.Workers = workers })
		if again.Counts[outcome.Failed] != 1 || again.Counts[outcome.Unchanged] != 1 || !equal(kept, contents(t, s.out())) {
			t.Errorf("once more: %v", again.Counts)
		}
		for path, m := range again.models {
			if m.Status == outcome.Failed && (first.models[path].Status != outcome.Failed || !strings.Contains(m.Error, "belongs to")) {
				t.Errorf("%s: %s", path, m.Error)
			}
		}
	}
}

func TestOutputs_RefuseZoofoldsOwnNames(t *testing.T) {
	for _, location := range []string{"report.json", "report.html", ".zoofold/ledger", ".zoofold/lock", ".zoofold/new", ".ZOOFOLD/x"} {
		s := newScene(t, 0)
		m, weights, err := zootest.External(plain(t, 1), location, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.put("zoo/a.onnx", m)
		s.put("zoo/"+location, weights)
		s.put("zoo/b.onnx", plain(t, 2))
		r := s.must(func(o *Options) { o.Report = s.out() })
		if m := r.models["a.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, "zoofold keeps its own files there") || r.Counts[outcome.Folded] != 1 {
			t.Errorf("%s: %v, %s", location, r.Counts, m.Error)
		}
		if again := s.must(nil); again.models["b.onnx"].Status != outcome.Unchanged {
			t.Errorf("%s: the ledger is lost: %v", location, again.Counts)
		}
	}
}

func TestReport_UnchangedModelIsReportedAsByTheFirstRun(t *testing.T) {
	s := newScene(t, 5)
	s.settled()
	first := s.must(nil)
	again := s.must(nil)
	if again.Counts[outcome.Unchanged] != 5 || again.Before != first.Before || again.After != first.After || again.OutputBytes != first.OutputBytes {
		t.Errorf("%+v", again.End)
	}
	for path, m := range first.models {
		n := again.models[path]
		if len(m.Maps) == 0 || len(n.Maps) != len(m.Maps) || len(n.Remaining) != len(m.Remaining) || n.Parity != m.Parity || n.Algebra != m.Algebra || n.Output != m.Output {
			t.Errorf("%s: %+v became %+v", path, m, n)
		}
	}
}

func TestReport_FileOfTheSameBytesIsACopy(t *testing.T) {
	s := newScene(t, 0)
	b := modeltest.New(1)
	big := make([]float64, 8*4*9)
	for k := range big {
		big[k] = 3e38
	}
	x := b.Op("Conv", []*model.Value{b.Input(1, 4, 8, 8), b.Const(big, 8, 4, 3, 3)})
	x = b.Affine(x, 8, 4, slices.Repeat([]float64{3}, 8), nil)
	s.put("zoo/m.onnx", exported(t, b.Output(x)))
	s.rules = "models:\n  - match: '*.onnx'\n    verify: [parity, algebra]\n    proof: try\n"
	m := s.must(nil).models["m.onnx"]
	if m.Status != outcome.Copied || m.After != m.Before || m.Before == 0 || m.Parity != notAsked || m.Algebra != notAsked {
		t.Errorf("%+v", m)
	}
	if len(m.Remaining) != m.After || len(m.Remaining) == 0 || m.Remaining[0].Code != "overflow" {
		t.Errorf("remaining: %+v", m.Remaining)
	}
}

func TestReport_ExportsAreNotTheModelsBytes(t *testing.T) {
	s := newScene(t, 1)
	m := s.must(nil).models["mobile/00000.onnx"]
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity, algebra]\n    export: metal\n"
	r := s.must(nil)
	if n := r.models["mobile/00000.onnx"]; n.OutputBytes != m.OutputBytes || n.ExportBytes == 0 || r.ExportBytes != n.ExportBytes {
		t.Errorf("%d bytes became %d, and %d of exports", m.OutputBytes, n.OutputBytes, n.ExportBytes)
	}
}

func TestProof_NamedChecksAreRequired(t *testing.T) {
	engine := func(c outcome.Check) func(*Options) {
		return func(o *Options) {
			o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check { return c })
		}
	}
	cannot := engine(outcome.Check{Status: outcome.NotRun, Note: "the original does not run"})
	can := engine(outcome.Check{Status: outcome.Passed})
	for _, test := range []struct {
		name, rule string
		change     func(*Options)
		status     outcome.Status
		exit       int
	}{
		{"nothing is named, and there is no engine", "", nil, outcome.Folded, ExitUnproven},
		{"predictions are named, and there is no engine", "verify: [predictions]", nil, outcome.Failed, ExitFailed},
		{"with proof: try", "verify: [predictions]\n    proof: try", nil, outcome.Folded, ExitUnproven},
		{"with proof: require alone", "proof: require", nil, outcome.Failed, ExitFailed},
		{"others are named, and there is no engine", "verify: [parity, algebra]", nil, outcome.Folded, ExitDone},
		{"predictions are named, and the model cannot run", "verify: [predictions]", cannot, outcome.Failed, ExitFailed},
		{"nothing is named, and the model cannot run", "", cannot, outcome.Folded, ExitUnproven},
		{"predictions are named, and run", "verify: [predictions]", can, outcome.Folded, ExitDone},
		{"a flag names them", "", func(o *Options) { o.Verify = &[]string{"predictions"} }, outcome.Failed, ExitFailed},
		{"a flag names none", "verify: [predictions]", func(o *Options) { o.Verify = &[]string{} }, outcome.Folded, ExitDone},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, 1)
			s.rules = "models:\n  - match: '**/*.onnx'\n    " + test.rule + "\n"
			for _, round := range []string{"first", "second"} {
				r := s.must(test.change)
				m := r.models["mobile/00000.onnx"]
				if m.Status != test.status && (round == "first" || m.Status != outcome.Unchanged) || r.Exit != test.exit {
					t.Errorf("%s night: %s, exit %d: %s", round, m.Status, r.Exit, m.Error)
				}
				if unproven := r.Unproven == 1; unproven != (test.exit == ExitUnproven) {
					t.Errorf("%s night: %d unproven", round, r.Unproven)
				}
				if out := len(contents(t, s.out())); (out == 0) != (test.status == outcome.Failed) {
					t.Errorf("%s night: %d outputs", round, out)
				}
			}
		})
	}
}

func TestProof_ProvenOutputIsNotReplacedByOneProvenLess(t *testing.T) {
	s := newScene(t, 2)
	s.settled()
	s.must(nil)
	for _, checks := range [][]string{{}, {"parity"}} {
		r := s.must(func(o *Options) { o.Verify = &checks })
		if r.Counts[outcome.Unchanged] != 2 || r.models["mobile/00000.onnx"].Algebra.Status != outcome.Passed {
			t.Errorf("%v: %v", checks, r.Counts)
		}
	}
	if r := s.must(func(o *Options) { o.Verify, o.Force = &[]string{}, ForceAll }); r.Counts[outcome.Folded] != 2 {
		t.Errorf("-force: %v", r.Counts)
	}
	if r := s.must(nil); r.Counts[outcome.Folded] != 2 {
		t.Errorf("with all checks again: %v", r.Counts)
	}
}

func TestDryRun_PlansFromTheLedger(t *testing.T) {
	s := newScene(t, 3)
	s.settled()
	dry := func(o *Options) { o.DryRun, o.Detailed = true, true }
	if r := s.must(dry); r.Counts[outcome.Folded] != 3 || r.Exit != ExitChanges {
		t.Errorf("%v, exit %d", r.Counts, r.Exit)
	}
	s.must(nil)
	state := contents(t, filepath.Join(s.out(), stateFolder))
	if r := s.must(dry); r.Counts[outcome.Unchanged] != 3 || r.Exit != ExitDone {
		t.Errorf("%v, exit %d", r.Counts, r.Exit)
	}
	s.put("zoo/new.onnx", plain(t, 9))
	s.put("zoo/bad.onnx", []byte("no model"))
	if r := s.must(dry); r.Counts[outcome.Unchanged] != 3 || r.Counts[outcome.Folded] != 1 || r.Counts[outcome.Failed] != 1 || r.Exit != ExitFailed {
		t.Errorf("%v, exit %d", r.Counts, r.Exit)
	}
	if !equal(state, contents(t, filepath.Join(s.out(), stateFolder))) {
		t.Error("a dry run wrote")
	}
}

func TestFiles_OutputsHaveModelModesLessTheMask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	s := newScene(t, 0)
	s.put("zoo/a.onnx", plain(t, 1))
	s.put("zoo/b.onnx", plain(t, 2))
	if err := errors.Join(os.Chmod(filepath.Join(s.zoo(), "a.onnx"), 0o444), os.Chmod(filepath.Join(s.zoo(), "b.onnx"), 0o755)); err != nil {
		t.Fatal(err)
	}
	s.must(func(o *Options) { o.Report = s.out() })
	for name, mode := range map[string]os.FileMode{"a.onnx": 0o400, "b.onnx": 0o700, "report.json": 0o600, "report.html": 0o600} {
		if info, err := os.Stat(filepath.Join(s.out(), name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestFiles_LinkedOutputFolderIsSwept(t *testing.T) {
	s := newScene(t, 1)
	real := filepath.Join(s.folder, "real")
	if err := errors.Join(os.Mkdir(real, 0o777), os.Symlink("real", s.out())); err != nil {
		t.Fatal(err)
	}
	s.must(nil)
	left := statePath(real, stagePlace, stagePrefix+"left.tmp", "model.onnx")
	s.put(strings.TrimPrefix(left, s.folder+"/"), []byte("half"))
	s.must(nil)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was not swept: %v", err)
	}
}

func TestFiles_StagingOfAnInnerOutputFolderStays(t *testing.T) {
	s := newScene(t, 1)
	inner := filepath.Join(s.out(), "inner")
	text := "version: 1\nzoo: zoo\nout: out/inner\nmodels:\n  - match: '**/*.onnx'\n    verify: none\n"
	if _, err := s.under("inner.yaml", text, nil); err != nil {
		t.Fatal(err)
	}
	staged := statePath(inner, stagePlace, stagePrefix+"busy.tmp", "model.onnx")
	s.put(strings.TrimPrefix(staged, s.folder+"/"), []byte("being written"))
	s.must(nil)
	if _, err := os.Stat(staged); err != nil {
		t.Error(err)
	}
}

func TestFiles_TwoManifestsOnOneFolderKeepEachOthersOutputs(t *testing.T) {
	s := newScene(t, 0)
	s.put("zoo/a.onnx", plain(t, 1))
	s.put("zoo/b.onnx", plain(t, 2))
	text := func(match string) string {
		return "version: 1\nzoo: zoo\nout: out\nmodels:\n  - match: " + match + "\n    verify: [parity]\n"
	}
	for range 2 {
		for name, match := range map[string]string{"a.yaml": "a.onnx", "b.yaml": "b.onnx"} {
			r, err := s.under(name, text(match), prune)
			if err != nil || r.Exit != 0 || len(r.Pruned)+len(r.Orphans) > 0 {
				t.Fatalf("%s: %v, %+v", name, err, r.End)
			}
		}
	}
	if len(contents(t, s.out())) != 2 {
		t.Errorf("%v", contents(t, s.out()))
	}
	r, err := s.under("c.yaml", text("b.onnx"), nil)
	if m := r.models["b.onnx"]; err != nil || m.Status != outcome.Failed || !strings.Contains(m.Error, "belongs to b.onnx of ../b.yaml too") {
		t.Errorf("a third manifest takes another's output: %v, %s %s", err, m.Status, m.Error)
	}
	if err := os.Remove(filepath.Join(s.folder, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	if r, err := s.under("c.yaml", text("b.onnx"), nil); err != nil || r.Counts[outcome.Folded] != 1 {
		t.Errorf("the other manifest is gone: %v, %v, %s", err, r.Counts, r.models["b.onnx"].Error)
	}
}

func TestFiles_TwoRunsMayWriteOneReportFolder(t *testing.T) {
	s := newScene(t, 1)
	var both sync.WaitGroup
	for k := range 8 {
		both.Add(1)
		path := filepath.Join(s.folder, string(rune('a'+k))+".yaml")
		text := "version: 1\nzoo: zoo\nout: out" + string(rune('a'+k)) + "\nmodels:\n  - match: '**/*.onnx'\n    verify: none\n"
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer both.Done()
			if _, err := s.load(context.Background(), path, func(o *Options) { o.Report = filepath.Join(s.folder, "reports") }); err != nil {
				t.Error(err)
			}
		}()
	}
	both.Wait()
	if got := contents(t, filepath.Join(s.folder, "reports")); len(got) != 2 {
		t.Errorf("%d files", len(got))
	}
}

func TestFiles_IrregularFilesAreNotWaitedFor(t *testing.T) {
	fifo := func(path string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), syscall.Mkfifo(path, 0o666)); err != nil {
			t.Skip(err)
		}
	}
	for _, name := range []string{ledgerFile, lockFile, holderFile, aboutFile} {
		s := newScene(t, 1)
		s.must(nil)
		if err := os.Remove(statePath(s.out(), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		fifo(statePath(s.out(), name))
		_, err := s.run(context.Background(), nil)
		if name != holderFile && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := newScene(t, 1)
	for _, path := range []string{"m.prom", "reports/report.json"} {
		fifo(filepath.Join(s.folder, path))
	}
	if _, err := s.run(context.Background(), func(o *Options) { o.Metrics = filepath.Join(s.folder, "m.prom") }); !errors.Is(err, ErrPlace) {
		t.Errorf("metrics: %v", err)
	}
	if _, err := s.run(context.Background(), func(o *Options) { o.Report = filepath.Join(s.folder, "reports") }); !errors.Is(err, ErrPlace) {
		t.Errorf("report: %v", err)
	}
	fifo(filepath.Join(s.out(), "mobile", "00000.onnx"))
	if r := s.must(nil); !strings.Contains(r.models["mobile/00000.onnx"].Error, "is not a regular file") {
		t.Errorf("an output: %s", r.models["mobile/00000.onnx"].Error)
	}
}

func TestFiles_ReportsAndMetricsReplaceOnlyTheirOwn(t *testing.T) {
	s := newScene(t, 1)
	s.put("reports/report.json", []byte("{\"mine\": true}\n"))
	s.put("node/x.prom", []byte("other_metric 1\n"))
	for name, change := range map[string]func(*Options){
		"report":            func(o *Options) { o.Report = filepath.Join(s.folder, "reports") },
		"metrics":           func(o *Options) { o.Metrics = filepath.Join(s.folder, "node/x.prom") },
		"report in the zoo": func(o *Options) { o.Report = s.zoo() },
		"metrics in it":     func(o *Options) { o.Metrics = filepath.Join(s.zoo(), "x.prom") },
		"metrics over it":   func(o *Options) { o.Metrics = filepath.Join(s.zoo(), "mobile", "00000.onnx") },
	} {
		before := contents(t, s.folder)
		if _, err := s.run(context.Background(), change); !errors.Is(err, ErrPlace) {
			t.Errorf("%s: %v", name, err)
		}
		after := contents(t, s.folder)
		delete(after, "models.yaml")
		delete(before, "models.yaml")
		if !equal(before, after) {
			t.Errorf("%s: something was written", name)
		}
	}
	for range 2 {
		s.must(func(o *Options) {
			o.Report, o.Metrics = filepath.Join(s.folder, "new"), filepath.Join(s.folder, "node", "zoofold.prom")
		})
	}
}

func TestExternalData_OtherSpellingIsWrittenToTheSamePlace(t *testing.T) {
	s := newScene(t, 0)
	m, weights, err := zootest.External(plain(t, 1), "x/../w.bin", 64)
	if err != nil {
		t.Fatal(err)
	}
	s.put("zoo/a.onnx", m)
	s.put("zoo/w.bin", weights)
	if err := os.MkdirAll(filepath.Join(s.zoo(), "x"), 0o777); err != nil {
		t.Fatal(err)
	}
	r := s.must(nil)
	switch m := r.models["a.onnx"]; {
	case m.Status == outcome.Folded:
		if !s.exists("w.bin") {
			t.Errorf("outputs: %v", contents(t, s.out()))
		}
	case m.Status != outcome.Failed || m.Error == "":
		t.Errorf("%s, %s", m.Status, m.Error)
	default:
		t.Log(m.Error)
	}
}

func TestSettings_KeepPatternWithoutMatchIsNoted(t *testing.T) {
	s := newScene(t, 1)
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: none\n    keep: ['Conv_*', 'nothing*']\n"
	for range 2 { // folded, and unchanged
		r := s.must(nil)
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], `"nothing*"`) || !strings.Contains(r.Notes[0], "models.yaml:7:") {
			t.Errorf("notes: %q", r.Notes)
		}
	}
}

func TestLatency_SlowerModelIsCopiedWhereTheManifestSaysSo(t *testing.T) {
	for _, test := range []struct {
		rule   string
		ratio  float64
		status outcome.Status
	}{
		{"", 1.2, outcome.Folded},
		{"latency: gate", 1.2, outcome.Copied},
		{"latency: gate", 1.02, outcome.Folded},
		{"latency: gate", 0.8, outcome.Folded},
	} {
		s := newScene(t, 1)
		s.rules = "models:\n  - match: '**/*.onnx'\n    " + test.rule + "\n"
		r := s.must(func(o *Options) {
			o.Latency = true
			o.Predict = predictor(func(_ context.Context, c predict.Comparison) outcome.Check {
				if c.Gate != (test.rule != "") {
					t.Errorf("%q: gate %v", test.rule, c.Gate)
				}
				return outcome.Check{Status: outcome.Passed, Latency: &outcome.Latency{Ratio: test.ratio, Pairs: 20}}
			})
		})
		m := r.models["mobile/00000.onnx"]
		out, err := os.ReadFile(filepath.Join(s.out(), m.Output))
		if m.Status != test.status || err != nil {
			t.Fatalf("%q, %v: %s, %v", test.rule, test.ratio, m.Status, err)
		}
		if m.Status == outcome.Folded {
			continue
		}
		original, err := os.ReadFile(filepath.Join(s.zoo(), "mobile", "00000.onnx"))
		if err != nil || string(out) != string(original) || m.After != m.Before || len(m.Remaining) != m.After || m.Remaining[0].Code != "slower" || m.Predictions != notAsked {
			t.Errorf("%+v", m)
		}
		if len(m.Warnings) != 1 || !strings.Contains(m.Warnings[0], "× 1.20") {
			t.Errorf("warnings: %q", m.Warnings)
		}
	}
}

func TestTimeout_EndsReadingOfAFileOfAnySize(t *testing.T) {
	s := newScene(t, 0)
	m, weights, err := zootest.External(plain(t, 1), "w.bin", 64)
	if err != nil {
		t.Fatal(err)
	}
	s.put("zoo/sparse.onnx", nil)
	s.put("zoo/external/m.onnx", m)
	s.put("zoo/external/w.bin", weights)
	for _, path := range []string{"sparse.onnx", "external/w.bin"} {
		if err := os.Truncate(filepath.Join(s.zoo(), path), 1<<42); err != nil {
			t.Skip(err)
		}
	}
	r := s.must(func(o *Options) { o.Timeout = 200 * time.Millisecond })
	for path, m := range r.models {
		if m.Status != outcome.Failed || m.Error != "timed out after 200ms" {
			t.Errorf("%s: %s, %s", path, m.Status, m.Error)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	if r, err := s.run(ctx, nil); err != nil || r.Counts[outcome.Interrupted] != 2 || r.Exit != ExitInterrupted {
		t.Errorf("%v, %v", err, r.Counts)
	}
}

func TestLinks_ContentCacheIsFoldedIntoPlainFiles(t *testing.T) {
	s := newScene(t, 0)
	m, weights, err := zootest.External(plain(t, 1), "model.onnx_data", 64)
	if err != nil {
		t.Fatal(err)
	}
	s.put("blobs/1111", m)
	s.put("blobs/2222", weights)
	revision := filepath.Join(s.zoo(), "snapshots", "abc", "onnx")
	if err := os.MkdirAll(revision, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, blob := range map[string]string{"model.onnx": "1111", "model.onnx_data": "2222"} {
		if err := os.Symlink("../../../../blobs/"+blob, filepath.Join(revision, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := contents(t, filepath.Join(s.folder, "blobs"))
	r := s.must(nil)
	if r.Counts[outcome.Folded] != 1 || len(r.Unmatched) > 0 {
		t.Fatalf("%+v, %+v", r.End, r.models)
	}
	for _, name := range []string{"model.onnx", "model.onnx_data"} {
		if info, err := os.Lstat(filepath.Join(s.out(), "snapshots", "abc", "onnx", name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if !equal(before, contents(t, filepath.Join(s.folder, "blobs"))) {
		t.Error("the contents were changed")
	}
	if again := s.must(nil); again.Counts[outcome.Unchanged] != 1 {
		t.Errorf("%v", again.Counts)
	}
}

func TestReport_FilesOfTheSameBytesAreACopyWhateverThePlan(t *testing.T) {
	for _, test := range []struct {
		read, written string
		want          outcome.Status
	}{{"a", "a", outcome.Copied}, {"a", "b", outcome.Folded}} {
		w := &work{model: 1, result: outcome.Model{Status: outcome.Folded, Before: 3, After: 1, Parity: outcome.Check{Status: outcome.Passed}}}
		w.compare([]stamp{{Hash: test.read}}, []string{test.written, "an export"})
		if copied := test.want == outcome.Copied; w.result.Status != test.want || copied != (w.result.After == 3) || copied != (w.result.Parity == notAsked) {
			t.Errorf("%s, %s: %+v", test.read, test.written, w.result)
		}
	}
}
