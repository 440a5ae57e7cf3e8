package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// commands are the programs that this test binary can be.
var commands = map[string]func(){"zoofold": main}

func TestMain(m *testing.M) { testscript.Main(tests{m}, commands) }

// tests are those of this package, with a folder for the program.
type tests struct{ *testing.M }

func (t tests) Run() int {
	folder, err := os.MkdirTemp("", "zoofold-program-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	program.folder = folder
	return t.M.Run()
}

func TestTheCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"zoo":  zoo,
			"exit": exit,
			"json": jsonLines,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("ONNXRUNTIME_LIB", "/none") // what the machine has must not matter
			return nil
		},
	})
}

// zoo writes generated models: zoo FOLDER COUNT.
func zoo(ts *testscript.TestScript, _ bool, args []string) {
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	_, err = zootest.Write(ts.MkAbs(args[0]), count, 4, 2)
	ts.Check(err)
}

// exit runs a command that has to exit with a code: exit CODE COMMAND ARGUMENTS.
func exit(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var failed *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit %d, want %d", got, want)
	}
}

// jsonLines says that every line of the last output is a JSON object with an event.
func jsonLines(ts *testscript.TestScript, _ bool, _ []string) {
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var event struct{ Event string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.Event == "" {
			ts.Fatalf("%q is no event: %v", line, err)
		}
	}
}
