//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// rule is a rule of a manifest, for files with that ending, below a folder with that name.
type rule struct{ ending, below, text string }

// rules are for models of every format.
var rules = func() []rule {
	list := []rule{
		{".onnx", "", "  - match: '**/*.onnx'\n"},
		{".prototxt", "", "  - match: '**/*.prototxt'\n    weights: '{dir}/{stem}.caffemodel'\n"},
		{".h5", "", "  - match: '**/*.h5'\n"}, {".keras", "", "  - match: '**/*.keras'\n"}, {".pt2", "", "  - match: '**/*.pt2'\n"},
	}
	for _, epsilon := range zootest.Conventions {
		list = append(list, rule{".cfg", epsilon, fmt.Sprintf("  - match: '**/%s/*.cfg'\n    weights: '{dir}/{stem}.weights'\n    darknet: {epsilon: %[1]s}\n", epsilon)})
	}
	return list
}()

// present are the rules for what a zoo has: one that matches nothing is an error.
func present(zoo string) (string, error) {
	found := make([]bool, len(rules))
	err := filepath.WalkDir(zoo, func(path string, d fs.DirEntry, err error) error {
		for k, r := range rules {
			found[k] = found[k] || strings.HasSuffix(path, r.ending) && strings.HasSuffix(filepath.Dir(path), r.below)
		}
		return err
	})
	var kept strings.Builder
	for k, r := range rules {
		if found[k] {
			kept.WriteString(r.text)
		}
	}
	return kept.String(), err
}

var types = []tensor.DType{tensor.Float32, tensor.Float16, tensor.BFloat16, tensor.Float64}

// smallZoo writes small models of every format into a folder: ONNX networks of each kind and each type, and a few of random
// layers of the others.
func smallZoo(folder string) error {
	for _, d := range types {
		for _, kind := range zootest.Kinds {
			data, err := kind.Typed(7, 8, 2, d)
			if err != nil {
				return err
			}
			if err := write(filepath.Join(folder, "onnx", d.String(), kind.Name+".onnx"), data); err != nil {
				return err
			}
		}
	}
	for name, make := range map[string]func(uint64, string) (string, format.Options, error){
		"caffe": zootest.Caffe, "darknet": zootest.Darknet, "keras": zootest.Keras, "torch": zootest.Torch,
	} {
		for seed := range uint64(6) {
			below := filepath.Join(folder, name, fmt.Sprint(seed))
			if name == "darknet" {
				below = filepath.Join(below, zootest.Conventions[seed%3])
			}
			if err := os.MkdirAll(below, 0o777); err != nil {
				return err
			}
			if _, _, err := make(seed, below); err != nil {
				return fmt.Errorf("%s %d: %w", name, seed, err)
			}
		}
	}
	return nil
}

func write(path string, data []byte) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, data, 0o666))
}

// largeZoo writes about so many bytes of large networks into a folder: a few that differ, and copies of them. It says how many
// bytes there are.
func largeZoo(ctx context.Context, folder string, bytes int64) (written int64, models int, err error) {
	type network struct {
		kind         string
		width, depth int64
	}
	var list []network
	for _, n := range []network{{"perceptron", 1024, 6}, {"residual", 1024, 4}, {"dense", 512, 8}, {"hardswish", 1024, 8}} {
		if bytes < 1<<30 { // for the emulator
			n.width, n.depth = n.width/32, 2
		}
		list = append(list, n)
	}
	made := make([][]byte, len(list))
	p := pool.New().WithMaxGoroutines(runtime.NumCPU()).WithErrors()
	for k, n := range list {
		p.Go(func() (err error) {
			for _, kind := range zootest.Kinds {
				if kind.Name == n.kind {
					made[k], err = kind.Bytes(uint64(k), n.width, n.depth)
				}
			}
			return err
		})
	}
	if err := p.Wait(); err != nil {
		return 0, 0, err
	}
	p = pool.New().WithMaxGoroutines(runtime.NumCPU()).WithErrors()
	for ; written < bytes; models++ {
		data, path := made[models%len(made)], filepath.Join(folder, fmt.Sprintf("%s%02d.onnx", list[models%len(made)].kind, models))
		p.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return write(path, data)
		})
		written += int64(len(data))
	}
	return written, models, p.Wait()
}

// folding is a run of zoofold.
type folding struct {
	zoo, out, device, verify string
	jobs                     int
	env                      []string
}

// fold folds a zoo into a folder, and returns how the run ended. Models that fail are not an error here: they are in the
// run's exit code.
func (c *checker) fold(ctx context.Context, f folding) (ended, error) {
	models, err := present(f.zoo)
	if err != nil {
		return ended{}, err
	}
	manifest := filepath.Join(c.work, "models.yaml")
	text := fmt.Appendf(nil, "version: 1\nzoo: %q\nout: %q\ndefaults:\n  proof: try\nmodels:\n%s", f.zoo, f.out, models)
	if err := os.WriteFile(manifest, text, 0o666); err != nil {
		return ended{}, err
	}
	return c.run(ctx, f.env, "zoofold", "-manifest", manifest, "-device", f.device, "-verify", f.verify, "-j", strconv.Itoa(f.jobs))
}

// counts are how many models of a run ended in which way, as its report says.
func counts(out string) (map[string]int, error) {
	data, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		return nil, err
	}
	var report struct {
		End struct{ Counts map[string]int }
	}
	err = json.Unmarshal(data, &report)
	return report.End.Counts, err
}

// compare holds the outputs in two folders against each other, byte for byte, and says how many there are.
func compare(one, other string) (outputs int, bytes int64, err error) {
	names := func(folder string) (list []string, err error) {
		err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(folder, path)
			if d.IsDir() && d.Name() == ".zoofold" {
				return fs.SkipDir
			}
			if !d.IsDir() && !strings.HasPrefix(rel, "report.") {
				list = append(list, rel)
			}
			return err
		})
		return list, err
	}
	a, err := names(one)
	if err != nil {
		return 0, 0, err
	}
	b, err := names(other)
	if err != nil {
		return 0, 0, err
	}
	if strings.Join(a, "\n") != strings.Join(b, "\n") || len(a) == 0 {
		return 0, 0, fmt.Errorf("%d outputs, and %d others", len(a), len(b))
	}
	for _, rel := range a {
		n, err := same(filepath.Join(one, rel), filepath.Join(other, rel))
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", rel, err)
		}
		bytes += n
	}
	return len(a), bytes, nil
}

// same compares two files, a piece at a time.
func same(one, other string) (size int64, err error) {
	a, err := os.Open(one)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(a, p)
		m, other := io.ReadFull(b, q)
		if n != m || !bytes.Equal(p[:n], q[:m]) {
			return size, fmt.Errorf("other bytes from byte %d on, or near behind it", size)
		}
		size += int64(n)
		switch {
		case (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && err == other:
			return size, nil
		case err != nil || other != nil:
			return size, errors.Join(err, other)
		}
	}
}
