package predict

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Processes runs ONNX Runtime in worker processes: a model on which it crashes, never ends or runs out of memory does not
// affect other models. They may be used by several goroutines at once.
type Processes struct {
	program, name string
	library       Library

	mu   sync.Mutex
	idle []*worker
}

// ServeArgument is the first argument of a program that is started as a worker; the library's path is the second.
const ServeArgument = "serve-predictions"

// startLimit bounds the start of a worker, in which it loads the library.
const startLimit = time.Minute

// Start starts the first worker, which loads the library. program is the executable to run, one that calls Serve if its
// first argument is ServeArgument. ErrNamed is in the error's chain if the user named a library that cannot be loaded.
func Start(program string, library Library) (*Processes, error) {
	p := &Processes{library: library}
	var err error
	if p.program, err = filepath.Abs(program); err != nil {
		return nil, fmt.Errorf("a process for ONNX Runtime: %w", err)
	}
	if p.library.Path, err = filepath.Abs(library.Path); err != nil {
		return nil, library.unusable(err.Error())
	}
	w, err := p.start()
	if err != nil {
		return nil, err
	}
	p.name = w.name
	p.idle = append(p.idle, w)
	return p, nil
}

// Name is the engine's.
func (p *Processes) Name() string { return p.name }

// Close ends the workers. No Compare may be running.
func (p *Processes) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.idle {
		_ = w.in.Close()
		_ = w.cmd.Wait() // its exit status does not matter
	}
	p.idle = nil
}

// Compare is engine.Compare in a worker. If the original crashes ONNX Runtime, the check is not run; if only the folded
// model does, it has failed.
func (p *Processes) Compare(ctx context.Context, c Comparison) outcome.Check {
	c, err := c.absolute()
	if err != nil {
		return outcome.Check{Status: outcome.NotRun, Note: err.Error()}
	}
	w, err := p.worker()
	if err != nil {
		return outcome.Check{Status: outcome.NotRun, Note: err.Error()}
	}
	stop := context.AfterFunc(ctx, w.kill)
	last, err := w.compare(c)
	if stop() && err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.idle = append(p.idle, w)
		return *last.Check
	}
	return verdict(ctx, last, w.end())
}

// verdict is the result of a comparison whose worker died. Running out of memory is no verdict on either model.
func verdict(ctx context.Context, last message, d death) outcome.Check {
	switch {
	case ctx.Err() != nil:
		return outcome.Check{Status: outcome.NotRun, Note: "interrupted"}
	case last.At == atLatency && d.memory:
		last.Check.Latency = &outcome.Latency{Note: outOfMemory}
		return *last.Check
	case last.At == atLatency:
		last.Check.Latency = &outcome.Latency{Note: "ONNX Runtime crashed: " + d.why}
		return *last.Check
	case d.memory:
		return outcome.Check{Status: outcome.NotRun, Note: outOfMemory}
	case d.killed: // something outside killed the worker
		return outcome.Check{Status: outcome.NotRun, Note: "ONNX Runtime was killed, as it is where memory runs out"}
	case last.At == atFolded:
		return failed("the folded model crashes ONNX Runtime where the original does not: %s", d.why)
	}
	return outcome.Check{Status: outcome.NotRun, Note: "the original crashes ONNX Runtime: " + d.why}
}

// worker is an idle worker, or a new one.
func (p *Processes) worker() (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return w, nil
	}
	return p.start()
}

// message is the protocol between a worker and its owner. Both are the same program, so that gob's encoding needs no
// versions.
type message struct {
	Name, Refusal string // worker, first: the engine's name, or why there is none

	Comparison *Comparison // owner: what to compare
	Jitters    bool        // owner: it has a Jittered

	At    at             // worker: its next step
	Check *outcome.Check // worker: the result; with atLatency the result so far

	Jitter      bool   // worker: it wants a jittered copy
	Path, Error string // owner: where the copy is, or why there is none
}

// at is the step that a worker is in: it says which model was running when it crashed.
type at string

const (
	atOriginal at = "the original"
	atFolded   at = "the folded model"
	atLatency  at = "latency"
)

// worker is a process as its owner sees it.
type worker struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	send    *gob.Encoder
	receive *gob.Decoder
	said    *head // on its standard error
}

func (p *Processes) start() (*worker, error) {
	w := &worker{cmd: exec.Command(p.program, ServeArgument, p.library.Path), said: &head{}}
	w.cmd.Dir, w.cmd.Env, w.cmd.Stderr = elsewhere, environment(os.Environ()), w.said
	in, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("a process for ONNX Runtime: %w", err)
	}
	w.in, w.send, w.receive = in, gob.NewEncoder(in), gob.NewDecoder(out)
	slow := time.AfterFunc(startLimit, w.kill)
	var m message
	err = w.receive.Decode(&m)
	inTime := slow.Stop()
	switch {
	case err != nil:
		return nil, p.unloaded(w.end(), inTime)
	case m.Refusal != "":
		w.end()
		return nil, p.refused(m.Refusal)
	}
	w.name = m.Name
	return w, nil
}

// unloaded is the error for a worker that died while it loaded the library.
func (p *Processes) unloaded(d death, inTime bool) error {
	switch {
	case !inTime:
		return p.library.unusable(fmt.Sprintf("%s does not start within %v", p.library.Path, startLimit))
	case d.memory || d.killed:
		return p.tooLarge(d.why)
	}
	return p.library.unusable(fmt.Sprintf("%s crashes the process that loads it: %s", p.library.Path, d.why))
}

