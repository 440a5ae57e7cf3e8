package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// kit is the conformance kit beside a developer's checkout, and CI's, and a Python that can run it.
func kit(t *testing.T) (folder, python string) {
	return oracle.Shared(t, "conformance"), oracle.Python(t, "numpy", "onnx", "onnxruntime")
}

// foldAll folds a folder of models with all checks that can run here.
func foldAll(t *testing.T, zoo, out string, args ...string) {
	manifest := filepath.Join(t.TempDir(), "models.yaml")
	text := fmt.Sprintf("version: 1\nzoo: %q\nout: %q\nmodels:\n  - match: '**/*.onnx'\n", zoo, out)
	if err := os.WriteFile(manifest, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if libraries, _ := filepath.Glob("../../.cache/onnxruntime/libonnxruntime*"); len(libraries) > 0 && os.Getenv("ONNXRUNTIME_LIB") == "" {
		args = append(args, "-onnxruntime", libraries[0])
	}
	var stdout, stderr bytes.Buffer
	if code := command(append([]string{"-manifest", manifest}, args...), &stdout, &stderr); code != exitDone && code != run.ExitUnproven { // ONNX Runtime does not run every case
		t.Fatalf("exit %d:\n%s%s", code, stdout.String(), stderr.String())
	}
	t.Log(stdout.String())
}

var verdicts = regexp.MustCompile(`ideal (\d+) partial (\d+) BROKEN (\d+) missing (\d+)`)

// judge runs originals and folded models in ONNX Runtime, by themselves and apart from zoofold's own checks.
func judge(t *testing.T, originals, folded string) (ideal, partial string) {
	shared, python := kit(t)
	out, err := exec.Command(python, filepath.Join(shared, "judge.py"), originals, folded, "--table").CombinedOutput()
	t.Logf("%s", out)
	m := verdicts.FindSubmatch(out)
	if m == nil {
		t.Fatalf("the judge says nothing: %v", err)
	}
	if string(m[3]) != "0" || string(m[4]) != "0" || err != nil {
		t.Errorf("BROKEN %s, missing %s, %v", m[3], m[4], err)
	}
	return string(m[1]), string(m[2])
}

func TestConformance_EdgeCasesAreIdeal(t *testing.T) {
	shared, python := kit(t)
	dir := t.TempDir()
	edge, out := filepath.Join(dir, "edge"), filepath.Join(dir, "folded")
	if text, err := exec.Command(python, filepath.Join(shared, "make_edge.py"), edge).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	foldAll(t, edge, out)
	if ideal, partial := judge(t, edge, out); partial != "0" {
		t.Errorf("%s ideal, %s partial", ideal, partial)
	}
}

func TestConformance_PublishedModelsPredictTheSame(t *testing.T) {
	kit(t)
	paths, _ := filepath.Glob("../../.cache/zoo/*/*/*.onnx")
	more, _ := filepath.Glob("../../.cache/zoo/*/*.onnx")
	deeper, _ := filepath.Glob("../../.cache/zoo/*/*/*/*.onnx")
	paths = append(append(paths, more...), deeper...)
	if len(paths) < 5 {
		t.Skip("make fetch has brought no published models")
	}
	dir := t.TempDir()
	zoo, out := filepath.Join(dir, "zoo"), filepath.Join(dir, "folded")
	if err := os.Mkdir(zoo, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ReplaceAll(strings.TrimPrefix(filepath.ToSlash(p), "../../.cache/zoo/"), "/", "__")
		if err := os.Link(abs, filepath.Join(zoo, name)); err != nil {
			data, err := os.ReadFile(abs)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(zoo, name), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	foldAll(t, zoo, out)
	judge(t, zoo, out)
}
