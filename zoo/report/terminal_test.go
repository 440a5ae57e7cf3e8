package report_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivo/uniseg"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/report/reporttest"
)

// names are paths as people have them.
var names = []string{"ddddocr/common.onnx", "speech/silero_vad_half.onnx", "模型/文字识别.onnx", "a/very/deep/folder/of/models/that/nobody/can/see/whole/on/a/screen/det.onnx", "x.onnx"}

// halfway tells a sink the first 19 of 30 models, 141 of 223 MB, in a second and a bit; then that many are in hand.
func halfway(s outcome.Sink, inHand int) {
	s.Start(outcome.Start{Version: "0.1.0", Backend: "cpu, 8 workers", Models: 30, Bytes: 223e6})
	time.Sleep(128 * time.Millisecond) // of synctest's time
	for range 19 {
		s.Begin(outcome.Begin{Path: "done.onnx"})
		s.Progress(141_000_000 / 19)
		s.Done(outcome.Model{Path: "done.onnx", Status: outcome.Folded})
	}
	for k := range inHand {
		s.Begin(outcome.Begin{Path: names[k%len(names)]})
	}
	time.Sleep(time.Second)
}

// bar is the bar that stands on a screen.
func bar(s *reporttest.Screen) string {
	text := s.Text()
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func TestTheBarFitsEveryWidth(t *testing.T) {
	var got bytes.Buffer
	for _, inHand := range []int{0, 1, 2, 5, 64} {
		for _, columns := range []int{0, 1, 5, 10, 12, 16, 20, 24, 30, 40, 60, 80, 100, 132, 200} {
			synctest.Test(t, func(t *testing.T) {
				screen := reporttest.NewScreen(columns)
				terminal := report.NewTerminal(screen, screen.Columns)
				halfway(terminal, inHand)
				line := bar(screen)
				if width := uniseg.StringWidth(line); width > max(0, columns-3) {
					t.Errorf("%q is %d columns wide on a screen of %d", line, width, columns)
				}
				fmt.Fprintf(&got, "%3d columns, %2d in hand: %s\n", columns, inHand, line)
				terminal.End(outcome.End{})
				for _, f := range screen.Faults() {
					t.Error(f)
				}
			})
		}
	}
	golden(t, "bar.golden", got.Bytes())
}

func TestABarLeavesOnlyLinesBehind(t *testing.T) {
	for _, columns := range []int{8, 20, 80} {
		synctest.Test(t, func(t *testing.T) {
			screen := reporttest.NewScreen(columns)
			var lines bytes.Buffer
			play(outcome.Tee{report.NewTerminal(screen, screen.Columns), report.NewLines(&lines)})
			if screen.Text() != lines.String() {
				t.Errorf("on the screen:\n%s\nwithout a terminal:\n%s", screen.Text(), &lines)
			}
			for _, f := range screen.Faults() {
				t.Error(f)
			}
			frames := screen.Erased()
			if len(frames) == 0 || !strings.HasPrefix(frames[len(frames)-1], "100%") {
				t.Errorf("the last frame is not complete: %q", frames)
			}
		})
	}
}

func TestABarMovesWithTheClockAndTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := reporttest.NewScreen(100)
		terminal := report.NewTerminal(screen, screen.Columns)
		halfway(terminal, 1)
		first := bar(screen)
		time.Sleep(10 * time.Second)
		if later := bar(screen); later == first || !strings.Contains(later, "7 s left") {
			t.Errorf("after ten seconds: %q, before: %q", later, first)
		}
		screen.Resize(40)
		time.Sleep(time.Second)
		if narrow := bar(screen); uniseg.StringWidth(narrow) > 40 || !strings.Contains(narrow, "19/30") {
			t.Errorf("on 40 columns: %q", narrow)
		}
		screen.Resize(120)
		time.Sleep(time.Second)
		if wide := bar(screen); !strings.Contains(wide, names[0]) {
			t.Errorf("on 120 columns: %q", wide)
		}
		fmt.Fprintln(terminal, "zoofold: leaving off")
		if text := screen.Text(); !strings.Contains(text, "\nzoofold: leaving off\n 63%") {
			t.Errorf("a line of others is not above the bar: %q", text)
		}
		terminal.End(outcome.End{})
		for _, f := range screen.Faults() {
			t.Error(f)
		}
	})
}

func TestUnchangedModelsSayNothingOfTheSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := reporttest.NewScreen(80)
		terminal := report.NewTerminal(screen, screen.Columns)
		terminal.Start(outcome.Start{Models: 3, Bytes: 100e9})
		terminal.Progress(98e9)
		terminal.Done(outcome.Model{Path: "same.onnx", Status: outcome.Unchanged, Bytes: 98e9})
		terminal.Begin(outcome.Begin{Path: "new.onnx"})
		time.Sleep(10 * time.Second)
		if line := bar(screen); strings.Contains(line, "/s") || strings.Contains(line, "left") {
			t.Errorf("nothing has been folded: %q", line)
		}
		terminal.Progress(1e9)
		terminal.Done(outcome.Model{Path: "new.onnx", Status: outcome.Folded, Bytes: 1e9})
		if line := bar(screen); !strings.Contains(line, "100 MB/s, 10 s left") {
			t.Errorf("1 GB in 10 s, 1 GB to go: %q", line)
		}
		terminal.End(outcome.End{})
	})
}

func TestARunThatDoesNotReachItsEndLeavesNoBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		screen := reporttest.NewScreen(80)
		terminal := report.NewTerminal(screen, screen.Columns)
		terminal.Close()
		terminal = report.NewTerminal(screen, screen.Columns)
		halfway(terminal, 2)
		terminal.Close()
		terminal.Close()
		if line := bar(screen); line != "" || len(screen.Faults()) > 0 {
			t.Errorf("%q, %q", line, screen.Faults())
		}
	})
}

func TestATerminalNeverSeesControlCharactersOfAName(t *testing.T) {
	var screen bytes.Buffer
	terminal := report.NewTerminal(&screen, func() int { return 200 })
	play(terminal)
	if strings.Contains(screen.String(), "\x1b[31m") {
		t.Errorf("%q", screen.String())
	}
}

func TestARunThatDrawsWritesInOnePiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pieces []string
		terminal := report.NewTerminal(writes(func(p []byte) { pieces = append(pieces, string(p)) }), func() int { return 80 })
		play(terminal)
		for _, p := range pieces[1 : len(pieces)-2] { // then the bar is taken away, and the run summed up
			if !strings.HasPrefix(p, "\r\x1b[K") || !strings.Contains(p, "% ") {
				t.Errorf("%q is not a whole frame", p)
			}
		}
	})
}

// writes is a Writer that tells each call.
type writes func([]byte)

func (w writes) Write(p []byte) (int, error) { w(p); return len(p), nil }
