package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/rivo/uniseg"
	"github.com/schollz/progressbar/v3"
)

// progress is how far a run is.
type progress struct {
	begun        time.Time
	done, models int
	bytes, total int64
	idle         int64    // bytes of models that are done with because nothing was done: they say nothing of the speed
	inHand       []string // paths of the models being worked on, the one begun first in front
}

// The least columns that a bar and the names of models are worth, and the most that a bar gets.
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
	head := fmt.Sprintf("%3d%% ", p.percent())
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
		return gauge(p.percent(), bar) + " " + figures + names
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
	_ = errors.Join(b.RenderBlank(), b.Set64(percent)) // they fail where nothing is left to draw
	return strings.TrimRight(strings.TrimPrefix(b.String(), "\r "), " ")
}

// percent is by bytes, or by models where these have none. Only a run that is done with all of them has 100.
func (p *progress) percent() int64 {
	switch {
	case p.done >= p.models:
		return 100
	case p.total > 0:
		return min(99, int64(100*float64(p.bytes)/float64(p.total)))
	}
	return int64(100 * p.done / p.models)
}

// figures are ways to say how far the run is, the wordiest first.
func (p *progress) figures(now time.Time) []string {
	models, bytes, rate, left := fmt.Sprintf("%d/%d", p.done, p.models), share(p.bytes, p.total), "", ""
	if seconds := now.Sub(p.begun).Seconds(); p.bytes > p.idle && seconds > 0 {
		perSecond := float64(p.bytes-p.idle) / seconds
		rate = ", " + Bytes(int64(perSecond)) + "/s"
		if p.done < p.models {
			left = ", " + span(float64(p.total-p.bytes)/perSecond) + " left"
		}
	}
	return []string{
		models + " models, " + bytes + rate + left,
		models + ", " + bytes + rate + left,
		models + ", " + bytes + left,
		models + left,
		models,
	}
}

// names are as many models in hand as fit, and how many more there are. Where not even one fits it is cut in front.
func (p *progress) names(columns int) string {
	some := func(names []string) string {
		var list []string
		for _, name := range names {
			list = append(list, printed(name))
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

// span is a time in seconds for people: "1 s", "12 min", "3 h", "2 days". It never says less than it is.
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
