package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/rivo/uniseg"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report/reporttest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// generated is a folder with a zoo of generated models and models.yaml, whose outputs go to the folder out.
func generated(t *testing.T, models int) string {
	t.Helper()
	folder := t.TempDir()
	if _, err := zootest.Write(filepath.Join(folder, "zoo"), models, 4, 2); err != nil {
		t.Fatal(err)
	}
	text := "version: 1\nzoo: zoo\nout: out\nmodels:\n  - match: '**/*.onnx'\n"
	if err := os.WriteFile(filepath.Join(folder, "models.yaml"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return folder
}

// spawn is zoofold in a process of its own.
func spawn(folder string, args ...string) *exec.Cmd {
	c := exec.Command("zoofold", args...)
	c.Dir = folder
	c.Env = append(os.Environ(), "TERM=xterm", "ONNXRUNTIME_LIB=none")
	return c
}

// watch copies what a terminal's other side writes to a screen, until it is closed.
func watch(terminal *os.File, screen *reporttest.Screen) {
	r := bufio.NewReader(terminal)
	for {
		c, _, err := r.ReadRune() // an error is how a closed terminal reads
		if err != nil {
			return
		}
		_, _ = screen.Write([]byte(string(c)))
	}
}

// frames checks the frames of a bar, and is the last one.
func frames(t *testing.T, screen *reporttest.Screen, columns int) string {
	t.Helper()
	for _, f := range screen.Faults() {
		t.Error(f)
	}
	all := screen.Erased()
	if len(all) == 0 {
		t.Fatal("no bar was drawn")
	}
	for _, line := range all {
		if width := uniseg.StringWidth(line); width >= columns || !strings.Contains(line, "%") {
			t.Errorf("%q, %d columns wide, is no bar for %d", line, width, columns)
		}
	}
	return all[len(all)-1]
}

// timings are what differs from run to run.
var timings = regexp.MustCompile(`[0-9.]+ s\b`)

func TestTerminal_BarComesAndGoes(t *testing.T) {
	for _, columns := range []uint16{20, 40, 60, 80, 120} {
		folder := generated(t, 30)
		c := spawn(folder, "-manifest", "models.yaml", "-j", "1", "-verify", "parity")
		terminal, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: columns})
		if err != nil {
			t.Fatal(err)
		}
		screen := reporttest.NewScreen(int(columns))
		watch(terminal, screen)
		if err := c.Wait(); err != nil {
			t.Fatalf("%v: %s", err, screen.Text())
		}
		last := frames(t, screen, int(columns))
		if !strings.HasPrefix(last, "100% |") || !strings.Contains(last, "30/30") {
			t.Errorf("the last frame is not complete: %q", last)
		}
		if columns == 80 && !strings.Contains(last, "30/30 models, ") {
			t.Errorf("80 columns show too little: %q", last)
		}
		for line := range strings.Lines(screen.Text()) {
			if width := uniseg.StringWidth(strings.TrimSuffix(line, "\n")); width >= int(columns) {
				t.Errorf("%q is %d columns wide on a terminal of %d", line, width, columns)
			}
		}
		plain := spawn(folder, "-manifest", "models.yaml", "-j", "1", "-verify", "parity", "-force")
		lines, err := plain.Output()
		if err != nil {
			t.Fatal(err)
		}
		space := regexp.MustCompile(`\s+`)
		same := func(text string) string { return space.ReplaceAllString(timings.ReplaceAllString(text, "S"), "") }
		if got, want := same(screen.Text()), same(string(lines)); columns >= 40 && got != want { // names are cut on fewer
			t.Errorf("%d columns, left on the screen:\n%s\nwithout a terminal:\n%s", columns, screen.Text(), lines)
		}
	}
}

