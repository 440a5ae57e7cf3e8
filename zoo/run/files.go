package run

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zoofold/zoofold/zoo/format"
)

// files are the operations on a file system that decide whether an output appears whole or not at all. Tests make each of
// them fail in turn.
type files interface {
	MkdirAll(path string) error
	MkdirTemp(folder, pattern string) (string, error)
	Create(path string) (writable, error)
	Rename(from, to string) error
	RemoveAll(path string) error
	SyncFolder(path string) error
}

// writable is a file being written.
type writable interface {
	format.OutputFile
	Sync() error
	Chmod(fs.FileMode) error
}

// disk is the file system of the host.
type disk struct{}

func (disk) MkdirAll(path string) error { return os.MkdirAll(path, 0o777) }

func (disk) MkdirTemp(folder, pattern string) (string, error) { return os.MkdirTemp(folder, pattern) }

func (disk) Create(path string) (writable, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

func (disk) Rename(from, to string) error { return os.Rename(from, to) }

func (disk) RemoveAll(path string) error { return os.RemoveAll(path) }

// SyncFolder makes renames in a folder last. Some file systems cannot sync a folder: there is nothing to wait for then.
func (disk) SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !isUnsupported(err) {
		return err
	}
	return nil
}

// makeFolder makes a folder and those above it, and makes each new one last.
func makeFolder(fsys files, path string) error {
	var missing []string
	for p := path; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || filepath.Dir(p) == p {
			break
		}
		missing = append(missing, p)
	}
	if err := fsys.MkdirAll(path); err != nil {
		return err
	}
	for _, p := range missing {
		if err := fsys.SyncFolder(filepath.Dir(p)); err != nil {
			return err
		}
	}
	return nil
}
