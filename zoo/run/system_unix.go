//go:build unix

package run

import (
	"errors"
	"io/fs"
	"syscall"
)

// inode is a file's number in its file system.
func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// isOtherDisk says that a file cannot be renamed since its new place is on another file system.
func isOtherDisk(err error) bool { return errors.Is(err, syscall.EXDEV) }

// isNoLock says that a file system has no locks.
func isNoLock(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOLCK)
}

// alive says whether a process of this host is there.
func alive(pid int) bool { return pid > 0 && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
