// Package run folds the models of a manifest: several at once, each on its own, skipping what has not changed, committing
// an output only when it is whole and proven.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/store"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// Force says how far a run relies on the ledger.
type Force string

// The values of Force.
const (
	ForceNothing Force = ""     // files with the same size, time and inode are unchanged
	ForceHash    Force = "hash" // files with the same content are unchanged
	ForceAll     Force = "all"  // nothing is unchanged: every model is folded
)

// The exit codes: of a run, in End.Exit, and of the program, which has two more.
const (
	ExitDone        = 0
	ExitFailed      = 1   // some models failed
	ExitUsage       = 2   // the program's: wrong usage, a wrong manifest, or ErrPlace
	ExitLocked      = 3   // the program's: ErrLocked
	ExitUnproven    = 4   // some were kept with less proof than asked
	ExitChanges     = 5   // Options.Detailed: a dry run found something to do
	ExitInterrupted = 130 // committed outputs stay
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

	// Engine, where it is set, gives Predict and NoEngine when the models are listed: an engine that takes a while may start
	// meanwhile. Nothing was written before it returns an error.
	Engine func() (p Predictor, why string, err error)

	Latency  bool          // measure that of models whose predictions are compared
	Verify   *[]string     // overrides the manifest's checks
	Timeout  time.Duration // overrides the manifest's; 0: does not
	Force    Force
	DryRun   bool
	Detailed bool // a dry run that finds something to do ends with ExitChanges
	Prune    bool // outputs that no model of the zoo makes any more are removed
	Version  string
	Sink     outcome.Sink

	Remote Remote       // does the models in other processes; nil: they are done in this one
	Tell   func(string) // takes what is to be said while models are done elsewhere; may be nil

	Document Document // renders the run; nil: nothing does
	Report   string   // folder of report.html and report.json; "": they are not written
	Keep     int      // how many runs have reports, and stand in their history, this one counted
	Metrics  string   // file of the metrics; "": they are not written

	Cache     string // folder for what is brought of buckets; see bucket.Cache
	CacheSize int64  // the most bytes that are kept there

	over   func(files) files               // tests put their own file system over the host's
	bucket func(bucket.URL) *bucket.Folder // tests have their own buckets
}

// Predictor compares what two model files predict; predict.Processes are one.
type Predictor interface {
	// Compare runs both on the same inputs. It never reports what did not run as passed.
	Compare(context.Context, predict.Comparison) outcome.Check
	// Name is the engine's name and version.
	Name() string
}

// Document takes a run's events and renders them; report.Document is one.
type Document interface {
	outcome.Sink
	WriteHTML(io.Writer) error
	// ReadLast reads the report.json that this one is to replace, while the run's events may come.
	ReadLast(io.Reader)
	// Recall takes the history over from what ReadLast has read; it keeps so many runs, with this one. kept is the name of the
	// file that has the page of a run that began then; "" where none has.
	Recall(keep int, kept func(began time.Time) string)
	WriteJSON(io.Writer) error
	// WriteMetrics writes the metrics. It takes the time of the last success over from before, the metrics of the previous
	// run, which may be empty.
	WriteMetrics(to io.Writer, before io.Reader) error
}

// ErrPlace says that the output, the report or the metrics must not be written where they were asked for.
var ErrPlace = errors.New("nothing was folded")

