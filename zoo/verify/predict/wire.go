package predict

import (
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message that lies in a file between two offsets. It is read through a window that it shares with
// the messages inside it, so that what nobody asks for is not read.
type message struct {
	*window
	from, to int64
}

type window struct {
	file  io.ReaderAt
	bytes []byte
	start int64
}

const windowSize = 16 << 10

// wireField is one field: its number, its value where it is a varint, its content where it is length-delimited.
type wireField struct {
	number protowire.Number
	value  uint64
	body   message // empty for other kinds
	bytes  bool    // it is length-delimited
}

var errWire = errors.New("not a valid model file")

// at is the file's bytes from off on, at most want of them.
func (w *window) at(off int64, want int) ([]byte, error) {
	if off < w.start || off+int64(want) > w.start+int64(len(w.bytes)) {
		if w.bytes == nil {
			w.bytes = make([]byte, windowSize)
		}
		n, err := w.file.ReadAt(w.bytes[:cap(w.bytes)], off)
		if err != nil && err != io.EOF {
			return nil, err
		}
		w.start, w.bytes = off, w.bytes[:n]
	}
	b := w.bytes[off-w.start:]
	return b[:min(want, len(b))], nil
}

func (m message) varint(off int64) (uint64, int64, error) {
	b, err := m.at(off, int(min(10, m.to-off)))
	if err != nil {
		return 0, 0, err
	}
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, 0, fmt.Errorf("%w: byte %d: bad number", errWire, off)
	}
	return v, off + int64(n), nil
}

// fields calls visit for every field, in stored order.
func (m message) fields(visit func(f wireField) error) error {
	for off := m.from; off < m.to; {
		tag, next, err := m.varint(off)
		if err != nil {
			return err
		}
		number, kind := protowire.DecodeTag(tag)
		f := wireField{number: number}
		switch kind {
		case protowire.VarintType:
			f.value, next, err = m.varint(next)
		case protowire.Fixed32Type:
			next += 4
		case protowire.Fixed64Type:
			next += 8
		case protowire.BytesType:
			var size uint64
			size, next, err = m.varint(next)
			if err == nil && size > uint64(m.to-next) {
				err = fmt.Errorf("%w: byte %d: a field claims %d bytes, %d remain", errWire, off, size, m.to-next)
			}
			f.body, f.bytes = message{m.window, next, next + int64(size&math.MaxInt64)}, true
			next = f.body.to
		default:
			err = fmt.Errorf("%w: byte %d: wire type %d", errWire, off, kind)
		}
		if err == nil && (number <= 0 || next > m.to) {
			err = fmt.Errorf("%w: byte %d: bad field", errWire, off)
		}
		if err == nil {
			err = visit(f)
		}
		if err != nil {
			return err
		}
		off = next
	}
	return nil
}

// text is a short field's content as a string.
func (m message) text() (string, error) {
	const limit = 1 << 20
	if m.to-m.from > limit {
		return "", fmt.Errorf("%w: byte %d: a name of %d bytes", errWire, m.from, m.to-m.from)
	}
	if m.to-m.from <= windowSize {
		b, err := m.at(m.from, int(m.to-m.from))
		if err == nil && len(b) < int(m.to-m.from) {
			err = io.ErrUnexpectedEOF
		}
		return string(b), err
	}
	b := make([]byte, m.to-m.from)
	_, err := m.file.ReadAt(b, m.from)
	return string(b), err
}
