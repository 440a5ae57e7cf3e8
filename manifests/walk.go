package manifests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sourcegraph/conc/iter"

	"github.com/zoofold/zoofold/zoo/bucket"
)

// Zoo is what a walk of the zoo's folder found.
type Zoo struct {
	Jobs      []Job         // the models, in the order of their paths
	Failures  []Failure     // models and folders that cannot be read
	Unmatched []string      // files that no rule matches
	Folders   []fs.FileInfo // every folder that was seen, the zoo first: nothing may be written there
	Files     []fs.FileInfo // the files that the models are read from: they may not be replaced
	Notes     []string      // settings without effect, with their places
}

// Job is one model of the zoo that a rule matches.
type Job struct {
	Path    string // relative to the zoo, with slashes
	Source  string // absolute; a link is not resolved
	Weights string // absolute path of the model's second file; "" where the rule names none
	Graph   string // absolute path of the graph of a checkpoint; "" where the rule names none
	Target  string // absolute, below Out
	Size    int64  // bytes of Source and Weights, and of further files as far as a run has found them
	Rule    *Rule

	Alone bool // in its folder and below are models and nothing else: it has no further file that is not a model itself
}

// Failure is a model or a folder of the zoo that cannot be read.
type Failure struct {
	Path string // relative to the zoo, with slashes; a folder ends in one
	Err  error
}

// Tree is what a zoo is listed from.
type Tree interface {
	Stat(path string) (fs.FileInfo, error) // follows links
	Lstat(path string) (fs.FileInfo, error)
	ReadDir(path string) ([]fs.DirEntry, error)
}

// host is the file system.
type host struct {
	readDir func(string) ([]fs.DirEntry, error)
}

func (host) Stat(path string) (fs.FileInfo, error)        { return os.Stat(path) }
func (host) Lstat(path string) (fs.FileInfo, error)       { return os.Lstat(path) }
func (h host) ReadDir(path string) ([]fs.DirEntry, error) { return h.readDir(path) }

// Walk goes through the zoo once and matches its files. Folders whose names start with a dot and folders that every rule
// excludes are listed and not entered, and links to folders are not followed. Its errors are *Error, joined, and are about
// the manifest. Failures of single models are in the result.
func (m *Manifest) Walk(ctx context.Context) (*Zoo, error) { return m.WalkIn(ctx, host{m.readDir}) }

// WalkIn is Walk for a zoo that is listed from a tree, one in a bucket for example.
func (m *Manifest) WalkIn(ctx context.Context, tree Tree) (*Zoo, error) {
	m.file.errors = nil
	w := &walker{Manifest: m, tree: tree, weights: map[string]bool{}, taken: map[string]bool{}, others: map[string]bool{}, uses: newUses(m.Rules)}
	info, err := tree.Stat(m.Zoo)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no folder")
	}
	if err == nil {
		w.zoo.Folders = append(w.zoo.Folders, info)
		err = w.folder(ctx, ".")
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("listing the zoo %s was stopped: %w", bucket.Shown(m.Zoo), context.Cause(ctx))
	}
	if err != nil {
		m.file.fail(m.zooSpot, "the zoo %s cannot be read: %v", bucket.Shown(m.Zoo), reason(err))
		return nil, m.file.err()
	}
	w.alone()
	w.zoo.Unmatched = slices.DeleteFunc(w.zoo.Unmatched, func(rel string) bool { return w.weights[rel] })
	w.unused()
	w.idle()
	m.checkFolders()
	w.checkTargets(info)
	if err := m.file.err(); err != nil {
		return nil, err
	}
	zoo := w.zoo // without the walker
	return &zoo, nil
}

// walker is a walk under way.
type walker struct {
	*Manifest
	tree    Tree
	zoo     Zoo
	uses    []use           // of each rule
	inputs  []input         // the files of the models
	weights map[string]bool // relative paths of second files
	taken   map[string]bool // relative paths of models
	others  map[string]bool // relative paths of folders that have anything but models in them or below
	partial bool            // a folder could not be read
}

// input is a file that a model is read from.
type input struct {
	model string
	info  fs.FileInfo
}

// folder walks a folder, given relative to the zoo. Its error is that of reading the folder.
func (w *walker) folder(ctx context.Context, rel string) error {
	entries, err := w.tree.ReadDir(w.at(rel))
	found := w.sightings(ctx, rel, entries)
	for k, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !e.IsDir() {
			w.take(found[k])
			continue
		}
		inner := path.Join(rel, e.Name())
		if err := w.enter(ctx, inner, e); err != nil && !errors.Is(err, fs.ErrNotExist) { // a folder that was removed during the walk is skipped
			w.partial = true
			w.other(inner)
			w.fail(inner+"/", fmt.Errorf("the folder cannot be read: %w", reason(err)))
		}
	}
	return err
}

// enter lists a folder within the zoo, and walks it unless it is hidden or excluded.
func (w *walker) enter(ctx context.Context, rel string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	w.zoo.Folders = append(w.zoo.Folders, info)
	if strings.HasPrefix(e.Name(), ".") || w.excluded(rel) {
		w.other(rel)
		return nil
	}
	return w.folder(ctx, rel)
}

// other records that something is no model, for the folders that it is in.
func (w *walker) other(rel string) {
	for rel != "." {
		if rel = path.Dir(rel); w.others[rel] {
			return
		}
		w.others[rel] = true
	}
}

// alone says of each job whether there are other files where its own may be.
func (w *walker) alone() {
	for _, rel := range w.zoo.Unmatched {
		w.other(rel)
	}
	for rel := range w.weights {
		w.other(rel)
	}
	for k := range w.zoo.Jobs {
		j := &w.zoo.Jobs[k]
		j.Alone = !w.others[path.Dir(j.Path)]
	}
}

