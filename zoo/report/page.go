package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zoofold/zoofold/zoo/outcome"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

// Bounds of the page for zoos of any size; report.json has everything.
const (
	mostAlerts    = 20
	mostRows      = 500   // rows that a browser shows at first, and that are printed
	mostSections  = 1000  // models with a section of details
	mostWarnings  = 20    // of one model
	mostMaps      = 200   // per-channel nodes of one model
	mostMapsInAll = 20000 // of all models
	mostInRow     = 160   // characters of an error in a row
	mostInName    = 500   // characters of a name or reason
	mostInText    = 4000  // characters of anything else
)

// view is the data of the page's template.
type view struct {
	Run                       outcome.Start
	Headline, Outcome, Sparse string
	Bad                       bool
	Totals                    []fact
	Alerts, Notes             []alert
	News                      []fact
	Since                     string
	Nights                    []night
	Figures                   []figure
	Chips                     []chip
	Most                      int // rows at first
	Columns                   []column
	Rows                      []row                   // those that open
	Rest                      iter.Seq[template.HTML] // the others
	Facts                     []fact
	Policy                    template.HTML
	Style                     template.CSS
	Script                    template.JS
}

// alert is a warning or a note on the page.
type alert struct {
	ID         int // of the model's row; 0: none
	Name, Text string
}

// chip is a button that filters the models by status.
type chip struct {
	Status outcome.Status
	Word   string
	Count  int
}

// column is a column of the table; class n is numbers, c is marks.
type column struct{ Name, Key, Class, Help string }

var columns = []column{
	{"model", "model", "", ""},
	{"status", "status", "", ""},
	{"nodes", "removed", "n", "per-channel nodes before and after; sorted by how many went"},
	{"left because", "left", "", "the per-channel nodes that remain, by reason"},
	{"size", "bytes", "n", "of the model's files in the zoo"},
	{"parity", "parity", "c", "rescaled weights are those of a plain scalar loop, bit for bit"},
	{"algebra", "algebra", "c", "the changed parts compute the same in float64"},
	{"predictions", "predictions", "c", "ONNX Runtime predicts the same with both files"},
	{"difference", "difference", "n", "largest difference of an output, relative to its largest value"},
	{"jitter", "jitter", "n", "the original's own answer to a one-ulp jitter, in the same unit"},
	{"latency", "latency", "n", "after ÷ before in ONNX Runtime, with its quartiles; grey where it is within the noise"},
	{"time", "seconds", "n", "checks included"},
}

// policy is the Content-Security-Policy: the page runs its own script, and loads nothing.
func policy() template.HTML {
	sum := sha256.Sum256([]byte("\n" + pageScript))
	return template.HTML(`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-` + base64.StdEncoding.EncodeToString(sum[:]) + `'">`)
}

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"percent": func(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) + "%" },
	"place":   func(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) },
	"minus":   func(a, b float64) float64 { return a - b },
	"text":    func(s string) string { return cut(s, mostInText) },
	"brief":   func(s string) string { return cut(s, mostInName) },
}).Parse(pageText))

// WriteHTML writes report.html: one file that needs nothing else and loads nothing. Failed models come first, then the
// slowest.
func (d *Document) WriteHTML(w io.Writer) error {
	rows := d.rows()
	v := view{
		Run: d.Run, Bad: d.Result.Counts[outcome.Failed] > 0, Headline: d.headline(), Outcome: d.outcome(), Totals: d.totals(), Alerts: d.alerts(rows), Notes: d.notes(rows), News: d.news(), Nights: d.nights(),
		Figures: d.figures(), Columns: columns, Most: mostRows, Rows: rows[:min(len(rows), mostSections)], Rest: rest(rows), Facts: d.facts(), Policy: policy(), Style: template.CSS(pageStyle), Script: template.JS(pageScript),
	}
	if d.Changes != nil {
		v.Since = d.Changes.Since.Format("2 January 2006, 15:04")
	}
	for _, s := range statuses {
		if n := d.Result.Counts[s.status]; n > 0 {
			v.Chips = append(v.Chips, chip{s.status, d.word(s.status), n})
		}
	}
	if len(rows) > mostSections {
		v.Sparse = fmt.Sprintf("The first %s rows open, failed models and the slowest; report.json says as much of all.", number(mostSections))
	}
	return pageTemplate.Execute(w, v)
}

