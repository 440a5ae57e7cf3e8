package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
)

// ErrChanged says that a model's files changed while they were read.
var ErrChanged = errors.New("changed while it was read")

// ErrUnproven says that a folded model failed one of its checks, or could not be checked as it has to be.
var ErrUnproven = errors.New("the folded model is not proven and was not kept")

// work is the work on one model: its steps are open, plan, write, prove and commit.
type work struct {
	*runner
	job     *manifests.Job
	near    *manifests.Job // the job with paths of files of this host, for opening them
	view    string         // the folder of the cache that holds these; "" where they are the zoo's own
	viewing bool           // the view is there
	asked   []string       // the checks
	beside  string         // stamps of further files that decide how the model is read: see consult
	result  outcome.Model  // its result
	meter   *meter

	before  []stamp           // the stamps of its files before they were opened
	mode    fs.FileMode       // of its first file
	source  format.File       // the original
	plan    *fold.Plan        // what was done to the source's model
	heard   *listener         // observes reads of the source's constants
	kept    []string          // keep patterns that match one of its nodes
	out     *stage            // nil until something is written
	model   int               // how many of the stage's files are the model's; exports follow
	renamed map[string]string // values that have other names in the written file
	waits   bool              // it only waits for the disk
	found   []stamp           // what was in the places of the outputs when it was last seen that it may be replaced
	toHand  bool              // it is to be done, elsewhere
	moved   [][2]string       // names of files beside the model that were taken, and their new names
}

// do does the model, unless it is up to date.
func (w *work) do(ctx context.Context) error {
	w.consult()
	if w.Force != ForceAll {
		if e := w.upToDate(ctx); e != nil {
			w.remembered(e)
			return nil
		}
	}
	if w.remote != nil && !w.DryRun {
		w.toHand = true
		return nil
	}
	w.begin(w.job)
	defer w.close()
	if err := w.bring(ctx); err != nil {
		return err
	}
	if err := w.open(ctx); err != nil {
		return w.disagreed(err)
	}
	w.result.Bytes = total(w.before)
	switch {
	case w.DryRun:
		return w.foresee()
	case !changes(w.plan) && w.job.Rule.Unfoldable == "skip":
		return w.skip(ctx)
	}
	if err := w.couldProve(); err != nil {
		return err
	}
	return w.make(ctx)
}

// close closes the original, and drops it and its plan.
func (w *work) close() {
	if w.source != nil {
		w.source.Close()
	}
	w.source, w.plan, w.heard = nil, nil, nil
	w.release()
}

// handOn gives the worker to another model while this one, written and proven, waits for the disk and for other processes.
func (w *work) handOn() {
	if w.waits || cap(w.waiting) == 0 {
		return
	}
	w.close()
	w.waiting <- struct{}{}
	<-w.hands
	w.waits = true
}

// changes says whether a plan does anything.
func changes(p *fold.Plan) bool {
	return slices.ContainsFunc(p.Maps, func(x fold.Map) bool { return x.Verdict != fold.Left }) || len(p.Regions) > 0
}

// foresee is the result of a dry run, as far as the plan tells.
func (w *work) foresee() error {
	switch {
	case changes(w.plan):
		w.result.Status = outcome.Folded
	case w.job.Rule.Unfoldable == "skip":
		w.result.Status = outcome.Skipped
	default:
		w.result.Status = outcome.Copied
	}
	_, err := w.standing(w.job.Target)
	return err
}

// skip records that there is nothing to fold, and writes nothing.
func (w *work) skip(ctx context.Context) error {
	after, err := unchanged(ctx, w.fsys, w.before, nil)
	if err != nil {
		return err
	}
	w.result.Status = outcome.Skipped
	w.remember(w.entry(after, nil))
	return nil
}

