//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"context"
	"fmt"
	"io"
	"sync"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// sum sums a tensor up.
func (d *device) sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) (sums []float64, err error) {
	if err := d.use(); err != nil {
		return nil, err
	}
	u := d.summing(src, job)
	if err = u.prepare(ctx); err == nil {
		err = d.each(ctx, job.Elements*u.size, u.chunk)
	}
	if err == nil {
		err = u.fetch(ctx)
	}
	u.close()
	d.release(err, 0)
	if err != nil {
		return nil, err
	}
	return job.Totals(u.partials), nil
}

func (d *device) summing(src io.ReaderAt, job *tensor.Sum) *summing {
	u := &summing{rescaling: d.rescaling(nil, src, &job.Rescale), out: job.Out, partials: job.Partials()}
	u.added.L = &u.lock
	return u
}

// summing is the sum of one tensor on the device. Its chunks are read and copied in parallel, and added in order.
type summing struct {
	*rescaling
	out      tensor.Layout
	partials []tensor.Partial
	sums     cu.DevicePtr // of them, on the device
	added    sync.Cond    // turn or stopped has changed
	turn     int64        // the chunk that is to be added
	stopped  bool         // a chunk has failed, so that later ones must not wait
}

const partialBytes = int64(unsafe.Sizeof(tensor.Partial{}))

// prepare puts the factors and the empty partial sums on the device.
func (u *summing) prepare(ctx context.Context) error {
	if err := u.rescaling.prepare(ctx); err != nil {
		return err
	}
	return u.onLane(ctx, func(l *lane) (err error) {
		u.sums, err = l.upload(unsafe.Pointer(unsafe.SliceData(u.partials)), int64(len(u.partials))*partialBytes)
		return err
	})
}

// chunk reads a chunk, and adds it when those before it are added.
func (u *summing) chunk(ctx context.Context, l *lane, k int64, at span) error {
	data := l.chunk(at.end - at.first)
	if err := tensor.ReadFull(u.src, data, at.first); err != nil {
		return fmt.Errorf("sum bytes %d to %d: %w", at.first, at.end-1, err)
	}
	if err := cu.MemcpyHtoDAsync(l.from, l.host, int64(len(data)), l.stream); err != nil {
		return onDevice("copy to the device", err)
	}
	if err := l.stream.Synchronize(); err != nil {
		return onDevice("wait", err)
	}
	if !u.waited(ctx, k) {
		return fmt.Errorf("stopped before byte %d: %w", at.first, ctx.Err())
	}
	if err := u.launch(l, at); err != nil {
		return onDevice("launch", err)
	}
	if err := l.stream.Synchronize(); err != nil {
		return onDevice("wait", err)
	}
	u.changed(func() { u.turn++ })
	return nil
}

// waited waits for a chunk's turn. It is false if another chunk has failed or ctx has ended.
func (u *summing) waited(ctx context.Context, k int64) bool {
	defer context.AfterFunc(ctx, func() { u.changed(func() { u.stopped = true }) })()
	u.lock.Lock()
	defer u.lock.Unlock()
	for u.turn != k && !u.stopped {
		u.added.Wait()
	}
	return !u.stopped
}

// changed makes a change that waiting chunks depend on, and wakes them.
func (u *summing) changed(f func()) {
	u.lock.Lock()
	defer u.lock.Unlock()
	f()
	u.added.Broadcast()
}

// fetch copies the partial sums to the host.
func (u *summing) fetch(ctx context.Context) error {
	return u.onLane(ctx, func(l *lane) error {
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(u.partials)), u.sums, int64(len(u.partials))*partialBytes, l.stream); err != nil {
			return onDevice("copy from the device", err)
		}
		return onDevice("wait", l.stream.Synchronize())
	})
}

// launch starts the kernel on the lane's stream.
func (u *summing) launch(l *lane, at span) error {
	grid := min((int64(len(u.partials))+threadsPerBlock-1)/threadsPerBlock, u.device.blocks)
	arguments := [10]uint64{
		uint64(u.sums), uint64(len(u.partials)), uint64(l.from), uint64((at.end - at.first) / u.size), uint64(at.first / u.size),
		uint64(u.factors), uint64(len(u.table) / 4), uint64(u.out.Outer), uint64(u.out.Channels), uint64(u.out.Inner),
	}
	var pointers [len(arguments)]unsafe.Pointer
	for k := range arguments {
		pointers[k] = unsafe.Pointer(&arguments[k])
	}
	return u.device.sums[u.job.DType].Launch(int(grid), 1, 1, threadsPerBlock, 1, 1, 0, l.stream, pointers[:])
}

// close frees the device memory. No chunk may be in flight.
func (u *summing) close() {
	u.rescaling.close()
	u.device.free(u.sums)
}
