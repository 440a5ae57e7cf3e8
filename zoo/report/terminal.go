package report

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Terminal shows the lines of Lines, and a progress bar below them while the run goes on. The only escape code that it
// needs of a terminal is the one that erases the rest of a line.
type Terminal struct {
	lines   *Lines       // writes into above
	above   bytes.Buffer // lines that go above the bar with the next frame
	screen  *Output
	columns func() int

	lock    sync.Mutex // the run's events and the clock both draw
	state   progress
	bar     string // the bar on the screen; "": none
	running bool   // between Start and Close
	closing sync.Once
	closed  chan struct{}
	clock   sync.WaitGroup
}

// frames is the interval at which the bar is drawn without an event.
const frames = 200 * time.Millisecond

// erase moves to the beginning of the line and erases it.
const erase = "\r\x1b[K"

// NewTerminal draws on a terminal, in a style that has its columns.
func NewTerminal(screen io.Writer, s Style) *Terminal {
	t := &Terminal{screen: NewOutput(screen), columns: s.Columns, closed: make(chan struct{})}
	t.lines = NewLines(&t.above).In(s)
	return t
}

// Start writes what is going to be done, and begins to draw.
func (t *Terminal) Start(s outcome.Start) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.state = progress{begun: time.Now(), models: s.Models, total: s.Bytes, workers: s.Workers}
	t.running = true
	t.lines.Start(s)
	t.draw()
	t.clock.Go(func() {
		ticks := time.NewTicker(frames)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				t.lock.Lock()
				t.draw()
				t.lock.Unlock()
			case <-t.closed:
				return
			}
		}
	})
}

// Begin names the model with the next frame.
func (t *Terminal) Begin(b outcome.Begin) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.state.begin(b, time.Now())
}

// Progress moves the bar with the next frame.
func (t *Terminal) Progress(n int64) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.state.bytes += n
}

// Done writes the model's line above the bar.
func (t *Terminal) Done(m outcome.Model) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.state.end(m)
	t.lines.Done(m)
	if t.above.Len() > 0 {
		t.draw()
	}
}

// Write writes whole lines above the bar. It may be called at any time, by other goroutines too.
func (t *Terminal) Write(lines []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.above.Write(lines)
	t.draw()
	return len(lines), nil
}

// End removes the bar and sums up.
func (t *Terminal) End(e outcome.End) {
	t.Close()
	t.lock.Lock()
	defer t.lock.Unlock()
	t.lines.End(e)
	t.draw()
}

// Close removes the bar, for a run that does not reach its end or is asked to stop. Lines still appear.
func (t *Terminal) Close() {
	t.closing.Do(func() { close(t.closed) })
	t.clock.Wait()
	t.lock.Lock()
	defer t.lock.Unlock()
	t.draw() // the last frame
	t.running = false
	t.draw()
}

// margin is the number of empty columns right of the bar: a terminal echoes ^C there, and must not wrap.
const margin = 3

// draw writes the lines above the bar, and the current bar, in one write.
func (t *Terminal) draw() {
	bar := ""
	if t.running {
		bar = t.state.line(t.columns()-margin, time.Now())
	}
	if t.above.Len() == 0 && bar == t.bar {
		return
	}
	var frame bytes.Buffer
	if t.bar != "" {
		frame.WriteString(erase)
	}
	frame.Write(t.above.Bytes())
	frame.WriteString(bar)
	t.above.Reset()
	t.bar = bar
	_, _ = t.screen.Write(frame.Bytes())
}

// Err is the first error of drawing, or nil. A terminal that is gone ends the program by a signal.
func (t *Terminal) Err() error { return t.screen.Err() }
