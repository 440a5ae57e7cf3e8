package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"sync"

	"github.com/sourcegraph/conc/iter"
)

// Objects cannot be appended to. What is appended to a file are objects of their own: the pieces FILE.d/0000000001 and so on,
// which are read behind it in their order.
const pieces = ".d"

// OpenWhole reads a file with all that was appended to it.
func (f *Folder) OpenWhole(ctx context.Context, rel string) (io.ReadCloser, error) {
	list := f.Below(rel + pieces)
	_, err := f.Stat(ctx, rel)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(list) == 0) {
		return nil, err
	}
	w := &whole{folder: f, ctx: ctx, rest: list}
	if err == nil {
		if w.now, err = f.Open(ctx, rel); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// StatWhole is what a file is with all that was appended to it: another version whenever anything was.
func (f *Folder) StatWhole(ctx context.Context, rel string) (*Info, error) {
	list := f.Below(rel + pieces)
	info, err := f.Stat(ctx, rel)
	if len(list) == 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return info, err
	}
	all := &Info{path: rel}
	for _, part := range append([]string{rel}, list...) {
		info, err := f.Stat(ctx, part)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all.size += info.size
		all.version += info.path + "@" + info.version + "\n"
		if all.time.Before(info.time) {
			all.time = info.time
		}
	}
	return all, nil
}

// whole reads objects one behind the other.
type whole struct {
	folder *Folder
	ctx    context.Context
	now    io.ReadCloser // the file, or some pieces
	rest   []string      // the pieces behind
}

// together is how many pieces are read at a time: they are small, and each answer takes its time.
const together = 16

func (w *whole) Read(b []byte) (int, error) {
	for {
		if w.now == nil {
			if len(w.rest) == 0 {
				return 0, io.EOF
			}
			some := w.rest[:min(together, len(w.rest))]
			texts, err := iter.MapErr(some, func(rel *string) (io.Reader, error) {
				r, err := w.folder.Open(w.ctx, *rel)
				if err != nil {
					return nil, err
				}
				defer r.Close()
				text, err := io.ReadAll(r)
				return bytes.NewReader(text), err
			})
			if err != nil {
				return 0, err
			}
			w.now, w.rest = io.NopCloser(io.MultiReader(texts...)), w.rest[len(some):]
		}
		n, err := w.now.Read(b)
		if err == io.EOF {
			err = w.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (w *whole) Close() error {
	if w.now == nil {
		return nil
	}
	err := w.now.Close()
	w.now = nil
	return err
}

// Replace makes a content the whole of a file: what was appended to the one before goes, when the new one is there. Who is
// killed between leaves pieces that say again what the file has said.
func (f *Folder) Replace(ctx context.Context, rel string, content io.ReaderAt, size int64) error {
	old := f.Below(rel + pieces)
	if err := f.Put(ctx, rel, content, size); err != nil {
		return err
	}
	return f.removeAll(ctx, old)
}

func (f *Folder) removeAll(ctx context.Context, list []string) error {
	for _, rel := range list {
		if err := f.Remove(ctx, rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Appender appends to a file. Its methods may be called by several goroutines at once: who writes while a piece is on its
// way is in the next one, with all others who do.
type Appender struct {
	folder *Folder
	ctx    context.Context
	rel    string

	turn   sync.Mutex // whose piece is on its way
	number int        // of the last piece
	made   []string   // pieces of this appender
	all    bytes.Buffer

	lock sync.Mutex
	next *batch
}

// batch is the content of one piece.
type batch struct {
	data []byte
	done chan struct{}
	err  error
}

// manyPieces are more than runs leave that came to their ends: they are joined before others follow.
const manyPieces = 32

// Append appends to a file, which need not be there.
func (f *Folder) Append(ctx context.Context, rel string) (*Appender, error) {
	a := &Appender{folder: f, ctx: ctx, rel: rel}
	list := f.Below(rel + pieces)
	for _, piece := range list {
		if n, err := strconv.Atoi(path.Base(piece)); err == nil {
			a.number = max(a.number, n)
		}
	}
	if len(list) <= manyPieces {
		return a, nil
	}
	if _, err := a.all.ReadFrom(&whole{folder: f, ctx: ctx, rest: list}); err != nil {
		return nil, err
	}
	a.made = list
	return a, a.join()
}

// Write appends b, in one piece or not at all.
func (a *Appender) Write(b []byte) (int, error) {
	a.lock.Lock()
	mine, first := a.next, a.next == nil
	if first {
		mine = &batch{done: make(chan struct{})}
		a.next = mine
	}
	mine.data = append(mine.data, b...)
	a.lock.Unlock()
	if first {
		a.turn.Lock()
		a.lock.Lock()
		a.next = nil // whoever comes now is in the one behind
		a.lock.Unlock()
		mine.err = a.piece(mine.data)
		a.turn.Unlock()
		close(mine.done)
	}
	<-mine.done
	if mine.err != nil {
		return 0, mine.err
	}
	return len(b), nil
}

// piece writes the next one.
func (a *Appender) piece(data []byte) error {
	rel := fmt.Sprintf("%s%s/%010d", a.rel, pieces, a.number+1)
	if err := a.folder.Put(a.ctx, rel, bytes.NewReader(data), int64(len(data))); err != nil {
		return err
	}
	a.number++
	a.made = append(a.made, rel)
	a.all.Write(data)
	return nil
}

// Close makes one piece of all that were written.
func (a *Appender) Close() error {
	a.turn.Lock()
	defer a.turn.Unlock()
	if len(a.made) < 2 {
		return nil
	}
	return a.join()
}

// join makes one piece of those that were made. Who is killed on the way leaves what was said twice.
func (a *Appender) join() error {
	made, all := a.made, a.all.Bytes()
	a.made, a.all = nil, bytes.Buffer{}
	if err := a.piece(all); err != nil {
		return err
	}
	return a.folder.removeAll(a.ctx, made)
}
