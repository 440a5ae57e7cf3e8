package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Lines writes one plain line a model, for logs.
type Lines struct {
	w       io.Writer
	quiet   bool // failures only
	missing gaps
	start   Start
}

// NewLines writes plain lines.
func NewLines(w io.Writer) *Lines { return &Lines{w: w, missing: gaps{}} }

// NewQuiet writes the lines of models that failed, and nothing if all is well.
func NewQuiet(w io.Writer) *Lines { return &Lines{w: w, quiet: true, missing: gaps{}} }

// Start writes what is going to be done.
func (l *Lines) Start(s Start) {
	l.start = s
	if l.quiet {
		return
	}
	why := ""
	if s.Why != "" {
		why = " (" + s.Why + ")"
	}
	fmt.Fprintf(l.w, "zoofold %s: %s, %s; %s%s\n", s.Version, count(s.Models, "model"), Bytes(s.Bytes), s.Backend, why)
}

// Begin writes nothing.
func (l *Lines) Begin(Begin) {}

// Progress writes nothing.
func (l *Lines) Progress(int64) {}

// Done writes the model's line. Unchanged models are only counted, and so are those that an interrupted run did not begin.
func (l *Lines) Done(m Model) {
	l.missing.add(m)
	if m.Status == Unchanged || m.Error == NotBegun || l.quiet && m.Status != Failed {
		return
	}
	fmt.Fprintf(l.w, "%-58s %s\n", Printable(m.Path), l.line(m))
}

func (l *Lines) line(m Model) string {
	switch m.Status {
	case Failed:
		return "FAILED: " + Printable(m.Error)
	case Interrupted:
		return "interrupted"
	case Skipped:
		return "nothing to fold, left out"
	case Copied:
		if m.Before > 0 {
			return fmt.Sprintf("nothing to fold of %d, copied", m.Before)
		}
		return "nothing to fold, copied"
	}
	if l.start.DryRun {
		return fmt.Sprintf("%4d -> %-4d would be folded", m.Before, m.After)
	}
	text := fmt.Sprintf("%4d -> %-4d %8s", m.Before, m.After, Bytes(m.OutputBytes))
	if p := m.Predictions; p.Status == Passed {
		text += fmt.Sprintf("   off by %s, jitter %s", short(p.Difference), short(p.Jitter))
		if l := p.Latency; l != nil && l.Pairs > 0 {
			text += fmt.Sprintf(", latency x %.2f", l.Ratio)
		}
	}
	if m.Predictions.Status != Passed && m.Algebra.Status == Passed {
		text += "   algebra holds"
	}
	return text
}

func short(x float64) string { return power(x, 0) }

var shorter = strings.NewReplacer(".0e-0", "e-", ".0e", "e", "e-0", "e-")

// power is a number with so many digits after its point: "8.2e-7", "1e-5".
func power(x float64, digits int) string {
	if x == 0 {
		return "0"
	}
	return shorter.Replace(fmt.Sprintf("%.*e", digits, x))
}

// End sums the run up.
func (l *Lines) End(e End) {
	if l.quiet {
		return
	}
	for _, line := range l.missing.lines() {
		fmt.Fprintln(l.w, line)
	}
	text, total := e.tally()
	fmt.Fprintf(l.w, "%s: %s; %d -> %d per-channel nodes; %.1f s\n", count(total, "model"), text, e.Before, e.After, e.Seconds)
	for _, note := range e.Notes {
		fmt.Fprintf(l.w, "note: %s\n", Printable(note))
	}
	l.list(e.Pruned, "output", "removed")
	l.list(e.Orphans, "output", "made by no model of the zoo any more: -prune removes them")
	if n := len(e.Unmatched); n > 0 {
		fmt.Fprintf(l.w, "%s of the zoo matched by no rule\n", count(n, "file"))
	}
	exit := ""
	if e.Exit != 0 {
		exit = fmt.Sprintf("   (exit %d)", e.Exit)
	}
	if e.Report != "" {
		fmt.Fprintf(l.w, "report: %s%s\n", e.Report, exit)
	}
}

// maxLines bounds the files of a list; report.json has them all.
const maxLines = 20

// list writes what is to be said of some files, and their names.
func (l *Lines) list(paths []string, what, text string) {
	if len(paths) == 0 {
		return
	}
	fmt.Fprintf(l.w, "%s %s\n", count(len(paths), what), text)
	for _, p := range paths[:min(len(paths), maxLines)] {
		fmt.Fprintf(l.w, "  %s\n", Printable(p))
	}
	if n := len(paths) - maxLines; n > 0 {
		fmt.Fprintf(l.w, "  and %d more, in report.json\n", n)
	}
}

// NotAsked is the note of a check that was not asked for.
const NotAsked = "not asked for"

// NotBegun is the error of a model that was not yet in hand when the run was interrupted.
const NotBegun = "interrupted before it began"

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return number(n) + " " + what
}

// Bytes is a size for people: "4.7 MB", "223 MB", "12 kB".
func Bytes(n int64) string {
	x, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if x < 1000 {
			break
		}
		x, unit = x/1000, u
	}
	if unit == "B" || x >= 100 {
		return fmt.Sprintf("%.0f %s", x, unit)
	}
	return fmt.Sprintf("%.1f %s", x, unit)
}

// Printable is text that does nothing to a terminal: control characters and broken encodings are written out.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// JSON writes one event a line: {"event": "start", …}, "begin", "model", "end".
type JSON struct{ w io.Writer }

// NewJSON writes JSON lines.
func NewJSON(w io.Writer) *JSON { return &JSON{w} }

func (j *JSON) event(name string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		text = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	fmt.Fprintf(j.w, "{\"event\":%q,%s\n", name, text[1:])
}

// Start writes the start event.
func (j *JSON) Start(s Start) { j.event("start", s) }

// Begin writes a begin event.
func (j *JSON) Begin(b Begin) { j.event("begin", b) }

// Progress writes nothing: begin and model events tell.
func (j *JSON) Progress(int64) {}

// Done writes a model event.
func (j *JSON) Done(m Model) { j.event("model", m) }

// End writes the end event.
func (j *JSON) End(e End) { j.event("end", e) }

// Tee sends every event to each of several sinks, in order.
type Tee []Sink

// Start goes to each.
func (t Tee) Start(e Start) {
	for _, s := range t {
		s.Start(e)
	}
}

// Begin goes to each.
func (t Tee) Begin(e Begin) {
	for _, s := range t {
		s.Begin(e)
	}
}

// Progress goes to each.
func (t Tee) Progress(n int64) {
	for _, s := range t {
		s.Progress(n)
	}
}

// Done goes to each.
func (t Tee) Done(e Model) {
	for _, s := range t {
		s.Done(e)
	}
}

// End goes to each.
func (t Tee) End(e End) {
	for _, s := range t {
		s.End(e)
	}
}
