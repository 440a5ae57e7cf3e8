package manifests

import (
	"context"
	"io/fs"
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
	return &Zoo{Jobs: j, Unmatched: u}, err
}
