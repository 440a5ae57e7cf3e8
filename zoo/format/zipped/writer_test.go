package zipped

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
)

func TestWriter_WritesAZIPFileOfAlignedMembers(t *testing.T) {
	var first, second onnx.Memory
	w := NewWriter(&first)
	members := map[string][]byte{"a/x": []byte("hello"), "a/empty": {}, "a/a longer name of it": bytes.Repeat([]byte{7}, 1000)}
	for name, data := range members {
		write := func(to io.WriterAt) error {
			for k := len(data) - 1; k >= 0; k-- { // in any order
				if _, err := to.WriteAt(data[k:k+1], int64(k)); err != nil {
					return err
				}
			}
			return nil
		}
		if err := errors.Join(w.Bytes(zip.FileHeader{Name: name + "/bytes"}, data), w.Pieces(zip.FileHeader{Name: name + "/pieces"}, int64(len(data)), write)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(first.Bytes()), int64(len(first.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	again := NewWriter(&second)
	for _, m := range z.File {
		at, err := m.DataOffset()
		if err != nil || at%64 != 0 {
			t.Errorf("%s begins at byte %d: %v", m.Name, at, err)
		}
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if want := members[m.Name[:len(m.Name)-len(m.Name[lastSlash(m.Name):])]]; err != nil || !bytes.Equal(data, want) {
			t.Errorf("%s holds %q, want %q: %v", m.Name, data, want, err)
		}
		if err := again.Copy(t.Context(), m.FileHeader, io.NewSectionReader(bytes.NewReader(first.Bytes()), at, int64(m.UncompressedSize64))); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Close(); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("a copy is another file: %v", err)
	}
	h := z.File[0].FileHeader
	h.CRC32++
	if err := again.Copy(t.Context(), h, io.NewSectionReader(bytes.NewReader(first.Bytes()), 64, int64(h.UncompressedSize64))); !errors.Is(err, format.ErrCorrupt) {
		t.Errorf("a wrong checksum: %v", err)
	}
}

func lastSlash(name string) int { return bytes.LastIndexByte([]byte(name), '/') }

// sparse is a file whose large pieces are zeros, and are not kept.
type sparse struct {
	size   int64
	pieces map[int64][]byte
}

func (s *sparse) WriteAt(b []byte, off int64) (int, error) {
	if s.size = max(s.size, off+int64(len(b))); len(b) < 1<<20 {
		s.pieces[off] = bytes.Clone(b)
	}
	return len(b), nil
}

func (s *sparse) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	for at, piece := range s.pieces {
		if from := max(at, off); from < min(at+int64(len(piece)), off+int64(len(b))) {
			copy(b[from-off:], piece[from-at:])
		}
	}
	if n := s.size - off; n < int64(len(b)) {
		return int(max(n, 0)), io.EOF
	}
	return len(b), nil
}

func TestWriter_FilesBeyondFourGigabytes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the checksum of five gigabytes")
	}
	s := &sparse{pieces: map[int64][]byte{}}
	w := NewWriter(s)
	const size = 5 << 30
	err := w.Pieces(zip.FileHeader{Name: "a/large"}, size, func(to io.WriterAt) error {
		zeros := make([]byte, 64<<20)
		for at := int64(0); at < size; at += int64(len(zeros)) {
			if _, err := to.WriteAt(zeros, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, w.Bytes(zip.FileHeader{Name: "a/behind"}, []byte("it")), w.Close()); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(s, s.size)
	if err != nil {
		t.Fatal(err)
	}
	if m := z.File[0]; m.UncompressedSize64 != size {
		t.Errorf("%d bytes, want %d", m.UncompressedSize64, int64(size))
	}
	r, err := z.File[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(r); err != nil || string(data) != "it" {
		t.Errorf("%q: %v", data, err)
	}
}
