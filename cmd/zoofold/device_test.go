//go:build cuda && linux && amd64 && cgo

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// program is the zoofold that make build made, and driver the CUDA driver of these tests: the emulator, or the one that
// ZOOFOLD_LIBCUDA names.
func program(t *testing.T) (path, driver string) {
	path, err := filepath.Abs("../../bin/zoofold")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "-version").Output()
	if err != nil || strings.Contains(string(out), "CUDA: not in this build") {
		t.Fatalf("no program with CUDA: make build: %v", err)
	}
	if driver = os.Getenv("ZOOFOLD_LIBCUDA"); driver == "" {
		if driver, err = filepath.Abs("../../bin/libcuda.so.1"); err != nil {
			t.Fatal(err)
		}
	}
	return path, driver
}

// foldOn runs the program over a zoo and returns the outputs by path.
func foldOn(t *testing.T, zoo, device string) (outputs map[string][]byte, stdout string) {
	t.Helper()
	path, driver := program(t)
	dir := t.TempDir()
	out, manifest := filepath.Join(dir, "out"), filepath.Join(dir, "models.yaml")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, "version: 1\nzoo: %q\nout: %q\nmodels:\n  - match: '**/*.onnx'\n", zoo, out), 0o666); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "-manifest", manifest, "-device", device, "-verify", "parity", "-j", "2")
	c.Env = append(os.Environ(), "ZOOFOLD_LIBCUDA="+driver, "ZOOFOLD_CUDA_SMALLEST=1")
	text, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	outputs = map[string][]byte{}
	err = filepath.WalkDir(out, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(p, ".zoofold") || strings.HasPrefix(d.Name(), "report.") {
			return err
		}
		rel, _ := filepath.Rel(out, p)
		outputs[rel], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return outputs, string(text)
}

func sameBytes(t *testing.T, zoo string) {
	onCPU, _ := foldOn(t, zoo, "cpu")
	onDevice, text := foldOn(t, zoo, "cuda")
	if !strings.Contains(text, "; cuda: ") || strings.Contains(text, "the CPU took over") {
		t.Fatalf("the device did not do it: %s", text)
	}
	if len(onCPU) == 0 || len(onCPU) != len(onDevice) {
		t.Fatalf("%d outputs on the CPU, %d on the device", len(onCPU), len(onDevice))
	}
	for path, data := range onCPU {
		if !bytes.Equal(data, onDevice[path]) {
			t.Errorf("%s: other bytes on the device", path)
		}
	}
	t.Logf("%d outputs are the same", len(onCPU))
}

func TestSameBytesOnTheDevice(t *testing.T) {
	t.Run("generated models", func(t *testing.T) {
		zoo := t.TempDir()
		if _, err := zootest.Write(zoo, 10, 8, 3); err != nil {
			t.Fatal(err)
		}
		sameBytes(t, zoo)
	})
	t.Run("published models", func(t *testing.T) {
		zoo, err := filepath.Abs("../../.cache/zoo/speechmos")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(zoo); err != nil {
			t.Skip("make fetch has brought no published models")
		}
		sameBytes(t, zoo)
		sameBytes(t, filepath.Join(filepath.Dir(zoo), "rapidocr-onnxruntime"))
	})
	t.Run("conformance cases", func(t *testing.T) {
		shared, python := kit(t)
		edge := filepath.Join(t.TempDir(), "edge")
		if text, err := exec.Command(python, filepath.Join(shared, "make_edge.py"), edge).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		sameBytes(t, edge)
	})
}

func TestADeviceThatIsAskedForAndNotThereIsWrongUsage(t *testing.T) {
	path, _ := program(t)
	manifest := filepath.Join(t.TempDir(), "models.yaml")
	if err := os.WriteFile(manifest, []byte("version: 1\nzoo: zoo\nout: out\nmodels:\n  - match: '**/*.onnx'\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "-manifest", manifest, "-device", "cuda")
	c.Env = append(os.Environ(), "ZOOFOLD_LIBCUDA=/nowhere/libcuda.so.1")
	text, err := c.CombinedOutput()
	if c.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(text), "/nowhere/libcuda.so.1") {
		t.Errorf("%v: %s", err, text)
	}
}
