package report_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// nightly is a run on a day of November whose models end as the words say: "a.onnx folded 3".
func nightly(day int, models ...string) *report.Document {
	doc := report.NewDocument()
	doc.Start(outcome.Start{Time: time.Date(2026, 11, day, 3, 0, 0, 0, time.UTC), Version: "0.1.0", Manifest: "models.yaml", Models: len(models)})
	end := outcome.End{Counts: map[outcome.Status]int{}, Seconds: float64(day)}
	for _, text := range models {
		m := outcome.Model{Before: 9, Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
		if _, err := fmt.Sscanf(text, "%s %s %d", &m.Path, &m.Status, &m.After); err != nil {
			panic(err)
		}
		if m.Status == outcome.Failed {
			end.Exit = 1
		}
		end.Counts[m.Status]++
		doc.Done(m)
	}
	doc.End(end)
	return doc
}

// onDays says that pages of runs on those days are kept.
func onDays(days ...int) func(time.Time) string {
	return func(began time.Time) string {
		if slices.Contains(days, began.Day()) {
			return fmt.Sprintf("report-%d.html", began.Day())
		}
		return ""
	}
}

func TestHistory_ShowsTheLastRunsAndWhatChanged(t *testing.T) {
	const keep = 3
	nights := []*report.Document{
		nightly(1, "a.onnx folded 3", "b.onnx failed 9"),
		nightly(2, "a.onnx unchanged 3", "b.onnx folded 2"),
		nightly(3, "a.onnx unchanged 3", "b.onnx unchanged 2"),
		nightly(4, "a.onnx folded 1", "b.onnx failed 9", "c.onnx interrupted 9", "d.onnx failed 9"),
		nightly(5, "a.onnx unchanged 1", "c.onnx folded 0"),
	}
	want := []string{"", "mended [b.onnx]", "", "failing [b.onnx d.onnx], added [c.onnx d.onnx], nodes [{a.onnx 3 1}]", "removed [b.onnx d.onnx]"}
	var last bytes.Buffer
	for k, doc := range nights {
		doc.ReadLast(&last)
		doc.Recall(keep, onDays(2, 4))
		last.Reset()
		if err := doc.WriteJSON(&last); err != nil {
			t.Fatal(err)
		}
		if n := min(k, keep-1); len(doc.History) != n {
			t.Fatalf("night %d has a history of %d runs, want %d", k+1, len(doc.History), n)
		}
		for j, p := range doc.History {
			if want := onDays(2, 4)(p.Time); p.Report != want {
				t.Errorf("night %d: the page of the history's run %d is %q, want %q", k+1, j, p.Report, want)
			}
			if p.Time.Day() != k-j {
				t.Errorf("night %d: the history's run %d is of day %d", k+1, j, p.Time.Day())
			}
		}
		var parts []string
		if c := doc.Changes; c != nil {
			for _, list := range []struct {
				name  string
				paths []string
			}{{"failing", c.Failing}, {"mended", c.Mended}, {"added", c.Added}, {"removed", c.Removed}} {
				if len(list.paths) > 0 {
					parts = append(parts, fmt.Sprint(list.name, " ", list.paths))
				}
			}
			if len(c.Nodes) > 0 {
				parts = append(parts, fmt.Sprint("nodes ", c.Nodes))
			}
		}
		if got := strings.Join(parts, ", "); got != want[k] {
			t.Errorf("night %d: %s, want %s", k+1, got, want[k])
		}
		if err := schema(t).Validate(written(t, doc)); err != nil {
			t.Errorf("night %d: %v", k+1, err)
		}
	}
	if p := nights[4].History[0]; p.Models != 4 || p.Failed != 2 || p.Exit != 1 || p.Seconds != 4 || p.Before != 36 {
		t.Errorf("the last run's figures: %+v", p)
	}
	text := page(t, nights[3])
	for _, part := range []string{"Changed since 3 November 2026, 03:00", "<dt>fail now</dt><dd class=\"bad\">b.onnx, d.onnx</dd>", "a.onnx 3 → 1", "This run and 2 before", `<a href="report-2.html">2 November 2026, 03:00</a>`, "<td>3 November 2026, 03:00</td>"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q", part)
		}
	}
}

func TestHistory_IgnoresFilesThatAreNoReports(t *testing.T) {
	for _, before := range []string{"", "{", "[]", `{"schema":"another/1"}`} {
		doc := nightly(2, "a.onnx folded 3")
		doc.ReadLast(strings.NewReader(before))
		doc.Recall(30, onDays())
		if doc.History != nil || doc.Changes != nil {
			t.Errorf("%q: %v, %v", before, doc.History, doc.Changes)
		}
	}
	var last bytes.Buffer
	if err := nightly(1, "a.onnx failed 9").WriteJSON(&last); err != nil {
		t.Fatal(err)
	}
	doc := nightly(2, "a.onnx folded 3")
	doc.ReadLast(&last)
	doc.Recall(1, onDays())
	if doc.History != nil || doc.Changes != nil {
		t.Errorf("one run is kept, and there is a history: %v, %v", doc.History, doc.Changes)
	}
}

// On a telephone the page is no wider than the screen, and neither are plots, whose text is as large as other small text.
func TestPage_FitsATelephone(t *testing.T) {
	doc := zooOf(60)
	var last bytes.Buffer
	if err := nightly(1, "a.onnx failed 9").WriteJSON(&last); err != nil {
		t.Fatal(err)
	}
	doc.ReadLast(&last)
	doc.Recall(30, onDays(1))
	for k, said := range act(t, `<!doctype html><iframe id="phone" style="border:0;width:390px;height:844px"></iframe>
<table id="models"><thead><tr></tr></thead></table><input id="filter"><output id="shown"></output><p id="nothing"></p></html>`, []string{
		phone(page(t, doc), `const w = frame.contentDocument.documentElement.scrollWidth; return w <= 390 ? "fits" : "is " + w + " wide"`),
		phone(page(t, doc), `const wrong = [], plots = frame.contentDocument.querySelectorAll(".figures table, .figures .scatter");
			for (const plot of plots) for (const t of plot.querySelectorAll("th, td, text")) {
				const box = t.getBoundingClientRect(), drawn = t.ownerSVGElement, scale = drawn ? drawn.getBoundingClientRect().width / drawn.viewBox.baseVal.width : 1;
				if (box.left < 0 || box.right > 390 || parseFloat(getComputedStyle(t).fontSize) * scale < 9 || t.tagName === "TD" && t.querySelector("svg")?.getBoundingClientRect().width < 60) wrong.push(t.outerHTML);
			}
			return plots.length === 6 ? wrong[0] ?? "legible" : plots.length`),
		phone(page(t, doc), `frame.contentDocument.querySelector(".history summary").click(); return frame.contentDocument.documentElement.scrollWidth <= 390`),
	}) {
		if want := []string{"fits", "legible", "true"}[k]; said != want {
			t.Errorf("%q, want %q", said, want)
		}
	}
}

// phone is a function that shows a page in a frame 390 pixels wide and then says something of it.
func phone(text, function string) string {
	text = regexp.MustCompile(`(?s)<meta http-equiv[^>]*>|<script>.*</script>`).ReplaceAllString(text, "") // it is laid out, and does nothing
	return `const frame = document.querySelector("#phone"); frame.contentDocument.open(); frame.contentDocument.write(` + strconv.Quote(text) + `); frame.contentDocument.close(); ` + function
}
