package run

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/zoofold/zoofold/zoo/report"
)

// WriteMetrics writes a run's metrics into a file, whole or not at all. If the run did not succeed, the file keeps when one
// last did.
func WriteMetrics(path string, d *report.Document) error {
	var before time.Time
	switch old, err := os.Open(path); {
	case err == nil:
		before = report.LastSuccess(old)
		old.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return writeWhole(disk{}, path, func(w io.Writer) error { return d.WriteMetrics(w, before) })
}
