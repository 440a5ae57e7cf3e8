//go:build !unix

package run

import "io/fs"

func inode(fs.FileInfo) uint64 { return 0 }

func isOtherDisk(error) bool { return false }

func isNoLock(error) bool { return false }

func alive(int) bool { return true }
