// Package gpu is the backend that rescales tensors on CUDA devices: the same bits as the CPU's, through gorgonia.org/cu.
// It is part of builds with the tag cuda, for linux/amd64; a program so built runs on machines without a driver too.
package gpu

import (
	"errors"
	"math"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// ErrNone says that there is no device that can be used; the error's text says why.
var ErrNone = errors.New("no CUDA")

// Options are a backend's.
type Options struct {
	Memory int64          // of each device, in bytes, that may be used at a time; 0, or more than is free: half of what is free
	Worth  Worth          // what is sent to a device
	CPU    tensor.Backend // does the rest, and takes over when a device fails
}

// Worth says what is worth sending to a device.
type Worth struct {
	Rescale int64 // tensors of that many bytes and more are rescaled there; Never: none
	Sum     int64 // and summed up
	Chunk   int64 // of a tensor, at most so many bytes are sent at a time, a multiple of 4096
	Begin   int64 // Later opens devices when a run has had so many bytes of tensors that are worth sending
}

// Never is a size that no tensor has.
const Never = math.MaxInt64

// Default is an estimate of what is worth sending, to be replaced by measurements. A copy, a launch and the wait for it
// take tens of microseconds, in which one core rescales hundreds of kilobytes: so nothing is sent below a megabyte. A
// chunk's copy should take much longer than its launch: at 25 GB/s, 8 MiB take 300 µs. Starting the driver and a context
// takes some tenths of a second, in which a core rescales more than a gigabyte. gpu-kit measures all of this.
var Default = Worth{Rescale: 1 << 20, Sum: 1 << 20, Chunk: 8 << 20, Begin: 1 << 30}

// Nothing says whether nothing is worth sending, so that no device need be opened.
func (w Worth) Nothing() bool { return w.Rescale == Never && w.Sum == Never }
