//go:build linux && amd64

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel asks this process before it does a system call for the real program (seccomp's user notification), so that
// each one that touches a file of a zoo can be made to fail, whoever makes it.

// watched are the system calls on files, and where among their arguments a descriptor is, and a path relative to it.
var watched = map[int32]struct {
	name       string
	descriptor int
	path       int // -1: none
}{
	unix.SYS_OPENAT: {"openat", 0, 1}, unix.SYS_NEWFSTATAT: {"newfstatat", 0, 1}, unix.SYS_FSTAT: {"fstat", 0, -1},
	unix.SYS_MKDIRAT: {"mkdirat", 0, 1}, unix.SYS_UNLINKAT: {"unlinkat", 0, 1}, unix.SYS_RENAMEAT: {"renameat", 2, 3},
	unix.SYS_READLINKAT: {"readlinkat", 0, 1}, unix.SYS_GETDENTS64: {"getdents64", 0, -1}, unix.SYS_READ: {"read", 0, -1},
	unix.SYS_PREAD64: {"pread64", 0, -1}, unix.SYS_WRITE: {"write", 0, -1}, unix.SYS_PWRITE64: {"pwrite64", 0, -1},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 0, -1}, unix.SYS_LSEEK: {"lseek", 0, -1}, unix.SYS_FSYNC: {"fsync", 0, -1},
	unix.SYS_SYNCFS: {"syncfs", 0, -1},
	unix.SYS_FCHMOD: {"fchmod", 0, -1}, unix.SYS_FLOCK: {"flock", 0, -1}, unix.SYS_CLOSE: {"close", 0, -1},
	unix.SYS_FTRUNCATE: {"ftruncate", 0, -1}, unix.SYS_FCHOWN: {"fchown", 0, -1}, unix.SYS_FCHMODAT: {"fchmodat", 0, 1},
	unix.SYS_FCHOWNAT: {"fchownat", 0, 1}, unix.SYS_UTIMENSAT: {"utimensat", 0, 1}, unix.SYS_LINKAT: {"linkat", 2, 3},
	unix.SYS_SYMLINKAT: {"symlinkat", 1, 2}, unix.SYS_RENAMEAT2: {"renameat2", 2, 3}, unix.SYS_MKNODAT: {"mknodat", 0, 1},
}

// changes says whether a call changes a file or folder, or opens one for that.
func (s *supervisor) changes(n *notification) bool {
	switch n.number {
	case unix.SYS_OPENAT:
		return n.args[2]&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC) != 0
	case unix.SYS_NEWFSTATAT, unix.SYS_FSTAT, unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_READ, unix.SYS_PREAD64,
		unix.SYS_COPY_FILE_RANGE, unix.SYS_LSEEK, unix.SYS_FSYNC, unix.SYS_SYNCFS, unix.SYS_FLOCK, unix.SYS_CLOSE:
		return false // copy_file_range is told by where it reads
	}
	return true
}

func init() { commands["supervised"] = supervised }

// supervised is a program of its own: it has its system calls watched through descriptor 3, and becomes its arguments.
func supervised() {
	runtime.LockOSThread()                                                        // system calls are watched by thread, and the one that becomes the program keeps it
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the number of the system call
	for number := range watched {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(number)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		err = errors.Join(err, errno)
	}
	if err == nil {
		err = unix.Sendmsg(3, []byte{1}, unix.UnixRights(int(listener)), nil, 0)
	}
	if err == nil {
		err = unix.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "supervised: %v\n", err)
	os.Exit(125)
}

// systemCall is one that touches a file of the workshop.
type systemCall struct {
	name, path string
	changes    bool // a file or folder, or opens one for that
}

func (c systemCall) String() string { return c.name + " " + c.path }

// The answers to a system call that are not errors.
const (
	proceed = syscall.Errno(0)
	halfway = syscall.Errno(1 << 20) // reads and writes do half of what they were asked to
)

// supervise runs the program over the zoo and asks before each of its system calls on a file of the workshop.
func (w *workshop) supervise(answer func(systemCall) syscall.Errno, args ...string) told {
	w.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	c := w.command(append([]string{"-json"}, args...)...)
	c.Args = append([]string{"supervised", c.Path}, c.Args[1:]...)
	if c.Path, err = exec.LookPath("supervised"); err != nil {
		w.t.Fatal(err)
	}
	c.ExtraFiles = []*os.File{theirs}
	return w.told(c, func() error {
		if err := c.Start(); err != nil {
			return err
		}
		theirs.Close()
		listener, err := receive(pair[0])
		if err != nil {
			return errors.Join(err, c.Wait())
		}
		defer unix.Close(listener)
		s := supervisor{listener, c.Process.Pid, filepath.Clean(w.folder) + "/", answer}
		return errors.Join(s.serve(), c.Wait())
	})
}

