package predict

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// The test's program is its own worker. Some libraries are none: "crashing" crashes, "hanging" starts and never answers,
// "exhausting" needs more memory than there is for a folded model, "telling" says where it is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == ServeArgument {
		switch filepath.Base(os.Args[2]) {
		case "exhausting":
			send := gob.NewEncoder(os.Stdout)
			_ = send.Encode(message{Name: "nothing"})
			_ = gob.NewDecoder(os.Stdin).Decode(&message{})
			_ = send.Encode(message{At: atFolded})
			fmt.Fprint(os.Stderr, "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\nSIGABRT: abort\nPC=0x1 m=0 sigcode=18446744073709551610\n")
			os.Exit(2)
		case "telling":
			folder, _ := os.Getwd()
			_ = gob.NewEncoder(os.Stdout).Encode(message{Name: fmt.Sprint(folder, " ", os.Args[2], " ", strings.Join(os.Environ(), " "))})
			return
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
	p, err := Start(program, Library{Path: library})
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

func TestWorker_CrashFailsItsModelAlone(t *testing.T) {
	p := processes(t)
	bad, good, ctx := maximum(t, true), maximum(t, false), context.Background()
	for range 2 {
		c := p.Compare(ctx, Comparison{Original: bad, Folded: good})
		if c.Status != outcome.NotRun || !strings.HasPrefix(c.Note, "the original crashes ONNX Runtime: SIG") {
			t.Errorf("the original crashes: %+v", c)
		}
		c = p.Compare(ctx, Comparison{Original: good, Folded: bad})
		if c.Status != outcome.Mismatch || !strings.HasPrefix(c.Note, "the folded model crashes ONNX Runtime where the original does not: SIG") {
			t.Errorf("the folded model crashes: %+v", c)
		}
		if c := p.Compare(ctx, Comparison{Original: good, Folded: good, Latency: true}); c.Status != outcome.Passed || c.Latency == nil || c.Latency.Note != "" {
			t.Errorf("after a crash: %+v", c)
		}
	}
}

func TestWorker_ErrorsSayHowItDied(t *testing.T) {
	passed := &outcome.Check{Status: outcome.Passed, Compared: 3}
	for _, test := range []struct {
		name   string
		last   message
		died   death
		status outcome.CheckStatus
		note   string // of the check, or of its latency
	}{
		{"before the original is opened", message{}, death{why: "SIGSEGV"}, outcome.NotRun, "the original crashes ONNX Runtime: SIGSEGV"},
		{"while the folded model runs", message{At: atFolded}, death{why: "SIGSEGV"}, outcome.Mismatch, "the folded model crashes ONNX Runtime where the original does not: SIGSEGV"},
		{"killed while the folded model runs", message{At: atFolded}, death{why: "SIGSEGV", killed: true}, outcome.NotRun, "ONNX Runtime was killed, as it is where memory runs out"},
		{"out of memory while the folded model runs", message{At: atFolded}, death{why: "bad_alloc", memory: true}, outcome.NotRun, outOfMemory},
		{"out of memory while the original runs", message{At: atOriginal}, death{why: "bad_alloc", memory: true}, outcome.NotRun, outOfMemory},
		{"out of memory while latency is measured", message{At: atLatency, Check: passed}, death{why: "bad_alloc", memory: true}, outcome.Passed, outOfMemory},
		{"while latency is measured", message{At: atLatency, Check: passed}, death{why: "SIGSEGV"}, outcome.Passed, "ONNX Runtime crashed: SIGSEGV"},
		{"killed while latency is measured", message{At: atLatency, Check: passed}, death{why: "SIGSEGV", killed: true}, outcome.Passed, "ONNX Runtime crashed: SIGSEGV"},
	} {
		c := verdict(context.Background(), test.last, test.died)
		note := c.Note
		if c.Latency != nil {
			note = c.Latency.Note
		}
		if c.Status != test.status || note != test.note {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
}

func TestWorker_KilledIsNoVerdict(t *testing.T) {
	p := started(t, "hanging")
	p.idle[0].kill()
	if c := p.Compare(context.Background(), Comparison{}); c.Status != outcome.NotRun || !strings.HasPrefix(c.Note, "ONNX Runtime was killed") {
		t.Errorf("%+v", c)
	}
}

func TestWorker_AnswersAsTheEngineDoes(t *testing.T) {
	p, e := processes(t), inProcess(t)
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

func TestWorker_ThatHangsEndsWithTheContext(t *testing.T) {
	p := started(t, "hanging")
	ctx, cancel := context.WithCancel(context.Background())
	w := p.idle[0]
	go cancel()
	if c := p.Compare(ctx, Comparison{}); c.Status != outcome.NotRun || c.Note != "interrupted" {
		t.Errorf("%+v", c)
	}
	if w.cmd.ProcessState == nil || len(p.idle) != 0 {
		t.Error("the worker still runs")
	}
}

func TestLibrary_ThatCrashesIsNone(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for library, want := range map[string]string{"crashing": "terminate called", "none.so": "none.so"} {
		if _, err := Start(program, Library{Path: library}); !errors.Is(err, ErrNoLibrary) && !errors.Is(err, ErrNotBuilt) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", library, err)
		}
	}
	if _, err := Start("/nowhere/zoofold", Library{Path: "any", Named: Flag}); err == nil || errors.Is(err, ErrNoLibrary) || errors.Is(err, ErrNamed) {
		t.Errorf("no program: %v", err)
	}
}

func TestLibrary_ThatIsNamedHasToLoad(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"crashing", text} {
		_, err := Start(program, Library{path, Variable})
		if !errors.Is(err, ErrNamed) || errors.Is(err, ErrNoLibrary) || !strings.Contains(err.Error(), Variable+": ") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWorker_InheritsNothingFromTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("LD_LIBRARY_PATH", ":/usr/lib:lib:./lib;/opt/lib:")
	t.Setenv("LD_PRELOAD", "libhostile.so")
	t.Setenv("LD_AUDIT", "libhostile.so")
	t.Setenv("ZOOFOLD_TEST", "stays")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	p := started(t, "telling")
	for _, want := range []string{elsewhere + " ", filepath.Join(here, "telling"), " LD_LIBRARY_PATH=/usr/lib:/opt/lib ", " ZOOFOLD_TEST=stays"} {
		if !strings.Contains(p.Name()+" ", want) {
			t.Errorf("no %q: %s", want, p.Name())
		}
	}
	for _, bad := range []string{"hostile", " PWD="} {
		if strings.Contains(p.Name(), bad) {
			t.Errorf("%q: %s", bad, p.Name())
		}
	}
}

func TestWorker_SearchPathsAreAbsolute(t *testing.T) {
	for setting, want := range map[string]string{
		"LD_LIBRARY_PATH=": "", "LD_LIBRARY_PATH=:": "", "LD_LIBRARY_PATH=lib": "", "LD_LIBRARY_PATH=$ORIGIN/lib": "",
		"LD_LIBRARY_PATH=/a": "LD_LIBRARY_PATH=/a", "LD_LIBRARY_PATH=/a;;b:/c": "LD_LIBRARY_PATH=/a:/c", "DYLD_LIBRARY_PATH=.:/a": "DYLD_LIBRARY_PATH=/a",
		"LD_PRELOAD=/a.so": "", "LD_AUDIT=/a.so": "", "DYLD_INSERT_LIBRARIES=/a.so": "", "OMP_NUM_THREADS=1": "OMP_NUM_THREADS=1",
	} {
		if got := strings.Join(environment([]string{setting}), " "); got != want {
			t.Errorf("%s: %q, want %q", setting, got, want)
		}
	}
}

func TestWorker_RelativePathsAreThoseOfTheOwner(t *testing.T) {
	path := library(t)
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := file(t, tensor.Float32, "Identity", nil)
	b, _ := file(t, tensor.Float32, "Identity", func(w []float64) { w[5] += 0.0005 })
	t.Chdir(filepath.Dir(a))
	there, err := filepath.Rel(filepath.Dir(a), b)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	c := Comparison{Original: filepath.Base(a), Folded: there, Jittered: func() (string, error) { asked++; return there, nil }}
	if c := started(t, path).Compare(context.Background(), c); c.Status != outcome.Passed || asked == 0 {
		t.Errorf("%d jittered copies: %+v", asked, c)
	}
}

func TestWorker_OutOfMemoryIsNoVerdict(t *testing.T) {
	p := started(t, "exhausting")
	if c := p.Compare(context.Background(), Comparison{}); c.Status != outcome.NotRun || c.Note != outOfMemory {
		t.Errorf("%+v", c)
	}
}

func TestWorker_MemoryErrorsAreNoVerdict(t *testing.T) {
	if c, err := foldedFails("it does not run", errors.New("Load model from a.onnx failed:std::bad_alloc")); err == nil {
		t.Errorf("the folded model has failed: %+v", c)
	}
	if c, err := foldedFails("it does not run", errors.New("another error")); err != nil || c.Status != outcome.Mismatch {
		t.Errorf("the folded model has not failed: %+v, %v", c, err)
	}
	p := &Processes{library: Library{"/lib/libort.so", Flag}}
	for _, err := range []error{p.unloaded(death{why: "std::bad_alloc", memory: true}, true), p.unloaded(death{why: "signal: killed", killed: true}, true), p.refused("Exception caught: std::bad_alloc")} {
		if errors.Is(err, ErrNamed) || !errors.Is(err, ErrNoLibrary) {
			t.Errorf("memory runs out where a library is loaded: %v", err)
		}
	}
	for _, err := range []error{p.unloaded(death{why: "SIGSEGV"}, true), p.unloaded(death{why: "signal: killed", killed: true}, false), p.refused("file too short")} {
		if !errors.Is(err, ErrNamed) {
			t.Errorf("a library that does not load: %v", err)
		}
	}
	for text, want := range map[string]bool{
		"Error running network: std::bad_alloc": true, "bad allocation": true,
		"Non-zero status code returned while running Conv node. Name:'c' Status Message: bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 274877906944": true,
		"fatal error: runtime: out of memory": true, "Load model from a.onnx failed:std::bad_alloc": true,
		"SIGABRT: abort": false, "Non-zero status code returned while running Conv node. Name:'out of memory'": false,
	} {
		if exhausted(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestWorker_EndsWithItsOwner(t *testing.T) {
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
