package tensor

import (
	"context"
	"fmt"
	"io"
)

// Reference is the plainest Backend: one goroutine, one element after the other, as Rescale's documentation says it.
// It is slow and obvious; the others are compared with it.
type Reference struct{}

// Name is "scalar reference".
func (Reference) Name() string { return "scalar reference" }

// Rescale rescales one element after the other, in parts of 64 KiB.
func (Reference) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *Rescale) (Tally, error) {
	tally := NewTally()
	if err := job.Check(); err != nil {
		return tally, err
	}
	size := job.DType.Size()
	part := make([]byte, 64<<10)
	for off, end := int64(0), job.Elements*int64(size); off < end; off += int64(len(part)) {
		part = part[:min(int64(len(part)), end-off)]
		if err := ctx.Err(); err != nil {
			return NewTally(), fmt.Errorf("rescale: stopped before byte %d: %w", off, err)
		}
		if err := ReadFull(src, part, off); err != nil {
			return NewTally(), fmt.Errorf("rescale: %w", err)
		}
		for k := 0; k < len(part); k += size {
			element := part[k : k+size]
			e := (off + int64(k)) / int64(size)
			scale := job.Scale(e)
			var before, after [1]float64
			if err := Decode(before[:], element, job.DType); err != nil {
				return NewTally(), fmt.Errorf("rescale: element %d: %w", e, err)
			}
			if err := Encode(element, []float64{before[0] * scale}, job.DType); err != nil {
				return NewTally(), fmt.Errorf("rescale: element %d: %w", e, err)
			}
			if err := Decode(after[:], element, job.DType); err != nil {
				return NewTally(), fmt.Errorf("rescale: element %d: %w", e, err)
			}
			tally.Count(e, before[0], after[0], scale, job.DType)
		}
		if err := WriteFull(dst, part, off); err != nil {
			return NewTally(), fmt.Errorf("rescale: %w", err)
		}
	}
	return tally, nil
}
