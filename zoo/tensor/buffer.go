package tensor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Buffer is a tensor's bytes in memory, as Backend reads and writes them. Disjoint parts may be used at the same time.
type Buffer []byte

// ReadAt copies the bytes from offset off on; fewer than len(p), with io.EOF, where the buffer ends.
func (b Buffer) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at byte %d: negative offset", off)
	}
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt copies p to offset off. If p does not fit nothing is written, and the error is io.ErrShortWrite.
func (b Buffer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) || int64(len(p)) > int64(len(b))-off {
		return 0, fmt.Errorf("write %d bytes at byte %d of a buffer of %d bytes: %w", len(p), off, len(b), io.ErrShortWrite)
	}
	return copy(b[off:], p), nil
}

// Equal says whether n bytes of two tensors are the same.
func Equal(a, b io.ReaderAt, n int64) (bool, error) {
	const chunk = 256 << 10
	x, y := make([]byte, min(n, chunk)), make([]byte, min(n, chunk))
	for at := int64(0); at < n; at += chunk {
		size := min(n-at, chunk)
		if err := errors.Join(ReadFull(a, x[:size], at), ReadFull(b, y[:size], at)); err != nil {
			return false, err
		}
		if !bytes.Equal(x[:size], y[:size]) {
			return false, nil
		}
	}
	return true, nil
}

// Lazily is a tensor whose bytes are computed when the first of them is read.
func Lazily(make func() ([]byte, error)) io.ReaderAt { return &lazy{sync.OnceValues(make)} }

type lazy struct{ bytes func() ([]byte, error) }

func (l *lazy) ReadAt(p []byte, off int64) (int, error) {
	bytes, err := l.bytes()
	if err != nil {
		return 0, err
	}
	return Buffer(bytes).ReadAt(p, off)
}
