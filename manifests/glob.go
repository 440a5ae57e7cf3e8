package manifests

import (
	"fmt"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/goccy/go-yaml/ast"
)

// Bounds of a glob, since the matcher tries every combination of its alternatives.
const (
	maxGlob    = 1000 // bytes
	maxStars   = 8    // of **
	maxBraces  = 16   // groups of alternatives
	maxInner   = 4    // groups within groups
	maxChoices = 1024 // patterns that the alternatives expand to
)

// glob is a pattern with its place.
type glob struct {
	pattern string
	spot
}

// matches says whether the pattern matches a path with slashes. Names need not be UTF-8.
func (g glob) matches(rel string) bool { return doublestar.MatchUnvalidated(g.pattern, rel) }

// globs reads a glob, or a list of them.
func (f *source) globs(n ast.Node, what string) []glob {
	list := f.list(n, what)
	for _, g := range list {
		switch why := tooMuch(g.pattern); {
		case why != "":
			f.fail(g.spot, "%s", why)
		case !doublestar.ValidatePattern(g.pattern):
			f.fail(g.spot, "%q is not a glob: see * ** ? [a-z] {a,b}", g.pattern)
		}
	}
	return list
}

// tooMuch says what makes a glob too costly to match, if anything does.
func tooMuch(pattern string) string {
	if len(pattern) > maxGlob {
		return fmt.Sprintf("a glob of more than %d bytes: write several", maxGlob)
	}
	c := countGlob(pattern)
	switch {
	case c.stars > maxStars:
		return fmt.Sprintf("a glob with more than %d of **: write several", maxStars)
	case c.inner > maxInner:
		return fmt.Sprintf("a glob with braces nested more than %d deep: write several", maxInner)
	case c.braces > maxBraces:
		return fmt.Sprintf("a glob with more than %d groups in braces: write several", maxBraces)
	case c.choices > maxChoices:
		return fmt.Sprintf("a glob whose braces stand for more than %d globs: write several", maxChoices)
	}
	return ""
}

// globCounts count what makes matching a glob slow.
type globCounts struct{ stars, braces, inner, choices int }

// countGlob counts them in a text that need not be a valid glob.
func countGlob(pattern string) globCounts {
	type group struct{ before, here int } // choices of the alternatives before, and of this one
	c := globCounts{}
	open := []group{{0, 1}}
	for k := 0; k < len(pattern); k++ {
		last := &open[len(open)-1]
		switch pattern[k] {
		case '\\':
			k++
		case '[':
			k = classEnd(pattern, k)
		case '*':
			if k+1 < len(pattern) && pattern[k+1] == '*' {
				c.stars++
				k++
			}
		case '{':
			c.braces++
			open = append(open, group{0, 1})
			c.inner = max(c.inner, len(open)-1)
		case ',':
			last.before, last.here = last.before+last.here, 1
		case '}':
			if len(open) > 1 {
				open = open[:len(open)-1]
				around := &open[len(open)-1]
				around.here = min(around.here*(last.before+last.here), maxChoices+1) // no overflow
			}
		}
	}
	c.choices = open[0].here
	return c
}

// classEnd is the index of the bracket that closes the class at start, or of the last byte.
func classEnd(pattern string, start int) int {
	for k := start + 1; k < len(pattern); k++ {
		switch pattern[k] {
		case '\\':
			k++
		case ']':
			return k
		}
	}
	return len(pattern) - 1
}