// Run folds the models, and writes the report and the metrics. The error is for what keeps all of them from being folded,
// or the report from being written: a model's own failure is in the report alone. ErrLocked is in its chain where another
// run has the output folder, ErrPlace where the output, the report or the metrics would be in the way of something.
func Run(ctx context.Context, o Options) (end outcome.End, err error) {
	started := time.Now()
	zoo, from, err := walk(ctx, &o)
	if from != nil {
		defer from.Close()
	}
	if err != nil && ctx.Err() != nil {
		return outcome.End{Exit: ExitInterrupted, Seconds: time.Since(started).Seconds()}, nil
	}
	if err != nil {
		return end, err
	}
	if err := o.startEngine(); err != nil {
		return end, err
	}
	p, err := openPlaces(&o, zoo, from)
	if err != nil {
		return end, err
	}
	defer p.close()
	zoo.Folders, zoo.Files = nil, nil // the guard has them; those of ten thousand models are megabytes
	if !o.DryRun {
		unlock, err := lock(p.fsys, o.Manifest.Out)
		if err != nil {
			return end, err
		}
		defer unlock()
		if o.Remote == nil {
			if err := marked(p.fsys, o.Manifest.Out); err != nil {
				return end, err
			}
		}
	}
	r := newRunner(o, p, nil, p.staging)
	r.end.Notes = zoo.Notes
	if r.manifest, err = fromOut(o.Manifest); err != nil {
		return end, err
	}
	if err := r.openBooks(ctx); err != nil {
		return end, fmt.Errorf("ledger: %w", err)
	}
	apart := r.remote != nil && !o.DryRun
	if !o.DryRun && !apart {
		r.note("sweep", sweep(p.fsys, o.Manifest.Out))
	}
	if o.Document != nil {
		r.Sink = outcome.Tee{o.Sink, o.Document}
	}
	p.readLast(o.Document, o.Keep)
	r.models, r.hidden = living(zoo)
	r.measure(ctx, zoo.Jobs)
	r.start(ctx, zoo, started)
	r.failures(zoo)
	var lost error
	if apart {
		lost = r.allRemote(ctx, zoo.Jobs)
		r.endRemote(ctx)
	} else {
		r.all(ctx, zoo.Jobs)
	}
	r.note("sweep", r.stages.close())
	r.end.Unmatched = r.strangers(zoo)
	if ctx.Err() == nil {
		r.orphans(ctx, zoo)
		r.idle(zoo)
	}
	if apart && lost == nil {
		r.closeRemote(ctx)
	}
	r.note("ledger", r.books.close())
	r.finish(ctx, started)
	if o.Report != "" {
		r.end.Report = bucket.Shown(filepath.Join(o.Report, reportFiles[0]))
	}
	r.Sink.End(r.end)
	return r.end, errors.Join(lost, p.writeReport(o.Document, o.Keep), p.writeMetrics(o.Document))
}

// startEngine waits for the engine, where one was started.
func (o *Options) startEngine() (err error) {
	if o.Engine != nil {
		o.Predict, o.NoEngine, err = o.Engine()
	}
	return err
}

// openBooks opens what is remembered of the output folder.
func (r *runner) openBooks(ctx context.Context) error {
	if r.Remote != nil {
		return r.openRemote(ctx)
	}
	books, err := openLedger(r.fsys, r.Manifest.Out, r.DryRun)
	if err == nil { // a pointer that is nil is no interface that is
		r.books = books
	}
	return err
}

// walk lists the zoo; from is where it lies, if that is a bucket.
func walk(ctx context.Context, o *Options) (zoo *manifests.Zoo, from *bucket.Folder, err error) {
	if o.Manifest.ZooURL == nil {
		zoo, err = o.Manifest.Walk(ctx)
		return zoo, nil, err
	}
	if from, err = openBucket(ctx, o, *o.Manifest.ZooURL); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrPlace, err)
	}
	if err = from.List(ctx); err == nil {
		zoo, err = o.Manifest.WalkIn(ctx, &mounted{ctx: ctx, folders: []*bucket.Folder{from}})
	}
	return zoo, from, err
}

// runner is a run under way.
type runner struct {
	Options
	fsys     files
	guard    *store.Guard
	zoo      *bucket.Folder    // see places
	local    *bucket.Workspace // the same
	manifest string            // path relative to the output folder
	books    books
	remote   *remote         // the part that other processes do; nil: none
	alone    bool            // there is no zoo, and no ledger that knows what earlier runs made: see Fold
	models   map[string]bool // the zoo's models
	hidden   []string        // folders of the zoo that could not be read
	heavy    chan struct{}   // a place for each model that may be loaded whole at a time
	hands    chan struct{}   // a place for each model that may be worked on at a time
	placing  chan struct{}   // a place for each model whose outputs may be put in place at a time
	waiting  chan struct{}   // a place for each model that may wait for the disk meanwhile; nil: none may
	stages   *stages
	known    sync.Map // settings, by rule and format
	alike    alike    // what is told of models

	lock   sync.Mutex
	end    outcome.End
	behind error                               // of a model whose objects in a bucket somebody changed meanwhile: looked at anew, it may do
	claims map[string]claim                    // by path: the outputs of this run
	parts  map[string]bool                     // by path: the files that models are made of, as far as they were known at the start
	kept   map[*manifests.Rule]map[string]bool // keep patterns that match a node of some model
}

