package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/store"
)

// settle waits for the disk, and meanwhile hashes what was read, which must not have changed, and what was written, in the
// order of its files.
func settle(ctx context.Context, before []stamp, out *stage) (read []stamp, written []string, err error) {
	p := pool.New().WithErrors()
	p.Go(out.sync)
	p.Go(func() (err error) {
		read, err = unchanged(ctx, out.fsys, before)
		return err
	})
	p.Go(func() error {
		for _, rel := range out.order {
			hash, err := hashFile(ctx, out.fsys, out.path(rel))
			if err != nil {
				return err
			}
			written = append(written, hash)
		}
		return nil
	})
	return read, written, p.Wait()
}

// commit puts the staged files in their places and remembers that.
func (w *work) commit(ctx context.Context, read []stamp, hashes []string) error {
	if len(w.out.order) > 1 { // files beside the model may be another's too: what it is told must be what is there
		w.commits.Lock()
		defer w.commits.Unlock()
	}
	if err := w.claim(ctx, hashes); err != nil {
		return err
	}
	e := w.entry(read, hashes)
	for _, s := range e.Outputs {
		if err := w.mayReplace(ctx, s); err != nil {
			return err
		}
	}
	if err := w.books.begin(e); err != nil {
		w.note("ledger", err) // it matters only if the run is killed now
	}
	if err := w.out.commit(); err != nil {
		return err
	}
	for k := range e.Outputs {
		now, err := stampOf(w.fsys, w.books.abs(e.Outputs[k].Path))
		if err != nil {
			return err
		}
		now.Path, now.Hash = e.Outputs[k].Path, e.Outputs[k].Hash
		e.Outputs[k] = now
		if k < w.model {
			w.result.OutputBytes += now.Size
		} else {
			w.result.ExportBytes += now.Size
		}
	}
	w.result.Output = w.books.rel(w.job.Target)
	e.Told.Model = w.result
	w.remember(e)
	return nil
}

// entry is the model's in the ledger, as far as it is known before its outputs are in their places.
func (w *work) entry(inputs []stamp, hashes []string) *entry {
	e := &entry{
		Manifest: w.manifest, Model: w.job.Path, Settings: w.settings(w.job.Rule, w.job.Source), Asked: versioned(w.asked), Weights: w.job.Weights,
		Inputs: inputs, Told: told{w.result, w.kept},
		Engineless: w.result.Status == outcome.Folded && w.Predict == nil && slices.Contains(w.asked, "predictions"),
	}
	if w.out != nil {
		for k, rel := range w.out.order {
			e.Outputs = append(e.Outputs, stamp{Path: w.books.rel(w.out.final(rel)), Hash: hashes[k]})
		}
	}
	e.Former = w.books.leftOver(e)
	return e
}

// remember notes a success in the ledger.
func (w *work) remember(e *entry) {
	if err := w.books.add(e); err != nil {
		w.note("ledger", fmt.Errorf("%w: %s is folded again the next time", err, w.job.Path))
	}
	w.keeps(e.Told.Kept)
}

// standing says whether a file is in an output's place. Anything else there can never be replaced, and is an error.
func (w *work) standing(path string) (yes bool, err error) {
	info, err := w.fsys.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s %w: move it away", path, store.ErrNotRegular)
	}
	return true, nil
}

// mayReplace is an error if a file in the place of an output, whose new content the stamp has, is not one that a run put
// there and nobody changed. One that has the new content already is as good as that.
func (w *work) mayReplace(ctx context.Context, s stamp) error {
	path := w.books.abs(s.Path)
	if reserved(s.Path) {
		return fmt.Errorf("%s: zoofold keeps its own files there: give the model another output", path)
	}
	if there, err := w.standing(path); err != nil || !there || w.job.Rule.Overwrite {
		return err
	}
	hash, err := hashFile(ctx, w.fsys, path)
	switch {
	case err != nil:
		return err
	case hash == s.Hash || w.books.made(s.Path, hash):
		return nil
	case w.alone:
		return fmt.Errorf("%s: %w", path, ErrExists)
	case w.books.knows(s.Path):
		return fmt.Errorf("%s was changed since zoofold wrote it: move it away, or allow it with overwrite: true", path)
	}
	return fmt.Errorf("%s %w: move it away, or allow it with overwrite: true", path, ErrForeign)
}

// claim makes sure that no other model of the run has the same outputs, unless the contents are the same for all who have
// them, as external data may be. A model of an earlier run that has become out of date loses its external data, and with
// them its output.
func (w *work) claim(ctx context.Context, hashes []string) error {
	for k, rel := range w.out.order {
		path, mine := w.out.final(rel), claim{w.job.Path, hashes[k]}
		w.lock.Lock()
		first, taken := w.claims[path]
		if !taken {
			w.claims[path] = mine
		}
		w.lock.Unlock()
		if taken && (first.hash != mine.hash || rel == "") {
			return sharedError(path, first.model)
		}
		for _, e := range w.books.sharing(w.books.rel(path), w.owner(w.job)) {
			if err := w.takeOver(ctx, e, rel, path, mine); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOver settles whose a file is that another model's entry has too.
func (w *work) takeOver(ctx context.Context, e *entry, rel, path string, mine claim) error {
	name := e.Model
	if e.Manifest != w.manifest {
		if _, err := w.fsys.Stat(w.books.abs(e.Manifest)); errors.Is(err, fs.ErrNotExist) {
			return nil // the manifest was renamed, or is gone: what it made is this one's now
		}
		name += " of " + e.Manifest
	} else if !w.alive(e.Model) {
		return nil // the model is gone: an orphan's place may be taken
	}
	if e.hashOf(w.books.rel(path)) == mine.hash && rel != "" {
		return nil
	}
	if e.Manifest != w.manifest {
		return sharedError(path, name)
	}
	if e.Outputs[0].Path != w.books.rel(w.job.Target) && w.current(ctx, e) {
		return sharedError(path, name)
	}
	if _, ours := w.books.holds(ctx, e.Outputs[0], false); rel != "" && ours {
		w.out.outdated = append(w.out.outdated, w.books.abs(e.Outputs[0].Path))
	}
	return nil
}

// current says whether an entry still stands, with its files as they were.
func (w *work) current(ctx context.Context, e *entry) bool {
	_, ok := w.books.check(ctx, e, false)
	return ok
}

// claim is a model's on an output, with the content that it needs.
type claim struct{ model, hash string }

func sharedError(path, owner string) error {
	return fmt.Errorf("%s belongs to %s too, which needs other bytes: give one of them another output folder", path, owner)
}

// copyFiles copies the files that a model is made of, the model file's first.
func copyFiles(ctx context.Context, inputs []string, out *stage) error {
	for k, path := range inputs {
		rel := ""
		if k > 0 {
			rel = format.Beside(inputs[0], path)
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
