// Package store makes all of zoofold's changes to a file system: every file that it creates, renames or removes outside the
// folder of temporary files goes through a Folder.
//
// A Folder cannot be left: paths lead below it, and links that lead out of it are not followed (os.Root sees to that, not a
// comparison of paths). Within it, changes of the originals that its Guard holds are refused by identity, checked at each
// operation, so that neither a manifest nor a link that was changed a moment ago can lead to one.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrOutside says that a path leads out of its Folder, by itself or through a link.
var ErrOutside = errors.New("leads out of the folder")

// ErrNotRegular says that a path is a folder, link, FIFO or device where a regular file of its own is needed.
var ErrNotRegular = errors.New("is not a regular file of its own")

// Folder is an open folder for outputs. Its methods take absolute paths below it or paths relative to it, and may be called
// by several goroutines at once.
type Folder struct {
	path  string // as it was opened, absolute
	real  string // with its links resolved
	root  *os.Root
	guard *Guard

	lock  sync.Mutex
	safe  map[identity]bool  // folders that were checked: they are outside of all originals
	near  map[string]*handle // folders that are kept open, by their relative paths
	syncs map[string]*rounds // of files and folders, by their paths, and of all: ""

	dir     *os.File             // the folder itself
	syncAll func(*os.File) error // makes all of its file system last; nil: nothing does
	apart   time.Time            // until then each file and folder is synced by itself
}

// Open opens a folder, which is made if it is not there. It may not be an original, nor lie in one.
func Open(path string, guard *Guard) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := create(path, guard); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	f := &Folder{path: path, root: root, guard: guard, safe: map[identity]bool{}, near: map[string]*handle{}, syncs: map[string]*rounds{}}
	if f.real, err = filepath.EvalSymlinks(path); err == nil {
		err = guard.checkAll(f.real, "")
	}
	if err == nil {
		f.dir, err = root.Open(".") // before anything is written: errors are said of what comes later
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if canSyncAll(f.dir) {
		f.syncAll = syncAll
	}
	return f, nil
}

// create makes a folder and those above it, and syncs each new one. The first existing one may not be an original.
func create(path string, guard *Guard) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a folder", path)
	case err == nil:
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		return guard.checkAll(real, "")
	case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path:
		return err
	}
	parent := filepath.Dir(path)
	if err := create(parent, guard); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(os.Open(parent))
}

// checkAll is an error if a folder, or one above it up to but not including end, is an original.
func (g *Guard) checkAll(folder, end string) error {
	for {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if err := g.check(folder, info); err != nil {
			return err
		}
		parent := filepath.Dir(folder)
		if parent == folder || folder == end {
			return nil
		}
		folder = parent
	}
}

// Path is the folder's, absolute.
func (f *Folder) Path() string { return f.path }

// Close closes the folder. No other method may be under way.
func (f *Folder) Close() error {
	f.lock.Lock()
	defer f.lock.Unlock()
	for rel := range f.near {
		f.forget(rel)
	}
	return errors.Join(f.dir.Close(), f.root.Close())
}

// relative is a path as the folder's root takes it.
func (f *Folder) relative(path string) (string, error) {
	rel := path
	if filepath.IsAbs(path) {
		var err error
		if rel, err = filepath.Rel(f.path, path); err != nil {
			return "", fmt.Errorf("%s: %w %s", path, ErrOutside, f.path)
		}
	}
	if rel = filepath.Clean(rel); !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s: %w %s", path, ErrOutside, f.path)
	}
	return rel, nil
}

// open opens a folder below f, which may not be an original nor lie in one.
func (f *Folder) open(rel string) (*os.Root, error) {
	info, err := f.root.Stat(rel) // opening a FIFO would block
	if err != nil {
		return nil, f.explain(rel, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", filepath.Join(f.path, rel))
	}
	root, err := f.root.OpenRoot(rel)
	if err != nil {
		return nil, f.explain(rel, err)
	}
	if err := f.check(rel, root); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// explain turns os.Root's error for a link that leads out of the folder into ErrOutside.
func (f *Folder) explain(rel string, err error) error {
	path := filepath.Join(f.path, rel)
	if _, there := os.Lstat(path); there == nil {
		if real, e := filepath.EvalSymlinks(path); e == nil {
			if inside, e := filepath.Rel(f.real, real); e != nil || !filepath.IsLocal(inside) {
				return fmt.Errorf("%s links to %s: %w %s", path, real, ErrOutside, f.path)
			}
		}
	}
	return err
}

// check is an error if an open folder is an original or lies in one. Results are cached by identity.
func (f *Folder) check(rel string, root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if f.guard == nil {
		return nil
	}
	if err := f.guard.check(filepath.Join(f.path, rel), info); err != nil {
		return err
	}
	id, ok := identify(info)
	f.lock.Lock()
	known := ok && f.safe[id]
	f.lock.Unlock()
	if known {
		return nil
	}
	real, err := filepath.EvalSymlinks(filepath.Join(f.real, rel))
	if err != nil {
		return err
	}
	if now, err := os.Stat(real); err != nil || !os.SameFile(now, info) {
		return errors.Join(fmt.Errorf("%s was changed while it was opened", filepath.Join(f.path, rel)), err)
	}
	if err := f.guard.checkAll(real, f.real); err != nil {
		return err
	}
	f.lock.Lock()
	defer f.lock.Unlock()
	f.safe[id] = ok
	return nil
}

// at opens the parent folder of a path, for an operation on the last element alone.
func (f *Folder) at(path string) (folder *handle, name string, err error) {
	rel, err := f.relative(path)
	if err != nil {
		return nil, "", err
	}
	if rel == "." {
		return nil, "", fmt.Errorf("%s: %w %s", path, ErrOutside, f.path)
	}
	folder, err = f.handle(filepath.Dir(rel))
	return folder, filepath.Base(rel), err
}

// spare is an error if an entry of an open folder is an original; a missing one is not.
func (f *Folder) spare(path string, folder *handle, name string) error {
	info, err := folder.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.guard.check(path, info)
}

// Create makes a new file, open for reading and writing, with the permissions of mode less the process's mask.
func (f *Folder) Create(path string, mode fs.FileMode) (*os.File, error) {
	folder, name, err := f.at(path)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode.Perm())
}

// Append opens a file for writing at its end, a new one if there is none. The file has to be the folder's own: a regular
// one under a single name.
func (f *Folder) Append(path string) (*os.File, error) {
	folder, name, err := f.at(path)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	before, err := folder.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o666)
	}
	if err != nil {
		return nil, err
	}
	if err := f.guard.check(path, before); err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() || links(before) != 1 {
		return nil, fmt.Errorf("%s %w", path, ErrNotRegular)
	}
	file, err := folder.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	if now, err := file.Stat(); err != nil || !os.SameFile(now, before) {
		return nil, errors.Join(fmt.Errorf("%s was changed while it was opened", path), err, file.Close())
	}
	return file, nil
}

