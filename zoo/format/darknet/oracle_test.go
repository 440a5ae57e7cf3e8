package darknet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// job is a network for testdata/oracle.py: the original, and what was made of it.
type job struct {
	Original [2]string `json:"original"`
	Folded   [2]string `json:"folded"`
	ONNX     string    `json:"onnx"`
	Darknet  string    `json:"darknet,omitempty"`
	Outputs  []int     `json:"outputs"` // the layers that end the network

	plan *fold.Plan
}

// answer is what the oracle says: the largest differences, relative to each output's largest value.
type answer struct {
	Read, Written float64
	Outputs       int
	Error         string
}

// prepare folds a network, and exports the original; all: with what every layer hands on as an output.
func prepare(t *testing.T, path string, o format.Options, all bool) job {
	t.Helper()
	open := func() format.File {
		f, err := format.Open(t.Context(), path, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	f, dir := open(), t.TempDir()
	j := job{Original: [2]string(f.Inputs()), ONNX: filepath.Join(dir, "original.onnx")}
	original := open().Model()
	for _, v := range original.Graph.Outputs {
		j.Outputs = append(j.Outputs, layerOf(t, v))
	}
	if all {
		for _, n := range original.Graph.Nodes {
			if v := n.Outputs[0]; !v.Output && numbered.MatchString(v.Name) {
				v.Output = true
				original.Graph.Outputs = append(original.Graph.Outputs, v)
			}
		}
	}
	var memory onnx.Memory
	if err := onnx.Export(context.Background(), original, &memory, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(j.ONNX, memory.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	var err error
	if j.plan, err = fold.Fold(t.Context(), f.Model(), fold.Options{}); err != nil {
		t.Fatal(err)
	}
	out := formattest.Folder{Path: dir, Name: filepath.Base(path)}
	if _, err := f.Write(context.Background(), out, cpu.New(1)); err != nil {
		t.Fatal(err)
	}
	j.Folded = [2]string{filepath.Join(dir, out.Name), filepath.Join(dir, filepath.Base(j.Original[1]))}
	return j
}

// python is a Python with OpenCV and ONNX Runtime: $PYTHON, or the one that make test sets up.
func python(t *testing.T) string {
	for _, path := range []string{os.Getenv("PYTHON"), "../../../.cache/venv/bin/python"} {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path)
		if err == nil && exec.Command(abs, "-c", "import cv2, numpy, onnxruntime").Run() == nil {
			return abs
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no Python with opencv-python-headless and onnxruntime: make test sets one up")
	}
	t.Skip("no Python with opencv-python-headless and onnxruntime: make test sets one up")
	return ""
}

// ask runs networks in OpenCV and in ONNX Runtime.
func ask(t *testing.T, jobs []job) []answer {
	t.Helper()
	var in bytes.Buffer
	for _, j := range jobs {
		if err := json.NewEncoder(&in).Encode(j); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python(t), filepath.Join("testdata", "oracle.py"))
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the oracle: %v\n%s%s", err, out, stderr.Bytes())
	}
	answers := make([]answer, len(jobs))
	lines := json.NewDecoder(bytes.NewReader(out))
	for k := range answers {
		if err := lines.Decode(&answers[k]); err != nil {
			t.Fatalf("answer %d: %v", k, err)
		}
	}
	return answers
}

// numbered is a value's layer: "convolutional_12" is what layer 12 hands on.
var numbered = regexp.MustCompile(`^[A-Za-z0-9_]+_(\d+)$`)

// layerOf is the number of the layer that hands a value on.
func layerOf(t *testing.T, v *model.Value) int {
	t.Helper()
	m := numbered.FindStringSubmatch(v.Name)
	if m == nil {
		t.Fatalf("%q is no layer's", v.Name)
	}
	k, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// near is what float32 arithmetic in another order may make of the outputs of these networks. A wrong epsilon moves them by
// more than 1e-4, other mistakes by more than 1e-2.
const near = 2e-5

func TestOpenCV_RunsGeneratedNetworksAsReadAndWritten(t *testing.T) {
	python(t)
	var jobs []job
	for seed := range uint64(60) {
		path, o, err := zootest.DarknetForOpenCV(seed, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, prepare(t, path, o, false))
	}
	before, after, read, written := 0, 0, 0.0, 0.0
	for k, a := range ask(t, jobs) {
		if a.Error != "" || a.Outputs == 0 || a.Read > near || a.Written > near {
			t.Errorf("seed %d: %+v", k, a)
		}
		before, after = before+jobs[k].plan.Before, after+jobs[k].plan.After
		read, written = max(read, a.Read), max(written, a.Written)
	}
	t.Logf("%d batch normalisations became %d; read within %.1e, written within %.1e", before, after, read, written)
	if after > 0 {
		t.Errorf("%d of %d batch normalisations are left", after, before)
	}
}

// The real network's variances are small: what the convention of another program does to it shows.
func TestOpenCV_RunsYOLOFastestAsReadAndWritten(t *testing.T) {
	const path = "../../../../shared/models/darknet/yolo-fastest-1.1.cfg"
	if _, err := os.Stat(path); err != nil {
		t.Skip("yolo-fastest-1.1 is not beside this checkout")
	}
	python(t)
	limits := map[string][2]float64{"opencv": {0, 1e-5}, "pjreddie": {1e-5, 3e-4}, "alexeyab": {1e-4, 3e-3}}
	var jobs []job
	for _, convention := range zootest.Conventions {
		jobs = append(jobs, prepare(t, path, by(convention), false))
	}
	for k, a := range ask(t, jobs) {
		convention, plan := zootest.Conventions[k], jobs[k].plan
		t.Logf("%s: %d batch normalisations became %d; read within %.1e, written within %.1e", convention, plan.Before, plan.After, a.Read, a.Written)
		if limit := limits[convention]; a.Error != "" || a.Outputs != 4 || min(a.Read, a.Written) < limit[0] || max(a.Read, a.Written) > limit[1] {
			t.Errorf("%s: %+v, want differences in %v", convention, a, limit)
		}
		if plan.Before != 82 || plan.After != 0 {
			t.Errorf("%s: %d batch normalisations became %d", convention, plan.Before, plan.After)
		}
	}
}

// No Darknet is installed by make test: testdata/darknet.c says how its programs are built.
func TestDarknet_RunsGeneratedNetworksAsReadAndWritten(t *testing.T) {
	programs := map[string]string{"pjreddie": os.Getenv("DARKNET_PJREDDIE"), "alexeyab": os.Getenv("DARKNET_ALEXEYAB")}
	for convention, program := range programs {
		t.Run(convention, func(t *testing.T) {
			if program == "" {
				t.Skipf("DARKNET_%s names no program built from testdata/darknet.c", strings.ToUpper(convention))
			}
			python(t)
			var jobs []job
			for seed := range uint64(300) {
				path, o, err := zootest.Darknet(seed, t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				if o.Settings["darknet.epsilon"] == convention {
					j := prepare(t, path, o, true)
					j.Darknet = program
					jobs = append(jobs, j)
				}
			}
			ran, read, written := 0, 0.0, 0.0
			for k, a := range ask(t, jobs) {
				switch {
				case a.Error != "":
					t.Logf("network %d: %s", k, a.Error)
					continue
				case a.Read > near || a.Written > near:
					t.Errorf("network %d: %+v", k, a)
				}
				ran, read, written = ran+1, max(read, a.Read), max(written, a.Written)
			}
			t.Logf("%d of %d networks ran: read within %.1e, written within %.1e", ran, len(jobs), read, written)
			if ran < len(jobs)*9/10 {
				t.Errorf("only %d of %d networks ran", ran, len(jobs))
			}
		})
	}
}
