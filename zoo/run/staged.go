package run

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/zoofold/zoofold/zoo/store"
)

// stagedFile is a file of a stage. It is hashed while it is written, and stays open when its writer closes it, since sync
// needs it.
type stagedFile struct {
	writable
	meter  *meter
	heard  *listener // of what is copied into the file; may be nil
	hashed hashed
	at     int64      // where Write writes
	turn   sync.Mutex // of WriteAt: file systems take one write to a file at a time, and a thread that waits for its turn there spins
	once   sync.Once
	err    error
}

// Close is for the writer. The content can be read, and is not synced yet.
func (f *stagedFile) Close() error { return nil }

// settle syncs the content and closes the file.
func (f *stagedFile) settle() error {
	f.once.Do(func() { f.err = errors.Join(f.writable.Sync(), f.writable.Close()) })
	return f.err
}

// drop closes the file without a sync.
func (f *stagedFile) drop() {
	f.once.Do(func() { _ = f.writable.Close() }) // the file is about to be removed
}

// Write is the file's, counted.
func (f *stagedFile) Write(p []byte) (int, error) {
	n, err := f.writable.Write(p)
	f.hashed.wrote(f.writable, p[:n], f.at)
	f.at += int64(n)
	f.meter.wrote(int64(n))
	return n, err
}

// WriteAt is the file's, counted.
func (f *stagedFile) WriteAt(p []byte, off int64) (int, error) {
	f.turn.Lock()
	n, err := f.writable.WriteAt(p, off)
	f.turn.Unlock()
	f.hashed.wrote(f.writable, p[:n], off)
	f.meter.wrote(int64(n))
	return n, err
}

// ReadFrom copies from file to file: through memory, where the bytes are hashed on the way, unless the kernel may have a
// shorter way and the source is not hashed.
func (f *stagedFile) ReadFrom(r io.Reader) (int64, error) {
	file, s := f.heard.source(r)
	if s == nil {
		if to, ok := f.writable.(*folderFile); ok && store.KernelShares(to.File) {
			return f.copy(r)
		}
		return f.pass(r)
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	return f.pass(io.TeeReader(r, &sees{s, file, at}))
}

// pass copies through memory.
func (f *stagedFile) pass(r io.Reader) (int64, error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{f}, r, *buffer)
}

// copy has the kernel copy, where it can.
func (f *stagedFile) copy(r io.Reader) (int64, error) {
	n, err := io.Copy(f.writable, r)
	f.hashed.copied(f.writable, f.at, f.at+n)
	f.at += n
	f.meter.wrote(n)
	return n, err
}

// Seek is the file's.
func (f *stagedFile) Seek(offset int64, whence int) (int64, error) {
	n, err := f.writable.Seek(offset, whence)
	if err == nil {
		f.at = n
	}
	return n, err
}

// hash is the hash of a staged file, which has to be complete.
func (s *stage) hash(ctx context.Context, rel string) (string, error) {
	if hash, ok := s.open[rel].hashed.whole(); ok {
		return hash, nil
	}
	return hashFile(ctx, s.fsys, s.path(rel))
}
