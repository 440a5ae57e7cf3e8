// Package formattest is the suite that every format passes: what it reads it writes, folding is proven from the written
// files and done once, originals stay, and damaged files get one clear error.
package formattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
)

// Generator writes one small model of a format into a folder; equal seeds make equal files.
type Generator func(seed uint64, folder string) (path string, o format.Options, err error)

// Suite is one format under test.
type Suite struct {
	Generate Generator
	Seeds    uint64 // how many models
	// Rewritten says that the format lays a file out anew whenever it writes it, so that one that was not edited is the
	// same model in other bytes.
	Rewritten bool
	// Damages is how many damaged files are tried.
	Damages int
}

// Run runs the suite.
func (s Suite) Run(t *testing.T) {
	if testing.Short() {
		s.Seeds, s.Damages = max(s.Seeds/4, 1), s.Damages/8
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *subject)
	}{
		{"WhatWasNotEditedIsWrittenAsItWas", s.unedited},
		{"FoldedFilesAreProvenAndFoldedOnce", s.folded},
		{"NeutralizedFilesKeepAllThatHasAName", s.neutralized},
		{"EqualModelsGiveEqualBytes", s.equal},
		{"FurtherFilesAreKnownBeforeOpening", s.further},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range s.Seeds {
				test.run(t, s.subject(t, seed))
			}
		})
	}
	t.Run("OutputsAreThoseOfTheirVersions", s.versions)
	t.Run("DamagedFilesGetOneClearError", s.damaged)
}

// subject is one generated model.
type subject struct {
	seed   uint64
	path   string
	o      format.Options
	fold   fold.Options
	inputs []string
	before map[string][]byte
}

func (s Suite) subject(t *testing.T, seed uint64) *subject {
	t.Helper()
	path, o, err := s.Generate(seed, t.TempDir())
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	x := &subject{seed: seed, path: path, o: o, before: map[string][]byte{}}
	f := x.open(t, path, o)
	x.inputs = f.Inputs()
	for _, p := range x.inputs {
		x.before[p] = Read(t, p)
	}
	t.Cleanup(func() {
		for p, data := range x.before {
			if now, err := os.ReadFile(p); err == nil && !bytes.Equal(now, data) {
				t.Errorf("seed %d: %s was changed", seed, p)
			}
		}
	})
	return x
}

