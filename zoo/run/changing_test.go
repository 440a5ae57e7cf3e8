package run

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// looked is a file system that does something once a file was looked at for the last time before it is opened for good: its
// time, or its content too.
type looked struct {
	files
	path    string
	content bool
	looks   int // that are to come
	then    func()
}

func (l *looked) look() {
	if l.looks--; l.looks == 0 {
		l.then()
	}
}

func (l *looked) Stat(path string) (fs.FileInfo, error) {
	info, err := l.files.Stat(path)
	if path == l.path && !l.content {
		l.look()
	}
	return info, err
}

func (l *looked) Open(path string) (io.ReadCloser, error) {
	f, err := l.files.Open(path)
	if err == nil && path == l.path {
		return &closing{f, l.look}, nil
	}
	return f, err
}

// closing does something when a file is closed.
type closing struct {
	io.ReadCloser
	then func()
}

func (c *closing) Close() error {
	defer c.then()
	return c.ReadCloser.Close()
}

func TestInput_ChangedWhileReadIsNotCommitted(t *testing.T) {
	touch := func(path string) error { now := time.Now(); return os.Chtimes(path, now, now) }
	replace := func(path string) error {
		data, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(path+".new", data, 0o666), os.Rename(path+".new", path))
	}
	grow := func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte{0})
		return errors.Join(err, f.Close())
	}
	shrink := func(path string) error { return os.Truncate(path, 100) }
	for _, test := range []struct {
		name   string
		file   string
		fresh  bool // it changed a moment before, too
		told   bool // nothing but the change is wrong
		change func(path string) error
	}{
		{"another time", "model.onnx", false, true, touch},
		{"another file under the name", "model.onnx", false, true, replace},
		{"another size", "model.onnx", false, false, grow},
		{"the end is cut off", "model.onnx", false, false, shrink},
		{"removed", "model.onnx", false, false, os.Remove},
		{"other bytes at the same time", "model.onnx", true, false, alter},
		{"another time of external data", "weights.bin", false, true, touch},
		{"other external data under the name", "weights.bin", false, true, replace},
		{"external data of another size", "weights.bin", false, false, grow},
		{"the end of external data is cut off", "weights.bin", false, false, shrink},
		{"external data is removed", "weights.bin", false, false, os.Remove},
		{"other bytes of external data at the same time", "weights.bin", true, false, alter},
	} {
		for _, moment := range []string{"once it was looked at", "while its weights are read", "when it was read"} {
			t.Run(test.name+", "+moment, func(t *testing.T) {
				s := newScene(t, 0)
				s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [predictions]\n"
				s.external("m", 1)
				s.settled()
				path := filepath.Join(s.zoo(), "m", test.file)
				if soon := time.Now().Add(tick / 2); test.fresh {
					if err := os.Chtimes(path, soon, soon); err != nil {
						t.Fatal(err)
					}
				}
				changed := false
				change := func() {
					if !changed {
						changed = true
						if err := test.change(path); err != nil {
							t.Error(err)
						}
					}
				}
				r := s.must(func(o *Options) {
					o.Workers = 1
					o.Predict = predictor(func(context.Context, predict.Comparison) outcome.Check {
						if moment == "when it was read" {
							change()
						}
						return outcome.Check{Status: outcome.Passed}
					})
					switch moment {
					case "once it was looked at":
						looks := map[string]int{"model.onnx": 2, "weights.bin": 1}[test.file] // the model file says what else there is
						if test.file == "weights.bin" && !test.fresh {
							looks++ // for the run's first line, which says how large the models are
						}
						o.over = func(f files) files {
							return &looked{files: f, path: path, content: test.fresh, looks: looks, then: change}
						}
					case "while its weights are read":
						o.Backend = &backend{Backend: cpu.New(1), do: func(context.Context, int) error { change(); return nil }}
					}
				})
				if !changed {
					t.Fatal("nothing has changed")
				}
				m := r.models["m/model.onnx"]
				if m.Status != outcome.Failed || m.Error == "" || test.told && !strings.Contains(m.Error, ErrChanged.Error()) {
					t.Errorf("%s, %s", m.Status, m.Error)
				}
				if len(contents(t, s.out())) != 0 {
					t.Error("it was committed")
				}
			})
		}
	}
}
