package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// pageOf is what a command prints.
func pageOf(t *testing.T, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := command(args, &stdout, &stderr); code != exitDone {
		t.Fatalf("zoofold %s: exit %d: %s", strings.Join(args, " "), code, &stderr)
	}
	return append(stdout.Bytes(), stderr.Bytes()...)
}

func TestManualPage_AgreesWithTheFlags(t *testing.T) {
	have, err := os.ReadFile("../../docs/zoofold.1")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, pageOf(t, "man")) {
		t.Error("docs/zoofold.1 is not what zoofold man prints: make man writes it anew")
	}
}

func TestManualPage_IsCleanRoff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zoofold.1")
	if err := os.WriteFile(path, pageOf(t, "man"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, checker := range [][]string{{"mandoc", "-Tlint", path}, {"man", "--warnings", "-l", path}} {
		t.Run(checker[0], func(t *testing.T) {
			if _, err := exec.LookPath(checker[0]); err != nil {
				t.Skipf("%s is not here", checker[0])
			}
			c := exec.Command(checker[0], checker[1:]...)
			c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANPAGER=cat")
			var says bytes.Buffer
			c.Stderr = &says
			if checker[0] == "mandoc" {
				c.Stdout = &says
			}
			err := c.Run()
			faults := 0
			for line := range strings.Lines(says.String()) {
				if strings.Contains(line, "mandoc.db") || strings.Contains(line, "referenced manual not found") {
					continue // what other pages this machine has
				}
				faults++
				t.Error(strings.TrimSpace(line))
			}
			if err != nil && faults == 0 && checker[0] != "mandoc" {
				t.Error(err)
			}
		})
	}
}

func TestPages_NameEveryFlagAndSubcommand(t *testing.T) {
	c := describe()
	pages := map[string][]string{"man": {"man"}, "bash": {"completion", "bash"}, "zsh": {"completion", "zsh"}, "fish": {"completion", "fish"}}
	for name, args := range pages {
		text := strings.ReplaceAll(string(pageOf(t, args...)), `\-`, "-")
		for _, u := range append(c.Subcommands, c.usage) {
			if !strings.Contains(text, u.Name) {
				t.Errorf("%s: no subcommand %s", name, u.Name)
			}
			for _, o := range u.Flags {
				if !strings.Contains(text, "-"+o.Name) && !strings.Contains(text, "-o "+o.Name) && !strings.Contains(text, "Fl "+o.Name) {
					t.Errorf("%s: no flag -%s of %q", name, o.Name, u.Name)
				}
			}
		}
	}
	top := string(pageOf(t, "-help"))
	for _, u := range c.Subcommands {
		if !strings.Contains(top, "\n  "+u.Name+" ") {
			t.Errorf("-help does not have %s", u.Name)
		}
		help := string(pageOf(t, u.Name, "-help"))
		for _, o := range u.Flags {
			if !strings.Contains(help, "\n  "+o.String()+"\n") {
				t.Errorf("%s -help does not have %s", u.Name, o)
			}
		}
	}
}

// completions are what shells have to make of a line at its end. A single word is written out; where there are several,
// list has them, and the line stays.
var completions = []struct {
	line, want string
	list       []string
}{
	{line: "sch", want: "schema"},
	{line: "--dev", want: "--device"},
	{line: "--device cu", want: "--device cuda"},
	{line: "-device=cu", want: "-device=cuda"},
	{line: "--device=cu", want: "--device=cuda"},
	{line: "fold --norms=neu", want: "fold --norms=neutralize"},
	{line: "fold mod", want: "fold models.yaml"},
	{line: "fold models.yaml mod", want: "fold models.yaml models.yaml"},
	{line: "help comp", want: "help completion"},
	{line: "-dev", want: "-device"},
	{line: "-device cu", want: "-device cuda"},
	{line: "-j 8 -device au", want: "-j 8 -device auto"},
	{line: "-manifest models.yaml -qui", want: "-manifest models.yaml -quiet"},
	{line: "-manifest mod", want: "-manifest models.yaml"},
	{line: "-verify pa", want: "-verify parity"},
	{line: "-verify parity,al", want: "-verify parity,algebra"},
	{line: "-log j", want: "-log json"},
	{line: "plan -ov", want: "plan -overridable"},
	{line: "plan mod", want: "plan models.yaml"},
	{line: "-j mod", want: "-j mod"}, // a number is no file
	{line: "completion fi", want: "completion fish"},
	{line: "verify -tol", want: "verify -tolerance"},
	{line: "verify models.yaml mod", want: "verify models.yaml models.yaml"},
	{line: "", list: subcommandNames()},
	{line: "plan -", list: flagNames("plan")},
	{line: "-device ", list: []string{"auto", "cpu", "cuda"}},
}

func subcommandNames() (names []string) {
	for _, s := range subcommands() {
		names = append(names, s.name)
	}
	return names
}

func flagNames(sub string) (names []string) {
	for _, u := range describe().Subcommands {
		if u.Name == sub {
			for _, o := range u.Flags {
				names = append(names, "-"+o.Name)
			}
		}
	}
	return names
}

// shellTest is a folder with models.yaml and with a shell's completion script, which is skipped where the shell is not.
func shellTest(t *testing.T, shell string) (folder string) {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		t.Skipf("%s is not here", shell)
	}
	folder = t.TempDir()
	for name, text := range map[string][]byte{"models.yaml": nil, "script": pageOf(t, "completion", shell)} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// session is a shell on a terminal in which zoofold is a function that tells its arguments. A line goes in, the key Tab
// behind it, and what the shell then ran comes out.
func session(t *testing.T, folder, prepare string, shell ...string) func(line string) string {
	t.Helper()
	c := exec.Command(shell[0], shell[1:]...)
	c.Dir = folder
	c.Env = append(os.Environ(), "TERM=dumb", "LC_ALL=C.UTF-8", "HISTFILE=", "HOME="+folder)
	screen, err := pty.StartWithSize(c, &pty.Winsize{Rows: 50, Cols: 500})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = screen.Close() // ends the shell
		_ = c.Wait()
	})
	until := func(mark string) string {
		var seen bytes.Buffer
		one := make([]byte, 1)
		for !bytes.HasSuffix(seen.Bytes(), []byte(mark)) {
			if _, err := io.ReadFull(screen, one); err != nil {
				t.Fatalf("%s ends without %q: %v: %q", shell[0], mark, err, seen.String())
			}
			seen.Write(one)
		}
		return strings.TrimSuffix(seen.String(), mark)
	}
	// The marks are written so that the shell's echo of these lines does not have them.
	fmt.Fprintf(screen, "%s\n", prepare)
	fmt.Fprintf(screen, "zoofold() { printf '%%s<' ran; printf '%%s ' \"$@\"; echo '>''end'; }; PS1='READY'\"> \"\n")
	until("READY> ")
	return func(line string) string {
		fmt.Fprintf(screen, "zoofold %s\t", line)
		fmt.Fprint(screen, "\n")
		out := until(">end")
		until("READY> ")
		return strings.TrimSpace(out[strings.LastIndex(out, "ran<")+len("ran<"):])
	}
}

