package report

import (
	"strings"

	"github.com/rivo/uniseg"
)

// Style is how lines are laid out. The zero Style is for files: lines are as long as they are, without colour.
type Style struct {
	Columns func() int // of the window; nil: there is none
	Color   bool
}

// The colours, as terminals name them.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// The columns of the names of models: usual, and the fewest that a name is cut to beside a verdict. Where a window has no room
// for that, the verdict gets lines of its own.
const (
	usualName = 58
	leastName = 20
	verdict   = 57 // columns of a usual one: "  70 -> 0     19.0 MB   max difference 2e-6 (limit 1e-5)"
)

// paint colours a text.
func (s Style) paint(color, text string) string {
	if !s.Color {
		return text
	}
	return color + text + plain
}

// width is the columns that a line may have; 0: any number. A line as wide as the window would begin a new row in some.
func (s Style) width() int {
	if s.Columns == nil {
		return 0
	}
	return max(s.Columns()-1, 1)
}

// text is a line, broken between words where the window is narrower.
func (s Style) text(text string) string {
	return strings.Join(wrapped(text, s.width(), "  "), "\n") + "\n"
}

// named is a line that says something of a file behind its name. The name is cut in its middle where it has to be, never what
// is said of it. A text that begins with alarm has that in red.
func (s Style) named(name, text, alarm string) string {
	width := s.width()
	beside := usualName
	if width > 0 {
		room := width - 1 - uniseg.StringWidth(text)
		beside = min(max(min(width-1-verdict, usualName), leastName, uniseg.StringWidth(name)), room)
	}
	switch {
	case width == 0:
		return padded(name, beside) + " " + s.marked(text, alarm) + "\n"
	case beside >= leastName:
		return padded(middle(name, beside), beside) + " " + s.marked(text, alarm) + "\n"
	}
	said := wrapped("    "+strings.TrimSpace(text), width, "    ")
	said[0] = "    " + s.marked(strings.TrimPrefix(said[0], "    "), alarm)
	return middle(name, width) + "\n" + strings.Join(said, "\n") + "\n"
}

func (s Style) marked(text, alarm string) string {
	if rest, ok := strings.CutPrefix(text, alarm); ok && alarm != "" {
		return s.paint(red, alarm) + rest
	}
	return text
}

// padded is a text with spaces up to so many columns.
func padded(text string, columns int) string {
	return text + strings.Repeat(" ", max(columns-uniseg.StringWidth(text), 0))
}

// middle is text without its middle, so that it has so many columns: the end, where a file's name is, keeps more.
func middle(text string, columns int) string {
	if uniseg.StringWidth(text) <= columns {
		return text
	}
	head := firstColumns(text, (columns-1)/3)
	return head + lastColumns(text, columns-uniseg.StringWidth(head))
}

// firstColumns is the beginning of a text, of at most so many columns.
func firstColumns(text string, columns int) string {
	var b strings.Builder
	for state := -1; text != ""; {
		var letter string
		var width int
		letter, text, width, state = uniseg.FirstGraphemeClusterInString(text, state)
		if columns -= width; columns < 0 {
			break
		}
		b.WriteString(letter)
	}
	return b.String()
}

// wrapped is a text in lines of at most so many columns, 0 being any number: broken between words, within one only where it is
// wider than a line. Lines after the first are indented.
func wrapped(text string, columns int, indent string) (lines []string) {
	if columns <= 0 || uniseg.StringWidth(text) <= columns {
		return []string{text}
	}
	if columns <= 2*len(indent) {
		indent = ""
	}
	line := text[:len(text)-len(strings.TrimLeft(text, " "))]
	if len(line) >= columns {
		line = ""
	}
	empty := true // but for its indentation
	for word := range strings.FieldsSeq(text) {
		space := " "
		if empty {
			space = ""
		}
		if !empty && uniseg.StringWidth(line+space+word) > columns {
			lines, line, empty, space = append(lines, line), indent, true, ""
		}
		for uniseg.StringWidth(line+space+word) > columns {
			part := firstColumns(word, columns-uniseg.StringWidth(line))
			if part == "" { // one letter is wider than the line
				break
			}
			lines, line, word = append(lines, line+part), indent, word[len(part):]
		}
		line, empty = line+space+word, false
	}
	return append(lines, line)
}
