package caffe

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
)

// Limits on what a text may ask for.
const (
	maxText   = 32 << 20 // bytes
	maxFields = 1 << 20
	maxDepth  = 64 // messages in messages
)

// source is a text in protobuf's text format, and the file that messages name.
type source struct {
	name string // of the file, without its folder
	text string
}

// errorAt says what is wrong at a byte of the text, as file:line:column. It wraps format.ErrCorrupt.
func (s *source) errorAt(at int, text string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", s.position(at), fmt.Sprintf(text, args...), format.ErrCorrupt)
}

// position is file:line:column of a byte, counted from 1.
func (s *source) position(at int) string {
	return fmt.Sprintf("%s:%d:%d", s.name, s.line(at), at-strings.LastIndexByte(s.text[:at], '\n'))
}

// line is the number of a byte's line.
func (s *source) line(at int) int { return strings.Count(s.text[:at], "\n") + 1 }

// message is a message in text: its fields in the order in which they stand there.
type message struct {
	fields   []*field
	from, to int // what stands between its braces; the whole text for the outermost
}

// field is one field of a message. Fields that this program does not know are fields like others.
type field struct {
	name      string
	from, to  int      // all of it, a separator behind it included
	at, end   int      // its value
	value     string   // a number or word as written, a string decoded
	quoted    bool     // the value is a string
	inner     *message // the value is a message
	elementOf bool     // it is an element of a list in brackets, which from and to do not cover
}

// parse reads a text. Its error says where in the file it is.
func (s *source) parse() (*message, error) {
	if len(s.text) > maxText {
		return nil, fmt.Errorf("%s: %d bytes of text: %w", s.name, len(s.text), format.ErrLimit)
	}
	p := &parser{source: s, at: len(s.text) - len(strings.TrimPrefix(s.text, "\ufeff"))} // a byte order mark, as some editors write it
	p.next()
	m := p.message(0, -1)
	if p.err != nil {
		return nil, p.err
	}
	m.to = len(s.text)
	return m, nil
}

// parser reads tokens and keeps the first error.
type parser struct {
	*source
	at     int   // where the next token is looked for
	tok    token // the one that is looked at
	fields int
	err    error
}

// token is a word, a number, a string, or one punctuation character; of no length at the end.
type token struct {
	kind     kind
	from, to int
}

type kind uint8

const (
	end kind = iota
	word
	number
	quote
	mark
)

var kinds = [...]string{end: "the end of the file", word: "a word", number: "a number", quote: "a string", mark: "punctuation"}

// fail keeps an error, if it is the first, and ends the text.
func (p *parser) fail(at int, text string, args ...any) {
	if p.err == nil {
		p.err = p.errorAt(at, text, args...)
	}
	p.at, p.tok = len(p.text), token{end, len(p.text), len(p.text)}
}

// found names the token that is looked at, for messages.
func (p *parser) found() string {
	if p.tok.kind == end {
		return kinds[end]
	}
	text := p.text[p.tok.from:p.tok.to]
	if len(text) > 40 {
		text = text[:40]
	}
	return strconv.Quote(text)
}

// next looks at the next token; comments reach from # to the end of their line.
func (p *parser) next() {
	t := p.text
	for p.at < len(t) {
		switch c := t[p.at]; {
		case c == '#':
			if n := strings.IndexByte(t[p.at:], '\n'); n >= 0 {
				p.at += n
			} else {
				p.at = len(t)
			}
			continue
		case c <= ' ':
			p.at++
			continue
		}
		break
	}
	from := p.at
	if from == len(t) {
		p.tok = token{end, from, from}
		return
	}
	k := mark
	switch c := t[from]; {
	case letter(c):
		k = word
		for p.at < len(t) && (letter(t[p.at]) || digit(t[p.at])) {
			p.at++
		}
	case digit(c) || c == '.' && from+1 < len(t) && digit(t[from+1]):
		k = number
		for p.at < len(t) && (letter(t[p.at]) || digit(t[p.at]) || t[p.at] == '.' ||
			(t[p.at] == '-' || t[p.at] == '+') && (t[p.at-1] == 'e' || t[p.at-1] == 'E')) {
			p.at++
		}
	case c == '"' || c == '\'':
		k = quote
		for p.at++; ; p.at++ {
			if p.at >= len(t) || t[p.at] == '\n' {
				p.fail(from, "a string that does not end on its line")
				return
			}
			if t[p.at] == c {
				break
			}
			if t[p.at] == '\\' && p.at+1 < len(t) {
				p.at++
			}
		}
		p.at++
	default:
		p.at++
	}
	p.tok = token{k, from, p.at}
}

func letter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// is says whether the token that is looked at is that punctuation character.
func (p *parser) is(c byte) bool { return p.tok.kind == mark && p.text[p.tok.from] == c }

// message reads fields up to the closing brace of the message that was opened at a byte, or to the end where open is -1.
func (p *parser) message(depth, open int) *message {
	m := &message{from: open + 1}
	for p.err == nil {
		switch {
		case open < 0 && p.tok.kind == end:
			return m
		case open >= 0 && (p.is('}') || p.is('>')):
			if closing := p.text[p.tok.from]; (closing == '}') != (p.text[open] == '{') {
				p.fail(p.tok.from, "%q closes %q", closing, p.text[open])
			}
			m.to = p.tok.from
			return m
		case p.tok.kind == end:
			p.fail(open, "the message that starts here does not end")
		default:
			p.field(m, depth)
		}
	}
	return m
}