// make writes the model's output, proves it and puts it in its place.
func (w *work) make(ctx context.Context) (err error) {
	if w.out, err = w.stages.stage(w.job.Target, w.mode); err != nil {
		return err
	}
	w.out.fsys, w.out.meter = w.fsys, w.meter // models of a worker share stages, and not what they know of a bucket
	committed := false
	defer func() {
		if !committed {
			_ = w.out.discard() // the first error matters more
		}
	}()
	for {
		warnings := w.result.Warnings
		err := w.fill(ctx)
		if shared, yes := errors.AsType[*sharedError](err); yes && w.apart(shared, warnings) {
			continue
		}
		committed = err == nil
		return err
	}
}

// fill writes the model into its stage, proves it there, and puts it in its place.
func (w *work) fill(ctx context.Context) error {
	w.result.Status = outcome.Copied
	if changes(w.plan) {
		if err := w.write(ctx); err != nil {
			return err
		}
	}
	if changes(w.plan) { // writing may have shown that nothing can be folded
		w.result.Status = outcome.Folded
		if f, ok := w.source.(format.Warner); ok {
			w.result.Warnings = append(w.result.Warnings, f.Warnings()...)
		}
		if err := w.prove(ctx); err != nil {
			return err
		}
	} else if err := w.copy(ctx); err != nil {
		return err
	}
	if ratio, yes := w.slower(); yes {
		if err := w.giveUp(ctx, ratio); err != nil {
			return err
		}
	}
	w.model = len(w.out.order)
	if err := w.export(ctx); err != nil {
		return err
	}
	synced := make(chan error, 1)
	go func() { synced <- w.out.sync() }() // the disk works in parallel
	after, hashes, err := w.digests(ctx)
	if err == nil && len(w.out.order) == 1 {
		w.handOn() // later, further files may have to be given other names, for which the original has to be open
	}
	if err == nil {
		err = w.claim(ctx, hashes)
	}
	if err == nil {
		w.compare(after, hashes)
		w.handOn()
		err = w.announce(ctx, hashes)
	}
	if err = errors.Join(err, <-synced); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.commit(ctx, after, hashes)
}

// giveUp copies the original in place of a folded model that is slower.
func (w *work) giveUp(ctx context.Context, ratio float64) error {
	if err := w.out.restart(); err != nil {
		return err
	}
	if len(w.moved) > 0 { // the open one, which is written then, is folded
		if err := w.reopen(ctx); err != nil {
			return err
		}
		w.heard = listen(w.source.Model())
	}
	if err := w.copy(ctx); err != nil {
		return err
	}
	why := fmt.Sprintf("folding makes the model slower in ONNX Runtime: × %.2f, the lesser of two measurements", ratio)
	w.copied()
	w.result.Warnings = append(w.result.Warnings, why)
	w.result.Remaining, w.result.Folds = nil, nil
	for k := range w.result.Maps {
		m := &w.result.Maps[k]
		m.Verdict, m.Into, m.Code, m.Reason = string(fold.Left), nil, "slower", why
		w.result.Remaining = append(w.result.Remaining, outcome.Left{Graph: m.Graph, Node: m.Node, Code: m.Code, Reason: m.Reason})
	}
	return nil
}

// copied sets the result to that of a copy, whatever was planned.
func (w *work) copied() {
	w.result.Status, w.result.After = outcome.Copied, w.result.Before
	w.result.Parity, w.result.Algebra, w.result.Predictions = notAsked, notAsked, notAsked
}

// compare sets the result to that of a copy if the written files equal the original's, whatever was planned.
func (w *work) compare(read []stamp, written []string) {
	if w.result.Status != outcome.Folded || len(read) != w.model {
		return
	}
	for k, s := range read {
		if s.Hash != written[k] {
			return
		}
	}
	w.copied()
}

