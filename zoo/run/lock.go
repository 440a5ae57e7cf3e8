package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// ErrLocked says that another run works on the same output folder.
var ErrLocked = errors.New("locked by another run")

// lock makes this run the only one on an output folder. It is a lock of the kernel (flock), which ends with the process,
// however that ends; the holder's file only names the holder. On a file system without such locks the holder's file is the
// lock.
func lock(fsys files, out string) (unlock func(), err error) {
	if err := claimState(fsys, out); err != nil {
		return nil, err
	}
	note := statePath(out, holderFile)
	release, err := fsys.Lock(statePath(out, lockFile))
	switch {
	case isNoLock(err):
		return lockByName(fsys, out, note)
	case errors.Is(err, ErrLocked):
		return nil, lockedBy(fsys, out, note)
	case err != nil:
		return nil, err
	}
	err = fsys.Remove(note) // left by a killed run
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = self().write(fsys, note)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return func() { _ = errors.Join(fsys.Remove(note), release()) }, nil
}

// lockByName takes the lock on a file system without flock: a holder's file that only one process can create. A process
// that is killed leaves it behind. The next run on the same host sees that and takes it over; one on another host cannot
// know, and says what to do. Runs of one host look one after another, under a lock on the folder of temporary files.
func lockByName(fsys files, out, note string) (unlock func(), err error) {
	release, err := fsys.Lock(os.TempDir())
	for end := time.Now().Add(momentary); errors.Is(err, ErrLocked) && time.Now().Before(end); release, err = fsys.Lock(os.TempDir()) {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("%s has no file locks, and neither has %s to do without: %w", out, os.TempDir(), err)
	}
	defer func() { err = errors.Join(err, release()) }()
	me := self()
	err = me.write(fsys, note)
	if errors.Is(err, fs.ErrExist) {
		other, ok := readHolder(fsys, note)
		if !ok || other.host != me.host || other.pid != me.pid && alive(other.pid) {
			return nil, fmt.Errorf("%w (its file system has no locks: if that run has ended, remove %s)", lockedBy(fsys, out, note), note)
		}
		if err = fsys.Remove(note); err == nil {
			err = me.write(fsys, note)
		}
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = fsys.Remove(note) }, nil
}

// momentary bounds how long a run waits for another one of this host that examines a holder's file.
const momentary = 5 * time.Second

// lockedBy is the error that names the run in the way.
func lockedBy(fsys files, out, note string) error {
	who := "it has not said yet who it is"
	if h, ok := readHolder(fsys, note); ok {
		who = h.String()
	}
	return fmt.Errorf("%s is %w: %s", out, ErrLocked, who)
}

// holder is a process that has a lock.
type holder struct {
	pid   int
	host  string
	since string // RFC 3339
}

func self() holder {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	return holder{os.Getpid(), strings.ReplaceAll(host, " ", "_"), time.Now().Format(time.RFC3339)}
}

const holderFormat = "process %d on %s since %s"

func (h holder) String() string { return fmt.Sprintf(holderFormat, h.pid, h.host, h.since) }

// write makes the holder's file; it fails with fs.ErrExist if there is one.
func (h holder) write(fsys files, path string) error {
	f, err := fsys.Create(path, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(h.String() + "\n"))
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, fsys.Remove(path))
	}
	return err
}

// readHolder reads a holder's file; ok is false where there is none that can be read.
func readHolder(fsys files, path string) (h holder, ok bool) {
	f, err := fsys.Open(path)
	if err != nil {
		return h, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return h, false
	}
	_, err = fmt.Sscanf(string(text), holderFormat, &h.pid, &h.host, &h.since)
	return h, err == nil
}