func (x *subject) open(t *testing.T, path string, o format.Options) format.File {
	t.Helper()
	f, err := format.Open(t.Context(), path, o)
	if err != nil {
		t.Fatalf("seed %d: %v", x.seed, err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Read is a file's content.
func Read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Folder is a format.Output in a folder that exists.
type Folder struct {
	Path, Name string // of the folder, of the model file in it
}

// Create makes a file below the folder.
func (f Folder) Create(rel string) (format.OutputFile, error) {
	if rel == "" {
		rel = f.Name
	}
	path := filepath.Join(f.Path, filepath.FromSlash(rel))
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// written is an open model, folded or not, as it was written into a new folder.
type written struct {
	path    string
	o       format.Options
	renamed map[string]string
}

func (x *subject) write(t *testing.T, f format.File, backend tensor.Backend) written {
	t.Helper()
	out := Folder{t.TempDir(), filepath.Base(x.path)}
	renamed, err := f.Write(context.Background(), out, backend)
	if err != nil {
		t.Fatalf("seed %d: %v", x.seed, err)
	}
	w := written{filepath.Join(out.Path, out.Name), x.o, renamed}
	if len(x.inputs) > 1 {
		w.o.Weights = filepath.Join(out.Path, format.Beside(x.inputs[0], x.inputs[1]))
	}
	return w
}

func (x *subject) folded(t *testing.T, f format.File) *fold.Plan {
	t.Helper()
	p, err := fold.Fold(t.Context(), f.Model(), x.fold)
	if err != nil {
		t.Fatalf("seed %d: %v", x.seed, err)
	}
	foldtest.AddsUp(t, p, f.Model())
	return p
}

func (s Suite) unedited(t *testing.T, x *subject) {
	w := x.write(t, x.open(t, x.path, x.o), tensor.Reference{})
	again := x.open(t, w.path, w.o)
	if len(w.renamed) > 0 {
		t.Errorf("seed %d: nothing was edited, and yet renamed: %v", x.seed, w.renamed)
	}
	if s.Rewritten {
		v := x.write(t, again, tensor.Reference{})
		if !bytes.Equal(Read(t, w.path), Read(t, v.path)) {
			t.Errorf("seed %d: written twice, it differs", x.seed)
		}
		return
	}
	for k, p := range again.Inputs() {
		if !bytes.Equal(Read(t, p), x.before[x.inputs[k]]) {
			t.Errorf("seed %d: %s was written with other bytes", x.seed, filepath.Base(p))
		}
	}
}

// further holds the files that a model file names against those that opening it reads.
func (s Suite) further(t *testing.T, x *subject) {
	names, err := format.Files(t.Context(), x.path, x.o)
	if err != nil {
		t.Fatalf("seed %d: %v", x.seed, err)
	}
	for _, input := range x.inputs[1:] {
		if rel := format.Beside(x.path, input); input != x.o.Weights && !slices.Contains(names, rel) {
			t.Errorf("seed %d: %s is read, and only %q are named", x.seed, rel, names)
		}
	}
	for _, name := range names {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			t.Errorf("seed %d: %q is named", x.seed, name)
		}
	}
}

func (s Suite) folded(t *testing.T, x *subject) {
	f := x.open(t, x.path, x.o)
	p := x.folded(t, f)
	w := x.write(t, f, verify.NewParity(cpu.New(2)))
	original, folded := x.open(t, x.path, x.o), x.open(t, w.path, w.o)
	verify.Rename(folded.Model(), w.renamed)
	r, err := verify.Algebra(context.Background(), original.Model(), folded.Model(), p)
	if err != nil || r.Failed != "" || len(r.NotRun) > 0 || r.Passed != len(p.Regions) {
		t.Errorf("seed %d: %d of %d regions hold, %s %v %v", x.seed, r.Passed, len(p.Regions), r.Failed, r.NotRun, err)
	}
	if a, b := face(original.Model().Graph), face(folded.Model().Graph); !slices.Equal(a, b) {
		t.Errorf("seed %d: inputs and outputs %v became %v", x.seed, a, b)
	}
	again := x.open(t, w.path, w.o)
	if q := x.folded(t, again); len(q.Nodes)+len(q.Consts) > 0 || q.Before != p.After {
		t.Errorf("seed %d: folded again: %d -> %d -> %d, %v %v", x.seed, p.Before, q.Before, q.After, q.Nodes, q.Consts)
	}
	if v := x.write(t, again, cpu.New(1)); !s.Rewritten {
		for k, path := range again.Inputs() {
			other := v.path
			if k > 0 {
				other = filepath.Join(filepath.Dir(v.path), format.Beside(w.path, path))
			}
			if !bytes.Equal(Read(t, path), Read(t, other)) {
				t.Errorf("seed %d: folded again, %s has other bytes", x.seed, filepath.Base(path))
			}
		}
	}
}

// neutralized folds a model whose layers stay: the same layers and weights are in the written one, which computes the same,
// and each batch normalisation that gave its scale away only adds.
func (s Suite) neutralized(t *testing.T, x *subject) {
	x.fold.Neutralize = true
	s.folded(t, x)
	f := x.open(t, x.path, x.o)
	before := skeleton(f.Model())
	x.folded(t, f)
	w := x.write(t, f, cpu.New(2))
	folded := x.open(t, w.path, w.o)
	if after := skeleton(folded.Model()); !slices.Equal(before, after) {
		t.Errorf("seed %d: other nodes or constants than before:\n%s\n%s", x.seed, strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if inputs := folded.Inputs(); len(inputs) > 1 && !s.Rewritten && !bytes.Equal(Read(t, inputs[0]), x.before[x.inputs[0]]) {
		t.Errorf("seed %d: %s has changed", x.seed, filepath.Base(x.path))
	}
}

// skeleton is all of a model but the elements of its constants.
func skeleton(m *model.Model) (list []string) {
	m.Walk(func(g *model.Graph) {
		for _, n := range g.Nodes {
			list = append(list, fmt.Sprint(n, n.Attrs))
			for _, v := range n.Inputs {
				if v != nil {
					list = append(list, "  "+v.Name)
				}
			}
		}
		for _, v := range g.Consts {
			list = append(list, fmt.Sprint(v.Name, v.Const.DType, v.Const.Shape))
		}
	})
	return list
}

// face are the names and element types of a graph's inputs and outputs.
func face(g *model.Graph) (list []string) {
	for _, v := range slices.Concat(g.Inputs, g.Outputs) {
		if v.Const == nil {
			list = append(list, v.Name)
		}
	}
	return list
}

func (s Suite) equal(t *testing.T, x *subject) {
	var all [][]byte
	for _, backend := range []tensor.Backend{cpu.New(1), cpu.New(3), tensor.Reference{}} {
		f := x.open(t, x.path, x.o)
		x.folded(t, f)
		w := x.write(t, f, backend)
		var bytes []byte
		for _, p := range x.open(t, w.path, w.o).Inputs() {
			bytes = append(bytes, Read(t, p)...)
		}
		all = append(all, bytes)
	}
	if !bytes.Equal(all[0], all[1]) || !bytes.Equal(all[0], all[2]) {
		t.Errorf("seed %d: one model became different files", x.seed)
	}
}

// damaged opens, folds and writes files that were cut, flipped or spliced. Whatever they are by then, there is no panic, an
// error says whose fault it is in one line, and memory stays bounded.
func (s Suite) damaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	models := min(s.Seeds, 8)
	subjects := make([]*subject, models)
	for k := range subjects {
		subjects[k] = s.subject(t, uint64(k))
	}
	for k := range s.Damages {
		x := subjects[k%len(subjects)]
		victim := x.inputs[rng.IntN(len(x.inputs))]
		folder := t.TempDir()
		for _, p := range x.inputs {
			data := x.before[p]
			if p == victim {
				data = damage(rng, data)
			}
			if err := os.WriteFile(filepath.Join(folder, format.Beside(x.path, p)), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		o := x.o
		if len(x.inputs) > 1 {
			o.Weights = filepath.Join(folder, format.Beside(x.path, x.inputs[1]))
		}
		Try(t, filepath.Join(folder, filepath.Base(x.path)), o)
		if t.Failed() {
			t.Fatalf("damage %d of seed %d, %s", k, x.seed, filepath.Base(victim))
		}
	}
}

// Fuzz opens, folds and writes files of any bytes under a name, beginning with models that are generated from seeds.
func Fuzz(f *testing.F, generate Generator, name string, o format.Options, seeds ...uint64) {
	for _, seed := range seeds {
		path, _, err := generate(seed, f.TempDir())
		if err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		Try(t, path, o)
	})
}

// damage is a copy of a file's bytes, cut, flipped, spliced or with another number somewhere.
func damage(rng *rand.Rand, data []byte) []byte {
	data = slices.Clone(data)
	if len(data) == 0 {
		return data
	}
	at := rng.IntN(len(data))
	switch rng.IntN(6) {
	case 0:
		return data[:at]
	case 1:
		data[at] ^= 1 << rng.IntN(8)
	case 2: // a length or a count
		for k := at; k < min(at+1+rng.IntN(8), len(data)); k++ {
			data[k] = []byte{0, 1, 0x7f, 0x80, 0xff}[rng.IntN(5)]
		}
	case 3:
		from := rng.IntN(len(data))
		n := min(rng.IntN(64), len(data)-from)
		return slices.Insert(data, at, slices.Clone(data[from:from+n])...)
	case 4:
		return slices.Delete(data, at, min(at+1+rng.IntN(64), len(data)))
	default: // a digit where text has one
		for k := at; k < len(data); k++ {
			if data[k] >= '0' && data[k] <= '9' {
				return slices.Concat(data[:k], []byte(strings.Repeat("9", 1+rng.IntN(20))), data[k+1:])
			}
		}
	}
	return data
}

// maxDamaged is the memory that opening, folding and writing a small damaged file may allocate.
const maxDamaged = 1 << 30

// Try opens a model, folds it, with and without normalisations that stay, and writes it, whatever it is.
func Try(t testing.TB, path string, o format.Options) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := try(path, o)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > maxDamaged {
		t.Errorf("%d MB were allocated", used>>20)
	}
	var overflow *format.OverflowError
	switch {
	case err == nil || errors.As(err, &overflow):
	case !errors.Is(err, format.ErrCorrupt) && !errors.Is(err, format.ErrLimit) && !errors.Is(err, format.ErrUnread) && !errors.Is(err, format.ErrOutside) && !errors.Is(err, os.ErrNotExist):
		t.Errorf("%v: it does not say whose fault it is", err)
	case strings.Contains(err.Error(), "\n"): // names may be long: the run cuts what it prints
		t.Errorf("%q is not one line", err)
	}
}

func try(path string, o format.Options) error {
	for _, neutralize := range []bool{false, true} {
		if err := tryOnce(path, o, fold.Options{Neutralize: neutralize}); err != nil {
			return err
		}
	}
	_, err := format.Files(context.Background(), path, o)
	return err
}

func tryOnce(path string, o format.Options, how fold.Options) error {
	f, err := format.Open(context.Background(), path, o)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := fold.Fold(context.Background(), f.Model(), how); err != nil {
		return err
	}
	_, err = f.Write(context.Background(), &discard{}, tensor.Reference{})
	return err
}

// discard is an output that keeps nothing.
type discard struct{}

func (*discard) Create(string) (format.OutputFile, error) { return &discard{}, nil }
func (*discard) Write(p []byte) (int, error)              { return len(p), nil }
func (*discard) WriteAt(p []byte, _ int64) (int, error)   { return len(p), nil }
func (*discard) Seek(offset int64, _ int) (int64, error)  { return offset, nil }
func (*discard) Close() error                             { return nil }

// Written folds a model and returns the path of what was written, in a folder of its own.
func Written(t *testing.T, path string, o format.Options) string {
	t.Helper()
	x := &subject{path: path, o: o}
	f := x.open(t, path, o)
	x.inputs = f.Inputs()
	x.folded(t, f)
	return x.write(t, f, cpu.New(1)).path
}
