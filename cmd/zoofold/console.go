package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

// console is a run's output: the progress and results go to standard output, errors of the whole run and the log to
// standard error.
type console struct {
	outcome.Sink
	stderr io.Writer
	bar    *report.Terminal // nil where none is drawn
	log    *slog.Logger     // nil without -log
}

// openConsole opens the console that the flags ask for. A bar is drawn on terminals with escape codes, unless the log goes
// to the same terminal.
func openConsole(f *flags, stdout, stderr io.Writer) *console {
	c := &console{stderr: stderr}
	switch f.log {
	case "text":
		c.log = slog.New(slog.NewTextHandler(stderr, nil))
	case "json":
		c.log = slog.New(slog.NewJSONHandler(stderr, nil))
	}
	behind := stdout
	if out, ok := stdout.(*report.Output); ok {
		behind = out.To()
	}
	file, _ := behind.(*os.File)
	terminal := file != nil && term.IsTerminal(int(file.Fd()))
	dumb := os.Getenv("TERM") == "dumb"
	style := report.Style{Color: f.color == "always" || f.color != "never" && terminal && !dumb && os.Getenv("NO_COLOR") == ""}
	if terminal {
		style.Columns = func() int { return columns(file) }
	}
	switch {
	case f.json:
		c.Sink = report.NewJSON(stdout)
	case f.quiet:
		c.Sink = report.NewQuiet(stdout).In(style)
	case c.log == nil && terminal && !dumb && !f.plain:
		c.bar = report.NewTerminal(stdout, style)
		c.Sink = c.bar
	default:
		c.Sink = report.NewLines(stdout).In(style)
	}
	if c.log != nil {
		c.Sink = outcome.Tee{c.Sink, report.NewLog(c.log)}
	}
	return c
}

// columns is a terminal's width; 80 where it does not say.
func columns(terminal *os.File) int {
	if width, _, err := term.GetSize(int(terminal.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

// fail prints the error that ends the run. An error of the manifest is printed without a prefix, since it begins with its
// place.
func (c *console) fail(err error) {
	if c.bar != nil {
		c.bar.Close()
	}
	switch {
	case c.log != nil:
		c.log.Error(clean(err))
	case errors.Is(err, manifests.ErrManifest):
		fmt.Fprintln(c.stderr, err) // it is safe to print, and a prefix would move its caret
	default:
		fmt.Fprintf(c.stderr, "zoofold: %s\n", clean(err))
	}
}

// lost is the first error of writing to standard output, or nil.
func (c *console) lost() error {
	if s, ok := c.Sink.(outcome.Fallible); ok {
		return s.Err()
	}
	return nil
}

// clean is an error as printable text, line by line.
func clean(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for k := range lines {
		lines[k] = report.Printable(lines[k])
	}
	return strings.Join(lines, "\n")
}

// note prints a line during the run, above the bar if there is one.
func (c *console) note(text string) {
	switch {
	case c.log != nil:
		c.log.Warn(text)
	case c.bar != nil:
		notes(c.bar)(text)
	default:
		notes(c.stderr)(text)
	}
}

// stopping prints that the run was asked to stop, and removes the bar: little is left to do, in an unknown time.
func (c *console) stopping(text string) {
	if c.bar != nil {
		c.bar.Close()
	}
	c.note(text)
}

// gone removes the bar before the process ends in the middle of a run. It waits only briefly, since a stopped terminal
// accepts no output.
func (c *console) gone() {
	if c.bar == nil {
		return
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.bar.Close()
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

// notes prints notes as lines.
func notes(w io.Writer) func(string) {
	return func(text string) { fmt.Fprintf(w, "zoofold: %s\n", text) }
}
