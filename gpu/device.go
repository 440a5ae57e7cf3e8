//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/gpu/driver"
	"github.com/zoofold/zoofold/gpu/kernels"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// device is one CUDA device with a context of ours.
type device struct {
	backend *Backend
	ordinal int
	name    string

	lock     sync.Mutex // of what follows
	context  cu.CUContext
	kernels  map[tensor.DType]cu.Function // rescale
	sums     map[tensor.DType]cu.Function
	blocks   int64 // of threads, that a launch has at most
	chunk    int64 // bytes that a lane holds
	scales   int64 // bytes that a tensor's factors may take
	starts   int   // how many contexts it has had
	failures int
	users    int
	broken   bool // the context is lost
}

// entries are how the names of the kernels end.
var entries = map[tensor.DType]string{
	tensor.Float64: "f64", tensor.Float32: "f32", tensor.Float16: "f16", tensor.BFloat16: "bf16",
}

// lanes is how many chunks of a tensor are under way at once: one is copied in while another one is computed or copied out.
const lanes = 2

// A block is 256 threads, each of which does a vector of 16 bytes at a time. A processor holds 2048 threads, fewer if it is
// a small one: more blocks than that would wait for each other.
const (
	threadsPerBlock    = 256
	vector             = 16
	blocksPerProcessor = 2048 / threadsPerBlock
)

// start makes a context and loads the kernels.
func (d *device) start() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id, err := cu.GetDevice(d.ordinal)
	if err != nil {
		return onDevice("device", err)
	}
	if d.name, err = id.Name(); err != nil {
		return onDevice("name", err)
	}
	if d.context, err = id.MakeContext(cu.SchedAuto); err != nil {
		return onDevice("context", err)
	}
	module, err := cu.LoadDataEx(kernels.PTX)
	if err != nil {
		return errors.Join(onDevice("kernels", err), d.context.Destroy())
	}
	d.kernels, d.sums = map[tensor.DType]cu.Function{}, map[tensor.DType]cu.Function{}
	for dtype, name := range entries {
		var missing error
		if d.kernels[dtype], err = module.Function("rescale_" + name); err != nil {
			missing = onDevice("rescale_"+name, err)
		}
		if d.sums[dtype], err = module.Function("sum_" + name); err != nil {
			missing = onDevice("sum_"+name, err)
		}
		if missing != nil {
			return errors.Join(missing, d.context.Destroy())
		}
	}
	processors, err := id.Attribute(cu.MultiprocessorCount)
	if err != nil {
		return errors.Join(onDevice("multiprocessors", err), d.context.Destroy())
	}
	d.blocks = int64(processors) * blocksPerProcessor
	free, _, err := cu.MemInfo()
	if err != nil {
		return errors.Join(onDevice("memory", err), d.context.Destroy())
	}
	budget := d.backend.options.Memory
	if budget <= 0 || budget > free {
		budget = free / 2
	}
	// Half of the budget is for factors; a lane has two buffers.
	d.scales = budget / 2 / perDevice
	d.chunk = min(d.backend.options.Worth.Chunk, d.scales/lanes/2) &^ 4095
	if d.chunk < 4096 {
		return errors.Join(fmt.Errorf("%d bytes of device memory are too few", budget), d.context.Destroy())
	}
	d.broken = false
	d.starts++
	return nil
}

func (d *device) stop() { _ = d.context.Destroy() } // the process ends, or the device is lost

// errLost is for tensors that find a device without a context. What it was lost of is noted already.
var errLost = errors.New("its context is lost")

// use counts a tensor on the device in. A lost context is made anew once, when nobody uses the old one.
func (d *device) use() error {
	d.lock.Lock()
	defer d.lock.Unlock()
	if d.broken {
		if d.failures > 1 || d.users > 0 {
			return onDevice("device", errLost)
		}
		d.stop()
		if err := d.start(); err != nil {
			d.fail(onDevice("restart", err), 0)
			return onDevice("device", errLost)
		}
		d.backend.note("%s was started anew", d.name)
	}
	d.users++
	return nil
}

// release counts a tensor out, of which done bytes are written. An error of the device, other than a lack of memory, means
// that the context is lost.
func (d *device) release(err error, done int64) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.users--
	var failed *deviceError
	switch {
	case !errors.As(err, &failed):
	case errors.Is(err, cu.OutOfMemory):
		d.backend.note(tookOver, d.name, failed, done)
	case !d.broken: // the others on this context fail too
		d.fail(failed, done)
	}
}

const tookOver = "%s: %v; the CPU took over from byte %d of a tensor on"

func (d *device) fail(err error, done int64) {
	d.backend.note(tookOver, d.name, err, done)
	d.broken = true
	if d.failures++; d.failures == 2 {
		d.backend.note("%s was lost twice: the CPU does its work from there on", d.name)
	}
}

// seat is a tensor's place on a device: its lanes, which stay for the next tensor.
type seat struct {
	device *device
	lanes  [lanes]lane
	start  int // the context that the lanes belong to, counted by the device; 0: there are none
}

// lane is one chunk's way: a stream, pinned host memory, and device memory.
type lane struct {
	stream   cu.Stream
	made     bool
	host     unsafe.Pointer // chunk, and the tally behind it
	from, to cu.DevicePtr
	counts   cu.DevicePtr
	bytes    int64 // of the chunk under way; 0: none
	first    int64 // its first byte
}

const tallyBytes, factorBytes = 6 * 8, 4 * 8

// ready makes the lanes, unless the device's context has them already.
func (s *seat) ready() error {
	if s.start == s.device.starts {
		return nil
	}
	s.lanes = [lanes]lane{} // an older context took its own with it
	for k := range s.lanes {
		if err := s.lanes[k].make(s.device.chunk); err != nil {
			s.give()
			return err
		}
	}
	s.start = s.device.starts
	return nil
}

func (l *lane) make(chunk int64) error {
	var err error
	if l.stream, err = cu.MakeStream(cu.DefaultStream); err != nil {
		return onDevice("stream", err)
	}
	l.made = true
	if l.host, err = driver.Pinned(int(chunk) + tallyBytes); err != nil {
		return onDevice("pinned memory", err)
	}
	for _, p := range []*cu.DevicePtr{&l.from, &l.to} {
		if *p, err = cu.MemAlloc(chunk); err != nil {
			return onDevice("device memory", err)
		}
	}
	if l.counts, err = cu.MemAlloc(tallyBytes); err != nil {
		return onDevice("device memory", err)
	}
	return nil
}

// give gives the lanes back.
func (s *seat) give() {
	for k := range s.lanes {
		l := &s.lanes[k]
		for _, p := range []cu.DevicePtr{l.from, l.to, l.counts} {
			if p != 0 {
				_ = cu.MemFree(p)
			}
		}
		if l.host != nil {
			_ = cu.MemFreeHost(l.host)
		}
		if l.made {
			_ = l.stream.Destroy()
		}
	}
	s.lanes, s.start = [lanes]lane{}, 0
}
