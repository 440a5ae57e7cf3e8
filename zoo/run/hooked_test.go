package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// hooked is the host's file system with something done before each operation: an error of before keeps the operation from
// happening, or half of it. Nothing waits for the disk.
type hooked struct {
	files
	before func(operation, path string) error // never twice at a time
	lock   sync.Mutex
}

// over is an Options.over.
func (h *hooked) over(f files) files {
	h.files = f
	return h
}

func (h *hooked) planted(operation, path string) error {
	h.lock.Lock()
	defer h.lock.Unlock()
	return h.before(operation, path)
}

var (
	errFault = errors.New("planted fault")
	errShort = fmt.Errorf("%w in the middle", errFault) // half of a read or write is done, everything else is not
	errLate  = fmt.Errorf("%w at the end", errFault)    // the operation is done all the same
)

// do does an operation, or fails as before says.
func (h *hooked) do(operation, path string, f func() error) error {
	switch planted := h.planted(operation, path); {
	case planted == nil:
		return f()
	case errors.Is(planted, errLate):
		return errors.Join(f(), planted)
	default:
		return planted
	}
}

// transfer reads or writes, or fails as before says.
func (h *hooked) transfer(operation, path string, b []byte, f func([]byte) (int, error)) (n int, err error) {
	switch planted := h.planted(operation, path); {
	case planted == nil:
		return f(b)
	case errors.Is(planted, errLate):
		n, err = f(b)
		return n, errors.Join(err, planted)
	case errors.Is(planted, errShort):
		n, err = f(b[:len(b)/2])
		return n, errors.Join(err, planted)
	default:
		return 0, planted
	}
}

func (h *hooked) Stat(path string) (info fs.FileInfo, err error) {
	err = h.do("stat", path, func() (err error) { info, err = h.files.Stat(path); return err })
	return info, err
}

func (h *hooked) Open(path string) (f io.ReadCloser, err error) {
	err = h.do("open", path, func() (err error) { f, err = h.files.Open(path); return err })
	return &hookedReader{f, path, h}, err
}

func (h *hooked) Lstat(path string) (info fs.FileInfo, err error) {
	err = h.do("lstat", path, func() (err error) { info, err = h.files.Lstat(path); return err })
	return info, err
}

func (h *hooked) Create(path string, mode fs.FileMode) (f writable, err error) {
	err = h.do("create", path, func() (err error) { f, err = h.files.Create(path, mode); return err })
	return &hookedFile{f, path, h}, err
}

func (h *hooked) Append(path string) (f writable, err error) {
	err = h.do("append", path, func() (err error) { f, err = h.files.Append(path); return err })
	return &hookedFile{f, path, h}, err
}

func (h *hooked) MkdirAll(path string) error {
	return h.do("mkdir all", path, func() error { return h.files.MkdirAll(path) })
}

func (h *hooked) Mkdir(path string) error {
	return h.do("mkdir", path, func() error { return h.files.Mkdir(path) })
}

func (h *hooked) Rename(from, to string) error {
	return h.do("rename", to, func() error { return h.files.Rename(from, to) })
}

func (h *hooked) Remove(path string) error {
	return h.do("remove", path, func() error { return h.files.Remove(path) })
}

func (h *hooked) RemoveAll(path string) error {
	return h.do("remove all", path, func() error { return h.files.RemoveAll(path) })
}

func (h *hooked) SyncFolder(path string) error {
	return h.do("sync folder", path, func() error { return nil })
}

func (h *hooked) Lock(path string) (func() error, error) {
	var unlock func() error
	err := h.do("lock", path, func() (err error) { unlock, err = h.files.Lock(path); return err })
	if err != nil && unlock != nil {
		err = errors.Join(err, unlock()) // the process that failed would have ended
	}
	return func() error { return errors.Join(h.planted("unlock", path), unlock()) }, err
}

type hookedReader struct {
	io.ReadCloser
	path string
	h    *hooked
}

func (f *hookedReader) Read(b []byte) (int, error) {
	return f.h.transfer("read", f.path, b, f.ReadCloser.Read)
}

type hookedFile struct {
	writable
	path string
	h    *hooked
}

func (f *hookedFile) Write(b []byte) (int, error) {
	return f.h.transfer("write", f.path, b, f.writable.Write)
}

func (f *hookedFile) WriteAt(b []byte, off int64) (int, error) {
	return f.h.transfer("write", f.path, b, func(b []byte) (int, error) { return f.writable.WriteAt(b, off) })
}

func (f *hookedFile) Sync() error { return f.h.do("sync", f.path, func() error { return nil }) }

func (f *hookedFile) Close() error {
	planted := f.h.planted("close", f.path)
	return errors.Join(planted, f.writable.Close()) // a file is closed whatever close says
}
