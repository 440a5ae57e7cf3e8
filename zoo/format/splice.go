package format

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Span is a range of bytes of a file.
type Span struct{ From, To int64 }

// Len is the number of bytes.
func (s Span) Len() int64 { return s.To - s.From }

// Piece is a stretch of a written file: new bytes, a range copied from the original, or a rescaled tensor.
type Piece struct {
	Made   []byte
	Copied Span
	Scaled *Scaled
}

// Scaled is a stored tensor whose elements are multiplied while it is written.
type Scaled struct {
	tensor.Rescale
	Name   string      // the tensor's name in messages
	Stored string      // its name in the original model
	Data   io.ReaderAt // the elements as stored, in the order of the factors' layouts
}

// NewScaled is a constant's elements with its factors.
func NewScaled(name, stored string, c *model.Constant) *Scaled {
	elements, _ := c.Elements()
	return &Scaled{tensor.Rescale{DType: c.DType, Elements: elements, Factors: c.Factors}, name, stored, c.Data}
}

// Size is the number of bytes that the piece takes in the written file.
func (p Piece) Size() int64 {
	switch {
	case p.Scaled != nil:
		return p.Scaled.Elements * int64(p.Scaled.DType.Size())
	case p.Made != nil:
		return int64(len(p.Made))
	}
	return p.Copied.Len()
}

// Size is the number of bytes that pieces take in the written file.
func Size(pieces []Piece) (bytes int64) {
	for _, p := range pieces {
		bytes += p.Size()
	}
	return bytes
}

// maxSubnormal is the share of a 16-bit tensor's elements that may become subnormal or zero when they are rescaled. A few
// do in every tensor with a wide range of magnitudes; their errors are small beside the other elements.
const maxSubnormal = 1.0 / 64

// Write writes the rescaled elements at offset at. Its error is an *OverflowError where they do not fit their type.
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

// WritePieces writes pieces one behind the other; none may be a copied range.
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
	s := &splice{to: to, from: from}
	for _, p := range pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.Size() <= smallPiece {
			err = s.gather(ctx, p, backend)
		} else if err = s.flush(); err == nil {
			err = s.write(ctx, p, backend)
		}
		if err != nil {
			return err
		}
	}
	return s.flush()
}

// Pieces of up to smallPiece bytes are collected, and written together in one call for up to gathered bytes: a model may
// have a hundred thousand of them.
const (
	smallPiece = 16 << 10
	gathered   = 64 << 10
)

// splice is a file that is written from its beginning to its end.
type splice struct {
	to   OutputFile
	from *os.File
	at   int64  // bytes written so far
	next []byte // collected bytes that follow them
}

// gather collects a small piece.
func (s *splice) gather(ctx context.Context, p Piece, backend tensor.Backend) (err error) {
	if len(s.next)+int(p.Size()) > gathered {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if p.Made != nil {
		s.next = append(s.next, p.Made...)
		return nil
	}
	s.next = slices.Grow(s.next, int(p.Size()))
	room := s.next[len(s.next):][:p.Size()]
	if p.Scaled != nil {
		err = p.Scaled.Write(ctx, backend, tensor.Buffer(room), 0)
	} else if _, err = s.from.ReadAt(room, p.Copied.From); err == io.EOF {
		err = shorter(p.Copied.From)
	}
	s.next = s.next[:len(s.next)+len(room)]
	return err
}

// flush writes what was gathered.
func (s *splice) flush() error {
	if len(s.next) == 0 {
		return nil
	}
	n, err := s.to.Write(s.next)
	s.at, s.next = s.at+int64(n), s.next[:0]
	return err
}

// write writes a piece at its place.
func (s *splice) write(ctx context.Context, p Piece, backend tensor.Backend) (err error) {
	switch {
	case p.Scaled != nil:
		if err = p.Scaled.Write(ctx, backend, s.to, s.at); err == nil {
			_, err = s.to.Seek(s.at+p.Size(), io.SeekStart)
		}
	case p.Made != nil:
		_, err = s.to.Write(p.Made)
	default:
		err = copyRange(ctx, s.to, s.from, p.Copied)
	}
	s.at += p.Size()
	return err
}

// shorter is the error for an original that has become shorter since it was opened.
func shorter(at int64) error {
	return fmt.Errorf("byte %d: the original has become shorter: %w", at, ErrCorrupt)
}

// copyStep bounds the bytes that are copied between two checks of the context.
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
			return shorter(s.From)
		}
		s.From += n
	}
	return nil
}
