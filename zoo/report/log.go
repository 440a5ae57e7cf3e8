package report

import (
	"context"
	"log/slog"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Log writes structured records: one at the run's start, one for each model that was worked on, one for each of the run's
// notes, and one at its end. Unchanged models and those not begun are only counted, as in Lines. A model that failed is an error, one that was
// interrupted a warning, and so is the end of a run that has either.
type Log struct {
	to  *slog.Logger
	sum nodes
}

// NewLog writes records to a logger.
func NewLog(to *slog.Logger) *Log { return &Log{to: to} }

// Start writes the record "run started".
func (l *Log) Start(s outcome.Start) {
	l.to.Info("run started", "version", s.Version, "manifest", printed(s.Manifest), "backend", Printable(s.Backend), "why", Printable(s.Why), "engine", Printable(s.Engine),
		"workers", s.Workers, "models", s.Models, "bytes", s.Bytes, "dry_run", s.DryRun)
}

// Begin writes nothing.
func (l *Log) Begin(outcome.Begin) {}

// Progress writes nothing.
func (l *Log) Progress(int64) {}

// Done writes the record "model folded", "model copied" or how else it ended.
func (l *Log) Done(m outcome.Model) {
	l.sum.add(m)
	if m.Status == outcome.Unchanged || m.Error == outcome.NotBegun {
		return
	}
	level := slog.LevelInfo
	switch m.Status {
	case outcome.Failed:
		level = slog.LevelError
	case outcome.Interrupted:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("path", printed(m.Path)), slog.String("status", string(m.Status))}
	if m.Error != "" {
		attrs = append(attrs, slog.String("error", Printable(m.Error)))
	}
	var n nodes
	n.add(m)
	attrs = append(attrs, slog.Float64("seconds", m.Seconds), slog.Int64("bytes", m.Bytes), slog.Int64("output_bytes", m.OutputBytes),
		slog.Int("before", n.before), slog.Int("after", n.after),
		checked("parity", m.Parity), checked("algebra", m.Algebra), checked("predictions", m.Predictions))
	if m.ExportBytes > 0 {
		attrs = append(attrs, slog.Int64("export_bytes", m.ExportBytes))
	}
	if len(m.Warnings) > 0 {
		var list []string
		for _, w := range m.Warnings {
			list = append(list, Printable(w))
		}
		attrs = append(attrs, slog.Any("warnings", list))
	}
	l.to.LogAttrs(context.Background(), level, "model "+string(m.Status), attrs...)
}

// checked is a check as a group of its fields. A check that was not asked for is left out.
func checked(name string, c outcome.Check) slog.Attr {
	if c.Status == outcome.NotRun && c.Note == outcome.NotAsked {
		return slog.Attr{}
	}
	attrs := []slog.Attr{slog.String("status", string(c.Status))}
	if c.Note != "" {
		attrs = append(attrs, slog.String("note", Printable(c.Note)))
	}
	if c.Compared > 0 {
		attrs = append(attrs, slog.Int64("compared", c.Compared))
	}
	if c.Difference > 0 || c.Jitter > 0 {
		attrs = append(attrs, slog.Float64("difference", c.Difference), slog.Float64("jitter", c.Jitter))
	}
	return slog.GroupAttrs(name, attrs...)
}

// End writes the record "run ended", and before it a record "note" for each note.
func (l *Log) End(e outcome.End) {
	for _, note := range e.Notes {
		l.to.Warn("note", "text", Printable(note))
	}
	var counts []slog.Attr
	for _, s := range []outcome.Status{outcome.Folded, outcome.Copied, outcome.Skipped, outcome.Unchanged, outcome.Failed, outcome.Interrupted} {
		counts = append(counts, slog.Int(string(s), e.Counts[s]))
	}
	level := slog.LevelInfo
	if e.Exit != 0 {
		level = slog.LevelWarn
	}
	l.to.LogAttrs(context.Background(), level, "run ended", slog.Int("exit", e.Exit), slog.Float64("seconds", e.Seconds), slog.GroupAttrs("models", counts...),
		slog.Int("before", l.sum.before), slog.Int("after", l.sum.after), slog.Int64("bytes", e.Bytes), slog.Int64("output_bytes", e.OutputBytes),
		slog.Int64("export_bytes", e.ExportBytes), slog.Int("unproven", e.Unproven), slog.Int64("peak_memory", e.PeakMemory), slog.Int("unmatched", len(e.Unmatched)),
		slog.Int("would_remove", len(e.WouldRemove)), slog.String("report", printed(e.Report)))
}
