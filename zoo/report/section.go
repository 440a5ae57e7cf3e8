package report

import (
	"cmp"
	"fmt"
	"slices"
)

// reason is why some maps of a model were left.
type reason struct {
	Code    string
	Count   int
	Example Map
}

// reasonsOf counts, the most frequent first.
func reasonsOf(m Model) []reason {
	var list []reason
	for _, x := range m.Maps {
		if x.Verdict != "left" {
			continue
		}
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

// section is what a row opens to.
type section struct {
	Error    string
	Warnings []string
	Facts    []fact
	Reasons  []reason
	Maps     []Map
	Hidden   int // maps that are not listed
}

// sectionOf takes the maps that it lists off what is left of the page's; nil if there is nothing to tell.
func sectionOf(m Model, reasons []reason, maps *int) *section {
	s := &section{Error: m.Error, Warnings: m.Warnings[:min(len(m.Warnings), mostWarnings)], Facts: proof(m), Reasons: reasons}
	verdicts := map[string]int{}
	for _, x := range m.Maps {
		verdicts[x.Verdict]++
	}
	if len(m.Maps) > 0 {
		text := count(len(m.Maps), "map")
		for k, v := range []string{"folded", "merged", "left"} {
			text += fmt.Sprintf("%s %d %s", ":,,"[k:k+1], verdicts[v], v)
		}
		s.Facts = append([]fact{{Name: "maps", Value: text}}, s.Facts...)
	}
	shown := max(0, min(len(m.Maps), mostMaps, *maps))
	*maps -= shown
	s.Maps, s.Hidden = m.Maps[:shown], len(m.Maps)-shown
	if s.Error == "" && len(s.Warnings)+len(s.Facts)+len(m.Maps) == 0 {
		return nil
	}
	return s
}

// proof says what the checks found, and what was measured.
func proof(m Model) []fact {
	var list []fact
	for _, c := range m.checks() {
		ran := c.Status == Passed || c.Status == Mismatch
		if !ran && (c.Note == NotAsked || c.Note == "") {
			continue
		}
		f := fact{Name: c.name, Bad: c.Status == Mismatch}
		switch {
		case !ran:
			f.Value = "not run: " + c.Note
		case c.Status == Mismatch:
			f.Value = c.Note
		case c.name == "parity":
			f.Value = number(c.Compared) + " rescaled weights equal, bit for bit"
		case c.name == "algebra":
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
	if m.Output != "" && m.OutputBytes > 0 && m.Status != Copied {
		list = append(list, fact{Name: "files", Value: fmt.Sprintf("%s read, %s written to %s", Bytes(m.Bytes), Bytes(m.OutputBytes), m.Output)})
	}
	return list
}

// predictions are those of a check that passed.
func predictions(c Check) string {
	text := fmt.Sprintf("off by %s of an output’s largest value; jitter %s", power(c.Difference, 1), power(c.Jitter, 1))
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
