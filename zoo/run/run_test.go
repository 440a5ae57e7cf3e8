package run

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/store"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify/predict"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// scene is a zoo of generated models and its manifest.
type scene struct {
	t      *testing.T
	folder string
	rules  string // appended to the manifest
}

func newScene(t *testing.T, models int) *scene {
	s := &scene{t: t, folder: t.TempDir(), rules: "models:\n  - match: '**/*.onnx'\n    verify: [parity, algebra]\n"}
	if _, err := zootest.Write(s.zoo(), models, 4, 2); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) zoo() string { return filepath.Join(s.folder, "zoo") }
func (s *scene) out() string { return filepath.Join(s.folder, "out") }

// owner is whose a model's entry in the ledger is.
func (s *scene) owner(model string) owner { return owner{"../models.yaml", model} }

// onDisk is the host's file system, for a folder that may be changed.
func onDisk(t testing.TB, folder string) disk {
	f, err := store.Open(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return disk{f}
}

// result is what a run told.
type result struct {
	outcome.End
	models map[string]outcome.Model
}

type sink struct{ models map[string]outcome.Model }

func (sink) Start(outcome.Start)    {}
func (sink) Begin(outcome.Begin)    {}
func (sink) Progress(int64)         {}
func (s sink) Done(m outcome.Model) { s.models[m.Path] = m }
func (sink) End(outcome.End)        {}

func (s *scene) run(ctx context.Context, change func(*Options)) (result, error) {
	s.t.Helper()
	path := filepath.Join(s.folder, "models.yaml")
	if err := os.WriteFile(path, []byte("version: 1\nzoo: zoo\nout: out\n"+s.rules), 0o666); err != nil {
		s.t.Fatal(err)
	}
	return s.load(ctx, path, change)
}

// load runs a manifest.
func (s *scene) load(ctx context.Context, path string, change func(*Options)) (result, error) {
	s.t.Helper()
	m, err := manifests.Load(path)
	if err != nil {
		s.t.Fatal(err)
	}
	r := result{models: map[string]outcome.Model{}}
	o := Options{Manifest: m, Workers: 2, Backend: cpu.New(2), NoEngine: "none in this test", Sink: sink{r.models}, Document: report.NewDocument()}
	if change != nil {
		change(&o)
	}
	r.End, err = Run(ctx, o)
	return r, err
}

// must is a run without an error.
func (s *scene) must(change func(*Options)) result {
	s.t.Helper()
	r, err := s.run(context.Background(), change)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// files are the contents of a folder's files by path; the run's own state is left out.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == stateFolder {
				return fs.SkipDir
			}
			return nil
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(folder, path)
		out[rel] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}

func TestRun_FoldsEveryModelAndOriginalsStay(t *testing.T) {
	s := newScene(t, 5)
	before := contents(t, s.zoo())
	r := s.must(nil)
	if r.Counts[outcome.Folded] != 5 || r.Exit != 0 {
		t.Fatalf("counts %v, exit %d", r.Counts, r.Exit)
	}
	for path, m := range r.models {
		if m.After >= m.Before || m.Parity.Status != outcome.Passed || m.Algebra.Status != outcome.Passed || m.Predictions.Status != outcome.NotRun {
			t.Errorf("%s: %d -> %d, parity %v, algebra %v, predictions %v", path, m.Before, m.After, m.Parity, m.Algebra, m.Predictions)
		}
	}
	if !equal(before, contents(t, s.zoo())) {
		t.Error("originals changed")
	}
	if len(contents(t, s.out())) != 5 {
		t.Errorf("outputs: %v", contents(t, s.out()))
	}
}

func TestRun_OutputsDoNotDependOnWorkers(t *testing.T) {
	s := newScene(t, 10)
	s.must(func(o *Options) { o.Workers = 1 })
	one := contents(t, s.out())
	s.must(func(o *Options) { o.Workers, o.Force = 8, ForceAll })
	if !equal(one, contents(t, s.out())) {
		t.Error("-j 8 writes other bytes than -j 1")
	}
}

func TestRun_FoldingTheOutputChangesNothing(t *testing.T) {
	s := newScene(t, 5)
	s.must(nil)
	first := contents(t, s.out())
	again := &scene{t: t, folder: t.TempDir(), rules: s.rules}
	if err := os.CopyFS(again.zoo(), os.DirFS(s.out())); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(again.zoo(), stateFolder)); err != nil {
		t.Fatal(err)
	}
	r := again.must(nil)
	if r.Counts[outcome.Copied] != 5 || !equal(first, contents(t, again.out())) {
		t.Errorf("folding again: %v", r.Counts)
	}
}

