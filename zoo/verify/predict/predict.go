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
	Unnamed          bool // inputs and outputs belong together by their number, whatever they are called
	Latency          bool // measure it too, if both predict the same
	Gate             bool // measure it a second time if the folded model seems slower than Slower says; the lesser ratio counts

	// Jittered is the path of a copy of the original, its folded parameters moved by at most one unit in the last place,
	// which is made when it is first asked for. It may be nil.
	Jittered func() (string, error)

	at func(at, *outcome.Check) // hears what is turned to, and the result so far where there is one; it may be nil
}

// absolute is the comparison with all its paths absolute: a worker works in another folder.
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

// turn says what is done next.
func (c Comparison) turn(to at, sofar *outcome.Check) {
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
	return outcome.Limit(jitter, c.Unit)
}

// Slower is the ratio of latencies, after to before, above which a folded model is slower than its original: what is below
// is within what two measurements of one model differ by.
const Slower = 1.03

// Version is the comparison's: raised where it finds what it did not find before.
const Version = 3

// seeds are those of the inputs: each model runs on several.
var seeds = []uint64{1, 2}
