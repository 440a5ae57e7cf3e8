package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rivo/uniseg"
	"github.com/schollz/progressbar/v3"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// progress is the state of a run's progress.
type progress struct {
	begun        time.Time
	done, models int
	bytes, total int64
	idle         int64 // bytes of unchanged models, which do not count for the speed
	workers      int
	inHand       []working // the models being worked on, the oldest first
	ended        int64     // bytes of finished models
	work         costs     // of finished models that were worked on
	most         int64     // the largest percentage shown so far, since the bar must not go back when estimates change
}

// working is a model that is being worked on.
type working struct {
	path  string
	bytes int64
	since time.Time
}

func (p *progress) begin(b outcome.Begin, now time.Time) {
	p.inHand = append(p.inHand, working{b.Path, b.Bytes, now})
}

// end adds a finished model.
func (p *progress) end(m outcome.Model) {
	p.done++
	bytes := m.Bytes
	if k := slices.IndexFunc(p.inHand, func(w working) bool { return w.path == m.Path }); k >= 0 {
		bytes = p.inHand[k].bytes
		p.inHand = slices.Delete(p.inHand, k, k+1)
	}
	p.ended += bytes
	if m.Status == outcome.Unchanged || m.Status == outcome.Interrupted {
		p.idle += m.Bytes
		return
	}
	p.work.add(float64(bytes), m.Seconds)
}

// costs fits the time that models took, checks included, by least squares: a time for each model plus a time for each byte.
type costs struct{ n, bytes, seconds, squares, products float64 }

func (c *costs) add(bytes, seconds float64) {
	c.n, c.bytes, c.seconds = c.n+1, c.bytes+bytes, c.seconds+seconds
	c.squares, c.products = c.squares+bytes*bytes, c.products+bytes*seconds
}

// rates are the seconds of a model and of a byte, neither below 0.
func (c *costs) rates() (each, perByte float64) {
	if spread := c.n*c.squares - c.bytes*c.bytes; spread > 1e-9*c.n*c.squares {
		perByte = (c.n*c.products - c.bytes*c.seconds) / spread
		each = (c.seconds - perByte*c.bytes) / c.n
	}
	switch {
	case each <= 0 && c.bytes > 0:
		return 0, c.seconds / c.bytes
	case perByte < 0:
		return c.seconds / c.n, 0
	}
	return each, perByte
}

// effort estimates the work done and left, in seconds of one worker. It is known after the first finished model.
func (p *progress) effort(now time.Time) (spent, left float64, known bool) {
	if p.work.seconds <= 0 {
		return 0, 0, false
	}
	each, perByte := p.work.rates()
	waiting, bytes := p.models-p.done-len(p.inHand), p.total-p.ended
	spent = p.work.seconds
	for _, w := range p.inHand {
		cost, elapsed := each+perByte*float64(w.bytes), now.Sub(w.since).Seconds()
		spent, left = spent+elapsed, left+max(cost-elapsed, cost/20) // a model that takes longer than estimated is assumed to end soon
		bytes -= w.bytes
	}
	rest := each*float64(max(waiting, 0)) + perByte*float64(max(bytes, 0))
	return spent, left + rest*p.work.n/float64(p.done), true // of the waiting models, the same share is unchanged as so far
}

// The fewest columns in which a bar, and names of models, are shown, and the most that a bar gets.
const (
	leastBar, mostBar = 4, 20
	leastNames        = 12
)

// line is a progress bar that fills at most so many columns:
//
//	63% |█████████████       | 19/30 models, 141/223 MB, 1.1 GB/s, 1 s left  ddddocr/common.onnx
//
// Where there is less room the names go first, then the bar's length and the figures, the time that is left last.
func (p *progress) line(columns int, now time.Time) string {
	percent := p.percent(now)
	head := fmt.Sprintf("%3d%% ", percent)
	for _, figures := range p.figures(now) {
		room := columns - len(head) - len("|| ") - len(figures)
		if room < leastBar {
			continue
		}
		bar := min(max(columns/8, leastBar), mostBar, room)
		names := p.names(room - bar - 2)
		if names == "" {
			bar = min(mostBar, room)
		} else {
			names = "  " + names
		}
		return gauge(percent, bar) + " " + figures + names
	}
	if head = strings.TrimSpace(head); len(head) > columns {
		return ""
	}
	return head
}

