//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/gpu/figures"
)

// kit is a kit whose programs are shell scripts.
func kit(t *testing.T, zoofold, tests string) string {
	t.Helper()
	folder := t.TempDir()
	for name, script := range map[string]string{"zoofold": zoofold, "gpu.test": tests} {
		path := filepath.Join(folder, "bin", name)
		if err := write(path, []byte("#!/bin/sh\n"+script)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := smallZoo(filepath.Join(folder, "models")); err != nil {
		t.Fatal(err)
	}
	return folder
}

// checked checks with a kit, and returns the report that it wrote.
func checked(t *testing.T, kit string, limit time.Duration) (failed bool, r figures.Report, out string) {
	t.Helper()
	t.Setenv("ZOOFOLD_LIBCUDA", "/somewhere/libcuda.so.1")
	out = filepath.Join(t.TempDir(), "out")
	failed, err := check(context.Background(), kit, out, limit)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "figures.json"))
	if err := errors.Join(err, json.Unmarshal(text, &r)); err != nil {
		t.Fatal(err)
	}
	return failed, r, out
}

const aDevice = `[ "$ZOOFOLD_TEST" != device ] || { echo '{"name": "emulator", "driver": "1.0", "free": 1}'; exit 0; }
`

func TestKit_EndsInTimeWhenProgramsHang(t *testing.T) {
	// The grandchild ignores what is asked of it, and holds the output open.
	const hang = "(trap '' TERM INT HUP; while :; do sleep 100; done) &\nwait\n"
	failed, r, _ := checked(t, kit(t, hang, hang), 2*time.Second)
	if !failed || len(r.Steps) != len((&checker{}).steps()) {
		t.Fatalf("failed: %v, %d steps", failed, len(r.Steps))
	}
	ends := map[string]int{}
	for _, s := range r.Steps {
		ends[s.Result]++
	}
	if ends[figures.Passed] > 0 || ends[figures.NotRun] == 0 {
		t.Errorf("%v", ends)
	}
}

func TestSteps_GoOnAfterAFailure(t *testing.T) {
	const tests = aDevice + `case "$*" in
*Measure_Copies*) echo '{"what": "copies", "seconds": 1}' >"$ZOOFOLD_GPU_FIGURES"; echo '--- PASS: TestMeasure_Copies (0.00s)' ;;
*LargeTensors*) echo '--- FAIL: TestLargeTensors (0.00s)'; echo '    card_test.go:1: wrong'; exit 1 ;;
*Measure_Sums*) echo '{"what": "sum", "seconds": 2}' >"$ZOOFOLD_GPU_FIGURES"; exit 2 ;;
*KernelThatIsStopped*) echo '--- SKIP: Test (0.00s)'; echo '    card_test.go:1: no limit' ;;
esac
`
	failed, r, _ := checked(t, kit(t, "echo zoofold 1.2.3; exit 1", tests), time.Minute)
	result := map[string]figures.Step{}
	for _, s := range r.Steps {
		result[s.Name] = s
	}
	for name, want := range map[string]string{
		"driver and device": figures.Passed, "models on the CPU": figures.Failed, "large tensors": figures.Failed, "measured: copies": figures.Passed,
		"measured: sums": figures.Failed, "a kernel that is stopped": figures.NotRun, "bounds of memory": figures.Failed,
	} {
		if s := result[name]; s.Result != want || want == figures.Failed && s.Said == "" {
			t.Errorf("%s: %+v, want %s", name, s, want)
		}
	}
	if said := result["large tensors"].Said; !strings.Contains(said, "wrong") {
		t.Errorf("what was wrong is not told: %s", said)
	}
	// What was measured before a test failed counts.
	if !failed || len(r.Figures) != 2 || r.Figures[0].What != "copies" || r.Figures[1].What != "sum" {
		t.Errorf("failed: %v, %+v", failed, r.Figures)
	}
}

func TestSteps_WithoutDriverRunTheRest(t *testing.T) {
	_, r, _ := checked(t, kit(t, "echo zoofold 1.2.3; exit 1", "echo 'no CUDA: no such file'; exit 1"), time.Minute)
	if r.NoDevice != "no CUDA: no such file" {
		t.Errorf("%q", r.NoDevice)
	}
	for _, s := range r.Steps {
		device := strings.Contains(s.Name, "device") || s.Name == "bounds of memory"
		if (s.Result == figures.NotRun && strings.Contains(s.Said, "no such file")) != device && !strings.HasPrefix(s.Name, "measured") && s.Result != figures.NotRun {
			t.Errorf("%+v", s)
		}
	}
	if r.Steps[3].Result != figures.Failed { // on the CPU, where this zoofold fails
		t.Errorf("%+v", r.Steps[3])
	}
}

func TestLog_StaysBelowOneMegabyte(t *testing.T) {
	const loud = "i=0; while [ $i -lt 20000 ]; do echo 'a line of some sixty characters, over and over again, without end'; i=$((i+1)); done; exit 1"
	_, _, out := checked(t, kit(t, loud, aDevice+loud), time.Minute)
	info, err := os.Stat(filepath.Join(out, "log.txt"))
	if err != nil || info.Size() >= 1<<20 || info.Size() < 100_000 {
		t.Errorf("%v, %v", err, info)
	}
}

func TestCompare_FindsFoldersThatDiffer(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	same := func() error { _, _, err := compare(one, other); return err }
	if same() == nil {
		t.Error("nothing was compared")
	}
	for _, folder := range []string{one, other} {
		if err := errors.Join(write(filepath.Join(folder, "a", "b"), make([]byte, 3<<20)), write(filepath.Join(folder, "report.json"), []byte(folder))); err != nil {
			t.Fatal(err)
		}
	}
	if n, bytes, err := compare(one, other); n != 1 || bytes != 3<<20 || err != nil {
		t.Error(n, bytes, err)
	}
	changed := make([]byte, 3<<20)
	changed[2<<20+5] = 1
	for name, data := range map[string][]byte{"a bit": changed, "the length": make([]byte, 3<<20+1)} {
		if err := write(filepath.Join(other, "a", "b"), data); err != nil || same() == nil {
			t.Errorf("%s: not found: %v", name, err)
		}
	}
	if err := errors.Join(write(filepath.Join(other, "a", "b"), make([]byte, 3<<20)), write(filepath.Join(other, "c"), nil)); err != nil || same() == nil {
		t.Errorf("another file: not found: %v", err)
	}
}

func TestSmallZoo_HasEveryFormatAndTypeReproducibly(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	if err := errors.Join(smallZoo(one), smallZoo(other)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := compare(one, other); err != nil {
		t.Error(err)
	}
	text, err := present(one)
	for _, r := range rules {
		if err != nil || r.ending != ".h5" && r.ending != ".keras" && !strings.Contains(text, r.text) {
			t.Errorf("%v: no %s below %q", err, r.ending, r.below)
		}
	}
	if !strings.Contains(text, ".keras") && !strings.Contains(text, ".h5") {
		t.Error("no Keras model")
	}
}

func TestLargeZoo_HasTheRequestedSize(t *testing.T) {
	bytes, models, err := largeZoo(context.Background(), t.TempDir(), 1<<20)
	if err != nil || bytes < 1<<20 || bytes > 4<<20 || models < 1 {
		t.Errorf("%v: %d bytes, %d models", err, bytes, models)
	}
}
