package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/zoofold/zoofold/zoo/outcome"
)

var (
	_ outcome.Fallible = (*Lines)(nil)
	_ outcome.Fallible = (*JSON)(nil)
)

// Lines writes one plain line a model, for logs.
type Lines struct {
	w       *Output
	style   Style
	quiet   bool // failures only
	missing gaps
	start   outcome.Start
	sum     nodes
}

// NewLines writes plain lines.
func NewLines(w io.Writer) *Lines { return &Lines{w: NewOutput(w), missing: gaps{}} }

// NewQuiet writes a line for each failed model, one line if models were kept with less proof than asked, and nothing if all
// is well.
func NewQuiet(w io.Writer) *Lines { return &Lines{w: NewOutput(w), quiet: true, missing: gaps{}} }

// In sets the style of the lines, and returns l.
func (l *Lines) In(s Style) *Lines {
	l.style = s
	return l
}

// print writes a line.
func (l *Lines) print(format string, args ...any) {
	fmt.Fprint(l.w, l.style.text(fmt.Sprintf(format, args...)))
}

// warn writes a line in the colour of warnings.
func (l *Lines) warn(format string, args ...any) {
	fmt.Fprint(l.w, l.style.paint(yellow, strings.TrimSuffix(l.style.text(fmt.Sprintf(format, args...)), "\n"))+"\n")
}

// Err is the first error of writing a line, or nil.
func (l *Lines) Err() error { return l.w.Err() }

// Start writes what the run will do.
func (l *Lines) Start(s outcome.Start) {
	l.start = s
	if l.quiet {
		return
	}
	why := ""
	if s.Why != "" {
		why = " (" + s.Why + ")"
	}
	l.print("%s", Printable(fmt.Sprintf("zoofold %s: %s, %s; %s%s", s.Version, count(s.Models, "model"), Bytes(s.Bytes), s.Backend, why)))
}

// Begin writes nothing.
func (l *Lines) Begin(outcome.Begin) {}

// Progress writes nothing.
func (l *Lines) Progress(int64) {}

// Done writes the model's line. Unchanged models are only counted, and so are those that an interrupted run did not begin.
func (l *Lines) Done(m outcome.Model) {
	l.missing.add(m)
	l.sum.add(m)
	if m.Status == outcome.Unchanged || m.Error == outcome.NotBegun || l.quiet && m.Status != outcome.Failed {
		return
	}
	l.named(m.Path, l.line(m))
}

// named writes the name of a file and a text behind it.
func (l *Lines) named(path, text string) {
	alarm := ""
	for _, word := range []string{"FAILED", "would fail"} {
		if strings.HasPrefix(text, word+": ") {
			alarm = word
		}
	}
	fmt.Fprint(l.w, l.style.named(printed(path), Printable(text), alarm))
}

func (l *Lines) line(m outcome.Model) string {
	if l.start.DryRun {
		return planned(m)
	}
	switch m.Status {
	case outcome.Failed:
		return "FAILED: " + m.Error
	case outcome.Interrupted:
		return "interrupted"
	case outcome.Skipped:
		return "left out: " + unfoldable(m)
	case outcome.Copied:
		return "copied: " + unfoldable(m)
	}
	text := fmt.Sprintf("%4d -> %-4d %8s", m.Before, m.After, Bytes(m.Bytes))
	if p := m.Predictions; p.Status == outcome.Passed {
		text += "   " + Difference(p)
		if l := p.Latency; l != nil && l.Pairs > 0 {
			text += fmt.Sprintf(", latency x %.2f", l.Ratio)
		}
	}
	if m.Predictions.Status != outcome.Passed && m.Algebra.Status == outcome.Passed {
		text += "   algebra holds"
	}
	return text
}

// planned is what a run would do with a model.
func planned(m outcome.Model) string {
	switch m.Status {
	case outcome.Failed:
		return "would fail: " + m.Error
	case outcome.Interrupted:
		return "interrupted"
	case outcome.Skipped:
		return "would leave out: " + unfoldable(m)
	case outcome.Copied:
		return "would copy: " + unfoldable(m)
	}
	return fmt.Sprintf("would fold %d -> %d", m.Before, m.After)
}

// unfoldable is the reason why a model is not folded.
func unfoldable(m outcome.Model) string {
	switch m.Before {
	case 0:
		return "no per-channel nodes"
	case 1:
		return "its only per-channel node cannot be folded"
	}
	return fmt.Sprintf("none of %s per-channel nodes can be folded", number(m.Before))
}

