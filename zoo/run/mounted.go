package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/zoofold/zoofold/zoo/bucket"
)

// mounted is the file system of the host with buckets in it: what lies below a bucket.URL's Path is in that bucket. A run sees
// a bucket as it was when it was listed, and whatever it changes there is conditional on that. Nothing has to be made to last
// there; a folder is there as soon as something is in it.
type mounted struct {
	disk
	ctx      context.Context // of requests: what is begun is finished, whenever the run is to end
	folders  []*bucket.Folder
	out      *bucket.Folder // the one of the outputs; nil where these lie on the host
	staging  string         // the folder of the host that is in place of the staging folder of out
	readonly bool

	lock sync.Mutex
	made map[string]bool // folders that somebody asked for
}

// asking is the same for one model of a worker, which lists nothing: what is there is what was there when the model first
// asked for it. The zoo is nil where it is a folder of the host.
func (m *mounted) asking(zoo *bucket.Folder) *mounted {
	task := &mounted{disk: m.disk, ctx: m.ctx, staging: m.staging}
	if zoo != nil {
		task.folders = append(task.folders, zoo)
	}
	if m.out != nil {
		task.out = m.out.Asking()
		task.folders = append(task.folders, task.out)
	}
	return task
}

// find is where a path leads: to a bucket's folder, or nil and a path of the host.
func (m *mounted) find(path string) (f *bucket.Folder, rel string) {
	for _, f := range m.folders {
		inner, below := strings.CutPrefix(path, f.Path())
		if !below || inner != "" && inner[0] != filepath.Separator {
			continue
		}
		if rel = filepath.ToSlash(strings.TrimPrefix(inner, string(filepath.Separator))); f == m.out {
			if inner, staged := strings.CutPrefix(rel, stateFolder+"/"+stagePlace); staged && (inner == "" || inner[0] == '/') {
				return nil, filepath.Join(m.staging, filepath.FromSlash(inner))
			}
		}
		return f, rel
	}
	return nil, path
}

func (m *mounted) Stat(path string) (fs.FileInfo, error) {
	f, rel := m.find(path)
	if f == nil {
		return m.disk.Stat(rel)
	}
	return m.stat(f, path, rel)
}

func (m *mounted) Lstat(path string) (fs.FileInfo, error) {
	f, rel := m.find(path)
	if f == nil {
		return m.disk.Lstat(rel)
	}
	return m.stat(f, path, rel)
}

// folder is one that somebody asked for, in a bucket, where nothing is in it yet.
type folder struct{ fs.FileInfo }

func (folder) IsDir() bool       { return true }
func (folder) Mode() fs.FileMode { return fs.ModeDir | 0o777 }

func (m *mounted) stat(f *bucket.Folder, path, rel string) (fs.FileInfo, error) {
	m.lock.Lock()
	made := m.made[path]
	m.lock.Unlock()
	if made {
		return folder{}, nil
	}
	look := f.Stat
	if m.isLog(f, rel) {
		look = f.StatWhole
	}
	info, err := look(m.ctx, rel)
	if err != nil {
		return nil, err // not a nil *Info in an interface
	}
	return info, nil
}

func (m *mounted) ReadDir(path string) ([]fs.DirEntry, error) {
	f, rel := m.find(path)
	if f == nil {
		return m.disk.ReadDir(rel)
	}
	if err := f.Look(m.ctx); err != nil {
		return nil, err
	}
	list, err := f.ReadDir(rel)
	m.lock.Lock()
	defer m.lock.Unlock()
	if errors.Is(err, fs.ErrNotExist) && m.made[path] {
		return nil, nil
	}
	return list, err
}

func (m *mounted) Open(path string) (io.ReadCloser, error) {
	f, rel := m.find(path)
	switch {
	case f == nil:
		return m.disk.Open(rel)
	case m.isLog(f, rel):
		return f.OpenWhole(m.ctx, rel)
	}
	return f.Open(m.ctx, rel)
}

// isLog says whether a file is the ledger, which is appended to.
func (m *mounted) isLog(f *bucket.Folder, rel string) bool {
	return f == m.out && rel == stateFolder+"/"+ledgerFile
}

// change does something on the host or in a bucket.
func (m *mounted) change(path string, host func(path string) error, there func(f *bucket.Folder, rel string) error) error {
	f, rel := m.find(path)
	switch {
	case f == nil:
		return host(rel)
	case m.readonly:
		return errReadOnly
	case f != m.out:
		return fmt.Errorf("%s: nothing is changed but the outputs", path)
	}
	return there(f, rel)
}

