package report

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// figure is a plot on the page.
type figure struct {
	Title string
	Plot  template.HTML
	Note  string // below it
}

// mostBars bounds the lines of a plot; what is left out is said below it.
const mostBars = 12

// figures are those that have something to show.
func (d *Document) figures() []figure {
	var list []figure
	for _, draw := range []func(size) (figure, bool){d.differences, d.nodes, d.reasons, d.sizes, d.times, d.latencies} {
		f, ok := draw(wide)
		if !ok {
			continue
		}
		small, _ := draw(narrow)
		f.Plot += small.Plot
		list = append(list, f)
	}
	return list
}

// nodes is a plot of per-channel nodes before and after.
func (d *Document) nodes(z size) (figure, bool) {
	var list []bar
	for _, m := range d.Models {
		if m.Before > 0 && m.Kept() {
			list = append(list, bar{name: m.Path, before: float64(m.Before), after: float64(m.After), text: fmt.Sprintf("%d → %d", m.Before, m.After)})
		}
	}
	return z.largest("Per-channel nodes, before and after", list, func(before, after float64) string {
		return number(int(before)) + " → " + number(int(after))
	})
}

// sizes is a plot of the models' bytes before and after.
func (d *Document) sizes(z size) (figure, bool) {
	var list []bar
	for _, m := range d.Models {
		if m.Bytes > 0 && m.OutputBytes > 0 && m.Kept() {
			text := Bytes(m.OutputBytes)
			if math.Abs(float64(m.OutputBytes)/float64(m.Bytes)-1) > 1e-3 {
				text += ", " + change(float64(m.Bytes), float64(m.OutputBytes))
			}
			list = append(list, bar{name: m.Path, before: float64(m.Bytes), after: float64(m.OutputBytes), text: text})
		}
	}
	return z.largest("Size, before and after", list, func(before, after float64) string {
		return fmt.Sprintf("%s → %s", Bytes(int64(before)), Bytes(int64(after)))
	})
}

// reasons is a plot of why per-channel nodes are in the folded models.
func (d *Document) reasons(z size) (figure, bool) {
	byCode, models := map[string]int{}, map[string]int{}
	for _, m := range d.Models {
		for _, r := range reasonsOf(m) {
			byCode[r.Code] += r.Count
			models[r.Code]++
		}
	}
	var list []bar
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		list = append(list, bar{name: code, after: float64(byCode[code]), text: fmt.Sprintf("%s in %s", number(byCode[code]), count(models[code], "model"))})
	}
	return z.largest("Per-channel nodes that remain, by reason", list, func(_, after float64) string { return count(int(after), "node") })
}

// times is a plot of the slowest models.
func (d *Document) times(z size) (figure, bool) {
	var list []bar
	for _, m := range d.Models {
		if m.Seconds > 0 && m.Status != outcome.Unchanged {
			list = append(list, bar{name: m.Path, after: m.Seconds, text: seconds(m.Seconds), bad: m.Status == outcome.Failed})
		}
	}
	return z.largest("Time, checks included", list, func(_, after float64) string { return seconds(after) })
}

// largest is a plot of the longest bars; total words the sums of what is left out.
func (z size) largest(title string, list []bar, total func(before, after float64) string) (figure, bool) {
	f := figure{Title: title}
	if len(list) == 0 {
		return f, false
	}
	slices.SortStableFunc(list, func(a, b bar) int {
		return cmp.Or(cmp.Compare(max(b.before, b.after), max(a.before, a.after)), cmp.Compare(a.name, b.name))
	})
	if rest := list[min(len(list), mostBars):]; len(rest) > 0 {
		var before, after float64
		for _, b := range rest {
			before, after = before+b.before, after+b.after
		}
		f.Note = fmt.Sprintf("%s more: %s", number(len(rest)), total(before, after))
		list = list[:mostBars]
	}
	f.Plot = z.bars(list, alternative(title, list))
	return f, true
}

// alternative is a plot of lines in words.
func alternative(title string, list []bar) string {
	for _, b := range list {
		title += fmt.Sprintf("; %s %s", tail(b.name, 32), b.text)
	}
	return title
}

