package run

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/format"
)

// bring makes the files of a model of a bucket files of the host: the formats read files, wherever something is in them. The
// model file says what belongs to it.
func (w *work) bring(ctx context.Context) error {
	if w.zoo == nil {
		return nil
	}
	view, err := w.local.View()
	if err != nil {
		return err
	}
	w.view, w.viewing = view, true
	near := *w.job
	near.Source = w.viewed(w.job.Source)
	near.Weights, near.Graph = w.viewed(w.job.Weights), w.viewed(w.job.Graph)
	w.near = &near
	for _, path := range []string{near.Source, near.Weights, near.Graph} {
		if path == "" {
			continue
		}
		if err := w.fetch(ctx, path); err != nil {
			return err
		}
		o := options(&near)
		if path == near.Graph {
			o = format.Options{}
		}
		if err := w.fetchNamed(ctx, path, o); err != nil {
			return err
		}
	}
	if config := options(&near).State.Config; config != "" {
		if err := w.fetch(ctx, config); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// fetchNamed brings the further files of a model, and those that only these name, as an index of weights beside a model does.
func (w *work) fetchNamed(ctx context.Context, path string, o format.Options) error {
	known := map[string]bool{}
	for more := true; more; {
		names, err := format.Files(ctx, path, o)
		if err != nil {
			return nil // whoever opens it says it better
		}
		more = false
		for _, name := range names {
			if known[name] {
				continue
			}
			known[name], more = true, true
			err := w.fetch(ctx, filepath.Join(filepath.Dir(path), filepath.FromSlash(name)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // it need not be there
				return err
			}
		}
	}
	return nil
}

// viewed is where a file of the zoo is in the view; "" stays.
func (w *work) viewed(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Join(w.view, strings.TrimPrefix(path, w.Manifest.Zoo))
}

// origin is the path in the zoo of a file in the view. Others are where they are.
func (w *work) origin(path string) string {
	if rel, ok := strings.CutPrefix(path, w.view+string(filepath.Separator)); ok && w.view != "" {
		return filepath.Join(w.Manifest.Zoo, rel)
	}
	return path
}

// fetch brings one file, given by its path in the view.
func (w *work) fetch(ctx context.Context, path string) error {
	rel, err := filepath.Rel(w.view, path)
	if err != nil || !filepath.IsLocal(rel) {
		return nil // no file of the zoo
	}
	if err := w.local.Bring(ctx, w.zoo, filepath.ToSlash(rel), path); err != nil {
		return err
	}
	w.belong([]stamp{{Path: w.origin(path)}})
	return nil
}

// release removes the view.
func (w *work) release() {
	if w.viewing {
		_ = w.local.Drop(w.view) // what is left goes with the workspace
		w.viewing = false
	}
}

// origins are the stamps of inputs as the next run will find them: in the zoo.
func (w *work) origins(inputs []stamp) []stamp {
	if w.zoo == nil {
		return inputs
	}
	var list []stamp
	for _, s := range inputs {
		if now, err := stampOf(w.fsys, w.origin(s.Path)); err == nil {
			now.Hash = s.Hash
			s = now
		}
		list = append(list, s)
	}
	return list
}

// named is a text in which the files of the view have their names in the zoo.
func (w *work) named(text string) string {
	if w.view == "" {
		return text
	}
	return strings.ReplaceAll(text, w.view, bucket.Shown(w.Manifest.Zoo))
}

// shield keeps a file of a model from being written. One in a bucket needs no shield: nothing is written to its bucket.
func (w *work) shield(info fs.FileInfo) {
	if _, object := info.(*bucket.Info); !object {
		w.guard.Files(info)
	}
}

// contentOf is the hash of what stands in an output's place. One in a bucket that is of the version that the ledger knows need
// not be read for that.
func (w *work) contentOf(ctx context.Context, rel string) (string, error) {
	path := w.books.abs(rel)
	if e := w.books.get(w.owner(w.job)); e != nil {
		for _, s := range e.Outputs {
			if now, err := stampOf(w.fsys, path); s.Path == rel && err == nil && now.exact && now.matches(s) {
				return s.Hash, nil
			}
		}
	}
	return hashFile(ctx, w.fsys, path)
}
