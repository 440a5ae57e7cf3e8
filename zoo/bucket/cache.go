package bucket

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/zeebo/xxh3"
)

// Cache is a folder of the host with contents of objects, which several processes may use at once. A content has the name of
// its object and version, so that it never changes. Where it would take more than the size, those go that were used longest
// ago; what a Workspace has of them stays its own until it is closed.
//
//	objects/XX/HASH   a content, whole
//	used/HASH         its time is when the content was used last
//	work/NAME         the folder of a workspace, which is there as long as a process has the lock work/NAME.lock
type Cache struct {
	folder string
	size   int64

	lock   sync.Mutex
	bytes  int64                 // of the contents, as far as this process knows
	coming map[string]*sync.Once // contents that are being brought; guarded by lock
}

// OpenCache opens the cache in a folder, which is made if it is not there, for so many bytes. What processes that were killed
// left in it is removed.
func OpenCache(folder string, size int64) (*Cache, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	c := &Cache{folder: folder, size: size}
	for _, name := range []string{"objects", "used", "work"} {
		if err := os.MkdirAll(filepath.Join(folder, name), 0o777); err != nil {
			return nil, err
		}
	}
	if err := c.sweep(); err != nil {
		return nil, err
	}
	list, err := c.contents()
	for _, x := range list {
		c.bytes += x.size
	}
	return c, err
}

// sweep removes the workspaces of processes that are gone.
func (c *Cache) sweep() error {
	locks, err := filepath.Glob(filepath.Join(c.folder, "work", "*"+lockName))
	for _, path := range locks {
		l := flock.New(path)
		if held, err := l.TryLock(); err != nil || !held {
			continue // somebody works there
		}
		folder, lock := os.RemoveAll(strings.TrimSuffix(path, lockName)), os.Remove(path)
		if errors.Is(lock, fs.ErrNotExist) { // its owner had removed it, and held it a moment longer
			lock = nil
		}
		err = errors.Join(err, folder, lock, l.Unlock())
	}
	return err
}

const lockName = ".lock"

// Workspace is a folder of one process in the cache.
type Workspace struct {
	cache *Cache
	path  string
	lock  *flock.Flock
}

// Workspace makes one. It goes when it is closed, or swept when its process has ended.
func (c *Cache) Workspace() (*Workspace, error) {
	for {
		path := filepath.Join(c.folder, "work", strings.ToLower(rand.Text()[:16]))
		l := flock.New(path + lockName)
		held, err := l.TryLock()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path+lockName, err)
		}
		if _, err := os.Stat(path + lockName); !held || err != nil { // swept before it was locked
			_ = l.Unlock()
			continue
		}
		if err := os.Mkdir(path, 0o777); err != nil {
			return nil, errors.Join(err, l.Unlock())
		}
		return &Workspace{c, path, l}, nil
	}
}

// Path is the workspace's folder.
func (w *Workspace) Path() string { return w.path }

// View makes an empty folder in the workspace; Drop removes it.
func (w *Workspace) View() (string, error) { return os.MkdirTemp(w.path, "view-") }

// Drop removes a view.
func (w *Workspace) Drop(view string) error { return os.RemoveAll(view) }

// Close removes the workspace.
func (w *Workspace) Close() error {
	return errors.Join(os.RemoveAll(w.path), os.Remove(w.path+lockName), w.lock.Unlock())
}

// Bring makes an object, as it was listed, a file of the workspace, which must not be changed: others have it too. Its time
// is the object's. Where a file is there already, it is taken for the object's.
func (w *Workspace) Bring(ctx context.Context, f *Folder, rel, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	info, err := f.Stat(ctx, rel)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	name := contentName(f, info)
	for {
		err := w.link(name, path)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := w.cache.bring(ctx, f, info, name); err != nil {
			return err
		}
	}
}

// contentName is the name of an object's content.
func contentName(f *Folder, info *Info) string {
	sum := xxh3.HashString128(fmt.Sprintf("%s\x00%s\x00%s\x00%d", f.at(info.path), info.version, info.time.Format(time.RFC3339), info.size)).Bytes()
	return hex.EncodeToString(sum[:])
}

