package format

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Span is a range of bytes of a file.
type Span struct{ From, To int64 }

// Len is the number of bytes.
func (s Span) Len() int64 { return s.To - s.From }

// Piece is some bytes of a written file: bytes made anew, a range copied from the original, or a tensor rescaled.
type Piece struct {
	Made   []byte
	Copied Span
	Scaled *Scaled
}

// Scaled is a stored tensor whose elements are multiplied while it is written.
type Scaled struct {
	tensor.Rescale
	Name   string      // what messages call the tensor
	Stored string      // its name in the original model
	Data   io.ReaderAt // the elements as stored, in the order of the factors' layouts
}

// NewScaled is a constant's elements with its factors.
func NewScaled(name, stored string, c *model.Constant) *Scaled {
	elements, _ := c.Elements()
	return &Scaled{tensor.Rescale{DType: c.DType, Elements: elements, Factors: c.Factors}, name, stored, c.Data}
}

// Size is the number of bytes that the piece becomes.
func (p Piece) Size() int64 {
	switch {
	case p.Scaled != nil:
		return p.Scaled.Elements * int64(p.Scaled.DType.Size())
	case p.Made != nil:
		return int64(len(p.Made))
	}
	return p.Copied.Len()
}

// Size is the number of bytes that pieces become.
func Size(pieces []Piece) (bytes int64) {
	for _, p := range pieces {
		bytes += p.Size()
	}
	return bytes
}

// maxSubnormal is the share of a 16-bit tensor's elements that may become subnormal or zero in being rescaled. Some do in
// every tensor that holds numbers of all sizes, and lose nothing that matters beside the others.
const maxSubnormal = 1.0 / 64

// Write writes the rescaled elements at a place of a file. Its error is an *OverflowError where they do not fit their type.
func (s *Scaled) Write(ctx context.Context, backend tensor.Backend, to io.WriterAt, at int64) error {
	tally, err := backend.Rescale(ctx, io.NewOffsetWriter(to, at), s.Data, &s.Rescale)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", s.Name, err)
	}
	if tally.NonFinite > 0 || tally.Overflow > 0 || s.DType.Size() == 2 && float64(tally.Subnormal) > maxSubnormal*float64(s.Elements) {
		return &OverflowError{Tensor: s.Stored, DType: s.DType, Tally: tally}
	}
	return nil
}

// WritePieces writes pieces of which none is copied, one behind the other.
func WritePieces(ctx context.Context, pieces []Piece, to io.WriterAt, backend tensor.Backend) error {
	at := int64(0)
	for _, p := range pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if p.Scaled != nil {
			err = p.Scaled.Write(ctx, backend, to, at)
		} else {
			_, err = to.WriteAt(p.Made, at)
		}
		if err != nil {
			return err
		}
		at += p.Size()
	}
	return nil
}

// Splice writes one file of a model, piece by piece; from is the original of which ranges are copied.
func Splice(ctx context.Context, out Output, rel string, from *os.File, pieces []Piece, backend tensor.Backend) (err error) {
	to, err := out.Create(rel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	at := int64(0)
	for _, p := range pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case p.Scaled != nil:
			err = p.Scaled.Write(ctx, backend, to, at)
			if err == nil {
				_, err = to.Seek(at+p.Size(), io.SeekStart)
			}
		case p.Made != nil:
			_, err = to.Write(p.Made)
		default:
			err = copyRange(ctx, to, from, p.Copied)
		}
		if err != nil {
			return err
		}
		at += p.Size()
	}
	return nil
}

// copyStep bounds what is copied between two looks at the context.
const copyStep = 64 << 20

// copyRange copies a range of the original; files copy within the kernel where they can.
func copyRange(ctx context.Context, to OutputFile, from *os.File, s Span) error {
	for s.From < s.To {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := from.Seek(s.From, io.SeekStart); err != nil {
			return err
		}
		n, err := io.Copy(to, io.LimitReader(from, min(s.Len(), copyStep)))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("byte %d: the original has become shorter: %w", s.From, ErrCorrupt)
		}
		s.From += n
	}
	return nil
}
