package predict

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// The test's program is its own worker. Some libraries are none: "crashing" crashes, "hanging" starts and never answers.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == ServeArgument {
		switch os.Args[2] {
		case "crashing":
			fmt.Fprintln(os.Stderr, "terminate called without an active exception")
			os.Exit(3)
		case "hanging":
			_ = gob.NewEncoder(os.Stdout).Encode(message{Name: "nothing"})
			select {}
		}
		Serve(os.Args[2], os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// processes are workers with ONNX Runtime.
func processes(t *testing.T) *Processes {
	return started(t, library(t))
}

func started(t *testing.T, library string) *Processes {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(program, library)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// maximum is a model of a Max. ONNX Runtime 1.32 crashes when one of its inputs is omitted.
func maximum(t *testing.T, omitted bool) string {
	b := modeltest.New(1)
	x := b.Input(1, 4)
	inputs := []*model.Value{x, x, x}
	if omitted {
		inputs[1] = nil
	}
	y := b.Op("Max", inputs)
	y.DType, y.Shape = tensor.Float32, []int64{1, 4}
	var out onnx.Memory
	if err := onnx.Export(context.Background(), b.Output(y), &out, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	return write(t, out.Bytes())
}

func TestAModelThatCrashesTheEngineTakesNoOtherWithIt(t *testing.T) {
	p := processes(t)
	bad, good, ctx := maximum(t, true), maximum(t, false), context.Background()
	for range 2 {
		c := p.Compare(ctx, Comparison{Original: bad, Folded: good})
		if c.Status != report.NotRun || !strings.HasPrefix(c.Note, "the original crashes ONNX Runtime: SIG") {
			t.Errorf("the original crashes: %+v", c)
		}
		c = p.Compare(ctx, Comparison{Original: good, Folded: bad})
		if c.Status != report.Mismatch || !strings.HasPrefix(c.Note, "the folded model crashes ONNX Runtime where the original does not: SIG") {
			t.Errorf("the folded model crashes: %+v", c)
		}
		if c := p.Compare(ctx, Comparison{Original: good, Folded: good, Latency: true}); c.Status != report.Passed || c.Latency == nil || c.Latency.Note != "" {
			t.Errorf("after a crash: %+v", c)
		}
	}
}

func TestWhatAWorkersDeathSays(t *testing.T) {
	passed := &report.Check{Status: report.Passed, Compared: 3}
	for _, test := range []struct {
		name   string
		last   message
		killed bool
		status report.CheckStatus
		note   string // of the check, or of its latency
	}{
		{"before the original is opened", message{}, false, report.NotRun, "the original crashes ONNX Runtime: SIGSEGV"},
		{"while the folded model runs", message{At: atFolded}, false, report.Mismatch, "the folded model crashes ONNX Runtime where the original does not: SIGSEGV"},
		{"killed while the folded model runs", message{At: atFolded}, true, report.NotRun, "ONNX Runtime was killed, as it is where memory runs out"},
		{"while latency is measured", message{At: atLatency, Check: passed}, false, report.Passed, "ONNX Runtime crashed: SIGSEGV"},
		{"killed while latency is measured", message{At: atLatency, Check: passed}, true, report.Passed, "ONNX Runtime crashed: SIGSEGV"},
	} {
		c := verdict(context.Background(), test.last, "SIGSEGV", test.killed)
		note := c.Note
		if c.Latency != nil {
			note = c.Latency.Note
		}
		if c.Status != test.status || note != test.note {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
}

func TestAKilledWorkerIsNoVerdict(t *testing.T) {
	p := started(t, "hanging")
	p.idle[0].kill()
	if c := p.Compare(context.Background(), Comparison{}); c.Status != report.NotRun || !strings.HasPrefix(c.Note, "ONNX Runtime was killed") {
		t.Errorf("%+v", c)
	}
}

func TestProcessesAnswerAsTheEngineDoes(t *testing.T) {
	p, e := processes(t), engine(t)
	a, _ := file(t, tensor.Float32, "Identity", nil)
	b, _ := file(t, tensor.Float32, "Identity", func(w []float64) { w[5] += 0.25 })
	asked := 0
	for name, c := range map[string]Comparison{
		"equal": {Original: a, Folded: a}, "unequal": {Original: a, Folded: b}, "within a tolerance": {Original: a, Folded: b, Tolerance: 2},
		"missing":                 {Original: a + ".none", Folded: b},
		"jittered":                {Original: a, Folded: b, Jittered: func() (string, error) { asked++; return b, nil }},
		"without a jittered copy": {Original: a, Folded: b, Jittered: func() (string, error) { asked++; return "", errors.New("no space") }},
	} {
		want, got := e.Compare(context.Background(), c), p.Compare(context.Background(), c)
		if got != want {
			t.Errorf("%s: %+v, in this process %+v", name, got, want)
		}
	}
	if asked != 4*len(seeds)-2 {
		t.Errorf("%d jittered copies were asked for", asked)
	}
	if len(p.idle) != 1 {
		t.Errorf("%d workers for one comparison at a time", len(p.idle))
	}
}

func TestAWorkerThatHangsEndsWithTheContext(t *testing.T) {
	p := started(t, "hanging")
	ctx, cancel := context.WithCancel(context.Background())
	w := p.idle[0]
	go cancel()
	if c := p.Compare(ctx, Comparison{}); c.Status != report.NotRun || c.Note != "interrupted" {
		t.Errorf("%+v", c)
	}
	if w.cmd.ProcessState == nil || len(p.idle) != 0 {
		t.Error("the worker still runs")
	}
}

func TestALibraryThatCrashesIsNone(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for library, want := range map[string]string{"crashing": "terminate called", "none.so": "none.so"} {
		if _, err := Start(program, library); !errors.Is(err, ErrNoLibrary) && !errors.Is(err, ErrNotBuilt) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", library, err)
		}
	}
	if _, err := Start("/nowhere/zoofold", "any"); err == nil || errors.Is(err, ErrNoLibrary) {
		t.Errorf("no program: %v", err)
	}
}

func TestAWorkerEndsWithItsOwner(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, ServeArgument, library(t))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
