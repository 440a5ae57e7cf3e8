package predict

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Find is the path of an ONNX Runtime library: the flag's where it is given, else that of the environment variable
// ONNXRUNTIME_LIB, else the newest in the first place that has one: .cache/onnxruntime below the working directory or beside
// the folder of the program, the user's Python installations, the usual library folders. ErrNoLibrary, which says where it
// looked, is in the error's chain where there is none.
func Find(flag string) (string, error) {
	for _, given := range []struct{ path, by string }{{flag, "the flag"}, {os.Getenv("ONNXRUNTIME_LIB"), "ONNXRUNTIME_LIB"}} {
		if given.path == "" {
			continue
		}
		if info, err := os.Stat(given.path); err != nil || info.IsDir() {
			return "", fmt.Errorf("%w: %s names %q, which is not a file", ErrNoLibrary, given.by, given.path)
		}
		return given.path, nil
	}
	places := places()
	for _, place := range places {
		if path := newest(place); path != "" {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: set ONNXRUNTIME_LIB, or install Python's onnxruntime (looked in %s)", ErrNoLibrary, strings.Join(places, ", "))
}

// places are the folders to look in, as patterns of path/filepath, best first.
func places() []string {
	var all []string
	add := func(root string, rest ...string) {
		if root != "" {
			all = append(all, filepath.Join(append([]string{root}, rest...)...))
		}
	}
	cache := filepath.Join(".cache", "onnxruntime")
	add(".", cache)
	if exe, err := os.Executable(); err == nil {
		add(filepath.Dir(exe), "..", cache)
	}
	python := func(root string) {
		for _, packages := range []string{"site-packages", "dist-packages"} {
			add(root, "lib", "python3*", packages, "onnxruntime", "capi")
		}
	}
	home, _ := os.UserHomeDir()
	for _, variable := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		python(os.Getenv(variable))
	}
	if home != "" {
		python(filepath.Join(home, ".local"))
		python(filepath.Join(home, ".pyenv", "versions", "*"))
	}
	python("/usr/local")
	python("/usr")
	add("/usr", "lib", "python3", "dist-packages", "onnxruntime", "capi")
	for _, dir := range []string{"/usr/local/lib", "/usr/lib", "/usr/lib64", "/usr/lib/*-linux-gnu", "/opt/onnxruntime*/lib", "/opt/homebrew/lib"} {
		add(dir)
	}
	return slices.Compact(all)
}

// newest is the library of the highest version in the folders that a pattern names, or "".
func newest(place string) string {
	names := []string{"libonnxruntime.so", "libonnxruntime.so.*"}
	switch runtime.GOOS {
	case "darwin":
		names = []string{"libonnxruntime.dylib", "libonnxruntime.*.dylib"}
	case "windows":
		names = []string{"onnxruntime.dll"}
	}
	var found []string
	for _, name := range names {
		paths, _ := filepath.Glob(filepath.Join(place, name))
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				found = append(found, path)
			}
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.MaxFunc(found, func(a, b string) int { return slices.Compare(version(a), version(b)) })
}

// version are the numbers in a library's file name: 1, 22, 0 for libonnxruntime.so.1.22.0.
func version(path string) []int {
	var numbers []int
	for _, part := range strings.Split(filepath.Base(path), ".") {
		if n, err := strconv.Atoi(part); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
