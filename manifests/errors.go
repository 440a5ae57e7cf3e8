package manifests

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// ErrManifest is in the chain of every error of this package.
var ErrManifest = errors.New("manifest")

// Error is one thing wrong with a manifest, and where.
type Error struct {
	Path         string
	Line, Column int    // from 1
	Snippet      string // the line
	Message      string
}

// Error is the message with its place, the line and a caret below the column.
func (e *Error) Error() string {
	head := fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Message)
	if strings.TrimSpace(e.Snippet) == "" {
		return head
	}
	number := fmt.Sprintf("%4d | ", e.Line)
	indent := strings.Repeat(" ", len(number)-2) + "| "
	var pad strings.Builder
	for k, r := range []rune(e.Snippet) {
		if k >= e.Column-1 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		pad.WriteRune(r)
	}
	return head + "\n" + number + e.Snippet + "\n" + indent + pad.String() + "^"
}

func (e *Error) Unwrap() error { return ErrManifest }

// spot is a place in the manifest.
type spot struct{ line, column int }

func at(t *token.Token) spot {
	if t == nil || t.Position == nil {
		return spot{1, 1}
	}
	return spot{t.Position.Line, t.Position.Column}
}

func spotOf(n ast.Node) spot {
	if n == nil {
		return spot{1, 1}
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return at(m.Values[0].Key.GetToken())
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return at(m.Key.GetToken())
	}
	return at(n.GetToken())
}

// source is the manifest's text, and what is wrong with it.
type source struct {
	path   string
	lines  []string
	errors []*Error
}

func (s *source) fail(where spot, text string, args ...any) {
	e := &Error{Path: s.path, Line: min(max(where.line, 1), len(s.lines)), Column: max(where.column, 1), Message: fmt.Sprintf(text, args...)}
	e.Snippet = strings.TrimRight(s.lines[e.Line-1], "\r")
	e.Column = min(e.Column, len([]rune(e.Snippet))+1)
	s.errors = append(s.errors, e)
}

// err is all that is wrong, in the order of lines.
func (s *source) err() error {
	if len(s.errors) == 0 {
		return nil
	}
	slices.SortStableFunc(s.errors, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	var list []error
	for _, e := range s.errors {
		list = append(list, e)
	}
	return errors.Join(list...)
}

// meant is the word of a list that someone who wrote another may have meant, as " (did you mean …?)", or nothing.
func meant(word string, list []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, w := range list {
		if d := distance(word, w); d < least {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is the number of letters to change, add or drop to make one word of the other.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
