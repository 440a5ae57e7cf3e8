package run

import (
	"context"
	"encoding/hex"
	"io"
	"sync"

	"github.com/zeebo/xxh3"
)

// hashed hashes a file's content while it is written, in any order. Bytes that follow the ones hashed so far are hashed
// from memory; the others are read back, most of them while they are still in a cache.
type hashed struct {
	lock  sync.Mutex
	sum   xxh3.Hasher
	until int64           // the bytes before this one are hashed
	ahead map[int64]int64 // ranges that are written beyond that: from, to
	twice bool            // a range was written twice, so the hash is not the content's
}

// maxAhead bounds the ranges that are remembered: if there are more, the file is read at the end.
const maxAhead = 64

// wrote takes bytes that were written at an offset.
func (h *hashed) wrote(file io.ReaderAt, b []byte, at int64) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if at == h.until && !h.overlaps(at, at+int64(len(b))) {
		_, _ = h.sum.Write(b)
		h.until += int64(len(b))
		h.follow(file)
		return
	}
	h.later(at, at+int64(len(b)))
}

// copied takes a range that the kernel copied.
func (h *hashed) copied(file io.ReaderAt, from, to int64) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.later(from, to)
	h.follow(file)
}

// later records a range that has to be read back.
func (h *hashed) later(from, to int64) {
	if h.twice = h.twice || from < h.until || h.overlaps(from, to) || len(h.ahead) >= maxAhead; h.twice || from == to {
		return
	}
	if h.ahead == nil {
		h.ahead = map[int64]int64{}
	}
	h.ahead[from] = to
}

func (h *hashed) overlaps(from, to int64) bool {
	for a, b := range h.ahead {
		if from < b && a < to {
			return true
		}
	}
	return false
}

// follow reads back the ranges that follow the hashed bytes.
func (h *hashed) follow(file io.ReaderAt) {
	for !h.twice {
		to, ok := h.ahead[h.until]
		if !ok {
			return
		}
		delete(h.ahead, h.until)
		buffer := buffers.Get().(*[]byte)
		n, err := io.CopyBuffer(struct{ io.Writer }{&h.sum}, struct{ io.Reader }{io.NewSectionReader(file, h.until, to-h.until)}, *buffer)
		buffers.Put(buffer)
		h.twice = err != nil || n != to-h.until // whole reads the file again, and reports the error
		h.until = to
	}
}

// whole is the hash of all that was written; ok is false where it has to be read for that.
func (h *hashed) whole() (hash string, ok bool) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.twice || len(h.ahead) > 0 {
		return "", false
	}
	return text(h.sum.Sum128()), true
}

func text(sum xxh3.Uint128) string {
	b := sum.Bytes()
	return hex.EncodeToString(b[:])
}

// buffers are for reading what is hashed: small enough for a core's second-level cache.
var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// hashFile is the hash of a file's content.
func hashFile(ctx context.Context, fsys files, path string) (string, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var h xxh3.Hasher
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	if _, err := io.CopyBuffer(struct{ io.Writer }{&h}, reading{ctx, f}, *buffer); err != nil {
		return "", err
	}
	return text(h.Sum128()), nil
}

// reading is a reader that ends with a context: reading a sparse file may take forever.
type reading struct {
	ctx  context.Context
	from io.Reader
}

func (r reading) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(b)
}
