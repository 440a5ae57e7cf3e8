package report_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// timeless leaves out what differs from run to run.
var timeless = &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}}

func TestLog_Records(t *testing.T) {
	var text, records bytes.Buffer
	sinks := outcome.Tee{report.NewLog(slog.New(slog.NewTextHandler(&text, timeless))), report.NewLog(slog.New(slog.NewJSONHandler(&records, timeless)))}
	play(sinks)
	sinks = outcome.Tee{report.NewLog(slog.New(slog.NewTextHandler(&text, timeless))), report.NewLog(slog.New(slog.NewJSONHandler(&records, timeless)))}
	sinks.End(outcome.End{Notes: []string{"device 0 was lost"}})
	golden(t, "log.text.golden", text.Bytes())
	golden(t, "log.json.golden", records.Bytes())
	for line := range strings.Lines(records.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is no JSON", line)
		}
	}
	if strings.Contains(text.String(), "\x1b") || strings.Contains(records.String(), "\x1b") {
		t.Error("a control character of a name is in the log")
	}
}

func TestLog_CountsModelsThatWereNotBegun(t *testing.T) {
	var lines, text bytes.Buffer
	sink := outcome.Tee{report.NewLines(&lines), report.NewLog(slog.New(slog.NewTextHandler(&text, timeless)))}
	sink.Start(outcome.Start{Models: 2})
	sink.Done(outcome.Model{Path: "later.onnx", Status: outcome.Interrupted, Error: outcome.NotBegun})
	sink.Done(outcome.Model{Path: "in-hand.onnx", Status: outcome.Interrupted, Error: "interrupted"})
	sink.End(outcome.End{Counts: map[outcome.Status]int{outcome.Interrupted: 2}, Exit: 130})
	for _, got := range []string{lines.String(), text.String()} {
		if strings.Contains(got, "later.onnx") || !strings.Contains(got, "in-hand.onnx") || !strings.Contains(got, "2 interrupted") && !strings.Contains(got, "interrupted=2") {
			t.Errorf("%s", got)
		}
	}
}
