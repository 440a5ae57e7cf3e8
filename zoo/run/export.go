package run

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/store"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Export writes an open model in another form: as the file target, or as the new folder target. It appears whole or not at
// all. The model's own files are never replaced. A model that has the form already is copied, as far as it is not edited.
func Export(ctx context.Context, f format.File, e format.Exporter, target string, backend tensor.Backend) error {
	target, err := filepath.Abs(target)
	if err != nil {
		return err
	}
	if e.Main != "" {
		if entries, err := os.ReadDir(target); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is there and not empty: name a new folder", target)
		}
		target = filepath.Join(target, e.Main)
	}
	guard := &store.Guard{}
	for _, input := range f.Inputs() {
		info, err := os.Stat(input)
		if err != nil {
			return err
		}
		guard.Files(info)
	}
	folder, err := store.Open(filepath.Dir(target), guard)
	if err != nil {
		return err
	}
	defer folder.Close()
	if info, err := folder.Lstat(target); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s %w", target, store.ErrNotRegular)
	}
	s, err := newStage(disk{folder}, folder.Path(), target, 0o666)
	if err != nil {
		return err
	}
	if isForm(f, e) {
		_, err = f.Write(ctx, s, backend)
	} else {
		err = e.Export(ctx, f.Model(), s, "", backend)
	}
	if err != nil {
		_ = s.discard() // the first error matters more
		return err
	}
	if err := s.commit(); err != nil {
		_ = s.discard()
		return err
	}
	return nil
}

// isForm says whether an open model has the format that an exporter writes.
func isForm(f format.File, e format.Exporter) bool {
	own, err := format.Find(f.Inputs()[0])
	return err == nil && own.Name == e.Name
}

// AsONNX is the path of an ONNX model that computes what a model file of any format does: its own, or that of one made
// below a folder for temporary files.
func AsONNX(ctx context.Context, path string, o format.Options, temporary string, backend tensor.Backend) (string, error) {
	f, err := format.Open(ctx, path, o)
	if err != nil {
		return "", err
	}
	defer f.Close()
	folder, err := store.Open(temporary, nil)
	if err != nil {
		return "", err
	}
	defer folder.Close()
	s, err := newStage(disk{folder}, folder.Path(), filepath.Join(folder.Path(), "model"), 0o600)
	if err != nil {
		return "", err
	}
	return runnable(ctx, f, path, s.scratch("onnx", "model.onnx"), backend)
}