// longNames is a zoo whose lines, told in full, are more than a terminal holds (68 kB on Linux):
// a run of manyModels cannot end while nobody reads.
func longNames(t *testing.T, models int) string {
	t.Helper()
	folder := generated(t, models)
	zoo, part := filepath.Join(folder, "zoo"), strings.Repeat("long", 50)
	if err := os.Rename(zoo, filepath.Join(folder, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(zoo, part, part), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(folder, "moved"), filepath.Join(zoo, part, part, part)); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestTerminal_CtrlCRemovesTheBar(t *testing.T) {
	const columns = 1000
	for _, presses := range []int{1, 2} {
		c := spawn(longNames(t, manyModels), "-manifest", "models.yaml", "-j", "1", "-verify", "parity")
		// Ctrl-C makes a terminal drop what is not read yet, unless it is told not to: that may be what erases the bar.
		c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", `stty noflsh && exec "$0" "$@"`}, c.Args...)
		terminal, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: columns})
		if err != nil {
			t.Fatal(err)
		}
		screen := reporttest.NewScreen(columns)
		r := bufio.NewReader(terminal)
		seen, pressed := "", 0
		for {
			char, _, err := r.ReadRune()
			if err != nil {
				break
			}
			_, _ = screen.Write([]byte(string(char)))
			if pressed == presses {
				continue
			}
			seen += string(char)
			if marks := []string{"00000.onnx", "press Ctrl-C again to stop now"}; strings.Contains(seen, marks[pressed]) {
				if _, err := terminal.Write([]byte{3}); err != nil {
					t.Fatal(err)
				}
				pressed++
			}
		}
		if code := exitCode(c.Wait()); code != 130 {
			t.Errorf("%d presses: exit %d", presses, code)
		}
		if text := screen.Text(); strings.Contains(text, "% |") || !strings.Contains(text, "stopping cleanly") || len(screen.Faults()) > 0 {
			t.Errorf("%d presses: %q\n%s", presses, screen.Faults(), text)
		}
	}
}

func TestColour_IsForTerminalsByDefault(t *testing.T) {
	folder := generated(t, 1)
	if err := os.WriteFile(filepath.Join(folder, "zoo", "bad.onnx"), []byte("no model"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		on     bool
		env    string
		flags  []string
		colour bool
	}{
		{true, "", nil, true}, {true, "NO_COLOR=1", nil, false}, {true, "TERM=dumb", nil, false}, {true, "", []string{"-color", "never"}, false},
		{true, "NO_COLOR=1", []string{"-color=always"}, true}, {true, "", []string{"-quiet"}, true}, {false, "", nil, false}, {false, "", []string{"-color", "always"}, true},
		{true, "", []string{"-json"}, false},
	} {
		p := spawn(folder, append([]string{"-manifest", "models.yaml", "-verify", "none", "-force"}, c.flags...)...)
		p.Env = append(p.Env, c.env)
		var out bytes.Buffer
		if c.on {
			terminal, err := pty.StartWithSize(p, &pty.Winsize{Rows: 24, Cols: 80})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = out.ReadFrom(terminal) // an error is how a closed terminal reads
		} else {
			p.Stdout = &out
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if code := exitCode(p.Wait()); code != exitFailed || strings.Contains(out.String(), "\x1b[31mFAILED\x1b[0m") != c.colour {
			t.Errorf("%+v: exit %d: %q", c, code, out.String())
		}
	}
}

func TestTerminal_DumbGetsLines(t *testing.T) {
	c := spawn(generated(t, 1), "-manifest", "models.yaml", "-verify", "none")
	c.Env = append(c.Env, "TERM=dumb")
	terminal, err := pty.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	_, _ = got.ReadFrom(terminal) // an error is how a closed terminal reads
	if err := c.Wait(); err != nil || strings.Contains(got.String(), "\x1b") || !strings.Contains(got.String(), "1 model: 1 folded") {
		t.Errorf("%v: %q", err, got.String())
	}
}

func TestTerminal_BarFollowsTheWindow(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, program, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	resize := func(columns uint16) {
		if err := pty.Setsize(terminal, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
			t.Fatal(err)
		}
	}
	screen := reporttest.NewScreen(100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(terminal, screen)
	}()
	c := openConsole(&flags{}, program, &bytes.Buffer{})
	c.Start(outcome.Start{Models: 4, Bytes: 4e6})
	for _, columns := range []uint16{100, 30, 80, 0} {
		resize(columns)
		c.Begin(outcome.Begin{Path: "some/model.onnx"})
		c.Progress(1e6)
		c.Done(outcome.Model{Path: "some/model.onnx", Status: outcome.Folded})
	}
	c.End(outcome.End{})
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	for models, columns := range map[string]int{"1/4": 100, "2/4": 30, "3/4": 80, "4/4": 80} {
		first := slices.IndexFunc(screen.Erased(), func(line string) bool { return strings.Contains(line, models) })
		if first < 0 || uniseg.StringWidth(screen.Erased()[first]) >= columns {
			t.Errorf("%s models, %d columns: frame %d of %q", models, columns, first, screen.Erased())
		}
	}
	if len(screen.Faults()) > 0 || !strings.HasSuffix(screen.Text(), "\n") {
		t.Errorf("%q, %q", screen.Faults(), screen.Text())
	}
}