// Difference is the result of comparing predictions, with its limit: "max difference 8e-7 (limit 1e-5)".
func Difference(c outcome.Check) string {
	text := "max difference " + short(c.Difference)
	if c.Limit > 0 {
		text += " (limit " + short(c.Limit) + ")"
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
func (l *Lines) End(e outcome.End) {
	less := l.missing.lines()
	if e.Unproven > 0 {
		less = []string{unproven(e, l.missing)}
	}
	if l.quiet && e.Unproven == 0 {
		return
	}
	for _, line := range less {
		l.warn("%s", line)
	}
	if l.quiet {
		return
	}
	if !l.start.DryRun {
		text, total := tally(e)
		l.print("%s: %s; %d -> %d per-channel nodes; %.1f s", count(total, "model"), text, l.sum.before, l.sum.after, e.Seconds)
	}
	for _, note := range e.Notes {
		l.warn("note: %s", Printable(note))
	}
	l.list(e.Pruned, "output", "removed")
	l.list(e.Orphans, "output", "without a source model: -prune removes them")
	if n := len(e.Unmatched); n > 0 {
		l.print("no rule matches %s of the zoo: %s", count(n, "file"), few(e.Unmatched))
	}
	exit := ""
	if e.Exit != 0 {
		exit = fmt.Sprintf("   (exit %d)", e.Exit)
	}
	if e.Report != "" {
		l.print("report: %s%s", printed(e.Report), exit)
	}
	if l.start.DryRun {
		l.plan(e)
	}
}

// plan ends a dry run: the outputs that would be removed, and what the run would do in one line.
func (l *Lines) plan(e outcome.End) {
	for _, path := range e.WouldRemove[:min(len(e.WouldRemove), maxLines)] {
		l.named(path, "would remove")
	}
	if n := len(e.WouldRemove) - maxLines; n > 0 {
		l.print("  and %d more, in report.json", n)
	}
	_, total := tally(e)
	l.print("%s planned in %.1f s: %d -> %d per-channel nodes", count(total, "model"), e.Seconds, l.sum.before, l.sum.after)
	l.print("plan: %s", plan(e))
}

// maxLines bounds the files of a list; report.json has them all.
const maxLines = 20

// few are the names of the first three files.
func few(files []string) string {
	const most = 3
	text := Printable(strings.Join(names(files[:min(len(files), most)]), ", "))
	if n := len(files) - most; n > 0 {
		text += fmt.Sprintf(" and %s more", number(n))
	}
	return text
}

// list writes a text about some files, and their names.
func (l *Lines) list(paths []string, what, text string) {
	if len(paths) == 0 {
		return
	}
	l.print("%s %s", count(len(paths), what), text)
	for _, p := range paths[:min(len(paths), maxLines)] {
		l.print("  %s", printed(p))
	}
	if n := len(paths) - maxLines; n > 0 {
		l.print("  and %d more, in report.json", n)
	}
}

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

// JSON writes one event per line: {"event": "start", …}, "begin", "model", "end".
type JSON struct{ w *Output }

// eventsSchema names the layout of JSON's events; the start event has it. A new name comes with a change that old readers
// would misread.
const eventsSchema = "zoofold-events/1"

// NewJSON writes JSON lines.
func NewJSON(w io.Writer) *JSON { return &JSON{NewOutput(w)} }

// Err is the first error of writing an event, or nil.
func (j *JSON) Err() error { return j.w.Err() }

func (j *JSON) event(name string, value any) {
	text, err := EncodeJSON(value, "", "")
	if err != nil {
		text = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	fmt.Fprintf(j.w, "{\"event\":%q,%s\n", name, text[1:])
}

// Start writes the start event.
func (j *JSON) Start(s outcome.Start) {
	j.event("start", struct {
		Schema string `json:"schema"`
		outcome.Start
	}{eventsSchema, cleanStart(s)})
}

// Begin writes a begin event.
func (j *JSON) Begin(b outcome.Begin) { j.event("begin", cleanBegin(b)) }

// Progress writes nothing: begin and model events show progress.
func (j *JSON) Progress(int64) {}

// Done writes a model event.
func (j *JSON) Done(m outcome.Model) { j.event("model", cleanModel(m)) }

// End writes the end event.
func (j *JSON) End(e outcome.End) { j.event("end", cleanEnd(e)) }
