//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// log is log.txt, of bounded size.
type log struct {
	lock sync.Mutex
	file *os.File
	left int
}

const (
	logBytes     = 900 << 10
	commandBytes = 32 << 10 // of one command's output
)

func openLog(path string) (*log, error) {
	f, err := os.Create(path)
	return &log{file: f, left: logBytes}, err
}

func (l *log) printf(format string, args ...any) {
	l.lock.Lock()
	defer l.lock.Unlock()
	text := fmt.Appendf(nil, format, args...)
	text = text[:min(len(text), l.left)]
	n, _ := l.file.Write(text) // an error of the log must not stop the check
	l.left -= n
}

func (l *log) Close() error { return l.file.Close() }

// ended is how a command ended.
type ended struct {
	text    string // standard output and error, together
	exit    int
	seconds float64
	cpu     float64 // processor time of it and of its children
}

// grace is how long a killed command may take to end: a process that waits within a driver may never end.
const grace = 3 * time.Second

var errStays = errors.New("it was killed and does not end")

// run runs a program of the kit, or another one by its path. When ctx ends, it and all that it started are killed; one that
// does not even end then is left behind. The error is for a program that did not run to its end, whatever its exit code.
func (c *checker) run(ctx context.Context, env []string, program string, args ...string) (ended, error) {
	if !filepath.IsAbs(program) {
		program = filepath.Join(c.kit, "bin", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = c.work
	cmd.Env = append(c.environment(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = grace
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	c.log.printf("$ %s %s %s\n", strings.Join(env, " "), program, strings.Join(args, " "))
	started := time.Now()
	if err := cmd.Start(); err != nil {
		c.log.printf("%v\n", err)
		return ended{}, err
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	var err error
	select {
	case err = <-gone:
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		select {
		case <-gone:
			err = ctx.Err()
		case <-time.After(grace):
			err = errStays
		}
	}
	e := ended{text: out.String(), seconds: time.Since(started).Seconds()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if s := cmd.ProcessState; s != nil && !errors.Is(err, errStays) {
		e.exit, e.cpu = s.ExitCode(), (s.UserTime() + s.SystemTime()).Seconds()
	}
	said := e.text
	if len(said) > commandBytes {
		said = said[:commandBytes/2] + "\n…\n" + said[len(said)-commandBytes/2:]
	}
	c.log.printf("%s\nexit %d, %.2f s, %v\n", strings.TrimSpace(said), e.exit, e.seconds, err)
	return e, err
}

// must is run for a program that has to exit with 0.
func (c *checker) must(ctx context.Context, env []string, program string, args ...string) (ended, error) {
	e, err := c.run(ctx, env, program, args...)
	if err == nil && e.exit != 0 {
		err = fmt.Errorf("exit %d: %s", e.exit, last(e.text))
	}
	return e, err
}

// last is the end of a program's output.
func last(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > 400 {
		text = "…" + text[len(text)-400:]
	}
	return text
}

// environment is this process's, with the driver's library and without search paths that zoofold refuses.
func (c *checker) environment() (env []string) {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name != "LD_LIBRARY_PATH" && name != "ZOOFOLD_LIBCUDA" && name != "ONNXRUNTIME_LIB" {
			env = append(env, e)
		}
	}
	if c.search != "" {
		env = append(env, "LD_LIBRARY_PATH="+c.search)
	}
	if c.driver != "" {
		env = append(env, "ZOOFOLD_LIBCUDA="+c.driver)
	}
	library := c.library
	if library == "" {
		library = "none"
	}
	// A driver that keeps compiled kernels needs a place for them.
	return append(env, "ONNXRUNTIME_LIB="+library, "TMPDIR="+c.work, "CUDA_CACHE_PATH="+filepath.Join(c.work, "kernels"))
}

// output collects a command's output while it runs.
type output struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	if o.text.Len() < 4<<20 {
		o.text.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.String()
}
