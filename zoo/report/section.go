package report

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// reason is why some per-channel nodes remain in a folded model.
type reason struct {
	Code    string
	Count   int
	Example outcome.Left
}

// reasonsOf counts, the most frequent first. The counts add up to the model's nodes after folding. A model that was not kept
// has none.
func reasonsOf(m outcome.Model) []reason {
	var list []reason
	if !m.Kept() {
		return nil
	}
	for _, x := range m.Remaining {
		k := slices.IndexFunc(list, func(r reason) bool { return r.Code == x.Code })
		if k < 0 {
			k = len(list)
			list = append(list, reason{Code: x.Code, Example: x})
		}
		list[k].Count++
	}
	slices.SortFunc(list, func(a, b reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	return list
}

// because are reasons in a few words: "border 13, nonlinear 1".
func because(list []reason) string {
	var words []string
	for _, r := range list {
		words = append(words, fmt.Sprintf("%s %d", r.Code, r.Count))
	}
	return strings.Join(words, ", ")
}

// Account says in one line what became of a model's per-channel nodes:
//
//	157 per-channel nodes: 129 folded, 28 merged into 14, 0 left; 14 remain (border 13, nonlinear 1)
//
// The first number is folded + merged + left, the last one left + what was merged into.
func Account(m outcome.Model) string {
	if len(m.Maps)+len(m.Remaining) == 0 {
		return "no per-channel nodes"
	}
	verdicts := map[string]int{}
	for _, x := range m.Maps {
		verdicts[x.Verdict]++
	}
	text := fmt.Sprintf("%s: %d folded, %d merged", count(len(m.Maps), "per-channel node"), verdicts["folded"], verdicts["merged"])
	if verdicts["merged"] > 0 {
		text += fmt.Sprintf(" into %d", len(m.Remaining)-verdicts["left"])
	}
	text += fmt.Sprintf(", %d left", verdicts["left"])
	switch n := len(m.Remaining); n {
	case 0:
		return text + "; none remain"
	case 1:
		return text + "; 1 remains (" + because(reasonsOf(m)) + ")"
	default:
		return text + fmt.Sprintf("; %s remain (%s)", number(n), because(reasonsOf(m)))
	}
}

// Fate says what became of a per-channel node, and why.
func Fate(m outcome.Map) string {
	why := m.Code + ": " + m.Reason
	switch into := "into " + strings.Join(m.Into, ", "); {
	case len(m.Into) > 0 && m.Code != "":
		return into + "; " + why
	case len(m.Into) > 0:
		return into
	case m.Code != "":
		return why
	}
	return "removed: no effect, or cancels another, or nothing needs it"
}

// section is what a row opens to.
type section struct {
	Error    string
	Warnings []string
	Facts    []fact
	Reasons  []reason
	Folds    []drawn
	Maps     []outcome.Map
	Hidden   int // nodes that are not listed
}

// Listed is Maps as rows of a table. There are many, and the template takes its time for each value.
func (s *section) Listed() template.HTML {
	var b strings.Builder
	for k := range s.Maps {
		m := &s.Maps[k]
		for _, part := range []string{"<tr><td><code>", brief(m.Node), "</code></td><td>", template.HTMLEscapeString(m.Verdict), "</td><td>", brief(Fate(*m)), "</td></tr>\n"} {
			b.WriteString(part)
		}
	}
	return template.HTML(b.String())
}

// brief is a name or a reason as HTML.
func brief(text string) string { return template.HTMLEscapeString(cut(text, mostInName)) }

// sectionOf is a model's section; nil if there is nothing to show. It subtracts the nodes that it lists and the folds that
// it draws from those that the page may still show.
func sectionOf(m outcome.Model, reasons []reason, maps, folds *int) *section {
	s := &section{Error: m.Error, Warnings: m.Warnings[:min(len(m.Warnings), mostWarnings)], Facts: proof(m), Reasons: reasons}
	if len(m.Maps) > 0 && m.Kept() {
		name, text, _ := strings.Cut(Account(m), ": ")
		s.Facts = append([]fact{{Name: name, Value: text}}, s.Facts...)
	}
	s.Folds = drawFolds(m, folds)
	shown := max(0, min(len(m.Maps), mostMaps, *maps))
	*maps -= shown
	s.Maps, s.Hidden = m.Maps[:shown], len(m.Maps)-shown
	if s.Error == "" && len(s.Warnings)+len(s.Facts)+len(m.Maps)+len(s.Folds) == 0 {
		return nil
	}
	return s
}

// proof are the results of the checks, and the measurements.
func proof(m outcome.Model) []fact {
	var list []fact
	for _, c := range m.Checks() {
		ran := c.Status == outcome.Passed || c.Status == outcome.Mismatch
		if !ran && (c.Note == outcome.NotAsked || c.Note == "") {
			continue
		}
		f := fact{Name: c.Name, Bad: c.Status == outcome.Mismatch}
		switch {
		case !ran:
			f.Value = "not run: " + c.Note
		case c.Status == outcome.Mismatch:
			f.Value = c.Note
		case c.Name == "parity":
			f.Value = number(c.Compared) + " rescaled weights equal, bit for bit"
		case c.Name == "algebra":
			f.Value = fmt.Sprintf("%s equal in float64; at most %.2g of the limit on rounding", count(int(c.Compared), "changed part"), c.Difference)
			if c.Note != "" {
				f.Value += "; " + c.Note
			}
		default:
			f.Value = predictions(c.Check)
		}
		list = append(list, f)
	}
	if l := m.Predictions.Latency; l != nil {
		f := fact{Name: "latency", Value: "not measured: " + l.Note}
		if l.Pairs > 0 {
			f.Value = fmt.Sprintf("%s → %s, × %.2f (quartiles %.2f and %.2f of %s) on %s",
				seconds(l.Before), seconds(l.After), l.Ratio, l.Low, l.High, count(l.Pairs, "pair"), l.Input)
		}
		list = append(list, f)
	}
	if m.Output != "" && m.OutputBytes > 0 && m.Status != outcome.Copied {
		list = append(list, fact{Name: "files", Value: fmt.Sprintf("%s read, %s written to %s", Bytes(m.Bytes), Bytes(m.OutputBytes), m.Output)})
	}
	if m.ExportBytes > 0 && m.Kept() {
		list = append(list, fact{Name: "exports", Value: Bytes(m.ExportBytes)})
	}
	return list
}

// predictions are those of a check that passed.
func predictions(c outcome.Check) string {
	text := fmt.Sprintf("max difference %s of an output’s largest value; jitter %s", power(c.Difference, 1), power(c.Jitter, 1))
	if c.Limit > 0 {
		text += ", limit " + power(c.Limit, 1)
	}
	text += fmt.Sprintf("; %s values", number(c.Compared))
	if c.Decisions > 0 {
		text += fmt.Sprintf(", %s decisions", number(c.Decisions))
		if c.Flipped > 0 {
			text += fmt.Sprintf(", %s of them changed within the noise", number(c.Flipped))
		}
	}
	return text
}