// inOne is how many rows are written at a time.
const inOne = 100

// rest are the rows without a section, several at a time: the template takes its time for each value, and a zoo has ten
// thousand rows.
func rest(rows []row) iter.Seq[template.HTML] {
	return func(yield func(template.HTML) bool) {
		for some := range slices.Chunk(rows[min(len(rows), mostSections):], inOne) {
			var b strings.Builder
			for k := range some {
				some[k].head(&b)
				b.WriteString("\n</tbody>\n")
			}
			if !yield(template.HTML(b.String())) {
				return
			}
		}
	}
}

// row is a model's row in the table.
type row struct {
	*outcome.Model
	ID         int
	Word       string // the word for its status
	Removed    int    // per-channel nodes that were removed; 0 for a model that was not kept
	Nodes, Why string
	Difference string
	Jitter     string
	Ratio      string
	Spread     string // the quartiles
	Clear      bool   // the latency's change is not noise: see isClear
	Time       string
	Section    *section
	Opened     bool // open from the start, since the row does not show the whole error
	Far        bool // beyond mostRows
}

// rows are the rows in order of urgency, then the slowest first.
func (d *Document) rows() []row {
	models := make([]*outcome.Model, len(d.Models))
	for k := range models {
		models[k] = &d.Models[k]
	}
	slices.SortStableFunc(models, func(a, b *outcome.Model) int {
		return cmp.Or(cmp.Compare(urgency(a.Status), urgency(b.Status)), cmp.Compare(b.Seconds, a.Seconds))
	})
	rows, maps, folds := make([]row, len(models)), mostMapsInAll, mostFolds
	for k, m := range models {
		r := row{Model: m, ID: k + 1, Word: d.word(m.Status), Far: k >= mostRows}
		if m.Before > 0 {
			r.Nodes = number(m.Before)
		}
		if m.Before > 0 && m.Kept() {
			r.Removed, r.Nodes = m.Before-m.After, fmt.Sprintf("%d → %d", m.Before, m.After)
		}
		reasons := reasonsOf(*m)
		if r.Why = because(reasons); m.Error != "" {
			r.Why = cut(m.Error, mostInRow)
		}
		if p := m.Predictions; p.Status != outcome.NotRun && p.Compared > 0 {
			r.Difference, r.Jitter = short(p.Difference), short(p.Jitter)
		}
		if l := m.Predictions.Latency; l != nil && l.Pairs > 0 {
			r.Ratio, r.Spread, r.Clear = fmt.Sprintf("%.2f", l.Ratio), fmt.Sprintf("%.2f–%.2f", l.Low, l.High), isClear(l)
		}
		if m.Seconds > 0 && m.Status != outcome.Unchanged {
			r.Time = seconds(m.Seconds)
		}
		if k < mostSections {
			r.Section = sectionOf(*m, reasons, &maps, &folds)
			r.Opened = m.Error != "" && r.Why != Printable(m.Error)
		}
		rows[k] = r
	}
	return rows
}

// Head is the row as HTML, without what it opens to.
func (r *row) Head() template.HTML {
	var b strings.Builder
	r.head(&b)
	return template.HTML(b.String())
}

