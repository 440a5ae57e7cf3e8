// Package run folds the models of a manifest: several at once, each on its own, skipping what has not changed, committing
// an output only when it is whole and proven.
package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sourcegraph/conc/panics"
	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// Force says how far the ledger is believed.
type Force string

// The values of Force.
const (
	ForceNothing Force = ""     // what size, time and inode say
	ForceHash    Force = "hash" // what the content says
	ForceAll     Force = "all"  // nothing: every model is folded
)

// Options are a run's.
type Options struct {
	Manifest *manifests.Manifest
	Workers  int
	Backend  tensor.Backend
	Host     tensor.Backend // for rules whose device is cpu; nil: Backend
	Why      string         // why this backend
	Predict  Predictor      // nil: predictions are reported as not run
	NoEngine string         // why Predict is nil
	Latency  bool           // measure that of models whose predictions are compared
	Verify   *[]string      // overrides the manifest's checks
	Timeout  time.Duration  // overrides the manifest's; 0: does not
	Force    Force
	DryRun   bool
	Prune    bool // outputs that no model of the zoo makes any more are removed
	Version  string
	Sink     report.Sink

	fsys files // nil: the host's
}

// Predictor compares what two model files predict; predict.Processes are one.
type Predictor interface {
	// Compare runs both on the same inputs. It never reports what did not run as passed.
	Compare(context.Context, predict.Comparison) report.Check
	// Name is the engine's name and version.
	Name() string
}

// Run folds the models. The error is for what keeps all of them from being folded: a model's own failure is in the report
// alone. ErrLocked is in its chain where another run has the output folder.
func Run(ctx context.Context, o Options) (end report.End, err error) {
	started := time.Now()
	if o.fsys == nil {
		o.fsys = disk{}
	}
	found, err := o.Manifest.Walk(ctx)
	if err != nil && ctx.Err() != nil {
		return report.End{Exit: 130, Seconds: time.Since(started).Seconds()}, nil
	}
	if err != nil {
		return end, err
	}
	jobs := found.Jobs
	if !o.DryRun {
		unlock, err := lock(o.fsys, o.Manifest.Out)
		if err != nil {
			return end, err
		}
		defer unlock()
	}
	books, err := openLedger(o.fsys, o.Manifest.Out, o.DryRun)
	if err != nil {
		return end, fmt.Errorf("ledger: %w", err)
	}
	r := &runner{Options: o, books: books, claims: map[string]claim{}, end: report.End{Counts: map[report.Status]int{}}}
	r.heavy = make(chan struct{}, max(1, o.Workers/2))
	if !o.DryRun {
		r.note("sweep", sweep(o.fsys, o.Manifest.Out))
	}
	r.end.Notes = append(r.end.Notes, found.Notes...)
	r.start(jobs, started)
	r.unreadable(found.Failures)
	r.all(ctx, jobs)
	r.end.Unmatched = r.strangers(found.Unmatched, jobs)
	if ctx.Err() == nil && len(found.Failures) == 0 { // what cannot be read now is not gone
		r.orphans(jobs)
	}
	r.note("ledger", books.close())
	r.end.Seconds = time.Since(started).Seconds()
	r.end.PeakMemory = peakMemory()
	if b, ok := o.Backend.(interface{ Notes() []string }); ok {
		r.end.Notes = append(r.end.Notes, b.Notes()...)
	}
	switch {
	case ctx.Err() != nil:
		r.end.Exit = 130
	case r.end.Counts[report.Failed] > 0:
		r.end.Exit = 1
	}
	return r.end, nil
}

// unreadable reports what the walk of the zoo could not read.
func (r *runner) unreadable(failures []manifests.Failure) {
	for _, f := range failures {
		r.end.Counts[report.Failed]++
		r.Sink.Done(report.Model{Path: f.Path, Status: report.Failed, Error: oneLine(f.Err), Parity: notAsked, Algebra: notAsked, Predictions: notAsked})
	}
}

// runner is a run under way.
type runner struct {
	Options
	books *ledger
	heavy chan struct{} // a place for each model that may be loaded whole at a time

	commits sync.Mutex // of models of several files, from their claims to the ledger

	lock   sync.Mutex
	end    report.End
	claims map[string]claim // by path: the outputs beside model files
}

// note keeps an error that fails no model for the end of the run.
func (r *runner) note(what string, err error) {
	if err != nil {
		r.lock.Lock()
		defer r.lock.Unlock()
		r.end.Notes = append(r.end.Notes, what+": "+oneLine(err))
	}
}

// strangers are those of the unmatched files that no model is made of: weights and external data belong to theirs.
func (r *runner) strangers(unmatched []string, jobs []manifests.Job) []string {
	parts := map[string]bool{}
	for _, j := range jobs {
		if e := r.books.get(j.Path); e != nil {
			for _, s := range e.Inputs {
				parts[s.Path] = true
			}
		}
	}
	return slices.DeleteFunc(unmatched, func(rel string) bool {
		return parts[filepath.Join(r.Manifest.Zoo, filepath.FromSlash(rel))]
	})
}

func (r *runner) start(jobs []manifests.Job, at time.Time) {
	s := report.Start{
		Time: at, Version: r.Version, Manifest: r.Manifest.Path, Backend: r.Backend.Name(), Why: r.Why, Engine: r.NoEngine,
		Workers: r.Workers, Models: len(jobs), DryRun: r.DryRun,
	}
	if r.Predict != nil {
		s.Engine = r.Predict.Name()
	}
	for _, j := range jobs {
		s.Bytes += j.Size
	}
	r.Sink.Start(s)
}

