package report

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

// Schema names the layout of report.json. A new name comes with a change that old readers would misread.
const Schema = "zoofold-report/1"

// Document collects a run for report.json and report.html. As JSON it is an object of "schema", "start", "models" (in the
// order of their paths) and "end", with the fields of the types of this package.
type Document struct {
	Schema string  `json:"schema"`
	Run    Start   `json:"start"`
	Models []Model `json:"models"`
	Result End     `json:"end"`
}

// NewDocument is an empty document.
func NewDocument() *Document { return &Document{Schema: Schema, Models: []Model{}} }

// Start is Sink's.
func (d *Document) Start(s Start) { d.Run = s }

// Begin is Sink's.
func (d *Document) Begin(Begin) {}

// Progress is Sink's.
func (d *Document) Progress(int64) {}

// Done is Sink's.
func (d *Document) Done(m Model) { d.Models = append(d.Models, m) }

// End is Sink's.
func (d *Document) End(e End) {
	d.Result = e
	slices.SortFunc(d.Models, func(a, b Model) int { return cmp.Compare(a.Path, b.Path) })
}

// WriteJSON writes report.json.
func (d *Document) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(d)
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

//go:embed report.html
var page string

// maxMaps bounds the maps of one model that the page lists; report.json has them all.
const maxMaps = 400

// maxListed bounds the maps that the page lists in all.
const maxListed = 40000

// reason is why some maps of a model were left, for the page.
type reason struct {
	Code  string
	Count int
}

// row is a model on the page.
type row struct {
	Model
	Reasons []reason
	Shown   []Map
	Hidden  int
	Order   int // failed models first
}

func (d *Document) rows() []row {
	var rows []row
	listed := 0
	for _, m := range d.Models {
		r := row{Model: m, Shown: m.Maps, Order: 1}
		if m.Status == Failed || m.Status == Interrupted {
			r.Order = 0
		}
		counts := map[string]int{}
		for _, x := range m.Maps {
			if x.Verdict == "left" {
				counts[x.Code]++
			}
		}
		for code, n := range counts {
			r.Reasons = append(r.Reasons, reason{code, n})
		}
		slices.SortFunc(r.Reasons, func(a, b reason) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
		})
		if limit := max(0, min(maxMaps, maxListed-listed)); len(r.Shown) > limit {
			r.Hidden = len(r.Shown) - limit
			r.Shown = r.Shown[:limit]
		}
		listed += len(r.Shown)
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.Order, b.Order) })
	return rows
}

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"bytes": Bytes, "short": short, "text": Printable, "join": strings.Join,
	"seconds": func(x float64) string { return fmt.Sprintf("%.2f", x) },
	"share":   func(x float64) string { return fmt.Sprintf("%.2g", x) },
}).Parse(page))

// WriteHTML writes report.html: one file that needs nothing else.
func (d *Document) WriteHTML(w io.Writer) error {
	return pageTemplate.Execute(w, map[string]any{"Run": d.Run, "End": d.Result, "Rows": d.rows()})
}
