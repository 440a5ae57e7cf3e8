package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
)

// ErrChanged says that a model's files changed while they were read.
var ErrChanged = errors.New("changed while it was read")

// ErrUnproven says that a folded model failed one of its checks.
var ErrUnproven = errors.New("the folded model failed a check and was not kept")

// model folds one model, proves it and commits it.
func (r *runner) model(ctx context.Context, j *manifests.Job, rule string, m *report.Model, meter *meter) error {
	source, plan, before, err := r.open(ctx, j)
	if err != nil {
		return disagreed(m, err)
	}
	defer func() { source.Close() }()
	inputs := source.Inputs()
	m.Bytes = total(before)
	describe(m, plan)
	changed := slices.ContainsFunc(plan.Maps, func(x fold.Map) bool { return x.Verdict != fold.Left }) || len(plan.Regions) > 0
	if r.DryRun {
		m.Status = report.Copied
		if changed {
			m.Status = report.Folded
		}
		return nil
	}
	if !changed && j.Rule.Unfoldable == "skip" {
		m.Status = report.Skipped
		after, err := unchanged(r.fsys, before)
		if err != nil {
			return err
		}
		return r.remember(j, rule, m, after, nil, nil)
	}
	like, err := r.fsys.Stat(j.Source)
	if err != nil {
		return err
	}
	out, err := newStage(r.fsys, j.Target, like.Mode())
	if err != nil {
		return err
	}
	out.meter = meter
	committed := false
	defer func() {
		if !committed {
			_ = out.discard() // what made the model fail matters more
		}
	}()
	if changed {
		w := &written{source: source, plan: plan}
		err := r.write(ctx, j, w, out, m)
		source = w.source
		if err != nil {
			return err
		}
		describe(m, w.plan)
		if f, ok := w.source.(format.Warner); ok {
			m.Warnings = append(m.Warnings, f.Warnings()...)
		}
		if err := r.prove(ctx, j, out, w, m); err != nil {
			return err
		}
		m.Status = report.Folded
	} else {
		if err := copyFiles(ctx, inputs, out); err != nil {
			return err
		}
		m.Status = report.Copied
	}
	if err := r.export(ctx, j, inputs, out); err != nil {
		return err
	}
	after, hashes, err := settle(before, out)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(out.order) > 1 { // files beside the model may be another's too: what it is told must be what is there
		r.commits.Lock()
		defer r.commits.Unlock()
	}
	if err := r.claim(j, out, hashes); err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	committed = true
	return r.remember(j, rule, m, after, out, hashes)
}

// settle waits for the disk, and meanwhile hashes what was read, which must not have changed, and what was written, in the
// order of its files.
func settle(before []stamp, out *stage) (read []stamp, written []string, err error) {
	p := pool.New().WithErrors()
	p.Go(out.sync)
	p.Go(func() (err error) {
		read, err = unchanged(out.fsys, before)
		return err
	})
	p.Go(func() error {
		for _, rel := range out.order {
			hash, err := hashFile(out.fsys, out.path(rel))
			if err != nil {
				return err
			}
			written = append(written, hash)
		}
		return nil
	})
	return read, written, p.Wait()
}

// open opens a model and plans its folding; before are its files as they were before they were opened. Which files a model
// is made of is known when it is open: one of several is opened twice.
func (r *runner) open(ctx context.Context, j *manifests.Job) (source format.File, plan *fold.Plan, before []stamp, err error) {
	if before, err = watch(r.fsys, j.Source); err != nil {
		return nil, nil, nil, err
	}
	if source, err = format.Open(j.Source, options(j)); err != nil {
		return nil, nil, nil, err
	}
	if inputs := source.Inputs(); len(inputs) > 1 {
		source.Close()
		if before, err = watch(r.fsys, inputs...); err != nil {
			return nil, nil, nil, err
		}
		if source, err = format.Open(j.Source, options(j)); err != nil {
			return nil, nil, nil, err
		}
		if !slices.Equal(inputs, source.Inputs()) {
			source.Close()
			return nil, nil, nil, fmt.Errorf("%s: %w: it is made of other files now", j.Source, ErrChanged)
		}
	}
	if plan, err = r.plan(ctx, j, source, nil); err != nil {
		source.Close()
		return nil, nil, nil, err
	}
	return source, plan, before, nil
}

