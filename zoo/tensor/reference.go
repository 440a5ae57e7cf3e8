package tensor

import (
	"context"
	"fmt"
	"io"
)

// Reference is the plainest Backend: one goroutine, one element after the other, as Rescale's documentation says it. It is
// slow and simple; other backends are compared with it.
type Reference struct{}

// Name is "scalar reference".
func (Reference) Name() string { return "scalar reference" }

// Rescale widens, multiplies and rounds one element after the other, in parts of 4096.
func (r Reference) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *Rescale) (Tally, error) {
	return r.Range(ctx, dst, src, job, 0, job.Elements)
}

// Range is Rescale for the elements from first up to end, at most job.Elements: others are neither read nor counted. It
// finishes a job that another backend began.
func (Reference) Range(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *Rescale, first, end int64) (Tally, error) {
	if err := job.Check(); err != nil {
		return NewTally(), err
	}
	tally := NewTally()
	var before, after [4096]float64
	for ; first < end; first += int64(len(before)) {
		n := min(int64(len(before)), end-first)
		t, err := reference(ctx, dst, src, job, first, before[:n], after[:n])
		if err != nil {
			return NewTally(), fmt.Errorf("rescale elements %d to %d: %w", first, first+n-1, err)
		}
		tally.Add(t)
	}
	return tally, nil
}

// reference rescales the elements from element first on; before and after receive their values.
func reference(
	ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *Rescale, first int64, before, after []float64,
) (Tally, error) {
	tally := NewTally()
	size := job.DType.Size()
	off, part := first*int64(size), make([]byte, len(before)*size)
	if err := ctx.Err(); err != nil {
		return tally, fmt.Errorf("stopped before byte %d: %w", off, err)
	}
	if err := ReadFull(src, part, off); err != nil {
		return tally, err
	}
	if err := Decode(before, part, job.DType); err != nil {
		return tally, err
	}
	for k := range before {
		after[k] = before[k] * job.Scale(first+int64(k))
	}
	if err := Encode(part, after, job.DType); err != nil {
		return tally, err
	}
	if err := WriteFull(dst, part, off); err != nil {
		return tally, err
	}
	if err := Decode(after, part, job.DType); err != nil {
		return tally, err
	}
	for k := range before {
		e := first + int64(k)
		tally.Count(e, before[k], after[k], job.Scale(e), job.DType)
	}
	return tally, nil
}
