package run

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Export writes an open model in another form: as the file target, or as the new folder target. It appears whole or not at
// all.
func Export(ctx context.Context, f format.File, e format.Exporter, target string, backend tensor.Backend) (err error) {
	if e.Main != "" {
		if entries, err := os.ReadDir(target); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is there and not empty: name a new folder", target)
		}
		target = filepath.Join(target, e.Main)
	}
	for _, input := range f.Inputs() {
		if same(input, target) {
			return fmt.Errorf("%s is the model's own file: name another", target)
		}
	}
	s, err := newStage(disk{}, target, 0o644)
	if err != nil {
		return err
	}
	if err := e.Export(ctx, f.Model(), s, "", backend); err != nil {
		_ = s.discard() // what went wrong matters more
		return err
	}
	return s.commit()
}

// same says whether two paths are one file.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
