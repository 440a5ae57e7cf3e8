package bucket

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/zeebo/xxh3"
	"gocloud.dev/blob"
)

// reader reads an object from its beginning to its end, whatever happens on the way: where a body is cut off, it goes on
// with the rest of the same object.
type reader struct {
	folder *Folder
	ctx    context.Context
	info   *Info
	at     int64
	body   *blob.Reader
	watch  *watch // of body
	tries  attempts
}

func (r *reader) Read(b []byte) (int, error) {
	for {
		if r.at == r.info.size {
			return 0, io.EOF
		}
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		r.watch.happens()
		n, err := r.body.Read(b)
		r.watch.rests()
		if n > 0 {
			r.at += int64(n)
			r.tries.failed = 0
			return n, nil // the error comes again
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err = r.watch.explain(err); err != nil {
			r.drop()
			if err := r.tries.again(r.ctx, err); err != nil {
				return 0, fmt.Errorf("read %s at byte %d: %w", r.folder.at(r.info.path), r.at, err)
			}
		}
	}
}

// open asks for the rest of the object.
func (r *reader) open() error {
	for r.tries.Folder = r.folder; ; {
		r.watch = newWatch(r.ctx, r.folder.timing.stall)
		body, err := r.folder.service.NewRangeReader(r.watch, r.info.path, r.at, r.info.size-r.at, nil)
		r.watch.rests()
		switch {
		case err == nil && r.same(body):
			r.body = body
			return nil
		case err == nil:
			_ = body.Close()
			err = ErrChanged
		case isMissing(err):
			err = ErrChanged
		}
		err = r.watch.explain(err)
		r.watch.end()
		if err := r.tries.again(r.ctx, err); err != nil {
			return fmt.Errorf("read %s: %w", r.folder.at(r.info.path), err)
		}
	}
}

// same says whether what is read is the object that was listed.
func (r *reader) same(body *blob.Reader) bool {
	version := ""
	if r.folder.service.read != nil {
		version = r.folder.service.read(body)
	}
	now := infoOf(r.info.path, body.Size(), body.ModTime(), version)
	return now.size == r.info.size && now.version == r.info.version
}

func (r *reader) drop() {
	if r.body != nil {
		_ = r.body.Close()
		r.watch.end()
		r.body = nil
	}
}

func (r *reader) Close() error {
	r.drop()
	return nil
}

// hashKey is the metadata that has the XXH3 of an object's content, 128 bits in hexadecimal digits.
const hashKey = "zoofold-xxh3"

// errContent says that a content cannot be read: no service is to blame.
var errContent = errors.New("the content")

// Put makes an object, or replaces the one that was listed, whole or not at all. Where something else is there now, the error
// wraps ErrChanged.
func (f *Folder) Put(ctx context.Context, rel string, content io.ReaderAt, size int64) error {
	if err := f.mayWrite(); err != nil {
		return err
	}
	before, err := f.Stat(ctx, rel)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if before != nil && before.dir {
		return fmt.Errorf("%s: a folder has that name", f.at(rel))
	}
	info, err := f.put(ctx, rel, content, size, before)
	if err == nil {
		f.know(rel, info)
	}
	return err
}

// put writes an object in place of another one; nil: of none.
func (f *Folder) put(ctx context.Context, rel string, content io.ReaderAt, size int64, before *Info) (*Info, error) {
	var sum xxh3.Hasher
	if _, err := io.Copy(&sum, io.NewSectionReader(content, 0, size)); err != nil {
		return nil, fmt.Errorf("%w of %s: %w", errContent, f.at(rel), err)
	}
	digest := sum.Sum128().Bytes()
	hash := hex.EncodeToString(digest[:])
	a := attempts{Folder: f}
	for {
		err := f.upload(ctx, rel, io.NewSectionReader(content, 0, size), size, hash, before)
		refused := isRefused(err) && (before != nil || !isMissing(err))
		if err == nil || refused || errors.Is(err, ErrChanged) { // an earlier attempt may have come through, though its answer did not
			now, mine, e := f.written(ctx, rel, size, hash)
			switch {
			case e == nil && mine:
				return now, nil
			case e != nil && !errors.Is(e, fs.ErrNotExist):
				return nil, e
			default:
				err = fmt.Errorf("%w", ErrChanged)
			}
		}
		if err := a.again(ctx, err); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.at(rel), err)
		}
	}
}

// written is what is there now, and whether it is of that content.
func (f *Folder) written(ctx context.Context, rel string, size int64, hash string) (now *Info, mine bool, err error) {
	a, err := f.attributes(ctx, rel)
	if err != nil {
		return nil, false, err
	}
	return f.stated(rel, a), a.Size == size && a.Metadata[hashKey] == hash, nil
}

// The parts in which large objects are written: S3 takes ten thousand.
const (
	part     = 8 << 20
	maxParts = 9000
)

// upload writes an object once.
func (f *Folder) upload(ctx context.Context, rel string, content io.Reader, size int64, hash string, before *Info) error {
	o := &blob.WriterOptions{
		ContentType: "application/octet-stream", Metadata: map[string]string{hashKey: hash}, IfNotExist: before == nil,
		BufferSize: int(max(part, size/maxParts)),
	}
	if before != nil {
		if f.service.replace == nil { // the service has no such condition: the moment between is what remains
			now, err := f.head(ctx, rel)
			if errors.Is(err, fs.ErrNotExist) || err == nil && now.version != before.version {
				return ErrChanged
			} else if err != nil {
				return err
			}
		} else {
			o.BeforeWrite = func(as func(any) bool) error { return f.service.replace(as, before.version) }
		}
	}
	w := newWatch(ctx, f.timing.upload)
	defer w.end()
	err := f.service.Upload(w, rel, &watched{content, w}, o)
	if err != nil && f.service.abandon != nil {
		_ = f.try(context.WithoutCancel(ctx), "", func(ctx context.Context) error { // what cannot be taken back costs room, and nobody sees it
			return f.service.abandon(ctx, path.Join(f.Prefix, rel), err)
		})
	}
	return w.explain(err)
}

// watched is a reader that says when it is read.
type watched struct {
	io.Reader
	by *watch
}

func (w *watched) Read(b []byte) (int, error) {
	w.by.happens()
	return w.Reader.Read(b)
}

// Remove removes an object, if it is the one that was listed. Its error wraps fs.ErrNotExist where none was, and ErrChanged
// where another one is there now.
func (f *Folder) Remove(ctx context.Context, rel string) error {
	if err := f.mayWrite(); err != nil {
		return err
	}
	before, err := f.Stat(ctx, rel)
	if err != nil {
		return err
	}
	if before.dir {
		return f.missing("remove", rel)
	}
	now, err := f.head(ctx, rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.know(rel, nil)
		return nil
	case err != nil:
		return err
	case now.version != before.version:
		return fmt.Errorf("remove %s: it %w", f.at(rel), ErrChanged)
	}
	return f.remove(ctx, rel)
}

func (f *Folder) remove(ctx context.Context, rel string) error {
	err := f.try(ctx, "remove "+f.at(rel), func(ctx context.Context) error { return f.service.Delete(ctx, rel) })
	if err != nil && !isMissing(err) {
		return err
	}
	f.know(rel, nil)
	return nil
}