func (m *mounted) Create(path string, mode fs.FileMode) (w writable, err error) {
	err = m.change(path, func(path string) error {
		if w, err = m.disk.Create(path, mode); m.out != nil && err == nil {
			w = unsynced{w}
		}
		return err
	}, func(f *bucket.Folder, rel string) error {
		if _, err := f.Stat(m.ctx, rel); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist})
		}
		w = &poured{done: func(data []byte) error {
			err := f.Put(m.ctx, rel, bytes.NewReader(data), int64(len(data)))
			if errors.Is(err, bucket.ErrChanged) {
				err = fmt.Errorf("%w: %w", fs.ErrExist, err)
			}
			return err
		}}
		return nil
	})
	return w, err
}

func (m *mounted) Append(path string) (w writable, err error) {
	err = m.change(path, func(path string) error {
		w, err = m.disk.Append(path)
		return err
	}, func(f *bucket.Folder, rel string) error {
		a, err := f.Append(m.ctx, rel)
		w = appended{sequential{}, a}
		return err
	})
	return w, err
}

func (m *mounted) MkdirAll(path string) error {
	return m.change(path, m.disk.MkdirAll, func(*bucket.Folder, string) error {
		m.lock.Lock()
		defer m.lock.Unlock()
		if m.made == nil {
			m.made = map[string]bool{}
		}
		m.made[path] = true
		return nil
	})
}

func (m *mounted) Mkdir(path string) error {
	return m.change(path, m.disk.Mkdir, func(*bucket.Folder, string) error { return m.MkdirAll(path) })
}

// Rename moves a file of the host to another place, which may be in the bucket: it is there when it is whole.
func (m *mounted) Rename(from, to string) error {
	if f, rel := m.find(from); f != nil {
		return fmt.Errorf("%s: nothing in a bucket is renamed", from)
	} else {
		from = rel
	}
	return m.change(to, func(to string) error { return m.disk.Rename(from, to) }, func(f *bucket.Folder, rel string) error {
		content, err := os.Open(from)
		if err != nil {
			return err
		}
		defer content.Close()
		info, err := content.Stat()
		if err != nil {
			return err
		}
		if m.isLog(f, rel) {
			err = f.Replace(m.ctx, rel, content, info.Size())
		} else {
			err = f.Put(m.ctx, rel, content, info.Size())
		}
		if err != nil {
			return err
		}
		return m.disk.Remove(from)
	})
}

func (m *mounted) Remove(path string) error {
	return m.change(path, m.disk.Remove, func(f *bucket.Folder, rel string) error { return f.Remove(m.ctx, rel) })
}

func (m *mounted) RemoveAll(path string) error {
	return m.change(path, m.disk.RemoveAll, func(*bucket.Folder, string) error {
		return fmt.Errorf("%s: no folder of a bucket is removed as a whole", path)
	})
}

func (m *mounted) SyncFolder(path string) error {
	return m.change(path, m.disk.SyncFolder, func(*bucket.Folder, string) error { return nil })
}

// Lock takes a lease in the bucket. What is there is asked for again then: another run may have changed it until now.
func (m *mounted) Lock(path string) (unlock func() error, err error) {
	err = m.change(path, func(path string) error {
		unlock, err = m.disk.Lock(path)
		return err
	}, func(f *bucket.Folder, rel string) error {
		release, err := f.Lock(m.ctx, rel, self().String(), func(who string) bool {
			h, ok := parseHolder(who)
			return ok && h.gone()
		})
		if held, yes := errors.AsType[*bucket.HeldError](err); yes {
			return fmt.Errorf("%w: %s", ErrLocked, held.Who)
		}
		if err != nil {
			return err
		}
		unlock = func() error { return release(m.ctx) }
		if err := f.List(m.ctx); err != nil {
			return errors.Join(err, unlock())
		}
		return nil
	})
	return unlock, err
}

// unsynced is a file whose content goes to a bucket.
type unsynced struct{ writable }

func (unsynced) Sync() error { return nil }

// sequential is what a file lacks that is written from its beginning to its end.
type sequential struct{}

func (sequential) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (sequential) ReadAt([]byte, int64) (int, error)  { return 0, errors.ErrUnsupported }
func (sequential) Seek(int64, int) (int64, error)     { return 0, errors.ErrUnsupported }
func (sequential) Sync() error                        { return nil }

// poured is a small file that is there when it is closed.
type poured struct {
	sequential
	data bytes.Buffer
	done func([]byte) error
}

func (p *poured) Write(b []byte) (int, error) { return p.data.Write(b) }
func (p *poured) Close() error                { return p.done(p.data.Bytes()) }

// appended is a file that is appended to, in pieces.
type appended struct {
	sequential
	*bucket.Appender
}

// together says that several may write at once: see ledger.write.
func (appended) together() {}
