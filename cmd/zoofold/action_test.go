package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func TestAction_FailsOnUnprovenModels(t *testing.T) {
	script, err := filepath.Abs("../../build/action/fold.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, library, models string
		code                  string
	}{
		{"a manifest, without ONNX Runtime", "none", "", "1"}, {"a model, without ONNX Runtime", "none", "zoo/mobile/00000.onnx", "1"},
		{"a manifest", fetched(), "", "0"}, {"a model", fetched(), "zoo/mobile/00000.onnx", "0"}, {"no model", fetched(), "models.yaml", "1"},
	} {
		if c.library == "" {
			continue // no ONNX Runtime here
		}
		folder := generated(t, 1)
		run := exec.Command("sh", script, realProgram(t))
		run.Dir = folder
		run.Env = append(os.Environ(), "MANIFEST=models.yaml", "MODELS="+c.models, "OUT=folded", "FLAGS=-j 1", "ONNXRUNTIME_LIB="+c.library, "GITHUB_OUTPUT="+filepath.Join(folder, "outputs"))
		said, _ := run.CombinedOutput() // the exit code is below
		outputs, err := os.ReadFile(filepath.Join(folder, "outputs"))
		if err != nil || string(outputs) != "exit="+c.code+"\n" || strconv.Itoa(run.ProcessState.ExitCode()) != c.code {
			t.Errorf("%s: exit %d, output %q, %v: %s", c.name, run.ProcessState.ExitCode(), outputs, err, said)
		}
	}
}
