package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLock_RefusesASecondRunAndNamesTheHolder(t *testing.T) {
	s := newScene(t, 1)
	unlock, err := lock(onDisk(t, s.out()), s.out())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.run(context.Background(), nil)
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("the error is %v", err)
	}
	if h, ok := readHolder(disk{}, filepath.Join(s.out(), stateFolder, holderFile)); !ok || h.pid != os.Getpid() || !strings.Contains(err.Error(), h.String()) {
		t.Errorf("%v does not name %v", err, h)
	} else if at, err := time.Parse(time.RFC3339, h.since); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("since %q", h.since)
	}
	unlock()
	s.must(nil)
}

// lockless is a file system without locks, for output folders.
type lockless struct{ disk }

func (d lockless) Lock(path string) (func() error, error) {
	if filepath.Base(path) == lockFile {
		return nil, fmt.Errorf("lock %s: %w", path, syscall.ENOLCK)
	}
	return d.disk.Lock(path)
}

func TestLock_WithoutFileLocksTheHoldersFileIsTheLock(t *testing.T) {
	ended := exec.Command(os.Args[0], "-test.run=^$")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	here, parent := self().host, os.Getppid()
	for _, test := range []struct {
		name   string
		note   string // the holder's file that is found, if any
		locked bool
	}{
		{"nobody's", "", false},
		{"of a process that has ended", holder{ended.Process.Pid, here, "yesterday"}.String(), false},
		{"of this process's number, of a time before the host started anew", holder{os.Getpid(), here, "yesterday"}.String(), false},
		{"of a process that runs", holder{parent, here, "yesterday"}.String(), true},
		{"of another host", holder{ended.Process.Pid, "elsewhere", "yesterday"}.String(), true},
		{"not to be read", "process", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, 1)
			note := filepath.Join(s.out(), stateFolder, holderFile)
			if test.note != "" {
				if err := errors.Join(claimState(onDisk(t, s.out()), s.out()), os.WriteFile(note, []byte(test.note+"\n"), 0o666)); err != nil {
					t.Fatal(err)
				}
			}
			unlock, err := lock(lockless{onDisk(t, s.out())}, s.out())
			if !test.locked {
				if err != nil {
					t.Fatal(err)
				}
				if h, ok := readHolder(disk{}, note); !ok || h.pid != os.Getpid() {
					t.Errorf("the holder's file says %v", h)
				}
				unlock()
				if _, err := os.Stat(note); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("it is there after the run: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "remove "+note) {
				t.Errorf("%v does not say what to do", err)
			}
			if test.note != "process" && !strings.Contains(err.Error(), test.note) {
				t.Errorf("%v does not say %q", err, test.note)
			}
		})
	}
}
