package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// ErrChanged says that a model's files changed while they were read.
var ErrChanged = errors.New("changed while it was read")

// ErrUnproven says that a folded model failed one of its checks.
var ErrUnproven = errors.New("the folded model failed a check and was not kept")

// model folds one model, proves it and commits it.
func (r *runner) model(ctx context.Context, j *manifests.Job, rule string, m *report.Model) error {
	before, err := watch(r.fsys, j.Source)
	if err != nil {
		return err
	}
	source, plan, err := r.plan(j, nil)
	if err != nil {
		return err
	}
	defer func() { source.Close() }()
	inputs := source.Inputs()
	others, err := watch(r.fsys, inputs[1:]...)
	if err != nil {
		return err
	}
	before = append(before, others...)
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
	committed := false
	defer func() {
		if !committed {
			_ = out.discard() // what made the model fail matters more
		}
	}()
	if changed {
		if source, plan, err = r.write(ctx, j, source, plan, out, m); err != nil {
			return err
		}
		describe(m, plan)
		if err := r.prove(ctx, j, out, plan, m); err != nil {
			return err
		}
		m.Status = report.Folded
	} else {
		if err := copyFiles(ctx, inputs, out); err != nil {
			return err
		}
		m.Status = report.Copied
	}
	after, hashes, err := settle(before, out)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
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

// plan opens a model and plans its folding; refuse names constants that may not be rescaled.
func (r *runner) plan(j *manifests.Job, refuse map[string]fold.Code) (format.File, *fold.Plan, error) {
	source, err := format.Open(j.Source)
	if err != nil {
		return nil, nil, err
	}
	l := listen(source.Model())
	plan, err := fold.Fold(source.Model(), fold.Options{
		Overridable: j.Rule.Overridable == "constant", Keep: j.Rule.Keep,
		MaxDuplicateBytes: j.Rule.MaxDuplicateBytes, Off: j.Rule.Off(), Refuse: refuse,
	})
	if err = errors.Join(err, l.failure()); err != nil {
		source.Close()
		return nil, nil, err
	}
	return source, plan, nil
}

// maxReplans bounds how often a model is planned again because a constant would not fit its type.
const maxReplans = 64

// write writes the folded model into the stage. Where a constant would not fit its type, the model is planned again
// without it.
func (r *runner) write(ctx context.Context, j *manifests.Job, source format.File, plan *fold.Plan, out *stage, m *report.Model) (format.File, *fold.Plan, error) {
	backend := r.Backend
	var parity *verify.Parity
	if slices.Contains(r.checks(j.Rule), "parity") {
		parity = verify.NewParity(backend)
		backend = parity
	}
	refuse := map[string]fold.Code{}
	for {
		err := source.Write(ctx, out, backend)
		var overflow *format.OverflowError
		switch {
		case err == nil:
			if parity != nil {
				m.Parity = report.Check{Status: report.Passed, Compared: parity.Compared()}
			}
			return source, plan, nil
		case errors.Is(err, verify.ErrMismatch):
			m.Parity = report.Check{Status: report.Mismatch, Note: oneLine(err)}
			return source, plan, fmt.Errorf("%w: parity: %w", ErrUnproven, err)
		case !errors.As(err, &overflow) || len(refuse) >= maxReplans || refuse[overflow.Tensor] != "":
			return source, plan, err
		}
		refuse[overflow.Tensor] = fold.Overflow
		if overflow.Tally.NonFinite > 0 {
			refuse[overflow.Tensor] = fold.Statistics
		}
		if err := out.restart(); err != nil {
			return source, plan, err
		}
		again, replan, err := r.plan(j, refuse)
		if err != nil {
			return source, plan, err
		}
		source.Close()
		source, plan = again, replan
	}
}

// prove runs the checks on the staged files. Both models are opened anew, so that what is checked is what was written.
func (r *runner) prove(ctx context.Context, j *manifests.Job, out *stage, plan *fold.Plan, m *report.Model) error {
	original, err := format.Open(j.Source)
	if err != nil {
		return err
	}
	defer original.Close()
	folded, err := format.Open(out.path(""))
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %w", err)
	}
	defer folded.Close()
	taps := verify.Taps(original.Model(), folded.Model())
	checks := r.checks(j.Rule)
	if slices.Contains(checks, "algebra") {
		fold.Inline(original.Model())
		result, err := verify.Algebra(ctx, original.Model(), folded.Model(), plan)
		if err != nil {
			return err
		}
		if m.Algebra = result.Check(); m.Algebra.Status == report.Mismatch {
			return fmt.Errorf("%w: algebra: %s", ErrUnproven, m.Algebra.Note)
		}
	}
	if slices.Contains(checks, "predictions") {
		return r.predict(ctx, j, out, plan, taps, m)
	}
	return nil
}

