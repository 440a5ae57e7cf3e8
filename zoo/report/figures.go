package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// figure is a plot on the page. The template draws it: colours, fonts and widths are the style sheet's, so that one drawing is
// right in light, dark and on paper, and on every screen.
type figure struct {
	Title   string
	Bars    []bar    // a line each
	Scatter *scatter // or this
	Note    string   // below it
}

// bar is a line of a plot.
type bar struct {
	Name, Text    string
	before, after float64 // in the plot's unit
	low, high     float64 // quartiles of after, where it has some
	Bad           bool
	Noisy         bool // what is shown may be noise

	Before, After  float64 // lengths in per cent of the longest; 0: none
	Low, High, One float64 // places of the quartiles and of 1 in per cent; After is a place then
}

// Short is the end of a name, which tells models apart.
func (b bar) Short() string { return tail(b.Name, 32) }

// mostBars bounds the lines of a plot; what is left out is said below it.
const mostBars = 12

// figures are those that have something to show.
func (d *Document) figures() []figure {
	var list []figure
	for _, draw := range []func() (figure, bool){d.differences, d.nodes, d.reasons, d.sizes, d.times, d.latencies} {
		if f, ok := draw(); ok {
			list = append(list, f)
		}
	}
	return list
}

// nodes is a plot of per-channel nodes before and after.
func (d *Document) nodes() (figure, bool) {
	var list []bar
	for _, m := range d.Models {
		if m.Before > 0 && m.Kept() {
			list = append(list, bar{Name: m.Path, before: float64(m.Before), after: float64(m.After), Text: fmt.Sprintf("%d → %d", m.Before, m.After)})
		}
	}
	return largest("Per-channel nodes, before and after", list, func(before, after float64) string {
		return number(int(before)) + " → " + number(int(after))
	})
}

// sizes is a plot of the models' bytes before and after.
func (d *Document) sizes() (figure, bool) {
	var list []bar
	for _, m := range d.Models {
		if m.Bytes > 0 && m.OutputBytes > 0 && m.Kept() {
			text := Bytes(m.OutputBytes)
			if math.Abs(float64(m.OutputBytes)/float64(m.Bytes)-1) > 1e-3 {
				text += ", " + change(float64(m.Bytes), float64(m.OutputBytes))
			}
			list = append(list, bar{Name: m.Path, before: float64(m.Bytes), after: float64(m.OutputBytes), Text: text})
		}
	}
	return largest("Size, before and after", list, func(before, after float64) string {
		return fmt.Sprintf("%s → %s", Bytes(int64(before)), Bytes(int64(after)))
	})
}

// reasons is a plot of why per-channel nodes are in the folded models.
func (d *Document) reasons() (figure, bool) {
	byCode, models := map[string]int{}, map[string]int{}
	for _, m := range d.Models {
		for _, r := range reasonsOf(m) {
			byCode[r.Code] += r.Count
			models[r.Code]++
		}
	}
	var list []bar
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		list = append(list, bar{Name: code, after: float64(byCode[code]), Text: fmt.Sprintf("%s in %s", number(byCode[code]), count(models[code], "model"))})
	}
	return largest("Per-channel nodes that remain, by reason", list, func(_, after float64) string { return count(int(after), "node") })
}

// times is a plot of the slowest models.
func (d *Document) times() (figure, bool) {
	var list []bar
	for _, m := range d.Models {
		if m.Seconds > 0 && m.Status != outcome.Unchanged {
			list = append(list, bar{Name: m.Path, after: m.Seconds, Text: seconds(m.Seconds), Bad: m.Status == outcome.Failed})
		}
	}
	return largest("Time, checks included", list, func(_, after float64) string { return seconds(after) })
}

// largest is a plot of the longest bars; total words the sums of what is left out.
func largest(title string, list []bar, total func(before, after float64) string) (figure, bool) {
	f := figure{Title: title}
	if len(list) == 0 {
		return f, false
	}
	slices.SortStableFunc(list, func(a, b bar) int {
		return cmp.Or(cmp.Compare(max(b.before, b.after), max(a.before, a.after)), cmp.Compare(a.Name, b.Name))
	})
	if rest := list[min(len(list), mostBars):]; len(rest) > 0 {
		var before, after float64
		for _, b := range rest {
			before, after = before+b.before, after+b.after
		}
		f.Note = fmt.Sprintf("%s more: %s", number(len(rest)), total(before, after))
		list = list[:mostBars]
	}
	most := 0.0
	for _, b := range list {
		most = max(most, b.before, b.after)
	}
	long := func(x float64) float64 { return max(least, 100*x/max(most, math.SmallestNonzeroFloat64)) }
	for k := range list {
		b := &list[k]
		if b.After = long(b.after); b.before > 0 {
			b.Before = long(b.before)
		}
	}
	f.Bars = list
	return f, true
}

// least is the length of a bar that can be seen, in per cent.
const least = 0.4

