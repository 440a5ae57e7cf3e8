package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// manyModels have more events than a pipe holds: a run of them cannot end while nobody reads.
const manyModels = 150

// stopped is a run of which a model is done, and which then got a signal and said so. Nobody reads its events any more, so
// that it waits where it is.
type stopped struct {
	*exec.Cmd
	events *bufio.Reader
}

func stop(t *testing.T, folder string, signal os.Signal) *stopped {
	t.Helper()
	c := spawn(folder, "-manifest", "models.yaml", "-j", "2", "-verify", "parity", "-json")
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	s := &stopped{c, bufio.NewReaderSize(stdout, 16)}
	for {
		line, err := s.events.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, `{"event":"model"`) {
			break
		}
	}
	if err := c.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	const note = "zoofold: stopping cleanly; press Ctrl-C again to stop now\n"
	if got, err := bufio.NewReader(stderr).ReadString('\n'); got != note {
		t.Fatalf("%q, %v", got, err)
	}
	return s
}

// outputs are the models in the output folder by path, and how many staging folders there are.
func outputs(t *testing.T, folder string) (models map[string][]byte, staged int) {
	t.Helper()
	models = map[string][]byte{}
	out := filepath.Join(folder, "out")
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(d.Name(), ".zoofold-"):
			staged++
			return fs.SkipDir
		case strings.HasSuffix(path, ".onnx"):
			rel, err := filepath.Rel(out, path)
			if err != nil {
				return err
			}
			models[filepath.ToSlash(rel)], err = os.ReadFile(path)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return models, staged
}

// finish runs to the end, and checks that all is as it should be then, and that so many of the outputs before were not
// made again.
func finish(t *testing.T, folder string, want map[string][]byte, least, most int) {
	t.Helper()
	said, err := spawn(folder, "-manifest", "models.yaml", "-verify", "parity").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	unchanged := 0
	if found := regexp.MustCompile(`(\d+) unchanged`).FindSubmatch(said); found != nil {
		unchanged, _ = strconv.Atoi(string(found[1])) // digits
	}
	if unchanged < least || unchanged > most {
		t.Errorf("%d unchanged, want %d to %d: %s", unchanged, least, most, said)
	}
	after, staged := outputs(t, folder)
	if staged > 0 {
		t.Errorf("the next run leaves %d staging folders", staged)
	}
	for path, content := range want {
		if !bytes.Equal(after[path], content) {
			t.Errorf("%s is not what an undisturbed run writes", path)
		}
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func TestSignals(t *testing.T) {
	undisturbed := generated(t, manyModels)
	if said, err := spawn(undisturbed, "-manifest", "models.yaml", "-verify", "none").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	want, _ := outputs(t, undisturbed)

	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(fmt.Sprintf("the first leaves off cleanly, %v", signal), func(t *testing.T) {
			folder := generated(t, manyModels)
			c := stop(t, folder, signal)
			done := map[outcome.Status]int{outcome.Folded: 1} // the one that stop waited for
			var end outcome.End
			for {
				line, err := c.events.ReadString('\n')
				if err == io.EOF {
					break
				}
				var event struct {
					Event  string
					Status outcome.Status
				}
				if err := errors.Join(err, json.Unmarshal([]byte(line), &event)); err != nil {
					t.Fatal(err)
				}
				switch event.Event {
				case "model":
					done[event.Status]++
				case "end":
					if err := json.Unmarshal([]byte(line), &end); err != nil {
						t.Fatal(err)
					}
				}
			}
			if code := exitCode(c.Wait()); code != 130 || end.Exit != 130 {
				t.Errorf("exit %d, in the events %d", code, end.Exit)
			}
			have, staged := outputs(t, folder)
			if staged > 0 || len(have) != done[outcome.Folded] || done[outcome.Interrupted] == 0 || len(have)+done[outcome.Interrupted] != manyModels {
				t.Errorf("%d outputs, %d staging folders, %v", len(have), staged, done)
			}
			if text, err := os.ReadFile(filepath.Join(folder, "out", "report.json")); err != nil || !strings.Contains(string(text), `"exit": 130`) {
				t.Errorf("the report does not tell: %v", err)
			}
			for path, content := range have {
				if !bytes.Equal(content, want[path]) {
					t.Errorf("%s is not what an undisturbed run writes", path)
				}
			}
			finish(t, folder, want, len(have), len(have))
		})
	}

	t.Run("the second stops at once", func(t *testing.T) {
		folder := generated(t, manyModels)
		c := stop(t, folder, os.Interrupt)
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		state, err := c.Process.Wait() // its events are still not read: it cannot have ended in any other way
		runtime.KeepAlive(c)           // whose end of the pipe must not be collected, and closed, before
		if err != nil || state.ExitCode() != 130 {
			t.Errorf("%v, %v", state, err)
		}
		have, _ := outputs(t, folder)
		finish(t, folder, want, len(have)-2, len(have)) // each of two workers may have been between an output and its line in the ledger
	})
}

// Exit code 2 is wrong usage: a failure of Go's runtime, which a SIGQUIT looks like, must not look like that.
func TestSignals_RuntimeFailureIsNotWrongUsage(t *testing.T) {
	c := spawn(generated(t, manyModels), "-manifest", "models.yaml", "-j", "2", "-verify", "parity", "-json")
	c.Stderr = nil // a trace of all goroutines
	stdout, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReaderSize(stdout, 16).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	err = c.Wait()
	if status := c.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("%v", err)
	}
}