// newRunner is a run whose models are staged below a folder.
func newRunner(o Options, p *places, books books, staging string) *runner {
	workers := max(1, o.Workers)
	r := &runner{
		Options: o, fsys: p.fsys, guard: p.guard, zoo: p.zoo, local: p.work, books: books, stages: &stages{fsys: p.fsys, below: staging},
		claims: map[string]claim{}, parts: map[string]bool{}, kept: map[*manifests.Rule]map[string]bool{}, end: outcome.End{Counts: map[outcome.Status]int{}},
		heavy: make(chan struct{}, max(1, workers/2)), hands: make(chan struct{}, workers), placing: make(chan struct{}, workers),
	}
	if workers > 1 {
		r.waiting = make(chan struct{}, max(mostWaiting, workers))
	}
	return r
}

// finish sums the run up.
func (r *runner) finish(ctx context.Context, started time.Time) {
	r.end.Seconds = time.Since(started).Seconds()
	r.end.PeakMemory = peakMemory()
	if b, ok := r.Backend.(tensor.Noter); ok {
		r.end.Notes = append(r.end.Notes, b.Notes()...)
	}
	c := r.end.Counts
	switch {
	case ctx.Err() != nil:
		r.end.Exit = ExitInterrupted
	case c[outcome.Failed] > 0:
		r.end.Exit = ExitFailed
	case r.DryRun && r.Detailed && c[outcome.Folded]+c[outcome.Copied]+c[outcome.Skipped]+len(r.end.WouldRemove) > 0:
		r.end.Exit = ExitChanges
	case r.end.Unproven > 0:
		r.end.Exit = ExitUnproven
	}
}

// note keeps an error that fails no model for the run's notes.
func (r *runner) note(what string, err error) {
	if err != nil {
		r.lock.Lock()
		defer r.lock.Unlock()
		r.end.Notes = append(r.end.Notes, what+": "+oneLine(err))
	}
}

// strangers are the unmatched files that do not belong to a model, as weights and external data do.
func (r *runner) strangers(zoo *manifests.Zoo) []string {
	for _, j := range zoo.Jobs {
		if e := r.books.get(r.owner(&j)); e != nil {
			r.belong(e.Inputs)
		}
	}
	return slices.DeleteFunc(zoo.Unmatched, func(rel string) bool {
		return r.parts[filepath.Join(r.Manifest.Zoo, filepath.FromSlash(rel))]
	})
}

func (r *runner) start(ctx context.Context, zoo *manifests.Zoo, at time.Time) {
	s := outcome.Start{
		Time: at, Version: r.Version, Manifest: r.Manifest.Path, Backend: r.Backend.Name(), Why: r.Why, Engine: r.NoEngine,
		Workers: r.Workers, Models: len(zoo.Jobs), DryRun: r.DryRun,
	}
	if r.Predict != nil {
		s.Engine = r.Predict.Name()
	}
	if r.remote != nil {
		s.Backend, s.Why = r.remote.Name(ctx), ""
		s.Engine = "ONNX Runtime of the workers"
		if !r.remote.has.Engine {
			s.Engine = "no worker has ONNX Runtime"
		}
	}
	for _, j := range zoo.Jobs {
		s.Bytes += j.Size
	}
	r.Sink.Start(s)
}

// failures reports the models and folders of the zoo that could not be read.
func (r *runner) failures(zoo *manifests.Zoo) {
	for _, f := range zoo.Failures {
		r.report(outcome.Model{Path: f.Path, Status: outcome.Failed, Error: oneLine(f.Err), Parity: notAsked, Algebra: notAsked, Predictions: notAsked}, 0)
	}
}

// all does the jobs, the largest first, so that no worker ends with a large one when the others are done.
func (r *runner) all(ctx context.Context, jobs []manifests.Job) {
	order := slices.Clone(jobs)
	slices.SortStableFunc(order, func(a, b manifests.Job) int {
		return int(min(max(b.Size-a.Size, -1), 1))
	})
	p := pool.New()
	for k := range order {
		r.hands <- struct{}{}
		p.Go(func() { r.job(ctx, &order[k]) })
	}
	p.Wait()
}

// mostWaiting is how many models wait for the disk while others are worked on. A disk takes longer for one small file than a
// worker takes for a model, and hardly longer for many at the same time. Each has a folder and a file open meanwhile.
const mostWaiting = 96