// receive takes a descriptor from a socket.
func receive(socket int) (int, error) {
	space := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), space, 0)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("the kernel lets no system calls be watched here: %w", errors.Join(err, errNotWatched))
	}
	rights, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(rights) != 1 {
		return 0, errors.Join(err, errNotWatched)
	}
	return rights[0], nil
}

var errNotWatched = errors.New("no listener was sent")

// notification and response are the kernel's struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	id     uint64
	pid    uint32
	flags  uint32
	number int32
	arch   uint32
	at     uint64
	args   [6]uint64
}

type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

type supervisor struct {
	listener, pid int
	folder        string
	answer        func(systemCall) syscall.Errno
}

// serve answers until the program has ended.
func (s *supervisor) serve() error {
	for {
		poll := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return err
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return nil
		}
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno == unix.ENOENT || errno == unix.EINTR {
			continue // a thread that has gone, or is to do it once more
		} else if errno != 0 {
			return errno
		}
		r := s.decide(&n)
		r.id = n.id
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))); errno != 0 && errno != unix.ENOENT {
			return errno
		}
	}
}

func (s *supervisor) decide(n *notification) response {
	goOn := response{flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	call := watched[n.number]
	path := s.path(n, call.descriptor, call.path)
	if !strings.HasPrefix(path, s.folder) {
		return goOn
	}
	switch errno := s.answer(systemCall{call.name, strings.TrimPrefix(path, s.folder), s.changes(n)}); errno {
	case proceed:
		return goOn
	case halfway:
		done, err := s.half(n)
		if err != nil {
			return goOn
		}
		return response{value: int64(done)}
	default:
		return response{errno: -int32(errno)}
	}
}

// path is that of a descriptor, or of a path relative to it.
func (s *supervisor) path(n *notification, descriptor, path int) string {
	name := ""
	if path >= 0 {
		if name = s.text(n.args[path]); filepath.IsAbs(name) {
			return name
		}
	}
	base := fmt.Sprintf("/proc/%d/fd/%d", s.pid, int32(n.args[descriptor]))
	if int32(n.args[descriptor]) == unix.AT_FDCWD {
		base = fmt.Sprintf("/proc/%d/cwd", s.pid)
	}
	folder, _ := os.Readlink(base) // a descriptor that is not open is the call's own error
	return filepath.Join(folder, name)
}

// text is a path in the program's memory.
func (s *supervisor) text(at uint64) string {
	b := make([]byte, 4096)
	n := s.memory(at, b, unix.Pread)
	path, _, _ := bytes.Cut(b[:n], []byte{0})
	return string(path)
}

// memory copies from or to the program's memory.
func (s *supervisor) memory(at uint64, b []byte, transfer func(fd int, b []byte, off int64) (int, error)) int {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/mem", s.pid), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	done := 0
	for done < len(b) { // a page at a time: the one behind may not be there
		page := min(len(b)-done, 4096-int((at+uint64(done))%4096))
		n, err := transfer(fd, b[done:done+page], int64(at)+int64(done))
		if err != nil || n <= 0 {
			break
		}
		done += n
	}
	return done
}

// half does half of a read or write in the program's place.
func (s *supervisor) half(n *notification) (int, error) {
	process, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, int(int32(n.args[0])), 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	size := n.args[2] / 2
	if n.number == unix.SYS_COPY_FILE_RANGE {
		to, err := unix.PidfdGetfd(process, int(int32(n.args[2])), 0)
		if err != nil || n.args[1] != 0 || n.args[3] != 0 || n.args[4] < 2 {
			return 0, errors.Join(err, unix.EINVAL)
		}
		defer unix.Close(to)
		return unix.CopyFileRange(fd, nil, to, nil, int(min(n.args[4], 1<<16)/2), 0)
	}
	if size == 0 {
		return 0, unix.EINVAL // no bytes would be the end of the file
	}
	b := make([]byte, size)
	switch n.number {
	case unix.SYS_READ, unix.SYS_PREAD64:
		done := 0
		if n.number == unix.SYS_READ {
			done, err = unix.Read(fd, b)
		} else {
			done, err = unix.Pread(fd, b, int64(n.args[3]))
		}
		if err == nil && s.memory(n.args[1], b[:done], unix.Pwrite) < done {
			err = unix.EFAULT
		}
		return done, err
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		if s.memory(n.args[1], b, unix.Pread) < len(b) {
			return 0, unix.EFAULT
		}
		if n.number == unix.SYS_WRITE {
			return unix.Write(fd, b)
		}
		return unix.Pwrite(fd, b, int64(n.args[3]))
	}
	return 0, unix.EINVAL
}
