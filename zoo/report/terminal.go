package report

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Terminal shows a bar of bytes with the current model, and the lines of Lines above it.
type Terminal struct {
	*Lines
	bar    *progressbar.ProgressBar
	screen io.Writer
	width  int
	done   int
}

// NewTerminal draws on a terminal of that many columns.
func NewTerminal(w io.Writer, width int) *Terminal {
	return &Terminal{Lines: NewLines(w), screen: w, width: width}
}

// Start draws the bar.
func (t *Terminal) Start(s Start) {
	t.Lines.Start(s)
	t.bar = progressbar.NewOptions64(max(s.Bytes, 1),
		progressbar.OptionSetWriter(t.screen), progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(max(8, t.width/6)),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// Begin names the model in hand.
func (t *Terminal) Begin(b Begin) { t.describe(b.Path) }

// describe writes how many models are done and which one is in hand, cut to the terminal's width.
func (t *Terminal) describe(path string) {
	name, room := []rune(Printable(path)), max(10, t.width-62)
	if len(name) > room {
		name = append([]rune("…"), name[len(name)-room+1:]...)
	}
	t.bar.Describe(fmt.Sprintf("%d/%d %s", t.done, t.start.Models, string(name)))
}

// Progress moves the bar.
func (t *Terminal) Progress(n int64) { _ = t.bar.Add64(n) }

// Done writes the model's line above the bar.
func (t *Terminal) Done(m Model) {
	t.done++
	if m.Status != Unchanged {
		_ = t.bar.Clear()
	}
	t.Lines.Done(m)
	if m.Status != Unchanged && t.done < t.start.Models {
		_ = t.bar.RenderBlank()
	}
}

// End takes the bar away and sums up.
func (t *Terminal) End(e End) {
	_ = t.bar.Finish()
	_ = t.bar.Clear()
	t.Lines.End(e)
}
