// Package cpu rescales tensors with goroutines: bounded chunks are read, multiplied in float64, rounded once and written.
package cpu

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// chunkBytes is how much of a tensor a goroutine has in hand: small enough for a core's cache.
const chunkBytes = 256 << 10

// Backend is the tensor.Backend of the host's processor. It may be used by several goroutines at once.
type Backend struct {
	workers int
	buffers sync.Pool
}

// New is a backend that works with up to that many goroutines on one tensor.
func New(workers int) *Backend {
	b := &Backend{workers: max(workers, 1)}
	b.buffers.New = func() any { return &buffer{bytes: make([]byte, chunkBytes)} }
	return b
}

// Name is "cpu, 8 workers".
func (b *Backend) Name() string {
	if b.workers == 1 {
		return "cpu, 1 worker"
	}
	return fmt.Sprintf("cpu, %d workers", b.workers)
}

// buffer is a goroutine's memory: a chunk, and the scales of its elements where they are not one vector.
type buffer struct {
	bytes  []byte
	scales []float64
}

// Rescale is tensor.Backend's. Source and destination may be the same bytes: a chunk is read before it is written.
func (b *Backend) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	total := tensor.NewTally()
	if err := job.Check(); err != nil {
		return total, err
	}
	step := int64(chunkBytes / job.DType.Size())
	if job.Elements <= step || b.workers == 1 {
		for first := int64(0); first < job.Elements; first += step {
			t, err := b.chunk(ctx, dst, src, job, first, min(step, job.Elements-first))
			if err != nil {
				return total, err
			}
			total.Add(t)
		}
		return total, nil
	}
	var lock sync.Mutex
	next := int64(0)
	p := pool.New().WithErrors().WithContext(ctx).WithCancelOnError().WithFirstError()
	for range min(int64(b.workers), (job.Elements+step-1)/step) {
		p.Go(func(ctx context.Context) error {
			mine := tensor.NewTally()
			defer func() {
				lock.Lock()
				total.Add(mine)
				lock.Unlock()
			}()
			for {
				lock.Lock()
				first := next
				next += step
				lock.Unlock()
				if first >= job.Elements {
					return nil
				}
				t, err := b.chunk(ctx, dst, src, job, first, min(step, job.Elements-first))
				if err != nil {
					return err
				}
				mine.Add(t)
			}
		})
	}
	err := p.Wait()
	return total, err
}

// chunk rescales count elements from first.
func (b *Backend) chunk(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale, first, count int64) (tensor.Tally, error) {
	if err := ctx.Err(); err != nil {
		return tensor.NewTally(), err
	}
	buf := b.buffers.Get().(*buffer)
	defer b.buffers.Put(buf)
	size := int64(job.DType.Size())
	raw := buf.bytes[:count*size]
	if n, err := src.ReadAt(raw, first*size); n < len(raw) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return tensor.NewTally(), fmt.Errorf("read bytes %d to %d: %w", first*size, (first+count)*size, err)
	}
	t := tensor.NewTally()
	for _, r := range buf.runs(job, first, count) {
		scaleRun(raw[r.from*size:r.to*size], job.DType, r, &t, first)
	}
	if n, err := dst.WriteAt(raw, first*size); err != nil || n < len(raw) {
		if err == nil {
			err = io.ErrShortWrite
		}
		return t, fmt.Errorf("write bytes %d to %d: %w", first*size, (first+count)*size, err)
	}
	return t, nil
}
