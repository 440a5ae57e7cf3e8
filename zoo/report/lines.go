package report

import (
	"fmt"
	"io"
	"strings"
)

// Lines writes one plain line a model, for logs.
type Lines struct {
	w       *Output
	quiet   bool // failures only
	missing gaps
	start   Start
	sum     nodes
}

// NewLines writes plain lines.
func NewLines(w io.Writer) *Lines { return &Lines{w: NewOutput(w), missing: gaps{}} }

// NewQuiet writes the lines of models that failed, one if models were kept with less proof than asked, and nothing if all is
// well.
func NewQuiet(w io.Writer) *Lines { return &Lines{w: NewOutput(w), quiet: true, missing: gaps{}} }

// Err is what kept a line from being written, or nil.
func (l *Lines) Err() error { return l.w.Err() }

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
	text := fmt.Sprintf("zoofold %s: %s, %s; %s%s", s.Version, count(s.Models, "model"), Bytes(s.Bytes), s.Backend, why)
	fmt.Fprintln(l.w, Printable(text))
}

// Begin writes nothing.
func (l *Lines) Begin(Begin) {}

// Progress writes nothing.
func (l *Lines) Progress(int64) {}

// Done writes the model's line. Unchanged models are only counted, and so are those that an interrupted run did not begin.
func (l *Lines) Done(m Model) {
	l.missing.add(m)
	l.sum.add(m)
	if m.Status == Unchanged || m.Error == NotBegun || l.quiet && m.Status != Failed {
		return
	}
	l.named(m.Path, l.line(m))
}

// named writes what is to be said of a file behind its name.
func (l *Lines) named(path, text string) {
	fmt.Fprintf(l.w, "%-58s %s\n", printed(path), Printable(text))
}

func (l *Lines) line(m Model) string {
	if l.start.DryRun {
		return planned(m)
	}
	switch m.Status {
	case Failed:
		return "FAILED: " + m.Error
	case Interrupted:
		return "interrupted"
	case Skipped:
		return "left out: " + unfoldable(m)
	case Copied:
		return "copied: " + unfoldable(m)
	}
	text := fmt.Sprintf("%4d -> %-4d %8s", m.Before, m.After, Bytes(m.Bytes))
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

// planned is what a run would do with a model.
func planned(m Model) string {
	switch m.Status {
	case Failed:
		return "would fail: " + m.Error
	case Interrupted:
		return "interrupted"
	case Skipped:
		return "would leave out: " + unfoldable(m)
	case Copied:
		return "would copy: " + unfoldable(m)
	}
	return fmt.Sprintf("would fold %d -> %d", m.Before, m.After)
}

// unfoldable is why a model is not folded.
func unfoldable(m Model) string {
	switch m.Before {
	case 0:
		return "no per-channel nodes"
	case 1:
		return "its only per-channel node cannot be folded"
	}
	return fmt.Sprintf("none of %s per-channel nodes can be folded", number(m.Before))
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
	less := l.missing.lines()
	if e.Unproven > 0 {
		less = []string{e.unproven(l.missing)}
	}
	if l.quiet && e.Unproven == 0 {
		return
	}
	for _, line := range less {
		fmt.Fprintln(l.w, line)
	}
	if l.quiet {
		return
	}
	if !l.start.DryRun {
		text, total := e.tally()
		fmt.Fprintf(l.w, "%s: %s; %d -> %d per-channel nodes; %.1f s\n", count(total, "model"), text, l.sum.before, l.sum.after, e.Seconds)
	}
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
		fmt.Fprintf(l.w, "report: %s%s\n", printed(e.Report), exit)
	}
	if l.start.DryRun {
		l.plan(e)
	}
}

// plan ends a dry run: the outputs that would be removed, and what the run would do in one line.
func (l *Lines) plan(e End) {
	for _, path := range e.WouldRemove[:min(len(e.WouldRemove), maxLines)] {
		l.named(path, "would remove")
	}
	if n := len(e.WouldRemove) - maxLines; n > 0 {
		fmt.Fprintf(l.w, "  and %d more, in report.json\n", n)
	}
	_, total := e.tally()
	fmt.Fprintf(l.w, "%s planned in %.1f s: %d -> %d per-channel nodes\n", count(total, "model"), e.Seconds, l.sum.before, l.sum.after)
	fmt.Fprintf(l.w, "plan: %s\n", e.plan())
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
		fmt.Fprintf(l.w, "  %s\n", printed(p))
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

// JSON writes one event a line: {"event": "start", …}, "begin", "model", "end".
type JSON struct{ w *Output }

// NewJSON writes JSON lines.
func NewJSON(w io.Writer) *JSON { return &JSON{NewOutput(w)} }

// Err is what kept an event from being written, or nil.
func (j *JSON) Err() error { return j.w.Err() }

func (j *JSON) event(name string, value any) {
	text, err := EncodeJSON(value, "", "")
	if err != nil {
		text = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	fmt.Fprintf(j.w, "{\"event\":%q,%s\n", name, text[1:])
}

// Start writes the start event.
func (j *JSON) Start(s Start) { j.event("start", s.clean()) }

// Begin writes a begin event.
func (j *JSON) Begin(b Begin) { j.event("begin", b.clean()) }

// Progress writes nothing: begin and model events tell.
func (j *JSON) Progress(int64) {}

// Done writes a model event.
func (j *JSON) Done(m Model) { j.event("model", m.clean()) }

// End writes the end event.
func (j *JSON) End(e End) { j.event("end", e.clean()) }

// Tee sends every event to each of several sinks, in order.
type Tee []Sink

// Err is the first of them that has one: what kept an output from being written, or nil.
func (t Tee) Err() error {
	for _, s := range t {
		if o, ok := s.(interface{ Err() error }); ok && o.Err() != nil {
			return o.Err()
		}
	}
	return nil
}

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
