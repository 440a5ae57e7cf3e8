//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// seed is one good model: its files by their names.
type seed map[string][]byte

// seeds are good models of every format: a format that is registered has a row here.
var seeds = []struct {
	format string
	rule   string // of the manifest
	make   func(t *testing.T) []seed
}{
	{"onnx", "match: '**/*.onnx'", onnxSeeds},
	{"caffe", "match: '**/*.prototxt'", written(zootest.Caffe)},
	{"darknet", "match: '**/*.cfg'", written(zootest.Darknet)},
	{"keras", "match: '**/*.{h5,keras}'", written(zootest.Keras)},
	{"torch", "match: '**/*.pt2'", written(zootest.Torch)},
	{"checkpoint", "match: '**/*.{pt,pth,bin,ckpt}'" + pairs, written(zootest.Checkpoint)},
	{"safetensors", "match: ['**/*.safetensors', '**/*.index.json']" + pairs, written(zootest.Safetensors)},
}

// pairs are what generated checkpoints need of a manifest.
const pairs = `
    state: {epsilon: 0.001, pairs: [{linear: '(stage\d+)\.conv(\d+)', norm: '$1.bn$2'}, {linear: up, norm: up_bn, transposed: true}, {linear: fc, norm: fc_norm, norm_first: true}]}`

// written are models that a function writes into folders.
func written(write func(seed uint64, folder string) (string, format.Options, error)) func(t *testing.T) []seed {
	return func(t *testing.T) (list []seed) {
		for n := range uint64(30) {
			folder := t.TempDir()
			if _, _, err := write(n, folder); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(folder, "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no files: %v", err)
			}
			s := seed{}
			for _, f := range files {
				if s[filepath.Base(f)], err = os.ReadFile(f); err != nil {
					t.Fatal(err)
				}
			}
			list = append(list, s)
		}
		return list
	}
}

func onnxSeeds(t *testing.T) (list []seed) {
	for n, k := range zootest.Kinds {
		data, err := k.Bytes(uint64(n+1), 4, 1)
		if err != nil {
			t.Fatal(err)
		}
		model, weights, err := zootest.External(data, "weights.bin", 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, seed{"model.onnx": data}, seed{"model.onnx": model, "weights.bin": weights})
	}
	for n := range uint64(20) {
		var out onnx.Memory
		if err := onnx.Export(context.Background(), modeltest.Random(n, 12), &out, "", tensor.Reference{}); err != nil {
			t.Fatal(err)
		}
		list = append(list, seed{"model.onnx": out.Bytes()})
	}
	return list
}

// mutant is a seed with one file changed, the same one for the same number.
func mutant(list []seed, number int) (files seed, how string) {
	rng := rand.New(rand.NewPCG(uint64(number), 7))
	files = maps.Clone(list[rng.IntN(len(list))])
	names := slices.Sorted(maps.Keys(files))
	name := names[0]
	if len(names) > 1 && rng.IntN(4) == 0 {
		name = names[1+rng.IntN(len(names)-1)]
	}
	other := list[rng.IntN(len(list))]
	m := mutations[rng.IntN(len(mutations))]
	data := slices.Clone(files[name])
	for range 1 + rng.IntN(2) {
		if len(data) > 0 {
			data = m.mutate(rng, data, slices.Concat(slices.Collect(maps.Values(other))...))
		}
	}
	files[name] = data
	return files, fmt.Sprintf("%s of %s", m.name, name)
}

// The bounds for a batch of small hostile models: of the program's memory, of one model's time, and of the batch's.
const (
	mostMemory = 512 << 20
	modelTime  = "20s"
	batchTime  = 5 * time.Minute
)

