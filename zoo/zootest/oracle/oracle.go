// Package oracle finds what tests are compared with: programs and files that zoofold does not bring along; and how large
// the environment wants tests to be.
package oracle

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Python is a Python that has these modules: $PYTHON, or the one that make test sets up. Without one the test is skipped;
// where CI is set, which runs make test, it fails. Short tests, under the race detector, have no oracles.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("no oracles in short tests")
	}
	for _, path := range []string{os.Getenv("PYTHON"), filepath.Join(root(t), ".cache/venv/bin/python")} {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path)
		if err == nil && exec.Command(abs, "-c", "import "+strings.Join(modules, ", ")).Run() == nil {
			return abs
		}
	}
	missing := "no Python with " + strings.Join(modules, ", ") + ": make test sets one up"
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// Torch is a Python that has these modules: $TORCH_PYTHON, which make torch sets. Without one the test is skipped.
func Torch(t testing.TB, modules ...string) string {
	t.Helper()
	path, list := os.Getenv("TORCH_PYTHON"), strings.Join(modules, ", ")
	if path == "" || exec.Command(path, "-c", "import "+list).Run() != nil {
		t.Skipf("TORCH_PYTHON is no Python with %s: make torch sets one up", list)
	}
	return path
}

// Shared is a file or folder below the folder shared that stands beside a developer's checkout, and CI's. Where it does
// not the test is skipped.
func Shared(t testing.TB, path string) string {
	t.Helper()
	full := filepath.Join(root(t), "..", "shared", filepath.FromSlash(path))
	if _, err := os.Stat(full); err != nil {
		t.Skipf("shared/%s is not beside this checkout", path)
	}
	return full
}

// root is the folder of the module that the test's package is in.
func root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		above := filepath.Dir(folder)
		if above == folder {
			t.Fatal("the test is in no module")
		}
		folder = above
	}
}

// Setting is a number from the environment.
func Setting(t testing.TB, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
