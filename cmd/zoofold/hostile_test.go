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
)

// seed is one good model: its files by their names, "model" and an extension being the one that is opened.
type seed map[string][]byte

// seeds are good models of every format: a format that is registered has a row here.
var seeds = []struct {
	format string
	rule   string // of the manifest
	make   func(t *testing.T) []seed
}{
	{"onnx", "match: '**/model.onnx'", onnxSeeds},
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

// batch folds mutants, from number first on, and says what is wrong with how that went, by mutant; "" stands for all.
func (w *workshop) batch(format string, list []seed, numbers []int) (wrong map[string]string, counts map[string]int, memory int64) {
	w.t.Helper()
	if err := errors.Join(os.RemoveAll(w.zoo()), os.RemoveAll(w.out())); err != nil {
		w.t.Fatal(err)
	}
	originals := map[string]string{}
	for _, n := range numbers {
		files, _ := mutant(list, n)
		folder := fmt.Sprintf("%s-%d", format, n)
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
	o := w.outcome(c, func() error {
		if err := c.Start(); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Process.Signal(syscall.SIGQUIT) }) // its goroutines tell where it hangs
		defer stop()
		return c.Wait()
	})
	wrong, counts = map[string]string{}, map[string]int{}
	if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		memory = usage.Maxrss << 10
	}
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
	for _, n := range numbers {
		folder := fmt.Sprintf("%s-%d", format, n)
		status, why := "", ""
		for name, s := range o.status {
			if path.Dir(name) == folder {
				status, why = s, o.why[name]
			}
		}
		counts[status]++
		switch {
		case status == "" && wrong[""] == "":
			wrong[folder] = "nothing is said of it"
		case status == "failed" && (why == "" || strings.ContainsAny(why, "\n\x1b") || len(why) > 2000):
			wrong[folder] = fmt.Sprintf("the error is %q", why)
		case strings.Contains(why, "a bug of zoofold") || strings.Contains(why, "not done after") || strings.Contains(why, "failed a check") || strings.Contains(why, "cannot be read back"):
			wrong[folder] = why
		}
	}
	return wrong, counts, memory
}

func TestHostileModelsFailAloneInBoundedTimeAndMemory(t *testing.T) {
	total, first := setting(t, "ZOOFOLD_MUTANTS", 2000), setting(t, "ZOOFOLD_MUTANT", -1)
	_, from := chance(t)
	from *= 1_000_000
	if first >= 0 {
		total, from = 1, first
	}
	const perBatch = 500
	rows := map[string]bool{}
	for _, row := range seeds {
		rows[row.format] = true
		t.Run(row.format, func(t *testing.T) {
			w := newWorkshop(t, "  - "+row.rule+"\n    verify: [parity, algebra]\n")
			list := row.make(t)
			all, most := map[string]int{}, int64(0)
			for at := from; at < from+total; at += perBatch {
				var numbers []int
				for n := at; n < min(at+perBatch, from+total); n++ {
					numbers = append(numbers, n)
				}
				wrong, counts, memory := w.batch(row.format, list, numbers)
				for status, n := range counts {
					all[status] += n
				}
				most = max(most, memory)
				if wrong[""] != "" && len(numbers) > 1 { // one of them, alone
					found := false
					for _, n := range numbers {
						alone, _, _ := w.batch(row.format, list, []int{n})
						found = found || alone[""] != ""
						maps.Copy(wrong, map[string]string{fmt.Sprintf("%s-%d", row.format, n): alone[""]})
					}
					if !found {
						t.Errorf("mutants %d to %d together: %s", at, at+len(numbers)-1, wrong[""])
					}
					delete(wrong, "")
				}
				for name, what := range wrong {
					if what != "" {
						n := strings.TrimPrefix(name, row.format+"-")
						t.Errorf("%s: %s; again: ZOOFOLD_MUTANT=%s go test -run Hostile/%s ./cmd/zoofold", name, what, n, row.format)
					}
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("mutants %d to %d of %d seeds: %v; at most %d MiB", from, from+total-1, len(list), all, most>>20)
		})
	}
	for _, f := range format.All() {
		if !rows[f.Name] {
			t.Errorf("there are no seeds of %s models", f.Name)
		}
	}
}
