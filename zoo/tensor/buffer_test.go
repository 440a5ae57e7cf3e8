package tensor_test

import (
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestBuffer_ReadsAsReaderAt(t *testing.T) {
	content := []byte("sixteen elements")
	r := io.NewSectionReader(tensor.Buffer(content), 0, int64(len(content)))
	if err := iotest.TestReader(r, content); err != nil {
		t.Error(err)
	}
}

func TestBuffer_KeepsItsBounds(t *testing.T) {
	b := tensor.Buffer("12345678")
	p := make([]byte, 4)
	for _, c := range []struct {
		off int64
		n   int
		err error
	}{{4, 4, nil}, {5, 3, io.EOF}, {8, 0, io.EOF}, {math.MaxInt64, 0, io.EOF}} {
		if n, err := b.ReadAt(p, c.off); n != c.n || err != c.err {
			t.Errorf("read at %d: %d, %v; want %d, %v", c.off, n, err, c.n, c.err)
		}
	}
	if _, err := b.ReadAt(p, -1); err == nil {
		t.Error("read at -1")
	}
	for _, off := range []int64{-1, 5, 9, math.MaxInt64} {
		if n, err := b.WriteAt([]byte("abcd"), off); n != 0 || !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("write at %d: %d, %v; want io.ErrShortWrite", off, n, err)
		}
	}
	if n, err := b.WriteAt([]byte("abcd"), 4); n != 4 || err != nil || string(b) != "1234abcd" {
		t.Errorf("write at 4: %d, %v, %q", n, err, b)
	}
}
