package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify/predict"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// commands are the programs that this test binary can be.
var commands = map[string]func(){"zoofold": main}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == predict.ServeArgument { // a run in this process has started it as its worker
		main()
	}
	testscript.Main(tests{m}, commands)
}

// tests are those of this package, with a folder for the program.
type tests struct{ *testing.M }

func (t tests) Run() int {
	folder, err := os.MkdirTemp("", "zoofold-program-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	built.folder = folder
	return t.M.Run()
}

func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"zoo":         zoo,
			"networks":    networks,
			"checkpoints": checkpoints,
			"exit":        exit,
			"json":        jsonLines,
			"queue":       queueServer,

			"crasher": crasher,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv(predict.Variable, predict.None) // what the machine has must not matter
			e.Setenv("FETCHED", fetched())
			return nil
		},
		Condition: func(condition string) (bool, error) {
			switch {
			case condition != "onnxruntime":
				return false, fmt.Errorf("no condition %q is known", condition)
			case fetched() == "" && os.Getenv("CI") != "":
				return false, errors.New("no ONNX Runtime in .cache: make fetch brings it")
			}
			return fetched() != "", nil
		},
	})
}

// fetched is the ONNX Runtime library that make fetch brings, or "".
func fetched() string {
	libraries, _ := filepath.Glob("../../.cache/onnxruntime/libonnxruntime*") // the pattern is well-formed
	if len(libraries) == 0 {
		return ""
	}
	path, err := filepath.Abs(libraries[0])
	if err != nil {
		return ""
	}
	return path
}

// zoo writes generated models: zoo FOLDER COUNT.
func zoo(ts *testscript.TestScript, _ bool, args []string) {
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	_, err = zootest.Write(ts.MkAbs(args[0]), count, 4, 2)
	ts.Check(err)
}

// networks writes generated Caffe, Darknet and Keras networks: networks FOLDER.
func networks(ts *testscript.TestScript, _ bool, args []string) {
	_, err := zootest.WriteNetworks(ts.MkAbs(args[0]))
	ts.Check(err)
}

// crasher writes a model on which ONNX Runtime 1.32 crashes, a Max with an omitted input: crasher FILE.
func crasher(ts *testscript.TestScript, _ bool, args []string) {
	b := modeltest.New(1)
	x := b.BatchNorm(b.Conv(b.Input(1, 3, 8, 8), 3, 4, 3, 1), 4)
	var out onnx.Memory
	ts.Check(onnx.Export(context.Background(), b.Output(b.Op("Max", []*model.Value{x, nil, x})), &out, "", tensor.Reference{}))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o666))
}

// exit runs a command that has to exit with one of some codes: exit CODE|CODE COMMAND ARGUMENTS.
func exit(ts *testscript.TestScript, _ bool, args []string) {
	got := 0
	var failed *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if !slices.Contains(strings.Split(args[0], "|"), strconv.Itoa(got)) {
		ts.Fatalf("exit %d, want %s", got, args[0])
	}
}

// jsonLines says that every line of a file is a JSON object with that key: json FILE KEY.
func jsonLines(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil || object[args[1]] == nil {
			ts.Fatalf("%q has no %q: %v", line, args[1], err)
		}
	}
}

// queueServer starts a NATS server for the script, and has its address in an environment variable: queue VARIABLE.
func queueServer(ts *testscript.TestScript, _ bool, args []string) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: ts.MkAbs(".jetstream"), NoLog: true, NoSigs: true})
	ts.Check(err)
	s.Start()
	ts.Defer(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		ts.Fatalf("the server does not start")
	}
	ts.Setenv(args[0], s.ClientURL())
}

// checkpoints FOLDER writes a checkpoint, one in shards, and one with the program along which it is folded.
func checkpoints(s *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		s.Fatalf("usage: checkpoints FOLDER")
	}
	for name, write := range map[string]struct {
		seed uint64
		make func(uint64, string) (string, format.Options, error)
	}{"pairs": {1, zootest.Checkpoint}, "shards": {2, zootest.Safetensors}, "pickled": {10, zootest.Checkpoint}, "along": {0, zootest.AlongProgram}} {
		folder := filepath.Join(s.MkAbs(args[0]), name)
		s.Check(os.MkdirAll(folder, 0o777))
		_, _, err := write.make(write.seed, folder)
		s.Check(err)
	}
}
