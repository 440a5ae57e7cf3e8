package report_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// zooOf is a run of so many models with all that a model can have, some of which failed.
func zooOf(n int) *report.Document {
	doc := report.NewDocument()
	doc.Start(outcome.Start{Version: "0.1.0", Manifest: "models.yaml", Backend: "cpu, 8 workers", Engine: "ONNX Runtime 1.32.0", Workers: 8, Models: n})
	end := outcome.End{Counts: map[outcome.Status]int{}, Seconds: float64(n)}
	for k := range n {
		x := float64(k*7919%10007) / 10007 // spread over 0 to 1
		m := outcome.Model{
			Path: fmt.Sprintf("family-%02d/version-%d/model_%05d.onnx", k%97, k%7, k), Status: outcome.Folded, Seconds: 0.1 + 10*x*x,
			Bytes: int64(1e5 + 1e9*x*x*x), Before: 100, After: int(40 * x), Parity: outcome.Check{Status: outcome.Passed, Compared: 1e6},
			Algebra: outcome.Check{Status: outcome.Passed, Compared: 60, Difference: 0.02},
			Predictions: outcome.Check{Status: outcome.Passed, Compared: 2000, Decisions: 2, Limit: 1e-5,
				Difference: math.Pow(10, -8+2.5*x), Jitter: math.Pow(10, -8+2.5*float64(k%101)/101),
				Latency: &outcome.Latency{Before: 0.01 + x, After: 0.009 + x, Ratio: 0.6 + 0.5*x, Low: 0.55 + 0.5*x, High: 0.65 + 0.5*x, Pairs: 20, Input: "x[1,3,320,320]"}},
		}
		m.Output, m.OutputBytes = m.Path, m.Bytes-1000
		for j := range m.Before {
			line := outcome.Map{Node: fmt.Sprintf("Mul \"block.%d.Mul\"", j), Verdict: "folded", Into: []string{fmt.Sprintf("Conv \"block.%d.Conv\"", j)}}
			if j < m.After {
				m.Remaining = append(m.Remaining, outcome.Left{Node: line.Node, Code: []string{"border", "nonlinear", "shared-output"}[j%3], Reason: "before it: the input of the model; after it: Conv \"c\" pads its input with zeros"})
				line = outcome.Map{Node: line.Node, Verdict: "left", Code: []string{"border", "nonlinear", "shared-output"}[j%3], Reason: "before it: the input of the model; after it: Conv \"c\" pads its input with zeros"}
			}
			m.Maps = append(m.Maps, line)
		}
		m.Folds = foldsOf(k)
		if k%331 == 5 {
			m = outcome.Model{Path: m.Path, Status: outcome.Failed, Seconds: 0.2, Bytes: m.Bytes, Error: "byte 4096: tensor \"w\" claims 18874368 bytes, 12 remain",
				Parity: notAsked, Algebra: notAsked, Predictions: notAsked}
		}
		end.Counts[m.Status]++
		end.Before, end.After, end.Bytes, end.OutputBytes = end.Before+m.Before, end.After+m.After, end.Bytes+m.Bytes, end.OutputBytes+m.OutputBytes
		doc.Done(m)
	}
	doc.End(end)
	return doc
}

// foldsOf are four kinds of change, as large as they may be.
func foldsOf(k int) (list []outcome.Fold) {
	for times := range 4 {
		f := outcome.Fold{Times: 40 - 9*times}
		for j := range 8 {
			s := outcome.Step{Operator: []string{"Conv", "BatchNormalization", "Relu", "LayerNormalization"}[j%4], Node: fmt.Sprintf("model_%05d/features/block.%d/layer.%d", k, times, j)}
			if j > 2 {
				s.From = []int{j - 3, j - 1}[:1+j%2]
			}
			f.Before, f.After = append(f.Before, s), append(f.After, s)
			f.Before[j].Fate, f.After[j].Fate = []outcome.Fate{"", outcome.Gone}[j%2], []outcome.Fate{outcome.Took, "", outcome.New}[j%3]
		}
		list = append(list, f)
	}
	return list
}

func page(t testing.TB, doc *report.Document) string {
	var b bytes.Buffer
	if err := doc.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPage_IsBoundedForAnyZoo(t *testing.T) {
	small, large := page(t, zooOf(1)), page(t, zooOf(10000))
	if len(small) > 64<<10 || len(large) > 12<<20 {
		t.Errorf("%d bytes for one model, %d for ten thousand", len(small), len(large))
	}
	if n := strings.Count(large, "<tbody "); n != 10000 {
		t.Errorf("%d rows for 10000 models", n)
	}
	t.Logf("%d bytes for one model, %d for ten thousand", len(small), len(large))
}

func BenchmarkPage(b *testing.B) {
	doc := zooOf(10000)
	for b.Loop() {
		page(b, doc)
	}
}

func TestPlots_LeaveColoursAndFontsToTheStyleSheet(t *testing.T) {
	_, text, _ := strings.Cut(page(t, zooOf(50)), `<section class="figures">`)
	text, _, _ = strings.Cut(text, "</section>")
	for _, no := range []string{`="#`, "style=", "font", "xmlns", "NaN", "Inf", "ZgotmplZ"} {
		if strings.Contains(text, no) {
			t.Errorf("a plot has %q", no)
		}
	}
	if n := strings.Count(text, "<figure>"); n != 6 {
		t.Errorf("%d plots, want 6", n)
	}
}

func TestPage_ShortensLongNames(t *testing.T) {
	long := strings.Repeat("x\x1bé", 1<<20)
	doc := report.NewDocument()
	m := outcome.Model{Path: "a.onnx", Status: outcome.Folded, Bytes: 1, OutputBytes: 1, Before: 1, Seconds: 1, Warnings: []string{long, long}, Parity: outcome.Check{Status: outcome.NotRun, Note: long}}
	for range 300 {
		m.Maps = append(m.Maps, outcome.Map{Node: long, Verdict: "left", Into: []string{long, long}, Code: "border", Reason: long})
		m.Remaining = append(m.Remaining, outcome.Left{Node: long, Code: "border", Reason: long})
	}
	doc.Done(m)
	doc.Done(outcome.Model{Path: "b.onnx", Status: outcome.Failed, Error: long})
	doc.End(outcome.End{Counts: map[outcome.Status]int{outcome.Folded: 1, outcome.Failed: 1}})
	if text := page(t, doc); len(text) > 1<<20 {
		t.Errorf("the page has %d bytes", len(text))
	}
}
