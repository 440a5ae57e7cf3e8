package caffe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// python is a Python with OpenCV, ONNX Runtime and numpy: $PYTHON, or the one that make test sets up.
func python(t *testing.T) string {
	for _, path := range []string{os.Getenv("PYTHON"), "../../../.cache/venv/bin/python"} {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path)
		if err == nil && exec.Command(abs, "-c", "import numpy, cv2, onnxruntime").Run() == nil {
			return abs
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no Python with opencv-python-headless, onnxruntime and numpy: make test sets one up")
	}
	t.Skip("no Python with opencv-python-headless, onnxruntime and numpy: make test sets one up")
	return ""
}

// trial is one net for testdata/oracle.py: as it was, what was read of it as an ONNX model, and as it was folded.
type trial struct {
	Original      string             `json:"original"`
	Weights       string             `json:"weights"`
	ONNX          string             `json:"onnx"`
	Folded        string             `json:"folded"`
	FoldedWeights string             `json:"foldedWeights"`
	Inputs        map[string][]int64 `json:"inputs"`
	plan          *fold.Plan
}

// verdict is what the oracle says of a trial: differences relative to an output's largest value.
type verdict struct {
	Jitter float64        `json:"jitter"`
	ONNX   map[string]any `json:"onnx"`
	Folded map[string]any `json:"folded"`
	Error  string         `json:"error"`
}

// try exports a net as it is, folds it, and writes it, all into one folder.
func try(t *testing.T, path, weights, folder string) trial {
	t.Helper()
	f, err := format.Open(path, format.Options{Weights: weights})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x := trial{Original: path, Weights: f.Inputs()[1], Inputs: map[string][]int64{}}
	for _, v := range f.Model().Graph.Inputs {
		x.Inputs[v.Name] = v.Shape
	}
	x.ONNX = filepath.Join(folder, "original.onnx")
	if err := onnx.Export(context.Background(), f.Model(), formattest.Folder{Path: folder, Name: "original.onnx"}, "", tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	g, err := format.Open(path, format.Options{Weights: weights})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if x.plan, err = fold.Fold(g.Model(), fold.Options{}); err != nil {
		t.Fatal(err)
	}
	out := formattest.Folder{Path: filepath.Join(folder, "folded"), Name: filepath.Base(path)}
	if _, err := g.Write(context.Background(), out, cpu.New(2)); err != nil {
		t.Fatal(err)
	}
	x.Folded = filepath.Join(out.Path, out.Name)
	x.FoldedWeights = filepath.Join(out.Path, format.Beside(path, g.Inputs()[1]))
	return x
}

// ask runs the oracle.
func ask(t *testing.T, trials []trial) []verdict {
	t.Helper()
	in, err := json.Marshal(trials)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python(t), filepath.Join("testdata", "oracle.py"))
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var list []verdict
	for line := range strings.Lines(string(out)) {
		var v verdict
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, v)
	}
	if err != nil || len(list) != len(trials) {
		t.Fatalf("%d answers for %d nets: %v: %s", len(list), len(trials), err, stderr.String())
	}
	return list
}

// holds fails where the oracle disagrees by more than float32 and the net's own sensitivity explain.
func (v verdict) holds(t *testing.T, name string) {
	t.Helper()
	limit := max(1e-4, 8*v.Jitter)
	if v.Error != "" || len(v.Folded) == 0 {
		t.Errorf("%s: %s, %d outputs compared", name, v.Error, len(v.Folded))
		return
	}
	for side, outputs := range map[string]map[string]any{"what was read": v.ONNX, "the folded net": v.Folded} {
		for output, d := range outputs {
			if x, ok := d.(float64); !ok || x > limit {
				t.Errorf("%s: %s: %s differs by %v, jitter %.1e", name, side, output, d, v.Jitter)
			}
		}
	}
}

func TestOpenCVRunsGeneratedNetsAsTheyWereReadAndAsTheyWereFolded(t *testing.T) {
	python(t)
	count := uint64(200)
	if testing.Short() {
		count = 20
	}
	var trials []trial
	folded, left := 0, 0
	for seed := range count {
		folder := t.TempDir()
		path, o, err := zootest.Caffe(seed, folder)
		if err != nil {
			t.Fatal(err)
		}
		x := try(t, path, o.Weights, folder)
		folded, left = folded+x.plan.Before-x.plan.After, left+x.plan.After
		trials = append(trials, x)
	}
	t.Logf("%d nets: %d per-channel nodes folded, %d left", count, folded, left)
	if folded < int(count) {
		t.Errorf("only %d per-channel nodes of %d nets were folded", folded, count)
	}
	for seed, v := range ask(t, trials) {
		v.holds(t, fmt.Sprintf("seed %d", seed))
	}
}
