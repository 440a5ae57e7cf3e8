package run

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/zeebo/xxh3"
)

// seen hashes an input while it is read to write the output, as far as the reads go from its beginning to its end. Parts
// that are not read otherwise are read at the end.
type seen struct {
	lock  sync.Mutex
	sum   xxh3.Hasher
	until int64           // the bytes before this one are hashed
	ahead map[int64]int64 // ranges that were read beyond that, and are likely to be in a cache: from, to
	file  io.ReaderAt     // through which it was read
	err   error
}

// maxGap bounds the gaps between two reads that are read in addition: names and shapes between weights.
const maxGap = 64 << 10

// read takes bytes that were read at an offset.
func (s *seen) read(file io.ReaderAt, b []byte, at int64) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.file = file
	if to := at + int64(len(b)); to <= s.until || s.err != nil { // read before
		return
	} else if at > s.until+maxGap {
		if s.ahead == nil {
			s.ahead = map[int64]int64{}
		}
		if len(s.ahead) < maxAhead {
			s.ahead[at] = max(to, s.ahead[at])
		}
		return
	}
	s.fetch(file, at)
	if s.err == nil {
		_, _ = s.sum.Write(b[s.until-at:])
		s.until = at + int64(len(b))
	}
	for again := true; again && s.err == nil; {
		again = false
		for from, to := range s.ahead {
			if from <= s.until+maxGap {
				delete(s.ahead, from)
				s.fetch(file, to)
				again = true
			}
		}
	}
}

// sees is a writer that takes what is read of a file one after the other.
type sees struct {
	*seen
	of io.ReaderAt
	at int64
}

func (s *sees) Write(b []byte) (int, error) {
	s.read(s.of, b, s.at)
	s.at += int64(len(b))
	return len(b), nil
}

// fetch reads and hashes up to an offset.
func (s *seen) fetch(file io.ReaderAt, to int64) {
	if to <= s.until || s.err != nil {
		return
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	n, err := io.CopyBuffer(struct{ io.Writer }{&s.sum}, struct{ io.Reader }{io.NewSectionReader(file, s.until, to-s.until)}, *buffer)
	if s.until += n; err == nil && s.until < to {
		err = io.ErrUnexpectedEOF
	}
	s.err = err
}

// stretch is the number of bytes that are read between two checks of the context.
const stretch = 64 << 20

// whole reads the rest of a file of that many bytes, and returns the hash of all.
func (s *seen) whole(ctx context.Context, file io.ReaderAt, size int64) (string, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for s.until < size && s.err == nil {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		s.fetch(file, min(size, s.until+stretch))
	}
	if s.err == nil && s.until > size {
		s.err = io.ErrUnexpectedEOF
	}
	return text(s.sum.Sum128()), s.err
}

// hashes starts to hash inputs while they are read. Earlier reads do not count: planning reads in no particular order.
func (l *listener) hashes(inputs []string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.inputs = map[string]*seen{}
	for _, path := range inputs {
		l.inputs[path] = &seen{}
	}
}

// input is the hash in progress of an input, or nil.
func (l *listener) input(path string) *seen {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.inputs[path]
}

// source is the file that a reader reads the next bytes of, where that is an input that is hashed, and its hash in progress.
func (l *listener) source(r io.Reader) (*os.File, *seen) {
	part, ok := r.(*io.LimitedReader)
	if !ok || l == nil {
		return nil, nil
	}
	file, ok := part.R.(*os.File)
	if !ok {
		return nil, nil
	}
	return file, l.input(file.Name())
}

// hash is that of an input of that many bytes, whose file is still open; "" where it was not hashed while it was read.
func (l *listener) hash(ctx context.Context, path string, size int64) (string, error) {
	s := l.input(path)
	if s == nil || s.until == 0 {
		return "", nil
	}
	return s.whole(ctx, s.file, size)
}
