// Package predict runs a folded model beside its original in ONNX Runtime and compares what they answer. The library is
// loaded at run time (Find, Open); without it, and in programs built without cgo, nothing is run and nothing passes.
//
// A difference is judged against the original's own answer to a jitter of one unit in the last place: a model that moves by
// 1e-2 when its input is rounded differently cannot agree with its fold to 1e-5, and one that does not move has to.
package predict

import (
	"errors"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Errors that callers test for with errors.Is.
var (
	ErrNoLibrary  = errors.New("no ONNX Runtime library")
	ErrWithoutCgo = errors.New("built without cgo: predictions cannot be run")
)

// Status is how a comparison ended.
type Status string

// The ways a comparison ends.
const (
	Passed Status = "passed"
	Failed Status = "failed"
	NotRun Status = "not run" // nothing is known: the Note says why
)

// Options are a comparison's. The zero value is the usual one.
type Options struct {
	Tolerance   float64      // largest difference, relative to an output's largest magnitude; 0: the jitter rule
	Seed        uint64       // of the random inputs; two seeds are tried, this and the next
	Threads     int          // of each session; 0: 1
	MemoryLimit int64        // bytes; models that Need more are not run; 0: no limit
	Narrowest   tensor.DType // of the changed parameters; Undefined: the narrowest floating-point initializer

	// Jittered writes, below dir, a copy of the original in which every parameter that folding read (rescaled, changed or
	// dropped) is moved by at most one unit in the last place, at random by the seed, and returns its path. It is asked
	// only where a jitter of the inputs does not explain a difference; nil: never.
	Jittered func(dir string, seed uint64) (path string, err error)
}

// Result is what a comparison found. Its numbers are finite.
type Result struct {
	Status Status
	Note   string // one line: why it failed or was not run, or what a reader of a pass should know; may be empty

	// The output that came nearest to failing, or failed, and the largest values over both seeds, relative to its largest
	// magnitude: how far the folded model is, how far the jitter moves the original, and what was allowed.
	Output     string
	Difference float64
	Jitter     float64
	Allowed    float64

	Elements  int64              // of all outputs, over both seeds
	Differing int64              // elements of integer, boolean and string outputs that differ; a pass means jitter moves them too
	Decisions int64              // arg max decisions whose margin is larger than the measured error
	Shapes    map[string][]int64 // of the inputs that were used
	Taps      []string           // values before saturating outputs that were compared as well
}

func notRun(note string) Result { return Result{Status: NotRun, Note: note} }

// floor is the difference that is allowed whatever the jitter: 1e-5, or eight times the unit roundoff of the narrowest type
// among the output's and the parameters', since folding rounds each parameter once more.
func floor(types ...tensor.DType) float64 {
	f := 1e-5
	for _, d := range types {
		switch d {
		case tensor.Float16:
			f = max(f, 8*0x1p-11)
		case tensor.BFloat16:
			f = max(f, 8*0x1p-8)
		}
	}
	return f
}

// epsilon is the distance from 1 to the next number of a floating-point type.
func epsilon(d tensor.DType) float64 {
	switch d {
	case tensor.Float64:
		return 0x1p-52
	case tensor.Float16:
		return 0x1p-10
	case tensor.BFloat16:
		return 0x1p-7
	}
	return 0x1p-23
}
