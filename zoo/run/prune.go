package run

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/manifests"
)

// orphans reports the files that earlier runs of this manifest wrote and that no model writes now: their sources are gone,
// match no rule any more, or are written elsewhere. With Prune they are removed, unless they were changed.
func (r *runner) orphans(ctx context.Context, zoo *manifests.Zoo) {
	leaving := r.books.some(func(e *entry) bool { return e.Manifest == r.manifest && (len(e.Former) > 0 || !r.alive(e.Model)) })
	if len(leaving) == 0 {
		return
	}
	needed := map[string]bool{}
	for _, j := range zoo.Jobs {
		needed[r.books.rel(j.Target)] = true
	}
	for _, e := range r.books.all() {
		for _, s := range e.Outputs {
			needed[s.Path] = needed[s.Path] || e.Manifest != r.manifest || r.alive(e.Model)
		}
	}
	prune := r.Prune && len(zoo.Jobs) > 0 // a zoo without models is more likely a disk that is not mounted
	for _, e := range leaving {
		left := e.Former
		if !r.alive(e.Model) {
			left = slices.Concat(left, e.Outputs)
		}
		kept := slices.DeleteFunc(slices.Clone(left), func(s stamp) bool {
			return needed[s.Path] || !r.there(s) || prune && r.prune(ctx, s)
		})
		for _, s := range kept {
			if !slices.Contains(r.end.WouldRemove, s.Path) {
				r.end.Orphans = append(r.end.Orphans, s.Path)
			}
		}
		if !r.DryRun {
			r.settleEntry(e, left, kept)
		}
	}
	for _, list := range []*[]string{&r.end.Orphans, &r.end.WouldRemove, &r.end.Pruned} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// settleEntry records in the ledger which of an entry's left-over files still exist.
func (r *runner) settleEntry(e *entry, left, kept []stamp) {
	alive := r.alive(e.Model)
	switch {
	case len(kept) == len(left) && (alive || len(left) > 0):
	case alive:
		now := *e
		now.Former = kept
		r.note("ledger", r.books.add(&now))
	case len(kept) == 0:
		r.note("ledger", r.books.forget(e.owner()))
	}
}

// alive says whether the zoo has a model, or may have it, since its folder could not be read.
func (r *runner) alive(model string) bool {
	return r.models[model] || slices.ContainsFunc(r.hidden, func(folder string) bool { return strings.HasPrefix(model, folder) })
}

// there says whether a file still exists below the output folder.
func (r *runner) there(s stamp) bool {
	if !filepath.IsLocal(filepath.FromSlash(s.Path)) {
		return false // no run wrote such a line
	}
	_, err := r.fsys.Lstat(r.books.abs(s.Path))
	return !errors.Is(err, fs.ErrNotExist)
}

// prune removes a file that still has the content that was written, and folders that are empty then.
func (r *runner) prune(ctx context.Context, s stamp) bool {
	if _, ok := r.books.holds(ctx, s, true); !ok {
		r.note("prune", errors.New(s.Path+" was changed since it was written: it stays"))
		return false
	}
	if r.DryRun {
		r.end.WouldRemove = append(r.end.WouldRemove, s.Path)
		return false
	}
	path := r.books.abs(s.Path)
	if err := removeLasting(r.fsys, path); err != nil {
		r.note("prune", err)
		return false
	}
	r.end.Pruned = append(r.end.Pruned, s.Path)
	for folder := filepath.Dir(path); folder != r.Manifest.Out && r.fsys.Remove(folder) == nil; folder = filepath.Dir(folder) {
	}
	return true
}