func TestRun_BadModelFailsAlone(t *testing.T) {
	s := newScene(t, 4)
	for name, data := range map[string][]byte{
		"empty.onnx": {}, "text.onnx": []byte("not a model"), "random.onnx": []byte("\xaf\x13\x49\xb9\xf5\xf9\xa1\xa6\xa0\x40\x4d\xea\x36\xdc\xc9\x49"), "lies.onnx": {0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f},
	} {
		if err := os.WriteFile(filepath.Join(s.zoo(), name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r := s.must(nil)
	if r.Counts[outcome.Folded] != 4 || r.Counts[outcome.Failed] != 4 || r.Exit != 1 {
		t.Errorf("counts %v, exit %d", r.Counts, r.Exit)
	}
	for path, m := range r.models {
		if m.Status == outcome.Failed && (m.Error == "" || strings.Contains(m.Error, "\n")) {
			t.Errorf("%s: error %q is not one line", path, m.Error)
		}
	}
	if len(contents(t, s.out())) != 4 {
		t.Error("a failed model has an output")
	}
}

func TestDryRun_WritesNothing(t *testing.T) {
	s := newScene(t, 3)
	r := s.must(func(o *Options) { o.DryRun = true })
	if r.Counts[outcome.Folded] != 3 {
		t.Errorf("%v", r.Counts)
	}
	if _, err := os.Stat(s.out()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is an output folder")
	}
}

func TestRun_ModelOverItsTimeFailsAlone(t *testing.T) {
	s := newScene(t, 2)
	s.rules = "models:\n  - {match: 'mobile/*', timeout: 300ms}\n  - {match: '**/*.onnx', timeout: 10m, verify: parity}\n"
	slow := &backend{Backend: cpu.New(1), do: func(ctx context.Context, _ int) error {
		if end, _ := ctx.Deadline(); time.Until(end) < time.Minute {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	r := s.must(func(o *Options) { o.Backend, o.Workers = slow, 1 })
	if r.Counts[outcome.Failed] != 1 || r.Counts[outcome.Folded] != 1 {
		t.Fatalf("%v", r.Counts)
	}
	for _, m := range r.models {
		if m.Status == outcome.Failed && !strings.Contains(m.Error, "timed out after 300ms") {
			t.Errorf("the error is %q", m.Error)
		}
	}
}

func TestRun_PanicFailsItsModelAlone(t *testing.T) {
	s := newScene(t, 3)
	bad := &backend{Backend: cpu.New(1), do: func(_ context.Context, call int) error {
		if call == 1 {
			panic("a bug")
		}
		return nil
	}}
	r := s.must(func(o *Options) { o.Backend, o.Workers = bad, 1 })
	if r.Counts[outcome.Failed] != 1 || r.Counts[outcome.Folded] != 2 {
		t.Fatalf("%v", r.Counts)
	}
	if len(contents(t, s.out())) != 2 {
		t.Error("the model that failed left something")
	}
}

func TestRun_InterruptKeepsCommittedModels(t *testing.T) {
	s := newScene(t, 6)
	ctx, cancel := context.WithCancel(context.Background())
	models := 0
	o := func(o *Options) {
		o.Workers = 1
		o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check {
			if models++; models == 3 {
				cancel()
			}
			return outcome.Check{Status: outcome.Passed}
		})
		o.Verify = &[]string{"predictions"}
	}
	r, err := s.run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 130 || r.Counts[outcome.Folded] != 2 || r.Counts[outcome.Interrupted] != 4 {
		t.Fatalf("counts %v, exit %d", r.Counts, r.Exit)
	}
	if got := contents(t, s.out()); len(got) != 2 {
		t.Errorf("%d outputs", len(got))
	}
	if r := s.must(o); r.Counts[outcome.Unchanged] != 2 || r.Counts[outcome.Folded] != 4 {
		t.Errorf("the next run: %v", r.Counts)
	}
}

func TestProof_FailedModelIsNotCommitted(t *testing.T) {
	s := newScene(t, 1)
	r := s.must(func(o *Options) {
		o.Verify = &[]string{"predictions"}
		o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check {
			return outcome.Check{Status: outcome.Mismatch, Note: "it is off"}
		})
	})
	if r.Counts[outcome.Failed] != 1 || len(contents(t, s.out())) != 0 {
		t.Fatalf("%v, %v", r.Counts, contents(t, s.out()))
	}
	s.must(nil)
	good := contents(t, s.out())
	r = s.must(func(o *Options) {
		o.Force, o.Verify, o.Backend = ForceAll, &[]string{"parity"}, &backend{Backend: cpu.New(1), flip: true}
	})
	if r.Counts[outcome.Failed] != 1 || !equal(good, contents(t, s.out())) {
		t.Errorf("a backend that is wrong by a bit: %v", r.Counts)
	}
	names := regexp.MustCompile(`tensor "\w+": .* element 0 \(float32, .* has [0-9a-f]{8}, the reference [0-9a-f]{8}$`)
	for path, m := range r.models {
		if !names.MatchString(m.Error) {
			t.Errorf("%s: %q does not name tensor, element and both bit patterns", path, m.Error)
		}
	}
}

// backend does something before each call, or gets a bit wrong.
type backend struct {
	tensor.Backend
	calls int
	do    func(ctx context.Context, call int) error
	flip  bool
}

func (b *backend) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	b.calls++
	if b.do != nil {
		if err := b.do(ctx, b.calls); err != nil {
			return tensor.NewTally(), err
		}
	}
	if b.flip {
		dst = flipping{dst}
	}
	return b.Backend.Rescale(ctx, dst, src, job)
}

func (b *backend) Sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) ([]float64, error) {
	sums, err := b.Backend.Sum(ctx, src, job)
	if err == nil && b.flip {
		sums[0] = math.Nextafter(sums[0], 0)
	}
	return sums, err
}

// A shift that goes forward is summed up while the model is planned: a wrong sum fails the model before anything is written.
func TestProof_WrongBitOfASumFailsTheModel(t *testing.T) {
	s := newScene(t, 0)
	b := modeltest.New(1)
	x := b.BatchNorm(b.Op("Tanh", []*model.Value{b.Input(1, 4, 6, 6)}), 4)
	var out onnx.Memory
	if err := onnx.Export(context.Background(), b.Output(b.Conv(x, 4, 5, 3, 1)), &out, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(s.zoo(), 0o777), os.WriteFile(filepath.Join(s.zoo(), "m.onnx"), out.Bytes(), 0o666)); err != nil {
		t.Fatal(err)
	}
	r := s.must(func(o *Options) { o.Backend = &backend{Backend: cpu.New(1), flip: true} })
	m := r.models["m.onnx"]
	if m.Status != outcome.Failed || m.Parity.Status != outcome.Mismatch || !strings.Contains(m.Error, "parity: ") || !strings.Contains(m.Error, "sum 0 of 5") {
		t.Errorf("%+v", m)
	}
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 {
		t.Errorf("the right backend: %v", r.Counts)
	}
}

type flipping struct{ io.WriterAt }

func (f flipping) WriteAt(b []byte, off int64) (int, error) {
	b = slices.Clone(b)
	binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)^1)
	return f.WriterAt.WriteAt(b, off)
}

