package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// fact is a name with a value.
type fact struct {
	Name, Value, Note string
	Bad               bool
}

// statuses are the words for how models ended, in the order of reports.
var statuses = []struct {
	status outcome.Status
	words  string
	plan   string // in a dry run
}{
	{outcome.Folded, "folded", "to fold"}, {outcome.Copied, "had nothing to fold", "to copy"}, {outcome.Skipped, "left out", "to leave out"},
	{outcome.Unchanged, "unchanged", "unchanged"}, {outcome.Failed, "failed", "would fail"}, {outcome.Interrupted, "interrupted", "not planned"},
}

// tally says how many models ended how: "11 folded, 15 had nothing to fold".
func tally(e outcome.End) (text string, total int) {
	var parts []string
	for _, s := range statuses {
		if n := e.Counts[s.status]; n > 0 {
			parts = append(parts, number(n)+" "+s.words)
			total += n
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing to do"}
	}
	return strings.Join(parts, ", "), total
}

// plan says what a run would do, after a dry one: "3 to fold, 1 would fail, 2 to remove".
func plan(e outcome.End) string {
	var parts []string
	for _, s := range statuses {
		if n := e.Counts[s.status]; n > 0 {
			parts = append(parts, number(n)+" "+s.plan)
		}
	}
	if n := len(e.WouldRemove); n > 0 {
		parts = append(parts, number(n)+" to remove")
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}

// nodes are per-channel nodes, before and after.
type nodes struct{ before, after int }

// add adds a model's. One that was not kept is as it was.
func (n *nodes) add(m outcome.Model) {
	n.before += m.Before
	if m.Kept() {
		n.after += m.After
	} else {
		n.after += m.Before
	}
}

// sum adds the nodes of all models up.
func (d *Document) sum() (n nodes) {
	for _, m := range d.Models {
		n.add(m)
	}
	return n
}

// headline is the run in one sentence.
func (d *Document) headline() string {
	c, total := d.Result.Counts, len(d.Models)
	switch {
	case c[outcome.Failed] > 0:
		return fmt.Sprintf("%s of %s failed", number(c[outcome.Failed]), count(total, "model"))
	case c[outcome.Interrupted] > 0:
		return fmt.Sprintf("Interrupted: %s of %s not done", number(c[outcome.Interrupted]), count(total, "model"))
	case d.Run.DryRun:
		return fmt.Sprintf("A dry run of %s: nothing was written", count(total, "model"))
	case total == 0:
		return "No models"
	case total == 1:
		return fmt.Sprintf("One model, %s", d.Models[0].Status)
	case c[outcome.Unchanged] == total:
		return fmt.Sprintf("All %s are unchanged", count(total, "model"))
	}
	return fmt.Sprintf("All %s are done", count(total, "model"))
}

// outcome says in words how the models ended.
func (d *Document) outcome() string {
	text, _ := tally(d.Result)
	if d.Run.DryRun {
		text = plan(d.Result)
	}
	n := d.sum()
	return fmt.Sprintf("%s; %s → %s per-channel nodes; %s", text, number(n.before), number(n.after), seconds(d.Result.Seconds))
}

// totals are the figures on top of the page.
func (d *Document) totals() []fact {
	e, n := d.Result, d.sum()
	list := []fact{
		{Name: "per-channel nodes", Value: fmt.Sprintf("%s → %s", number(n.before), number(n.after)), Note: change(float64(n.before), float64(n.after))},
		d.size(),
	}
	if e.ExportBytes > 0 {
		list = append(list, fact{Name: "exports", Value: Bytes(e.ExportBytes), Note: "beside the folded models"})
	}
	for k, name := range outcome.CheckNames {
		passed, failed, missing := 0, 0, 0
		for _, m := range d.Models {
			switch c := m.Checks()[k]; {
			case c.Status == outcome.Passed:
				passed++
			case c.Status == outcome.Mismatch:
				failed++
			case m.Unchecked(c.Check):
				missing++
			}
		}
		f := fact{Name: name, Value: number(passed) + " passed", Bad: failed > 0}
		var notes []string
		if failed > 0 {
			f.Value = number(failed) + " failed"
			notes = append(notes, number(passed)+" passed")
		}
		if missing > 0 {
			notes = append(notes, number(missing)+" not run")
		}
		if passed+failed+missing == 0 {
			f.Value = "not run"
			notes = append(notes, "not asked for")
		}
		f.Note = strings.Join(notes, ", ")
		list = append(list, f)
	}
	latency := fact{Name: "latency", Value: "not measured", Note: "-latency does, where predictions run"}
	if mean, n := d.latency(); n > 0 {
		before, after := d.predictionTime()
		latency.Value = fmt.Sprintf("× %.2f", mean)
		latency.Note = fmt.Sprintf("geometric mean of %s; %s → %s in all", count(n, "model"), seconds(before), seconds(after))
	}
	return append(list, latency, fact{Name: "time", Value: seconds(e.Seconds), Note: d.effort()})
}

// size is that of the models that have an output, without exports.
func (d *Document) size() fact {
	var before, after int64
	for _, m := range d.Models {
		if m.OutputBytes > 0 && m.Kept() {
			before, after = before+m.Bytes, after+m.OutputBytes
		}
	}
	if after == 0 {
		return fact{Name: "bytes", Value: Bytes(d.Result.Bytes), Note: "nothing written"}
	}
	return fact{Name: "bytes", Value: Bytes(after), Note: Bytes(before) + " before, " + change(float64(before), float64(after))}
}

// change is from one number to another in per cent.
func change(before, after float64) string {
	switch {
	case before <= 0 || before == after:
		return "the same"
	case after < before:
		return percent(1-after/before) + " less"
	}
	return percent(after/before-1) + " more"
}

// percent is a share for people: "0.26 %", "74 %".
func percent(share float64) string {
	if share >= 0.0995 {
		return fmt.Sprintf("%.0f %%", 100*share)
	}
	return fmt.Sprintf("%.2g %%", max(100*share, 0.01))
}

// latency is the geometric mean over the models that were measured.
func (d *Document) latency() (mean float64, measured int) {
	var l latencies
	for k := range d.Models {
		l.add(d.Models[k].Predictions.Latency)
	}
	return l.mean(), l.measured
}

// latencies are the ratios of the models that were measured.
type latencies struct {
	logs     float64 // their sum
	measured int
}

func (l *latencies) add(x *outcome.Latency) {
	if x != nil && x.Ratio > 0 {
		l.logs += math.Log(x.Ratio)
		l.measured++
	}
}

// mean is the geometric one; 1 of none.
func (l *latencies) mean() float64 { return math.Exp(l.logs / float64(max(l.measured, 1))) }

// predictionTime is what one prediction of each model that was measured takes, before and after folding, in seconds.
func (d *Document) predictionTime() (before, after float64) {
	for _, m := range d.Models {
		if l := m.Predictions.Latency; l != nil && l.Ratio > 0 {
			before, after = before+l.Before, after+l.After
		}
	}
	return before, after
}

// effort is what the run took besides time.
func (d *Document) effort() string {
	text := count(d.Run.Workers, "worker")
	if d.Result.PeakMemory > 0 {
		text += ", peak memory " + Bytes(d.Result.PeakMemory)
	}
	return text
}

// alerts are the warnings, the worst first: failed models, missing proof, and problems with devices or files.
func (d *Document) alerts(rows []row) []alert {
	var list []alert
	for _, note := range d.Result.Notes {
		if !d.harmless(note) {
			list = append(list, alert{Text: Printable(note)})
		}
	}
	if d.Result.Unproven > 0 {
		list = append(list, alert{Text: cut(unproven(d.Result, d.gaps()), mostInText)})
	}
	for _, r := range rows {
		if r.Status == outcome.Failed {
			list = append(list, alert{r.ID, r.Path, cut(r.Error, mostInRow)})
		}
	}
	return first(list)
}

// notes are harmless remarks: settings without effect, and notes on models.
func (d *Document) notes(rows []row) []alert {
	var list []alert
	for _, note := range d.Result.Notes {
		if d.harmless(note) {
			list = append(list, alert{Text: Printable(note)})
		}
	}
	for _, r := range rows {
		for _, w := range r.Warnings {
			list = append(list, alert{r.ID, r.Path, cut(w, mostInRow)})
		}
	}
	return first(list)
}

// harmless says whether a note is on a setting of the manifest.
func (d *Document) harmless(note string) bool {
	return strings.HasPrefix(note, Printable(d.Run.Manifest)+":")
}

// first are as many alerts as the page has room for, and how many more there are.
func first(list []alert) []alert {
	if more := len(list) - mostAlerts; more > 0 {
		return append(list[:mostAlerts:mostAlerts], alert{Text: fmt.Sprintf("%d more, in the table", more)})
	}
	return list
}

// gaps counts the checks of kept models that were asked for and did not run, by check and reason. Unchanged models count as
// kept.
type gaps map[[2]string]int

func (g gaps) add(m outcome.Model) {
	for _, c := range m.Checks() {
		if m.Unchecked(c.Check) {
			g[[2]string{c.Name, c.Note}]++
		}
	}
}

func (d *Document) gaps() gaps {
	missing := gaps{}
	for _, m := range d.Models {
		missing.add(m)
	}
	return missing
}

// unproven says in one line how many models were kept with less proof than was asked for, and what is missing.
func unproven(e outcome.End, missing gaps) string {
	text := count(e.Unproven, "model") + " were"
	if e.Unproven == 1 {
		text = "1 model was"
	}
	text += " kept with less proof than asked"
	lines := missing.lines()
	if len(lines) > 0 {
		text += ": " + strings.Join(lines[:min(len(lines), mostMissing)], "; ")
	}
	if n := len(lines) - mostMissing; n > 0 {
		text += fmt.Sprintf("; %d more reasons", n)
	}
	return text
}

// lines are sorted: "predictions not run for 3 models: …".
func (g gaps) lines() []string {
	var list []string
	for what, n := range g {
		list = append(list, fmt.Sprintf("%s not run for %s: %s", what[0], count(n, "model"), Printable(what[1])))
	}
	slices.Sort(list)
	return list
}

// mostMissing bounds the lines on checks that did not run, and mostFiles the files of a list.
const (
	mostMissing = 10
	mostFiles   = 20
)

// facts describe how the run was made.
func (d *Document) facts() []fact {
	backend := d.Run.Backend
	if d.Run.Why != "" {
		backend += " (" + d.Run.Why + ")"
	}
	list := []fact{{Name: "backend", Value: backend}, {Name: "predictions", Value: d.Run.Engine}}
	lines := d.gaps().lines()
	for _, line := range lines[:min(len(lines), mostMissing)] {
		list = append(list, fact{Name: "not run", Value: line})
	}
	if n := len(lines) - mostMissing; n > 0 {
		list = append(list, fact{Name: "not run", Value: fmt.Sprintf("%d more reasons in report.json", n)})
	}
	for _, l := range []struct {
		name  string
		files []string
	}{{"no rule for", d.Result.Unmatched}, {"outputs without a source model", d.Result.Orphans}, {"removed", d.Result.Pruned}, {"would remove", d.Result.WouldRemove}} {
		if len(l.files) > 0 {
			list = append(list, fact{Name: l.name, Value: some(l.files)})
		}
	}
	return list
}

// some are the first of many files.
func some(files []string) string {
	text := strings.Join(files[:min(len(files), mostFiles)], ", ")
	if n := len(files) - mostFiles; n > 0 {
		text += fmt.Sprintf(" and %s more", number(n))
	}
	return text
}
