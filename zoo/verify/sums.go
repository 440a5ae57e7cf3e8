package verify

import (
	"context"
	"fmt"
	"io"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// sums are tensor.Reference's, without a division for each element.
func sums(ctx context.Context, src io.ReaderAt, job *tensor.Sum) ([]float64, error) {
	if err := job.Check(); err != nil {
		return nil, err
	}
	partials := job.Partials()
	var values, scale [4096]float64
	size := int64(job.DType.Size())
	raw := make([]byte, int64(len(values))*size)
	for first := int64(0); first < job.Elements; first += int64(len(values)) {
		n := min(int64(len(values)), job.Elements-first)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("sum: stopped before byte %d: %w", first*size, err)
		}
		if err := tensor.ReadFull(src, raw[:n*size], first*size); err != nil {
			return nil, fmt.Errorf("sum elements %d to %d: %w", first, first+n-1, err)
		}
		if err := tensor.Decode(values[:n], raw[:n*size], job.DType); err != nil {
			return nil, err
		}
		products(scale[:n], &job.Rescale, first)
		for k := int64(0); k < n; { // the elements that lie behind one another in a channel
			at := job.Partial(first + k)
			ways, way := partials[at-at%tensor.Ways:][:tensor.Ways], at%tensor.Ways
			end := min(n, k+job.Out.Inner-(first+k)%job.Out.Inner)
			for ; k < end; k++ {
				ways[way].Add(float64(values[k] * scale[k])) // rounded here, on every processor
				way = (way + 1) % tensor.Ways
			}
		}
	}
	return job.Totals(partials), nil
}