// predictor is a Predictor in one function.
type predictor func(context.Context, predict.Comparison) outcome.Check

func (p predictor) Compare(ctx context.Context, c predict.Comparison) outcome.Check { return p(ctx, c) }
func (predictor) Name() string                                                      { return "a test's" }

func TestProgress_ComesInStepsAndAddsUp(t *testing.T) {
	var steps []int64
	m := &meter{left: 10 << 20, tell: func(n int64) { steps = append(steps, n) }}
	for range 30 {
		m.wrote(1 << 20)
	}
	sum := m.finish()
	for _, n := range steps {
		sum += n
	}
	if sum != 10<<20 || len(steps) < 2 || steps[0] != meterStep {
		t.Errorf("%v, %d in all", steps, sum)
	}
}

func TestFiles_OfAModelAreNotReportedAsUnmatched(t *testing.T) {
	s := newScene(t, 1)
	data, err := zootest.Kinds[0].Bytes(1, 4, 2)
	if err != nil {
		t.Fatal(err)
	}
	model, weights, err := zootest.External(data, "weights.bin", 64)
	for name, content := range map[string][]byte{"external.onnx": model, "weights.bin": weights, "note.txt": nil} {
		if err := errors.Join(err, os.WriteFile(filepath.Join(s.zoo(), name), content, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // folded, and unchanged
		if r := s.must(nil); !slices.Equal(r.Unmatched, []string{"note.txt"}) {
			t.Errorf("unmatched: %v", r.Unmatched)
		}
	}
}

func TestReport_SurvivesFiguresThatAreNotFinite(t *testing.T) {
	s := newScene(t, 1)
	r := s.must(func(o *Options) {
		o.Verify, o.Report = &[]string{"predictions"}, s.out()
		o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check {
			return outcome.Check{Status: outcome.Passed, Difference: math.NaN(), Jitter: math.Inf(1), Limit: math.Inf(1)}
		})
	})
	if !s.exists("report.json") || r.Counts[outcome.Folded] != 1 {
		t.Errorf("%v", r.Counts)
	}
}
