package report

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Schema names the layout of report.json. A new name comes with a change that old readers would misread.
const Schema = "zoofold-report/1"

//go:embed report.schema.json
var jsonSchema []byte

// JSONSchema is the JSON Schema of report.json.
func JSONSchema() []byte { return jsonSchema }

// Document collects a run for report.json and report.html. As JSON it is an object of "schema", "start", "end" and "models"
// (in the order of their paths), with the fields of the types of this package.
type Document struct {
	Schema string  `json:"schema"`
	Run    Start   `json:"start"`
	Models []Model `json:"models"`
	Result End     `json:"end"`
}

// NewDocument is an empty document.
func NewDocument() *Document { return &Document{Schema: Schema, Models: []Model{}} }

// Start is Sink's.
func (d *Document) Start(s Start) { d.Run = s.clean() }

// Begin is Sink's.
func (d *Document) Begin(Begin) {}

// Progress is Sink's.
func (d *Document) Progress(int64) {}

// Done is Sink's.
func (d *Document) Done(m Model) { d.Models = append(d.Models, m.clean()) }

// End is Sink's.
func (d *Document) End(e End) {
	d.Result = e.clean()
	slices.SortFunc(d.Models, func(a, b Model) int { return cmp.Compare(a.Path, b.Path) })
}

// WriteJSON writes report.json, one model after the other: a large zoo's is never in memory as a whole.
func (d *Document) WriteJSON(w io.Writer) error {
	var failed error
	put := func(before, indent string, value any) {
		text, err := EncodeJSON(value, indent, " ")
		if err == nil && failed == nil {
			_, err = fmt.Fprintf(w, "%s%s", before, text)
		}
		failed = cmp.Or(failed, err)
	}
	put("{\n \"schema\": ", " ", d.Schema)
	put(",\n \"start\": ", " ", d.Run)
	put(",\n \"end\": ", " ", d.Result)
	before, after := ",\n \"models\": [\n  ", ",\n \"models\": []\n}\n"
	for _, m := range d.Models {
		put(before, "  ", m)
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
	if d.Schema != Schema {
		return nil, fmt.Errorf("report: its schema is %q, this program reads %q", d.Schema, Schema)
	}
	return d, nil
}