// open opens the model and plans its folding. Only an open model tells its files: one with several is opened twice, so that
// their stamps are older than what is read.
func (w *work) open(ctx context.Context) (err error) {
	j := w.near
	if err = w.watch(ctx, j.Source); err != nil {
		return err
	}
	if w.source, err = format.Open(ctx, j.Source, options(j)); err != nil {
		return err
	}
	defer func() {
		if err != nil && w.source != nil {
			w.source.Close()
			w.source = nil
		}
	}()
	if inputs := w.source.Inputs(); len(inputs) > 1 {
		w.source.Close()
		if err = w.watch(ctx, inputs...); err != nil {
			return err
		}
		if w.source, err = format.Open(ctx, j.Source, options(j)); err != nil {
			return err
		}
		if !slices.Equal(inputs, w.source.Inputs()) {
			return fmt.Errorf("%s: %w: it is made of other files now", j.Source, ErrChanged)
		}
	}
	w.noteKept()
	return w.fold(ctx, nil)
}

// noteKept records which of the rule's keep patterns match a node.
func (w *work) noteKept() {
	for _, pattern := range w.job.Rule.Keep {
		named := false
		w.source.Model().Walk(func(g *model.Graph) {
			named = named || slices.ContainsFunc(g.Nodes, func(n *model.Node) bool { return doublestar.MatchUnvalidated(pattern, n.Name) })
		})
		if named {
			w.kept = append(w.kept, pattern)
		}
	}
}

// fold plans the folding of the open model, and describes it in the result; refuse names constants that must not be
// rescaled.
func (w *work) fold(ctx context.Context, refuse map[string]fold.Code) error {
	l := listen(w.source.Model())
	w.heard = l
	backend, _ := w.checked()
	how := w.job.Rule.Folding()
	how.Refuse, how.Backend = refuse, backend
	plan, err := fold.Fold(ctx, w.source.Model(), how)
	if err := errors.Join(err, l.failure()); err != nil {
		return err
	}
	w.plan = plan
	w.describe()
	return nil
}

// options are the format's options by a job's rule.
func options(j *manifests.Job) format.Options {
	s := j.Rule.State
	o := format.Options{
		Weights: j.Weights, Settings: j.Rule.Formats,
		State: format.State{Graph: j.Graph, Presets: s.Presets, Epsilon: s.Epsilon, Untie: s.Untie, Config: filepath.Join(filepath.Dir(j.Source), "config.json")},
	}
	for _, p := range s.Pairs {
		o.State.Pairs = append(o.State.Pairs, format.Pair{Linear: p.Linear, Norm: p.Norm, First: p.First, Transposed: p.Transposed, Epsilon: p.Epsilon})
	}
	return o
}

// consult takes the stamps of the files that decide how a checkpoint is read, and guards them.
func (w *work) consult() {
	if f, err := format.Find(w.job.Source); err != nil || !f.Bare {
		return
	}
	o := options(w.job).State
	path := o.Config
	if o.Graph != "" {
		path = o.Graph
	}
	w.beside = " beside=none"
	if info, err := w.fsys.Stat(path); err == nil {
		w.beside = fmt.Sprintf(" beside=%d@%d", info.Size(), info.ModTime().UnixNano())
		w.shield(info)
	}
}

// decisive is all that the output depends on besides the model's files.
func (w *work) decisive() string { return w.settings(w.job.Rule, w.job.Source) + w.beside }

// staged are the options for opening the model in the stage.
func (w *work) staged() format.Options {
	o := options(w.near)
	if inputs := w.source.Inputs(); len(inputs) > 1 {
		o.Weights = w.out.path(format.Beside(inputs[0], inputs[1]))
	}
	return o
}

func (w *work) backend() tensor.Backend {
	if w.job.Rule.Device == "cpu" && w.Host != nil {
		return w.Host
	}
	return w.Backend
}

// checked is the model's backend, and the Parity that wraps it if that check is asked for; else nil.
func (w *work) checked() (tensor.Backend, *verify.Parity) {
	if !slices.Contains(w.asked, "parity") {
		return w.backend(), nil
	}
	parity := verify.NewParity(w.backend())
	return parity, parity
}

// disagreed records a failed parity check in the result, if that is the error.
func (w *work) disagreed(err error) error {
	if !errors.Is(err, verify.ErrMismatch) {
		return err
	}
	w.result.Parity = outcome.Check{Status: outcome.Mismatch, Note: oneLine(err)}
	return fmt.Errorf("%w: parity: %w", ErrUnproven, err)
}

