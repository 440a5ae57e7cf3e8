// Package verify proves a folded model: that every rescaled weight has the right bits (Parity), that every part of the
// graph that changed computes what it computed (Algebra), and, in its package predict, that the whole model predicts what
// the original predicts.
package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// ErrMismatch says that a backend and the reference disagree.
var ErrMismatch = errors.New("backend and reference disagree")

// ParityVersion is that of the check: raised where it finds what it did not find before.
const ParityVersion = 1

// Parity is a Backend that lets another one work and compares what it writes, bit by bit, with what the scalar reference
// makes of the same elements, before it is written.
type Parity struct {
	backend  tensor.Backend
	compared atomic.Int64
}

// NewParity checks a backend.
func NewParity(b tensor.Backend) *Parity { return &Parity{backend: b} }

// Name is the checked backend's.
func (p *Parity) Name() string { return p.backend.Name() }

// Compared is the number of elements that were found equal.
func (p *Parity) Compared() int64 { return p.compared.Load() }

// Rescale is tensor.Backend's. It fails with ErrMismatch, naming the element and both bit patterns, at the first chunk that
// differs; that chunk is not written.
func (p *Parity) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	if err := job.Check(); err != nil {
		return tensor.NewTally(), err
	}
	return p.backend.Rescale(ctx, &checked{p, dst, src, job}, src, job)
}

// Sum is tensor.Backend's. It fails with ErrMismatch, naming the channel and both bit patterns, where the reference has
// another sum.
func (p *Parity) Sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) ([]float64, error) {
	got, err := p.backend.Sum(ctx, src, job)
	if err != nil {
		return nil, err
	}
	want, err := tensor.Reference{}.Sum(ctx, src, job)
	if err != nil {
		return nil, err
	}
	for c := range want {
		if len(got) != len(want) || math.Float64bits(got[c]) != math.Float64bits(want[c]) {
			return nil, fmt.Errorf("%w: sum %d of %d: %s has %x, the reference %x", ErrMismatch, c, len(want), p.backend.Name(), got[c:min(c+1, len(got))], want[c:c+1])
		}
	}
	p.compared.Add(job.Elements)
	return got, nil
}

// checked compares chunks on their way to dst.
type checked struct {
	parity *Parity
	dst    io.WriterAt
	src    io.ReaderAt
	job    *tensor.Rescale
}

func (c *checked) WriteAt(got []byte, off int64) (int, error) {
	size := int64(c.job.DType.Size())
	if off%size != 0 || int64(len(got))%size != 0 {
		return 0, fmt.Errorf("%w: a write of %d bytes at byte %d does not hold whole elements", ErrMismatch, len(got), off)
	}
	const step = 4096 // elements
	raw, want, values := make([]byte, step*size), make([]byte, step*size), make([]float64, step)
	for done := int64(0); done < int64(len(got)); done += step * size {
		n := min(step*size, int64(len(got))-done)
		if err := tensor.ReadFull(c.src, raw[:n], off+done); err != nil {
			return 0, err
		}
		first := (off + done) / size
		c.reference(want[:n], raw[:n], values[:n/size], first)
		if part := got[done : done+n]; !bytes.Equal(part, want[:n]) {
			return 0, c.mismatch(raw[:n], part, want[:n], first)
		}
		c.parity.compared.Add(n / size)
	}
	return c.dst.WriteAt(got, off)
}

// reference is round(W·s) for elements from first on, by the book.
func (c *checked) reference(out, in []byte, values []float64, first int64) {
	_ = tensor.Decode(values, in, c.job.DType) // lengths and type were checked
	if f := c.job.Factors; len(f) == 1 && f[0].Inner > 1 {
		for k := 0; k < len(values); { // elements that share a channel share one look-up
			e := first + int64(k)
			s := f[0].Scale[f[0].Channel(e)]
			end := min(len(values), k+int(f[0].Inner-e%f[0].Inner))
			for ; k < end; k++ {
				values[k] *= s
			}
		}
	} else {
		for k := range values {
			values[k] *= c.job.Scale(first + int64(k))
		}
	}
	_ = tensor.Encode(out, values, c.job.DType)
}

func (c *checked) mismatch(before, got, want []byte, first int64) error {
	size := c.job.DType.Size()
	for k := 0; k < len(got); k += size {
		if !bytes.Equal(got[k:k+size], want[k:k+size]) {
			e := first + int64(k/size)
			return fmt.Errorf("%w: element %d (%v, little endian %x times %g): %s has %x, the reference %x",
				ErrMismatch, e, c.job.DType, before[k:k+size], c.job.Scale(e), c.parity.backend.Name(), got[k:k+size], want[k:k+size])
		}
	}
	return ErrMismatch
}