// plan plans the folding of an open model; refuse names constants that may not be rescaled.
func (r *runner) plan(ctx context.Context, j *manifests.Job, source format.File, refuse map[string]fold.Code) (*fold.Plan, error) {
	l := listen(source.Model())
	backend, _ := r.checked(j.Rule)
	plan, err := fold.Fold(source.Model(), fold.Options{
		Overridable: j.Rule.Overridable == "constant", Keep: j.Rule.Keep,
		MaxDuplicateBytes: j.Rule.MaxDuplicateBytes, Off: j.Rule.Off(), Refuse: refuse, Context: ctx,
		Neutralize: j.Rule.Norms == "neutralize", Backend: backend,
	})
	return plan, errors.Join(err, l.failure())
}

// options are what a job's rule says of its files.
func options(j *manifests.Job) format.Options {
	return format.Options{Weights: j.Weights, Epsilon: j.Rule.Epsilon, Neutralize: j.Rule.Norms == "neutralize"}
}

// staged are the options with which the model in a stage is opened.
func staged(j *manifests.Job, inputs []string, out *stage) format.Options {
	o := options(j)
	if len(inputs) > 1 {
		o.Weights = out.path(format.Beside(inputs[0], inputs[1]))
	}
	return o
}

func (r *runner) backend(rule *manifests.Rule) tensor.Backend {
	if rule.Device == "cpu" && r.Host != nil {
		return r.Host
	}
	return r.Backend
}

// checked is the backend for a rule, and the check on its bits that is in it if the rule asks for one, or nil.
func (r *runner) checked(rule *manifests.Rule) (tensor.Backend, *verify.Parity) {
	if !slices.Contains(r.checks(rule), "parity") {
		return r.backend(rule), nil
	}
	parity := verify.NewParity(r.backend(rule))
	return parity, parity
}

// disagreed notes in the report that a backend gave wrong bits, if that is the error.
func disagreed(m *report.Model, err error) error {
	if !errors.Is(err, verify.ErrMismatch) {
		return err
	}
	m.Parity = report.Check{Status: report.Mismatch, Note: oneLine(err)}
	return fmt.Errorf("%w: parity: %w", ErrUnproven, err)
}

// maxReplans bounds how often a model is planned again because a constant would not fit its type.
const maxReplans = 64

// written is a model as it was folded: the open original, what was done to it, and how the values are called that the
// written file calls otherwise.
type written struct {
	source  format.File
	plan    *fold.Plan
	renamed map[string]string
}

// write writes the folded model into the stage. Where a constant would not fit its type, the model is planned again
// without it.
func (r *runner) write(ctx context.Context, j *manifests.Job, w *written, out *stage, m *report.Model) error {
	backend, parity := r.checked(j.Rule)
	refuse := map[string]fold.Code{}
	for {
		renamed, err := w.source.Write(ctx, out, backend)
		var overflow *format.OverflowError
		switch {
		case err == nil:
			if parity != nil {
				m.Parity = report.Check{Status: report.Passed, Compared: parity.Compared()}
			}
			w.renamed = renamed
			return nil
		case !errors.As(err, &overflow) || len(refuse) >= maxReplans || refuse[overflow.Tensor] != "":
			return disagreed(m, err)
		}
		refuse[overflow.Tensor] = fold.Overflow
		if overflow.Tally.NonFinite > 0 {
			refuse[overflow.Tensor] = fold.Statistics
		}
		if err := out.restart(); err != nil {
			return err
		}
		again, err := format.Open(j.Source, options(j))
		if err != nil {
			return err
		}
		w.source.Close()
		w.source = again
		if w.plan, err = r.plan(ctx, j, again, refuse); err != nil {
			return disagreed(m, err)
		}
	}
}

// export writes the forms that the manifest asks for beside the model, from the model as it stands in the stage.
func (r *runner) export(ctx context.Context, j *manifests.Job, inputs []string, out *stage) error {
	if len(j.Rule.Export) == 0 {
		return nil
	}
	f, err := format.Open(out.path(""), staged(j, inputs, out))
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %w", err)
	}
	defer f.Close()
	name := filepath.Base(j.Target)
	for _, to := range j.Rule.Export {
		e, err := format.FindExporter(to)
		if err != nil {
			return err
		}
		rel := strings.TrimSuffix(name, filepath.Ext(name)) + e.Suffix
		if err := e.Export(ctx, f.Model(), out, rel, r.backend(j.Rule)); err != nil {
			return fmt.Errorf("export to %s: %w", to, err)
		}
	}
	return nil
}

