package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/zoofold/zoofold/zoo/format"
)

// files are the operations on a file system that decide whether an output appears whole or not at all, and what the ledger
// says of it. Tests make each of them fail in turn.
type files interface {
	Stat(path string) (fs.FileInfo, error)
	Open(path string) (io.ReadCloser, error)
	Create(path string) (writable, error) // a new file
	Append(path string) (writable, error) // at the end of a file, a new one if there is none
	MkdirAll(path string) error
	MkdirTemp(folder, pattern string) (string, error)
	Rename(from, to string) error
	Remove(path string) error
	RemoveAll(path string) error
	SyncFolder(path string) error

	// Lock takes a lock that goes with the process. Its error is ErrLocked where another process has it.
	Lock(path string) (unlock func() error, err error)
}

// writable is a file being written.
type writable interface {
	format.OutputFile
	Sync() error
	Chmod(fs.FileMode) error
}

// disk is the file system of the host.
type disk struct{}

func (disk) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

func (disk) Open(path string) (io.ReadCloser, error) { return os.Open(path) }

func (disk) Create(path string) (writable, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

func (disk) Append(path string) (writable, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
}

func (disk) MkdirAll(path string) error { return os.MkdirAll(path, 0o777) }

func (disk) MkdirTemp(folder, pattern string) (string, error) { return os.MkdirTemp(folder, pattern) }

func (disk) Rename(from, to string) error { return os.Rename(from, to) }

func (disk) Remove(path string) error { return os.Remove(path) }

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

func (disk) Lock(path string) (unlock func() error, err error) {
	options := []flock.Option{flock.SetPermissions(0o644)}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		options = append(options, flock.SetFlag(os.O_RDONLY))
	}
	l := flock.New(path, options...)
	held, err := l.TryLock()
	for errors.Is(err, syscall.EINTR) {
		held, err = l.TryLock()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", path, err)
	case !held:
		return nil, ErrLocked
	}
	return l.Unlock, nil
}

// makeFolder makes a folder and those above it, and makes each new one last.
func makeFolder(fsys files, path string) error {
	var missing []string
	for p := path; ; p = filepath.Dir(p) {
		if _, err := fsys.Stat(p); err == nil || filepath.Dir(p) == p {
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

// readAll is the content of a small file.
func readAll(fsys files, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