// latencies is a plot of what folding does to the time of a prediction: the median, and the quartiles as a line.
func (d *Document) latencies(z size) (figure, bool) {
	const title = "Latency in ONNX Runtime, after ÷ before"
	var list []bar
	for _, m := range d.Models {
		if l := m.Predictions.Latency; l != nil && l.Pairs > 0 && l.Ratio > 0 {
			list = append(list, bar{name: m.Path, after: l.Ratio, low: l.Low, high: l.High, noisy: !isClear(l), text: fmt.Sprintf("%.2f of %s", l.Ratio, seconds(l.Before))})
		}
	}
	f := figure{Title: title, Note: "One thread, its own optimisations on, runs of both models in turns: medians and quartiles; grey where it may be noise."}
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
	p := blank()
	z.lines(p, list)
	least, most, longest := 0.9, 1.05, vg.Length(0)
	beside := words(soft, draw.XRight, draw.YCenter)
	for _, b := range list {
		least, most = min(least, b.low), max(most, b.high)
		longest = max(longest, beside.Width(b.text))
	}
	p.X.Min, p.X.Max = 0, 1
	p.Add(plotter(func(c draw.Canvas, _, y func(float64) vg.Length) {
		room := c.Max.X - c.Min.X - longest - 14
		x := func(v float64) vg.Length {
			return c.Min.X + 4 + room*vg.Length((min(v, most)-least)/(most-least))
		}
		c.StrokeLine2(draw.LineStyle{Color: rule, Width: 0.75}, x(1), y(-float64(len(list))+0.5), x(1), y(0.5))
		for k, b := range list {
			at := y(float64(-k))
			c.StrokeLine2(draw.LineStyle{Color: pale, Width: 4}, x(b.low), at, x(b.high), at)
			dot := deep
			if b.noisy {
				dot = soft
			}
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: dot, Radius: 2.5, Shape: draw.CircleGlyph{}}, vg.Point{X: x(b.after), Y: at})
			c.FillText(beside, vg.Point{X: c.Max.X, Y: at + sink(beside)}, b.text)
		}
	}))
	f.Plot = z.svg(p, vg.Length(len(list))*pitch+4, alternative(title, list))
	return f, true
}

// The scatter's axes: what is smaller than nothing is drawn as nothing.
const (
	nothing = 1e-9
	grain   = 1.5 // points: marks closer together are one mark
)

// differences is a plot of every model's difference beside its answer to a jitter.
func (d *Document) differences(z size) (figure, bool) {
	const title = "Predictions: difference against jitter"
	var usual, wide, bad []vg.Point // in units of the data
	right, top := outcome.MinLimit, 10*outcome.MinLimit
	for _, m := range d.Models {
		c := m.Predictions
		if c.Status == outcome.NotRun || c.Compared == 0 {
			continue
		}
		p := vg.Point{X: vg.Length(max(c.Jitter, nothing)), Y: vg.Length(max(c.Difference, nothing))}
		right, top = max(right, 2*float64(p.X)), max(top, 2*float64(p.Y))
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
	f := figure{Title: title}
	if n == 0 {
		return f, false
	}
	right, top = min(right, 1e3), min(top, 1e3)
	radius := vg.Length(2.25)
	if n > 500 {
		radius = 1
	}
	f.Note = fmt.Sprintf("%s. The line is the limit: four times the original’s own answer to a one-ulp jitter, and at least 1e-5.", count(n, "model"))
	if len(wide) > 0 {
		f.Note += " Rings have a wider limit: 16-bit weights, or a tolerance in the manifest."
	}
	p := blank()
	p.X.Label.Text, p.Y.Label.Text = "jitter", "difference"
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = nothing, right, nothing, top
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Scale, a.Tick.Marker, a.Padding = plot.LogScale{}, plot.TickerFunc(decades), 5
	}
	p.Add(plotter(func(c draw.Canvas, x, y func(float64) vg.Length) {
		place := func(j, d float64) vg.Point {
			return vg.Point{X: x(min(j, right)), Y: y(min(d, top))}
		}
		edge := min(right, top/4)
		line := []vg.Point{place(nothing, outcome.MinLimit), place(outcome.MinLimit/4, outcome.MinLimit), place(edge, outcome.Limit(edge, 0))}
		c.StrokeLines(draw.LineStyle{Color: alarm, Width: 1}, line)
		c.FillText(words(alarm, draw.XLeft, draw.YBottom), vg.Point{X: line[0].X + 2, Y: line[0].Y + 3}, "limit")
		marks := func(list []vg.Point, style draw.GlyphStyle) {
			type cell struct{ x, y int }
			taken := map[cell]bool{}
			for _, p := range list {
				at := place(float64(p.X), float64(p.Y))
				k := cell{int(at.X / grain), int(at.Y / grain)}
				if !taken[k] {
					c.DrawGlyphNoClip(style, at)
				}
				taken[k] = true
			}
		}
		marks(usual, draw.GlyphStyle{Color: deep, Radius: radius, Shape: draw.CircleGlyph{}})
		marks(wide, draw.GlyphStyle{Color: deep, Radius: radius, Shape: draw.RingGlyph{}})
		marks(bad, draw.GlyphStyle{Color: alarm, Radius: 3, Shape: draw.CrossGlyph{}})
	}))
	f.Plot = z.svg(p, mostBars*pitch+4, fmt.Sprintf("%s: %d models passed, %d failed", title, n-len(bad), len(bad)))
	return f, true
}

// decades marks powers of ten, at most eight of them; the smallest is nothing.
func decades(low, high float64) []plot.Tick {
	from, to := int(math.Round(math.Log10(low))), int(math.Floor(math.Log10(high)+1e-9))
	ticks := []plot.Tick{{Value: low, Label: "0"}}
	step := max(1, (to-from+6)/8)
	for k := from + 1; k <= to; k++ {
		t := plot.Tick{Value: math.Pow10(k)}
		if (k-from-1)%step == 0 {
			t.Label = fmt.Sprintf("1e%d", k)
		}
		ticks = append(ticks, t)
	}
	return ticks
}
