package manifests

import (
	"strings"
	"testing"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

func TestGlob_MatchesInBoundedTime(t *testing.T) {
	stars := strings.Repeat("**/", maxStars)
	names := []string{strings.Repeat("a", 255), strings.Repeat("a/", 60) + "x", strings.Repeat(strings.Repeat("a", 100)+"/", 30) + "x"}
	for _, pattern := range []string{
		stars + strings.Repeat("{a,*a}", 10) + "y",
		strings.Repeat("*{a,b}", 10) + strings.Repeat("*a", 400) + "y",
		stars + strings.Repeat("*a/", 50) + strings.Repeat("{a,*}", 10) + "y",
		stars + strings.Repeat("*/", 300) + "{a,{b,{c,{d,e}}}}y",
		strings.Repeat("{a,b}/", 10) + stars + strings.Repeat("*a*/", 100) + "y",
	} {
		if why := tooMuch(pattern); why != "" || !doublestar.ValidatePattern(pattern) {
			t.Errorf("%s: %s", pattern, why)
			continue
		}
		start := time.Now()
		for _, name := range names {
			glob{pattern: pattern}.matches(name)
		}
		t.Logf("%.60s: %v", pattern, time.Since(start))
		if time.Since(start) > 5*time.Second {
			t.Errorf("%s: %v", pattern, time.Since(start))
		}
	}
}