// latencies is a plot of what folding does to the time of a prediction: the median, and the quartiles as a line.
func (d *Document) latencies() (figure, bool) {
	var list []bar
	for _, m := range d.Models {
		if l := m.Predictions.Latency; l != nil && l.Pairs > 0 && l.Ratio > 0 {
			list = append(list, bar{Name: m.Path, after: l.Ratio, low: l.Low, high: l.High, Noisy: !isClear(l), Text: fmt.Sprintf("%.2f of %s", l.Ratio, seconds(l.Before))})
		}
	}
	f := figure{Title: "Latency in ONNX Runtime, after ÷ before", Note: "One thread, its own optimisations on, runs of both models in turns: medians and quartiles; grey where it may be noise."}
	if len(list) == 0 {
		return f, false
	}
	mean, n := d.latency()
	f.Note += fmt.Sprintf(" Geometric mean of %s: %.2f.", count(n, "model"), mean)
	if len(list) > mostBars { // those that changed most
		slices.SortStableFunc(list, func(a, b bar) int {
			return cmp.Compare(math.Abs(math.Log(b.after)), math.Abs(math.Log(a.after)))
		})
		f.Note += fmt.Sprintf(" Shown: the %d that changed most.", mostBars)
		list = list[:mostBars]
	}
	slices.SortStableFunc(list, func(a, b bar) int { return cmp.Compare(a.after, b.after) })
	from, to := 0.9, 1.05
	for _, b := range list {
		from, to = min(from, b.low, b.after), max(to, b.high, b.after)
	}
	place := func(x float64) float64 { return 2 + 96*(x-from)/(to-from) }
	for k := range list {
		b := &list[k]
		b.After, b.Low, b.High, b.One = place(b.after), place(b.low), place(b.high), place(1)
	}
	f.Bars = list
	return f, true
}

// scatter is a plot of points over two logarithmic axes, in the units of its drawing.
type scatter struct {
	Alt                      string // what it says to those who do not see it
	Width, Height            float64
	Left, Right, Top, Bottom float64 // the axes
	X, Y                     []tick
	Limit                    string  // the line of the limit, as the data of an SVG path
	LimitAt                  float64 // its height, where it begins
	Usual, Wide, Bad         string  // the marks, likewise
	Dot                      float64 // the diameter of a mark
}

// tick is a mark of an axis.
type tick struct {
	At    float64
	Label string // "": none
}

// The scatter's axes: what is smaller than nothing is drawn as nothing.
const (
	nothing = 1e-9
	grain   = 1.5 // marks closer together are one mark
)

// differences is a plot of every model's difference beside its answer to a jitter.
func (d *Document) differences() (figure, bool) {
	type point struct{ jitter, difference float64 }
	var usual, wide, bad []point
	right, top := outcome.MinLimit, 10*outcome.MinLimit
	for _, m := range d.Models {
		c := m.Predictions
		if c.Status == outcome.NotRun || c.Compared == 0 {
			continue
		}
		p := point{max(c.Jitter, nothing), max(c.Difference, nothing)}
		right, top = max(right, 2*p.jitter), max(top, 2*p.difference)
		switch {
		case c.Status == outcome.Mismatch:
			bad = append(bad, p)
		case c.Limit > 1.01*outcome.Limit(c.Jitter, 0):
			wide = append(wide, p)
		default:
			usual = append(usual, p)
		}
	}
	n := len(usual) + len(wide) + len(bad)
	f := figure{Title: "Predictions: difference against jitter"}
	if n == 0 {
		return f, false
	}
	f.Note = fmt.Sprintf("%s. The line is the limit: four times the original’s own answer to a one-ulp jitter, and at least 1e-5.", count(n, "model"))
	if len(wide) > 0 {
		f.Note += " Rings have a wider limit: 16-bit weights, or a tolerance in the manifest."
	}
	right, top = min(right, 1e3), min(top, 1e3)
	s := &scatter{Width: 400, Height: 190, Left: 46, Right: 384, Top: 6, Bottom: 156, Dot: 4.5}
	if n > 500 {
		s.Dot = 2
	}
	s.Alt = fmt.Sprintf("%s: %d models passed, %d failed", f.Title, n-len(bad), len(bad))
	x := func(v float64) float64 { return s.Left + 6 + (s.Right-s.Left-6)*along(v, right) }
	y := func(v float64) float64 { return s.Bottom - 6 - (s.Bottom-s.Top-6)*along(v, top) }
	s.X, s.Y = decades(right, x), decades(top, y)
	edge := min(right, top/4)
	s.Limit = fmt.Sprintf("M%.1f %.1fH%.1fL%.1f %.1f", x(nothing), y(outcome.MinLimit), x(outcome.MinLimit/4), x(edge), y(outcome.Limit(edge, 0)))
	s.LimitAt = y(outcome.MinLimit)
	marks := func(list []point, shape string) string {
		type cell struct{ x, y int }
		taken := map[cell]bool{}
		var b strings.Builder
		for _, p := range list {
			at := cell{int(x(p.jitter) / grain), int(y(p.difference) / grain)}
			if !taken[at] {
				fmt.Fprintf(&b, "M%.1f %.1f%s", x(p.jitter), y(p.difference), shape)
			}
			taken[at] = true
		}
		return b.String()
	}
	s.Usual = marks(usual, "h0") // a line of no length with round ends
	s.Wide = marks(wide, "m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0")
	s.Bad = marks(bad, "m-3-3l6 6m0-6l-6 6")
	f.Scatter = s
	return f, true
}

// along is where a value stands on a logarithmic axis that ends at most: from 0 to 1.
func along(v, most float64) float64 {
	return math.Log(min(max(v, nothing), most)/nothing) / math.Log(most/nothing)
}

// decades marks powers of ten, at most eight of them; the smallest is nothing.
func decades(most float64, place func(float64) float64) []tick {
	from, to := int(math.Round(math.Log10(nothing))), int(math.Floor(math.Log10(most)+1e-9))
	ticks := []tick{{place(nothing), "0"}}
	step := max(1, (to-from+6)/8)
	for k := from + 1; k <= to; k++ {
		t := tick{At: place(math.Pow10(k))}
		if (k-from-1)%step == 0 {
			t.Label = fmt.Sprintf("1e%d", k)
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// tail is a path cut in front to so many columns, at a slash if there is one.
func tail(path string, columns int) string {
	text := lastColumns(Printable(path), columns)
	if cut, ok := strings.CutPrefix(text, "…"); ok {
		if k := strings.IndexByte(cut, '/'); k >= 0 && k < len(cut)-1 {
			return "…" + cut[k:]
		}
	}
	return text
}