// batch folds models, by the names of their folders, and says what is wrong with how that went, by folder; "" stands for all.
func (w *workshop) batch(models map[string]seed) (wrong map[string]string, counts map[string]int, memory int64) {
	w.t.Helper()
	if err := errors.Join(os.RemoveAll(w.zoo()), os.RemoveAll(w.out())); err != nil {
		w.t.Fatal(err)
	}
	originals := map[string]string{}
	for folder, files := range models {
		if err := os.MkdirAll(filepath.Join(w.zoo(), folder), 0o777); err != nil {
			w.t.Fatal(err)
		}
		for name, data := range files {
			originals[folder+"/"+name] = string(data)
			if err := os.WriteFile(filepath.Join(w.zoo(), folder, name), data, 0o666); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), batchTime)
	defer cancel()
	c := w.command("-json", "-j", "2", "-timeout", modelTime)
	o := w.told(c, func() error {
		if err := c.Start(); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Process.Signal(syscall.SIGQUIT) }) // its goroutines tell where it hangs
		defer stop()
		return c.Wait()
	})
	wrong, counts = map[string]string{}, map[string]int{}
	memory = o.memory // the system's own figure for a child begins with what this process has
	switch {
	case ctx.Err() != nil:
		wrong[""] = "it hangs: " + o.stderr
	case o.exit != exitDone && o.exit != exitFailed || o.stderr != "" || len(o.notes) > 0:
		wrong[""] = fmt.Sprintf("exit %d, %s, notes %q", o.exit, o.stderr, o.notes)
	case memory > mostMemory:
		wrong[""] = fmt.Sprintf("%d MiB of memory", memory>>20)
	case !maps.Equal(w.originals(), originals):
		wrong[""] = "originals changed"
	}
	said := map[string]bool{}
	for name, status := range o.status {
		folder, why := path.Dir(name), o.why[name]
		said[folder] = true
		counts[status]++
		switch {
		case status == "failed" && (why == "" || strings.ContainsAny(why, "\n\x1b") || len(why) > 2000):
			wrong[folder] = fmt.Sprintf("the error is %q", why)
		case slices.ContainsFunc(bugs, func(text string) bool { return strings.Contains(why, text) }):
			wrong[folder] = why
		}
	}
	for folder := range models {
		if !said[folder] && wrong[""] == "" {
			wrong[folder] = "nothing is said of it"
		}
	}
	return wrong, counts, memory
}

// bugs are parts of errors that no model may cause, however hostile.
var bugs = []string{"a bug of zoofold", "not done after", "failed a check", "cannot be read back"}

func TestHostile_ModelsFailAloneInBoundedTimeAndMemory(t *testing.T) {
	t.Parallel()
	total, alone := oracle.Setting(t, "ZOOFOLD_MUTANTS", 2000), oracle.Setting(t, "ZOOFOLD_MUTANT", -1)
	_, first := chance(t)
	first *= 1_000_000
	if alone >= 0 {
		total, first = 1, alone
	}
	rows := map[string]bool{}
	for _, row := range seeds {
		rows[row.format] = true
		t.Run(row.format, func(t *testing.T) {
			w := newWorkshop(t, "  - "+row.rule+"\n    verify: [parity, algebra]\n")
			list := row.make(t)
			w.good(list)
			w.hostile(list, first, max(1, total/len(seeds)), "ZOOFOLD_MUTANT=%d go test -run Hostile/"+row.format+" ./cmd/zoofold")
		})
	}
	for _, f := range format.All() {
		if !rows[f.Name] {
			t.Errorf("there are no seeds of %s models", f.Name)
		}
	}
}

// good fails the test if a model that nobody has changed cannot be folded.
func (w *workshop) good(list []seed) {
	models := map[string]seed{}
	for k, s := range list {
		models[fmt.Sprint(k)] = s
	}
	wrong, counts, _ := w.batch(models)
	if len(wrong) > 0 || counts["failed"] > 0 {
		w.t.Fatalf("seeds as they are: %v, %v", counts, wrong)
	}
}

// hostile folds mutants, from a number on; again is how to try one once more.
func (w *workshop) hostile(list []seed, first, count int, again string) {
	const perBatch = 500
	all, most := map[string]int{}, int64(0)
	for at := first; at < first+count && !w.t.Failed(); at += perBatch {
		models, numbers, how := map[string]seed{}, map[string]int{}, map[string]string{}
		for n := at; n < min(at+perBatch, first+count); n++ {
			folder := fmt.Sprint(n)
			numbers[folder] = n
			models[folder], how[folder] = mutant(list, n)
		}
		wrong, counts, memory := w.batch(models)
		for status, n := range counts {
			all[status] += n
		}
		most = max(most, memory)
		if what := wrong[""]; what != "" { // one of them, alone
			for folder, files := range models {
				if one, _, _ := w.batch(map[string]seed{folder: files}); one[""] != "" {
					delete(wrong, "")
					wrong[folder] = one[""]
				}
			}
		}
		for folder, what := range wrong {
			if n, ok := numbers[folder]; ok {
				w.t.Errorf("mutant %d, %s: %s; again: "+again, n, how[folder], what, n)
			} else {
				w.t.Errorf("mutants %d to %d, together only: %s", at, at+len(numbers)-1, what)
			}
		}
	}
	w.t.Logf("mutants %d to %d of %d seeds: %v; at most %d MiB", first, first+count-1, len(list), all, most>>20)
}