// all works through the jobs, the largest first, so that no worker is left with a large one at the end.
func (r *runner) all(ctx context.Context, jobs []manifests.Job) {
	order := slices.Clone(jobs)
	slices.SortStableFunc(order, func(a, b manifests.Job) int {
		return int(min(max(b.Size-a.Size, -1), 1))
	})
	p := pool.New().WithMaxGoroutines(max(r.Workers, 1))
	for k := range order {
		p.Go(func() { r.job(ctx, &order[k]) })
	}
	p.Wait()
}

// job does one model, whatever happens, and reports it.
func (r *runner) job(ctx context.Context, j *manifests.Job) {
	started := time.Now()
	m := report.Model{Path: j.Path, Bytes: j.Size, Status: report.Interrupted, Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
	rule := r.fingerprint(j.Rule)
	meter := &meter{left: j.Size, tell: func(n int64) {
		r.lock.Lock()
		defer r.lock.Unlock()
		r.Sink.Progress(n)
	}}
	switch {
	case ctx.Err() != nil:
		m.Error = report.NotBegun
	case r.Force != ForceAll && !r.DryRun && r.upToDate(j, rule):
		e := r.books.get(j.Path)
		m.Status, m.Before, m.After, m.Output = report.Unchanged, e.Before, e.After, r.relative(j.Target)
		m.Parity, m.Algebra, m.Predictions = e.Parity, e.Algebra, e.Predictions
		for _, s := range e.Outputs {
			m.OutputBytes += s.Size
		}
	default:
		r.lock.Lock()
		r.Sink.Begin(report.Begin{Path: j.Path, Bytes: j.Size})
		r.lock.Unlock()
		r.fold(ctx, j, rule, &m, meter)
	}
	m.Seconds = time.Since(started).Seconds()
	for _, c := range []*report.Check{&m.Parity, &m.Algebra, &m.Predictions} {
		c.Difference, c.Jitter, c.Limit = finite(c.Difference), finite(c.Jitter), finite(c.Limit)
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.end.Counts[m.Status]++
	r.end.Before += m.Before
	r.end.After += m.After
	r.end.Bytes += m.Bytes
	r.end.OutputBytes += m.OutputBytes
	r.Sink.Progress(meter.finish())
	r.Sink.Done(m)
}

// finite is a figure as JSON can write it: what is no number, or infinite, is the largest one.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return math.MaxFloat64
	}
	return x
}

// upToDate says whether a model was folded before as it would be now, and proven as well as it can be now.
func (r *runner) upToDate(j *manifests.Job, rule string) bool {
	e := r.books.get(j.Path)
	now, ok := e.check(r.fsys, rule, r.Force == ForceHash)
	if !ok || e.Engineless && r.Predict != nil || len(e.Outputs) > 0 && e.Outputs[0].Path != j.Target {
		return false
	}
	if now != e { // the same contents, at other times
		r.note("ledger", r.books.add(now))
	}
	return true
}

var notAsked = report.Check{Status: report.NotRun, Note: report.NotAsked}

// fingerprint is a rule's, with what else decides about an output.
func (r *runner) fingerprint(rule *manifests.Rule) string {
	return fmt.Sprintf("fold=%s %s checks=%s", fold.Version, rule.Fingerprint(), strings.Join(r.checks(rule), ","))
}

// checks are the proofs asked for.
func (r *runner) checks(rule *manifests.Rule) []string {
	if r.Verify != nil {
		return *r.Verify
	}
	return rule.Verify
}

// fold runs one model within its time. A panic fails the model, not the run.
func (r *runner) fold(ctx context.Context, j *manifests.Job, rule string, m *report.Model, meter *meter) {
	timeout := j.Rule.Timeout
	if r.Timeout > 0 {
		timeout = r.Timeout
	}
	inner, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %v", timeout))
	defer cancel()
	var err error
	if caught := panics.Try(func() { err = r.model(inner, j, rule, m, meter) }); caught != nil {
		err = fmt.Errorf("a bug of zoofold, please report it: %v at %s", caught.Value, where(caught.Stack))
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		m.Status, m.Error = report.Interrupted, "interrupted"
	default:
		if errors.Is(err, context.DeadlineExceeded) {
			err = context.Cause(inner)
		}
		m.Status, m.Error = report.Failed, oneLine(err)
	}
	if err != nil {
		m.Output, m.OutputBytes = "", 0
	}
}

// where is the line of this program's own code at which a panic arose.
func where(stack []byte) string {
	if len(stack) == 0 {
		stack = debug.Stack()
	}
	lines := strings.Split(string(stack), "\n")
	past := false
	for k, line := range lines {
		past = past || strings.HasPrefix(line, "panic(")
		if past && strings.HasPrefix(line, "github.com/zoofold/zoofold/") && k+1 < len(lines) {
			place, _, _ := strings.Cut(strings.TrimSpace(lines[k+1]), " ")
			return place[strings.LastIndex(place, "/")+1:]
		}
	}
	return "an unknown place"
}

// maxError bounds the bytes of an error in the report: what a hostile file calls its tensors may be long.
const maxError = 1000

func oneLine(err error) string {
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	if len(text) > maxError {
		text = text[:maxError*3/4] + " ... " + text[len(text)-maxError/4:]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// peakMemory is the most memory that the process has had, in bytes; 0 where the system does not say.
func peakMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
