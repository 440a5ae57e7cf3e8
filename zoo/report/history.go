package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Past are the figures of an earlier run.
type Past struct {
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds"`
	Exit    int       `json:"exit"`
	Models  int       `json:"models"`
	Failed  int       `json:"failed"`
	Before  int       `json:"before"`            // per-channel nodes of all models
	After   int       `json:"after"`             // those of the folded models
	Latency float64   `json:"latency,omitempty"` // geometric mean of after ÷ before; absent where none was measured
	Report  string    `json:"report,omitempty"`  // name of the file beside this one that has its page; absent: it is not kept
}

// Changes are the differences from the run before.
type Changes struct {
	Since   time.Time `json:"since"`             // when that run began
	Failing []string  `json:"failing,omitempty"` // models that failed in this run, and not in that
	Mended  []string  `json:"mended,omitempty"`  // models that failed in that run, and not in this
	Added   []string  `json:"added,omitempty"`   // models that the zoo did not have
	Removed []string  `json:"removed,omitempty"` // models that the zoo no longer has
	Nodes   []Moved   `json:"nodes,omitempty"`   // models with a different number of remaining per-channel nodes
}

// Moved is a model whose number of remaining per-channel nodes changed since the run before.
type Moved struct {
	Path string `json:"path"`
	Was  int    `json:"was"`
	Now  int    `json:"now"`
}

// past are the figures of the run for the history.
func (d *Document) past() Past {
	mean, n := d.latency()
	if n == 0 {
		mean = 0
	}
	sum := d.sum()
	return Past{d.Run.Time, d.Result.Seconds, d.Result.Exit, len(d.Models), d.Result.Counts[outcome.Failed], sum.before, sum.after, mean, ""}
}

// earlier holds the fields that are read of the report that this one replaces.
type earlier struct {
	Schema  string        `json:"schema"`
	Run     outcome.Start `json:"start"`
	Result  outcome.End   `json:"end"`
	History []Past        `json:"history"`
	Models  []struct {
		Path        string         `json:"path"`
		Status      outcome.Status `json:"status"`
		Before      int            `json:"before"`
		After       int            `json:"after"`
		Predictions struct {
			Latency *struct {
				Ratio float64 `json:"ratio"`
				Pairs int     `json:"pairs"`
			} `json:"latency"`
		} `json:"predictions"`
	} `json:"models"`
}

// Recall takes over the history of the report.json that this one replaces, adds that report's run to it, the newest first,
// and compares that run with this one. It keeps so many runs, with this one. kept is the name of the file that has the page
// of a run that began then; "" where none has. A report that cannot be read, or of another schema, has no history.
func (d *Document) Recall(before io.Reader, keep int, kept func(began time.Time) string) {
	var old earlier
	if keep < 2 || json.NewDecoder(before).Decode(&old) != nil || old.Schema != reportSchema {
		return
	}
	d.History = old.History
	if !old.Run.DryRun {
		last := &Document{Run: old.Run, Result: old.Result}
		for _, m := range old.Models {
			model := outcome.Model{Path: m.Path, Status: m.Status, Before: m.Before, After: m.After}
			if l := m.Predictions.Latency; l != nil {
				model.Predictions.Latency = &outcome.Latency{Ratio: l.Ratio, Pairs: l.Pairs}
			}
			last.Models = append(last.Models, model)
		}
		d.History = slices.Insert(d.History, 0, last.past())
		d.Changes = d.since(last)
	}
	d.History = d.History[:min(len(d.History), keep-1)]
	for k := range d.History {
		d.History[k].Report = kept(d.History[k].Time)
	}
}

// since compares the run with the last one; nil if nothing differs. Interrupted models are left out.
func (d *Document) since(last *Document) *Changes {
	c := &Changes{Since: last.Run.Time}
	then := map[string]outcome.Model{}
	for _, m := range last.Models {
		then[m.Path] = m
	}
	for _, m := range d.Models {
		was, known := then[m.Path]
		delete(then, m.Path)
		switch {
		case !known:
			c.Added = append(c.Added, m.Path)
			if m.Status == outcome.Failed {
				c.Failing = append(c.Failing, m.Path)
			}
		case m.Status == outcome.Interrupted || was.Status == outcome.Interrupted:
		case m.Status == outcome.Failed && was.Status != outcome.Failed:
			c.Failing = append(c.Failing, m.Path)
		case m.Status != outcome.Failed && was.Status == outcome.Failed:
			c.Mended = append(c.Mended, m.Path)
		case m.Kept() && m.After != was.After:
			c.Nodes = append(c.Nodes, Moved{m.Path, was.After, m.After})
		}
	}
	for _, m := range last.Models {
		if _, gone := then[m.Path]; gone {
			c.Removed = append(c.Removed, m.Path)
		}
	}
	if len(c.Failing)+len(c.Mended)+len(c.Added)+len(c.Removed)+len(c.Nodes) == 0 {
		return nil
	}
	return c
}

// night is a row of the history on the page.
type night struct {
	Report                                     string // the file that has its page; "": none
	Time, Models, Failed, Nodes, Latency, Took string
	Bad                                        bool
}

// nights are this run and the earlier ones; none where there are no earlier ones.
func (d *Document) nights() (list []night) {
	if len(d.History) == 0 {
		return nil
	}
	for _, p := range append([]Past{d.past()}, d.History...) {
		n := night{
			Report: p.Report, Time: p.Time.Format("2 January 2006, 15:04"), Models: number(p.Models), Failed: number(p.Failed),
			Nodes: number(p.Before) + " → " + number(p.After), Took: seconds(p.Seconds), Bad: p.Failed > 0,
		}
		if p.Latency > 0 {
			n.Latency = fmt.Sprintf("× %.2f", p.Latency)
		}
		list = append(list, n)
	}
	return list
}

// news are the changes since the run before in words.
func (d *Document) news() (list []fact) {
	c := d.Changes
	if c == nil {
		return nil
	}
	for _, l := range []struct {
		name  string
		files []string
		bad   bool
	}{{"fail now", c.Failing, true}, {"no longer fail", c.Mended, false}, {"new", c.Added, false}, {"gone", c.Removed, false}} {
		if len(l.files) > 0 {
			list = append(list, fact{Name: l.name, Value: some(l.files), Bad: l.bad})
		}
	}
	var moved []string
	for _, m := range c.Nodes {
		moved = append(moved, fmt.Sprintf("%s %d → %d", m.Path, m.Was, m.Now))
	}
	if len(moved) > 0 {
		list = append(list, fact{Name: "nodes left", Value: some(moved)})
	}
	return list
}
