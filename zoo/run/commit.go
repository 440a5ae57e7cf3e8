package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/store"
)

// digests are the hashes of what was read, which must not have changed, and of what was written, in the order of its files.
func (w *work) digests(ctx context.Context) (read []stamp, written []string, err error) {
	known, hashes := map[string]string{}, map[string]string{}
	for _, rel := range w.out.order {
		if hashes[rel], err = w.out.hash(ctx, rel); err != nil {
			return nil, nil, err
		}
		written = append(written, hashes[rel])
	}
	for _, s := range w.before {
		if s.Hash != "" {
			continue // its time is too recent to show another change: it is read again
		}
		if rel, copied := w.out.copies[s.Path]; copied {
			known[s.Path] = hashes[rel]
		} else if known[s.Path], err = w.heard.hash(ctx, s.Path, s.Size); err != nil {
			return nil, nil, err
		}
	}
	read, err = unchanged(ctx, w.fsys, w.before, known)
	return read, written, err
}

// announce has the ledger say, and the disk keep, what is about to be put where, before it is.
func (w *work) announce(ctx context.Context, hashes []string) error {
	outputs := w.outputs(hashes)
	if err := w.mayReplace(ctx, outputs); err != nil {
		return err
	}
	if err := w.books.begin(&entry{Manifest: w.manifest, Model: w.job.Path, Outputs: outputs}); err != nil {
		w.note("ledger", err) // it matters only if the run is killed, or the power fails, before the model is in its place
	}
	return nil
}

