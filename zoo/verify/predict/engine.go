//go:build cgo

package predict

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// engine is ONNX Runtime. It may be used by several goroutines at once.
type engine struct{ path string }

// loads says whether a library can be loaded.
const loads = true

var opening sync.Mutex

// load loads the library, once in a process.
func load(path string) (*engine, error) {
	opening.Lock()
	defer opening.Unlock()
	path, err := filepath.Abs(path) // the dynamic linker searches for a bare name
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
	return &engine{path}, nil
}

// Name is "ONNX Runtime 1.32.0 (path)".
func (e *engine) Name() string { return fmt.Sprintf("ONNX Runtime %s (%s)", ort.GetVersion(), e.path) }

// Compare runs both models. The largest difference of an output is relative to its largest value; it passes up to the
// tolerance, or to four times what a one-ulp jitter of the original's inputs, or of the parameters that were folded,
// changes.
func (e *engine) Compare(ctx context.Context, c Comparison) outcome.Check {
	check, err := compare(ctx, c)
	switch {
	case ctx.Err() != nil:
		return outcome.Check{Status: outcome.NotRun, Note: "interrupted"}
	case err != nil && exhausted(err.Error()):
		return outcome.Check{Status: outcome.NotRun, Note: outOfMemory}
	case err != nil:
		return outcome.Check{Status: outcome.NotRun, Note: err.Error()}
	case (c.Latency || c.Gate) && check.Status == outcome.Passed:
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

func compare(ctx context.Context, c Comparison) (outcome.Check, error) {
	var check outcome.Check
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
	p := pair{c, original, folded, before}
	check.Status = outcome.Passed
	sizes, heard, noise := small, 0, 0.0
	for _, seed := range seeds {
		round, with, err := p.compare(ctx, seed, sizes)
		if err != nil || round.Status == outcome.Mismatch {
			return round, err
		}
		sizes = small.other(with)
		if round.Jitter > deafening && c.Tolerance == 0 {
			noise = max(noise, round.Jitter)
			continue
		}
		heard++
		check.Difference, check.Jitter, check.Limit = max(check.Difference, round.Difference), max(check.Jitter, round.Jitter), max(check.Limit, round.Limit)
		check.Compared, check.Decisions, check.Flipped = check.Compared+round.Compared, check.Decisions+round.Decisions, check.Flipped+round.Flipped
	}
	if heard == 0 {
		return check, fmt.Errorf("not meaningful: a change of the input by one unit in the last place changes the original's own output by %.2g of its largest value", noise)
	}
	return check, nil
}

// deafening is the response to a one-ulp jitter, relative to the output's largest value, above which a difference has no
// meaning.
const deafening = 1e-2

// pair are an original and its folded model, open, with the taps of the original.
type pair struct {
	Comparison
	original, folded *session
	taps             []string
}

// compare runs both on one random input.
func (p pair) compare(ctx context.Context, seed uint64, sizes extents) (check outcome.Check, with trial, err error) {
	p.turn(atOriginal, nil)
	inputs, want, with, err := p.original.try(ctx, seed, sizes)
	if err != nil {
		return check, with, err
	}
	p.turn(atFolded, nil)
	got, err := p.folded.run(ctx, inputs)
	if err != nil {
		check, err = foldedFails("the original runs, the folded model does not", err)
		return check, with, err
	}
	g := gap(p.original.labels, want, got)
	if g.note != "" {
		return failed("%s", g.note), with, p.repeats(ctx, inputs, want)
	}
	p.turn(atOriginal, nil)
	moved, err := p.original.run(ctx, jitter(inputs, seed))
	if err != nil {
		return check, with, err
	}
	noise := gap(p.original.labels, want, moved).largest
	if g.largest > p.limit(noise) && p.Tolerance == 0 && p.Jittered != nil {
		if noise, err = p.parameterJitter(ctx, seed, inputs, want, g.largest, noise); err != nil {
			return check, with, fmt.Errorf("the jitter of parameters: %s", firstLine(err))
		}
	}
	limit := p.limit(noise)
	check = outcome.Check{Status: outcome.Passed, Difference: g.largest, Jitter: noise, Limit: limit, Compared: g.compared}
	var worst string
	check.Decisions, check.Flipped, worst = decide(want, got, limit)
	switch {
	case g.largest > limit:
		check = over(check, "%s differs by %.2g of its largest value at element %d, the limit is %.2g (jitter %.2g)", g.output, g.largest, g.element, limit, noise)
	case worst != "":
		check = over(check, "%s", worst)
	}
	if check.Status == outcome.Mismatch || noise > deafening {
		err = p.repeats(ctx, inputs, want)
	}
	return check, with, err
}

// repeats returns an error if the original does not answer the same inputs with the same outputs a second time: then a
// difference says nothing. An original that draws random numbers (RandomNormalLike …) does not.
func (p pair) repeats(ctx context.Context, inputs, want []value) error {
	p.turn(atOriginal, nil)
	again, err := p.original.run(ctx, inputs)
	if err != nil {
		return err
	}
	if g := gap(p.original.labels, want, again); g.note != "" || g.largest > p.limit(0) {
		return errors.New("not meaningful: the original answers the same input differently in each run")
	}
	return nil
}

// parameterJitters bounds the inputs on which the copy with jittered parameters runs.
const parameterJitters = 4

// parameterJitter is the original's largest response to a jitter of the folded parameters, alone and together with jitters
// of the inputs. It stops as soon as the response, which is at least noise, explains the difference.
func (p pair) parameterJitter(ctx context.Context, seed uint64, inputs, want []value, difference, noise float64) (float64, error) {
	path, err := p.Jittered()
	if err != nil {
		return 0, err
	}
	s, err := open(path, p.taps, asWritten)
	if err != nil {
		return 0, err
	}
	defer s.close()
	moved := inputs
	for k := range uint64(parameterJitters) {
		got, err := s.run(ctx, moved)
		if err != nil {
			return 0, err
		}
		if noise = max(noise, gap(p.original.labels, want, got).largest); difference <= p.limit(noise) {
			break
		}
		moved = jitter(inputs, seed+(k+1)<<32)
	}
	return noise, nil
}
