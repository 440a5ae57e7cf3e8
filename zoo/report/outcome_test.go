package report_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// told is what lines say of a run of these models.
func told(s outcome.Start, e outcome.End, quiet bool, models ...outcome.Model) string {
	var b bytes.Buffer
	l := report.NewLines(&b)
	if quiet {
		l = report.NewQuiet(&b)
	}
	s.Models, e.Counts = len(models), map[outcome.Status]int{}
	l.Start(s)
	for _, m := range models {
		e.Counts[m.Status]++
		l.Done(m)
	}
	l.End(e)
	return b.String()
}

func documentOf(s outcome.Start, e outcome.End, models ...outcome.Model) *report.Document {
	doc := report.NewDocument()
	s.Models, e.Counts = len(models), map[outcome.Status]int{}
	doc.Start(s)
	for _, m := range models {
		e.Counts[m.Status]++
		doc.Done(m)
	}
	doc.End(e)
	return doc
}

func TestLines_CountWhatCannotBeFoldedInNodes(t *testing.T) {
	for want, m := range map[string]outcome.Model{
		"copied: no per-channel nodes":                        {Status: outcome.Copied},
		"copied: its only per-channel node cannot be folded":  {Status: outcome.Copied, Before: 1, After: 1},
		"copied: none of 4 per-channel nodes can be folded":   {Status: outcome.Copied, Before: 4, After: 4},
		"left out: none of 4 per-channel nodes can be folded": {Status: outcome.Skipped, Before: 4, After: 4},
		"  4 -> 0      1.0 MB":                                {Status: outcome.Folded, Before: 4, Bytes: 1e6, OutputBytes: 2e6, ExportBytes: 3e6},
	} {
		m.Path = "a.onnx"
		if text := told(outcome.Start{}, outcome.End{}, false, m); !strings.Contains(text, want+"\n") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestTotals_FailedModelIsNotImproved(t *testing.T) {
	good := outcome.Model{Path: "good.onnx", Status: outcome.Folded, Before: 5, After: 1, Bytes: 1000, OutputBytes: 1000}
	bad := []outcome.Model{
		{Path: "bad.onnx", Status: outcome.Failed, Error: "the folded model failed a check and was not kept", Before: 7, Bytes: 5e6, OutputBytes: 4e6, ExportBytes: 77,
			Maps: []outcome.Map{{Node: "Mul", Verdict: "folded"}}, Remaining: []outcome.Left{{Node: "Add", Code: "border", Reason: "padding"}}},
		{Path: "late.onnx", Status: outcome.Interrupted, Before: 2, Bytes: 5e6, OutputBytes: 4e6},
	}
	models := append(bad, good)
	if text := told(outcome.Start{}, outcome.End{Before: 14, After: 1}, false, models...); !strings.Contains(text, "14 -> 10 per-channel nodes") {
		t.Error(text)
	}
	doc := documentOf(outcome.Start{}, outcome.End{Before: 14, After: 1}, models...)
	text := page(t, doc)
	for _, want := range []string{"14 → 10", `<td class="n" data-n="0">7<`, `<td class="n" data-n="0">2<`, "1.0 kB before, the same"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, no := range []string{"7 → 0", "2 → 0", "border 1", "77 B"} {
		if strings.Contains(text, no) {
			t.Errorf("the page has %q", no)
		}
	}
	if text := metrics(t, doc, ""); !strings.Contains(text, `zoofold_per_channel_nodes{zoo="folded"} 10`) {
		t.Error(text)
	}
}

func TestLines_ModelsKeptWithLessProofAreOne(t *testing.T) {
	var models []outcome.Model
	for k, s := range []outcome.Status{outcome.Folded, outcome.Unchanged, outcome.Folded, outcome.Copied, outcome.Failed} {
		m := outcome.Model{Path: fmt.Sprint(k, ".onnx"), Status: s, Parity: notAsked, Algebra: notAsked, Predictions: outcome.Check{Status: outcome.NotRun, Note: "no ONNX Runtime: libonnxruntime.so not found"}}
		models = append(models, m)
	}
	const want = "3 models were kept with less proof than asked: predictions not run for 3 models: no ONNX Runtime: libonnxruntime.so not found"
	e := outcome.End{Unproven: 3, Exit: 4}
	if text := told(outcome.Start{}, e, false, models...); strings.Count(text, want+"\n") != 1 || strings.Count(text, "not run for") != 1 {
		t.Error(text)
	}
	if text := told(outcome.Start{}, e, true, models[:4]...); text != want+"\n" {
		t.Errorf("quiet: %s", text)
	}
	if text := told(outcome.Start{}, outcome.End{}, true, models[:4]...); text != "" {
		t.Errorf("quiet, and nothing is missing: %s", text)
	}
	doc := documentOf(outcome.Start{}, e, models...)
	if text := page(t, doc); !strings.Contains(text, "Look at these") || !strings.Contains(text, want) {
		t.Error("the page does not tell")
	}
	if text := metrics(t, doc, ""); !strings.Contains(text, "\nzoofold_unproven_models 3\n") {
		t.Error(text)
	}
}

func TestLines_DryRunIsAPlan(t *testing.T) {
	models := []outcome.Model{
		{Path: "a.onnx", Status: outcome.Folded, Before: 157, After: 14}, {Path: "b.onnx", Status: outcome.Folded, Before: 3},
		{Path: "c.onnx", Status: outcome.Copied, Before: 4, After: 4}, {Path: "d.onnx", Status: outcome.Unchanged, Before: 2, After: 1},
		{Path: "e.onnx", Status: outcome.Failed, Error: "no format is known"}, {Path: "f.onnx", Status: outcome.Skipped},
	}
	e := outcome.End{Seconds: 1.5, Exit: 1, WouldRemove: []string{"gone.onnx", "gone.cfg"}}
	got := told(outcome.Start{DryRun: true, Version: "1", Backend: "cpu"}, e, false, models...)
	line := func(path, text string) string { return fmt.Sprintf("%-58s %s\n", path, text) }
	want := "zoofold 1: 6 models, 0 B; cpu\n" + line("a.onnx", "would fold 157 -> 14") + line("b.onnx", "would fold 3 -> 0") +
		line("c.onnx", "would copy: none of 4 per-channel nodes can be folded") + line("e.onnx", "would fail: no format is known") +
		line("f.onnx", "would leave out: no per-channel nodes") + line("gone.onnx", "would remove") + line("gone.cfg", "would remove") +
		"6 models planned in 1.5 s: 166 -> 19 per-channel nodes\n" +
		"plan: 2 to fold, 1 to copy, 1 to leave out, 1 unchanged, 1 would fail, 2 to remove\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if text := page(t, documentOf(outcome.Start{DryRun: true}, e, models...)); !strings.Contains(text, "2 to fold, 1 to copy, ") || !strings.Contains(text, "<td>to fold<") || !strings.Contains(text, "gone.onnx, gone.cfg") {
		t.Error("the page does not tell")
	}
	if text := told(outcome.Start{DryRun: true}, outcome.End{Orphans: []string{"gone.onnx"}}, false); !strings.Contains(text, "-prune removes them") || !strings.HasSuffix(text, "plan: nothing to do\n") {
		t.Error(text)
	}
}

func TestPage_ReasonsOfARowAddUpToItsNodes(t *testing.T) {
	m := outcome.Model{Path: "a.onnx", Status: outcome.Folded, Before: 4, After: 3, Seconds: 1, Maps: []outcome.Map{
		{Node: `Mul "a"`, Verdict: "merged", Into: []string{`Mul "c"`}, Code: "border", Reason: "padding"}, {Node: `Mul "b"`, Verdict: "merged", Into: []string{`Mul "c"`}, Code: "border", Reason: "padding"},
		{Node: `Add "d"`, Verdict: "left", Code: "nonlinear", Reason: "Tanh"}, {Node: `Add "e"`, Verdict: "left", Code: "border", Reason: "padding"},
	}, Remaining: []outcome.Left{{Node: `Mul "c"`, Code: "border", Reason: "padding"}, {Node: `Add "d"`, Code: "nonlinear", Reason: "Tanh"}, {Node: `Add "e"`, Code: "border", Reason: "padding"}}}
	const account = "4 per-channel nodes: 0 folded, 2 merged into 1, 2 left; 3 remain (border 2, nonlinear 1)"
	if got := report.Account(m); got != account {
		t.Errorf("%s, want %s", got, account)
	}
	text := page(t, documentOf(outcome.Start{}, outcome.End{}, m))
	for _, want := range []string{`<td class="why">border 2, nonlinear 1<`, "0 folded, 2 merged into 1, 2 left; 3 remain", `<th scope="row">border<td>`, "<td>2 in 1 model\n", `<th scope="row">nonlinear<td>`, "<td>1 in 1 model\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for model, want := range map[*outcome.Model]string{
		{}: "no per-channel nodes",
		{Maps: []outcome.Map{{Verdict: "folded"}}}:                                          "1 per-channel node: 1 folded, 0 merged, 0 left; none remain",
		{Maps: []outcome.Map{{Verdict: "left"}}, Remaining: []outcome.Left{{Code: "sign"}}}: "1 per-channel node: 0 folded, 0 merged, 1 left; 1 remains (sign 1)",
	} {
		if got := report.Account(*model); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestTotals_UnreadableFolderIsAFailedModel(t *testing.T) {
	m := outcome.Model{Path: "private/", Status: outcome.Failed, Error: "open private: permission denied", Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
	if text := told(outcome.Start{}, outcome.End{Exit: 1}, false, m); !strings.Contains(text, "private/ ") || !strings.Contains(text, "FAILED: open private: permission denied") {
		t.Error(text)
	}
	if text := page(t, documentOf(outcome.Start{}, outcome.End{Exit: 1}, m)); strings.Count(text, "private/") < 2 || !strings.Contains(text, "permission denied") {
		t.Error("the page does not tell")
	}
}

func TestTotals_SizesExcludeExports(t *testing.T) {
	m := outcome.Model{Path: "a.cfg", Output: "a.cfg", Status: outcome.Folded, Before: 1, Bytes: 1e6, OutputBytes: 1e6, ExportBytes: 17.4e6}
	text := page(t, documentOf(outcome.Start{}, outcome.End{ExportBytes: 17.4e6}, m))
	for _, want := range []string{"1.0 MB <small>1.0 MB before, the same", "<dt>exports</dt><dd>17.4 MB</dd>", "<dt>exports</dt><dd>17.4 MB <small>"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}
