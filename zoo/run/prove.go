package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// required says whether each check that is asked for has to run for the model to be kept.
func (w *work) required() bool { return w.job.Rule.Required(w.Verify != nil) }

// couldProve is an error if a check that has to run cannot: that is known before anything is written.
func (w *work) couldProve() error {
	if changes(w.plan) && w.Predict == nil && w.required() && slices.Contains(w.asked, "predictions") {
		return w.unproven("predictions", w.NoEngine)
	}
	return nil
}

// unproven is the error for a model that is not committed because a required check did not run.
func (w *work) unproven(check, why string) error {
	return fmt.Errorf("%w: %s did not run: %s (proof: try keeps such models)", ErrUnproven, check, why)
}

// prove runs the checks on the staged files. The written files are opened again, so that what is checked is what was
// written; that they can be read is checked in any case.
func (w *work) prove(ctx context.Context) error {
	folded, err := format.Open(ctx, w.out.path(""), w.staged())
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %w", err)
	}
	defer folded.Close()
	if slices.Contains(w.asked, "predictions") || slices.Contains(w.asked, "algebra") {
		if err := w.evaluate(ctx, folded); err != nil {
			return err
		}
	}
	for _, c := range w.result.Checks() {
		if w.required() && slices.Contains(w.asked, c.Name) && c.Status == outcome.NotRun {
			return w.unproven(c.Name, c.Note)
		}
	}
	return nil
}

// evaluate runs the checks that compute both models.
func (w *work) evaluate(ctx context.Context, folded format.File) error {
	original, err := format.Open(ctx, w.job.Source, options(w.job))
	if err != nil {
		return err
	}
	defer original.Close()
	verify.Rename(folded.Model(), w.renamed)
	if slices.Contains(w.asked, "predictions") { // before the algebra check fixes free extents
		if err := w.predict(ctx, original, folded); err != nil {
			return err
		}
	}
	if slices.Contains(w.asked, "algebra") {
		return w.algebra(ctx, original, folded)
	}
	return nil
}

// slower says that the folded model is slower than the original, and that the manifest does not want it then.
func (w *work) slower() (ratio float64, yes bool) {
	l := w.result.Predictions.Latency
	switch {
	case w.job.Rule.Latency != "gate" || w.result.Status != outcome.Folded:
		return 0, false
	case l == nil:
		w.result.Warnings = append(w.result.Warnings, "latency: gate: whether folding makes the model slower is not known, since predictions did not run")
		return 0, false
	case l.Pairs == 0:
		w.result.Warnings = append(w.result.Warnings, "latency: gate: whether folding makes the model slower is not known: "+l.Note)
		return 0, false
	}
	return l.Ratio, l.Ratio > predict.Slower
}

// algebra evaluates what changed in float64.
func (w *work) algebra(ctx context.Context, original, folded format.File) error {
	w.plan.Inline(original.Model())
	result, err := verify.Algebra(ctx, original.Model(), folded.Model(), w.plan)
	if err != nil {
		return err
	}
	if w.result.Algebra = result.Check(); w.result.Algebra.Status == outcome.Mismatch {
		return fmt.Errorf("%w: algebra: %s", ErrUnproven, w.result.Algebra.Note)
	}
	return nil
}

