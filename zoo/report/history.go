package report

import (
	"fmt"
	"io"
	"slices"
	"time"

	fastjson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

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
	var l latencies
	for _, m := range d.Models {
		l.add(m.Predictions.Latency)
	}
	return pastOf(d.Run, d.Result, len(d.Models), d.sum(), l)
}

func pastOf(s outcome.Start, e outcome.End, models int, n nodes, l latencies) Past {
	mean := l.mean()
	if l.measured == 0 {
		mean = 0
	}
	return Past{s.Time, e.Seconds, e.Exit, models, e.Counts[outcome.Failed], n.before, n.after, mean, ""}
}

// earlier is what is kept of the report that this one replaces.
type earlier struct {
	schema  string
	run     outcome.Start
	result  outcome.End
	history []Past
	models  []earlierModel
	sum     nodes
	latency latencies
}

// earlierModel is what is kept of a model.
type earlierModel struct {
	Path   string         `json:"path"`
	Status outcome.Status `json:"status"`
	Before int            `json:"before"`
	After  int            `json:"after"`
}

// read reads a report.json, one model after the other: a large zoo's is never in memory as a whole.
func (old *earlier) read(r io.Reader) error {
	in := jsontext.NewDecoder(r)
	if _, err := in.ReadToken(); err != nil { // {
		return err
	}
	for in.PeekKind() == '"' {
		key, err := in.ReadToken()
		if err != nil {
			return err
		}
		switch key.String() {
		case "schema":
			err = fastjson.UnmarshalDecode(in, &old.schema)
		case "start":
			err = fastjson.UnmarshalDecode(in, &old.run)
		case "end":
			err = fastjson.UnmarshalDecode(in, &old.result)
		case "history":
			err = fastjson.UnmarshalDecode(in, &old.history)
		case "models":
			err = old.readModels(in)
		default:
			err = in.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := in.ReadToken() // }
	return err
}

func (old *earlier) readModels(in *jsontext.Decoder) error {
	if _, err := in.ReadToken(); err != nil { // [
		return err
	}
	for in.PeekKind() == '{' {
		var m struct {
			earlierModel
			Predictions struct {
				Latency *outcome.Latency `json:"latency"`
			} `json:"predictions"`
		}
		if err := fastjson.UnmarshalDecode(in, &m); err != nil {
			return err
		}
		old.models = append(old.models, m.earlierModel)
		old.sum.add(outcome.Model{Status: m.Status, Before: m.Before, After: m.After})
		old.latency.add(m.Predictions.Latency)
	}
	_, err := in.ReadToken() // ]
	return err
}

// ReadLast reads the report.json that this one is to replace, for Recall. A report that cannot be read, or of another
// schema, has no history.
func (d *Document) ReadLast(report io.Reader) {
	var old earlier
	if old.read(report) != nil || old.schema != reportSchema {
		old = earlier{}
	}
	d.last = old
}

// Recall takes over the history of the report that ReadLast has read, adds that report's run to it, the newest first, and
// compares that run with this one. It keeps so many runs, with this one. kept is the name of the file that has the page of a
// run that began then; "" where none has.
func (d *Document) Recall(keep int, kept func(began time.Time) string) {
	old := d.last
	if d.last = (earlier{}); keep < 2 || old.schema == "" {
		return
	}
	d.History = old.history
	if !old.run.DryRun {
		d.History = slices.Insert(d.History, 0, pastOf(old.run, old.result, len(old.models), old.sum, old.latency))
		d.Changes = d.since(&old)
	}
	d.History = d.History[:min(len(d.History), keep-1)]
	for k := range d.History {
		d.History[k].Report = kept(d.History[k].Time)
	}
}

// since compares the run with the last one; nil if nothing differs. Interrupted models are left out.
func (d *Document) since(last *earlier) *Changes {
	c := &Changes{Since: last.run.Time}
	then := map[string]earlierModel{}
	for _, m := range last.models {
		then[m.Path] = m
	}
	for k := range d.Models {
		m := &d.Models[k]
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
	for _, m := range last.models {
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
