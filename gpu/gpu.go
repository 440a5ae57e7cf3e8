// Package gpu is the backend that rescales tensors on CUDA devices: the same bits as the CPU's, through gorgonia.org/cu.
// It is part of builds with the tag cuda, for linux/amd64; a program so built runs on machines without a driver too.
package gpu

import (
	"errors"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// ErrNone says that there is no device that can be used; the error's text says why.
var ErrNone = errors.New("no CUDA")

// Options are a backend's.
type Options struct {
	Memory   int64          // of each device, in bytes, that may be used at a time; 0, or more than is free: half of what is free
	Smallest int64          // tensors of fewer bytes stay on the CPU; 0: DefaultSmallest
	CPU      tensor.Backend // does these, and takes over when a device fails
}

// DefaultSmallest is the size in bytes from which on a tensor is sent to a device. Below it, the two copies and the launch
// cost more than the work: a launch with its synchronisation takes tens of microseconds, in which one core rescales
// hundreds of kilobytes.
const DefaultSmallest = 1 << 20
