package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

var notAsked = outcome.Check{Status: outcome.NotRun, Note: outcome.NotAsked}

// play is a run with one model of every kind, told to a sink.
func play(s outcome.Sink) {
	passed := outcome.Check{Status: outcome.Passed, Compared: 12}
	s.Start(outcome.Start{
		Time: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC), Version: "0.1.0", Manifest: "models.yaml", Backend: "cpu, 2 workers",
		Why: "no CUDA: not in this build", Engine: "ONNX Runtime 1.32.0 (lib)", Workers: 2, Models: 6, Bytes: 7e6,
	})
	for _, m := range []outcome.Model{
		{Path: "ocr/det.onnx", Output: "ocr/det.onnx", Status: outcome.Folded, Bytes: 4.7e6, OutputBytes: 4.7e6, ExportBytes: 9.4e6, Before: 6, After: 2, Seconds: 1.5,
			Parity: passed, Algebra: outcome.Check{Status: outcome.Passed, Compared: 3, Difference: 0.01}, Predictions: outcome.Check{Status: outcome.Passed, Difference: 9e-7, Jitter: 6e-7, Compared: 100, Decisions: 10, Limit: 1e-5,
				Latency: &outcome.Latency{Before: 0.02, After: 0.014, Ratio: 0.7, Low: 0.69, High: 0.72, Pairs: 20, Input: "x[1,3,320,320]"}},
			Maps: []outcome.Map{
				{Node: `Mul "a"`, Verdict: "folded", Into: []string{`Conv "c"`}}, {Node: `Add "<b>"`, Verdict: "left", Code: "border", Reason: `Conv "d" pads its input`},
				{Node: `Mul "e"`, Verdict: "merged", Into: []string{`Mul "g"`}, Code: "nonlinear", Reason: `Tanh "h" does not let a map through`},
				{Node: `Mul "f"`, Verdict: "merged", Into: []string{`Mul "g"`}, Code: "nonlinear", Reason: `Tanh "h" does not let a map through`},
				{Node: `Div "i"`, Verdict: "folded", Into: []string{`Conv "c"`}}, {Node: `Mul "j"`, Verdict: "folded"},
			},
			Folds: []outcome.Fold{
				{Times: 2, Before: []outcome.Step{{Operator: "Conv", Node: "c"}, {Operator: "BatchNormalization", Node: "a <&>", From: []int{0}, Fate: outcome.Gone}, {Operator: "Relu", Node: "r", From: []int{1}}},
					After: []outcome.Step{{Operator: "Conv", Node: "c", Fate: outcome.Took}, {Operator: "Relu", Node: "r", From: []int{0}}}},
				{Graph: `If "i".then`, Times: 1, Before: []outcome.Step{{Operator: "Mul", Node: "j", Fate: outcome.Gone}}, After: []outcome.Step{}},
			},
			Remaining: []outcome.Left{
				{Node: `Add "<b>"`, Code: "border", Reason: `Conv "d" pads its input`}, {Node: `Mul "g"`, Code: "nonlinear", Reason: `Tanh "h" does not let a map through`},
			}},
		{Path: "unproven.onnx", Status: outcome.Folded, Bytes: 1e6, OutputBytes: 1e6, Before: 3, Parity: passed, Algebra: passed, Warnings: []string{`BatchNormalization "c" has a variance that is not finite`}, Predictions: outcome.Check{Status: outcome.NotRun, Note: "the original does not run"}},
		{Path: "plain.onnx", Output: "plain.onnx", Status: outcome.Copied, Bytes: 1000, OutputBytes: 1000, Parity: notAsked, Algebra: notAsked, Predictions: notAsked},
		{Path: "same.onnx", Output: "same.onnx", Status: outcome.Unchanged, Bytes: 999, OutputBytes: 999, Before: 2, After: 1, Parity: passed, Algebra: passed, Predictions: passed},
		{Path: "bad\x1b[31m.onnx", Status: outcome.Failed, Error: "byte 4096: tensor \"w\" claims 18874368 bytes, 12 remain", Bytes: 5000, Parity: notAsked, Algebra: notAsked, Predictions: notAsked},
		{Path: "late.onnx", Status: outcome.Interrupted, Bytes: 1000, Parity: notAsked, Algebra: notAsked, Predictions: notAsked},
	} {
		s.Begin(outcome.Begin{Path: m.Path, Bytes: m.Bytes})
		s.Progress(m.Bytes)
		s.Done(m)
	}
	s.End(outcome.End{
		Seconds: 2.1, Before: 11, After: 3, Bytes: 5.7e6, OutputBytes: 5.7e6, ExportBytes: 9.4e6, Unproven: 1, PeakMemory: 64 << 20, Report: "folded/report.html", Exit: 1, Unmatched: []string{"note.txt"},
		Counts: map[outcome.Status]int{outcome.Folded: 2, outcome.Copied: 1, outcome.Unchanged: 1, outcome.Failed: 1, outcome.Interrupted: 1},
	})
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o777), os.WriteFile(path, got, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\n(go test ./zoo/report -update writes it anew)", path, got)
	}
}

func TestSinks_GoldenOutput(t *testing.T) {
	var lines, quiet, events bytes.Buffer
	doc := report.NewDocument()
	play(outcome.Tee{report.NewLines(&lines), report.NewQuiet(&quiet), report.NewJSON(&events), doc})
	golden(t, "lines.golden", lines.Bytes())
	golden(t, "quiet.golden", quiet.Bytes())
	golden(t, "events.golden", events.Bytes())
	var page, data bytes.Buffer
	if err := errors.Join(doc.WriteHTML(&page), doc.WriteJSON(&data)); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.html.golden", page.Bytes())
	golden(t, "report.json.golden", data.Bytes())
	for line := range strings.Lines(events.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is no JSON", line)
		}
	}
	again, err := report.Load(&data)
	if err != nil || len(again.Models) != 6 {
		t.Errorf("report.json read back: %v", err)
	}
}

func TestPage_LoadsNothingAndEscapesNames(t *testing.T) {
	doc := report.NewDocument()
	play(doc)
	var page bytes.Buffer
	if err := doc.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"http://", "https://", "<link", "src=", "<b>\"", "\x1b"} {
		if strings.Contains(page.String(), no) {
			t.Errorf("the page has %q", no)
		}
	}
}
