package zoo_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// generated is a folder with one generated model, mobile/00000.onnx.
func generated() string {
	folder, err := os.MkdirTemp("", "zoo-")
	if err == nil {
		_, err = zootest.Write(folder, 1, 4, 2)
	}
	if err != nil {
		log.Fatal(err)
	}
	return folder
}

func ExamplePlan() {
	folder := generated() // with mobile/00000.onnx in it
	defer os.RemoveAll(folder)

	changes, err := zoo.Plan(context.Background(), filepath.Join(folder, "mobile", "00000.onnx"), zoo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(changes.Before, "->", changes.After, "per-channel nodes")
	fmt.Println(changes.Maps[0].Verdict, "into", len(changes.Maps[0].Into), "node")
	// Output:
	// 5 -> 0 per-channel nodes
	// folded into 1 node
}

// Of every per-channel node the changes say what becomes of it, and why one that stays does.
func ExamplePlan_explain() {
	folder := generated()
	defer os.RemoveAll(folder)

	changes, err := zoo.Plan(context.Background(), filepath.Join(folder, "mobile", "00000.onnx"), zoo.Options{Keep: []string{"*"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range changes.Maps[:1] {
		fmt.Println(m.Verdict, m.Reason)
	}
	fmt.Println(changes.Before, "->", changes.After)
	// Output:
	// left BatchNormalization "BatchNormalization_9" is to be kept
	// 5 -> 5
}

func ExampleFold() {
	folder := generated()
	defer os.RemoveAll(folder)

	result, err := zoo.Fold(context.Background(), filepath.Join(folder, "mobile", "00000.onnx"), filepath.Join(folder, "folded.onnx"), zoo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Status, result.Before, "->", result.After)
	for _, c := range result.Checks() {
		fmt.Printf("%s: %s\n", c.Name, c.Status)
	}
	// Output:
	// folded 5 -> 0
	// parity: passed
	// algebra: passed
	// predictions: not run
}

func ExampleReadReport() {
	file := strings.NewReader(`{"schema": "zoofold-report/1", "start": {"version": "0.1.0"}, "models": [
		{"path": "a.onnx", "status": "folded", "before": 5, "after": 0}, {"path": "b.onnx", "status": "failed", "error": "byte 7: corrupt"}], "end": {"exit": 1}}`)
	report, err := zoo.ReadReport(file)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range report.Models {
		fmt.Printf("%s: %s %q\n", m.Path, m.Status, m.Error)
	}
	// Output:
	// a.onnx: folded ""
	// b.onnx: failed "byte 7: corrupt"
}

func TestFold_WritesNothingForAFailedModel(t *testing.T) {
	folder := generated()
	defer os.RemoveAll(folder)
	model, out := filepath.Join(folder, "mobile", "00000.onnx"), filepath.Join(folder, "out.onnx")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		out  string
		o    zoo.Options
		want error
	}{
		"a check that has to run and cannot": {t.Context(), out, zoo.Options{Require: true}, zoo.ErrFailed},
		"in the place of the original":       {t.Context(), model, zoo.Options{Overwrite: true}, zoo.ErrFailed},
		"interrupted":                        {ended, out, zoo.Options{}, context.Canceled},
	} {
		before, err := os.ReadFile(model)
		if err != nil {
			t.Fatal(err)
		}
		result, err := zoo.Fold(c.ctx, model, c.out, c.o)
		if !errors.Is(err, c.want) || result.Status == outcome.Folded {
			t.Errorf("%s: %v, %s", name, err, result.Status)
		}
		if after, err := os.ReadFile(model); err != nil || string(after) != string(before) {
			t.Errorf("%s: the original was changed: %v", name, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: there is an output", name)
		}
	}
}
