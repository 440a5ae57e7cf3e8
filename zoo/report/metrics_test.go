package report_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

func metrics(t *testing.T, doc *report.Document, before string) string {
	var b bytes.Buffer
	if err := doc.WriteMetrics(&b, strings.NewReader(before)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMetrics_PassPrometheusLint(t *testing.T) {
	doc := report.NewDocument()
	play(doc)
	text := metrics(t, doc, fmt.Sprintln("zoofold_last_success_timestamp_seconds", time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC).Unix()))
	golden(t, "metrics.golden", []byte(text))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %+v", err, problems)
	}
}

func TestMetrics_FailedRunKeepsTheTimeOfTheLastSuccess(t *testing.T) {
	first := report.NewDocument()
	first.Start(outcome.Start{Time: time.Unix(1_800_000_000, 0)})
	first.End(outcome.End{Seconds: 1.5})
	text := metrics(t, first, "")
	if got := report.LastSuccess(strings.NewReader(text)); got.UnixMilli() != 1_800_000_001_500 {
		t.Errorf("after a success: %v", got)
	}
	second := report.NewDocument()
	second.Start(outcome.Start{Time: time.Unix(1_800_086_400, 0)})
	second.End(outcome.End{Exit: 1, Counts: map[outcome.Status]int{outcome.Failed: 1}})
	text = metrics(t, second, text)
	if got := report.LastSuccess(strings.NewReader(text)); got.UnixMilli() != 1_800_000_001_500 {
		t.Errorf("after a failure: %v", got)
	}
	text = metrics(t, second, "")
	if !strings.Contains(text, "\nzoofold_last_success_timestamp_seconds 0\n") {
		t.Errorf("no run ever succeeded:\n%s", text)
	}
}

func TestMetrics_DamagedFileIsIgnored(t *testing.T) {
	for _, text := range []string{"", "zoofold_last_success_timestamp_seconds", "zoofold_last_success_timestamp_seconds NaN\n",
		"zoofold_last_success_timestamp_seconds 1e300\n", "zoofold_last_success_timestamp_seconds{a=\"", "\x00\xff", strings.Repeat("a 1\n", 1<<19)} {
		if got := report.LastSuccess(strings.NewReader(text)); !got.IsZero() {
			t.Errorf("%.40q: %v", text, got)
		}
	}
}