func (c *Cache) content(name string) string {
	return filepath.Join(c.folder, "objects", name[:2], name)
}

func (c *Cache) mark(name string) string { return filepath.Join(c.folder, "used", name) }

// link gives a content a name in the workspace; where the file system has one name a file, it is copied.
func (w *Workspace) link(name, path string) error {
	from := w.cache.content(name)
	err := os.Link(from, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		err = copyFile(from, path)
	}
	if err == nil {
		w.cache.use(name)
	}
	return err
}

// use notes that a content was used now. If that fails it looks older than it is.
func (c *Cache) use(name string) {
	now := time.Now()
	if os.Chtimes(c.mark(name), now, now) != nil {
		_ = os.WriteFile(c.mark(name), nil, 0o666)
	}
}

func copyFile(from, to string) (err error) {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	t, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	if err = errors.Join(err, t.Close(), os.Chtimes(to, info.ModTime(), info.ModTime())); err != nil {
		_ = os.Remove(to)
	}
	return err
}

// bring reads a content into the cache. Who asks for one that is being read waits for it.
func (c *Cache) bring(ctx context.Context, f *Folder, info *Info, name string) (err error) {
	c.lock.Lock()
	if c.coming == nil {
		c.coming = map[string]*sync.Once{}
	}
	once := c.coming[name]
	if once == nil {
		once = &sync.Once{}
		c.coming[name] = once
	}
	c.lock.Unlock()
	once.Do(func() {
		defer func() {
			c.lock.Lock()
			defer c.lock.Unlock()
			delete(c.coming, name)
		}()
		err = c.read(ctx, f, info, name)
	})
	return err // nil for who has waited: it looks again
}

func (c *Cache) read(ctx context.Context, f *Folder, info *Info, name string) (err error) {
	if err := c.room(info.size); err != nil {
		return err
	}
	r, err := f.Open(ctx, info.path)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(c.content(name)), 0o777); err != nil {
		return err
	}
	part := filepath.Join(c.folder, "work", strings.ToLower(rand.Text()[:16]))
	l := flock.New(part + lockName) // swept with what it locks, should the process end
	if _, err := l.TryLock(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(part+lockName), l.Unlock()) }()
	if err := save(part, r, info.time); err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	if err := os.Rename(part, c.content(name)); err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	c.use(name)
	c.lock.Lock()
	defer c.lock.Unlock()
	c.bytes += info.size
	return nil
}

// save writes a file that lasts.
func save(path string, from io.Reader, at time.Time) error {
	t, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(t, from)
	if err == nil {
		err = t.Sync() // after a power failure a file of the right length would have other bytes
	}
	return errors.Join(err, t.Close(), os.Chtimes(path, at, at))
}

// kept is a content of the cache.
type kept struct {
	name string
	size int64
	used time.Time
}

// contents are those in the cache, by when they were used last.
func (c *Cache) contents() (list []kept, err error) {
	err = filepath.WalkDir(filepath.Join(c.folder, "objects"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		x := kept{name: d.Name(), size: info.Size()}
		if mark, err := os.Stat(c.mark(x.name)); err == nil {
			x.used = mark.ModTime()
		}
		list = append(list, x)
		return nil
	})
	slices.SortFunc(list, func(a, b kept) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name)) })
	return list, err
}

// ignoreGone is an error, but for what another process has removed.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// room makes room for so many bytes, as far as there are contents to be removed. While another process does, nobody else has to.
func (c *Cache) room(size int64) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.bytes+size <= c.size {
		return nil
	}
	l := flock.New(filepath.Join(c.folder, "lock"))
	if held, err := l.TryLock(); err != nil || !held {
		return err
	}
	defer func() { _ = l.Unlock() }()
	list, err := c.contents()
	c.bytes = 0
	for _, x := range list {
		c.bytes += x.size
	}
	for _, x := range list {
		if err != nil || c.bytes+size <= c.size {
			break
		}
		if err = ignoreGone(os.Remove(c.content(x.name))); err == nil {
			c.bytes -= x.size
			err = ignoreGone(os.Remove(c.mark(x.name)))
		}
	}
	return err
}