// job does one model and reports it, whatever happens.
func (r *runner) job(ctx context.Context, j *manifests.Job) {
	started := time.Now()
	meter := &meter{left: j.Size, tell: func(n int64) {
		r.lock.Lock()
		defer r.lock.Unlock()
		r.Sink.Progress(n)
	}}
	w := &work{runner: r, job: j, near: j, asked: r.checks(j.Rule), meter: meter}
	defer func() {
		if w.waits {
			<-r.waiting
		} else {
			<-r.hands
		}
	}()
	w.result = outcome.Model{Path: j.Path, Bytes: j.Size, Status: outcome.Interrupted, Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
	if ctx.Err() != nil {
		w.result.Error = outcome.NotBegun
	} else {
		w.within(ctx)
	}
	if w.toHand {
		err := w.hand(ctx)
		if err == nil {
			return
		}
		w.fails(ctx, err)
	}
	if r.remote != nil && !r.DryRun {
		if r.remote.settle(r.id(j)) == nil {
			return // a worker has answered meanwhile
		}
		defer r.remote.settled()
	}
	m := w.result
	m.Seconds = time.Since(started).Seconds()
	for _, c := range []*outcome.Check{&m.Parity, &m.Algebra, &m.Predictions} {
		c.Difference, c.Jitter, c.Limit = finite(c.Difference), finite(c.Jitter), finite(c.Limit)
	}
	if m.Status == outcome.Failed || m.Status == outcome.Interrupted { // it has no output
		m.After, m.Output, m.OutputBytes, m.ExportBytes = m.Before, "", 0, 0
	}
	if m.Status != outcome.Unchanged { // the ledger has done that
		r.alike.share(&m)
	}
	r.report(m, meter.finish())
}

// report reports a finished model, and its bytes that progress has not counted yet.
func (r *runner) report(m outcome.Model, bytes int64) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.end.Counts[m.Status]++
	r.end.Before += m.Before
	r.end.After += m.After
	r.end.Bytes += m.Bytes
	r.end.OutputBytes += m.OutputBytes
	r.end.ExportBytes += m.ExportBytes
	if !r.DryRun && m.Lacks() {
		r.end.Unproven++
	}
	r.Sink.Progress(bytes)
	r.Sink.Done(m)
}

// finite is a figure that JSON can hold: the largest float64 instead of NaN and infinity.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return math.MaxFloat64
	}
	return x
}

var notAsked = outcome.Check{Status: outcome.NotRun, Note: outcome.NotAsked}

// begin reports that work on a model begins.
func (r *runner) begin(j *manifests.Job) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.Sink.Begin(outcome.Begin{Path: j.Path, Bytes: j.Size})
}

// checks are the proofs asked for.
func (o *Options) checks(rule *manifests.Rule) []string {
	if o.Verify != nil {
		return *o.Verify
	}
	return rule.Verify
}

// Asks says whether a check is asked for by some rule of the manifest.
func (o *Options) Asks(check string) bool {
	return slices.ContainsFunc(o.Manifest.Rules, func(r manifests.Rule) bool { return slices.Contains(o.checks(&r), check) })
}

// within does the model within its timeout. A panic fails the model, not the run.
func (w *work) within(ctx context.Context) {
	timeout := w.job.Rule.Timeout
	if w.Timeout > 0 {
		timeout = w.Timeout
	}
	inner, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("timed out after %v", timeout))
	defer cancel()
	var err error
	if caught := panics.Try(func() { err = w.do(inner) }); caught != nil {
		err = fmt.Errorf("a bug of zoofold, please report it: %v at %s", caught.Value, where(caught.Stack))
	}
	if errors.Is(err, bucket.ErrChanged) {
		w.lock.Lock()
		w.behind = err
		w.lock.Unlock()
	}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = context.Cause(inner)
		}
		w.fails(ctx, err)
	}
}

// fails says why there is no result.
func (w *work) fails(ctx context.Context, err error) {
	w.result.Status, w.result.Error = outcome.Failed, w.named(oneLine(err))
	if ctx.Err() != nil {
		w.result.Status, w.result.Error = outcome.Interrupted, "interrupted"
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

// maxError bounds the bytes of an error in the report: names in a hostile file may be long.
const maxError = 1000

func oneLine(err error) string {
	text := bucket.Shown(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	if len(text) > maxError {
		text = text[:maxError*3/4] + " ... " + text[len(text)-maxError/4:]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// peakMemory is the largest resident memory of the process so far, in bytes; 0 if the system does not tell.
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
