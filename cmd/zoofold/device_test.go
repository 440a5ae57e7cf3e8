//go:build cuda && linux && amd64 && cgo

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
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

// foldOn runs the program with -device over a zoo, in an environment, and returns the outputs by path, what it said, and its
// exit code.
func foldOn(t *testing.T, zoo, device string, env ...string) (outputs map[string][]byte, text string, exit int) {
	t.Helper()
	return foldBy(t, zoo, "  - match: '**/*.onnx'\n", []string{"-device", device}, env...)
}

// foldBy is foldOn with rules and flags of one's own.
func foldBy(t *testing.T, zoo, rules string, flags []string, env ...string) (outputs map[string][]byte, text string, exit int) {
	t.Helper()
	path, driver := program(t)
	dir := t.TempDir()
	out, manifest := filepath.Join(dir, "out"), filepath.Join(dir, "models.yaml")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, "version: 1\nzoo: %q\nout: %q\nmodels:\n%s", zoo, out, rules), 0o666); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, append(flags, "-manifest", manifest, "-verify", "parity", "-j", "2")...)
	c.Env = append(append(os.Environ(), "ZOOFOLD_LIBCUDA="+driver, "ZOOFOLD_CUDA_SMALLEST=1"), env...)
	said, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
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
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%v: %s", err, said)
	}
	return outputs, string(said), c.ProcessState.ExitCode()
}

