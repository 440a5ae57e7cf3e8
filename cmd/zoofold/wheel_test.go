package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// A wheel of this machine's program, installed with its dependency into an environment that has nothing: the program folds and
// predicts there, found by its path alone.
func TestWheel_HasTheProgramAndPredictions(t *testing.T) {
	if testing.Short() {
		t.Skip("a long test")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no Python")
	}
	platform := map[string]string{"linux/amd64": "linux_x86_64", "linux/arm64": "linux_aarch64"}[runtime.GOOS+"/"+runtime.GOARCH]
	if platform == "" {
		t.Skip("wheels are tried on Linux")
	}
	folder, program := t.TempDir(), realProgram(t)
	run := func(name string, args ...string) (string, error) {
		c := exec.Command(name, args...)
		c.Dir = folder
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, "ONNXRUNTIME_LIB=") && !strings.HasPrefix(e, "VIRTUAL_ENV=") {
				c.Env = append(c.Env, e)
			}
		}
		c.Env = append(c.Env, "HOME="+folder) // no environment of a user
		out, err := c.CombinedOutput()
		return string(out), err
	}
	build := exec.Command(python, "build/wheel.py", "0.0.1", program, program, platform, "LICENSE", folder)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wheel := filepath.Join(folder, "zoofold-0.0.1-py3-none-"+platform+".whl")
	if out, err := run(python, "-m", "venv", "env"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	inside := filepath.Join(folder, "env", "bin")
	if out, err := run(filepath.Join(inside, "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel); err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("pip installs nothing here: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := zootest.Write(filepath.Join(folder, "zoo"), 1, 4, 2); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command []string
		want    string
	}{
		{[]string{filepath.Join(inside, "zoofold"), "version"}, "predictions: ONNX Runtime"},
		{[]string{filepath.Join(inside, "python"), "-m", "zoofold", "version"}, "env/lib/python3"},
		{[]string{filepath.Join(inside, "python"), "-m", "zoofold", "fold", "zoo/mobile/00000.onnx", "-o", "out/"}, "max difference"},
		{[]string{filepath.Join(inside, "zoofold"), "verify", "zoo/mobile/00000.onnx", "out/00000.onnx"}, "predictions passed"},
	} {
		if out, err := run(c.command[0], c.command[1:]...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%q: %v: %s", c.command, err, out)
		}
	}
	// The exit code is the program's.
	if out, err := run(filepath.Join(inside, "python"), "-m", "zoofold", "fold"); exitCode(err) != exitUsage {
		t.Errorf("wrong usage: %v: %s", err, out)
	}
}
