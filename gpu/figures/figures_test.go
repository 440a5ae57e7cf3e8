package figures_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/gpu/figures"
)

func TestFigures_AppendedAreReadDespiteATruncatedLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures")
	want := []figures.Figure{{What: "copies", Bytes: 1 << 20, Seconds: 0.5}, {What: "rescaling", Ratio: 0.25}, {What: "sum"}}
	for _, f := range want {
		if err := figures.Append(path, f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := figures.Read(path)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %+v", err, got)
	}
	if err := figures.Append(path, figures.Figure{What: "cut"}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err := errors.Join(err, os.Truncate(path, info.Size()-5)); err != nil {
		t.Fatal(err)
	}
	if got, err := figures.Read(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("with a line cut off: %v: %+v", err, got)
	}
}

func TestMedian_IsOfTheRoundsThatFitTheTime(t *testing.T) {
	rounds := 0
	if _, done, err := figures.Median(5, time.Hour, func() error { rounds++; return nil }); err != nil || done != 5 || rounds != 5 {
		t.Errorf("%d rounds of 5, %d done: %v", rounds, done, err)
	}
	if _, done, err := figures.Median(5, 0, func() error { return nil }); err != nil || done != 1 {
		t.Errorf("%d rounds in no time: %v", done, err)
	}
	if _, _, err := figures.Median(5, time.Hour, func() error { return os.ErrInvalid }); !errors.Is(err, os.ErrInvalid) {
		t.Error(err)
	}
}

func report() *figures.Report {
	return &figures.Report{
		Version: "1.2.3", Device: figures.Device{Name: "a card", MemoryClock: 1_000_000, MemoryBus: 4096, Memory: 3 << 29},
		Steps: []figures.Step{{Name: "driver", Result: figures.Passed, Said: "a|b"}, {Name: "suite", Result: figures.NotRun, Said: strings.Repeat("long ", 50)}},
		Figures: []figures.Figure{
			{What: "rescaling", Where: "cuda", Bytes: 64 << 20, Ratio: 0.9}, {What: "rescaling", Where: "cuda", Bytes: 1 << 30, Ratio: 0.7},
			{What: "rescaling", Where: "cuda", Bytes: 1 << 20, Ratio: 0.1}, {What: "kernel: rescaling", Ratio: 0.85},
			{What: "zoo", Where: "-device cpu", Jobs: 4, Seconds: 2, CPU: 8}, {What: "zoo", Where: "-device auto", Jobs: 4, Seconds: 2.04, CPU: 4.8},
			{What: "zoo", Where: "-device auto", Jobs: 1, Seconds: 9, CPU: 9},
		},
	}
}

func TestTargets_AreJudgedByTheirWorstFigure(t *testing.T) {
	r := report()
	r.Judge()
	var got []string
	for _, target := range r.Targets {
		got = append(got, target.String())
	}
	want := []string{"0.70, 0.80 or more: not reached", "0.85, 0.80 or more: reached", "1.02, 1.03 or less: reached", "0.60, 0.50 or less: not reached"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	empty := &figures.Report{}
	if empty.Judge(); len(empty.Targets) != 0 {
		t.Errorf("nothing was measured: %v", empty.Targets)
	}
}

func TestPage_ShowsStepsTargetsAndFigures(t *testing.T) {
	r := report()
	r.Judge()
	var page, lines strings.Builder
	if err := errors.Join(r.Markdown(&page), r.Summary(&lines)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"# a card\n", "1.5 GiB of memory of 1024 GB/s", "| driver | passed | 0.0 | a\\|b |", "## rescaling", "| 64 MiB | 0.90 |", "## kernel", "## zoo", "not reached"} {
		if !strings.Contains(page.String(), part) {
			t.Errorf("the page has no %q:\n%s", part, page.String())
		}
	}
	if strings.Contains(page.String(), "emulator") || strings.Contains(page.String(), "chunk |") {
		t.Errorf("the page has columns without a value, or is marked as the emulator's:\n%s", page.String())
	}
	for line := range strings.Lines(lines.String()) {
		if len([]rune(line)) > 160 {
			t.Errorf("a long line: %s", line)
		}
	}
	r.Small = true
	page.Reset()
	if err := r.Markdown(&page); err != nil || !strings.Contains(page.String(), "no figure on this page says anything of a GPU") {
		t.Errorf("%v: the emulator's figures are not marked:\n%s", err, page.String())
	}
}

func TestSweep_GivesTheSizeFromWhichADeviceIsAsFast(t *testing.T) {
	r := &figures.Report{}
	add := func(where string, chunk int64, rates ...float64) {
		for k, rate := range rates {
			r.Figures = append(r.Figures, figures.Figure{What: "sweep", Where: where, Chunk: chunk, Bytes: 1 << (20 + 2*k), Rate: rate})
		}
	}
	add("cpu, 1 worker", 0, 5, 5, 5)
	add("cpu, 4 workers", 0, 1, 20, 20)
	add("cpu, 16 workers", 0, 40, 40, 40)
	if r.Judge(); len(r.Advice) > 0 {
		t.Errorf("there is no device: %q", r.Advice)
	}
	add("cuda", 1<<20, 4, 9, 10)
	add("cuda", 8<<20, 2, 10, 25)
	add("cuda", 16<<20, 3, 15, 24)
	r.Judge()
	want := []string{
		"the fastest chunk for tensors of 16 MiB is 8 MiB", "with it the device is as fast as cpu, 1 worker: from 4 MiB on",
		"with it the device is as fast as cpu, 16 workers: never", "with it the device is as fast as cpu, 4 workers: from 16 MiB on",
	}
	if !slices.Equal(r.Advice, want) {
		t.Errorf("%q", r.Advice)
	}
}
