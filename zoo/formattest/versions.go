package formattest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"

	_ "github.com/zoofold/zoofold/zoo/format/metal" // its exporter is tried on every format's models
	_ "github.com/zoofold/zoofold/zoo/format/onnx"
)

// Update says that golden files are written anew.
var Update = flag.Bool("update", false, "write golden files anew; testdata/versions where versions were raised")

// versionsFile has, for each version of what makes files, the hash of the files that it makes of the suite's models.
const versionsFile = "testdata/versions"

// versions checks that other output bytes come with another version: a run takes an output for up to date as long as the
// versions of folding, of its format and of its exporters have not changed.
func (s Suite) versions(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the hashes are those of amd64: other processors round sums of products otherwise")
	}
	now := map[string]string{}
	hashes := map[string]hash.Hash{}
	note := func(version, folder string) {
		if hashes[version] == nil {
			hashes[version] = sha256.New()
		}
		for name, data := range everything(t, folder) {
			fmt.Fprintf(hashes[version], "%s %d\n%s", name, len(data), data)
		}
	}
	for seed := range uint64(8) {
		for _, neutralize := range []bool{false, true} {
			x := s.subject(t, seed)
			x.fold.Neutralize = neutralize
			f := x.open(t, x.path, x.o)
			x.folded(t, f)
			w := x.write(t, f, cpu.New(1))
			of, err := format.Find(x.path)
			if err != nil {
				t.Fatal(err)
			}
			note(fmt.Sprintf("fold@%s %s@%d", fold.Version, of.Name, of.Version), filepath.Dir(w.path))
			for _, name := range format.Exporters() {
				e, err := format.FindExporter(name)
				if err != nil {
					t.Fatal(err)
				}
				out := Folder{t.TempDir(), "model" + e.Suffix}
				rel := ""
				if e.Main != "" {
					rel = out.Name
				}
				if err := e.Export(t.Context(), x.open(t, w.path, w.o).Model(), out, rel, cpu.New(1)); err == nil {
					note(fmt.Sprintf("fold@%s %s@%d to %s@%d", fold.Version, of.Name, of.Version, name, e.Version), out.Path)
				}
			}
		}
	}
	for version, hash := range hashes {
		now[version] = hex.EncodeToString(hash.Sum(nil))
	}
	known := map[string]string{}
	data, err := os.ReadFile(versionsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		version, hash, _ := strings.Cut(strings.TrimSpace(line), " = ")
		known[version] = hash
	}
	for _, version := range slices.Sorted(maps.Keys(now)) {
		switch hash, was := known[version]; {
		case was && hash != now[version]:
			t.Errorf("%s writes other bytes than it did: raise its version (format.Format, format.Exporter or, if plans are others, fold.Version), then run go test -update", version)
		case !was && !*Update:
			t.Errorf("%s is not in %s: run go test -update", version, versionsFile)
		}
	}
	if *Update && !t.Failed() {
		var text strings.Builder
		for _, version := range slices.Sorted(maps.Keys(now)) {
			fmt.Fprintf(&text, "%s = %s\n", version, now[version])
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(versionsFile), 0o777), os.WriteFile(versionsFile, []byte(text.String()), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
}

// everything is all files below a folder, in the order of their paths.
func everything(t *testing.T, folder string) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, _ := filepath.Rel(folder, path)
			if !yield(filepath.ToSlash(rel), Read(t, path)) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
