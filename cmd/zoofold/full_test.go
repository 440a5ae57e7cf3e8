//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// mounts runs a test in a process of its own that may mount file systems, seen by nobody else; it says whether this is the
// process. Where that is not allowed the test is skipped.
func mounts(t *testing.T) bool {
	const marker = "ZOOFOLD_MOUNTS"
	if os.Getenv(marker) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Skipf("nothing can be mounted here: %v", err)
		}
		return true
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), marker+"="+t.Name())
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := c.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &failed):
		t.Skipf("nothing can be mounted here: %v", err)
	case err != nil:
		t.Errorf("%v", err)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("nothing can be mounted here")
	}
	t.Logf("%s", out)
	return false
}

// disk mounts an empty file system as a folder; its options say how large it is.
func (w *workshop) disk(folder, options string) (unmount func()) {
	w.t.Helper()
	if err := errors.Join(os.MkdirAll(folder, 0o777), unix.Mount("tmpfs", folder, "tmpfs", 0, options)); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := unix.Unmount(folder, 0); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestFullDisk_LeavesWholeOutputsAndTheNextRunCompletes(t *testing.T) {
	t.Parallel()
	if !mounts(t) {
		return
	}
	rng, _ := chance(t)
	s := newSiege(t, rng, 20)
	stride := max(1, oracle.Setting(t, "ZOOFOLD_STRIDE", 5))
	for _, limit := range []struct{ what, format string }{{"pages", "nr_blocks=%d"}, {"files", "nr_inodes=%d"}} {
		full := 0
		for n := 2; ; n += stride {
			what := fmt.Sprintf("a disk of %d %s", n, limit.what)
			unmount := s.disk(s.out(), fmt.Sprintf(limit.format, n))
			o := s.run()
			s.standing(what)
			enough := o.exit == 0
			told := o.stderr + strings.Join(o.notes, " ")
			for _, why := range o.why {
				told += why
			}
			if !enough && !strings.Contains(told, "no space left on device") {
				t.Fatalf("%s: exit %d, %s", what, o.exit, told)
			}
			if enough && !maps.Equal(s.outputs(), s.want) {
				t.Fatalf("%s: it says that all is well, and something is missing", what)
			}
			if err := unix.Mount("tmpfs", s.out(), "tmpfs", unix.MS_REMOUNT, "nr_blocks=10000,nr_inodes=10000"); err != nil {
				t.Fatal(err)
			}
			known, _ := s.remembered()
			s.finish(what+", made larger", 2, known)
			unmount()
			if enough {
				t.Logf("%d disks of too few %s, up to %d", full, limit.what, n)
				break
			}
			full++
		}
	}
}

func TestReadOnly_OutputFolderIsAnErrorAndSubfolderFailsItsModels(t *testing.T) {
	if !mounts(t) {
		return
	}
	rng, _ := chance(t)
	s := newSiege(t, rng, 10)
	unmount := s.disk(s.out(), "ro")
	if o := s.run(); o.exit != exitFailed || !strings.Contains(o.stderr, "read-only file system") || len(o.status) != 0 {
		t.Errorf("exit %d, %s", o.exit, o.stderr)
	}
	unmount()
	unmount = s.disk(s.out()+"/mobile", "ro")
	o := s.run()
	for name, status := range o.status {
		if readonly := strings.HasPrefix(name, "mobile/"); (status == "failed") != readonly || readonly != strings.Contains(o.why[name], "read-only file system") {
			t.Errorf("%s: %s, %s", name, status, o.why[name])
		}
	}
	if o.exit != exitFailed || len(o.status) != 10 {
		t.Errorf("exit %d, %d models, %s", o.exit, len(o.status), o.stderr)
	}
	unmount()
	known, _ := s.remembered()
	s.finish("the next run", 2, known)
}
