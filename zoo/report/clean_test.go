package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// hostile does things to a terminal: a colour, one by a single C1 character, text that turns round, a broken encoding.
const hostile = "a\x1b[31m\u009b2J\u202etxt\u2066\u061c\U000e0041\xff.onnx"

// still says whether text does nothing to a terminal.
func still(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && (!unicode.IsPrint(r) || r == utf8.RuneError) {
			t.Errorf("%s has %q: %.300q", what, r, text)
			return
		}
	}
}

func TestClean_KeepsDifferentNamesDifferent(t *testing.T) {
	names := []string{"a", "é", `a\b`, `a\\b`, "a\xff", `a\xff`, `a\\xff`, `a\\\xff`, "a\\\xff", "a\\\\\xff", "a\xfe", "a\xff\xff", "a\ufffd", `a\xfg`, `\u001b`}
	seen := map[string]string{}
	for _, name := range names {
		text := report.Name(name)
		if other, taken := seen[text]; taken {
			t.Errorf("%q and %q are both written %s", name, other, text)
		}
		if seen[text] = name; !utf8.ValidString(text) {
			t.Errorf("%q is written %q", name, text)
		}
	}
	for _, name := range []string{"a/b.onnx", "é", `a\b`, `C:\models\a.h5`} {
		if got := report.Name(name); got != name {
			t.Errorf("%q is written %q", name, got)
		}
	}
	if got := report.Name("a\\\xff"); got != `a\\\xff` {
		t.Errorf("%s", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\xff", `a\xff`)
	f.Fuzz(func(t *testing.T, a, b string) {
		if a != b && report.Name(a) == report.Name(b) {
			t.Errorf("%q and %q are both written %q", a, b, report.Name(a))
		}
	})
}

func TestSinks_WriteNoControlCharacters(t *testing.T) {
	var lines, quiet, events, text, records, screen bytes.Buffer
	doc := report.NewDocument()
	terminal := report.NewTerminal(&screen, report.Style{Columns: func() int { return 100 }})
	sinks := outcome.Tee{report.NewLines(&lines), report.NewQuiet(&quiet), report.NewJSON(&events), doc, terminal,
		report.NewLog(slog.New(slog.NewTextHandler(&text, nil))), report.NewLog(slog.New(slog.NewJSONHandler(&records, nil)))}
	list := []string{hostile}
	check := outcome.Check{Status: outcome.NotRun, Note: hostile}
	for _, dry := range []bool{false, true} {
		if dry {
			sinks = append(sinks[:4:4], sinks[5:]...) // a terminal has one run
		}
		sinks.Start(outcome.Start{Version: "1", Manifest: hostile, Backend: hostile, Why: hostile, Engine: hostile, DryRun: dry})
		sinks.Begin(outcome.Begin{Path: hostile})
		for _, s := range []outcome.Status{outcome.Folded, outcome.Copied, outcome.Failed, outcome.Interrupted, outcome.Skipped} {
			sinks.Done(outcome.Model{Path: hostile, Output: hostile, Status: s, Error: hostile, Warnings: list, Before: 1, Parity: check, Algebra: check, Predictions: check,
				Maps:      []outcome.Map{{Graph: hostile, Node: hostile, Verdict: "left", Into: list, Code: "border", Reason: hostile}},
				Remaining: []outcome.Left{{Graph: hostile, Node: hostile, Code: "border", Reason: hostile}}})
		}
		sinks.End(outcome.End{Unmatched: list, Orphans: list, Pruned: list, WouldRemove: list, Report: hostile, Notes: list, Unproven: 1,
			Counts: map[outcome.Status]int{outcome.Folded: 1, outcome.Failed: 1}})
	}
	var data bytes.Buffer
	if err := doc.WriteJSON(&data); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string]string{"lines": lines.String(), "quiet": quiet.String(), "events": events.String(), "the text log": text.String(),
		"the JSON log": records.String(), "report.json": data.String(), "the page": page(t, doc), "the terminal": strings.ReplaceAll(strings.ReplaceAll(screen.String(), "\r", ""), "\x1b[K", "")} {
		still(t, what, b)
		if !strings.Contains(b, `\xff.onnx`) {
			t.Errorf("%s lost a byte of a name", what)
		}
	}
	again, err := report.Load(&data)
	if err != nil || again.Models[0].Path != report.Name(hostile) {
		t.Errorf("%v: report.json has not the name", err)
	}
}

func TestJSON_EscapedIsEquivalent(t *testing.T) {
	want := map[string]string{"a": "\u009b\u202e\U000e0041é\x1b\n"}
	text, err := report.EncodeJSON(want, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	still(t, "JSON", string(text))
	var got map[string]string
	if err := json.Unmarshal(text, &got); err != nil || got["a"] != want["a"] {
		t.Errorf("%v, %q", err, got)
	}
}

// full is a disk with room for so many bytes.
type full struct{ room int }

func (f *full) Write(data []byte) (int, error) {
	if f.room -= len(data); f.room < 0 {
		return 0, &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
	}
	return len(data), nil
}

func TestSinks_RememberFailedWrites(t *testing.T) {
	type sink interface {
		outcome.Sink
		Err() error
	}
	for name, open := range map[string]func(*full) sink{
		"lines":    func(f *full) sink { return report.NewLines(f) },
		"JSON":     func(f *full) sink { return report.NewJSON(f) },
		"terminal": func(f *full) sink { return report.NewTerminal(f, report.Style{Columns: func() int { return 80 }}) },
		"tee":      func(f *full) sink { return outcome.Tee{report.NewDocument(), report.NewLines(f)} },
	} {
		small, large := open(&full{100}), open(&full{1 << 20})
		play(small)
		play(large)
		if err := small.Err(); !errors.Is(err, syscall.ENOSPC) || err.Error() != syscall.ENOSPC.Error() {
			t.Errorf("%s: %v", name, err)
		}
		if err := large.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