// predict runs original and folded model, as many models at a time as memory is meant for.
func (r *runner) predict(ctx context.Context, j *manifests.Job, out *stage, plan *fold.Plan, taps []predict.Tap, m *report.Model) error {
	if r.Predict == nil {
		m.Predictions = report.Check{Status: report.NotRun, Note: r.NoEngine}
		return nil
	}
	select {
	case r.heavy <- struct{}{}:
		defer func() { <-r.heavy }()
	case <-ctx.Done():
		return ctx.Err()
	}
	m.Predictions = r.Predict.Compare(ctx, predict.Comparison{
		Original: j.Source, Folded: out.path(""), Tolerance: j.Rule.Tolerance, Unit: plan.Unit, Taps: taps,
		Jittered: func(folder string) (string, error) { return jittered(ctx, j.Source, folder, plan, r.Backend) },
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Predictions.Status == report.Mismatch {
		return fmt.Errorf("%w: predictions: %s", ErrUnproven, m.Predictions.Note)
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
	m.Before, m.After, m.Maps = plan.Before, plan.After, nil
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
}

// copyFiles copies a model's files as they are.
func copyFiles(ctx context.Context, inputs []string, out *stage) error {
	folder, err := filepath.EvalSymlinks(filepath.Dir(inputs[0]))
	if err != nil {
		return err
	}
	for k, path := range inputs {
		rel := ""
		if k > 0 {
			if rel, err = filepath.Rel(folder, path); err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
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

// jittered writes the original with the parameters that were folded moved by at most one unit in the last place.
func jittered(ctx context.Context, source, folder string, plan *fold.Plan, backend tensor.Backend) (string, error) {
	f, err := format.Open(source)
	if err != nil {
		return "", err
	}
	defer f.Close()
	touched := map[string]bool{}
	for _, c := range plan.Consts {
		touched[c.Graph+"\x00"+c.Name] = c.Edit != "add"
	}
	rng := rand.New(rand.NewPCG(8, 8))
	f.Model().Walk(func(g *model.Graph) {
		for _, v := range g.Consts {
			n, ok := v.Const.Elements()
			if !ok || n > maxJittered || !v.Const.DType.Float() || !touched[g.Path()+"\x00"+v.Name] {
				continue
			}
			c := *v.Const
			scale := make([]float64, n)
			for k := range scale {
				scale[k] = 1 + (2*rng.Float64()-1)*2*c.DType.Unit()
			}
			c.Factors = []tensor.Factor{{Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: n, Inner: 1}, Scale: scale}}
			v.Const = &c
		}
	})
	path := filepath.Join(folder, strings.TrimPrefix(filepath.Base(source), "."))
	s := &stage{fsys: disk{}, target: path, folder: folder, mode: 0o600, open: map[string]*stagedFile{}}
	if err := f.Write(ctx, s, backend); err != nil {
		return "", err
	}
	return path, nil
}

// maxJittered bounds the elements of a parameter that is moved: larger ones move little.
const maxJittered = 1 << 24
