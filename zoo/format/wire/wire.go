// Package wire reads and writes the protobuf wire format without decoding it: a Reader says where the fields of a message
// stand in a file, a Message puts new fields and copied ranges together.
package wire

import (
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
)

// Field is one protobuf field.
type Field struct {
	Number protowire.Number
	Kind   protowire.Type
	All    format.Span // where it lies, its tag included
	Body   format.Span // where its content lies
	Value  uint64      // of a varint
}

// Reader reads protobuf fields of a file through a small window, so that what is skipped is never read. No length is
// trusted: a field ends within its message, a message within the file. Errors wrap format.ErrCorrupt or format.ErrLimit.
type Reader struct {
	File   *os.File
	Size   int64 // of the file, in bytes
	window []byte
	start  int64 // where the window lies
}

// windowSize is the size of the window. After a jump only firstWindow bytes of it are read: most often the head of a field
// whose content is skipped follows.
const (
	windowSize  = 64 << 10
	firstWindow = 4 << 10
)

// At is the file's bytes from off, as many as the window has: at least want, or up to the end of the file.
func (r *Reader) At(off int64, want int) ([]byte, error) {
	if off >= r.start && off+int64(want) <= r.start+int64(len(r.window)) {
		return r.window[off-r.start:], nil
	}
	if cap(r.window) == 0 {
		r.window = make([]byte, 0, max(want, int(min(windowSize, r.Size))))
	}
	size := cap(r.window)
	if off < r.start || off > r.start+int64(len(r.window)) {
		size = min(size, max(want, firstWindow))
	}
	n, err := r.File.ReadAt(r.window[:size], off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	r.start, r.window = off, r.window[:n]
	return r.window, nil
}

// Corrupt is an error for a file that breaks its format's rules at a byte. It wraps format.ErrCorrupt.
func Corrupt(off int64, text string, args ...any) error {
	return fmt.Errorf("byte %d: %s: %w", off, fmt.Sprintf(text, args...), format.ErrCorrupt)
}

// varint reads one at off, which has to end before limit.
func (r *Reader) varint(off, limit int64) (value uint64, next int64, err error) {
	b, err := r.At(off, int(min(10, limit-off)))
	if err != nil {
		return 0, 0, err
	}
	b = b[:min(int64(len(b)), limit-off)]
	value, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, 0, Corrupt(off, "not a protobuf number")
	}
	return value, off + int64(n), nil
}

// next reads the field at off of a message that ends at limit.
func (r *Reader) next(off, limit int64) (Field, error) {
	tag, at, err := r.varint(off, limit)
	if err != nil {
		return Field{}, err
	}
	number, kind := protowire.DecodeTag(tag)
	f := Field{Number: number, Kind: kind}
	if number < 1 {
		return f, Corrupt(off, "field number %d", number)
	}
	switch kind {
	case protowire.VarintType:
		f.Value, f.All.To, err = r.varint(at, limit)
		f.Body = format.Span{From: at, To: f.All.To}
	case protowire.Fixed32Type:
		f.Body = format.Span{From: at, To: at + 4}
	case protowire.Fixed64Type:
		f.Body = format.Span{From: at, To: at + 8}
	case protowire.BytesType:
		var n uint64
		n, at, err = r.varint(at, limit)
		if err == nil && n > uint64(limit-at) {
			err = Corrupt(off, "field %d claims %d bytes, %d remain", number, n, limit-at)
		}
		f.Body = format.Span{From: at, To: at + int64(n)}
	default:
		err = Corrupt(off, "field %d has wire type %d", number, kind)
	}
	if err != nil {
		return f, err
	}
	if f.Body.To > limit {
		return f, Corrupt(off, "field %d claims %d bytes, %d remain", number, f.Body.Len(), limit-at)
	}
	f.All = format.Span{From: off, To: f.Body.To}
	return f, nil
}

// Each calls f for every field of a message, in order.
func (r *Reader) Each(message format.Span, f func(Field) error) error {
	for off := message.From; off < message.To; {
		next, err := r.next(off, message.To)
		if err != nil {
			return err
		}
		if err := f(next); err != nil {
			return err
		}
		off = next.All.To
	}
	return nil
}

// Recognise refuses files of other kinds by their first bytes. want names what is expected: "an ONNX model".
func (r *Reader) Recognise(want string) error {
	if r.Size == 0 {
		return fmt.Errorf("not %s: the file is empty: %w", want, format.ErrCorrupt)
	}
	head, err := r.At(0, int(min(r.Size, 64)))
	if err != nil {
		return err
	}
	start := string(head[:min(len(head), 64)])
	for prefix, kind := range map[string]string{
		"PK\x03\x04": "a zip archive", "\x89HDF": "an HDF5 file", "\x1f\x8b": "a gzip file", "version https://git-lfs": "a Git LFS pointer: fetch the real file",
		"<": "HTML or XML", "{": "JSON", "\x80\x02": "a pickle", "ORTM": "ONNX Runtime's own format",
	} {
		if strings.HasPrefix(start, prefix) {
			return fmt.Errorf("not %s: it looks like %s: %w", want, kind, format.ErrCorrupt)
		}
	}
	return nil
}

// MaxText bounds names and other text.
const MaxText = 1 << 20

// Text reads a length-delimited field as a string.
func (r *Reader) Text(f Field) (string, error) {
	if f.Kind != protowire.BytesType {
		return "", Corrupt(f.All.From, "field %d is not text", f.Number)
	}
	if f.Body.Len() > MaxText {
		return "", fmt.Errorf("byte %d: text of %d bytes: %w", f.All.From, f.Body.Len(), format.ErrLimit)
	}
	n := int(f.Body.Len())
	if n > windowSize {
		b := make([]byte, n)
		_, err := r.File.ReadAt(b, f.Body.From)
		return string(b), err
	}
	b, err := r.At(f.Body.From, n)
	if err != nil {
		return "", err
	}
	if len(b) < n {
		return "", Corrupt(f.Body.From, "the file ends within text")
	}
	return string(b[:n]), nil
}

// Fixed reads a fixed-width field's bits.
func (r *Reader) Fixed(s format.Span) (uint64, error) {
	b, err := r.At(s.From, int(s.Len()))
	if err != nil || int64(len(b)) < s.Len() {
		return 0, Corrupt(s.From, "the file ends within a number")
	}
	if s.Len() == 4 {
		v, _ := protowire.ConsumeFixed32(b)
		return uint64(v), nil
	}
	v, _ := protowire.ConsumeFixed64(b)
	return v, nil
}

// Numbers reads a repeated varint field, packed or one at a time, at most limit of them in all.
func (r *Reader) Numbers(list []int64, f Field, limit int) ([]int64, error) {
	if f.Kind == protowire.VarintType {
		list = append(list, int64(f.Value))
	} else if f.Kind == protowire.BytesType {
		for off := f.Body.From; off < f.Body.To; {
			v, next, err := r.varint(off, f.Body.To)
			if err != nil {
				return nil, err
			}
			list, off = append(list, int64(v)), next
			if len(list) > limit {
				break
			}
		}
	} else {
		return nil, Corrupt(f.All.From, "field %d is not a list of numbers", f.Number)
	}
	if len(list) > limit {
		return nil, fmt.Errorf("byte %d: a list of more than %d numbers: %w", f.All.From, limit, format.ErrLimit)
	}
	return list, nil
}
