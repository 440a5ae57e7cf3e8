package manifests

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
)

// use records what a rule matched in a walk.
type use struct {
	globs    []bool          // which of its globs matched a file
	excludes []bool          // which of its excludes excluded a file or folder
	wanted   int             // files that it matched
	got      map[string]bool // formats of those that no earlier rule took, by name; "" is none
	tensors  bool            // one of these is a checkpoint
	before   *Rule           // the earlier rule that took the first of the other files
}

func newUses(rules []Rule) []use {
	uses := make([]use, len(rules))
	for k, r := range rules {
		uses[k] = use{globs: make([]bool, len(r.match)), excludes: make([]bool, len(r.exclude)), got: map[string]bool{}}
	}
	return uses
}

// match is the first rule for a path; nil if there is none.
func (w *walker) match(rel string) *Rule {
	var first *Rule
	for k := range w.Rules {
		r, u := &w.Rules[k], &w.uses[k]
		if !mark(u.globs, r.match, rel) || mark(u.excludes, r.exclude, rel) {
			continue
		}
		u.wanted++
		switch {
		case first == nil:
			first = r
			f, _ := format.Find(rel)
			u.got[f.Name] = true
			u.tensors = u.tensors || f.Bare
		case u.before == nil:
			u.before = first
		}
	}
	return first
}

// mark records which globs match a path, and says whether any does.
func mark(used []bool, globs []glob, rel string) bool {
	any := false
	for k, g := range globs {
		if g.matches(rel) {
			used[k], any = true, true
		}
	}
	return any
}

// excluded says whether every rule excludes everything in a folder, with globs that end in /**.
func (w *walker) excluded(rel string) bool {
	whole := func(g glob) bool {
		prefix, ok := strings.CutSuffix(g.pattern, "/**")
		return ok && glob{pattern: prefix}.matches(rel)
	}
	for _, r := range w.Rules {
		if !slices.ContainsFunc(r.exclude, whole) {
			return false
		}
	}
	for k, r := range w.Rules {
		for j, g := range r.exclude {
			w.uses[k].excludes[j] = w.uses[k].excludes[j] || whole(g)
		}
	}
	return true
}

// unused adds errors for globs that match nothing.
func (w *walker) unused() {
	for k, r := range w.Rules {
		for j, g := range r.match {
			switch {
			case r.Optional || w.uses[k].globs[j]:
			case w.partial:
				w.note(&r, g.spot, "%q matches no file of the folders that can be read", g.pattern)
			default:
				r.file.fail(g.spot, "%q matches no file below %s (optional: true allows that)", g.pattern, w.Zoo)
			}
		}
	}
}

// idle adds notes for settings without effect.
func (w *walker) idle() {
	for k := range w.Rules {
		r, u := &w.Rules[k], &w.uses[k]
		if u.wanted > 0 && len(u.got) == 0 {
			w.note(r, r.match[0].spot, "the rule does nothing: an earlier rule (%s) takes every file that it matches", u.before.file.place(u.before.match[0].spot))
		}
		for j, g := range r.exclude {
			if slices.Contains(u.globs, true) && !u.excludes[j] {
				w.note(r, g.spot, "exclude %q does nothing: it matches no file that the rule matches", g.pattern)
			}
		}
		onnx := len(u.got) == 1 && u.got["onnx"]
		for _, f := range withSettings() {
			if where, set := r.formats[f.Name]; set && len(u.got) > 0 && !u.got[f.Name] {
				w.note(r, where, "%s does nothing: the rule has no %s", f.Name, strings.Join(f.Extensions, " and no "))
			}
		}
		if r.state != (spot{}) && len(u.got) > 0 && !u.tensors {
			w.note(r, r.state, "state does nothing: the rule has no checkpoint")
		}
		if r.Weights != "" && onnx {
			w.note(r, r.weights, "weights does nothing: all models of the rule are ONNX, which have theirs in them or name them")
		}
		if r.export != (spot{}) && onnx && slices.Contains(r.Export, "onnx") {
			r.file.fail(r.export, "export: onnx has nothing to do: all models of the rule are ONNX already; remove it")
		}
	}
}

func (w *walker) note(r *Rule, where spot, text string, args ...any) {
	w.zoo.Notes = append(w.zoo.Notes, r.file.place(where)+": "+printable(fmt.Sprintf(text, args...)))
}
