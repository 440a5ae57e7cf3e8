// Package reporttest has a terminal for tests: what a person sees of a progress bar.
package reporttest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/rivo/uniseg"
)

// Screen is a terminal that never scrolls. It knows text, carriage return, line feed, colours, which it does not show, and the
// escape code that erases the rest of a line; anything else is a fault. It may be used by several goroutines.
type Screen struct {
	lock    sync.Mutex
	columns int
	above   []string // finished lines
	line    string   // the cursor's, the cursor at its end
	start   bool     // the cursor is at the line's beginning instead
	escape  string   // what has come of an escape code
	erased  []string
	faults  []string
}

// NewScreen is an empty screen.
func NewScreen(columns int) *Screen { return &Screen{columns: columns} }

// Columns is the width.
func (s *Screen) Columns() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.columns
}

// Resize makes the screen wider or narrower. As in xterm, what does not fit any more is gone.
func (s *Screen) Resize(columns int) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.columns = columns
	for uniseg.StringWidth(s.line) > columns {
		s.line = s.line[:len(s.line)-len(lastRune(s.line))]
	}
}

func lastRune(text string) string {
	runes := []rune(text)
	return string(runes[len(runes)-1:])
}

// Write is what a program sends. It ends in a whole character or in an escape code.
func (s *Screen) Write(data []byte) (int, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, r := range string(data) {
		s.take(r)
	}
	return len(data), nil
}

func (s *Screen) take(r rune) {
	switch {
	case s.escape != "":
		if s.escape += string(r); r < '@' || r == '[' {
			return
		}
		switch {
		case s.escape == "\x1b[K":
			s.erase()
		case r != 'm': // colours change no text
			s.fault("the escape code %q", s.escape)
		}
		s.escape = ""
	case r == '\x1b':
		s.escape = "\x1b"
	case r == '\r':
		s.start = true
	case r == '\n':
		s.above = append(s.above, s.line)
		s.line, s.start = "", false
	case r < ' ':
		s.fault("the control character %q", r)
	default:
		if s.start && s.line != "" {
			s.fault("%q is written over %q", r, s.line)
			s.line = ""
		}
		s.line, s.start = s.line+string(r), false
	}
}

// erase clears the line. Of one that has wrapped only the last row would go.
func (s *Screen) erase() {
	switch width := uniseg.StringWidth(s.line); {
	case !s.start:
		return // behind the last character there is nothing
	case width > s.columns:
		s.fault("%q, %d columns wide, is erased on a screen of %d", s.line, width, s.columns)
	}
	if s.line != "" {
		s.erased = append(s.erased, s.line)
	}
	s.line = ""
}

func (s *Screen) fault(text string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(text, args...))
}

// Text is what stands on the screen, lines longer than it whole.
func (s *Screen) Text() string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return strings.Join(append(slices.Clone(s.above), s.line), "\n")
}

// Erased are the lines that stood on the screen for a time, in order: the frames of a bar.
func (s *Screen) Erased() []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return slices.Clone(s.erased)
}

// Faults are what no program should have sent.
func (s *Screen) Faults() []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return slices.Clone(s.faults)
}
