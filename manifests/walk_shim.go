package manifests

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
)

type Zoo struct {
	Jobs      []Job
	Failures  []Failure
	Unmatched []string
	Folders   []fs.FileInfo
	Notes     []string
}

func (r *Rule) Required(bool) bool { return false }

type Keep struct{ Pattern, Place string }

func (r *Rule) KeepPlaces() []Keep { return nil }

type Failure struct {
	Path string
	Err  error
}

func (m *Manifest) Walk(context.Context) (*Zoo, error) {
	j, u, err := m.Jobs()
	z := &Zoo{Jobs: j, Unmatched: u}
	filepath.WalkDir(m.Zoo+"/.", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			if i, e := os.Stat(p); e == nil {
				z.Folders = append(z.Folders, i)
			}
		}
		return nil
	})
	return z, err
}
