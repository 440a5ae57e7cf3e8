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

// passed is a row of a walk: a file and the functions of it.
var passed = regexp.MustCompile("(?m)^\\| `([a-z/_0-9]+\\.go)` \\| ((?:`\\w+`(?:, )?)+) \\|")

func TestWalk_PassesFunctionsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	rows := passed.FindAllStringSubmatch(string(formattest.Read(t, filepath.Join(root, "docs", "architecture.md"))), -1)
	if len(rows) < 25 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		code := string(formattest.Read(t, filepath.Join(root, filepath.FromSlash(r[1]))))
		for _, name := range strings.Split(strings.ReplaceAll(r[2], "`", ""), ", ") {
			if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `\(`).MatchString(code) {
				t.Errorf("%s has no function %s", r[1], name)
			}
		}
	}
}

// required is a direct requirement of go.mod, listed one of the table of dependencies.
var required = regexp.MustCompile(`(?m)^\t\S*?/?([\w-]+/[\w-]+)(?:/v\d+)? v\S+$`)

func TestDependencies_AreListed(t *testing.T) {
	root := filepath.Join("..", "..")
	text := string(formattest.Read(t, filepath.Join(root, "docs", "architecture.md")))
	list := required.FindAllStringSubmatch(string(formattest.Read(t, filepath.Join(root, "go.mod"))), -1)
	if len(list) < 15 {
		t.Fatalf("%d requirements", len(list))
	}
	for _, m := range list {
		if name := m[1][strings.LastIndex(m[1], "/")+1:]; !strings.Contains(text, "/"+name) {
			t.Errorf("docs/architecture.md does not say what %s is for", m[1])
		}
	}
}