// maxReplans bounds how often a model is planned again because a rescaled constant does not fit its type.
const maxReplans = 64

// write writes the folded model into the stage. If a rescaled constant does not fit its type, the model is planned again
// without rescaling that; if nothing is left to fold then, nothing is written.
func (w *work) write(ctx context.Context) error {
	refuse := map[string]fold.Code{}
	for changes(w.plan) {
		backend, parity := w.checked()
		w.heard.hashes(w.source.Inputs())
		w.out.heard = w.heard
		renamed, err := w.source.Write(ctx, w.out, backend)
		var overflow *format.OverflowError
		switch {
		case err == nil:
			if parity != nil {
				w.result.Parity = outcome.Check{Status: outcome.Passed, Compared: parity.Compared()}
			}
			w.renamed = renamed
			return nil
		case !errors.As(err, &overflow) || len(refuse) >= maxReplans || refuse[overflow.Tensor] != "":
			return w.disagreed(err)
		}
		refuse[overflow.Tensor] = misfit(overflow.Tally)
		if err := w.again(ctx, refuse); err != nil {
			return err
		}
	}
	return nil
}

// misfit is why a constant does not fit its type.
func misfit(t tensor.Tally) fold.Code {
	switch {
	case t.NonFinite > 0:
		return fold.Statistics
	case t.Overflow > 0:
		return fold.Overflow
	}
	return fold.Underflow
}

// again opens the original again and plans it without rescaling some constants.
func (w *work) again(ctx context.Context, refuse map[string]fold.Code) error {
	if err := w.out.restart(); err != nil {
		return err
	}
	if err := w.reopen(ctx); err != nil {
		return err
	}
	return w.disagreed(w.fold(ctx, refuse))
}

// reopen opens the original again, without what was planned; renamed files keep their new names.
func (w *work) reopen(ctx context.Context) error {
	again, err := format.Open(ctx, w.near.Source, options(w.near))
	if err != nil {
		return err
	}
	w.source.Close()
	w.source = again
	for _, m := range w.moved {
		if err := again.(format.Mover).Move(m[0], m[1]); err != nil {
			return err
		}
	}
	return nil
}

// copy copies the model's files as they are.
func (w *work) copy(ctx context.Context) error {
	if len(w.moved) > 0 { // it refers to renamed files
		_, err := w.source.Write(ctx, w.out, w.Backend)
		return err
	}
	return copyFiles(ctx, w.source.Inputs(), w.out)
}

// export writes the exports that the manifest asks for beside the model, from the staged model.
func (w *work) export(ctx context.Context) error {
	if len(w.job.Rule.Export) == 0 {
		return nil
	}
	f, err := format.Open(ctx, w.out.path(""), w.staged())
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %w", err)
	}
	defer f.Close()
	name := filepath.Base(w.job.Target)
	for _, to := range w.job.Rule.Export {
		e, err := format.FindExporter(to)
		if err != nil {
			return err
		}
		if isForm(f, e) { // the folded model has that form already
			continue
		}
		rel := strings.TrimSuffix(name, filepath.Ext(name)) + e.Suffix
		if err := e.Export(ctx, f.Model(), w.out, rel, w.backend()); err != nil {
			return fmt.Errorf("export to %s: %w", to, err)
		}
	}
	return nil
}

// describe copies the plan into the result.
func (w *work) describe() {
	m := &w.result
	m.Before, m.After, m.Warnings = w.plan.Before, w.plan.After, nil
	if f, ok := w.source.(format.Noter); ok {
		m.Warnings = f.Notes()
	}
	m.Maps, m.Remaining = w.plan.Account()
	m.Folds = w.plan.Folds
	for _, x := range m.Maps {
		if x.Code == string(fold.Statistics) {
			m.Warnings = append(m.Warnings, x.Reason)
		}
	}
}
