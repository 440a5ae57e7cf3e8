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
