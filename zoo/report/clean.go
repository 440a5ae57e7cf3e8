package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// Names and texts from files must not act on a terminal, a log or a page, and two names must not look the same. All output
// goes through the functions here.

// Printable is text that is safe to print: control characters, marks that change the direction of text and invalid UTF-8
// are escaped.
func Printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s
	}
	var b strings.Builder
	for k := 0; k < len(s); {
		r, size := utf8.DecodeRuneInString(s[k:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[k])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		k += size
	}
	return b.String()
}

// escaped is what Name writes for a byte.
var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// Name is the name of a file as valid UTF-8. Invalid bytes are written as \xNN, and backslashes in such a name twice. Other
// names stay as they are, unless they look like an escaped name: so different names stay different.
func Name(name string) string {
	if utf8.ValidString(name) && !escaped.MatchString(name) {
		return name
	}
	var b strings.Builder
	for k := 0; k < len(name); {
		r, size := utf8.DecodeRuneInString(name[k:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, name[k])
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteRune(r)
		}
		k += size
	}
	return b.String()
}

// printed is a name for people.
func printed(name string) string { return Printable(Name(name)) }

func names(list []string) []string {
	var out []string
	for _, name := range list {
		out = append(out, Name(name))
	}
	return out
}

// texts are valid UTF-8. Errors and notes hold names.
func texts(list []string) []string {
	var out []string
	for _, text := range list {
		out = append(out, valid(text))
	}
	return out
}

// valid is text as valid UTF-8, which JSON requires, from which the original can be recovered.
func valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return Name(text)
}

func cleanStart(s outcome.Start) outcome.Start {
	s.Manifest, s.Why, s.Engine = Name(s.Manifest), valid(s.Why), valid(s.Engine)
	return s
}

func cleanBegin(b outcome.Begin) outcome.Begin {
	b.Path = Name(b.Path)
	return b
}

func cleanModel(m outcome.Model) outcome.Model {
	m.Path, m.Output, m.Error, m.Warnings = Name(m.Path), Name(m.Output), valid(m.Error), texts(m.Warnings)
	for _, c := range []*outcome.Check{&m.Parity, &m.Algebra, &m.Predictions} {
		c.Note = valid(c.Note)
	}
	return m
}

func cleanEnd(e outcome.End) outcome.End {
	e.Unmatched, e.Orphans, e.Pruned, e.WouldRemove = names(e.Unmatched), names(e.Orphans), names(e.Pruned), names(e.WouldRemove)
	e.Report, e.Notes = Name(e.Report), texts(e.Notes)
	return e
}

// EncodeJSON is a value as JSON that is safe to print: characters in strings that are not printable are escaped. Without an
// indent it is one line.
func EncodeJSON(value any, prefix, indent string) ([]byte, error) {
	var text []byte
	var err error
	if indent == "" {
		text, err = json.Marshal(value)
	} else {
		text, err = json.MarshalIndent(value, prefix, indent)
	}
	if err != nil || !slices.ContainsFunc(text, beyondASCII) || !bytes.ContainsFunc(text, hidden) {
		return text, err
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch high, low := utf16.EncodeRune(r); {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes(), nil
}

// beyondASCII says whether a byte is no printable character of ASCII.
func beyondASCII(b byte) bool { return b >= 0x7f || b < ' ' && b != '\n' }

// hidden says whether a character is not printable. Line feeds separate the lines of JSON.
func hidden(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

// Output is a writer that keeps its first error, and writes nothing after it.
type Output struct {
	lock sync.Mutex
	to   io.Writer
	err  error
}

// NewOutput writes to another writer.
func NewOutput(to io.Writer) *Output { return &Output{to: to} }

// To is the underlying writer.
func (o *Output) To() io.Writer { return o.to }

// Write always returns nil: Err has the error.
func (o *Output) Write(data []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	if o.err == nil {
		_, o.err = o.to.Write(data)
	}
	return len(data), nil
}

// Err is what kept the output from being written, without the name of the file: "no space left on device". It is nil if
// all was written.
func (o *Output) Err() error {
	o.lock.Lock()
	defer o.lock.Unlock()
	if path := (*fs.PathError)(nil); errors.As(o.err, &path) {
		return path.Err
	}
	return o.err
}
