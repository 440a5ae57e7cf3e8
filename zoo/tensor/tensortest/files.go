package tensortest

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// source is a tensor's bytes, followed in the file by others that are none of its readers' business.
type source struct{ tensor.Buffer }

func (s source) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(s.Buffer)) {
		return 0, fmt.Errorf("bytes %d to %d read: outside the tensor of %d bytes", off, off+int64(len(p)), len(s.Buffer))
	}
	return copy(p, s.Buffer[off:]), nil
}

// eager says io.EOF together with the last byte, as an io.ReaderAt may.
type eager struct{ tensor.Buffer }

func (s eager) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.Buffer.ReadAt(p, off)
	if off+int64(n) == int64(len(s.Buffer)) {
		err = io.EOF
	}
	return n, err
}

// once is a destination where every byte is to be written exactly once.
type once struct {
	lock   sync.Mutex
	bytes  tensor.Buffer
	writes extents
}

func newOnce(size int) *once { return &once{bytes: make(tensor.Buffer, size)} }

func (o *once) WriteAt(p []byte, off int64) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	o.writes = append(o.writes, extent{off, off + int64(len(p))})
	return o.bytes.WriteAt(p, off)
}

// extent is the bytes from start to before end.
type extent struct{ start, end int64 }

type extents []extent

// cover says where the extents fail to cover the bytes 0 to size exactly once.
func (w extents) cover(size int64) error {
	slices.SortFunc(w, func(a, b extent) int { return int(min(max(a.start-b.start, -1), 1)) })
	at := int64(0)
	for _, e := range w {
		if e.start != at && e.start < e.end {
			return fmt.Errorf("bytes %d to %d written, but all before %d were", e.start, e.end, at)
		}
		at = max(at, e.end)
	}
	if at != size {
		return fmt.Errorf("written up to byte %d of %d", at, size)
	}
	return nil
}

// faultySource fails every read that covers byte at, after n bytes fewer or more; it notes where the reads began.
type faultySource struct {
	tensor.Buffer
	at    int64
	err   error // nil for a read that is short without a word
	short int   // bytes that the failing read delivers, where it asks for that many
	failed
}

func (s *faultySource) ReadAt(p []byte, off int64) (int, error) {
	if off <= s.at && s.at < off+int64(len(p)) {
		s.note(off)
		return min(s.short, len(p)-1), s.err
	}
	return s.Buffer.ReadAt(p, off)
}

// faultySink fails every write that covers byte at.
type faultySink struct {
	tensor.Buffer
	at  int64
	err error // nil for a write that is short without a word
	failed
}

func (s *faultySink) WriteAt(p []byte, off int64) (int, error) {
	if off <= s.at && s.at < off+int64(len(p)) {
		s.note(off)
		return len(p) - 1, s.err
	}
	return s.Buffer.WriteAt(p, off)
}

// failed holds the offsets of the calls that were made to fail.
type failed struct {
	lock    sync.Mutex
	offsets []int64
}

func (f *failed) note(off int64) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.offsets = append(f.offsets, off)
}

// endless is a source of zeros that counts what is read and does something at the first read.
type endless struct {
	lock  sync.Mutex
	read  int64
	first func()
}

func (s *endless) ReadAt(p []byte, off int64) (int, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.read == 0 {
		s.first()
	}
	s.read += int64(len(p))
	clear(p)
	return len(p), nil
}

// nowhere takes all that is written.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }

// pattern is a source of any size that repeats a few elements, a prime number of them, so that an element out of place
// shows.
type pattern []byte

func (s pattern) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], s[(off+int64(n))%int64(len(s)):])
	}
	return len(p), nil
}

// sampled is a destination of any size that looks at the first and last element of every write and at some between.
type sampled struct {
	lock   sync.Mutex
	writes extents
	look   func(off int64, element []byte) error
	size   int // of an element
}

func (s *sampled) WriteAt(p []byte, off int64) (int, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.writes = append(s.writes, extent{off, off + int64(len(p))})
	last := len(p) - s.size
	for k := 0; k <= last; k += max(last/16/s.size*s.size, s.size) {
		if err := s.look(off+int64(k), p[k:k+s.size]); err != nil {
			return 0, err
		}
	}
	if last >= 0 {
		if err := s.look(off+int64(last), p[last:]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
