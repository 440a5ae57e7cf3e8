// Package zoo is zoofold as a library: it plans the folding of one model, folds it with proof, compares the predictions of
// two models, and reads the reports of runs. All formats of the program are known. Runs over a whole zoo are the program's.
package zoo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/verify/predict"

	_ "github.com/zoofold/zoofold/zoo/format/all" // the formats register themselves
)

// ErrFailed says that a model was not folded, or that a check showed that the folded model is not the same, and that nothing
// was written.
var ErrFailed = errors.New("the model was not folded")

// The types of what this package finds.
type (
	Changes = report.Plan     // what folding would change in a model
	Result  = outcome.Model   // what was done to a model, and what its checks found
	Check   = outcome.Check   // what one check found
	Report  = report.Document // a run's report.json
)

// Options say how a model is read, folded and proven. The zero value is what the program does without flags.
type Options struct {
	Weights     string            // path of the file with the weights; "": the one beside the model file that has its name
	Settings    map[string]string // what files do not say, named as in manifests: {"darknet.epsilon": "opencv"}
	Neutralize  bool              // batch normalisations stay, and only add: every layer and weight keeps its name and shape
	Overridable bool              // initializers that callers may override are constants
	Keep        []string          // globs over names of nodes that are left alone
	Verify      []string          // the checks: parity, algebra, predictions; nil: all of them
	Require     bool              // a check that cannot run fails the model; otherwise the result says that it did not run
	Engine      *Engine           // runs predictions; nil: they do not run
	Tolerance   float64           // the largest difference of predictions that passes, relative to an output's largest value; 0: four times the original's own response to a jitter, and at least 1e-5
	Overwrite   bool              // a file in the output's place may be replaced
	Timeout     time.Duration     // of one model; 0: ten minutes
	Workers     int               // goroutines that rescale weights; 0: one per core
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.NumCPU()
}

// rule is the options as a manifest would say them.
func (o Options) rule() manifests.Rule {
	r := manifests.Rule{Settings: manifests.Defaults()}
	r.Keep, r.Tolerance, r.Overwrite, r.Formats, r.Proof = o.Keep, o.Tolerance, o.Overwrite, o.Settings, "try"
	if o.Verify != nil {
		r.Verify = o.Verify
	}
	if o.Neutralize {
		r.Norms = "neutralize"
	}
	if o.Overridable {
		r.Overridable = "constant"
	}
	if o.Require {
		r.Proof = "require"
	}
	if o.Timeout > 0 {
		r.Timeout = o.Timeout
	}
	return r
}

// Plan says what folding would change in a model file, and what becomes of every per-channel node, and why. It writes
// nothing, and reads large weights only to sum them up for a bias.
func Plan(ctx context.Context, path string, o Options) (Changes, error) {
	f, err := format.Open(ctx, path, format.Options{Weights: o.Weights, Settings: o.Settings})
	if err != nil {
		return Changes{}, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	r := o.rule()
	how := r.Folding()
	how.Backend = cpu.New(o.workers())
	p, err := fold.Fold(ctx, f.Model(), how)
	if err != nil {
		return Changes{}, fmt.Errorf("%s: %w", path, err)
	}
	return report.NewPlan(path, p), nil
}

// Fold folds a model file, proves the result and writes it as the file out, with the files that belong to it beside it. It
// appears whole and proven, or not at all; the original is not touched. A model with nothing to fold is copied. The error
// has ErrFailed in its chain if the model or its proof is at fault; the result then has the details.
func Fold(ctx context.Context, path, out string, o Options) (Result, error) {
	rule := o.rule()
	m := &manifests.Manifest{Rules: []manifests.Rule{rule}}
	job := manifests.Job{Path: filepath.ToSlash(path), Rule: &m.Rules[0]}
	var err error
	if job.Source, err = filepath.Abs(path); err != nil {
		return Result{}, err
	}
	if job.Target, err = filepath.Abs(out); err != nil {
		return Result{}, err
	}
	if o.Weights != "" {
		if job.Weights, err = filepath.Abs(o.Weights); err != nil {
			return Result{}, err
		}
	}
	info, err := os.Stat(job.Source)
	if err != nil {
		return Result{}, err
	}
	job.Size, m.Out = info.Size(), filepath.Dir(job.Target)
	var told last
	options := run.Options{Manifest: m, Workers: 1, Backend: cpu.New(o.workers()), Sink: &told, NoEngine: "Options.Engine is nil"}
	if o.Engine != nil {
		options.Predict = o.Engine.processes
	}
	if _, err := run.Fold(ctx, options, []manifests.Job{job}); err != nil {
		return told.Model, err
	}
	switch told.Status {
	case outcome.Failed:
		return told.Model, fmt.Errorf("%s: %w: %s", path, ErrFailed, told.Error)
	case outcome.Interrupted:
		return told.Model, fmt.Errorf("%s: %w", path, context.Cause(ctx))
	}
	return told.Model, nil
}

// last keeps the last model that a run reports.
type last struct{ outcome.Model }

func (l *last) Start(outcome.Start)  {}
func (l *last) Begin(outcome.Begin)  {}
func (l *last) Progress(int64)       {}
func (l *last) Done(m outcome.Model) { l.Model = m }
func (l *last) End(outcome.End)      {}

// Engine runs ONNX Runtime in separate processes, so that a model that crashes it does no other harm.
type Engine struct{ processes *predict.Processes }

// OpenEngine starts ONNX Runtime, in processes of the zoofold program at the path program. library is the path of ONNX
// Runtime's library; "" means $ONNXRUNTIME_LIB, or the places that the program's manual page names.
func OpenEngine(program, library string) (*Engine, error) {
	found, err := predict.Find(library)
	if err != nil {
		return nil, err
	}
	p, err := predict.Start(program, found)
	if err != nil {
		return nil, err
	}
	return &Engine{p}, nil
}

// Name is the engine's name and version.
func (e *Engine) Name() string { return e.processes.Name() }

// Close ends the processes.
func (e *Engine) Close() { e.processes.Close() }

// Compare runs two ONNX models on the same random inputs, and says whether they predict the same. What did not run is never
// reported as passed.
func (e *Engine) Compare(ctx context.Context, original, folded string, tolerance float64) Check {
	return e.processes.Compare(ctx, predict.Comparison{Original: original, Folded: folded, Tolerance: tolerance})
}

// ReadReport reads a run's report.json.
func ReadReport(r io.Reader) (*Report, error) { return report.Load(r) }
