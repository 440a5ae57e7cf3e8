// Package predict runs two model files in ONNX Runtime on the same inputs and says whether they predict the same.
package predict

import (
	"fmt"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Comparison is what engine.Compare compares.
type Comparison struct {
	Original, Folded string  // paths of model files
	Tolerance        float64 // largest difference relative to an output's largest value; 0: the jitter rule
	Unit             float64 // unit roundoff of the narrowest type that was folded; 0: float32's
	Taps             []Tap
	Unnamed          bool // inputs and outputs are matched by index, not by name
	Latency          bool // measure it too, if both predict the same
	Gate             bool // measure it a second time if the folded model seems slower than Slower says; the lesser ratio counts

	// Jittered is the path of a copy of the original, its folded parameters moved by at most one unit in the last place,
	// which is made when it is first asked for. It may be nil.
	Jittered func() (string, error)

	at func(at, *outcome.Check) // hears what is turned to, and the result so far where there is one; it may be nil
}

// absolute is the comparison with absolute paths: a worker has another working directory.
func (c Comparison) absolute() (Comparison, error) {
	for _, path := range []*string{&c.Original, &c.Folded} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return c, fmt.Errorf("%s: %w", *path, err)
		}
		*path = abs
	}
	if jittered := c.Jittered; jittered != nil {
		c.Jittered = func() (string, error) {
			path, err := jittered()
			if err != nil {
				return "", err
			}
			return filepath.Abs(path)
		}
	}
	return c, nil
}

// turn reports the next step.
func (c Comparison) turn(to at, sofar *outcome.Check) {
	if c.at != nil {
		c.at(to, sofar)
	}
}

// Tap is an inner value that is compared in addition to the outputs, by its names in both models: the input of a saturating
// activation shows differences that its output hides.
type Tap struct{ Original, Folded string }

// limit is the largest difference that passes, given the model's response to a jitter.
func (c Comparison) limit(jitter float64) float64 {
	if c.Tolerance > 0 {
		return c.Tolerance
	}
	return outcome.Limit(jitter, c.Unit)
}

// Slower is the ratio of latencies, after to before, above which a folded model is slower than its original: smaller ratios
// are within the noise of measuring one model twice.
const Slower = 1.03

// Version is the version of the comparison: raise it when the comparison finds more than before.
const Version = 3

// seeds are those of the inputs: each model runs on several.
var seeds = []uint64{1, 2}