// MkdirAll makes a folder and the missing ones above it, and syncs each new one.
func (f *Folder) MkdirAll(path string) error {
	rel, err := f.relative(path)
	if err != nil {
		return err
	}
	if folder := f.kept(rel); folder != nil {
		return folder.Close()
	}
	if info, err := f.root.Stat(rel); err == nil && info.IsDir() {
		folder, err := f.handle(rel)
		if err != nil {
			return err
		}
		return folder.Close()
	}
	if err := f.MkdirAll(filepath.Dir(rel)); err != nil {
		return err
	}
	folder, name, err := f.at(rel)
	if err != nil {
		return err
	}
	defer folder.Close()
	err = folder.Mkdir(name, 0o777)
	if errors.Is(err, fs.ErrExist) {
		if info, there := folder.Stat(name); there == nil && info.IsDir() {
			return nil // another worker made it
		}
	}
	if err != nil {
		return f.explain(rel, err)
	}
	return folder.sync()
}

// Mkdir makes a new folder.
func (f *Folder) Mkdir(path string) error {
	folder, name, err := f.at(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Mkdir(name, 0o777)
}

// Rename moves an entry of the folder to another place in it. An existing entry is replaced, unless it is an original; a
// link is replaced, not followed.
func (f *Folder) Rename(from, to string) error {
	source, name, err := f.at(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, as, err := f.at(to)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := f.spare(from, source, name); err != nil {
		return err
	}
	if err := f.spare(to, target, as); err != nil {
		return err
	}
	return renameBetween(source, name, target, as)
}

// Remove removes a file or an empty folder; a link is removed, not followed.
func (f *Folder) Remove(path string) error {
	folder, name, err := f.at(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := f.spare(path, folder, name); err != nil {
		return err
	}
	return folder.Remove(name)
}

// RemoveAll removes a file, or a folder with all that is in it. Originals in it stay, and are an error.
func (f *Folder) RemoveAll(path string) error {
	rel, err := f.relative(path)
	if err != nil {
		return err
	}
	info, err := f.root.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		folder, err := f.open(rel)
		if err != nil {
			return err
		}
		entries, err := fs.ReadDir(folder.FS(), ".")
		if err = errors.Join(err, folder.Close()); err != nil {
			return err
		}
		for _, e := range entries {
			if err := f.RemoveAll(filepath.Join(rel, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := f.Remove(rel); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Lstat is what an entry of the folder is; a link is not followed.
func (f *Folder) Lstat(path string) (fs.FileInfo, error) {
	rel, err := f.relative(path)
	if err != nil {
		return nil, err
	}
	if folder := f.kept(filepath.Dir(rel)); folder != nil && rel != "." {
		defer folder.Close()
		return folder.Lstat(filepath.Base(rel))
	}
	info, err := f.root.Lstat(rel)
	if err != nil {
		return nil, f.explain(filepath.Dir(rel), err)
	}
	return info, nil
}

// SyncFolder makes what was renamed or removed in a folder last. Calls at the same time share one sync, which begins after
// all of them, also with those of Sync.
func (f *Folder) SyncFolder(path string) error {
	rel, err := f.relative(path)
	if err != nil {
		return err
	}
	if f.allAtOnce() {
		return nil
	}
	return f.inRounds(rel, func() error {
		if folder := f.kept(rel); folder != nil {
			return errors.Join(folder.sync(), folder.Close())
		}
		return syncFolder(f.root.Open(rel))
	})
}

// syncFolder syncs and closes. On file systems that cannot sync a folder it only closes.
func syncFolder(folder *os.File, err error) error {
	if err != nil {
		return err
	}
	defer folder.Close()
	return syncOpen(folder)
}

func syncOpen(folder *os.File) error {
	if err := folder.Sync(); err != nil && !isUnsupported(err) {
		return err
	}
	return nil
}
