package verify_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
	"github.com/zoofold/zoofold/zoo/verify"
)

// wrong is a backend that gets one element wrong by one unit in the last place.
type wrong struct {
	tensor.Backend
	at int64
}

type flipped struct {
	io.WriterAt
	at int64
}

func (f flipped) WriteAt(b []byte, off int64) (int, error) {
	if k := f.at - off; k >= 0 && k < int64(len(b)) {
		b = bytes.Clone(b)
		b[k] ^= 1
	}
	return f.WriterAt.WriteAt(b, off)
}

func (w wrong) Rescale(ctx context.Context, dst io.WriterAt, src io.ReaderAt, job *tensor.Rescale) (tensor.Tally, error) {
	return w.Backend.Rescale(ctx, flipped{dst, w.at}, src, job)
}

func TestParity_OfTheRealBackendHolds(t *testing.T) {
	tensortest.Backend(t, verify.NewParity(cpu.New(2)))
}

func TestParity_NamesTheElementAndBothBitPatterns(t *testing.T) {
	const n = 100_000
	raw := make([]byte, 4*n)
	for k := range n {
		binary.LittleEndian.PutUint32(raw[4*k:], math.Float32bits(float32(k)))
	}
	for _, channels := range []int64{n, n / 4, n / 1000, n / 16, 1} { // each element its own scale, or runs of them
		factor := tensor.Factor{Layout: tensor.Layout{Blocks: 1, Outer: 1, Channels: channels, Inner: n / channels}, Scale: make([]float64, channels)}
		for k := range factor.Scale {
			factor.Scale[k] = 3
		}
		job := &tensor.Rescale{DType: tensor.Float32, Elements: n, Factors: []tensor.Factor{factor}}
		for _, element := range []int64{0, 1, 2, 3, 17, 4095, 4096, 65_537, n - 3, n - 1} {
			p := verify.NewParity(wrong{cpu.New(1), 4 * element})
			_, err := p.Rescale(context.Background(), discard{}, bytes.NewReader(raw), job)
			if !errors.Is(err, verify.ErrMismatch) {
				t.Fatalf("%d channels: element %d is wrong by a bit: %v", channels, element, err)
			}
			if want := "element " + strconv.FormatInt(element, 10) + " ("; !strings.Contains(err.Error(), want) {
				t.Errorf("%d channels: %q does not name %q", channels, err, want)
			}
		}
		p := verify.NewParity(cpu.New(1))
		if _, err := p.Rescale(context.Background(), discard{}, bytes.NewReader(raw), job); err != nil || p.Compared() != n {
			t.Errorf("%d channels: %d of %d elements compared, %v", channels, p.Compared(), n, err)
		}
	}
}

// miscounting gets one sum wrong by a bit.
type miscounting struct {
	tensor.Backend
	channel int
}

func (m miscounting) Sum(ctx context.Context, src io.ReaderAt, job *tensor.Sum) ([]float64, error) {
	sums, err := m.Backend.Sum(ctx, src, job)
	if err == nil {
		sums[m.channel] = math.Nextafter(sums[m.channel], 0)
	}
	return sums, err
}

func TestParity_NamesTheSumAndBothValues(t *testing.T) {
	job := &tensor.Sum{Out: tensor.Layout{Blocks: 1, Outer: 1, Channels: 5, Inner: 10}, Rescale: tensor.Rescale{DType: tensor.Float32, Elements: 50}}
	src := bytes.NewReader(bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, 50)) // ones
	for c := range 5 {
		p := verify.NewParity(miscounting{cpu.New(1), c})
		sums, err := p.Sum(context.Background(), src, job)
		if want := fmt.Sprintf("sum %d of 5: cpu, 1 worker has [0x1.3ffffffffffffp+03], the reference [0x1.4p+03]", c); sums != nil || !errors.Is(err, verify.ErrMismatch) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v %v, want %q", sums, err, want)
		}
	}
}

type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