// claim makes sure that files beside the model file, external data, are this model's alone, or the same for all who have
// them. A model of an earlier run that has become out of date loses them, and with them its output.
func (r *runner) claim(j *manifests.Job, out *stage, hashes []string) error {
	for k, rel := range out.order {
		if rel == "" {
			continue
		}
		path, mine := out.final(rel), claim{j.Path, hashes[k]}
		r.lock.Lock()
		first, taken := r.claims[path]
		if !taken {
			r.claims[path] = mine
		}
		r.lock.Unlock()
		if taken && first.hash != mine.hash {
			return sharedError(path, first.model)
		}
		for _, e := range r.books.sharing(path, j.Path) {
			if e.hashOf(path) == mine.hash {
				continue
			}
			if _, ok := e.check(r.fsys, e.Rule, false); ok {
				return sharedError(path, e.Model)
			}
			out.outdated = append(out.outdated, e.Outputs[0].Path)
		}
	}
	return nil
}

// claim is a model's on a file beside its model file, with the content that it needs.
type claim struct{ model, hash string }

func sharedError(path, owner string) error {
	return fmt.Errorf("%s belongs to %s too, which needs other bytes: give one of them another output folder", path, owner)
}

// remember notes a success in the ledger.
func (r *runner) remember(j *manifests.Job, rule string, m *report.Model, inputs []stamp, out *stage, hashes []string) error {
	e := &entry{
		Model: j.Path, Rule: rule, Inputs: inputs, Status: string(m.Status), Before: m.Before, After: m.After,
		Parity: m.Parity, Algebra: m.Algebra, Predictions: m.Predictions,
		Engineless: m.Status == report.Folded && r.Predict == nil && slices.Contains(r.checks(j.Rule), "predictions"),
	}
	if out != nil {
		m.Output, m.OutputBytes = r.relative(j.Target), 0
		for k, rel := range out.order {
			s, err := stampOf(r.fsys, out.final(rel))
			if err != nil {
				return err
			}
			s.Hash = hashes[k]
			e.Outputs = append(e.Outputs, s)
			m.OutputBytes += s.Size
		}
	}
	e.Former = r.books.leftOver(e)
	if err := r.books.add(e); err != nil {
		r.note("ledger", fmt.Errorf("%w: %s is folded again the next time", err, j.Path))
	}
	return nil
}

func (r *runner) relative(target string) string {
	rel, err := filepath.Rel(r.Manifest.Out, target)
	if err != nil {
		return target
	}
	return filepath.ToSlash(rel)
}

// describe writes what the plan says into the report.
func describe(m *report.Model, plan *fold.Plan) {
	m.Before, m.After, m.Maps, m.Remaining, m.Warnings = plan.Before, plan.After, nil, nil, nil
	for _, x := range plan.Maps {
		line := report.Map{Graph: x.Graph, Node: x.Node, Verdict: string(x.Verdict), Into: x.Into}
		if x.Reason != nil {
			line.Code, line.Reason = string(x.Reason.Code), x.Reason.Text
			if x.Reason.Code == fold.Statistics {
				m.Warnings = append(m.Warnings, x.Reason.Text)
			}
		}
		m.Maps = append(m.Maps, line)
	}
	for _, x := range plan.Remaining {
		m.Remaining = append(m.Remaining, report.Left{Graph: x.Graph, Node: x.Node, Code: string(x.Reason.Code), Reason: x.Reason.Text})
	}
}

// copyFiles copies a model's files as they are.
func copyFiles(ctx context.Context, inputs []string, out *stage) error {
	for k, path := range inputs {
		rel := ""
		if k > 0 {
			rel = format.Beside(inputs[0], path)
		}
		if err := copyFile(ctx, path, rel, out); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(ctx context.Context, path, rel string, out *stage) (err error) {
	from, err := out.fsys.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := out.Create(rel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.Copy(to, io.LimitReader(from, 64<<20))
		if err != nil || n == 0 {
			return err
		}
	}
}
