package cpu

import (
	"context"
	"fmt"
	"io"

	"github.com/sourcegraph/conc/pool"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Sum is tensor.Backend's. Where each channel is stored in one piece the workers take pieces of them; otherwise the calling
// goroutine goes through the tensor.
func (b *Backend) Sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) ([]float64, error) {
	if err := job.Check(); err != nil {
		return nil, err
	}
	partials := job.Partials()
	pieces, channels := int64(1), job.Out.Blocks*job.Out.Channels
	if job.Out.Outer == 1 {
		pieces = max(1, min(int64(b.workers), channels, job.Elements*int64(job.DType.Size())/chunkBytes))
	}
	if pieces == 1 {
		if err := b.sumPiece(ctx, src, job, partials, 0, job.Elements); err != nil {
			return nil, err
		}
		return job.Totals(partials), nil
	}
	workers := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError()
	for k := range pieces {
		workers.Go(func(ctx context.Context) error {
			return b.sumPiece(ctx, src, job, partials, k*channels/pieces*job.Out.Inner, (k+1)*channels/pieces*job.Out.Inner)
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	return job.Totals(partials), nil
}

// sumPiece adds the elements from one on up to another to their partial sums, chunk by chunk.
func (b *Backend) sumPiece(ctx context.Context, src io.ReaderAt, job *tensor.Sum, partials []tensor.Partial, first, end int64) error {
	size := int64(job.DType.Size())
	for step := chunkBytes / size; first < end; first += step {
		n := min(step, end-first)
		if err := b.sumChunk(ctx, src, job, partials, first, n); err != nil {
			return fmt.Errorf("sum elements %d to %d: %w", first, first+n-1, err)
		}
	}
	return nil
}

func (b *Backend) sumChunk(ctx context.Context, src io.ReaderAt, job *tensor.Sum, partials []tensor.Partial, first, n int64) error {
	size := int64(job.DType.Size())
	w, err := b.take(ctx, first*size)
	if err != nil {
		return err
	}
	defer func() { b.free <- w }()
	data := w.bytes[:n*size]
	if err := tensor.ReadFull(src, data, first*size); err != nil {
		return err
	}
	var values [tile]float64
	w.scales.start()
	for e := first; len(data) > 0; {
		m := min(tile, len(data)/int(size))
		if err := tensor.Decode(values[:m], data[:m*int(size)], job.DType); err != nil {
			return err
		}
		scale := w.scales.at(job.Factors, e, m)
		for k := 0; k < m; { // what lies behind one another in a channel
			at := job.Partial(e + int64(k))
			ways := partials[at/tensor.Ways*tensor.Ways:][:tensor.Ways]
			way := int(at % tensor.Ways)
			for run := min(m, k+int(job.Out.Inner-(e+int64(k))%job.Out.Inner)); k < run; k++ {
				ways[way].Add(float64(values[k] * scale[k]))
				way = (way + 1) % tensor.Ways
			}
		}
		data, e = data[m*int(size):], e+int64(m)
	}
	return nil
}
