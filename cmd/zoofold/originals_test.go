//go:build linux && amd64

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Of the real program, no system call that writes names a path below the zoo, whatever the manifest says.
func TestOriginals_NoSystemCallThatWritesNamesAPathBelowTheZoo(t *testing.T) {
	rng, _ := chance(t)
	s := newSiege(t, rng, 5)
	for _, name := range s.names {
		s.place(s.editions[0], name)
	}
	before := s.originals()
	if err := os.Symlink("zoo", filepath.Join(s.folder, "linked")); err != nil {
		t.Fatal(err)
	}
	wrote := 0
	for _, c := range []struct {
		out, output string
		args        []string
	}{
		{"out", "", nil},
		{"out", "", []string{"-force"}},
		{"out", "", []string{"-force", "-verify", "parity,algebra", "-report", filepath.Join(s.folder, "reports")}},
		{"out", "", []string{"-prune"}},
		{"out", "", []string{"-dry-run"}},
		{"out", "", []string{"-report", s.workshop.zoo()}},
		{"out", "", []string{"-metrics", filepath.Join(s.workshop.zoo(), "mobile", "000", "model.onnx")}},
		{".", "", nil},
		{".", "zoo/{dir}/{name}", nil},
		{".", "linked/{dir}/{name}", nil},
		{"zoo", "", nil},
		{"zoo/new", "", nil},
		{"linked", "{dir}/{stem}.folded.onnx", nil},
		{"linked/new", "", nil},
	} {
		t.Run(fmt.Sprintf("out %s, output %q, %v", c.out, c.output, c.args), func(t *testing.T) {
			text := "version: 1\nzoo: zoo\nout: " + c.out + "\nmodels:\n  - match: '**/*.onnx'\n    verify: none\n"
			if c.output != "" {
				text += "    output: '" + c.output + "'\n"
			}
			if err := os.WriteFile(s.manifest(), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
			var lock sync.Mutex
			o := s.supervise(func(call systemCall) syscall.Errno {
				lock.Lock()
				defer lock.Unlock()
				if call.changes {
					wrote++
					for _, zoo := range []string{"zoo", "linked"} {
						if call.path == zoo || strings.HasPrefix(call.path, zoo+"/") {
							t.Errorf("%v", call)
						}
					}
				}
				return proceed
			}, c.args...)
			if o.exit == 125 {
				t.Skipf("no system call can be watched here: %s", o.stderr)
			}
			if !maps.Equal(before, s.originals()) {
				t.Error("the originals changed")
			}
		})
	}
	if wrote == 0 && !t.Failed() {
		t.Error("nothing was written at all")
	}
}
