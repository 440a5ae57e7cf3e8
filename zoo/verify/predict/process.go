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
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zoofold/zoofold/zoo/report"
)

// Processes are ONNX Runtime in processes of its own: a model that crashes it, on which it never ends, or for which it takes
// more memory than there is, takes no other model with it. They may be used by several goroutines at once.
type Processes struct {
	program, library, name string

	mu   sync.Mutex
	idle []*worker
}

// ServeArgument is the first argument of a program that is started as a worker; the library's path is the second.
const ServeArgument = "serve-predictions"

// startLimit is for a worker's start, in which it loads the library.
const startLimit = time.Minute

// Start starts the first worker, which loads the library. The program is what to run: one that calls Serve where its first
// argument is ServeArgument.
func Start(program, library string) (*Processes, error) {
	p := &Processes{program: program, library: library}
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

// Close ends the workers. None may be at work.
func (p *Processes) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.idle {
		_ = w.in.Close()
		_ = w.cmd.Wait() // it has nothing more to say
	}
	p.idle = nil
}

// Compare is Engine.Compare in a worker. Where the original crashes ONNX Runtime the check is not run; where only the folded
// model does, it has failed.
func (p *Processes) Compare(ctx context.Context, c Comparison) report.Check {
	w, err := p.worker()
	if err != nil {
		return report.Check{Status: report.NotRun, Note: err.Error()}
	}
	stop := context.AfterFunc(ctx, w.kill)
	last, err := w.compare(c)
	if stop() && err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.idle = append(p.idle, w)
		return *last.Check
	}
	why, killed := w.end()
	return verdict(ctx, last, why, killed)
}

// verdict is the result of a comparison whose worker has died of something.
func verdict(ctx context.Context, last message, why string, killed bool) report.Check {
	switch {
	case ctx.Err() != nil:
		return report.Check{Status: report.NotRun, Note: "interrupted"}
	case killed && last.Check == nil: // no model does that
		return report.Check{Status: report.NotRun, Note: "ONNX Runtime was killed, as it is where memory runs out"}
	case last.At == atFolded:
		return failed("the folded model crashes ONNX Runtime where the original does not: %s", why)
	case last.At == atLatency:
		last.Check.Latency = &report.Latency{Note: "ONNX Runtime crashed: " + why}
		return *last.Check
	}
	return report.Check{Status: report.NotRun, Note: "the original crashes ONNX Runtime: " + why}
}

// worker is one that has nothing to do.
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

// message is what workers and their owner tell each other. Both are one program: gob's format is theirs alone.
type message struct {
	Name, Refusal string // worker, first: the engine's name, or why there is none

	Comparison *Comparison // owner: what to compare
	Jitters    bool        // owner: it has a Jittered

	At    at            // worker: what it turns to
	Check *report.Check // worker: the result; with atLatency what it is so far

	Jitter      bool   // worker: it wants a jittered copy
	Path, Error string // owner: where the copy is, or why there is none
}

// at is what a worker is doing. What crashes then is to blame.
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
	w := &worker{cmd: exec.Command(p.program, ServeArgument, p.library), said: &head{}}
	w.cmd.Stderr = w.said
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
	defer slow.Stop()
	var m message
	switch err := w.receive.Decode(&m); {
	case err != nil:
		why, _ := w.end()
		return nil, fmt.Errorf("%w: %s crashes the process that loads it: %s", ErrNoLibrary, p.library, why)
	case m.Refusal != "":
		w.end()
		return nil, fmt.Errorf("%w: %s", ErrNoLibrary, m.Refusal)
	}
	w.name = m.Name
	return w, nil
}

// compare has the worker compare. last is what it said last, its At the latest; an error says that it is gone.
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

// end ends the worker. It says of what it had died, and whether something had killed it.
func (w *worker) end() (why string, killed bool) {
	_ = w.in.Close()
	gone := time.AfterFunc(time.Second, w.kill)
	err := w.cmd.Wait()
	gone.Stop()
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	if signal := signalName.Find(w.said.text); signal != nil {
		return string(signal), killed
	}
	if line, _, _ := bytes.Cut(w.said.text, []byte("\n")); len(line) > 0 {
		return string(line), killed
	}
	if err != nil {
		return err.Error(), killed
	}
	return "it ended", killed
}

// signalName is how Go's runtime reports a signal in foreign code.
var signalName = regexp.MustCompile(`SIG[A-Z]+: [a-z ]*[a-z]`)

// head keeps the beginning of what is written.
type head struct{ text []byte }

func (h *head) Write(b []byte) (int, error) {
	const most = 4 << 10
	h.text = append(h.text, b[:min(len(b), most-len(h.text))]...)
	return len(b), nil
}

// Serve is a worker: it loads the library and compares what it is asked to until its standard input ends, which ends the
// process, whatever it is doing.
func Serve(library string, in io.Reader, out io.Writer) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)                    // its owner decides; both get what a terminal or a service manager sends
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) // where memory runs out on Linux, a worker goes first
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
	e, err := Open(library)
	if err != nil {
		w.say(message{Refusal: strings.TrimPrefix(err.Error(), ErrNoLibrary.Error()+": ")})
		return
	}
	w.say(message{Name: e.Name()})
	for m := range w.requests {
		c := *m.Comparison
		c.at = func(where at, check *report.Check) { w.say(message{At: where, Check: check}) }
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

// say tells the owner. Without an owner the process has no purpose.
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
