//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// besieged is a zoo of a few models, one with external data, as a run finds it that follows another: some inputs are others
// now, one is new.
func besieged(t *testing.T) (s *siege, earlier map[string]string) {
	rng, _ := chance(t)
	s = newSiege(t, rng, 5)
	s.zoo, s.want = maps.Clone(s.editions[0].originals), maps.Clone(s.editions[0].outputs)
	for _, name := range s.names {
		s.place(s.editions[0], name)
	}
	if o := s.run(); o.exit != 0 {
		t.Fatalf("exit %d: %s", o.exit, o.stderr)
	}
	s.clock = s.clock.Add(time.Second)
	for _, name := range s.names[:len(s.names)/2+1] {
		s.place(s.editions[1], name)
		s.zoo[name], s.want[name] = s.editions[1].originals[name], s.editions[1].outputs[name]
	}
	s.before = s.outputs()
	if o := s.supervise(func(systemCall) syscall.Errno { return proceed }, "-dry-run"); o.exit == 125 {
		t.Skipf("no system call can be made to fail here: %s", o.stderr)
	}
	return s, s.read(s.out(), func(string) bool { return false })
}

func TestSystemCalls_EachMayFail(t *testing.T) {
	t.Parallel()
	s, earlier := besieged(t)
	stride := max(1, oracle.Setting(t, "ZOOFOLD_STRIDE", 12)) // 1: every call, in its turn
	for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EINTR, halfway} {
		places := map[string]int{}
		runs, told, calls := 0, 0, 0
		for n := 1; ; n += stride {
			s.restore(earlier)
			what := ""
			calls = 0
			o := s.supervise(func(c systemCall) syscall.Errno {
				if !may(c.name, fault) {
					return proceed
				}
				if calls++; calls != n {
					return proceed
				}
				what = fmt.Sprintf("%s at call %d, %v", faultName(fault), n, c)
				places[c.name]++
				return fault
			}, "-j", "1")
			if what == "" {
				break
			}
			runs++
			s.standing(what)
			failed := o.exit != 0
			if failed {
				told++
			}
			if failed == (o.stderr == "" && !slices.Contains(slices.Collect(maps.Values(o.status)), "failed")) {
				t.Fatalf("%s: exit %d, stderr %q, %v", what, o.exit, o.stderr, o.status)
			}
			if failed && (fault == halfway || fault == syscall.EINTR) {
				t.Fatalf("%s: exit %d, %s, %v: a call that is only done in part has to be continued", what, o.exit, o.stderr, o.why)
			}
			if !failed && !maps.Equal(s.outputs(), s.want) {
				t.Fatalf("%s: it says that all is well, and something is missing", what)
			}
			for name, why := range o.why {
				if strings.Contains(why, "bug of zoofold") {
					t.Fatalf("%s: %s: %s", what, name, why)
				}
			}
			known, _ := s.remembered()
			if o := s.run(); o.exit != 0 || !maps.Equal(s.outputs(), s.want) || len(s.leftovers()) > 0 || len(o.status) != len(known) {
				t.Fatalf("%s: the next run does not mend it: exit %d, %s %v, left %q", what, o.exit, o.stderr, o.why, s.leftovers())
			}
		}
		if runs < calls/stride {
			t.Errorf("%s: only %d runs for %d calls", faultName(fault), runs, calls)
		}
		t.Logf("%s in %d of %d system calls, %d times the run failed: %v", faultName(fault), runs, calls, told, places)
	}
}

func TestSystemCalls_ModelRemovedDuringTheWalkIsSkipped(t *testing.T) {
	s, _ := besieged(t)
	o := s.supervise(func(c systemCall) syscall.Errno {
		if c.name == "newfstatat" && c.path == "zoo/residual/001/model.onnx" {
			return syscall.ENOENT
		}
		return proceed
	})
	if _, seen := o.status["residual/001/model.onnx"]; o.exit != 0 || seen || len(o.status) != 4 {
		t.Errorf("exit %d, %v, %s", o.exit, o.status, o.stderr)
	}
}

func TestWithoutLocks_OneRunAtATimeHasTheFolder(t *testing.T) {
	s, _ := besieged(t)
	noLocks := func(c systemCall) syscall.Errno {
		if c.name == "flock" {
			return syscall.ENOLCK
		}
		return proceed
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(s.out(), ".zoofold", "holder")
	for _, pid := range []int{os.Getpid(), 1 << 30} { // one runs, no system has the other
		if err := os.WriteFile(note, fmt.Appendf(nil, "process %d on %s since yesterday\n", pid, host), 0o666); err != nil {
			t.Fatal(err)
		}
		o := s.supervise(noLocks)
		runs := pid == os.Getpid()
		if o.exit != exitDone && !runs || o.exit != exitLocked && runs {
			t.Errorf("with process %d: exit %d, %s", pid, o.exit, o.stderr)
		}
		if runs && (!strings.Contains(o.stderr, fmt.Sprintf("process %d on %s since yesterday", pid, host)) || !strings.Contains(o.stderr, "remove "+note)) {
			t.Errorf("%q does not say who has it and what to do", o.stderr)
		}
	}
	if _, err := os.Stat(note); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run left its note: %v", err)
	}
}

// faultName is an answer in words.
func faultName(e syscall.Errno) string {
	if e == halfway {
		return "half of it done"
	}
	return e.Error()
}

// may says whether a system call can end so.
func may(name string, fault syscall.Errno) bool {
	switch fault {
	case halfway:
		return slices.Contains([]string{"read", "pread64", "write", "pwrite64", "copy_file_range"}, name)
	case syscall.EINTR:
		return slices.Contains([]string{"read", "pread64", "write", "pwrite64", "openat", "flock", "fsync"}, name)
	case syscall.ENOSPC:
		return slices.Contains([]string{"openat", "mkdirat", "renameat", "write", "pwrite64", "copy_file_range", "fsync", "syncfs", "close"}, name)
	}
	return true
}
