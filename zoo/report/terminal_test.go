package report_test

import (
	"bytes"
	"fmt"
	"regexp"
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
	s.Start(outcome.Start{Version: "0.1.0", Backend: "cpu, 8 workers", Models: 30, Bytes: 223e6, Workers: 8})
	time.Sleep(128 * time.Millisecond) // of synctest's time
	const bytes = 141_000_000 / 19
	for range 19 {
		s.Begin(outcome.Begin{Path: "done.onnx", Bytes: bytes})
		s.Progress(bytes)
		s.Done(outcome.Model{Path: "done.onnx", Status: outcome.Folded, Bytes: bytes, Seconds: 2})
	}
	for k := range min(inHand, 11) {
		s.Begin(outcome.Begin{Path: names[k%len(names)], Bytes: bytes})
	}
	time.Sleep(time.Second)
}

// bar is the bar that stands on a screen.
func bar(s *reporttest.Screen) string {
	text := s.Text()
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func TestTerminal_BarFitsEveryWidth(t *testing.T) {
	var got bytes.Buffer
	for _, inHand := range []int{0, 1, 2, 5, 64} {
		for _, columns := range []int{0, 1, 5, 10, 12, 16, 20, 24, 30, 40, 60, 80, 100, 132, 200} {
			synctest.Test(t, func(t *testing.T) {
				screen := reporttest.NewScreen(columns)
				terminal := report.NewTerminal(screen, report.Style{Columns: screen.Columns})
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

func TestTerminal_BarLeavesOnlyLines(t *testing.T) {
	for _, columns := range []int{8, 20, 80, 200} {
		synctest.Test(t, func(t *testing.T) {
			screen := reporttest.NewScreen(columns)
			var lines bytes.Buffer
			play(outcome.Tee{report.NewTerminal(screen, report.Style{Columns: screen.Columns}), report.NewLines(&lines)})
			if columns == 200 && screen.Text() != lines.String() {
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

// long is a path that fits no usual window.
const long = "some/folder/of/a/zoo/with/a/long/name/and/more/folders/below/it/模型/detector_of_everything_infer.onnx"

func TestWindow_LinesFitAndKeepEveryVerdict(t *testing.T) {
	tell := func(s outcome.Sink) {
		play(s)
		latency := &outcome.Latency{Ratio: 0.75, Pairs: 20}
		s.Done(outcome.Model{Path: long, Status: outcome.Folded, Before: 157, After: 14, Bytes: 4.7e6, Predictions: outcome.Check{Status: outcome.Passed, Difference: 8e-7, Limit: 1e-5, Latency: latency}})
		s.Done(outcome.Model{Path: long, Status: outcome.Failed, Error: "byte 4096: tensor " + strings.Repeat("x", 150) + " claims too much"})
	}
	verdicts := []string{
		"6 -> 2 4.7 MB max difference 9e-7 (limit 1e-5), latency x 0.70", "copied: no per-channel nodes",
		`FAILED: byte 4096: tensor "w" claims 18874368 bytes, 12 remain`, "157 -> 14 4.7 MB max difference 8e-7 (limit 1e-5), latency x 0.75",
		"6 models: 2 folded, 1 had nothing to fold, 1 unchanged, 1 failed, 1 interrupted; 11 -> 3 per-channel nodes; 2.1 s",
	}
	for _, columns := range []int{40, 60, 80, 120} {
		for _, color := range []bool{false, true} {
			var out bytes.Buffer
			tell(report.NewLines(&out).In(report.Style{Columns: func() int { return columns }, Color: color}))
			text := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(out.String(), "")
			for line := range strings.Lines(text) {
				if width := uniseg.StringWidth(strings.TrimSuffix(line, "\n")); width > columns {
					t.Errorf("%d columns: %q has %d", columns, line, width)
				}
			}
			words := strings.Join(strings.Fields(text), " ")
			for _, v := range verdicts {
				if !strings.Contains(words, v) {
					t.Errorf("%d columns: %q is not in\n%s", columns, v, text)
				}
			}
			if !strings.Contains(words, "infer.onnx") || columns < 100 && strings.Contains(words, long) {
				t.Errorf("%d columns: the path is not cut in its middle:\n%s", columns, text)
			}
			if strings.ReplaceAll(words, " ", "") == "" || strings.Count(strings.ReplaceAll(text, "\n    ", ""), strings.Repeat("x", 150)) != 1 {
				t.Errorf("%d columns: a word of 150 letters has lost some:\n%s", columns, text)
			}
			if got := strings.Count(out.String(), "\x1b[31mFAILED\x1b[0m"); color != (got == 2) || !color && got > 0 {
				t.Errorf("%d columns, colour %v: %d failures are red:\n%q", columns, color, got, out.String())
			}
		}
	}
}

func TestWindow_BarMovesWithClockAndWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := reporttest.NewScreen(100)
		terminal := report.NewTerminal(screen, report.Style{Columns: screen.Columns})
		halfway(terminal, 1)
		first := bar(screen)
		time.Sleep(10 * time.Second)
		if later := bar(screen); later == first || !strings.Contains(later, " 70% ") || !strings.Contains(later, "3 s left") {
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
		if text := screen.Text(); !strings.Contains(text, "\nzoofold: leaving off\n 71%") {
			t.Errorf("a line of others is not above the bar: %q", text)
		}
		terminal.End(outcome.End{})
		for _, f := range screen.Faults() {
			t.Error(f)
		}
	})
}

func TestTerminal_UnchangedModelsDoNotCountAsSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := reporttest.NewScreen(80)
		terminal := report.NewTerminal(screen, report.Style{Columns: screen.Columns})
		terminal.Start(outcome.Start{Models: 3, Bytes: 100e9})
		terminal.Progress(98e9)
		terminal.Done(outcome.Model{Path: "same.onnx", Status: outcome.Unchanged, Bytes: 98e9})
		terminal.Begin(outcome.Begin{Path: "new.onnx", Bytes: 1e9})
		time.Sleep(10 * time.Second)
		if line := bar(screen); strings.Contains(line, "/s") || strings.Contains(line, "left") {
			t.Errorf("nothing has been folded: %q", line)
		}
		terminal.Progress(1e9)
		terminal.Done(outcome.Model{Path: "new.onnx", Status: outcome.Folded, Bytes: 1e9, Seconds: 10})
		if line := bar(screen); !strings.Contains(line, "100 MB/s, 5 s left") {
			t.Errorf("1 GB in 10 s, 1 GB to go of which half is unchanged, as it was so far: %q", line)
		}
		terminal.End(outcome.End{})
	})
}

// Checks take most of the time, and writing is over soon: the bar counts time, not bytes.
func TestTerminal_BarCountsChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := reporttest.NewScreen(80)
		terminal := report.NewTerminal(screen, report.Style{Columns: screen.Columns})
		terminal.Start(outcome.Start{Models: 4, Bytes: 4e9, Workers: 1})
		shown := func(want int, left string) {
			t.Helper()
			got := 0
			if _, err := fmt.Sscanf(strings.TrimSpace(bar(screen)), "%d%%", &got); err != nil || got < want-1 || got > want+1 || !strings.Contains(bar(screen), left) {
				t.Errorf("%q, want %d%% and %q", bar(screen), want, left)
			}
		}
		for k := range 4 {
			path := fmt.Sprint(k)
			terminal.Begin(outcome.Begin{Path: path, Bytes: 1e9})
			terminal.Progress(1e9) // written at once
			time.Sleep(49900 * time.Millisecond)
			switch k {
			case 0:
				shown(0, "")
			case 3:
				shown(87, "51 s left")
			}
			time.Sleep(50100 * time.Millisecond)
			terminal.Done(outcome.Model{Path: path, Status: outcome.Folded, Bytes: 1e9, Seconds: 100})
			if k < 3 {
				shown(25*(k+1), fmt.Sprintf("%s left", []string{"5 min", "4 min", "2 min"}[k]))
			}
		}
		terminal.End(outcome.End{})
	})
}

func TestTerminal_InterruptedRunLeavesNoBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		screen := reporttest.NewScreen(80)
		terminal := report.NewTerminal(screen, report.Style{Columns: screen.Columns})
		terminal.Close()
		terminal = report.NewTerminal(screen, report.Style{Columns: screen.Columns})
		halfway(terminal, 2)
		terminal.Close()
		terminal.Close()
		if line := bar(screen); line != "" || len(screen.Faults()) > 0 {
			t.Errorf("%q, %q", line, screen.Faults())
		}
	})
}

func TestTerminal_NeverSeesControlCharactersOfNames(t *testing.T) {
	var screen bytes.Buffer
	terminal := report.NewTerminal(&screen, report.Style{Columns: func() int { return 200 }})
	play(terminal)
	if strings.Contains(screen.String(), "\x1b[31m") {
		t.Errorf("%q", screen.String())
	}
}

func TestTerminal_DrawsInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pieces []string
		terminal := report.NewTerminal(writes(func(p []byte) { pieces = append(pieces, string(p)) }), report.Style{Columns: func() int { return 80 }})
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
