package predict

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// ErrNoLibrary says that ONNX Runtime's library was not found, or that the file found is another library.
var ErrNoLibrary = errors.New("no ONNX Runtime library found")

// ErrNotBuilt says that the program cannot load a library at all.
var ErrNotBuilt = errors.New("not in this build, which was made without cgo")

// ErrNamed says that the library that the user named cannot be used. To continue without it would prove less than was asked
// for.
var ErrNamed = errors.New("the ONNX Runtime library that was named cannot be used")

// The flag and the variable that name a library, and the name that means none.
const (
	Flag     = "-onnxruntime"
	Variable = "ONNXRUNTIME_LIB"
	None     = "none"
)

// Library is a file that is taken for ONNX Runtime's library, by its file name or because the user named it.
type Library struct {
	Path  string // absolute: the dynamic linker would search for a bare name
	Named string // Flag or Variable, which named it; "" if it was searched for
}

// unusable is the error where the library cannot be used.
func (l Library) unusable(why string) error {
	if l.Named == "" {
		return fmt.Errorf("%w: %s", ErrNoLibrary, why)
	}
	return fmt.Errorf("%w: %s: %s: name another file, or %s for no predictions", ErrNamed, l.Named, why, None)
}

// versioned matches file names with a version.
var versioned = regexp.MustCompile(`^libonnxruntime\.(?:so\.(\d+\.\d+(?:\.\d+)*)|(\d+\.\d+(?:\.\d+)*)\.dylib)$`)

// version is what the file's name says, its links followed; "" where it does not. Nothing is loaded.
func (l Library) version() string {
	path, err := filepath.EvalSymlinks(l.Path)
	if err != nil {
		return ""
	}
	if m := versioned.FindStringSubmatch(filepath.Base(path)); m != nil {
		return m[1] + m[2]
	}
	return ""
}

// String describes the library before it is loaded.
func (l Library) String() string {
	if v := l.version(); v != "" {
		return fmt.Sprintf("ONNX Runtime %s (%s)", v, l.Path)
	}
	return fmt.Sprintf("ONNX Runtime, version unknown until it is loaded (%s)", l.Path)
}

// Find is ONNX Runtime's library: the one given, $ONNXRUNTIME_LIB, or the first in the places where it may be. Nothing is
// loaded, and nothing is looked for in the working directory.
func Find(given string) (Library, error) {
	for _, l := range []Library{{given, Flag}, {os.Getenv(Variable), Variable}} {
		if l.Path != "" {
			return l.named()
		}
	}
	if !loads {
		return Library{}, ErrNotBuilt
	}
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		program = "" // search the other places
	}
	if path := first(places(program, string(filepath.Separator))); path != "" {
		return Library{Path: path}, nil
	}
	return Library{}, fmt.Errorf("%w: set %s or use %s; pip's onnxruntime has one", ErrNoLibrary, Variable, Flag)
}

// named is the library that the user named, with an absolute path.
func (l Library) named() (Library, error) {
	if l.Path == None {
		return Library{}, fmt.Errorf("%w: %s says to look for none", ErrNoLibrary, l.Named)
	}
	path, err := filepath.Abs(l.Path)
	if err != nil {
		return Library{}, l.unusable(err.Error())
	}
	l.Path = path
	if !loads {
		return Library{}, fmt.Errorf("%w: %s: %w", ErrNamed, l.Named, ErrNotBuilt)
	}
	switch info, err := os.Stat(path); {
	case err != nil:
		return Library{}, l.unusable(strings.TrimPrefix(err.Error(), "stat "))
	case info.IsDir():
		return Library{}, l.unusable(path + " is a folder")
	}
	return l, nil
}

// first is the first file that a pattern matches; of several matches of one pattern the last by name; "" if there is none.
func first(patterns []string) string {
	for _, pattern := range patterns {
		matches, _ := filepath.Glob(pattern) // the patterns are well-formed
		slices.Sort(matches)
		for _, m := range slices.Backward(matches) {
			if info, err := os.Stat(m); err == nil && info.Mode().IsRegular() && !strings.Contains(filepath.Base(m), "providers") {
				return m
			}
		}
	}
	return ""
}

// places are patterns of where the library may be, the nearest first: beside the program, in the user's Python
// environments, in Debian's packages, in the system's folders below the root. All are absolute: a library in the working
// directory must not be loaded because the user happens to work there. So relative values of variables are left out.
func places(program, root string) (list []string) {
	name := map[string]string{"linux": "libonnxruntime.so*", "darwin": "libonnxruntime*.dylib", "windows": "onnxruntime.dll"}[runtime.GOOS]
	if name == "" {
		return nil
	}
	add := func(folder string, below ...string) {
		if filepath.IsAbs(folder) {
			list = append(list, filepath.Join(append([]string{literal(folder)}, below...)...))
		}
	}
	if program != "" {
		add(filepath.Join(filepath.Dir(program), "..", "lib", "zoofold"), name)
	}
	module := filepath.Join("onnxruntime", "capi", name)
	python := filepath.Join("lib", "python3*", "site-packages", module)
	if program != "" { // pip put it into this environment
		add(filepath.Join(filepath.Dir(program), ".."), python)
	}
	add(os.Getenv("VIRTUAL_ENV"), python)
	add(os.Getenv("CONDA_PREFIX"), python)
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		add(filepath.Join(home, ".local"), python)
		add(filepath.Join(home, ".pyenv", "versions"), "*", python)
	}
	add(root, "usr", "lib", "python3", "dist-packages", module)
	add(root, "usr", "local", "lib", "python3*", "dist-packages", module)
	for _, at := range []string{"usr", "usr/local", "opt", "opt/onnxruntime", "opt/homebrew"} {
		add(root, at, "lib", name)
		add(root, at, "lib64", name)
		add(root, at, "lib", "*-linux-gnu", name)
		add(root, at, python)
	}
	return list
}

// literal is a pattern that matches only that path.
func literal(path string) string {
	if runtime.GOOS == "windows" { // whose patterns have no escapes
		return path
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
