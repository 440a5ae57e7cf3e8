package report

import (
	"context"
	"log/slog"
)

// Log writes structured records: one at the run's start, one for each model that was worked on, one for each of the run's
// notes, and one at its end. Unchanged models and those not begun are only counted, as in Lines. A model that failed is an error, one that was
// interrupted a warning, and so is the end of a run that has either.
type Log struct{ to *slog.Logger }

// NewLog writes records to a logger.
func NewLog(to *slog.Logger) *Log { return &Log{to} }

// Start writes the record "run started".
func (l *Log) Start(s Start) {
	l.to.Info("run started", "version", s.Version, "manifest", s.Manifest, "backend", s.Backend, "why", s.Why, "engine", s.Engine,
		"workers", s.Workers, "models", s.Models, "bytes", s.Bytes, "dry_run", s.DryRun)
}

// Begin writes nothing.
func (l *Log) Begin(Begin) {}

// Progress writes nothing.
func (l *Log) Progress(int64) {}

// Done writes the record "model folded", "model copied" or how else it ended.
func (l *Log) Done(m Model) {
	if m.Status == Unchanged || m.Error == NotBegun {
		return
	}
	level := slog.LevelInfo
	switch m.Status {
	case Failed:
		level = slog.LevelError
	case Interrupted:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("path", m.Path), slog.String("status", string(m.Status))}
	if m.Error != "" {
		attrs = append(attrs, slog.String("error", m.Error))
	}
	attrs = append(attrs, slog.Float64("seconds", m.Seconds), slog.Int64("bytes", m.Bytes), slog.Int64("output_bytes", m.OutputBytes),
		slog.Int("before", m.Before), slog.Int("after", m.After),
		checked("parity", m.Parity), checked("algebra", m.Algebra), checked("predictions", m.Predictions))
	if len(m.Warnings) > 0 {
		attrs = append(attrs, slog.Any("warnings", m.Warnings))
	}
	l.to.LogAttrs(context.Background(), level, "model "+string(m.Status), attrs...)
}

// checked is a check as a group of what it has to say. A check that was not asked for is left out.
func checked(name string, c Check) slog.Attr {
	if c.Status == NotRun && c.Note == NotAsked {
		return slog.Attr{}
	}
	attrs := []slog.Attr{slog.String("status", string(c.Status))}
	if c.Note != "" {
		attrs = append(attrs, slog.String("note", c.Note))
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
func (l *Log) End(e End) {
	for _, note := range e.Notes {
		l.to.Warn("note", "text", note)
	}
	var counts []slog.Attr
	for _, s := range []Status{Folded, Copied, Skipped, Unchanged, Failed, Interrupted} {
		counts = append(counts, slog.Int(string(s), e.Counts[s]))
	}
	level := slog.LevelInfo
	if e.Exit != 0 {
		level = slog.LevelWarn
	}
	l.to.LogAttrs(context.Background(), level, "run ended", slog.Int("exit", e.Exit), slog.Float64("seconds", e.Seconds), slog.GroupAttrs("models", counts...),
		slog.Int("before", e.Before), slog.Int("after", e.After), slog.Int64("bytes", e.Bytes), slog.Int64("output_bytes", e.OutputBytes),
		slog.Int64("peak_memory", e.PeakMemory), slog.Int("unmatched", len(e.Unmatched)), slog.String("report", e.Report))
}
