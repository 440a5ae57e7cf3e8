package store

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// syncing are the file systems on which syncfs makes all that it should last, by the magic numbers of statfs. Others, those
// over a network and those that stand on another one, may pass it over.
var syncing = map[uint32]bool{unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true}

// canSyncAll says whether syncAll makes all files of an open folder's file system last, and says so where it cannot. Linux
// before 5.8 does not say it.
func canSyncAll(folder *os.File) bool {
	var s unix.Statfs_t
	var u unix.Utsname
	if unix.Fstatfs(int(folder.Fd()), &s) != nil || !syncing[uint32(s.Type)] || unix.Uname(&u) != nil {
		return false
	}
	major, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a > 5 || a == 5 && b >= 8)
}

// syncAll makes all files and folders of an open folder's file system last as they are.
func syncAll(folder *os.File) error {
	return os.NewSyscallError("syncfs", unix.Syncfs(int(folder.Fd())))
}

// BeginSync has the disk begin to write what a file has by now, without waiting. It promises nothing: Sync does.
func BeginSync(file *os.File) {
	_ = unix.SyncFileRange(int(file.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// KernelShares says whether the kernel may copy from file to file without the bytes passing through this host's memory: file
// systems may share extents, or have a server copy. ext4 and tmpfs do not.
func KernelShares(file *os.File) bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(file.Fd()), &s) != nil || s.Type != unix.EXT4_SUPER_MAGIC && s.Type != unix.TMPFS_MAGIC
}
