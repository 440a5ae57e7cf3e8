package manifests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Job is one model of the zoo that a rule matches.
type Job struct {
	Path    string // relative to the zoo, with slashes
	Source  string // absolute
	Weights string // absolute path of the model's second file; "" where the rule names none
	Target  string // absolute, below Out
	Size    int64  // bytes of Source and Weights
	Rule    *Rule
}

// fields are what templates may hold.
var fields = []string{"{dir}", "{stem}", "{name}", "{ext}"}

// expand fills a template in for a path relative to the zoo.
func expand(template, rel string) string {
	name := path.Base(rel)
	ext := path.Ext(name)
	return path.Clean(strings.NewReplacer("{dir}", path.Dir(rel), "{stem}", strings.TrimSuffix(name, ext), "{name}", name, "{ext}", ext).Replace(template))
}

// Jobs walks the zoo once and matches its files: the models in the order of their paths, and the files that no rule
// matches. Folders whose names start with a dot are passed over, and what is no regular file is never opened.
func (m *Manifest) Jobs() (jobs []Job, unmatched []string, err error) {
	info, err := os.Stat(m.Zoo)
	if err != nil || !info.IsDir() {
		m.file.fail(m.zooSpot, "the zoo %s is not a folder that can be read", m.Zoo)
		return nil, nil, m.file.err()
	}
	used := map[*Rule]map[int]bool{}
	weights := map[string]bool{}
	err = filepath.WalkDir(m.Zoo, func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && file != m.Zoo {
			return nil // it went while the zoo was walked
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && file != m.Zoo {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(m.Zoo, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		rule := m.match(rel, used)
		if rule == nil || !m.regular(file, d) {
			unmatched = append(unmatched, rel)
			return nil
		}
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		job := Job{Path: rel, Source: file, Size: info.Size(), Rule: rule}
		m.place(&job, weights)
		jobs = append(jobs, job)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: the zoo cannot be walked: %w", m.Path, ErrManifest, err)
	}
	unmatched = slices.DeleteFunc(unmatched, func(rel string) bool { return weights[rel] })
	for k := range m.Rules {
		r := &m.Rules[k]
		for j, g := range r.match {
			if !r.Optional && !used[r][j] {
				m.file.fail(g.spot, "%q matches no file below %s (optional: true allows that)", g.pattern, m.Zoo)
			}
		}
	}
	by := map[string]*Job{}
	for k := range jobs {
		job := &jobs[k]
		if first := by[job.Target]; first != nil {
			where := job.Rule.output
			if where == (spot{}) && len(job.Rule.match) > 0 {
				where = job.Rule.match[0].spot
			}
			m.file.fail(where, "%s and %s would both be written to %s: give one of their rules another output", first.Path, job.Path, job.Target)
		}
		by[job.Target] = job
	}
	return jobs, unmatched, m.file.err()
}

// match is the first rule for a path, and notes which of its globs matched.
func (m *Manifest) match(rel string, used map[*Rule]map[int]bool) *Rule {
	var first *Rule
	for k := range m.Rules {
		r := &m.Rules[k]
		for j, g := range r.match {
			if !doublestar.MatchUnvalidated(g.pattern, rel) {
				continue
			}
			if used[r] == nil {
				used[r] = map[int]bool{}
			}
			used[r][j] = true
			out := slices.ContainsFunc(r.exclude, func(x glob) bool { return doublestar.MatchUnvalidated(x.pattern, rel) })
			if first == nil && !out {
				first = r
			}
		}
	}
	return first
}

// regular says whether a file may be opened: a regular one, or a link to one within the zoo.
func (m *Manifest) regular(file string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return d.Type().IsRegular()
	}
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(resolved(m.Zoo), target)
	info, statErr := os.Stat(target)
	return err == nil && filepath.IsLocal(rel) && statErr == nil && info.Mode().IsRegular()
}

// place gives a job its output, and finds its second file.
func (m *Manifest) place(job *Job, weights map[string]bool) {
	out := expand(job.Rule.Output, job.Path)
	if !filepath.IsLocal(filepath.FromSlash(out)) || out == "." {
		m.file.fail(job.Rule.output, "the output of %s would be %s, outside %s", job.Path, out, m.Out)
	}
	job.Target = filepath.Join(m.Out, filepath.FromSlash(out))
	if job.Rule.Weights == "" {
		return
	}
	second := expand(job.Rule.Weights, job.Path)
	file := filepath.Join(m.Zoo, filepath.FromSlash(second))
	info, err := os.Stat(file)
	if !filepath.IsLocal(filepath.FromSlash(second)) || err != nil || !info.Mode().IsRegular() {
		m.file.fail(job.Rule.weights, "the weights %s of %s are not a file of the zoo", second, job.Path)
		return
	}
	weights[second] = true
	job.Weights = file
	job.Size += info.Size()
}
