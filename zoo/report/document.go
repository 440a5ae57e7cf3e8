// Package report renders a run's events (package outcome): as a progress bar or plain lines, log records, JSON lines,
// report.json, a self-contained report.html and metrics.
package report

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// reportSchema names the layout of report.json. A new name comes with a change that old readers would misread.
const reportSchema = "zoofold-report/1"

//go:embed report.schema.json
var jsonSchema []byte

// JSONSchema is the JSON Schema of report.json.
func JSONSchema() []byte { return jsonSchema }

// Document collects a run for report.json and report.html. As JSON it is an object of "schema", "start", "end", "changes",
// "history" and "models" (in the order of their paths), with the fields of the types of package outcome.
type Document struct {
	Schema  string          `json:"schema"`
	Run     outcome.Start   `json:"start"`
	Models  []outcome.Model `json:"models"`
	Result  outcome.End     `json:"end"`
	Changes *Changes        `json:"changes,omitempty"` // since the run before; nil: none are known
	History []Past          `json:"history,omitempty"` // earlier runs, the newest first

	last earlier // what ReadLast has read
}

// NewDocument is an empty document.
func NewDocument() *Document { return &Document{Schema: reportSchema, Models: []outcome.Model{}} }

// Start is Sink's.
func (d *Document) Start(s outcome.Start) {
	d.Run = cleanStart(s)
	d.Models = slices.Grow(d.Models, s.Models)
}

// Begin is Sink's.
func (d *Document) Begin(outcome.Begin) {}

// Progress is Sink's.
func (d *Document) Progress(int64) {}

// Done is Sink's.
func (d *Document) Done(m outcome.Model) { d.Models = append(d.Models, cleanModel(m)) }

// End is Sink's.
func (d *Document) End(e outcome.End) {
	d.Result = cleanEnd(e)
	sortByPath(d.Models)
}

// sortByPath sorts places, not the models, which are large, and moves each model once.
func sortByPath(models []outcome.Model) {
	from := make([]int, len(models)) // by place: where the model that belongs there is
	for k := range from {
		from[k] = k
	}
	slices.SortStableFunc(from, func(a, b int) int { return cmp.Compare(models[a].Path, models[b].Path) })
	for first := range from {
		if from[first] == first {
			continue
		}
		held, at := models[first], first
		for from[at] != first {
			models[at] = models[from[at]]
			at, from[at] = from[at], at
		}
		models[at], from[at] = held, at
	}
}

// Troubles is the document with only the models that failed or were interrupted.
func (d *Document) Troubles() *Document {
	t := *d
	t.Models = []outcome.Model{}
	for _, m := range d.Models {
		if !m.Kept() {
			t.Models = append(t.Models, m)
		}
	}
	return &t
}

// WriteJSON writes report.json, one model after the other, so that its text is never in memory as a whole. A model is one
// line: for a large zoo indented text takes several times as long to write and to read.
func (d *Document) WriteJSON(w io.Writer) error {
	var failed error
	put := func(before, indent string, value any) {
		text, err := EncodeJSON(value, indent, indent)
		if err == nil && failed == nil {
			_, err = fmt.Fprintf(w, "%s%s", before, text)
		}
		failed = cmp.Or(failed, err)
	}
	put("{\n \"schema\": ", "", d.Schema)
	put(",\n \"start\": ", " ", d.Run)
	put(",\n \"end\": ", " ", d.Result)
	if d.Changes != nil {
		put(",\n \"changes\": ", " ", d.Changes)
	}
	if len(d.History) > 0 {
		put(",\n \"history\": ", " ", d.History)
	}
	before, after := ",\n \"models\": [\n  ", ",\n \"models\": []\n}\n"
	for k := range d.Models {
		put(before, "", &d.Models[k])
		before, after = ",\n  ", "\n ]\n}\n"
	}
	if failed == nil {
		_, failed = io.WriteString(w, after)
	}
	return failed
}

// Load reads a report.json.
func Load(r io.Reader) (*Document, error) {
	d := &Document{}
	if err := json.NewDecoder(r).Decode(d); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if d.Schema != reportSchema {
		return nil, fmt.Errorf("report: its schema is %q, this program reads %q", d.Schema, reportSchema)
	}
	return d, nil
}
