package run

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// fromOut is a manifest's path relative to its output folder, so that a tree that is moved or copied as a whole still
// recognises its outputs. For outputs in a bucket it is the absolute path.
func fromOut(m *manifests.Manifest) (string, error) {
	path, err := filepath.Abs(m.Path)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(m.Out, path); err == nil && m.OutURL == nil {
		path = rel
	}
	return filepath.ToSlash(path), nil
}

// owner is the owner of a job's entry.
func (r *runner) owner(j *manifests.Job) owner { return owner{r.manifest, j.Path} }

// settings are all that a model's output depends on besides its files: the rule's settings, and the versions of folding,
// formats and exporters.
func (r *runner) settings(rule *manifests.Rule, source string) string {
	f, _ := format.Find(source)
	type key struct {
		rule   *manifests.Rule
		format string
	}
	if text, ok := r.known.Load(key{rule, f.Name}); ok {
		return text.(string)
	}
	text := "fold@" + fold.Version
	if f.Name != "" {
		text += fmt.Sprintf(" %s@%d", f.Name, f.Version)
	}
	for _, name := range rule.Export {
		if e, err := format.FindExporter(name); err == nil {
			text += fmt.Sprintf(" to-%s@%d", e.Name, e.Version)
		}
	}
	text += " " + rule.Fingerprint()
	r.known.Store(key{rule, f.Name}, text)
	return text
}

// versions are the versions of the checks: a model that an older version passed is checked again.
var versions = map[string]int{"parity": verify.ParityVersion, "algebra": verify.AlgebraVersion, "predictions": predict.Version}

// versioned are checks with their versions: "algebra@1".
func versioned(checks []string) []string {
	var list []string
	for _, c := range checks {
		list = append(list, fmt.Sprintf("%s@%d", c, versions[c]))
	}
	return list
}

// upToDate is the entry of a model that was folded with the same settings and inputs and is proven as well as is asked and
// possible; nil if there is none. That fewer checks are asked for than then is no reason to fold it again.
func (w *work) upToDate(ctx context.Context) *entry {
	j := w.job
	e := w.books.get(w.owner(j))
	if e == nil || e.Told == nil || e.Settings != w.decisive() || e.Weights != j.Weights || e.Inputs[0].Path != j.Source || !w.suffices(e) {
		return nil
	}
	if e.Told.Status != outcome.Skipped && (len(e.Outputs) == 0 || w.books.abs(e.Outputs[0].Path) != j.Target) {
		return nil
	}
	now, ok := w.books.check(ctx, e, w.Force == ForceHash)
	if !ok {
		return nil
	}
	if now != e && !w.DryRun { // same contents, other times
		w.note("ledger", w.books.add(now))
	}
	return now
}

// suffices says whether an entry's model is proven as well as is asked, or as is possible now.
func (w *work) suffices(e *entry) bool {
	if e.Told.Status != outcome.Folded {
		return true
	}
	for _, c := range e.Told.Checks() {
		switch {
		case !slices.Contains(w.asked, c.Name):
		case !slices.Contains(e.Asked, versioned([]string{c.Name})[0]):
			return false
		case c.Status == outcome.NotRun && (w.required() || c.Name == "predictions" && e.Engineless && w.predicts()):
			return false
		}
	}
	return true
}

// predicts says whether predictions can be compared, here or where models are done.
func (r *runner) predicts() bool { return r.Predict != nil || r.remote != nil && r.remote.has.Engine }

// remembered fills in the result of an unchanged model from the ledger.
func (w *work) remembered(e *entry) {
	bytes := w.result.Bytes
	said := w.books.tell(e)
	w.result = said.Model
	w.result.Status, w.result.Bytes = outcome.Unchanged, max(bytes, total(e.Inputs))
	w.result.Path, w.result.Output = w.job.Path, ""
	if len(e.Outputs) > 0 {
		w.result.Output = e.Outputs[0].Path
	}
	for _, c := range []struct {
		name string
		*outcome.Check
	}{{"parity", &w.result.Parity}, {"algebra", &w.result.Algebra}, {"predictions", &w.result.Predictions}} {
		if c.Status == outcome.NotRun && !slices.Contains(w.asked, c.name) { // a check that did not run then, and is not asked for now
			*c.Check = notAsked
		}
	}
	w.keeps(said.Kept)
	for _, s := range e.Inputs[1:] { // the model file is guarded already
		if info, err := w.fsys.Stat(s.Path); err == nil {
			w.shield(info)
		}
	}
}

// keeps records keep patterns of the model's rule that match a node.
func (w *work) keeps(patterns []string) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, p := range patterns {
		if w.runner.kept[w.job.Rule] == nil {
			w.runner.kept[w.job.Rule] = map[string]bool{}
		}
		w.runner.kept[w.job.Rule][p] = true
	}
}

// idle adds notes for keep patterns that match no node of any model of their rule.
func (r *runner) idle(zoo *manifests.Zoo) {
	for k := range r.Manifest.Rules {
		rule := &r.Manifest.Rules[k]
		whole := slices.ContainsFunc(zoo.Jobs, func(j manifests.Job) bool { return j.Rule == rule })
		for _, keep := range rule.KeepPlaces() {
			if whole && !r.kept[rule][keep.Pattern] {
				r.end.Notes = append(r.end.Notes, fmt.Sprintf("%s: keep: %q names no node of a model of this rule", keep.Place, keep.Pattern))
			}
		}
	}
}

// living are the zoo's models, and its folders that could not be read.
func living(zoo *manifests.Zoo) (alive map[string]bool, hidden []string) {
	alive = map[string]bool{}
	for _, j := range zoo.Jobs {
		alive[j.Path] = true
	}
	for _, f := range zoo.Failures {
		if strings.HasSuffix(f.Path, "/") {
			hidden = append(hidden, f.Path)
		}
		alive[f.Path] = true
	}
	return alive, hidden
}
