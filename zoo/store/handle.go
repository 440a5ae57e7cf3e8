package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// handle is an open folder below a Folder, for operations on its entries. Close returns it.
type handle struct {
	*os.Root
	dir   *os.File // the folder itself
	fd    uintptr  // dir's
	info  fs.FileInfo
	of    *Folder
	users int  // how many use it, guarded by of.lock
	gone  bool // it is no longer kept open: its last user closes it
}

// maxKept bounds the folders that are kept open, which take two descriptors each: those of the models that wait for the disk,
// and those that they go to.
const maxKept = 256

// handle opens a folder below f, which may not be an original nor lie in one. It is kept open, since the models of a
// folder, or of a stage, use it again and again.
func (f *Folder) handle(rel string) (*handle, error) {
	if h := f.kept(rel); h != nil {
		return h, nil
	}
	root, err := f.open(rel)
	if err != nil {
		return nil, err
	}
	h := &handle{Root: root, of: f, users: 1}
	if h.dir, err = root.Open("."); err == nil {
		h.fd = h.dir.Fd()
		h.info, err = h.dir.Stat()
	}
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	f.lock.Lock()
	defer f.lock.Unlock()
	for other := range f.near {
		if len(f.near) < maxKept && other != rel {
			break
		}
		f.forget(other)
	}
	if h.gone = f.near[rel] != nil || !keepsOpen; !h.gone {
		f.near[rel] = h
	}
	return h, nil
}

// kept is the kept open folder at a path, or nil. It checks that the path still leads to that folder.
func (f *Folder) kept(rel string) *handle {
	f.lock.Lock()
	h := f.near[rel]
	if h != nil {
		h.users++
	}
	f.lock.Unlock()
	if h == nil {
		return nil
	}
	now, err := os.Stat(filepath.Join(f.path, rel))
	if err == nil && os.SameFile(now, h.info) && f.guard.check(rel, now) == nil {
		return h
	}
	f.lock.Lock()
	if f.near[rel] == h {
		f.forget(rel)
	}
	f.lock.Unlock()
	_ = h.Close()
	return nil
}

// forget stops keeping a folder open. The caller holds the lock.
func (f *Folder) forget(rel string) {
	h := f.near[rel]
	delete(f.near, rel)
	if h.gone = true; h.users == 0 {
		_ = h.close()
	}
}

// Close hands the folder back.
func (h *handle) Close() error {
	h.of.lock.Lock()
	defer h.of.lock.Unlock()
	if h.users--; h.gone && h.users == 0 {
		return h.close()
	}
	return nil
}

func (h *handle) close() error {
	var err error
	if h.dir != nil {
		err = h.dir.Close()
	}
	return errors.Join(err, h.Root.Close())
}

// sync syncs renames and removals in the folder.
func (h *handle) sync() error { return syncOpen(h.dir) }