// shard is the name of one of several files of a checkpoint, whose index a format of checkpoints knows.
var shard = regexp.MustCompile(`^(.*)-\d{5}-of-\d{5}(\.[a-z]+)$`)

// whole is the path of the index of a shard; the path itself if the file is not a shard.
func (w *walker) whole(rel string) string {
	at := shard.FindStringSubmatch(path.Base(rel))
	if at == nil {
		return rel
	}
	index := path.Join(path.Dir(rel), at[1]+at[2]+".index.json")
	if _, err := w.tree.Stat(w.at(index)); err != nil || !checkpoint(index) {
		return rel
	}
	w.weights[rel] = true
	return index
}

// sighting is what a walk sees of a file.
type sighting struct {
	rel   string // of a shard, that of its checkpoint
	rule  *Rule  // nil: none matches
	again bool   // the checkpoint was seen before
	info  fs.FileInfo
	err   error
}

// sightings matches the files among a folder's entries, and looks at those that match, several at the same time: that is most
// of the time of a walk.
func (w *walker) sightings(ctx context.Context, folder string, entries []fs.DirEntry) []sighting {
	found := make([]sighting, len(entries))
	for k, e := range entries {
		if e.IsDir() {
			continue
		}
		s := &found[k]
		s.rel = path.Join(folder, e.Name())
		if s.rule = w.match(s.rel); s.rule != nil {
			s.rel = w.whole(s.rel)
			s.again, w.taken[s.rel] = w.taken[s.rel], true
		}
	}
	iter.ForEach(found, func(s *sighting) {
		if s.rule != nil && !s.again && ctx.Err() == nil {
			s.info, s.err = regular(w.tree, w.at(s.rel))
		}
	})
	return found
}

// take takes what was found of an entry that is not a folder.
func (w *walker) take(s sighting) {
	switch {
	case s.rule == nil:
		w.zoo.Unmatched = append(w.zoo.Unmatched, s.rel)
	case s.again || errors.Is(s.err, errGone):
	case errors.Is(s.err, errFolderLink) && !modelName(s.rel): // a link to a folder is not an error: a glob such as ** means files
		w.zoo.Unmatched = append(w.zoo.Unmatched, s.rel)
	case s.err != nil:
		w.fail(s.rel, s.err)
	default:
		w.job(s.rel, s.info, s.rule)
	}
}

// job adds a model, or a failure if its second file cannot be found.
func (w *walker) job(rel string, info fs.FileInfo, rule *Rule) {
	job := Job{Path: rel, Source: w.at(rel), Size: info.Size(), Rule: rule}
	out := expand(rule.Output, rel)
	if !filepath.IsLocal(filepath.FromSlash(out)) || out == "." {
		rule.file.fail(rule.output, "the output of %s would be %s, outside %s", rel, out, bucket.Shown(w.Out))
		return
	}
	job.Target = filepath.Join(w.Out, filepath.FromSlash(out))
	if err := w.second(&job); err != nil {
		w.fail(rel, err)
		return
	}
	w.inputs, w.zoo.Files = append(w.inputs, input{rel, info}), append(w.zoo.Files, info)
	w.zoo.Jobs = append(w.zoo.Jobs, job)
}

// second finds a job's other files.
func (w *walker) second(job *Job) (err error) {
	if job.Weights, err = w.template(job, job.Rule.Weights, job.Rule.weights, "weights"); err != nil {
		return err
	}
	if checkpoint(job.Path) {
		job.Graph, err = w.template(job, job.Rule.State.Graph, job.Rule.graph, "graph")
	}
	return err
}

// template finds a file that a template of a job's rule names; what names the setting for errors.
func (w *walker) template(job *Job, template string, where spot, what string) (string, error) {
	if template == "" {
		return "", nil
	}
	rel := expand(template, job.Path)
	if !filepath.IsLocal(filepath.FromSlash(rel)) {
		job.Rule.file.fail(where, "the %s of %s would be %s, outside the zoo", what, job.Path, rel)
		return "", nil
	}
	info, err := regular(w.tree, w.at(rel))
	if err != nil {
		head := fmt.Sprintf("%s: no %s for %s", job.Rule.file.place(where), what, printable(job.Path))
		if errors.Is(err, errGone) {
			return "", fmt.Errorf("%s: expected %s", head, printable(rel))
		}
		return "", fmt.Errorf("%s: %s %w", head, printable(rel), err)
	}
	w.weights[rel] = true
	w.inputs, w.zoo.Files = append(w.inputs, input{job.Path, info}), append(w.zoo.Files, info)
	if what == "weights" {
		job.Size += info.Size()
	}
	return w.at(rel), nil
}

func (w *walker) fail(rel string, err error) {
	w.zoo.Failures = append(w.zoo.Failures, Failure{rel, err})
}

// at is the absolute path of a path relative to the zoo.
func (w *walker) at(rel string) string { return filepath.Join(w.Zoo, filepath.FromSlash(rel)) }

// fields are what templates may hold.
var fields = []string{"{dir}", "{stem}", "{name}", "{ext}"}

// expand fills a template in for a path relative to the zoo.
func expand(template, rel string) string {
	name := path.Base(rel)
	ext := path.Ext(name)
	values := [...]string{path.Dir(rel), strings.TrimSuffix(name, ext), name, ext} // of fields, in their order
	var b strings.Builder
	for template != "" {
		at := max(0, strings.IndexByte(template, '{'))
		b.WriteString(template[:at])
		template = template[at:]
		k := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(template, f) })
		if k < 0 { // a brace of its own, or no further one
			b.WriteByte(template[0])
			template = template[1:]
			continue
		}
		b.WriteString(values[k])
		template = template[len(fields[k]):]
	}
	return path.Clean(b.String())
}
