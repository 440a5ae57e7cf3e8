//go:build cgo

package predict

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/zoofold/zoofold/zoo/report"
)

// Engine is ONNX Runtime. It may be used by several goroutines at once.
type Engine struct{ path string }

// loads says whether a library can be loaded.
const loads = true

var opening sync.Mutex

// Open loads the library, once in a process.
func Open(path string) (*Engine, error) {
	opening.Lock()
	defer opening.Unlock()
	path, err := filepath.Abs(path) // a bare name is something that the dynamic linker looks for
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	if !ort.IsInitialized() {
		ort.SetSharedLibraryPath(path)
		if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
			return nil, fmt.Errorf("%w: %s: %s", ErrNoLibrary, path, firstLine(err))
		}
		if err := ort.DisableTelemetry(); err != nil {
			return nil, fmt.Errorf("%w: %s: telemetry cannot be switched off: %s", ErrNoLibrary, path, firstLine(err))
		}
	}
	return &Engine{path}, nil
}

// Name is "ONNX Runtime 1.32.0 (path)".
func (e *Engine) Name() string { return fmt.Sprintf("ONNX Runtime %s (%s)", ort.GetVersion(), e.path) }

// Compare runs both models. The largest difference of an output is relative to its largest value; it passes up to the
// tolerance, or to four times what a one-ulp jitter of the original's inputs, or of the parameters that were folded,
// changes.
func (e *Engine) Compare(ctx context.Context, c Comparison) report.Check {
	check, err := compare(ctx, c)
	switch {
	case ctx.Err() != nil:
		return report.Check{Status: report.NotRun, Note: "interrupted"}
	case err != nil && exhausted(err.Error()):
		return report.Check{Status: report.NotRun, Note: outOfMemory}
	case err != nil:
		return report.Check{Status: report.NotRun, Note: err.Error()}
	case (c.Latency || c.Gate) && check.Status == report.Passed:
		c.turn(atLatency, &check)
		check.Latency = measure(ctx, c.Original, c.Folded)
		if c.Gate && check.Latency.Ratio > Slower {
			c.turn(atLatency, &check)
			if again := measure(ctx, c.Original, c.Folded); again.Pairs > 0 && again.Ratio < check.Latency.Ratio {
				check.Latency = again
			}
		}
	}
	return check
}

func compare(ctx context.Context, c Comparison) (report.Check, error) {
	var check report.Check
	before, after := make([]string, len(c.Taps)), make([]string, len(c.Taps))
	for k, t := range c.Taps {
		before[k], after[k] = t.Original, t.Folded
	}
	c.turn(atOriginal, nil)
	original, err := open(c.Original, before, asWritten)
	if err != nil {
		return check, fmt.Errorf("the original does not run: %s", firstLine(err))
	}
	defer original.close()
	c.turn(atFolded, nil)
	folded, err := open(c.Folded, after, asWritten)
	if err != nil {
		return foldedFails("the folded model does not load", err)
	}
	defer folded.close()
	if note := original.differs(folded, c.Unnamed); note != "" {
		return failed("%s", note), nil
	}
	check.Status = report.Passed
	sizes := small
	for _, seed := range seeds {
		c.turn(atOriginal, nil)
		inputs, want, with, err := original.try(ctx, seed, sizes)
		if err != nil {
			return check, err
		}
		sizes = small.other(with)
		c.turn(atFolded, nil)
		got, err := folded.run(ctx, inputs)
		if err != nil {
			return foldedFails("the original runs, the folded model does not", err)
		}
		g := gap(original.labels, want, got)
		if g.note != "" {
			return failed("%s", g.note), nil
		}
		c.turn(atOriginal, nil)
		moved, err := original.run(ctx, jitter(inputs, seed))
		if err != nil {
			return check, err
		}
		noise := gap(original.labels, want, moved).largest
		limit := c.limit(noise)
		if g.largest > limit && c.Tolerance == 0 && c.Jittered != nil {
			answer, err := parameterJitter(ctx, c, before, original.labels, inputs, want)
			if err != nil {
				return check, err
			}
			noise = max(noise, answer)
			limit = c.limit(noise)
		}
		check.Difference, check.Jitter = max(check.Difference, g.largest), max(check.Jitter, noise)
		check.Limit = c.limit(check.Jitter)
		check.Compared += g.compared
		decisions, flipped, worst := decide(want, got, limit)
		check.Decisions, check.Flipped = check.Decisions+decisions, check.Flipped+flipped
		switch {
		case g.largest > limit:
			return over(check, "%s is off by %.2g of its largest value at element %d, the limit is %.2g (jitter %.2g)", g.output, g.largest, g.element, limit, noise), nil
		case worst != "":
			return over(check, "%s", worst), nil
		}
	}
	return check, nil
}

// parameterJitter is the original's answer to a jitter of the parameters that were folded.
func parameterJitter(ctx context.Context, c Comparison, taps, labels []string, inputs, want []value) (float64, error) {
	path, err := c.Jittered()
	if err != nil {
		return 0, fmt.Errorf("the jitter of parameters: %w", err)
	}
	s, err := open(path, taps, asWritten)
	if err != nil {
		return 0, fmt.Errorf("the jitter of parameters: %s", firstLine(err))
	}
	defer s.close()
	got, err := s.run(ctx, inputs)
	if err != nil {
		return 0, fmt.Errorf("the jitter of parameters: %s", firstLine(err))
	}
	return gap(labels, want, got).largest, nil
}
