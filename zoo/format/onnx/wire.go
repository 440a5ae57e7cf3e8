package onnx

import (
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
)

// field is one protobuf field: its number and type, where all of it lies, where its content lies, and, for a varint, its
// value.
type field struct {
	number protowire.Number
	kind   protowire.Type
	all    format.Span
	body   format.Span // of a length-delimited field; the value's bytes of a fixed-width one
	value  uint64
}

// wire reads protobuf fields of a file through a small window, so that what is skipped is never read.
type wire struct {
	file   *os.File
	size   int64
	window []byte
	start  int64 // where the window lies
}

const windowSize = 64 << 10

// at is the file's bytes from off, as many as the window has: at least want, or up to the end of the file.
func (w *wire) at(off int64, want int) ([]byte, error) {
	if off >= w.start && off+int64(want) <= w.start+int64(len(w.window)) {
		return w.window[off-w.start:], nil
	}
	if cap(w.window) == 0 {
		w.window = make([]byte, windowSize)
	}
	n, err := w.file.ReadAt(w.window[:cap(w.window)], off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	w.start, w.window = off, w.window[:n]
	return w.window, nil
}

func corrupt(off int64, text string, args ...any) error {
	return fmt.Errorf("byte %d: %s: %w", off, fmt.Sprintf(text, args...), format.ErrCorrupt)
}

// varint reads one at off, which has to end before limit.
func (w *wire) varint(off, limit int64) (value uint64, next int64, err error) {
	b, err := w.at(off, int(min(10, limit-off)))
	if err != nil {
		return 0, 0, err
	}
	b = b[:min(int64(len(b)), limit-off)]
	value, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, 0, corrupt(off, "not a protobuf number")
	}
	return value, off + int64(n), nil
}

// next reads the field at off of a message that ends at limit.
func (w *wire) next(off, limit int64) (field, error) {
	tag, at, err := w.varint(off, limit)
	if err != nil {
		return field{}, err
	}
	number, kind := protowire.DecodeTag(tag)
	f := field{number: number, kind: kind}
	if number < 1 {
		return f, corrupt(off, "field number %d", number)
	}
	switch kind {
	case protowire.VarintType:
		f.value, f.all.To, err = w.varint(at, limit)
		f.body = format.Span{From: at, To: f.all.To}
	case protowire.Fixed32Type:
		f.body = format.Span{From: at, To: at + 4}
	case protowire.Fixed64Type:
		f.body = format.Span{From: at, To: at + 8}
	case protowire.BytesType:
		var n uint64
		n, at, err = w.varint(at, limit)
		if err == nil && n > uint64(limit-at) {
			err = corrupt(off, "field %d claims %d bytes, %d remain", number, n, limit-at)
		}
		f.body = format.Span{From: at, To: at + int64(n)}
	default:
		err = corrupt(off, "field %d has wire type %d", number, kind)
	}
	if err != nil {
		return f, err
	}
	if f.body.To > limit {
		return f, corrupt(off, "field %d claims %d bytes, %d remain", number, f.body.Len(), limit-at)
	}
	f.all = format.Span{From: off, To: f.body.To}
	return f, nil
}

// each calls f for every field of a message, in order.
func (w *wire) each(message format.Span, f func(field) error) error {
	for off := message.From; off < message.To; {
		next, err := w.next(off, message.To)
		if err != nil {
			return err
		}
		if err := f(next); err != nil {
			return err
		}
		off = next.all.To
	}
	return nil
}

// maxText bounds names and other text.
const maxText = 1 << 20

// text reads a length-delimited field as a string.
func (w *wire) text(f field) (string, error) {
	if f.kind != protowire.BytesType {
		return "", corrupt(f.all.From, "field %d is not text", f.number)
	}
	if f.body.Len() > maxText {
		return "", fmt.Errorf("byte %d: text of %d bytes: %w", f.all.From, f.body.Len(), format.ErrLimit)
	}
	n := int(f.body.Len())
	if n > windowSize {
		b := make([]byte, n)
		_, err := w.file.ReadAt(b, f.body.From)
		return string(b), err
	}
	b, err := w.at(f.body.From, n)
	if err != nil {
		return "", err
	}
	if len(b) < n {
		return "", corrupt(f.body.From, "the file ends within text")
	}
	return string(b[:n]), nil
}

// fixed reads a fixed-width field's bits.
func (w *wire) fixed(s format.Span) (uint64, error) {
	b, err := w.at(s.From, int(s.Len()))
	if err != nil || int64(len(b)) < s.Len() {
		return 0, corrupt(s.From, "the file ends within a number")
	}
	if s.Len() == 4 {
		v, _ := protowire.ConsumeFixed32(b)
		return uint64(v), nil
	}
	v, _ := protowire.ConsumeFixed64(b)
	return v, nil
}

// numbers reads a repeated varint field, packed or one at a time, at most limit of them in all.
func (w *wire) numbers(list []int64, f field, limit int) ([]int64, error) {
	if f.kind == protowire.VarintType {
		list = append(list, int64(f.value))
	} else if f.kind == protowire.BytesType {
		for off := f.body.From; off < f.body.To; {
			v, next, err := w.varint(off, f.body.To)
			if err != nil {
				return nil, err
			}
			list, off = append(list, int64(v)), next
			if len(list) > limit {
				break
			}
		}
	} else {
		return nil, corrupt(f.all.From, "field %d is not a list of numbers", f.number)
	}
	if len(list) > limit {
		return nil, fmt.Errorf("byte %d: a list of more than %d numbers: %w", f.all.From, limit, format.ErrLimit)
	}
	return list, nil
}
