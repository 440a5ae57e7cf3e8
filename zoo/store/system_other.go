//go:build !unix

package store

import (
	"io/fs"
	"os"
	"path/filepath"
)

const keepsOpen = false

func identify(fs.FileInfo) (id identity, ok bool) { return id, false }

func links(fs.FileInfo) uint64 { return 1 }

func isUnsupported(error) bool { return true }

func renameBetween(from *handle, name string, to *handle, target string) error {
	return os.Rename(filepath.Join(from.Name(), name), filepath.Join(to.Name(), target))
}
