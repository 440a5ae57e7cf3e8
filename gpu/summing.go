//go:build cuda && linux && amd64 && cgo

package gpu

import (
	"context"
	"fmt"
	"io"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// sum sums a tensor up.
func (s *seat) sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) (sums []float64, err error) {
	if err := s.device.use(); err != nil {
		return nil, err
	}
	u := s.takeSum(src, job)
	err = s.device.bound(func() error {
		defer u.close()
		if err := u.prepare(); err != nil {
			return err
		}
		return u.run(ctx)
	})
	s.device.release(err, 0)
	if err != nil {
		return nil, err
	}
	return job.Totals(u.partials), nil
}

func (s *seat) takeSum(src io.ReaderAt, job *tensor.Sum) *summing {
	return &summing{rescaling: s.take(nil, src, &job.Rescale), out: job.Out, partials: job.Partials()}
}

// summing is one tensor on the device whose elements are added up. Its chunks are added one after the other: each has its
// copy on its lane's stream while the one before it is added.
type summing struct {
	*rescaling
	out      tensor.Layout
	partials []tensor.Partial
	sums     cu.DevicePtr // of them, on the device
}

const partialBytes = int64(unsafe.Sizeof(tensor.Partial{}))

// prepare puts the factors and the empty partial sums on the device.
func (u *summing) prepare() error {
	if err := u.rescaling.prepare(); err != nil {
		return err
	}
	var err error
	u.sums, err = u.upload(unsafe.Pointer(unsafe.SliceData(u.partials)), int64(len(u.partials))*partialBytes)
	return err
}

func (u *summing) run(ctx context.Context) error {
	total := u.job.Elements * u.size
	var before *lane // which is being added
	turn := 0
	for first := int64(0); first < total; first += u.device.chunk {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before byte %d: %w", first, err)
		}
		l := &u.lanes[turn]
		turn = (turn + 1) % lanes
		if err := u.send(l, before, first, min(u.device.chunk, total-first)); err != nil {
			return err
		}
		before = l
	}
	return u.collect(before)
}

// send reads a chunk, and adds it when the one before it is added.
func (u *summing) send(l, before *lane, first, bytes int64) error {
	if err := tensor.ReadFull(u.src, l.chunk(bytes), first); err != nil {
		return fmt.Errorf("sum bytes %d to %d: %w", first, first+bytes-1, err)
	}
	l.bytes = bytes
	if err := cu.MemcpyHtoDAsync(l.from, l.host, bytes, l.stream); err != nil {
		return onDevice("copy to the device", err)
	}
	if err := u.wait(before); err != nil {
		return err
	}
	return onDevice("launch", u.launch(l, first, bytes))
}

// collect fetches the partial sums when the last chunk is added.
func (u *summing) collect(last *lane) error {
	if err := u.wait(last); err != nil {
		return err
	}
	stream := u.lanes[0].stream
	if err := cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(u.partials)), u.sums, int64(len(u.partials))*partialBytes, stream); err != nil {
		return onDevice("copy from the device", err)
	}
	return onDevice("wait", stream.Synchronize())
}

// wait waits for the lane's chunk to be added.
func (u *summing) wait(l *lane) error {
	if l == nil {
		return nil
	}
	l.bytes = 0
	return onDevice("wait", l.stream.Synchronize())
}

// launch puts the kernel on the lane's stream.
func (u *summing) launch(l *lane, first, bytes int64) error {
	grid := min((int64(len(u.partials))+threadsPerBlock-1)/threadsPerBlock, u.device.blocks)
	arguments := [10]uint64{
		uint64(u.sums), uint64(len(u.partials)), uint64(l.from), uint64(bytes / u.size), uint64(first / u.size),
		uint64(u.factors), uint64(len(u.table) / 4), uint64(u.out.Outer), uint64(u.out.Channels), uint64(u.out.Inner),
	}
	var pointers [len(arguments)]unsafe.Pointer
	for k := range arguments {
		pointers[k] = unsafe.Pointer(&arguments[k])
	}
	return u.device.sums[u.job.DType].Launch(int(grid), 1, 1, threadsPerBlock, 1, 1, 0, l.stream, pointers[:])
}

// close gives back what the device holds, after all work there.
func (u *summing) close() {
	u.rescaling.close()
	if u.sums != 0 {
		_ = cu.MemFree(u.sums)
	}
}