// gauge is the percentage and a bar of that length: " 63% |█████████████       |".
func gauge(percent int64, length int) string {
	b := progressbar.NewOptions64(100, progressbar.OptionSetWriter(io.Discard), progressbar.OptionSetWidth(length),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: " ", BarStart: "|", BarEnd: "|"}))
	_ = errors.Join(b.RenderBlank(), b.Set64(percent)) // they fail only when the bar is finished
	return strings.TrimRight(strings.TrimPrefix(b.String(), "\r "), " ")
}

// percent is the estimated share of the work that is done; before the first finished model, the share of bytes. Only a
// finished run has 100.
func (p *progress) percent(now time.Time) int64 {
	share := 0.0
	spent, left, known := p.effort(now)
	switch {
	case p.done >= p.models:
		return 100
	case known:
		share = spent / (spent + left)
	case p.total > 0:
		share = float64(p.ended) / float64(p.total)
	default:
		share = float64(p.done) / float64(p.models)
	}
	p.most = max(p.most, min(99, int64(100*share)))
	return p.most
}

// figures are texts about the progress, the longest first.
func (p *progress) figures(now time.Time) []string {
	models, bytes, rate, left := fmt.Sprintf("%d/%d", p.done, p.models), share(p.bytes, p.total), "", ""
	if seconds := now.Sub(p.begun).Seconds(); p.bytes > p.idle && seconds > 0 {
		perSecond := float64(p.bytes-p.idle) / seconds
		rate = ", " + Bytes(int64(perSecond)) + "/s"
	}
	if _, work, known := p.effort(now); known && p.done < p.models {
		left = ", " + span(work/float64(max(min(p.workers, p.models-p.done), 1))) + " left"
	}
	return []string{
		models + " models, " + bytes + rate + left,
		models + ", " + bytes + rate + left,
		models + ", " + bytes + left,
		models + left,
		models,
	}
}

// names are as many models being worked on as fit, and the number of further ones. If not even one fits, its front is cut
// off.
func (p *progress) names(columns int) string {
	some := func(names []working) string {
		var list []string
		for _, w := range names {
			list = append(list, printed(w.path))
		}
		text := strings.Join(list, ", ")
		if more := len(p.inHand) - len(names); more > 0 {
			text += fmt.Sprintf(" +%d", more)
		}
		return text
	}
	for k := min(len(p.inHand), columns); k > 0; k-- {
		if text := some(p.inHand[:k]); uniseg.StringWidth(text) <= columns {
			return text
		}
	}
	if len(p.inHand) == 0 || columns < leastNames {
		return ""
	}
	return lastColumns(some(p.inHand[:1]), columns)
}

// lastColumns is text cut in front to so many columns.
func lastColumns(text string, columns int) string {
	width := uniseg.StringWidth(text)
	if width <= columns {
		return text
	}
	state := -1
	for width > columns-1 && text != "" {
		var w int
		_, text, w, state = uniseg.FirstGraphemeClusterInString(text, state)
		width -= w
	}
	return "…" + text
}

// share is a part of a size, in the size's unit: "141/223 MB".
func share(part, whole int64) string {
	text := Bytes(whole)
	unit, decimals := 1.0, 0
	switch text[strings.IndexByte(text, ' ')+1:] {
	case "kB":
		unit = 1e3
	case "MB":
		unit = 1e6
	case "GB":
		unit = 1e9
	case "TB":
		unit = 1e12
	}
	if strings.Contains(text, ".") {
		decimals = 1
	}
	return fmt.Sprintf("%.*f/%s", decimals, float64(part)/unit, text)
}

// span is a time in seconds for people: "1 s", "12 min", "3 h", "2 days". It is rounded up.
func span(seconds float64) string {
	switch {
	case seconds <= 90:
		return fmt.Sprintf("%.0f s", math.Ceil(seconds))
	case seconds <= 90*60:
		return fmt.Sprintf("%.0f min", math.Ceil(seconds/60))
	case seconds <= 48*3600:
		return fmt.Sprintf("%.0f h", math.Ceil(seconds/3600))
	}
	return fmt.Sprintf("%.0f days", math.Ceil(seconds/86400))
}