// commit moves the staged files into place and records that in the ledger. Of a killed run, at most as many outputs as it
// has workers are in place without a record.
func (w *work) commit(ctx context.Context, read []stamp, hashes []string) error {
	if len(w.out.order) > 1 { // other models may share files beside the model: claims and files have to agree until both are recorded
		release, err := w.books.exclusive(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	w.placing <- struct{}{}
	done := sync.OnceFunc(func() { <-w.placing })
	defer done()
	if err := w.claim(ctx, hashes); err != nil {
		return err
	}
	e := w.entry(read, hashes)
	if err := w.mayReplace(ctx, e.Outputs); err != nil { // somebody may have put a file there meanwhile
		return err
	}
	before, noted := w.books.get(e.owner()), false
	err := w.out.place(func() error {
		defer done() // what follows only waits for the disk
		if err := w.placed(e); err != nil {
			return err
		}
		noted = true
		w.remember(e)
		return nil
	})
	if err != nil && noted { // what was renamed may be lost if the power fails
		w.note("ledger", w.books.takeBack(e.owner(), before))
	}
	return err
}

// placed completes the entry of a model whose outputs are in place.
func (w *work) placed(e *entry) error {
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
	return nil
}

// entry is the model's entry in the ledger, as far as it is known before its outputs are in place.
func (w *work) entry(inputs []stamp, hashes []string) *entry {
	e := &entry{
		Manifest: w.manifest, Model: w.job.Path, Settings: w.decisive(), Asked: versioned(w.asked), Weights: w.job.Weights,
		Inputs: w.origins(inputs), Told: &told{w.result, w.kept},
		Engineless: w.result.Status == outcome.Folded && w.Predict == nil && slices.Contains(w.asked, "predictions"),
	}
	if w.out != nil {
		e.Outputs = w.outputs(hashes)
	}
	e.Former = w.books.leftOver(e)
	return e
}

// outputs are the model's files as they are to be.
func (w *work) outputs(hashes []string) (list []stamp) {
	for k, rel := range w.out.order {
		list = append(list, stamp{Path: w.books.rel(w.out.final(rel)), Hash: hashes[k]})
	}
	return list
}

// remember records a success in the ledger.
func (w *work) remember(e *entry) {
	if err := w.books.add(e); err != nil {
		w.note("ledger", fmt.Errorf("%w: %s is folded again the next time", err, w.job.Path))
	}
	w.keeps(w.books.tell(e).Kept)
}

// standing is the stamp of the file in an output's place, without its content; without a path where there is none. Anything
// else there can never be replaced, and is an error.
func (w *work) standing(path string) (there stamp, err error) {
	info, err := w.fsys.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stamp{}, nil
	case err != nil:
		return stamp{}, err
	case !info.Mode().IsRegular():
		return stamp{}, fmt.Errorf("%s %w: move it away", path, store.ErrNotRegular)
	}
	return stampAs(path, info), nil
}

// mayReplace is an error if a file in the place of one of the outputs, whose new contents the stamps have, is not one that a
// run put there and nobody changed. One that has the new content already is as good as that. What is still as it was found
// before is not read again.
func (w *work) mayReplace(ctx context.Context, outputs []stamp) error {
	found := make([]stamp, len(outputs))
	for k, s := range outputs {
		path := w.books.abs(s.Path)
		if reserved(s.Path) {
			return fmt.Errorf("%s: zoofold keeps its own files there: give the model another output", path)
		}
		var err error
		if found[k], err = w.standing(path); err != nil {
			return err
		}
		asBefore := len(w.found) == len(outputs) && w.found[k] == found[k]
		if asBefore || found[k].Path == "" || w.job.Rule.Overwrite {
			continue
		}
		switch err := w.knows(ctx, path, s); {
		case errors.Is(err, fs.ErrNotExist): // a model that shares external data has removed it since: see takeOver
			found[k] = stamp{}
		case err != nil:
			return err
		}
	}
	w.found = found
	return nil
}

// knows is an error if the content of a file in the place of an output is neither the new one nor one that a run put there.
func (w *work) knows(ctx context.Context, path string, s stamp) error {
	hash, err := w.contentOf(ctx, s.Path)
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

// claim makes sure that no other model of the run writes the same files, unless their contents are equal, as shared
// external data may be. An outdated model of an earlier run loses its external data, and with that its output.
func (w *work) claim(ctx context.Context, hashes []string) error {
	w.out.outdated = nil
	outputs := w.outputs(hashes)
	others, err := w.books.consult(ctx, w.owner(w.job), outputs)
	if err != nil {
		return err
	}
	for k, rel := range w.out.order {
		path, mine := w.out.final(rel), claim{w.job.Path, hashes[k]}
		w.lock.Lock()
		first, taken := w.claims[path]
		if !taken || first.model == mine.model { // perhaps claimed by an earlier attempt
			w.claims[path], taken = mine, false
		}
		w.lock.Unlock()
		if other, is := others[outputs[k].Path]; is {
			first, taken = other, true
		}
		if taken && (first.hash != mine.hash || rel == "") {
			return &sharedError{path, rel, first.model}
		}
		for _, e := range w.books.sharing(outputs[k].Path, w.owner(w.job)) {
			if err := w.takeOver(ctx, e, rel, path, mine); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOver decides who owns a file that another model's entry in the ledger has too.
func (w *work) takeOver(ctx context.Context, e *entry, rel, path string, mine claim) error {
	if w.gone(e) {
		return nil // an orphan's place may be taken
	}
	name := e.Model
	if e.Manifest != w.manifest {
		name += " of " + e.Manifest
	}
	if e.hashOf(w.books.rel(path)) == mine.hash && rel != "" {
		return nil
	}
	if e.Manifest != w.manifest {
		return &sharedError{path, "", name}
	}
	if e.Outputs[0].Path != w.books.rel(w.job.Target) && w.current(ctx, e) {
		return &sharedError{path, rel, name}
	}
	if _, ours := w.books.holds(ctx, e.Outputs[0], false); rel != "" && ours {
		w.out.outdated = append(w.out.outdated, w.books.abs(e.Outputs[0].Path))
	}
	return nil
}

// gone says whether the model of an entry is there no longer: the zoo has lost it, or its manifest was renamed or is gone.
func (r *runner) gone(e *entry) bool {
	if r.models == nil { // a worker does not know the zoo
		return e.Orphan
	}
	if e.Manifest == r.manifest {
		return !r.alive(e.Model)
	}
	_, err := r.fsys.Stat(r.books.abs(e.Manifest))
	return errors.Is(err, fs.ErrNotExist)
}

// current says whether an entry is still valid: its files are unchanged.
func (w *work) current(ctx context.Context, e *entry) bool {
	_, ok := w.books.check(ctx, e, false)
	return ok
}

// claim is a model's claim on an output path, with the hash of the content that it writes there.
type claim struct{ model, hash string }

// sharedError says that another model writes the same output with other bytes.
type sharedError struct {
	path  string
	rel   string // a file beside the model that can be renamed; "" if none can
	owner string
}

func (e *sharedError) Error() string {
	return fmt.Sprintf("%s belongs to %s too, which needs other bytes: give one of them another output folder", e.path, e.owner)
}

// maxApart bounds how many files beside a model are renamed.
const maxApart = 64

// apart renames a file beside the model that another model writes with other bytes, such as external data of an encoder and
// a decoder in one file. It discards what was written, and resets the warnings. It says whether the model has to be written
// again.
func (w *work) apart(shared *sharedError, warnings []string) bool {
	mover, ok := w.source.(format.Mover)
	if !ok || shared.rel == "" || w.likeModel(shared.rel) || len(w.moved) >= maxApart || w.wasMoved(shared.rel) || w.result.Status == outcome.Copied && changes(w.plan) {
		return false
	}
	stem := strings.TrimSuffix(filepath.Base(w.job.Target), filepath.Ext(w.job.Target))
	to := path.Join(path.Dir(shared.rel), stem+"."+path.Base(shared.rel))
	if mover.Move(shared.rel, to) != nil || w.out.restart() != nil {
		return false
	}
	w.moved = append(w.moved, [2]string{shared.rel, to})
	w.result.Warnings = append(slices.Clone(warnings), fmt.Sprintf("external data %s is written as %s: %s has other bytes under that name", shared.rel, to, shared.owner))
	return true
}

// likeModel says whether a file beside the model has the name of a model of the same format.
func (w *work) likeModel(rel string) bool {
	its, err := format.Find(rel)
	own, none := format.Find(w.job.Source)
	return err == nil && none == nil && its.Name == own.Name
}

// wasMoved says whether a file beside the model had that name, or was given it.
func (w *work) wasMoved(rel string) bool {
	return slices.ContainsFunc(w.moved, func(m [2]string) bool { return m[0] == rel || m[1] == rel })
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
		if out.copies == nil {
			out.copies = map[string]string{}
		}
		out.copies[path] = rel
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
		n, err := io.Copy(to, io.LimitReader(from, stretch))
		if err != nil || n == 0 {
			return err
		}
	}
}
