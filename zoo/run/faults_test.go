package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// external writes a model whose weights lie beside it: FOLDER/model.onnx and FOLDER/weights.bin.
func (s *scene) external(folder string, seed uint64) {
	s.t.Helper()
	data, err := zootest.Kinds[0].Bytes(seed, 4, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	model, weights, err := zootest.External(data, "weights.bin", 64)
	if err != nil {
		s.t.Fatal(err)
	}
	folder = filepath.Join(s.zoo(), folder)
	err = errors.Join(os.MkdirAll(folder, 0o777),
		os.WriteFile(filepath.Join(folder, "model.onnx"), model, 0o666), os.WriteFile(filepath.Join(folder, "weights.bin"), weights, 0o666))
	if err != nil {
		s.t.Fatal(err)
	}
}

// plain writes a model of one file.
func (s *scene) plain(name string, seed uint64) {
	s.t.Helper()
	data, err := zootest.Kinds[0].Bytes(seed, 4, 1)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.zoo(), name), data, 0o666)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// past is when files changed last that are not fresh.
var past = time.Now().Add(-time.Hour).Truncate(time.Second)

// settled gives all files of the zoo another age, and one at which their times tell whether they change.
func (s *scene) settled() {
	s.t.Helper()
	past = past.Add(time.Second)
	for path := range contents(s.t, s.zoo()) {
		if err := os.Chtimes(filepath.Join(s.zoo(), path), past, past); err != nil {
			s.t.Fatal(err)
		}
	}
}

// situation is an output folder before a run, and what the outputs may be: those of before and those to be.
type situation struct {
	name   string
	out    string
	before map[string]string
	after  map[string]string
}

// situations are a first run, and one that finds an earlier one's outputs of other inputs.
func situations(t *testing.T) (*scene, []situation) {
	s := newScene(t, 0)
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	s.external("one", 1)
	s.external("two", 2)
	s.plain("plain.onnx", 5)
	s.settled()
	s.must(nil)
	earlier := t.TempDir()
	if err := os.Rename(s.out(), filepath.Join(earlier, "out")); err != nil {
		t.Fatal(err)
	}
	earlier = filepath.Join(earlier, "out")
	s.external("two", 3)
	s.external("three", 4)
	s.plain("plain.onnx", 6)
	s.settled()
	s.must(nil)
	after := contents(t, s.out())
	if len(after) != 7 {
		t.Fatalf("%d outputs, want 7", len(after))
	}
	return s, []situation{
		{"a first run", t.TempDir(), nil, after},
		{"a run after another", earlier, contents(t, earlier), after},
	}
}

// enter puts a situation's output folder in place.
func (s *scene) enter(x situation) {
	s.t.Helper()
	if err := errors.Join(os.RemoveAll(s.out()), os.CopyFS(s.out(), os.DirFS(x.out))); err != nil {
		s.t.Fatal(err)
	}
}

// whole fails the test if an output is neither what it was nor what it is to be, or does not fit the file beside it.
func (s *scene) whole(x situation, what string) {
	s.t.Helper()
	now := contents(s.t, s.out())
	for path, data := range now {
		folder := filepath.Dir(path)
		model, weights := filepath.Join(folder, "model.onnx"), filepath.Join(folder, "weights.bin")
		switch {
		case strings.Contains(path, stagePrefix): // the next run sweeps it
		case data != x.before[path] && data != x.after[path]:
			s.t.Fatalf("%s: %s has bytes that no run wrote", what, path)
		case path == model && !(data == x.before[path] && now[weights] == x.before[weights]) && !(data == x.after[path] && now[weights] == x.after[weights]):
			s.t.Fatalf("%s: %s does not fit the weights beside it", what, path)
		}
	}
}