// head writes Head.
func (r *row) head(b *strings.Builder) {
	write := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
		}
	}
	text, when := template.HTMLEscapeString, func(yes bool, then string) string {
		if yes {
			return then
		}
		return ""
	}
	class := when(r.Opened, ` class="open"`)
	if r.Far {
		class = ` class="far"`
	}
	write(`<tbody id="m`, strconv.Itoa(r.ID), `" data-status="`, text(string(r.Status)), `"`, class, `><tr>`)
	name := text(cut(r.Path, mostInText))
	if r.Section != nil {
		name = "<details" + when(r.Opened, " open") + "><summary>" + name + "</summary></details>"
	}
	write(`<th scope="row">`, name, `</th><td`, when(r.Status == outcome.Failed, ` class="bad"`), `>`, text(r.Word))
	write(`<td class="n" data-n="`, strconv.Itoa(r.Removed), `">`, text(r.Nodes), `<td class="why`, when(r.Error != "", " bad"), `">`, text(r.Why))
	write(`<td class="n" data-n="`, strconv.FormatInt(r.Bytes, 10), `">`, text(Bytes(r.Bytes)))
	write(string(mark(r.Parity)), string(mark(r.Algebra)), string(mark(r.Predictions)))
	write(`<td class="n">`, text(r.Difference), `<td class="n">`, text(r.Jitter), `<td class="n`, when(r.Clear, " clear"), `"`, when(r.Ratio != "", ` data-n="`+text(r.Ratio)+`"`), `>`, text(r.Ratio), when(r.Spread != "", " <small>"+text(r.Spread)+"</small>"))
	write(`<td class="n" data-n="`, strconv.FormatFloat(r.Seconds, 'g', 4, 64), `">`, text(r.Time), `</tr>`)
}

// isClear says that a change of latency is not noise: at least ten pairs of runs, both quartiles on one side of 1, and a
// median that differs from 1 by more than two measurements of one model do.
func isClear(l *outcome.Latency) bool {
	return l.Pairs >= 10 && (l.Low > 1 || l.High < 1) && math.Abs(l.Ratio-1) > max(noise, l.High-l.Low)
}

// noise is the difference between the ratios of two measurements of one model.
const noise = 0.03

// word is a status as the page shows it; for a dry run, in the words of a plan.
func (d *Document) word(s outcome.Status) string {
	if d.Run.DryRun {
		for _, x := range statuses {
			if x.status == s {
				return x.plan
			}
		}
	}
	return string(s)
}

// urgency is 0 for failed models, 1 for interrupted ones and 2 for the rest.
func urgency(s outcome.Status) int {
	switch s {
	case outcome.Failed:
		return 0
	case outcome.Interrupted:
		return 1
	}
	return 2
}

// mark is a check's cell.
func mark(c outcome.Check) template.HTML {
	switch {
	case c.Status == outcome.Passed:
		return `<td class="c">✓`
	case c.Status == outcome.Mismatch:
		return `<td class="c bad">failed`
	case c.Note == outcome.NotAsked:
		return `<td>`
	}
	return template.HTML(`<td class="c" title="not run: ` + template.HTMLEscapeString(cut(c.Note, mostInRow)) + `">–`)
}

// seconds is a time for people: "1.25 s", "12 ms", "3 h 20 m".
func seconds(x float64) string {
	switch {
	case x >= 3600:
		return fmt.Sprintf("%d h %02d m", int(x)/3600, int(x)/60%60)
	case x >= 60:
		return fmt.Sprintf("%d m %02d s", int(x)/60, int(x)%60)
	case x >= 10:
		return fmt.Sprintf("%.1f s", x)
	case x >= 1:
		return fmt.Sprintf("%.2f s", x)
	}
	return fmt.Sprintf("%.3g ms", x*1000)
}

// number is a count for people: "964,928".
func number[T int | int64](n T) string {
	text := strconv.FormatInt(int64(n), 10)
	for k := len(text) - 3; k > 0 && text[k-1] != '-'; k -= 3 {
		text = text[:k] + "," + text[k:]
	}
	return text
}

// cut is the beginning of a text, printable, of at most so many characters.
func cut(text string, most int) string {
	if len(text) > 4*most { // bytes: a name may have any length
		text = text[:4*most]
	}
	text = Printable(text)
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
