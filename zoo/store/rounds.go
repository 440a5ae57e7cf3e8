package store

import (
	"errors"
	"os"
	"time"
)

// patience bounds how long a sync of the whole file system may take, which writes what others have written too, and pause
// says after how many times as long as it took the next one is tried.
const (
	patience = time.Second
	pause    = 10
)

// Where as many as a crowd were synced at the same time, the next round begins after a while, in which more come: every round
// holds up who writes to the disk meanwhile.
const (
	crowd = 4
	while = 4 * time.Millisecond
)

// allAtOnce makes everything last, with all who ask at the same time: a disk takes hardly longer for many small files and
// their folders than for one. ok is false where each has to be synced by itself: the system cannot, others write much to the
// disk, or there was an error, which is said once and may be about anybody's file.
func (f *Folder) allAtOnce() (ok bool) {
	together := func() func(*os.File) error {
		f.lock.Lock()
		defer f.lock.Unlock()
		if time.Now().Before(f.apart) {
			return nil
		}
		return f.syncAll
	}
	if together() == nil {
		return false
	}
	err := f.inRounds("", func() error {
		syncAll := together() // the round before may have failed
		if syncAll == nil {
			return errors.ErrUnsupported
		}
		began := time.Now()
		err := syncAll(f.dir)
		took := time.Since(began)
		f.lock.Lock()
		defer f.lock.Unlock()
		if err != nil {
			f.syncAll = nil
		} else if took > patience {
			f.apart = time.Now().Add(pause * took)
		}
		return err
	})
	return err == nil
}

// Sync makes the content of a file last that Create or Append opened.
func (f *Folder) Sync(file *os.File) error {
	if f.allAtOnce() {
		return nil
	}
	return f.inRounds(file.Name(), file.Sync)
}

// rounds are the syncs of one file, folder or file system: the one that is under way and the one that follows it.
type rounds struct{ now, next *round }

// round is one sync, for all who asked for it before it began.
type round struct {
	done  chan struct{}
	err   error
	asked int // how many have
}

// inRounds syncs what has a name. Who asks while a sync is under way waits for the next one, with all others who do.
func (f *Folder) inRounds(name string, sync func() error) error {
	f.lock.Lock()
	all := f.syncs[name]
	if all == nil {
		all = &rounds{}
		f.syncs[name] = all
	}
	if r := all.next; r != nil {
		r.asked++
		f.lock.Unlock()
		<-r.done
		return r.err
	}
	r, before := &round{done: make(chan struct{}), asked: 1}, all.now
	all.next = r
	f.lock.Unlock()
	if before != nil {
		<-before.done
		if before.asked >= crowd {
			time.Sleep(while)
		}
	}
	f.lock.Lock()
	all.now, all.next = r, nil // later callers may have changed what this sync does not see
	f.lock.Unlock()
	defer func() {
		f.lock.Lock()
		defer f.lock.Unlock()
		if all.now = nil; all.next == nil {
			delete(f.syncs, name)
		}
		close(r.done)
	}()
	r.err = sync()
	return r.err
}
