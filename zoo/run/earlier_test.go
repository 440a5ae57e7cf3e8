package run

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// pages are the names of the report's pages, the oldest first, and of what else is beside them.
func (s *scene) pages() (list []string) {
	entries, err := os.ReadDir(s.out())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".html") {
			list = append(list, e.Name())
		}
	}
	return list
}

// document is the report.json of the last run.
func (s *scene) document() *report.Document { return s.documentIn(s.out()) }

func (s *scene) documentIn(folder string) *report.Document {
	f, err := os.Open(filepath.Join(folder, "report.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	d, err := report.Load(f)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func TestReports_OfTheLastRunsAreKept(t *testing.T) {
	s := newScene(t, 1)
	night := func(keep int) error {
		_, err := s.run(t.Context(), func(o *Options) { o.Report, o.Keep = s.out(), keep })
		return err
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(s.out(), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var names, texts []string // of the nights
	for k := range 5 {
		if err := night(3); err != nil {
			t.Fatal(err)
		}
		names, texts = append(names, nameOfEarlier(s.document().Run.Time)), append(texts, read("report.html"))
		from := max(0, k-2)
		if want := append(slices.Clone(names[from:k]), "report.html"); !slices.Equal(s.pages(), want) {
			t.Fatalf("night %d: %q, want %q", k+1, s.pages(), want)
		}
		for j, p := range s.document().History {
			if p.Report != names[k-1-j] || read(p.Report) != texts[k-1-j] {
				t.Errorf("night %d: the page of %d nights before is not %q", k+1, j+1, p.Report)
			}
		}
	}
	// Files of others are neither replaced nor removed, whatever they are called.
	last := nameOfEarlier(s.document().Run.Time)
	foreign := map[string]string{last: "mine", "report-2001-01-01T00-00-00.000Z.html": texts[0], "report-2001.html": texts[0]}
	for name, text := range foreign {
		s.put("out/"+name, []byte(text))
	}
	if err := os.Symlink("report.html", filepath.Join(s.out(), "report-2001-01-01T00-00-00.001Z.html")); err != nil {
		t.Fatal(err)
	}
	if err := night(3); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), last) {
		t.Errorf("%v, want that %s is in the way", err, last)
	}
	if nameOfEarlier(s.document().Run.Time) == last {
		t.Error("there is no report of the run")
	}
	if err := night(1); err != nil {
		t.Error(err)
	}
	want := []string{"report-2001-01-01T00-00-00.000Z.html", "report-2001-01-01T00-00-00.001Z.html", "report-2001.html", last, "report.html"}
	if !slices.Equal(s.pages(), want) || len(s.document().History) != 0 {
		t.Errorf("%q are left, want %q", s.pages(), want)
	}
	for name, text := range foreign {
		if read(name) != text {
			t.Errorf("%s was changed", name)
		}
	}
}

// interposed does something when a model is done.
type interposed struct {
	sink
	do func()
}

func (s interposed) Done(m outcome.Model) { s.do(); s.sink.Done(m) }

func TestReports_HistoryIsThatOfTheReportThatIsReplaced(t *testing.T) {
	s := newScene(t, 1)
	folder := filepath.Join(s.folder, "report")
	night := func(do func()) *report.Document {
		s.must(func(o *Options) { o.Report, o.Keep, o.Sink = folder, 30, interposed{o.Sink.(sink), do} })
		return s.documentIn(folder)
	}
	first := night(func() {})
	data, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if second := night(func() {}); len(second.History) != 1 || !second.History[0].Time.Equal(first.Run.Time) {
		t.Errorf("%+v", second.History)
	}
	third := night(func() { s.put("report/report.json", data) }) // as a run into another output folder may
	if len(third.History) != 1 || !third.History[0].Time.Equal(first.Run.Time) {
		t.Errorf("%+v", third.History)
	}
}

func TestReports_OfDryRunsAreNotKept(t *testing.T) {
	s := newScene(t, 1)
	folder := filepath.Join(s.folder, "out")
	for _, dry := range []bool{false, true, false} {
		s.must(func(o *Options) { o.Report, o.Keep, o.DryRun = folder, 30, dry })
	}
	d := s.document()
	if pages := s.pages(); len(pages) != 2 || len(d.History) != 1 || d.History[0].Report != pages[0] {
		t.Errorf("%q, %+v", pages, d.History)
	}
}
