package tensor

import (
	"errors"
	"fmt"
	"io"
)

// ReadFull fills p from offset off. Its error names the bytes and wraps the cause, io.ErrUnexpectedEOF where src ends
// too early.
func ReadFull(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) { // io.ReaderAt may say io.EOF here
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at byte %d, got %d: %w", len(p), off, n, err)
}

// WriteFull writes all of p at offset off. Its error names the bytes and wraps the cause.
func WriteFull(dst io.WriterAt, p []byte, off int64) error {
	n, err := dst.WriteAt(p, off)
	if err == nil && n != len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write %d bytes at byte %d, put %d: %w", len(p), off, n, err)
	}
	return nil
}
