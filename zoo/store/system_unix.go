//go:build unix

package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepsOpen says that a folder can be renamed and removed while it is open.
const keepsOpen = true

// identify is what identifies a file on this host; ok is false where the system does not say.
func identify(info fs.FileInfo) (id identity, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return id, false
	}
	return identity{uint64(s.Dev), uint64(s.Ino)}, true
}

// links is how many names a file has.
func links(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink)
	}
	return 1
}

// isUnsupported says that a file system cannot sync folders.
func isUnsupported(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP)
}

// renameBetween renames an entry of one open folder into another: neither is looked up by its path again.
func renameBetween(from *handle, name string, to *handle, target string) (err error) {
	for {
		err = unix.Renameat(int(from.fd), name, int(to.fd), target)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from.dir.Name() + "/" + name, New: to.dir.Name() + "/" + target, Err: err}
	}
	return nil
}