// mended fails the test if the next run does not put everything in order.
func (s *scene) mended(x situation, what string) {
	s.t.Helper()
	r := s.must(func(o *Options) { o.over = (&hooked{before: func(string, string) error { return nil }}).over })
	if now := contents(s.t, s.out()); r.Counts[outcome.Failed] > 0 || !equal(x.after, now) {
		for path, m := range r.models {
			s.t.Logf("%s: %s %s", path, m.Status, m.Error)
		}
		s.t.Fatalf("%s: the next run does not mend it: %v, %d outputs", what, r.Counts, len(now))
	}
	err := filepath.WalkDir(s.out(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), stagePrefix) {
			err = fmt.Errorf("%s: the next run does not sweep %s", what, path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// stride is from which operation to which a fault moves: go test -short, for the race detector, does not fail all.
func stride() int {
	if testing.Short() {
		return 11
	}
	return 1
}

func TestEveryFileOperation_MayFail(t *testing.T) {
	s, list := situations(t)
	originals := contents(t, s.zoo())
	for _, x := range list {
		for _, fault := range []error{errFault, errShort, errLate} {
			n, seen := 1, map[string]bool{}
			for ; ; n += stride() {
				s.enter(x)
				calls, what := 0, ""
				h := &hooked{before: func(operation, path string) error {
					if fault == errShort && operation != "read" && operation != "write" {
						return nil
					}
					if calls++; calls != n {
						return nil
					}
					what = fmt.Sprintf("%s: %v, in operation %d, %s %s", x.name, fault, n, operation, path)
					seen[operation] = true
					return fault
				}}
				r, err := s.run(context.Background(), func(o *Options) { o.over, o.Workers = h.over, 1 })
				if what == "" {
					break // every operation has failed once
				}
				s.whole(x, what)
				if err == nil && r.Counts[outcome.Failed] == 0 && !equal(x.after, contents(t, s.out())) {
					t.Fatalf("%s: nothing is said to have failed, and something is missing: %v", what, r.Counts)
				}
				s.mended(x, what)
			}
			if stride() == 1 && (len(seen) < 14 && fault != errShort || len(seen) < 2) {
				t.Errorf("only these operations were seen: %v", seen)
			}
			t.Logf("%s: %v in each of %d operations of %d kinds", x.name, fault, n-1, len(seen))
		}
	}
	if !equal(originals, contents(t, s.zoo())) {
		t.Error("originals changed")
	}
}

// volatile is a disk whose power fails: what was not synced by then is lost, or not, as chance will have it.
type volatile struct {
	*hooked
	order   sync.Mutex
	dirty   map[string]int64 // by path, of files that were written and not synced: how much of them is on disk
	sizes   map[string]int64 // by path, of files that grow: how much is on disk
	changes []change         // of folders, not synced, in order
}

// change is a rename or a removal of a file, and what undoes it.
type change struct {
	path string
	undo func() error
}

func newVolatile(before func(operation, path string) error) *volatile {
	v := &volatile{dirty: map[string]int64{}, sizes: map[string]int64{}}
	v.hooked = &hooked{before: before}
	return v
}

func (v *volatile) over(f files) files {
	v.hooked.over(f)
	return v
}

func (v *volatile) Create(path string, mode fs.FileMode) (writable, error) {
	f, err := v.hooked.Create(path, mode)
	return &volatileFile{f, path, v}, err
}

func (v *volatile) Append(path string) (writable, error) {
	if info, err := os.Stat(path); err == nil {
		v.order.Lock()
		v.sizes[path] = info.Size()
		v.order.Unlock()
	}
	f, err := v.hooked.Append(path)
	return &volatileFile{f, path, v}, err
}

// keep is what brings a file back as it is now.
func keep(path string) func() error {
	data, err := os.ReadFile(path)
	if err != nil {
		return func() error { return os.RemoveAll(path) }
	}
	return func() error { return os.WriteFile(path, data, 0o666) }
}

func (v *volatile) Rename(from, to string) error {
	v.order.Lock()
	defer v.order.Unlock()
	undo := keep(to)
	err := v.hooked.Rename(from, to)
	if err == nil {
		delete(v.dirty, to)
		if kept, dirty := v.dirty[from]; dirty {
			v.dirty[to] = kept
		}
		v.changes = append(v.changes, change{to, undo})
	}
	return err
}

func (v *volatile) Remove(path string) error {
	v.order.Lock()
	defer v.order.Unlock()
	undo := keep(path)
	err := v.hooked.Remove(path)
	if err == nil {
		v.changes = append(v.changes, change{path, undo})
	}
	return err
}

func (v *volatile) SyncFolder(path string) error {
	v.order.Lock()
	defer v.order.Unlock()
	err := v.hooked.SyncFolder(path)
	if err == nil {
		var rest []change
		for _, c := range v.changes {
			if filepath.Dir(c.path) != path {
				rest = append(rest, c)
			}
		}
		v.changes = rest
	}
	return err
}

// fail loses what was not synced.
func (v *volatile) fail(rng *rand.Rand) error {
	for path, kept := range v.dirty {
		if info, err := os.Stat(path); err == nil && rng.IntN(4) > 0 {
			if err := os.Truncate(path, kept+rng.Int64N(info.Size()-kept+1)); err != nil {
				return err
			}
		}
	}
	lasting := map[string]bool{} // a file's later changes last only if its earlier ones do; those of two files know no order
	for _, c := range slices.Backward(v.changes) {
		if lasting[c.path] = lasting[c.path] || rng.IntN(2) == 0; lasting[c.path] {
			continue
		}
		if err := c.undo(); err != nil {
			return err
		}
	}
	return nil
}

type volatileFile struct {
	writable
	path string
	v    *volatile
}

func (v *volatile) soil(path string) {
	v.order.Lock()
	defer v.order.Unlock()
	v.dirty[path] = v.sizes[path]
}

func (f *volatileFile) Write(b []byte) (int, error) {
	f.v.soil(f.path)
	return f.writable.Write(b)
}

func (f *volatileFile) WriteAt(b []byte, off int64) (int, error) {
	f.v.soil(f.path)
	return f.writable.WriteAt(b, off)
}

func (f *volatileFile) Sync() error {
	err := f.writable.Sync()
	if err == nil {
		f.v.order.Lock()
		defer f.v.order.Unlock()
		delete(f.v.dirty, f.path)
	}
	return err
}

func TestPowerMayFail_AtEveryOperation(t *testing.T) {
	t.Run("one worker", func(t *testing.T) { powerFails(t, 1) })
	t.Run("several workers", func(t *testing.T) { powerFails(t, 4) }) // models wait for the disk together
}

func powerFails(t *testing.T, workers int) {
	s, list := situations(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, x := range list {
		failures := 0
		for n, again := 1, 0; ; failures++ {
			s.enter(x)
			calls := 0
			v := newVolatile(func(string, string) error {
				if calls++; calls >= n {
					return errFault
				}
				return nil
			})
			_, _ = s.run(context.Background(), func(o *Options) { o.over, o.Workers = v.over, workers })
			if calls < n {
				t.Logf("%s: %d power failures at %d operations", x.name, failures, n-1)
				break
			}
			what := fmt.Sprintf("%s: the power fails at operation %d", x.name, n)
			if again++; len(v.changes) < 2 || again == 16 { // several changes are lost in several ways
				n, again = n+stride(), 0
			}
			if err := v.fail(rng); err != nil {
				t.Fatal(err)
			}
			s.whole(x, what)
			s.mended(x, what)
		}
	}
}

func TestWhatIsAboutToBeMovedIntoPlaceIsInTheLedgerOnDiskBefore(t *testing.T) {
	s, list := situations(t)
	for _, x := range list {
		s.enter(x)
		ledger, moved := statePath(s.out(), ledgerFile), 0
		var v *volatile
		v = newVolatile(func(operation, path string) error {
			if operation != "rename" || strings.Contains(path, stateFolder) || slices.Contains(reportFiles, filepath.Base(path)) {
				return nil
			}
			moved++
			if _, dirty := v.dirty[ledger]; dirty {
				t.Errorf("%s: %s is moved into place before the disk has what the ledger says", x.name, path)
			}
			return nil
		})
		s.must(func(o *Options) { o.over, o.Workers = v.over, 1 })
		if moved < 4 {
			t.Errorf("%s: only %d files were seen to be moved", x.name, moved)
		}
	}
}
