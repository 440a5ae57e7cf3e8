// Package verify proves a folded model. Parity: every rescaled weight has the right bits. Algebra: every changed part of
// the graph computes the same as before. And, in its package predict, the whole model predicts the same as the original.
package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// ErrMismatch says that a backend and the reference disagree.
var ErrMismatch = errors.New("backend and reference disagree")

// ParityVersion is the version of the check: raise it when the check finds more than before.
const ParityVersion = 1

// Parity is a Backend around another one: it compares each chunk that the other one computes, bit by bit, with the scalar
// reference's result for the same elements, before the chunk is written.
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
	want, err := sums(ctx, src, job)
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

// checked is an io.WriterAt that compares chunks before it passes them to dst.
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
	b := rooms.Get().(*room)
	defer rooms.Put(b)
	for done := int64(0); done < int64(len(got)); done += int64(len(b.raw)) {
		raw := b.raw[:min(int64(len(b.raw)), int64(len(got))-done)]
		if err := tensor.ReadFull(c.src, raw, off+done); err != nil {
			return 0, err
		}
		if err := c.compare(got[done:][:len(raw)], raw, (off+done)/size, b); err != nil {
			return 0, err
		}
	}
	return c.dst.WriteAt(got, off)
}

// compare compares elements, from first on, with the reference.
func (c *checked) compare(got, raw []byte, first int64, b *room) error {
	size := c.job.DType.Size()
	for len(raw) > 0 {
		n := min(step, len(raw)/size)
		if shared := c.shared(first); shared > 1 {
			n = int(min(int64(len(raw)/size), shared))
			if equalBy(got[:n*size], raw[:n*size], c.job.Scale(first), c.job.DType) {
				c.parity.compared.Add(int64(n))
				got, raw, first = got[n*size:], raw[n*size:], first+int64(n)
				continue
			}
			n = min(n, step)
		}
		part, before, scale := got[:n*size], raw[:n*size], b.scale[:n]
		products(scale, c.job, first)
		if !same(part, before, scale, c.job.DType, b) {
			want := b.want[:n*size]
			reference(want, before, scale, c.job.DType, b)
			return c.mismatch(before, part, want, first)
		}
		c.parity.compared.Add(int64(n))
		got, raw, first = got[n*size:], raw[n*size:], first+int64(n)
	}
	return nil
}

// shortRun is how many elements have to share their scale for it to be hoisted out of the loop.
const shortRun = 16

// shared is the number of elements from e on that have the same scale in every factor; 1 if they are fewer than shortRun.
func (c *checked) shared(e int64) int64 {
	n := int64(math.MaxInt64)
	for k := range c.job.Factors {
		f := &c.job.Factors[k]
		if f.Inner < shortRun {
			return 1
		}
		n = min(n, f.Inner-e%f.Inner)
	}
	return n
}

// equalBy says that elements are round(W·s) of others for one s: one float64 multiplication and one rounding each. Where it
// says no, they may be all the same: NaNs have many bit patterns, and types whose values have no plain conversion are left
// to the loop that knows them.
func equalBy(got, raw []byte, s float64, d tensor.DType) bool {
	if d != tensor.Float32 {
		return false
	}
	differ := uint32(0)
	for len(raw) >= 16 && len(got) >= 16 {
		w, g := (*[16]byte)(raw), (*[16]byte)(got)
		differ |= times(w[0:4], s) ^ binary.LittleEndian.Uint32(g[0:4])
		differ |= times(w[4:8], s) ^ binary.LittleEndian.Uint32(g[4:8])
		differ |= times(w[8:12], s) ^ binary.LittleEndian.Uint32(g[8:12])
		differ |= times(w[12:16], s) ^ binary.LittleEndian.Uint32(g[12:16])
		raw, got = raw[16:], got[16:]
	}
	for len(raw) >= 4 && len(got) >= 4 {
		differ |= times(raw[:4], s) ^ binary.LittleEndian.Uint32(got[:4])
		raw, got = raw[4:], got[4:]
	}
	return differ == 0
}

// times is float32(W·s), as bits.
func times(w []byte, s float64) uint32 {
	return math.Float32bits(float32(float64(math.Float32frombits(binary.LittleEndian.Uint32(w))) * s))
}

// step is how many elements are compared at a time where each has its own scale: with all that is needed for them they stay
// in a core's nearest cache.
const step = 2048

// room holds the buffers of a comparison.
type room struct {
	raw           [128 << 10]byte // read at once
	want          [step * 8]byte
	scale, values [step]float64
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// products are the float64 products of a job's factors, in their order, for elements from first on: tensor.Rescale.Scale of
// each, without a division for each.
func products(scale []float64, job *tensor.Rescale, first int64) {
	for k := range scale {
		scale[k] = 1
	}
	for k := range job.Factors {
		f, rest := &job.Factors[k], scale
		for e := first; len(rest) > 0; {
			n := multiply(rest, f, e)
			rest, e = rest[n:], e+int64(n)
		}
	}
}

// multiply multiplies by a factor's scales for elements from e on, as many as follow one another simply: those of one channel
// or, where a channel has one element in a row, those of one row. It says how many.
func multiply(scale []float64, f *tensor.Factor, e int64) int {
	if f.Inner > 1 {
		s := f.Scale[f.Channel(e)]
		n := min(int64(len(scale)), f.Inner-e%f.Inner)
		for k := range scale[:n] {
			scale[k] *= s
		}
		return int(n)
	}
	channel := e % f.Channels
	row := f.Scale[f.Channel(e)-channel:]
	n := min(int64(len(scale)), f.Channels-channel)
	for k, s := range row[channel : channel+n] {
		scale[k] *= s
	}
	return int(n)
}

// same says whether elements have the bits of round(W·s), by the book: one float64 multiplication, one rounding, and one
// quiet NaN for each type.
func same(got, raw []byte, scale []float64, d tensor.DType, b *room) bool {
	if d == tensor.Float32 && equalEach(got, raw, scale) {
		return true
	}
	want := b.want[:len(got)]
	reference(want, raw, scale, d, b)
	return bytes.Equal(got, want)
}

// equalEach is equalBy where each element has its own scale.
func equalEach(got, raw []byte, scale []float64) bool {
	differ := uint32(0)
	for len(raw) >= 16 && len(got) >= 16 && len(scale) >= 4 {
		w, g, s := (*[16]byte)(raw), (*[16]byte)(got), (*[4]float64)(scale)
		differ |= times(w[0:4], s[0]) ^ binary.LittleEndian.Uint32(g[0:4])
		differ |= times(w[4:8], s[1]) ^ binary.LittleEndian.Uint32(g[4:8])
		differ |= times(w[8:12], s[2]) ^ binary.LittleEndian.Uint32(g[8:12])
		differ |= times(w[12:16], s[3]) ^ binary.LittleEndian.Uint32(g[12:16])
		raw, got, scale = raw[16:], got[16:], scale[4:]
	}
	for k, s := range scale {
		differ |= times(raw[4*k:][:4], s) ^ binary.LittleEndian.Uint32(got[4*k:][:4])
	}
	return differ == 0
}

// reference is round(W·s) of elements.
func reference(out, raw []byte, scale []float64, d tensor.DType, b *room) {
	values := b.values[:len(scale)]
	_ = tensor.Decode(values, raw, d) // lengths and type were checked
	for k := range values {
		values[k] *= scale[k]
	}
	_ = tensor.Encode(out, values, d)
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
