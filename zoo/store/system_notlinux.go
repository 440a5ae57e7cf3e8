//go:build !linux

package store

import (
	"errors"
	"os"
)

func canSyncAll(*os.File) bool { return false }

func syncAll(*os.File) error { return errors.ErrUnsupported }

// BeginSync does nothing.
func BeginSync(*os.File) {}

// KernelShares says that the kernel may copy from file to file without the bytes passing through this host's memory.
func KernelShares(*os.File) bool { return true }
