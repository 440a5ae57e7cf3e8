package formattest_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/formattest"
)

// quoted is a block of Go in a document, and the paragraph before it.
var quoted = regexp.MustCompile("(?s)([^\n]+)\n\n```go\n(.*?)```\n")

// named is a file of Go that a paragraph names.
var named = regexp.MustCompile("`([a-z/_0-9]+\\.go)`")

func TestExtending_QuotesTheCode(t *testing.T) {
	root := filepath.Join("..", "..")
	text := string(formattest.Read(t, filepath.Join(root, "docs", "extending.md")))
	blocks := quoted.FindAllStringSubmatch(text, -1)
	if len(blocks) < 10 || len(blocks) != strings.Count(text, "```go") {
		t.Fatalf("%d blocks have a paragraph before them", len(blocks))
	}
	for _, b := range blocks {
		files := named.FindAllStringSubmatch(b[1], -1)
		if len(files) == 0 {
			t.Errorf("no file is named before\n%s", b[2])
			continue
		}
		file := files[len(files)-1][1]
		if code := string(formattest.Read(t, filepath.Join(root, filepath.FromSlash(file)))); !strings.Contains(code, b[2]) {
			t.Errorf("%s does not hold\n%s", file, b[2])
		}
	}
}
