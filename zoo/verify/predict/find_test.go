//go:build cgo && linux

package predict

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put writes an empty file, and its folders.
func put(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(parts...)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	anyVersion = "libonnxruntime.so.1.32.0"
	capi       = "site-packages/onnxruntime/capi/" + anyVersion
)

func TestFind_SearchesFromTheProgramToTheSystem(t *testing.T) {
	root := t.TempDir()
	odd := filepath.Join(root, "a [strange] *name")
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX", "HOME"} {
		t.Setenv(name, filepath.Join(odd, name))
	}
	list := places(filepath.Join(odd, "bin", "zoofold"), root)
	var there []string // each file is nearer than those before
	for _, path := range []string{
		"usr/lib/x86_64-linux-gnu/" + anyVersion, "usr/lib64/" + anyVersion, "usr/lib/" + anyVersion,
		"usr/local/lib/python3.13/dist-packages/onnxruntime/capi/" + anyVersion, "usr/lib/python3/dist-packages/onnxruntime/capi/" + anyVersion,
		"a [strange] *name/HOME/.pyenv/versions/3.13.1/lib/python3.13/" + capi, "a [strange] *name/HOME/.local/lib/python3.13/" + capi,
		"a [strange] *name/CONDA_PREFIX/lib/python3.13/" + capi, "a [strange] *name/VIRTUAL_ENV/lib/python3.13/" + capi,
		"a [strange] *name/lib/python3.13/" + capi, "a [strange] *name/lib/zoofold/" + anyVersion,
	} {
		there = append(there, put(t, root, path))
		if got := first(list); got != there[len(there)-1] {
			t.Errorf("%q is found before %q", got, there[len(there)-1])
		}
	}
	put(t, root, "a [strange] *name/lib/zoofold/libonnxruntime.so.9_providers_shared.so")
	if got := first(list); got != there[len(there)-1] {
		t.Errorf("%q is found, a part of the library", got)
	}
}

func TestFind_IgnoresTheWorkingDirectory(t *testing.T) {
	here := t.TempDir()
	t.Chdir(here)
	for _, path := range []string{
		anyVersion, ".cache/onnxruntime/" + anyVersion, "lib/zoofold/" + anyVersion, "lib/" + anyVersion, "lib/python3.13/" + capi, ".local/lib/python3.13/" + capi,
		"bin/zoofold", "program/.cache/onnxruntime/" + anyVersion,
	} {
		put(t, here, path)
	}
	for _, value := range []string{"", ".", "./", here[len(filepath.Dir(here))+1:] + "/.."} {
		for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX", "HOME"} {
			t.Setenv(name, value)
		}
		for _, program := range []string{"", "zoofold", filepath.Join(here, "program", "bin", "zoofold")} {
			list := places(program, filepath.Join(here, "root"))
			if got := first(list); got != "" {
				t.Errorf("%q, %q: %q is found", value, program, got)
			}
			for _, pattern := range list {
				if !filepath.IsAbs(pattern) {
					t.Errorf("%q, %q: %q is looked for", value, program, pattern)
				}
			}
		}
	}
}

func TestFind_NamedLibraryIsThatFile(t *testing.T) {
	here := t.TempDir()
	t.Chdir(here)
	there, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	put(t, here, "libort.so")
	put(t, here, "other.so")
	t.Setenv(Variable, "other.so")
	if l, err := Find("libort.so"); err != nil || l != (Library{filepath.Join(there, "libort.so"), Flag}) {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := Find(""); err != nil || l != (Library{filepath.Join(there, "other.so"), Variable}) {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestFind_NamedLibraryHasToExist(t *testing.T) {
	folder := t.TempDir()
	missing := filepath.Join(folder, "missing.so")
	for path, why := range map[string]string{missing: missing + ": no such file", folder: folder + " is a folder"} {
		t.Setenv(Variable, path)
		for given, by := range map[string]string{"": Variable, path: Flag} {
			if _, err := Find(given); !errors.Is(err, ErrNamed) || errors.Is(err, ErrNoLibrary) || !strings.Contains(err.Error(), by+": "+why) {
				t.Errorf("%q: %v", given, err)
			}
		}
	}
}

func TestFind_NoneIsNoLibrary(t *testing.T) {
	put(t, t.TempDir(), None)
	t.Setenv(Variable, None)
	for given, by := range map[string]string{"": Variable, None: Flag} {
		if _, err := Find(given); !errors.Is(err, ErrNoLibrary) || errors.Is(err, ErrNamed) || !strings.Contains(err.Error(), by) {
			t.Errorf("%q: %v", given, err)
		}
	}
}

func TestFind_ReadsVersionsFromNames(t *testing.T) {
	folder := t.TempDir()
	whole := put(t, folder, anyVersion)
	short, shortest := filepath.Join(folder, "libonnxruntime.so.1"), filepath.Join(folder, "libonnxruntime.so")
	if err := errors.Join(os.Symlink(whole, short), os.Symlink("libonnxruntime.so.1", shortest)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		whole: "1.32.0", short: "1.32.0", shortest: "1.32.0",
		put(t, folder, "mac", "libonnxruntime.1.20.1.dylib"): "1.20.1", put(t, folder, "x", "libonnxruntime.so"): "", put(t, folder, "x", "libonnxruntime.so.1"): "",
		put(t, folder, "libort-1.2.3.so"): "", filepath.Join(folder, "missing"): "",
	} {
		l := Library{Path: path}
		if got := l.version(); got != want || !strings.Contains(l.String(), path) || strings.Contains(l.String(), "unknown") != (want == "") {
			t.Errorf("%s: %q, want %q: %s", path, got, want, l)
		}
	}
}
