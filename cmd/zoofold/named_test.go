package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// namedTests finds the tests that a command or a step of the GPU kit runs: the pattern, and the folders.
var namedTests = []*regexp.Regexp{
	regexp.MustCompile(`(?:go|GO\)|GO) test [^\x60\n]*-(?:run|bench) '?([A-Za-z0-9|\\/_]+)'?((?: \./[A-Za-z0-9_/.]+)+)`),
	regexp.MustCompile(`\ttest\("[^"]*", "([^"]*)"()`),
}

// declared finds tests, benchmarks and subtests by their names.
var declared = regexp.MustCompile(`func (?:Test|Benchmark|Fuzz)(\w+)\(|\bt\.Run\("([^"]+)"|\{"([A-Za-z0-9 ,]+)",`)

func TestNamed_TestsOfDocumentsAndStepsExist(t *testing.T) {
	files := []string{"README.md", "CONTRIBUTING.md", "Makefile", "cmd/gpucheck/steps.go"}
	for _, pattern := range []string{"docs/*.md", "docs/gpu/*.md", "build/*.sh"} {
		more, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range more {
			files = append(files, strings.TrimPrefix(path, "../../"))
		}
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range namedTests {
			for _, m := range r.FindAllStringSubmatch(string(text), -1) {
				folders := strings.Fields(m[2])
				if len(folders) == 0 {
					folders = []string{"./gpu"}
				}
				names := testsIn(t, append(folders, "./zoo/formattest")) // its suite is a test of every format
				for _, part := range strings.FieldsFunc(strings.ReplaceAll(m[1], `\`, ""), func(r rune) bool { return r == '|' || r == '/' }) {
					found++
					if !strings.Contains(names, strings.ReplaceAll(part, "_", " ")) && !strings.Contains(names, part) {
						t.Errorf("%s: %q matches no test of %v", file, part, folders)
					}
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d names of tests were found", found)
	}
}

// testsIn are the names of all tests below some folders of the module, and of the scripts beside them.
func testsIn(t *testing.T, folders []string) string {
	t.Helper()
	var names strings.Builder
	for _, folder := range folders {
		root := filepath.Join("..", "..", strings.TrimSuffix(folder, "..."))
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if strings.HasSuffix(path, ".txtar") {
				names.WriteString(filepath.Base(path) + "\n")
			}
			if !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "test/") {
				return nil
			}
			text, err := os.ReadFile(path)
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				names.WriteString(m[1] + m[2] + m[3] + "\n")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names.String()
}