// sameBytes folds a zoo on the CPU and on the device, and returns what the latter run said.
func sameBytes(t *testing.T, zoo string, env ...string) string {
	t.Helper()
	onCPU, said, exit := foldOn(t, zoo, "cpu")
	if exit != exitDone {
		t.Fatalf("exit %d: %s", exit, said)
	}
	onDevice, text, exit := foldOn(t, zoo, "cuda", env...)
	if exit != exitDone || !strings.Contains(text, "; cuda: ") || strings.Contains(text, "emulator: a context ends with") {
		t.Fatalf("exit %d: %s", exit, text)
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
	return text
}

// onDevice is sameBytes where the device does it all.
func onDevice(t *testing.T, zoo string) {
	t.Helper()
	if text := sameBytes(t, zoo); strings.Contains(text, "the CPU took over") {
		t.Fatalf("the device did not do it: %s", text)
	}
}

func TestDevice_WritesTheBytesOfTheCPU(t *testing.T) {
	t.Run("generated models", func(t *testing.T) {
		onDevice(t, filepath.Join(generated(t, 10), "zoo"))
	})
	t.Run("published models", func(t *testing.T) {
		zoo, err := filepath.Abs("../../.cache/zoo/speechmos")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(zoo); err != nil {
			t.Skip("make fetch has brought no published models")
		}
		if _, driver := program(t); !strings.HasSuffix(driver, emulator) { // all of them take hours on the emulator
			onDevice(t, filepath.Dir(zoo))
			return
		}
		onDevice(t, zoo)
		onDevice(t, filepath.Join(filepath.Dir(zoo), "rapidocr-onnxruntime"))
	})
	t.Run("conformance cases", func(t *testing.T) {
		shared, python := kit(t)
		edge := filepath.Join(t.TempDir(), "edge")
		if text, err := exec.Command(python, filepath.Join(shared, "make_edge.py"), edge).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		onDevice(t, edge)
	})
}

func TestDevice_RequestedButAbsentIsWrongUsage(t *testing.T) {
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

const emulator = "bin/libcuda.so.1"

// emulated skips unless the driver of these tests is the emulator, which fails on demand.
func emulated(t *testing.T) {
	t.Helper()
	if _, driver := program(t); !strings.HasSuffix(driver, emulator) {
		t.Skip("for the emulator alone")
	}
}

func TestDevice_FailureChangesNoByteOfOutputs(t *testing.T) {
	emulated(t)
	zoo := filepath.Join(generated(t, 10), "zoo")
	for fault, note := range map[string]string{
		"alloc=12": "the CPU took over", "launch=3": "was started anew", "lost=9": "was started anew", "lost=9+": "was lost twice", "devices=2,lost=9+": "was lost twice",
	} {
		if text := sameBytes(t, zoo, "ZOOFOLD_EMULATOR="+fault); !strings.Contains(text, note) {
			t.Errorf("%s: the run does not say %q: %s", fault, note, text)
		}
	}
}

func TestDevice_WrongBitFailsTheModel(t *testing.T) {
	emulated(t)
	outputs, text, exit := foldOn(t, filepath.Join(generated(t, 10), "zoo"), "cuda", "ZOOFOLD_EMULATOR=flip=1")
	mismatch := regexp.MustCompile(`(?m)^(\S+\.onnx) .*parity: tensor "\w+": .*element 0 \(float32, .* has ([0-9a-f]{8}), the reference ([0-9a-f]{8})$`).FindStringSubmatch(text)
	if exit != exitFailed || mismatch == nil || mismatch[2] == mismatch[3] {
		t.Fatalf("exit %d: %s", exit, text)
	}
	if outputs[mismatch[1]] != nil || len(outputs) != 9 {
		t.Errorf("%d of ten models are in the zoo, and of %s %d bytes", len(outputs), mismatch[1], len(outputs[mismatch[1]]))
	}
}

func TestDevice_IsChosenByEachRule(t *testing.T) {
	emulated(t)
	zoo := filepath.Join(generated(t, 10), "zoo")
	const rules = "  - match: 'dense/*'\n    device: cpu\n  - match: '**/*.onnx'\n    device: cuda\n"
	const wrong = "ZOOFOLD_EMULATOR=flip=1+"                                              // all that the device does is refused
	for device, folded := range map[string]int{"": 2, "cpu": 10, "cuda": 0, "auto": 10} { // auto: there is too little to do for a device
		var flags []string
		if device != "" {
			flags = []string{"-device", device}
		}
		if outputs, text, _ := foldBy(t, zoo, rules, flags, wrong); len(outputs) != folded {
			t.Errorf("-device %q: %d models are folded, want %d: %s", device, len(outputs), folded, text)
		}
	}
	if _, text, exit := foldBy(t, zoo, "  - match: '**/*.onnx'\n    device: cuda\n", nil, "ZOOFOLD_EMULATOR=devices=0"); exit != exitUsage || !strings.Contains(text, "no device") {
		t.Errorf("exit %d: %s", exit, text)
	}
}

// The dynamic linker says what it loads.
func TestDevice_DriverIsLoadedOnlyWhereAllowed(t *testing.T) {
	_, driver := program(t)
	zoo := filepath.Join(generated(t, 10), "zoo")
	for device, loads := range map[string]bool{"cpu": false, "auto": true, "cuda": true} {
		_, text, exit := foldOn(t, zoo, device, "LD_DEBUG=files")
		if exit != exitDone || !strings.Contains(text, "calling init: ") || strings.Contains(text, driver) != loads {
			t.Errorf("-device %s: exit %d, loads the driver: %v", device, exit, !loads)
		}
	}
	_, text, exit := foldBy(t, zoo, "  - match: '**/*.onnx'\n", []string{"-device", "cuda", "-dry-run"}, "LD_DEBUG=files")
	if exit != exitDone || !strings.Contains(text, "calling init: ") || strings.Contains(text, driver) {
		t.Errorf("a dry run: exit %d, or it loads the driver", exit)
	}
	path, _ := program(t)
	for args, loads := range map[string]bool{"-version": false, "-version -v": true} {
		c := exec.Command(path, strings.Fields(args)...)
		c.Env = append(os.Environ(), "ZOOFOLD_LIBCUDA="+driver, "LD_DEBUG=files")
		var text bytes.Buffer
		c.Stderr = &text
		if err := c.Run(); err != nil || !strings.Contains(text.String(), "calling init: ") || strings.Contains(text.String(), driver) != loads {
			t.Errorf("%s: %v, loads the driver: %v", args, err, !loads)
		}
	}
}

// A driver in the current folder runs if somebody names it, and not because the search path means that folder.
func TestDevice_DriverIsNotSearchedInTheCurrentFolder(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	path, _ := program(t)
	folder := t.TempDir()
	mark := filepath.Join(folder, "ran")
	source := fmt.Sprintf("#include <stdio.h>\n__attribute__((constructor)) static void run(void) { FILE *f = fopen(%q, \"w\"); if (f) fclose(f); }\n", mark)
	if err := os.WriteFile(filepath.Join(folder, "hostile.c"), []byte(source), 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", filepath.Join(folder, "libcuda.so.1"), filepath.Join(folder, "hostile.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	zoo := filepath.Join(generated(t, 1), "zoo")
	manifest := filepath.Join(folder, "models.yaml")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, "version: 1\nzoo: %q\nout: out\nmodels:\n  - match: '**/*.onnx'\n", zoo), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		env  []string
		runs bool
	}{
		{[]string{"ZOOFOLD_LIBCUDA=libcuda.so.1"}, true},
		{[]string{"ZOOFOLD_LIBCUDA="}, false},
		{[]string{"ZOOFOLD_LIBCUDA=", "LD_LIBRARY_PATH="}, false},
		{[]string{"ZOOFOLD_LIBCUDA=", "LD_LIBRARY_PATH=:"}, false},
		{[]string{"ZOOFOLD_LIBCUDA=", "LD_LIBRARY_PATH=/usr/lib:"}, false},
		{[]string{"ZOOFOLD_LIBCUDA=", "LD_LIBRARY_PATH=."}, false},
	} {
		for _, args := range [][]string{{"-version"}, {"-version", "-v"}, {"-manifest", manifest, "-dry-run"}, {"-manifest", manifest, "-force", "-verify", "parity"}} {
			c := exec.Command(path, args...)
			c.Dir = folder
			c.Env = append(append(os.Environ(), "ONNXRUNTIME_LIB=none"), test.env...)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%q %q: %v: %s", test.env, args, err, out)
			}
			_, err := os.Stat(mark)
			loads := !slices.Contains(args, "-dry-run") && len(args) > 1
			if ran := err == nil; ran != (test.runs && loads) {
				t.Errorf("%q %q: the driver in the current folder runs: %v", test.env, args, ran)
			}
			if err := os.RemoveAll(mark); err != nil {
				t.Fatal(err)
			}
		}
	}
}
