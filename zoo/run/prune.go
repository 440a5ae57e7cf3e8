package run

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/zoofold/zoofold/manifests"
)

// orphans reports the files that earlier runs wrote and no model needs now: their sources are gone, match no rule any more,
// or are written elsewhere. With Prune they are removed, unless somebody changed them.
func (r *runner) orphans(jobs []manifests.Job) {
	alive, needed := map[string]bool{}, map[string]bool{}
	for _, j := range jobs {
		alive[j.Path], needed[j.Target] = true, true
	}
	entries := r.books.all()
	for _, e := range entries {
		for _, s := range e.Outputs {
			needed[s.Path] = needed[s.Path] || alive[e.Model]
		}
	}
	prune := r.Prune && len(jobs) > 0 // a zoo without models is rather a disk that is not mounted
	for _, e := range entries {
		left := e.Former
		if !alive[e.Model] {
			left = slices.Concat(left, e.Outputs)
		}
		kept := slices.DeleteFunc(slices.Clone(left), func(s stamp) bool {
			return needed[s.Path] || !r.there(s) || prune && r.prune(s)
		})
		for _, s := range kept {
			r.end.Orphans = append(r.end.Orphans, r.relative(s.Path))
		}
		switch {
		case len(kept) == len(left) && (alive[e.Model] || len(left) > 0):
		case alive[e.Model]:
			now := *e
			now.Former = kept
			r.note("ledger", r.books.add(&now))
		case len(kept) == 0:
			r.note("ledger", r.books.forget(e.Model))
		}
	}
	slices.Sort(r.end.Orphans)
	r.end.Orphans = slices.Compact(r.end.Orphans)
	slices.Sort(r.end.Pruned)
}

// there says whether a file is still below the output folder.
func (r *runner) there(s stamp) bool {
	rel, err := filepath.Rel(r.Manifest.Out, s.Path)
	if err != nil || !filepath.IsLocal(rel) {
		return false // the ledger came with files from elsewhere
	}
	_, err = r.fsys.Stat(s.Path)
	return !errors.Is(err, fs.ErrNotExist)
}

// prune removes a file that is as it was written, and the folders that are empty then.
func (r *runner) prune(s stamp) bool {
	if _, ok := s.holds(r.fsys, false); !ok {
		r.note("prune", errors.New(r.relative(s.Path)+" was changed since it was written: it stays"))
		return false
	}
	if r.DryRun {
		return false
	}
	if err := removeLasting(r.fsys, s.Path); err != nil {
		r.note("prune", err)
		return false
	}
	r.end.Pruned = append(r.end.Pruned, r.relative(s.Path))
	for folder := filepath.Dir(s.Path); folder != r.Manifest.Out && r.fsys.Remove(folder) == nil; folder = filepath.Dir(folder) {
	}
	return true
}
