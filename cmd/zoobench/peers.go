package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed peers.py
var peersScript string

// peers measures the processor time that other folders of ONNX models take for each of a zoo's, start-up excluded, beside
// zoofold's, start-up included.
func (b *bench) peers(python, zoo string) error {
	if _, err := os.Stat(python); err != nil {
		return nil // make compare makes it
	}
	models, _, err := size(zoo)
	if err != nil {
		return err
	}
	fmt.Printf("\n%-32s %12s %8s\n", "processor time", "ms a model", "models")
	for _, checks := range []string{"none", "parity", "parity,algebra"} {
		out := filepath.Join(b.folder, "out")
		r, err := b.fold(zoo, out, checks)
		if err != nil {
			return err
		}
		fmt.Printf("%-32s %12.1f %8d\n", "zoofold -verify "+checks, r.spent.Seconds()*1000/float64(models), models)
		if err := os.RemoveAll(out); err != nil {
			return err
		}
	}
	for _, peer := range []string{"ONNX Runtime offline", "onnxslim", "onnxsim"} {
		text, err := exec.Command(python, "-c", peersScript, peer, zoo).Output()
		var told struct {
			Seconds float64
			Models  int
		}
		if err == nil {
			err = json.Unmarshal(text, &told)
		}
		if err != nil || told.Models == 0 {
			fmt.Printf("%-32s did not run: %v\n", peer, err)
			continue
		}
		fmt.Printf("%-32s %12.1f %8d\n", peer, told.Seconds*1000/float64(told.Models), told.Models)
	}
	return nil
}
