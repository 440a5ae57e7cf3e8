package manifests

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// ErrManifest is in the chain of every error of this package.
var ErrManifest = errors.New("manifest")

// Error is one error in a manifest, with its place.
type Error struct {
	Path         string
	Line, Column int    // from 1
	Snippet      string // the line
	Message      string
}

// Error is the message with its place, the line and a caret below the column. All of it is safe to print.
func (e *Error) Error() string {
	head := fmt.Sprintf("%s: %s", place(e.Path, e.Line, e.Column), shorten(printable(e.Message)))
	if strings.TrimSpace(e.Snippet) == "" {
		return head
	}
	line, column := window(e.Snippet, e.Column)
	number := fmt.Sprintf("%4d | ", e.Line)
	indent := strings.Repeat(" ", len(number)-2) + "| "
	return head + "\n" + number + printableLine(line) + "\n" + indent + pad(line, column) + "^"
}

// shorten leaves out the middle of a long text: a word of a manifest may be as long as a line.
func shorten(text string) string {
	const head, tail = 750, 250
	letters := split(text)
	if len(letters) <= head+tail {
		return text
	}
	return strings.Join(letters[:head], "") + " ... " + strings.Join(letters[len(letters)-tail:], "")
}

// place is a place as path:line:column, which editors and terminals understand.
func place(path string, line, column int) string {
	return fmt.Sprintf("%s:%d:%d", printable(path), line, column)
}

// window is the part of a line that is shown, and the column in it.
func window(line string, column int) (string, int) {
	const before, shown = 80, 160
	letters := split(line)
	if len(letters) <= shown {
		return line, column
	}
	start := min(max(column-1-before, 0), len(letters)-shown)
	return strings.Join(letters[start:start+shown], ""), column - start
}

// pad is white space as wide as the text before a column.
func pad(line string, column int) string {
	var b strings.Builder
	for k, letter := range split(line) {
		switch {
		case k >= column-1:
			return b.String()
		case letter == "\t":
			b.WriteString(letter)
		default:
			b.WriteString(strings.Repeat(" ", utf8.RuneCountInString(printable(letter))))
		}
	}
	return b.String()
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

// source is the text of the manifest, or of a file that it includes.
type source struct {
	path  string
	lines []string
	*faults
}

// faults are the errors in the manifest and the files that it includes.
type faults struct {
	errors  []*Error
	sources []string // their paths, the manifest's first
}

func newSource(path string, data []byte, f *faults) *source {
	f.sources = append(f.sources, path)
	return &source{path, strings.Split(string(trimMark(data)), "\n"), f}
}

// trimMark removes the byte order mark that programs on Windows put before UTF-8.
func trimMark(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\uFEFF")) }

func (s *source) fail(where spot, text string, args ...any) {
	e := &Error{Path: s.path, Line: min(max(where.line, 1), len(s.lines)), Column: max(where.column, 1), Message: fmt.Sprintf(text, args...)}
	e.Snippet = strings.TrimRight(s.lines[e.Line-1], "\r")
	e.Column = min(e.Column, len([]rune(e.Snippet))+1)
	s.errors = append(s.errors, e)
}

// place is a spot as path:line:column.
func (s *source) place(where spot) string {
	return place(s.path, min(max(where.line, 1), len(s.lines)), max(where.column, 1))
}

// err joins all errors, in the order of files and lines.
func (s *faults) err() error {
	if len(s.errors) == 0 {
		return nil
	}
	slices.SortStableFunc(s.errors, func(a, b *Error) int {
		return cmp.Or(slices.Index(s.sources, a.Path)-slices.Index(s.sources, b.Path), a.Line-b.Line, a.Column-b.Column)
	})
	var list []error
	for _, e := range s.errors[:min(len(s.errors), maxErrors)] {
		list = append(list, e)
	}
	if more := len(s.errors) - maxErrors; more > 0 {
		list = append(list, fmt.Errorf("%w: %d more mistakes", ErrManifest, more))
	}
	return errors.Join(list...)
}

// meant is the Nearest word as " (did you mean …?)", or "".
func meant(word string, list []string) string {
	best := Nearest(word, list)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// Nearest is the word of a list that is close enough to a misspelled one; "" if there is none.
func Nearest(word string, list []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, w := range list {
		if d := distance(word, w); d < least {
			best, least = w, d
		}
	}
	return best
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
