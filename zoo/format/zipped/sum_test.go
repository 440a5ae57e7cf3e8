package zipped

import (
	"bytes"
	"testing"

	"github.com/zoofold/zoofold/zoo/format/onnx"
)

// The checksum of a member that is written in pieces is that of its bytes, in whatever order they come.
func TestSum_OfPieces(t *testing.T) {
	data := make([]byte, 10_000)
	for k := range data {
		if k < 4000 || k > 4100 { // nobody writes the gap
			data[k] = byte(k * k >> 3)
		}
	}
	var whole, pieces onnx.Memory
	s := &Summed{To: &pieces}
	for _, span := range [][2]int{{7000, 10_000}, {0, 1}, {4101, 7000}, {1, 17}, {17, 4000}} {
		if _, err := s.WriteAt(data[span[0]:span[1]], int64(span[0])); err != nil {
			t.Fatal(err)
		}
	}
	w := &Summed{To: &whole}
	if _, err := w.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	a, errA := s.Sum(10_000)
	b, errB := w.Sum(10_000)
	if a != b || errA != nil || errB != nil || !bytes.Equal(pieces.Bytes(), data) {
		t.Errorf("%08x, want %08x: %v %v", a, b, errA, errB)
	}
	if _, err := s.WriteAt(data[5:9], 5); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sum(10_000); err == nil {
		t.Error("bytes that are written twice have a checksum")
	}
}
