// Package predict runs two model files in ONNX Runtime on the same inputs and says whether they predict the same.
package predict

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/report"
)

// Comparison is what Engine.Compare compares.
type Comparison struct {
	Original, Folded string  // paths of model files
	Tolerance        float64 // largest difference relative to an output's largest value; 0: the jitter rule
	Unit             float64 // unit roundoff of the narrowest type that was folded; 0: float32's
	Taps             []Tap
	Unnamed          bool // inputs and outputs belong together by their number, whatever they are called
	Latency          bool // measure it too, if both predict the same

	// Jittered is the path of a copy of the original, its folded parameters moved by at most one unit in the last place,
	// which is made when it is first asked for. It may be nil.
	Jittered func() (string, error)

	at func(at, *report.Check) // hears what is turned to, and the result so far where there is one; it may be nil
}

// turn says what is done next.
func (c Comparison) turn(to at, sofar *report.Check) {
	if c.at != nil {
		c.at(to, sofar)
	}
}

// Tap is an inner value that is compared beside the outputs, by its names in both models: what goes into a saturating
// activation says more than what comes out of it.
type Tap struct{ Original, Folded string }

// limit is the largest difference that passes, given the model's answer to a jitter.
func (c Comparison) limit(jitter float64) float64 {
	if c.Tolerance > 0 {
		return c.Tolerance
	}
	return max(1e-5, 32*c.Unit, 4*jitter)
}

// Version is the comparison's: raised where it finds what it did not find before.
const Version = 1

// seeds are those of the inputs: each model runs on several.
var seeds = []uint64{1, 2}

// ErrNoLibrary says that ONNX Runtime's library was not found.
var ErrNoLibrary = errors.New("no ONNX Runtime library found")

// ErrNotBuilt says that the program cannot load a library at all.
var ErrNotBuilt = errors.New("not in this build, which was made without cgo")

// Find is the path of ONNX Runtime's library: the one given, $ONNXRUNTIME_LIB, the one that make fetched, one of a Python
// installation's, or one of the system's.
func Find(given string) (string, error) {
	if !loads {
		return "", ErrNotBuilt
	}
	for _, path := range []string{given, os.Getenv("ONNXRUNTIME_LIB")} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return "", fmt.Errorf("%w: %s is not a file", ErrNoLibrary, path)
		}
		return path, nil
	}
	for _, pattern := range places() {
		matches, _ := filepath.Glob(pattern) // the patterns are well-formed
		slices.Sort(matches)
		for _, m := range slices.Backward(matches) {
			if info, err := os.Stat(m); err == nil && info.Mode().IsRegular() && !strings.Contains(m, "providers") {
				return m, nil
			}
		}
	}
	return "", fmt.Errorf("%w: set ONNXRUNTIME_LIB or use -onnxruntime; pip's onnxruntime has one", ErrNoLibrary)
}

// places are where the library may be, the nearest first.
func places() []string {
	name := map[string]string{"linux": "libonnxruntime.so*", "darwin": "libonnxruntime*.dylib", "windows": "onnxruntime.dll"}[runtime.GOOS]
	if name == "" {
		return nil
	}
	list := []string{filepath.Join(".cache", "onnxruntime", name)}
	if exe, err := os.Executable(); err == nil {
		list = append(list, filepath.Join(filepath.Dir(exe), "..", ".cache", "onnxruntime", name))
	}
	python := filepath.Join("lib", "python3*", "site-packages", "onnxruntime", "capi", name)
	if env := os.Getenv("VIRTUAL_ENV"); env != "" {
		list = append(list, filepath.Join(env, python))
	}
	if home, err := os.UserHomeDir(); err == nil {
		list = append(list, filepath.Join(home, ".local", python), filepath.Join(home, ".pyenv", "versions", "*", python))
	}
	for _, root := range []string{"/usr", "/usr/local", "/opt", "/opt/onnxruntime", "/opt/homebrew"} {
		list = append(list, filepath.Join(root, "lib", name), filepath.Join(root, "lib64", name), filepath.Join(root, "lib", "*-linux-gnu", name), filepath.Join(root, python))
	}
	return list
}