// predict runs the original and the folded model in ONNX Runtime; heavy bounds how many models do at a time.
func (w *work) predict(ctx context.Context, original, folded format.File) error {
	w.result.Predictions = outcome.Check{Status: outcome.NotRun, Note: w.NoEngine}
	if p, ok := original.(format.Partial); ok && p.Partial() != "" {
		w.result.Predictions.Note = p.Partial()
		return nil
	}
	if w.Predict == nil {
		return nil
	}
	c := predict.Comparison{
		Tolerance: w.job.Rule.Tolerance, Unit: w.plan.Unit, Taps: verify.Taps(original.Model(), folded.Model()), Latency: w.Latency, Gate: w.job.Rule.Latency == "gate",
		Jittered: sync.OnceValues(func() (string, error) { return w.jittered(ctx) }),
	}
	var err error
	c.Original, err = runnable(ctx, original, w.job.Source, w.out.scratch(".original", "model.onnx"), w.backend())
	if errors.Is(err, format.ErrForeign) { // known before anything runs
		w.result.Predictions.Note = err.Error()
		return nil
	}
	if err != nil {
		return fmt.Errorf("the original as an ONNX model: %w", err)
	}
	c.Folded, err = runnable(ctx, folded, w.out.path(""), w.out.scratch(".folded", "model.onnx"), w.backend())
	if err != nil {
		return fmt.Errorf("the folded model as an ONNX model: %w", err)
	}
	select {
	case w.heavy <- struct{}{}:
		defer func() { <-w.heavy }()
	case <-ctx.Done():
		return ctx.Err()
	}
	check := w.Predict.Compare(ctx, c)
	w.result.Predictions = check
	if err := ctx.Err(); err != nil {
		return err
	}
	if check.Status == outcome.Mismatch {
		return fmt.Errorf("%w: predictions: %s", ErrUnproven, check.Note)
	}
	if foreign := len(original.Model().Foreign()); foreign > 0 && check.Status == outcome.Passed && c.Original != w.job.Source {
		w.result.Predictions.Note = fmt.Sprintf("%d of %d operators are not ONNX's: what they read was compared", foreign, len(original.Model().Graph.Nodes))
	}
	return nil
}

// runnable is the path of a model that ONNX Runtime reads: the model file's own, or that of a copy made in the stage. ONNX
// Runtime does not follow links of external data out of the model's folder, which a content-addressed cache has.
func runnable(ctx context.Context, f format.File, path string, s *stage, backend tensor.Backend) (string, error) {
	if strings.EqualFold(filepath.Ext(path), ".onnx") {
		if !linked(f.Inputs()) {
			return path, nil
		}
		defer s.close()
		return s.path(""), copyFiles(ctx, f.Inputs(), s)
	}
	e, err := format.FindExporter("onnx")
	if err != nil {
		return "", err
	}
	defer s.close()
	return s.path(""), e.Export(ctx, f.Model(), s, "", backend)
}

// linked says whether one of the model's further files is a link.
func linked(inputs []string) bool {
	return len(inputs) > 1 && slices.ContainsFunc(inputs[1:], func(path string) bool {
		info, err := os.Lstat(path)
		return err == nil && info.Mode()&fs.ModeSymlink != 0
	})
}

// jittered writes the original, as a model that ONNX Runtime reads, with the parameters that were folded moved by at most
// one unit in the last place, and is its path.
func (w *work) jittered(ctx context.Context) (string, error) {
	f, err := format.Open(ctx, w.job.Source, options(w.job))
	if err != nil {
		return "", err
	}
	defer f.Close()
	touched := map[string]bool{}
	for _, c := range w.plan.Consts {
		touched[c.Graph+"\x00"+c.Name] = c.Edit != "add"
	}
	rng := rand.New(rand.NewPCG(8, 8))
	f.Model().Walk(func(g *model.Graph) {
		for _, v := range g.Consts {
			n, ok := v.Const.Elements()
			if !ok || n > maxJittered || !v.Const.DType.Float() || !touched[g.Path()+"\x00"+v.Name] {
				continue
			}
			scale := make([]float64, n)
			for k := range scale {
				scale[k] = 1 + (2*rng.Float64()-1)*2*v.Const.DType.Unit()
			}
			v.Const = scaledBy(v.Const, scale)
		}
	})
	name := filepath.Base(w.job.Source)
	if !strings.EqualFold(filepath.Ext(name), ".onnx") {
		return runnable(ctx, f, w.job.Source, w.out.scratch(".jittered", "model.onnx"), w.backend())
	}
	s := w.out.scratch(".jittered", name)
	defer s.close()
	_, err = f.Write(ctx, s, w.backend())
	return s.path(""), err
}

// scaledBy is a constant each of whose elements is multiplied by its own scale.
func scaledBy(c *model.Constant, scale []float64) *model.Constant {
	d := *c
	if c.Data == nil {
		d.Values = slices.Clone(c.Values)
		for k := range d.Values {
			d.Values[k] *= scale[k]
		}
		return &d
	}
	d.Factors = []tensor.Factor{{Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: int64(len(scale)), Inner: 1}, Scale: scale}}
	return &d
}

// maxJittered bounds the elements of a parameter that is jittered: larger ones are left as they are.
const maxJittered = 1 << 24
