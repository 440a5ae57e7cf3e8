package manifests

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sourcegraph/conc/iter"
)

// checkFolders refuses an output folder that is the zoo or lies in it: outputs would be inputs of the next run.
func (m *Manifest) checkFolders() {
	switch {
	case m.ZooURL != nil && m.OutURL != nil && m.ZooURL.Overlaps(*m.OutURL):
		m.file.fail(m.outSpot, "the zoo %s and the output folder are one, or one lies in the other: give the outputs a folder beside", m.ZooURL)
		return
	case m.ZooURL != nil || m.OutURL != nil:
		return // one of the host cannot lie in a bucket
	}
	zoo, _ := os.Stat(m.Zoo)
	if inside(resolved(m.Out), resolved(m.Zoo), zoo) {
		m.file.fail(m.outSpot, "the output folder is inside the zoo %s: its files would be models the next time; put it beside", m.Zoo)
	}
}

// inside says whether a resolved path is a folder or lies below it, by name or by the identity of the folders above it: a
// folder has several names if it is mounted twice or if case does not matter.
func inside(path, folder string, identity fs.FileInfo) bool {
	if rel, err := filepath.Rel(folder, path); err == nil && filepath.IsLocal(rel) {
		return true
	}
	for identity != nil {
		if info, err := os.Stat(path); err == nil && os.SameFile(info, identity) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			break
		}
		path = parent
	}
	return false
}

// resolved follows links as far as the path exists.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolved(parent), filepath.Base(path))
	}
	return path
}

// targets check the outputs of a walk.
type targets struct {
	*walker
	zooPath string
	zooInfo fs.FileInfo
	folders map[string]folder // of outputs
	inputs  map[inputKey][]input
	by      map[string]*Job
}

// folder is the resolved path of a folder of outputs, and whether it is in the zoo.
type folder struct {
	real  string
	inZoo bool
}

// inputKey is equal for two names of one input file.
type inputKey struct {
	size int64
	time time.Time
}

func keyOf(info fs.FileInfo) inputKey { return inputKey{info.Size(), info.ModTime().UTC()} }

// checkTargets refuses outputs that would be written into the zoo, over a model's file, over each other or over zoofold's
// own files.
func (w *walker) checkTargets(zoo fs.FileInfo) {
	t := targets{walker: w, zooPath: resolved(w.Zoo), zooInfo: zoo, folders: map[string]folder{}, inputs: map[inputKey][]input{}, by: map[string]*Job{}}
	for _, in := range w.inputs {
		t.inputs[keyOf(in.info)] = append(t.inputs[keyOf(in.info)], in)
	}
	jobs := w.zoo.Jobs
	there := w.standing()
	for k := range jobs {
		if t.own(&jobs[k]) && t.outside(&jobs[k], there[k]) {
			t.distinct(&jobs[k])
		}
	}
	for k := range jobs {
		t.beside(&jobs[k])
	}
}

// standing is what is in the places of the outputs, links not followed; nil where there is nothing, or it cannot be told.
func (w *walker) standing() []fs.FileInfo {
	there := make([]fs.FileInfo, len(w.zoo.Jobs))
	if w.OutURL == nil {
		iter.ForEachIdx(there, func(k int, info *fs.FileInfo) { *info, _ = os.Lstat(w.zoo.Jobs[k].Target) })
	}
	return there
}

// own says whether an output has a name that zoofold does not use itself.
func (t *targets) own(job *Job) bool {
	rel, err := filepath.Rel(t.Out, job.Target)
	if err != nil {
		rel = job.Target
	}
	taken := ""
	for _, element := range strings.Split(filepath.ToSlash(rel), "/") {
		if strings.HasPrefix(strings.ToLower(element), ".zoofold") {
			taken = element
		}
	}
	if strings.EqualFold(rel, "report.html") || strings.EqualFold(rel, "report.json") {
		taken = rel
	}
	if taken != "" {
		t.fail(job, "%s is zoofold's own: choose another output", taken)
	}
	return taken == ""
}

// outside says whether an output is neither in the zoo nor a file of a model; info is what is in its place.
func (t *targets) outside(job *Job, info fs.FileInfo) bool {
	if t.OutURL != nil {
		return true // see checkFolders
	}
	dir := filepath.Dir(job.Target)
	above, seen := t.folders[dir]
	if !seen {
		above.real = resolved(dir)
		above.inZoo = inside(above.real, t.zooPath, t.zooInfo)
		t.folders[dir] = above
	}
	real, inZoo := filepath.Join(above.real, filepath.Base(job.Target)), above.inZoo
	if info != nil && info.Mode()&fs.ModeSymlink != 0 {
		real = resolved(job.Target)
		info, _ = os.Stat(job.Target)
	}
	if inZoo || inside(real, t.zooPath, nil) || info != nil && os.SameFile(info, t.zooInfo) {
		t.fail(job, "the output of %s would be written into the zoo (%s): give out or output another folder", job.Path, t.shown(real))
		return false
	}
	if info == nil {
		return true
	}
	for _, in := range t.inputs[keyOf(info)] {
		if os.SameFile(info, in.info) {
			t.fail(job, "the output of %s would be written over a file of %s (%s): give out or output another folder", job.Path, in.model, t.shown(job.Target))
			return false
		}
	}
	return true
}

// distinct refuses a second output of one name.
func (t *targets) distinct(job *Job) {
	if first := t.by[job.Target]; first != nil {
		job.Rule.file.fail(job.Rule.whole(), "%s and %s would both be written to %s: give one of their rules another output", first.Path, job.Path, job.Target)
	}
	t.by[job.Target] = job
}

// beside refuses an output below a path that is another output.
func (t *targets) beside(job *Job) {
	for dir := filepath.Dir(job.Target); len(dir) > len(t.Out); dir = filepath.Dir(dir) {
		if other := t.by[dir]; other != nil {
			job.Rule.file.fail(job.Rule.whole(), "%s would be written into %s, which is the output of %s: give one of their rules another output", job.Path, dir, other.Path)
			return
		}
	}
}

// fail adds an error about an output, at the place of the rule's output.
func (t *targets) fail(job *Job, text string, args ...any) {
	if job.Rule.output != (spot{}) {
		job.Rule.file.fail(job.Rule.output, text, args...)
		return
	}
	t.file.fail(t.outSpot, text, args...)
}

// whole is the place of a rule's output, or of the rule if it has none.
func (r *Rule) whole() spot {
	if r.output == (spot{}) && len(r.match) > 0 {
		return r.match[0].spot
	}
	return r.output
}

// shown is a path as the manifest would write it.
func (m *Manifest) shown(path string) string {
	if rel, err := filepath.Rel(m.folder, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
