//go:build !cuda || !linux || !amd64 || !cgo

package gpu

import (
	"fmt"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Backend is never made in builds without CUDA.
type Backend struct{ tensor.Backend }

// Open says that the build has no CUDA.
func Open(Options) (*Backend, error) { return nil, fmt.Errorf("%w: not in this build", ErrNone) }

func find() error { return fmt.Errorf("%w: not in this build", ErrNone) }

// Describe describes the devices, for -version -v.
func Describe() string { return "not in this build" }

// Sought says what a run would load, for -version.
func Sought() string { return "not in this build" }

// Close does nothing.
func (b *Backend) Close() {}

// Notes are empty.
func (b *Backend) Notes() []string { return nil }
