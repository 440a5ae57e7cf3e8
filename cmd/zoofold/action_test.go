package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
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

// The steps of the action, as action.yml has them, in a clean environment: what GitHub puts there is put there, and Go and
// Python are those of this machine. That GitHub runs it so is not shown.
func TestAction_StepsBuildFoldAndPredict(t *testing.T) {
	if testing.Short() {
		t.Skip("a long test")
	}
	text, err := os.ReadFile("../../build/action/action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var action struct {
		Inputs map[string]struct{ Default string }
		Runs   struct {
			Steps []struct {
				Uses, Shell, Run string
				Env              map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &action); err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs("../../build/action")
	if err != nil {
		t.Fatal(err)
	}
	folder, temp := generated(t, 1), t.TempDir()
	bin := filepath.Join(temp, "bin") // actions/setup-python's
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no Python")
	}
	if err := errors.Join(os.Mkdir(bin, 0o777), os.WriteFile(filepath.Join(bin, "python"), []byte("#!/bin/sh\nexec "+python+" \"$@\"\n"), 0o777)); err != nil {
		t.Fatal(err)
	}
	values := []string{"${{ runner.temp }}", temp, "${{ github.action_path }}", path}
	for name, input := range action.Inputs {
		values = append(values, "${{ inputs."+name+" }}", input.Default)
	}
	filled := strings.NewReplacer(values...)
	outputs := filepath.Join(temp, "outputs")
	ran := 0
	for k, step := range action.Runs.Steps {
		if step.Uses != "" {
			continue
		}
		ran++
		script := filled.Replace(step.Run)
		if step.Shell != "bash" || strings.Contains(script, "${{") {
			t.Fatalf("step %d: shell %q, %s", k, step.Shell, script)
		}
		c := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script) // as the runner does
		c.Dir = folder
		for _, e := range os.Environ() {
			if name, _, _ := strings.Cut(e, "="); name != "ONNXRUNTIME_LIB" && name != "VIRTUAL_ENV" && name != "PATH" {
				c.Env = append(c.Env, e)
			}
		}
		c.Env = append(c.Env, "PATH="+bin+":"+os.Getenv("PATH"), "GITHUB_ACTION_PATH="+path, "RUNNER_TEMP="+temp, "GITHUB_OUTPUT="+outputs)
		for name, value := range step.Env {
			c.Env = append(c.Env, name+"="+filled.Replace(value))
		}
		if said, err := c.CombinedOutput(); err != nil {
			if strings.Contains(script, "pip") && os.Getenv("CI") == "" {
				t.Skipf("pip installs nothing here: %s", said)
			}
			t.Fatalf("step %d: %v: %s", k, err, said)
		}
	}
	if text, err := os.ReadFile(outputs); ran != 2 || err != nil || string(text) != "exit=0\n" {
		t.Errorf("%d steps ran, output %q, %v", ran, text, err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "out", "report.json")); err != nil || !strings.Contains(string(text), `"engine": "ONNX Runtime `) {
		t.Errorf("the report is %.600s, %v", text, err)
	}
}
