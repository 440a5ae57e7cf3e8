package run

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/report"
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

// result is what a run told.
type result struct {
	report.End
	models map[string]report.Model
}

type sink struct{ models map[string]report.Model }

func (sink) Start(report.Start)    {}
func (sink) Begin(report.Begin)    {}
func (sink) Progress(int64)        {}
func (s sink) Done(m report.Model) { s.models[m.Path] = m }
func (sink) End(report.End)        {}

func (s *scene) run(ctx context.Context, change func(*Options)) (result, error) {
	s.t.Helper()
	path := filepath.Join(s.folder, "models.yaml")
	if err := os.WriteFile(path, []byte("version: 1\nzoo: zoo\nout: out\n"+s.rules), 0o666); err != nil {
		s.t.Fatal(err)
	}
	m, err := manifests.Load(path)
	if err != nil {
		s.t.Fatal(err)
	}
	r := result{models: map[string]report.Model{}}
	o := Options{Manifest: m, Workers: 2, Backend: cpu.New(2), NoEngine: "none in this test", Sink: sink{r.models}}
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

func TestEveryModelIsFoldedAndOriginalsStay(t *testing.T) {
	s := newScene(t, 5)
	before := contents(t, s.zoo())
	r := s.must(nil)
	if r.Counts[report.Folded] != 5 || r.Exit != 0 {
		t.Fatalf("counts %v, exit %d", r.Counts, r.Exit)
	}
	for path, m := range r.models {
		if m.After >= m.Before || m.Parity.Status != report.Passed || m.Algebra.Status != report.Passed || m.Predictions.Status != report.NotRun {
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

func TestOutputsAreTheSameAtEveryNumberOfWorkers(t *testing.T) {
	s := newScene(t, 10)
	s.must(func(o *Options) { o.Workers = 1 })
	one := contents(t, s.out())
	s.must(func(o *Options) { o.Workers, o.Force = 8, ForceAll })
	if !equal(one, contents(t, s.out())) {
		t.Error("-j 8 writes other bytes than -j 1")
	}
}

func TestFoldingTheOutputChangesNothing(t *testing.T) {
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
	if r.Counts[report.Copied] != 5 || !equal(first, contents(t, again.out())) {
		t.Errorf("folding again: %v", r.Counts)
	}
}

func TestASecondRunDoesOnlyWhatIsNew(t *testing.T) {
	s := newScene(t, 5)
	s.must(nil)
	if r := s.must(nil); r.Counts[report.Unchanged] != 5 {
		t.Fatalf("nothing changed: %v", r.Counts)
	}
	paths := make([]string, 0, 5)
	for p := range contents(t, s.zoo()) {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	first := filepath.Join(s.zoo(), paths[0])
	past := time.Now().Add(-time.Hour)
	for _, change := range []struct {
		name   string
		do     func() error
		redone int
		force  Force
		checks *[]string
	}{
		{name: "a touched input with the same content", do: func() error { return os.Chtimes(first, past, past) }, redone: 0},
		{name: "another input", do: func() error {
			data, err := os.ReadFile(filepath.Join(s.zoo(), paths[1]))
			return errors.Join(err, os.WriteFile(first, data, 0o666))
		}, redone: 1},
		{name: "a deleted output", do: func() error { return os.Remove(filepath.Join(s.out(), paths[2])) }, redone: 1},
		{name: "a truncated output", do: func() error { return os.Truncate(filepath.Join(s.out(), paths[2]), 10) }, redone: 1},
		{name: "an output altered without its size or time, under -force=hash", do: func() error { return alter(filepath.Join(s.out(), paths[3])) }, redone: 1, force: ForceHash},
		{name: "a deleted ledger", do: func() error { return os.Remove(filepath.Join(s.out(), stateFolder, "ledger")) }, redone: 5},
		{name: "-force", do: func() error { return nil }, redone: 5, force: ForceAll},
		{name: "other checks", do: func() error { return nil }, redone: 5, checks: &[]string{"parity"}},
	} {
		t.Run(change.name, func(t *testing.T) {
			if err := change.do(); err != nil {
				t.Fatal(err)
			}
			set := func(o *Options) { o.Force, o.Verify = change.force, change.checks }
			r := s.must(set)
			if r.Counts[report.Folded] != change.redone || r.Counts[report.Unchanged] != 5-change.redone {
				t.Errorf("%v, want %d folded", r.Counts, change.redone)
			}
			s.must(func(o *Options) { o.Verify = nil })
		})
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

func TestADamagedLedgerLineCostsOneModel(t *testing.T) {
	s := newScene(t, 5)
	s.must(nil)
	path := filepath.Join(s.out(), stateFolder, "ledger")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[strings.Index(string(data), "\n")+40] ^= 0x20
	if err := os.WriteFile(path, append(data, "half a li"...), 0o666); err != nil {
		t.Fatal(err)
	}
	if r := s.must(nil); r.Counts[report.Folded] != 1 || r.Counts[report.Unchanged] != 4 {
		t.Errorf("%v", r.Counts)
	}
	if r := s.must(nil); r.Counts[report.Unchanged] != 5 {
		t.Errorf("after it was mended: %v", r.Counts)
	}
}

func TestOneBadModelDoesNotStopTheOthers(t *testing.T) {
	s := newScene(t, 4)
	for name, data := range map[string][]byte{
		"empty.onnx": {}, "text.onnx": []byte("not a model"), "random.onnx": blake3.New().Sum(nil), "lies.onnx": {0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f},
	} {
		if err := os.WriteFile(filepath.Join(s.zoo(), name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r := s.must(nil)
	if r.Counts[report.Folded] != 4 || r.Counts[report.Failed] != 4 || r.Exit != 1 {
		t.Errorf("counts %v, exit %d", r.Counts, r.Exit)
	}
	for path, m := range r.models {
		if m.Status == report.Failed && (m.Error == "" || strings.Contains(m.Error, "\n")) {
			t.Errorf("%s: error %q is not one line", path, m.Error)
		}
	}
	if len(contents(t, s.out())) != 4 {
		t.Error("a failed model has an output")
	}
}

func TestTheLockKeepsASecondRunAway(t *testing.T) {
	s := newScene(t, 1)
	unlock, err := lock(s.out())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.run(context.Background(), nil)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("the error is %v", err)
	}
	unlock()
	s.must(nil)
}

func TestADryRunWritesNothing(t *testing.T) {
	s := newScene(t, 3)
	r := s.must(func(o *Options) { o.DryRun = true })
	if r.Counts[report.Folded] != 3 {
		t.Errorf("%v", r.Counts)
	}
	if _, err := os.Stat(s.out()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is an output folder")
	}
}

func TestAModelOverItsTimeFailsAlone(t *testing.T) {
	s := newScene(t, 2)
	slow := &backend{Backend: cpu.New(1), do: func(ctx context.Context, call int) error {
		if call == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	r := s.must(func(o *Options) { o.Backend, o.Timeout, o.Workers = slow, 300*time.Millisecond, 1 })
	if r.Counts[report.Failed] != 1 || r.Counts[report.Folded] != 1 {
		t.Fatalf("%v", r.Counts)
	}
	for _, m := range r.models {
		if m.Status == report.Failed && !strings.Contains(m.Error, "not done after 300ms") {
			t.Errorf("the error is %q", m.Error)
		}
	}
}

func TestAPanicFailsItsModelAlone(t *testing.T) {
	s := newScene(t, 3)
	bad := &backend{Backend: cpu.New(1), do: func(_ context.Context, call int) error {
		if call == 1 {
			panic("a bug")
		}
		return nil
	}}
	r := s.must(func(o *Options) { o.Backend, o.Workers = bad, 1 })
	if r.Counts[report.Failed] != 1 || r.Counts[report.Folded] != 2 {
		t.Fatalf("%v", r.Counts)
	}
	if len(contents(t, s.out())) != 2 {
		t.Error("the model that failed left something")
	}
}

func TestAnInterruptedRunKeepsWhatIsCommitted(t *testing.T) {
	s := newScene(t, 6)
	ctx, cancel := context.WithCancel(context.Background())
	models := 0
	o := func(o *Options) {
		o.Workers = 1
		o.Predict = predictor(func(context.Context, predict.Comparison) report.Check {
			if models++; models == 3 {
				cancel()
			}
			return report.Check{Status: report.Passed}
		})
		o.Verify = &[]string{"predictions"}
	}
	r, err := s.run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 130 || r.Counts[report.Folded] != 2 || r.Counts[report.Interrupted] != 4 {
		t.Fatalf("counts %v, exit %d", r.Counts, r.Exit)
	}
	if got := contents(t, s.out()); len(got) != 2 {
		t.Errorf("%d outputs", len(got))
	}
	if r := s.must(o); r.Counts[report.Unchanged] != 2 || r.Counts[report.Folded] != 4 {
		t.Errorf("the next run: %v", r.Counts)
	}
}

func TestAModelThatFailsAProofIsNotCommitted(t *testing.T) {
	s := newScene(t, 1)
	r := s.must(func(o *Options) {
		o.Verify = &[]string{"predictions"}
		o.Predict = predictor(func(context.Context, predict.Comparison) report.Check {
			return report.Check{Status: report.Mismatch, Note: "it is off"}
		})
	})
	if r.Counts[report.Failed] != 1 || len(contents(t, s.out())) != 0 {
		t.Fatalf("%v, %v", r.Counts, contents(t, s.out()))
	}
	s.must(nil)
	good := contents(t, s.out())
	r = s.must(func(o *Options) {
		o.Force, o.Verify, o.Backend = ForceAll, &[]string{"parity"}, &backend{Backend: cpu.New(1), flip: true}
	})
	if r.Counts[report.Failed] != 1 || !equal(good, contents(t, s.out())) {
		t.Errorf("a backend that is wrong by a bit: %v", r.Counts)
	}
	names := regexp.MustCompile(`tensor "\w+": .* element 0 \(float32, .* has [0-9a-f]{8}, the reference [0-9a-f]{8}$`)
	for path, m := range r.models {
		if !names.MatchString(m.Error) {
			t.Errorf("%s: %q does not name tensor, element and both bit patterns", path, m.Error)
		}
	}
}

func TestAnEngineThatAppearsProvesWhatWasNotProven(t *testing.T) {
	s := newScene(t, 2)
	s.rules = "models:\n  - match: '**/*.onnx'\n"
	if r := s.must(nil); r.Counts[report.Folded] != 2 {
		t.Fatalf("%v", r.Counts)
	}
	if r := s.must(nil); r.Counts[report.Unchanged] != 2 {
		t.Fatalf("without an engine: %v", r.Counts)
	}
	r := s.must(func(o *Options) {
		o.Predict = predictor(func(context.Context, predict.Comparison) report.Check { return report.Check{Status: report.Passed} })
	})
	if r.Counts[report.Folded] != 2 {
		t.Errorf("with one: %v", r.Counts)
	}
}

func TestAnInputThatChangesWhileItIsReadIsNotCommitted(t *testing.T) {
	s := newScene(t, 1)
	r := s.must(func(o *Options) {
		o.Verify = &[]string{"predictions"}
		o.Predict = predictor(func(_ context.Context, c predict.Comparison) report.Check {
			now := time.Now().Add(time.Minute)
			return report.Check{Status: report.Passed, Note: fmt.Sprint(os.Chtimes(c.Original, now, now))}
		})
	})
	for _, m := range r.models {
		if m.Status != report.Failed || !strings.Contains(m.Error, ErrChanged.Error()) {
			t.Errorf("%v: %s", m.Status, m.Error)
		}
	}
	if len(contents(t, s.out())) != 0 {
		t.Error("it was committed")
	}
}

func TestEveryFileOperationMayFail(t *testing.T) {
	s := newScene(t, 3)
	s.must(nil)
	want := contents(t, s.out())
	originals := contents(t, s.zoo())
	for _, kind := range []string{"error", "short write"} {
		for n := 1; ; n++ {
			if err := os.RemoveAll(s.out()); err != nil {
				t.Fatal(err)
			}
			f := &faulty{fail: n, short: kind == "short write"}
			r, err := s.run(context.Background(), func(o *Options) { o.fsys, o.Workers = f, 1 })
			if f.calls < n { // every operation has failed once
				if n < 20 {
					t.Errorf("only %d operations were seen", n-1)
				}
				break
			}
			if err == nil && r.Counts[report.Failed] == 0 && len(contents(t, s.out())) < 3 {
				t.Fatalf("%s at operation %d (%s): nothing failed and something is missing: %v", kind, n, f.name, r.Counts)
			}
			for path, data := range contents(t, s.out()) {
				if strings.Contains(path, stagePrefix) {
					continue // the next run sweeps it
				}
				if want[path] != data {
					t.Fatalf("%s at operation %d (%s): %s has other bytes", kind, n, f.name, path)
				}
			}
			after := s.must(nil)
			if after.Counts[report.Failed] > 0 || !equal(want, contents(t, s.out())) {
				t.Fatalf("%s at operation %d (%s): the next run does not mend it: %v", kind, n, f.name, after.Counts)
			}
		}
	}
	if !equal(originals, contents(t, s.zoo())) {
		t.Error("originals changed")
	}
}

// faulty is a file system one of whose operations fails.
type faulty struct {
	disk
	calls, fail int
	short       bool
	name        string
}

var errFault = errors.New("planted fault: no space left on device")

func (f *faulty) step(name string) error {
	if f.calls++; f.calls == f.fail {
		f.name = name
		return errFault
	}
	return nil
}

func (f *faulty) MkdirAll(path string) error {
	if err := f.step("mkdir"); err != nil {
		return err
	}
	return f.disk.MkdirAll(path)
}

func (f *faulty) MkdirTemp(folder, pattern string) (string, error) {
	if err := f.step("mkdir temp"); err != nil {
		return "", err
	}
	return f.disk.MkdirTemp(folder, pattern)
}

func (f *faulty) Create(path string) (writable, error) {
	if err := f.step("create"); err != nil {
		return nil, err
	}
	w, err := f.disk.Create(path)
	return &faultyFile{w, f}, err
}

func (f *faulty) Rename(from, to string) error {
	if err := f.step("rename"); err != nil {
		return err
	}
	return f.disk.Rename(from, to)
}

func (f *faulty) RemoveAll(path string) error {
	if err := f.step("remove"); err != nil {
		return err
	}
	return f.disk.RemoveAll(path)
}

func (f *faulty) SyncFolder(path string) error {
	if err := f.step("sync folder"); err != nil {
		return err
	}
	return f.disk.SyncFolder(path)
}

type faultyFile struct {
	writable
	fsys *faulty
}

func (f *faultyFile) Write(b []byte) (int, error) {
	if err := f.fsys.step("write"); err != nil {
		if f.fsys.short {
			n, _ := f.writable.Write(b[:len(b)/2])
			return n, err
		}
		return 0, err
	}
	return f.writable.Write(b)
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.fsys.step("write at"); err != nil {
		if f.fsys.short {
			n, _ := f.writable.WriteAt(b[:len(b)/2], off)
			return n, err
		}
		return 0, err
	}
	return f.writable.WriteAt(b, off)
}

func (f *faultyFile) Sync() error {
	if err := f.fsys.step("sync"); err != nil {
		return err
	}
	return f.writable.Sync()
}

func (f *faultyFile) Close() error {
	return errors.Join(f.writable.Close(), f.fsys.step("close"))
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

type flipping struct{ io.WriterAt }

func (f flipping) WriteAt(b []byte, off int64) (int, error) {
	b = slices.Clone(b)
	binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)^1)
	return f.WriterAt.WriteAt(b, off)
}

// predictor is a Predictor in one function.
type predictor func(context.Context, predict.Comparison) report.Check

func (p predictor) Compare(ctx context.Context, c predict.Comparison) report.Check { return p(ctx, c) }
func (predictor) Name() string                                                     { return "a test's" }