// refused is the error for a worker that reports why it cannot load the library.
func (p *Processes) refused(why string) error {
	if exhausted(why) {
		return p.tooLarge(why)
	}
	return p.library.unusable(why)
}

// tooLarge is the error for want of memory while the library is loaded: that is not the library's fault.
func (p *Processes) tooLarge(why string) error {
	return fmt.Errorf("%w: %s takes more memory to load than there is: %s", ErrNoLibrary, p.library.Path, why)
}

// elsewhere is the working directory of workers, so that they find nothing in the directory from which the program is
// started.
const elsewhere = "/"

// environment is a worker's environment: without variables that make the dynamic linker load other code, and without
// relative and empty elements of its search paths, which mean the working directory.
func environment(all []string) (list []string) {
	for _, setting := range all {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "PWD":
		case "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_FALLBACK_FRAMEWORK_PATH":
			folders := strings.FieldsFunc(value, func(r rune) bool { return r == ':' || r == ';' })
			folders = slices.DeleteFunc(folders, func(folder string) bool { return !strings.HasPrefix(folder, "/") })
			if len(folders) > 0 {
				list = append(list, name+"="+strings.Join(folders, ":"))
			}
		default:
			list = append(list, setting)
		}
	}
	return list
}

// compare sends the comparison to the worker. last is its last message, with the latest At; an error says that the worker
// ended.
func (w *worker) compare(c Comparison) (last message, err error) {
	if err := w.send.Encode(message{Comparison: &c, Jitters: c.Jittered != nil}); err != nil {
		return last, err
	}
	for {
		var m message
		if err := w.receive.Decode(&m); err != nil {
			return last, err
		}
		switch {
		case m.Jitter:
			path, err := c.Jittered()
			answer := message{Path: path}
			if err != nil {
				answer.Error = err.Error()
			}
			if err := w.send.Encode(answer); err != nil {
				return last, err
			}
		case m.At != "":
			last = m
		default:
			return m, nil
		}
	}
}

func (w *worker) kill() { _ = w.cmd.Process.Kill() } // it may have ended

// death is the cause of a worker's end.
type death struct {
	why    string
	killed bool // by something else
	memory bool // it reported that memory ran out
}

// end kills the worker if it still runs, and returns the cause of its end.
func (w *worker) end() (d death) {
	_ = w.in.Close()
	gone := time.AfterFunc(time.Second, w.kill)
	err := w.cmd.Wait()
	gone.Stop()
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	d.killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	d.memory = exhausted(string(w.said.text))
	signal := signalName.Find(w.said.text)
	line, _, _ := bytes.Cut(w.said.text, []byte("\n"))
	switch {
	case signal != nil && !d.memory:
		d.why = string(signal)
	case len(line) > 0:
		d.why = string(line)
	case err != nil:
		d.why = err.Error()
	default:
		d.why = "it ended"
	}
	return d
}

// signalName is how Go's runtime reports a signal in foreign code.
var signalName = regexp.MustCompile(`SIG[A-Z]+: [a-z ]*[a-z]`)

// outOfMemory is the note of a comparison for which memory did not suffice.
const outOfMemory = "ONNX Runtime ran out of memory"

// exhausted says whether a text is a message of C++, ONNX Runtime or Go's runtime that memory ran out.
func exhausted(text string) bool { return wantOfMemory.MatchString(text) }

var wantOfMemory = regexp.MustCompile(`\bstd::bad_alloc\b|\bbad allocation\b|Failed to allocate memory for requested buffer|` +
	`runtime: out of memory|fatal error: out of memory|runtime: cannot allocate memory|fatal error: failed to reserve page summary memory|pthread_create failed`)

// head keeps the beginning of what is written.
type head struct{ text []byte }

func (h *head) Write(b []byte) (int, error) {
	const most = 4 << 10
	h.text = append(h.text, b[:min(len(b), most-len(h.text))]...)
	return len(b), nil
}

// Serve is a worker: it loads the library and answers requests. The end of its standard input ends the process at once.
func Serve(library string, in io.Reader, out io.Writer) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)                    // its owner decides: a terminal or service manager signals both
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) // on Linux a worker is killed first when memory runs out
	w := &server{requests: make(chan message), send: gob.NewEncoder(out)}
	go func() {
		receive := gob.NewDecoder(in)
		for {
			var m message
			if receive.Decode(&m) != nil {
				os.Exit(0)
			}
			w.requests <- m
		}
	}()
	e, err := load(library)
	if err != nil {
		w.say(message{Refusal: strings.TrimPrefix(err.Error(), ErrNoLibrary.Error()+": ")})
		return
	}
	w.say(message{Name: e.Name()})
	for m := range w.requests {
		c := *m.Comparison
		c.at = func(where at, check *outcome.Check) { w.say(message{At: where, Check: check}) }
		if m.Jitters {
			c.Jittered = w.jittered
		}
		check := e.Compare(context.Background(), c)
		w.say(message{Check: &check})
	}
}

// server is a worker's own side.
type server struct {
	requests chan message
	send     *gob.Encoder
}

// say sends a message to the owner. The process ends if that fails, since the owner is gone.
func (s *server) say(m message) {
	if s.send.Encode(m) != nil {
		os.Exit(0)
	}
}

// jittered asks the owner for a jittered copy.
func (s *server) jittered() (string, error) {
	s.say(message{Jitter: true})
	answer := <-s.requests
	if answer.Error != "" {
		return "", errors.New(answer.Error)
	}
	return answer.Path, nil
}
