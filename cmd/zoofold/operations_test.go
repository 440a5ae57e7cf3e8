package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocuments_CommandsAreRight takes the arguments of every line of the documents that runs a zoo.
func TestDocuments_CommandsAreRight(t *testing.T) {
	for _, path := range []string{"../../README.md", "../../docs/operations.md", "../../docs/systemd/zoofold.service", "../../docs/zoofold.1"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for line := range strings.Lines(strings.ReplaceAll(string(text), `\-`, "-")) {
			_, args, ok := strings.Cut(line, "zoofold -manifest ")
			if !ok {
				continue
			}
			args = strings.TrimSuffix(strings.TrimSpace(args), " $FLAGS")
			found++
			if _, err := parse(shellWords(t, "-manifest "+args)); err != nil {
				t.Errorf("%s: %q: %v", path, line, err)
			}
		}
		if found == 0 {
			t.Errorf("%s runs no zoo", path)
		}
	}
}

// shellWords are the words of a line, as a shell takes them: quotes and comments gone.
func shellWords(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+line).Output()
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func TestInstall_ProgramFindsTheInstalledLibrary(t *testing.T) {
	if _, err := exec.LookPath("install"); err != nil {
		t.Skip("install is not here")
	}
	folder := t.TempDir()
	libraries, prefix, link := filepath.Join(folder, "libraries"), filepath.Join(folder, "usr"), filepath.Join(folder, "link")
	if err := errors.Join(os.Mkdir(libraries, 0o777), os.Symlink(filepath.Join(prefix, "bin", "zoofold"), link)); err != nil {
		t.Fatal(err)
	}
	install := func() string {
		t.Helper()
		c := exec.Command("sh", "build/install.sh", realProgram(t), realProgram(t), prefix, libraries)
		c.Dir = "../.."
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if said := install(); !strings.Contains(said, "not installed") {
		t.Errorf("without a library it says %q", said)
	}
	for _, version := range []string{"1.32.0", "1.4.0"} { // an older one is what there is then
		name := "libonnxruntime.so." + version
		if err := errors.Join(os.RemoveAll(libraries), os.Mkdir(libraries, 0o777), os.WriteFile(filepath.Join(libraries, name), nil, 0o666)); err != nil {
			t.Fatal(err)
		}
		install()
		c := exec.Command(link, "-version")
		c.Env = append(os.Environ(), "ONNXRUNTIME_LIB=")
		out, err := c.Output()
		want := "predictions: ONNX Runtime " + version + " (" + filepath.Join(prefix, "lib", "zoofold", name) + ")\n"
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s does not say %q", err, out, want)
		}
	}
}

func TestSystemdUnits_AreValid(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not here")
	}
	program, err := exec.LookPath("zoofold") // testscript's
	if err != nil {
		t.Fatal(err)
	}
	units, err := filepath.Glob("../../docs/systemd/zoofold.*")
	if err != nil || len(units) != 2 {
		t.Fatalf("%q, %v", units, err)
	}
	args := []string{"verify", "--man=no"}
	folder := t.TempDir()
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(folder, filepath.Base(unit))
		if err := os.WriteFile(to, bytes.ReplaceAll(text, []byte("/usr/local/bin/zoofold"), []byte(program)), 0o666); err != nil {
			t.Fatal(err)
		}
		args = append(args, to)
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "zoofold") {
		t.Errorf("%v: %s", err, out)
	}
}

// argumentsOf finds the commands of Kubernetes' manifests, which are lists in one line.
var argumentsOf = regexp.MustCompile(`(?m)^ +args: \[(.*)\]$`)

func TestCommands_ForSeveralMachinesParse(t *testing.T) {
	cluster, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	var kubernetes []byte
	for _, name := range []string{"zoofold.yaml", "buckets/zoofold.yaml"} {
		text, err := os.ReadFile("../../docs/kubernetes/" + name)
		if err != nil {
			t.Fatal(err)
		}
		kubernetes = append(kubernetes, text...)
	}
	var commands []string
	for line := range strings.Lines(string(cluster)) {
		if args, is := strings.CutPrefix(line, "    zoofold "); is {
			commands = append(commands, args)
		}
	}
	for _, m := range argumentsOf.FindAllStringSubmatch(string(kubernetes), -1) {
		commands = append(commands, strings.ReplaceAll(m[1], ",", " "))
	}
	workers := 0
	for _, command := range commands {
		words := shellWords(t, command)
		var err error
		if words[0] == "worker" {
			workers++
			set := flag.NewFlagSet("worker", flag.ContinueOnError)
			work(set)
			_, err = parseFlags(set, "worker", words[1:])
		} else {
			_, err = parse(words)
		}
		if err != nil {
			t.Errorf("%q: %v", command, err)
		}
	}
	if len(commands) < 7 || workers < 4 {
		t.Errorf("%d commands, %d of them workers", len(commands), workers)
	}
}
