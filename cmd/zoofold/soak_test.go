package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// The soak tests run the real program, a few times in make test and for long in make soak. What chance decides in them comes
// from a seed.

// chance is what decides, and the seed that it comes from.
func chance(t *testing.T) (*rand.Rand, int) {
	seed := oracle.Setting(t, "ZOOFOLD_SEED", 1)
	return rand.New(rand.NewPCG(uint64(seed), 0)), seed
}

// built is the real program, in a folder that goes with the tests.
var built struct {
	folder string
	build  sync.Once
	err    error
}

// buildFlags are those with which the real program is built.
var buildFlags []string

// realProgram is the program as make build makes it, without CUDA.
func realProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(built.folder, "zoofold")
	built.build.Do(func() {
		if out, err := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", path, ".")...).CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return path
}

// workshop is a folder with a zoo, a manifest and an output folder, for the real program.
type workshop struct {
	t      *testing.T
	folder string
}

// newWorkshop makes one; a test that fails leaves it behind to be looked at.
func newWorkshop(t *testing.T, rules string) *workshop {
	folder, err := os.MkdirTemp("", "zoofold-workshop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept: %s", folder)
		} else if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	w := &workshop{t, folder}
	err = os.WriteFile(w.manifest(), []byte("version: 1\nzoo: zoo\nout: out\nmodels:\n"+rules), 0o666)
	if err = errors.Join(err, os.Mkdir(w.zoo(), 0o777)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *workshop) zoo() string      { return filepath.Join(w.folder, "zoo") }
func (w *workshop) out() string      { return filepath.Join(w.folder, "out") }
func (w *workshop) manifest() string { return filepath.Join(w.folder, "models.yaml") }

// command runs the program over the zoo. Its predictions cannot run.
func (w *workshop) command(args ...string) *exec.Cmd {
	c := exec.Command(realProgram(w.t), append([]string{"-manifest", w.manifest(), "-device", "cpu"}, args...)...)
	c.Env = append(os.Environ(), "ONNXRUNTIME_LIB=none")
	return c
}

// told is what a run of the program told.
type told struct {
	exit   int
	status map[string]string // by model
	why    map[string]string // errors, by model
	notes  []string
	memory int64 // the most that it had, in bytes
	stderr string
}

// run is a run to its end.
func (w *workshop) run(args ...string) told {
	w.t.Helper()
	c := w.command(append([]string{"-json"}, args...)...)
	return w.told(c, c.Run)
}

// told is what a command tells that is run by do. What is no event on its stdout counts as an error.
func (w *workshop) told(c *exec.Cmd, do func() error) told {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := do()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		w.t.Fatal(err)
	}
	o := told{exit: c.ProcessState.ExitCode(), status: map[string]string{}, why: map[string]string{}, stderr: stderr.String()}
	for line := range bytes.Lines(stdout.Bytes()) {
		var event struct {
			Event, Path, Status, Error string
			Notes                      []string
			Memory                     int64 `json:"peak_memory"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			o.stderr += fmt.Sprintf("%q is no event: %v", line, err)
		}
		switch event.Event {
		case "model":
			o.status[event.Path], o.why[event.Path] = event.Status, event.Error
		case "end":
			o.notes, o.memory = event.Notes, event.Memory
		}
	}
	return o
}

// read is all files below a folder, by path; leave says which folders are left out.
func (w *workshop) read(folder string, leave func(name string) bool) map[string]string {
	w.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && leave(d.Name()):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(folder, path)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

// outputs are the models and their weights in the output folder.
func (w *workshop) outputs() map[string]string {
	files := w.read(w.out(), func(name string) bool { return strings.HasPrefix(name, ".zoofold") })
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasPrefix(name, "report") })
	return files
}

// originals are the files of the zoo.
func (w *workshop) originals() map[string]string {
	return w.read(w.zoo(), func(string) bool { return false })
}

// leftovers are the folders of unfinished outputs.
func (w *workshop) leftovers() (list []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.out(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".zoofold-") {
			list = append(list, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// restore makes the output folder what it was.
func (w *workshop) restore(files map[string]string) {
	w.t.Helper()
	err := os.RemoveAll(w.out())
	for name, data := range files {
		path := filepath.Join(w.out(), name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(data), 0o666))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