func TestCompletion_Bash(t *testing.T) {
	folder := shellTest(t, "bash")
	typed := session(t, folder, ". ./script", "bash", "--norc", "--noprofile", "-i")
	for _, c := range completions {
		if c.list == nil {
			if got := typed(c.line); got != c.want {
				t.Errorf("%q: %q, want %q", c.line, got, c.want)
			}
			continue
		}
		args := []string{"-c", `. ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zoofold; echo "${COMPREPLY[@]}"`, "-", "zoofold"}
		run := exec.Command("bash", append(args, strings.Split(c.line, " ")...)...)
		run.Dir = folder
		out, err := run.CombinedOutput()
		if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, c.list) {
			t.Errorf("%q: %q, want %q, %v", c.line, got, c.list, err)
		}
	}
	// bash takes an equals sign for the end of a word.
	for line, want := range map[string]string{"-device=cu": "-device=cuda", "--verify=algebra,pr": "--verify=algebra,predictions", "-force=h": "-force=hash", "-manifest=mod": "-manifest=models.yaml"} {
		if got := typed(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestCompletion_Zsh(t *testing.T) {
	typed := session(t, shellTest(t, "zsh"), "autoload -U compinit; compinit -u -D; . ./script; unsetopt PROMPT_SP PROMPT_CR ZLE_BRACKETED_PASTE 2>/dev/null; setopt NO_LIST_BEEP", "zsh", "-f", "-i")
	for _, c := range completions {
		if c.list != nil {
			continue // a list is drawn around the line
		}
		if got := typed(c.line); got != c.want {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}

func TestCompletion_Fish(t *testing.T) {
	folder := shellTest(t, "fish")
	for _, c := range completions {
		run := exec.Command("fish", "--no-config", "-c", "source script; complete -C $argv[1]", "zoofold "+c.line)
		run.Dir = folder
		out, err := run.CombinedOutput()
		var got []string
		for line := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, word)
		}
		want := slices.Clone(c.list)
		if want == nil && c.want != c.line {
			want = []string{c.want[strings.LastIndex(c.want, " ")+1:]}
		}
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q, %v", c.line, got, want, err)
		}
	}
}
