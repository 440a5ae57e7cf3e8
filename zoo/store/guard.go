package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// ErrProtected says that an operation was refused because it would have changed an original: a file or folder that Guard
// holds.
var ErrProtected = errors.New("is an original, which zoofold never touches")

// Guard holds the originals by identity, device and inode: the folders of the zoo and the files that models are made of. So
// links, bind mounts and names in another case make no difference. The zero Guard holds nothing; its methods may be called
// by several goroutines at once.
type Guard struct {
	lock    sync.RWMutex
	folders identities
	files   identities
}

// Folders adds folders in which, and below which, nothing may be written.
func (g *Guard) Folders(list ...fs.FileInfo) {
	g.lock.Lock()
	defer g.lock.Unlock()
	for _, f := range list {
		g.folders.add(f)
	}
}

// Files adds files that may not be replaced or removed.
func (g *Guard) Files(list ...fs.FileInfo) {
	g.lock.Lock()
	defer g.lock.Unlock()
	for _, f := range list {
		g.files.add(f)
	}
}

// holds says whether a file or folder is an original.
func (g *Guard) holds(info fs.FileInfo) bool {
	g.lock.RLock()
	defer g.lock.RUnlock()
	if info.IsDir() {
		return g.folders.have(info)
	}
	return g.files.have(info)
}

// check is an error if the file or folder is an original.
func (g *Guard) check(path string, info fs.FileInfo) error {
	if g != nil && g.holds(info) {
		return fmt.Errorf("%s %w", path, ErrProtected)
	}
	return nil
}

// identities is a set of files or folders, by device and inode.
type identities struct {
	known map[identity]bool
	list  []fs.FileInfo // on systems without such numbers
}

// identity is a file's device and inode.
type identity struct{ device, inode uint64 }

func (s *identities) add(info fs.FileInfo) {
	id, ok := identify(info)
	if !ok {
		s.list = append(s.list, info)
		return
	}
	if s.known == nil {
		s.known = map[identity]bool{}
	}
	s.known[id] = true
}

func (s *identities) have(info fs.FileInfo) bool {
	if id, ok := identify(info); ok {
		return s.known[id]
	}
	return slices.ContainsFunc(s.list, func(other fs.FileInfo) bool { return os.SameFile(info, other) })
}
