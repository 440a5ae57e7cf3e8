package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/store"
)

// files are the file system operations on which it depends that an output appears whole or not at all, and that the ledger
// is right. They change files in one folder only, and read anywhere. Tests make each of them fail in turn.
type files interface {
	Stat(path string) (fs.FileInfo, error)
	Open(path string) (io.ReadCloser, error) // a regular file

	ReadDir(path string) ([]fs.DirEntry, error)

	Lstat(path string) (fs.FileInfo, error) // in the folder
	Create(path string, mode fs.FileMode) (writable, error)
	Append(path string) (writable, error) // at the end of a file, a new one if there is none
	MkdirAll(path string) error
	Mkdir(path string) error
	Rename(from, to string) error
	Remove(path string) error
	RemoveAll(path string) error
	SyncFolder(path string) error

	// Lock takes a lock that ends with the process. Its error is ErrLocked if another process holds it.
	Lock(path string) (unlock func() error, err error)
}

// writable is a file being written.
type writable interface {
	format.OutputFile
	io.ReaderAt // for files that Create opened
	Sync() error
}

// disk is the host's file system, which may be changed in folder only; nil: nowhere.
type disk struct{ folder *store.Folder }

// errReadOnly says that a dry run tried to change something.
var errReadOnly = errors.New("a dry run changes nothing")

func (disk) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

func (disk) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }

func (disk) Open(path string) (io.ReadCloser, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // opening a FIFO would block
		return nil, fmt.Errorf("%s %w", path, store.ErrNotRegular)
	}
	return os.Open(path)
}

func (d disk) Lstat(path string) (fs.FileInfo, error) {
	if d.folder == nil {
		return os.Lstat(path)
	}
	return d.folder.Lstat(path)
}

func (d disk) Create(path string, mode fs.FileMode) (writable, error) {
	if d.folder == nil {
		return nil, errReadOnly
	}
	return d.lasting(d.folder.Create(path, mode))
}

func (d disk) Append(path string) (writable, error) {
	if d.folder == nil {
		return nil, errReadOnly
	}
	return d.lasting(d.folder.Append(path))
}

// lasting is a file whose syncs the folder does.
func (d disk) lasting(f *os.File, err error) (writable, error) {
	if err != nil {
		return nil, err
	}
	return &folderFile{File: f, of: d.folder}, nil
}

type folderFile struct {
	*os.File
	of      *store.Folder
	written atomic.Int64 // bytes
}

func (f *folderFile) Sync() error { return f.of.Sync(f.File) }

// early is after how many bytes of a large file the disk begins to write them, so that it has little to do at the end.
const early = 64 << 20

// wrote takes note of so many more bytes.
func (f *folderFile) wrote(n int64) {
	if all := f.written.Add(n); all/early != (all-n)/early {
		store.BeginSync(f.File)
	}
}

func (f *folderFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.wrote(int64(n))
	return n, err
}

func (f *folderFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(b, off)
	f.wrote(int64(n))
	return n, err
}

func (f *folderFile) ReadFrom(r io.Reader) (int64, error) {
	n, err := f.File.ReadFrom(r)
	f.wrote(n)
	return n, err
}

// change does something in the folder.
func (d disk) change(f func(*store.Folder) error) error {
	if d.folder == nil {
		return errReadOnly
	}
	return f(d.folder)
}

func (d disk) MkdirAll(path string) error {
	return d.change(func(f *store.Folder) error { return f.MkdirAll(path) })
}

func (d disk) Mkdir(path string) error {
	return d.change(func(f *store.Folder) error { return f.Mkdir(path) })
}

func (d disk) Rename(from, to string) error {
	return d.change(func(f *store.Folder) error { return f.Rename(from, to) })
}

func (d disk) Remove(path string) error {
	return d.change(func(f *store.Folder) error { return f.Remove(path) })
}

func (d disk) RemoveAll(path string) error {
	return d.change(func(f *store.Folder) error { return f.RemoveAll(path) })
}

func (d disk) SyncFolder(path string) error {
	return d.change(func(f *store.Folder) error { return f.SyncFolder(path) })
}

func (d disk) Lock(path string) (unlock func() error, err error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		file, err := d.Append(path) // it exists now, and belongs to the folder
		if err == nil {
			err = file.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
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