// field reads one field, or the fields that a list in brackets stands for.
func (p *parser) field(m *message, depth int) {
	f := field{from: p.tok.from}
	switch {
	case p.tok.kind == word:
		f.name = p.text[p.tok.from:p.tok.to]
		p.next()
	case p.is('['): // an extension
		close := strings.IndexByte(p.text[p.tok.from:], ']')
		if close < 0 {
			p.fail(p.tok.from, "a bracket that does not close")
			return
		}
		f.name = p.text[p.tok.from : p.tok.from+close+1]
		p.at = p.tok.from + close + 1
		p.next()
	default:
		p.fail(p.tok.from, "want the name of a field, found %s", p.found())
		return
	}
	colon := p.is(':')
	if colon {
		p.next()
	}
	if p.is('[') {
		f.elementOf = true
		p.next()
		for p.err == nil && !p.is(']') {
			e := f
			p.value(&e, colon, depth)
			e.from, e.to = e.at, e.end
			p.add(m, &e)
			if p.is(',') {
				p.next()
			} else if !p.is(']') {
				p.fail(p.tok.from, "want , or ] in the list of %q, found %s", f.name, p.found())
			}
		}
		p.next()
	} else {
		p.value(&f, colon, depth)
		f.to = f.end
		if p.is(',') || p.is(';') {
			f.to = p.tok.to
		}
		p.add(m, &f)
	}
	if p.is(',') || p.is(';') {
		p.next()
	}
}

func (p *parser) add(m *message, f *field) {
	if p.err != nil {
		return
	}
	if p.fields++; p.fields > maxFields {
		p.fail(f.from, "more than %d fields", maxFields)
		p.err = fmt.Errorf("%s: more than %d fields: %w", p.name, maxFields, format.ErrLimit)
	}
	m.fields = append(m.fields, f)
}

// value reads a field's value, which needs a colon unless it is a message.
func (p *parser) value(f *field, colon bool, depth int) {
	f.at = p.tok.from
	if p.is('{') || p.is('<') {
		if depth >= maxDepth {
			p.fail(f.at, "messages nested more than %d deep", maxDepth)
			p.err = fmt.Errorf("%s: messages nested more than %d deep: %w", p.name, maxDepth, format.ErrLimit)
			return
		}
		p.next()
		f.inner = p.message(depth+1, f.at)
		f.end = p.tok.to
		p.next()
		return
	}
	if !colon {
		p.fail(f.at, "want : or { behind %q, found %s", f.name, p.found())
		return
	}
	sign := ""
	if p.is('-') {
		sign = "-"
		p.next()
		if p.tok.kind != number && p.tok.kind != word {
			p.fail(p.tok.from, "want a number behind -, found %s", p.found())
			return
		}
	}
	switch p.tok.kind {
	case word, number:
		f.value, f.end = sign+p.text[p.tok.from:p.tok.to], p.tok.to
		p.next()
	case quote:
		f.quoted = true
		var b strings.Builder
		for p.tok.kind == quote { // neighbouring strings are one
			b.WriteString(unquote(p.text[p.tok.from+1 : p.tok.to-1]))
			f.end = p.tok.to
			p.next()
		}
		f.value = b.String()
	default:
		p.fail(p.tok.from, "want a value for %q, found %s", f.name, p.found())
	}
}

// unquote resolves a string's C escapes; other backslashes stay.
func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for k := 0; k < len(s); k++ {
		if s[k] != '\\' || k+1 == len(s) {
			b.WriteByte(s[k])
			continue
		}
		k++
		digits, base := 0, 8
		switch c := s[k]; c {
		case 'n', 't', 'r', 'a', 'b', 'f', 'v':
			b.WriteByte("\n\t\r\a\b\f\v"[strings.IndexByte("ntrabfv", c)])
			continue
		case 'x', 'X':
			base = 16
			k++
			for digits < 2 && k+digits < len(s) && strings.IndexByte("0123456789abcdefABCDEF", s[k+digits]) >= 0 {
				digits++
			}
			if digits == 0 {
				b.WriteByte(c)
				k--
				continue
			}
		default:
			for digits < 3 && k+digits < len(s) && s[k+digits] >= '0' && s[k+digits] <= '7' {
				digits++
			}
			if digits == 0 {
				b.WriteByte(c)
				continue
			}
		}
		n, _ := strconv.ParseUint(s[k:k+digits], base, 16) // digits only: it cannot fail
		b.WriteByte(byte(n))
		k += digits - 1
	}
	return b.String()
}

// quoted is a string as it is written in text.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// integer is a field's value as a whole number: decimal, hexadecimal or octal.
func (f *field) integer() (int64, bool) {
	if f.quoted || f.inner != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(f.value, 0, 64)
	return n, err == nil
}

// float is a field's value as a float32, widened: parameters are stored as such.
func (f *field) float() (float64, bool) {
	if f.quoted || f.inner != nil {
		return 0, false
	}
	text := strings.ToLower(f.value)
	if !strings.HasPrefix(text, "0x") {
		text = strings.TrimSuffix(text, "f")
	}
	switch strings.TrimPrefix(text, "-") {
	case "in", "infinity": // "inf" without its last letter
		return math.Inf(1 - 2*strings.Count(text, "-")), true
	case "nan":
		return math.NaN(), true
	}
	n, err := strconv.ParseFloat(text, 32)
	return n, err == nil || math.IsInf(n, 0)
}

// truth is a field's value as a bool.
func (f *field) truth() (value, ok bool) {
	if f.quoted || f.inner != nil {
		return false, false
	}
	switch f.value {
	case "true", "True", "t", "1":
		return true, true
	case "false", "False", "f", "0":
		return false, true
	}
	return false, false
}

// all are the message's fields of that name.
func (m *message) all(name string) (list []*field) {
	if m == nil {
		return nil
	}
	for _, f := range m.fields {
		if f.name == name {
			list = append(list, f)
		}
	}
	return list
}
