package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"
)

// HeldError says that somebody else has a lock.
type HeldError struct{ Who string }

func (e *HeldError) Error() string { return "held by " + e.Who }

// lease is a lock that a folder has: an object that says who has it, and is written anew three times in the time that it is
// good for. Its owner writes nothing once that is over; another one may take it when it was not renewed for twice as long, so
// that clocks may differ by that.
type lease struct {
	folder *Folder
	rel    string
	who    string
	token  string
	stop   context.CancelFunc
	done   chan struct{}

	lock  sync.Mutex
	info  *Info
	until time.Time
	lost  error
}

// Lock takes a lock for the folder, or fails with a *HeldError. gone says of the holder that it cannot come back, so that
// its lease need not be waited for. While the lock is held nothing is written without it.
func (f *Folder) Lock(ctx context.Context, rel, who string, gone func(who string) bool) (unlock func(context.Context) error, err error) {
	l := &lease{folder: f, rel: rel, who: who, token: rand.Text(), done: make(chan struct{})}
	before, err := f.head(ctx, rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		before = nil
	case err != nil:
		return nil, err
	default:
		other, err := f.holder(ctx, before)
		if err != nil {
			return nil, err
		}
		if left := time.Until(before.time.Add(2 * f.timing.lease)); left > 0 && !gone(other) {
			return nil, &HeldError{fmt.Sprintf("%s; if it has ended, its lease does in %v", other, left.Round(time.Second))}
		}
	}
	if err := l.write(ctx, before); err != nil {
		if errors.Is(err, ErrChanged) {
			return nil, &HeldError{"a run that has just begun"}
		}
		return nil, err
	}
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	f.lock.Lock()
	f.lease = l
	f.lock.Unlock()
	go l.renew(inner)
	return l.release, nil
}

// holder is whose a lease is.
func (f *Folder) holder(ctx context.Context, info *Info) (string, error) {
	r := &reader{folder: f, ctx: ctx, info: info}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, 4<<10))
	if errors.Is(err, ErrChanged) {
		return "a run that has just renewed it", nil
	}
	who, _, _ := strings.Cut(string(text), "\n")
	return who, err
}

// write writes the lease in place of what is there.
func (l *lease) write(ctx context.Context, before *Info) error {
	begun := time.Now()
	text := fmt.Appendf(nil, "%s\n%s\n%s\n", l.who, l.token, begun.UTC().Format(time.RFC3339Nano))
	info, err := l.folder.put(ctx, l.rel, bytes.NewReader(text), int64(len(text)), before)
	l.lock.Lock()
	defer l.lock.Unlock()
	switch {
	case err == nil:
		l.info, l.until = info, begun.Add(l.folder.timing.lease)
	case errors.Is(err, ErrChanged):
		l.lost = err
	}
	return err
}

// renew renews the lease until it is released or lost.
func (l *lease) renew(ctx context.Context) {
	defer close(l.done)
	for pause(ctx, l.folder.timing.renew) == nil {
		if errors.Is(l.write(ctx, l.info), ErrChanged) {
			return
		}
	}
}

// release gives the lock up.
func (l *lease) release(ctx context.Context) error {
	l.stop()
	<-l.done
	l.folder.lock.Lock()
	l.folder.lease = nil
	l.folder.lock.Unlock()
	now, err := l.folder.head(ctx, l.rel)
	if err != nil || l.lost != nil || now.version != l.info.version {
		return err
	}
	return l.folder.remove(ctx, l.rel)
}

// mayWrite is an error if the folder's lock was lost.
func (f *Folder) mayWrite() error {
	f.lock.Lock()
	l := f.lease
	f.lock.Unlock()
	if l == nil {
		return nil
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.lost != nil || time.Now().After(l.until) {
		return fmt.Errorf("%s: %w: its lease %s could not be renewed in time, or another run has taken it", f, ErrLost, l.rel)
	}
	return nil
}
