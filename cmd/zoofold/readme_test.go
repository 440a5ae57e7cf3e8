package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/zoofold/zoofold/zoo/zootest"
)

// The README's commands and its manifest, from the top, in a folder with some models.
func TestREADME_CanBeFollowed(t *testing.T) {
	if fetched() == "" {
		t.Skip("no ONNX Runtime in .cache: make fetch brings it")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if _, err := zootest.Write(filepath.Join(folder, "models"), 3, 4, 2); err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)<!-- ([a-z.]+) -->\n```[a-z]+\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	ran := 0
	for _, b := range blocks {
		if b[1] != "run" {
			if err := os.WriteFile(filepath.Join(folder, b[1]), []byte(b[2]), 0o666); err != nil {
				t.Fatal(err)
			}
			continue
		}
		ran++
		run := exec.Command("sh", "-e", "-c", b[2])
		run.Dir = folder
		run.Env = append(os.Environ(), "PATH="+filepath.Dir(realProgram(t))+string(os.PathListSeparator)+os.Getenv("PATH"), "ONNXRUNTIME_LIB="+fetched())
		if said, err := run.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", b[2], err, said)
		}
	}
	if ran < 2 {
		t.Errorf("%d blocks of the README were run", ran)
	}
	for _, path := range []string{"small.onnx", "folded/mobile/00000.onnx", "folded/report.html"} {
		if _, err := os.Stat(filepath.Join(folder, path)); err != nil {
			t.Error(err)
		}
	}
}
