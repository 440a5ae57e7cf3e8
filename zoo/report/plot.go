package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of plots are stand-ins: the page's style sheet has the real ones, by name, for light, dark and paper.
var (
	ink   = color.RGBA{1, 0, 0, 255} // text
	soft  = color.RGBA{2, 0, 0, 255} // text that matters less
	rule  = color.RGBA{3, 0, 0, 255} // axes
	pale  = color.RGBA{4, 0, 0, 255} // before folding
	deep  = color.RGBA{5, 0, 0, 255} // after folding
	alarm = color.RGBA{6, 0, 0, 255} // limits and failures
)

var styleNames = strings.NewReplacer(
	"#010000", "var(--ink)", "#020000", "var(--soft)", "#030000", "var(--rule)",
	"#040000", "var(--pale)", "#050000", "var(--deep)", "#060000", "var(--alarm)", "\n\t", " ",
)

// fontNames are what vgsvg says of fonts: the page decides on these too.
var fontNames = regexp.MustCompile(`font-family:[^;]*;font-variant:[^;]*;font-weight:[^;]*;font-style:[^;]*;`)

// size is that of plots for a kind of screen: the width in the points that its SVG is drawn in, and the columns of names.
type size struct {
	width vg.Length
	names int
	class string // of the SVG
}

// Every plot is drawn for both: the page shows the one that fits.
var (
	wide   = size{480, 32, "wide"}
	narrow = size{300, 17, "narrow"}
)

// svg draws a plot as an SVG element for the page. alt is what it says to those who do not see it.
func (s size) svg(p *plot.Plot, height vg.Length, alt string) template.HTML {
	canvas := vgsvg.New(s.width, height)
	p.Draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		panic(err) // a buffer takes everything
	}
	_, whole, _ := strings.Cut(b.String(), "<svg")
	_, body, _ := strings.Cut(whole, ">\n")
	body = styleNames.Replace(fontNames.ReplaceAllString(body, ""))
	return template.HTML(fmt.Sprintf(`<svg class="%s" viewBox="0 0 %g %g" role="img" aria-label="%s">%s`, s.class, s.width.Points(), height.Points(), html.EscapeString(alt), body))
}

// blank is a plot with the page's manners and nothing in it.
func blank() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle = draw.LineStyle{Color: rule, Width: 0.75}
		a.Tick.LineStyle = a.LineStyle
		a.Tick.Length = 3
		a.Padding = 0
		a.Label.Padding = 4
		for _, s := range []*text.Style{&a.Label.TextStyle, &a.Tick.Label} {
			s.Font, s.Color = font.From(sans, 9), soft
		}
	}
	return p
}

// sans is measured by the metrics that Arial, Helvetica and Liberation Sans share.
var sans = font.Font{Typeface: "Liberation", Variant: "Sans"}

// words is the style of text in a plot.
func words(c color.Color, x draw.XAlignment, y draw.YAlignment) text.Style {
	return text.Style{Color: c, Font: font.From(sans, 9), XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler}
}

// sink is what a text goes up by to stand as the labels of an axis do.
func sink(s text.Style) vg.Length { return s.FontExtents().Descent }

// plotter draws with a plot's coordinates.
type plotter func(c draw.Canvas, x, y func(float64) vg.Length)

// Plot is plot.Plotter's.
func (f plotter) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	f(c, x, y)
}

// bar is a line of a plot of bars.
type bar struct {
	name          string
	before, after float64
	low, high     float64 // quartiles of after, where it has some
	text          string  // beside it
	bad           bool
	noisy         bool // what is shown may be noise
}

// pitch is the height of a line in a plot of bars.
const pitch = 15

// bars draws one line a model: a wide pale bar for before, a narrow deep one on it for after.
func (s size) bars(list []bar, alt string) template.HTML {
	p, most, longest := blank(), 0.0, vg.Length(0)
	beside := words(soft, draw.XLeft, draw.YCenter)
	for _, b := range list {
		most = max(most, b.before, b.after)
		longest = max(longest, beside.Width(b.text))
	}
	s.lines(p, list)
	p.X.Min, p.X.Max = 0, 1
	p.Add(plotter(func(c draw.Canvas, _, y func(float64) vg.Length) {
		room := c.Max.X - c.Min.X - longest - 6
		for k, b := range list {
			at := y(float64(-k))
			long := func(x float64) vg.Length { return max(0.75, room*vg.Length(x/max(most, 1e-300))) }
			fill := func(clr color.Color, length, thick vg.Length) {
				c.SetColor(clr)
				c.Fill(vg.Rectangle{Min: vg.Point{X: c.Min.X, Y: at - thick/2}, Max: vg.Point{X: c.Min.X + length, Y: at + thick/2}}.Path())
			}
			if b.before > 0 {
				fill(pale, long(b.before), 10)
			}
			if b.bad {
				fill(alarm, long(b.after), 4)
			} else {
				fill(deep, long(b.after), 4)
			}
			c.FillText(beside, vg.Point{X: c.Min.X + max(long(b.before), long(b.after)) + 5, Y: at + sink(beside)}, b.text)
		}
	}))
	return s.svg(p, vg.Length(len(list))*pitch+4, alt)
}

// lines names the lines of a plot, the first one on top.
func (s size) lines(p *plot.Plot, list []bar) {
	var ticks plot.ConstantTicks
	for k, b := range list {
		ticks = append(ticks, plot.Tick{Value: float64(-k), Label: tail(b.name, s.names)})
	}
	p.Y.Min, p.Y.Max = float64(-len(list))+0.5, 0.5
	p.Y.Tick.Marker, p.Y.Tick.Length, p.Y.Tick.Label.Color = ticks, 0, ink
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
	p.Y.Padding = 4
	p.HideX()
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
