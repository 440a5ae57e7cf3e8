package run

import (
	"context"
	"encoding/hex"
	"io"
	"sync"

	"github.com/zeebo/xxh3"
)

// hashed is a content that is hashed while it is written, wherever its bytes come from and in whatever order: what follows
// on what is hashed already is hashed from memory, the rest is read back, most of it while it is still in a cache.
type hashed struct {
	lock  sync.Mutex
	sum   xxh3.Hasher
	until int64           // the bytes before this one are hashed
	ahead map[int64]int64 // what is written behind that: from, to
	twice bool            // something was written again: the hash is no longer the content's
}

// maxAhead bounds the ranges that are written ahead: who writes in many pieces has the file read at the end.
const maxAhead = 64

// wrote takes bytes that were written at a place of the file.
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

// copied takes a range that the kernel wrote.
func (h *hashed) copied(file io.ReaderAt, from, to int64) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.later(from, to)
	h.follow(file)
}

// later notes a range that is to be read back.
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

// follow reads back what lies behind what is hashed.
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
		h.twice = err != nil || n != to-h.until // whoever asks for the hash meets the error again
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

// reading is a reader that ends with a context: a sparse file can be larger than anyone has time for.
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
