package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// prove runs the checks on the staged files. Both models are opened anew, so that what is checked is what was written.
func (r *runner) prove(ctx context.Context, j *manifests.Job, out *stage, w *written, m *report.Model) error {
	original, err := format.Open(j.Source, options(j))
	if err != nil {
		return err
	}
	defer original.Close()
	folded, err := format.Open(out.path(""), staged(j, original.Inputs(), out))
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %w", err)
	}
	defer folded.Close()
	verify.Rename(folded.Model(), w.renamed)
	taps := verify.Taps(original.Model(), folded.Model())
	checks := r.checks(j.Rule)
	c := predict.Comparison{Tolerance: j.Rule.Tolerance, Unit: w.plan.Unit, Taps: taps, Latency: r.Latency}
	if slices.Contains(checks, "predictions") && r.Predict != nil { // before the algebra gives free extents a size
		c.Original, err = Runnable(ctx, original, j.Source, filepath.Join(out.folder, ".original"), r.backend(j.Rule))
		if errors.Is(err, format.ErrForeign) { // that is known before something runs
			m.Predictions = report.Check{Status: report.NotRun, Note: err.Error()}
			checks = slices.DeleteFunc(slices.Clone(checks), func(name string) bool { return name == "predictions" })
		} else if err != nil {
			return fmt.Errorf("the original as an ONNX model: %w", err)
		}
	}
	if slices.Contains(checks, "predictions") && r.Predict != nil {
		if c.Folded, err = Runnable(ctx, folded, out.path(""), filepath.Join(out.folder, ".folded"), r.backend(j.Rule)); err != nil {
			return fmt.Errorf("the folded model as an ONNX model: %w", err)
		}
	}
	if slices.Contains(checks, "algebra") {
		fold.Inline(original.Model())
		result, err := verify.Algebra(ctx, original.Model(), folded.Model(), w.plan)
		if err != nil {
			return err
		}
		if m.Algebra = result.Check(); m.Algebra.Status == report.Mismatch {
			return fmt.Errorf("%w: algebra: %s", ErrUnproven, m.Algebra.Note)
		}
	}
	if slices.Contains(checks, "predictions") {
		c.Jittered = func(folder string) (string, error) { return r.jittered(ctx, j, folder, w.plan) }
		if err := r.predict(ctx, c, m); err != nil {
			return err
		}
		if foreign := len(original.Model().Foreign()); foreign > 0 && m.Predictions.Status == report.Passed && c.Original != j.Source {
			m.Predictions.Note = fmt.Sprintf("%d of %d operators are not ONNX's: what they read was compared", foreign, len(original.Model().Graph.Nodes))
		}
	}
	return nil
}

// Runnable is the path of a model that ONNX Runtime reads: the model file's own, or that of a copy made in a new folder.
func Runnable(ctx context.Context, f format.File, path, folder string, backend tensor.Backend) (string, error) {
	if strings.EqualFold(filepath.Ext(path), ".onnx") {
		return path, nil
	}
	e, err := format.FindExporter("onnx")
	if err != nil {
		return "", err
	}
	s := &stage{fsys: disk{}, target: filepath.Join(folder, "model.onnx"), folder: folder, mode: 0o600, open: map[string]*stagedFile{}}
	defer s.close()
	return s.path(""), e.Export(ctx, f.Model(), s, "", backend)
}

// predict runs original and folded model, as many models at a time as memory is meant for.
func (r *runner) predict(ctx context.Context, c predict.Comparison, m *report.Model) error {
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
	m.Predictions = r.Predict.Compare(ctx, c)
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Predictions.Status == report.Mismatch {
		return fmt.Errorf("%w: predictions: %s", ErrUnproven, m.Predictions.Note)
	}
	return nil
}

// jittered writes the original, as a model that ONNX Runtime reads, with the parameters that were folded moved by at most
// one unit in the last place.
func (r *runner) jittered(ctx context.Context, j *manifests.Job, folder string, plan *fold.Plan) (string, error) {
	f, err := format.Open(j.Source, options(j))
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
			scale := make([]float64, n)
			for k := range scale {
				scale[k] = 1 + (2*rng.Float64()-1)*2*v.Const.DType.Unit()
			}
			v.Const = scaledBy(v.Const, scale)
		}
	})
	if !strings.EqualFold(filepath.Ext(j.Source), ".onnx") {
		return Runnable(ctx, f, j.Source, folder, r.backend(j.Rule))
	}
	s := &stage{fsys: disk{}, target: filepath.Join(folder, filepath.Base(j.Source)), folder: folder, mode: 0o600, open: map[string]*stagedFile{}}
	defer s.close()
	_, err = f.Write(ctx, s, r.backend(j.Rule))
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

// maxJittered bounds the elements of a parameter that is moved: larger ones move little.
const maxJittered = 1 << 24
