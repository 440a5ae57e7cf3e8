package fold_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestReason_DocumentExplainsEveryCode(t *testing.T) {
	doc, err := os.ReadFile("../../docs/folding.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("plan.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`\sCode = "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) < 15 {
		t.Fatalf("plan.go has %d codes", len(codes))
	}
	for _, c := range codes {
		if !strings.Contains(string(doc), "`"+c[1]+"`") {
			t.Errorf("docs/folding.md does not explain %q", c[1])
		}
	}
}
