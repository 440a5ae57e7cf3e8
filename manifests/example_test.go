package manifests_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zoofold/zoofold/manifests"
)

// A manifest is read and checked, and then the zoo is walked: each model that a rule matches is a job.
func ExampleLoad() {
	folder, err := os.MkdirTemp("", "zoofold-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "models.yaml")
	text := "version: 1\nzoo: zoo\nout: folded\nmodels:\n- match: 'detect/*.onnx'\n  keep: ['head.*']\n"
	for name, text := range map[string]string{"models.yaml": text, "zoo/detect/small.onnx": "", "zoo/other/a.onnx": ""} {
		at := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o777); err != nil {
			fmt.Println(err)
			return
		}
		if err := os.WriteFile(at, []byte(text), 0o666); err != nil {
			fmt.Println(err)
			return
		}
	}
	m, err := manifests.Load(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	zoo, err := m.Walk(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, job := range zoo.Jobs {
		fmt.Println(job.Path, job.Rule.Keep, job.Rule.Norms)
	}
	fmt.Println("matched by no rule:", zoo.Unmatched)
	// Output:
	// detect/small.onnx [head.*] remove
	// matched by no rule: [other/a.onnx]
}
