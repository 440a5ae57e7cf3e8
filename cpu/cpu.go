// Package cpu rescales tensors with goroutines: read a chunk, multiply it in place, write it, in memory that does not
// grow with the tensor.
package cpu

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// chunkBytes is how much is read, multiplied and written at once: with its scales it fits a core's second-level cache.
// Smaller chunks pay for more system calls, larger ones leave the cache. It is a multiple of every element's size.
const chunkBytes = 512 << 10

// Backend is tensor.Backend on the CPU. Its concurrent Rescale calls share its workers and their memory.
type Backend struct {
	workers int
	free    chan *workspace           // one for each worker; nil until first used
	kernel  func(tensor.DType) kernel // for each type that can be rescaled
}

// workspace holds one worker's buffers.
type workspace struct {
	bytes  [chunkBytes]byte
	scales scales
}

// New is a backend that works on at most that many chunks at once, at least one, whatever the number of its callers.
// It holds about 512 KiB for each chunk that was ever worked on at the same time.
func New(workers int) *Backend {
	b := &Backend{workers: max(workers, 1), kernel: fastest}
	b.free = make(chan *workspace, b.workers)
	for range b.workers {
		b.free <- nil
	}
	return b
}

// Name is "cpu, 8 workers".
func (b *Backend) Name() string {
	if b.workers == 1 {
		return "cpu, 1 worker"
	}
	return fmt.Sprintf("cpu, %d workers", b.workers)
}

// Rescale is tensor.Backend's Rescale. A tensor of one chunk is rescaled by the calling goroutine; a larger one by the
// backend's workers, each taking the next chunk, until all are done or one fails. The context is checked before every
// chunk. An error names the elements and bytes of the chunk that failed and wraps the cause.
func (b *Backend) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (
	tensor.Tally, error,
) {
	if err := job.Check(); err != nil {
		return tensor.NewTally(), err
	}
	step := int64(chunkBytes / job.DType.Size())
	chunks := job.Elements / step
	if job.Elements%step > 0 {
		chunks++
	}
	var taken atomic.Int64 // chunks that a worker has taken
	work := func(ctx context.Context) (tensor.Tally, error) {
		tally := tensor.NewTally()
		for {
			k := taken.Add(1) - 1
			if k >= chunks {
				return tally, nil
			}
			t, err := b.chunk(ctx, dst, src, job, k*step, min(step, job.Elements-k*step))
			if err != nil {
				return tensor.NewTally(), err
			}
			tally.Add(t)
		}
	}
	if chunks <= 1 || b.workers == 1 || ctx.Err() != nil { // cancelled before it began: stopped at the first byte
		return work(ctx)
	}
	workers := pool.NewWithResults[tensor.Tally]().WithContext(ctx).WithCancelOnError().WithFirstError()
	for range min(int64(b.workers), chunks) {
		workers.Go(work)
	}
	tallies, err := workers.Wait()
	tally := tensor.NewTally()
	if err != nil {
		return tally, err
	}
	for _, t := range tallies {
		tally.Add(t)
	}
	return tally, nil
}

// take waits for a free workspace, for work that begins at that byte. The caller returns it.
func (b *Backend) take(ctx context.Context, off int64) (*workspace, error) {
	var w *workspace
	select {
	case <-ctx.Done():
	case w = <-b.free:
		if ctx.Err() == nil { // select chooses at random where both are ready
			if w == nil {
				w = new(workspace)
			}
			return w, nil
		}
		b.free <- w
	}
	return nil, fmt.Errorf("stopped before byte %d: %w", off, ctx.Err())
}

// chunk rescales n elements, at most a chunk's, from element first on.
func (b *Backend) chunk(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale, first, n int64) (
	tensor.Tally, error,
) {
	size := int64(job.DType.Size())
	fail := func(err error) (tensor.Tally, error) {
		return tensor.NewTally(), fmt.Errorf("rescale elements %d to %d: %w", first, first+n-1, err)
	}
	w, err := b.take(ctx, first*size)
	if err != nil {
		return fail(err)
	}
	defer func() { b.free <- w }()
	data := w.bytes[:n*size]
	if err := tensor.ReadFull(src, data, first*size); err != nil {
		return fail(err)
	}
	tally := tensor.NewTally()
	multiply(data, job, b.kernel(job.DType), first, &w.scales, &tally)
	if err := tensor.WriteFull(dst, data, first*size); err != nil {
		return fail(err)
	}
	return tally, nil
}
