//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/sourcegraph/conc/pool"
	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/gpu/driver"
	"github.com/zoofold/zoofold/gpu/kernels"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// device is one CUDA device with a context of its own.
type device struct {
	backend *Backend
	ordinal int
	name    string

	lock     sync.Mutex // of what follows
	context  cu.CUContext
	kernels  map[tensor.DType]cu.Function // rescale
	sums     map[tensor.DType]cu.Function
	products struct {
		start  int // the context that kernel belongs to, as a lane's
		kernel cu.Function
	}
	blocks   int64      // of threads, that a launch has at most
	lanes    chan *lane // the free ones, out of a fixed number
	chunk    int64      // bytes that a lane holds
	scales   int64      // bytes that a tensor's factors may take
	starts   int        // how many contexts it has had
	failures int
	users    int
	open     bool // there is a context
	broken   bool // the context is lost
}

// entries are the suffixes of the kernels' names.
var entries = map[tensor.DType]string{
	tensor.Float64: "f64", tensor.Float32: "f32", tensor.Float16: "f16", tensor.BFloat16: "bf16",
}

// maxLanes is how many chunks are under way on a device at once, each with a thread of the host that reads it into pinned
// memory and writes it from there: one core copies less than a device can take. If memory is short there are fewer, so that
// a chunk is at least shortChunk.
const (
	maxLanes   = 8
	minLanes   = 2
	shortChunk = 32 << 10
)

// A block is 256 threads, each of which does a vector of 16 bytes at a time. A multiprocessor holds up to 2048 threads:
// more blocks than fit would wait for each other.
const (
	threadsPerBlock    = 256
	vector             = 16
	blocksPerProcessor = 2048 / threadsPerBlock
)

// start makes a context and loads the kernels. Threads that wait for the device sleep: by default the driver may spin,
// which would take the processor time that the device is to save.
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
	if d.context, err = id.MakeContext(cu.SchedBlockingSync); err != nil {
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
	if d.lanes == nil {
		n := int64(maxLanes)
		for n > minLanes && budget/2/n/2 < shortChunk {
			n /= 2
		}
		d.lanes = make(chan *lane, n)
		for range n {
			d.lanes <- &lane{}
		}
	}
	d.chunk = min(d.backend.options.Worth.Chunk, budget/2/int64(cap(d.lanes))/2) &^ 4095
	if d.chunk < 4096 {
		return errors.Join(fmt.Errorf("%d bytes of device memory are too few", budget), d.context.Destroy())
	}
	d.open, d.broken = true, false
	d.starts++
	return nil
}

// stop frees memory and streams, if that is still possible, and destroys the context. The device must not be in use.
func (d *device) stop() {
	if !d.open {
		return
	}
	for range cap(d.lanes) {
		l := <-d.lanes
		_ = d.bound(func() error { l.give(d); return nil })
		d.lanes <- l
	}
	_ = d.context.Destroy()
	d.open = false
}

// errLost is the error for tensors on a device whose context is lost. The cause is among the notes already.
var errLost = errors.New("its context is lost")

// use counts a tensor in. A lost context is replaced once, when no tensor uses the old one.
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

// release counts a tensor out, of which so many bytes are written. An error of the device, other than a lack of memory, means
// that the context is lost.
func (d *device) release(err error, written int64) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.users--
	var failed *deviceError
	switch {
	case !errors.As(err, &failed):
	case errors.Is(err, cu.OutOfMemory):
		d.backend.note(tookOver, d.name, failed, written)
	case !d.broken: // all tensors on this context fail
		d.fail(failed, written)
	}
}

const tookOver = "%s: %v; the CPU took over a tensor of which %d bytes were written"

func (d *device) fail(err error, written int64) {
	d.backend.note(tookOver, d.name, err, written)
	d.broken = true
	if d.failures++; d.failures == 2 {
		d.backend.note("%s was lost twice: the CPU does its work from there on", d.name)
	}
}

// lane is what one chunk needs: a stream, pinned host memory and device memory. It is created on first use, and kept for
// later chunks of any tensor.
type lane struct {
	start    int // the context that it belongs to, counted by the device; 0: there is none
	stream   cu.Stream
	made     bool           // the stream
	host     unsafe.Pointer // chunk, and the tally behind it
	from, to cu.DevicePtr
	counts   cu.DevicePtr
}

const tallyBytes, factorBytes = 6 * 8, 4 * 8

// take waits for a lane. The caller returns it when all work on its stream is done.
func (d *device) take(ctx context.Context) (*lane, error) {
	select {
	case l := <-d.lanes:
		if l.start == d.starts {
			return l, nil
		}
		*l = lane{} // it went with an older context
		if err := l.make(d.chunk); err != nil {
			l.start = d.starts
			l.give(d)
			d.lanes <- l
			return nil, err
		}
		l.start = d.starts
		return l, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("stopped: %w", ctx.Err())
	}
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

// give frees what the lane has allocated in the device's context.
func (l *lane) give(d *device) {
	if l.start == d.starts {
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
	*l = lane{}
}

// chunk is the chunk's place in pinned memory.
func (l *lane) chunk(bytes int64) []byte { return unsafe.Slice((*byte)(l.host), bytes) }

// span are the elements, or bytes, from first up to end.
type span struct{ first, end int64 }

// each calls f for chunk after chunk of so many bytes, with a lane for each, on as many threads as there are lanes. A chunk's
// lane is taken before the chunk: so the earliest chunk under way always has one. f leaves no work on its lane's stream.
func (d *device) each(ctx context.Context, total int64, f func(ctx context.Context, l *lane, k int64, bytes span) error) error {
	chunks := (total + d.chunk - 1) / d.chunk
	var taken atomic.Int64
	workers := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError()
	for range min(chunks, int64(cap(d.lanes))) {
		workers.Go(func(ctx context.Context) error {
			return d.bound(func() error {
				for taken.Load() < chunks {
					l, err := d.take(ctx)
					if err != nil {
						return err
					}
					k := taken.Add(1) - 1
					if k < chunks {
						bytes := span{k * d.chunk, min((k+1)*d.chunk, total)}
						if err = ctx.Err(); err != nil {
							err = fmt.Errorf("stopped before byte %d: %w", bytes.first, err)
						} else if err = f(ctx, l, k, bytes); err != nil {
							_ = l.stream.Synchronize() // wait for the work on the stream
						}
					}
					d.lanes <- l
					if err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	return workers.Wait()
}
