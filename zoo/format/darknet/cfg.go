package darknet

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
)

const (
	maxText     = 16 << 20 // bytes of a cfg: published ones have at most 40,000
	maxSections = 1 << 16
)

// cfg is the text that describes a network, read as Darknet reads it: a line that begins with a bracket starts a section,
// spaces mean nothing anywhere, of two options with one name the first counts.
type cfg struct {
	name     string // of the file, for messages
	text     []byte
	sections []*section
}

// section is one layer, or [net]. Its getters keep the first error in err.
type section struct {
	cfg     *cfg
	kind    string // the word in the brackets; a short form of Darknet's is replaced by the long one
	line    int
	word    format.Span // where the text has that word
	body    int64       // where the line below begins
	options []option
	err     error
}

// option is one line key=value.
type option struct {
	key, value string
	line       int
	at         int64       // where its line begins
	raw        format.Span // the value as written, with its spaces
}

// aliases are section names that Darknet reads as others.
var aliases = map[string]string{
	"network": "net", "conv": "convolutional", "deconv": "deconvolutional", "conn": "connected", "max": "maxpool",
	"avg": "avgpool", "local_avg": "local_avgpool", "lrn": "normalization", "soft": "softmax", "silence": "empty",
}

func readCfg(path string) (*cfg, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, err
	}
	c := &cfg{name: filepath.Base(path), text: text}
	if len(text) > maxText {
		return nil, c.errorf(1, format.ErrLimit, "a cfg of more than %d bytes", maxText)
	}
	return c, c.parse()
}

// errorf is an error with its place. Texts from the file have to be shortened for the message.
func (c *cfg) errorf(line int, kind error, message string, args ...any) error {
	return fmt.Errorf("%s:%d: %s: %w", c.name, line, fmt.Sprintf(message, args...), kind)
}

func (c *cfg) parse() error {
	at := int64(len(c.text)) - int64(len(bytes.TrimPrefix(c.text, []byte("\xef\xbb\xbf"))))
	for line := 1; at < int64(len(c.text)); line++ {
		end := int64(len(c.text))
		if k := bytes.IndexByte(c.text[at:], '\n'); k >= 0 {
			end = at + int64(k) + 1
		}
		if err := c.parseLine(line, format.Span{From: at, To: end}); err != nil {
			return err
		}
		at = end
	}
	switch {
	case len(c.sections) == 0 || c.sections[0].kind != "net":
		return c.errorf(1, format.ErrCorrupt, "the first section is not [net]: is this the cfg of a network?")
	case len(c.sections) == 1:
		return c.errorf(c.sections[0].line, format.ErrCorrupt, "there are no layers below [net]")
	}
	return nil
}

func (c *cfg) parseLine(line int, at format.Span) error {
	raw := c.text[at.From:at.To]
	if k := slices.IndexFunc(raw, func(b byte) bool { return b < ' ' && !space(b) }); k >= 0 {
		return c.errorf(line, format.ErrCorrupt, "byte %#02x in it: this is not text", raw[k])
	}
	text := stripped(raw)
	switch {
	case text == "" || text[0] == '#' || text[0] == ';':
		return nil
	case text[0] == '[':
		word, rest, closed := strings.Cut(text[1:], "]")
		if !closed || rest != "" && rest[0] != '#' && rest[0] != ';' {
			return c.errorf(line, format.ErrCorrupt, "%q is no section", shortened(text))
		}
		if len(c.sections) == maxSections {
			return c.errorf(line, format.ErrLimit, "more than %d sections", maxSections)
		}
		from, to := at.From+int64(bytes.IndexByte(raw, '['))+1, at.From+int64(bytes.IndexByte(raw, ']'))
		s := &section{cfg: c, kind: word, line: line, word: format.Span{From: from, To: to}, body: at.To}
		if long, ok := aliases[word]; ok {
			s.kind = long
		}
		c.sections = append(c.sections, s)
		return nil
	case len(c.sections) == 0:
		return c.errorf(line, format.ErrCorrupt, "%q stands before the first section", shortened(text))
	}
	key, value, ok := strings.Cut(text, "=")
	if !ok || value == "" {
		return nil // Darknet finds nothing in such a line either
	}
	s := c.sections[len(c.sections)-1]
	from := at.From + int64(bytes.IndexByte(raw, '=')) + 1
	s.options = append(s.options, option{key, value, line, at.From, format.Span{From: from, To: at.To}})
	return nil
}

func space(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// stripped is a line without white space.
func stripped(raw []byte) string {
	text := strings.TrimSpace(string(raw))
	if !strings.ContainsAny(text, " \t\r") {
		return text
	}
	return strings.NewReplacer(" ", "", "\t", "", "\r", "").Replace(text)
}

// shortened is the beginning of a text of the file, for messages.
func shortened(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// fail notes an error, if it is the section's first.
func (s *section) fail(line int, kind error, message string, args ...any) {
	if s.err == nil {
		s.err = s.cfg.errorf(line, kind, "["+shortened(s.kind)+"] "+message, args...)
	}
}

func (s *section) find(key string) *option {
	for k := range s.options {
		if s.options[k].key == key {
			return &s.options[k]
		}
	}
	return nil
}

// digits are the number at the beginning of a text, as C's atoi reads it: "1#old" is 1.
func digits(s string) string {
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[end] == '-' || s[end] == '+')) {
		end++
	}
	return s[:end]
}

// number reads the beginning of a text as an integer that fits C's int.
func (s *section) number(o *option, text string) int64 {
	n, err := strconv.ParseInt(digits(text), 10, 32)
	switch {
	case err == nil:
		return n
	case strings.Trim(digits(text), "+-") == "":
		s.fail(o.line, format.ErrCorrupt, "%s=%s: %q is no number", shortened(o.key), shortened(o.value), shortened(text))
	default:
		s.fail(o.line, format.ErrLimit, "%s=%s: Darknet's numbers have 31 bits", shortened(o.key), shortened(o.value))
	}
	return 1
}

func (s *section) int(key string, otherwise int64) int64 {
	if o := s.find(key); o != nil {
		return s.number(o, o.value)
	}
	return otherwise
}

// positive is an option that has to be at least 1.
func (s *section) positive(key string, otherwise int64) int64 {
	n := s.int(key, otherwise)
	if n < 1 {
		s.fail(s.lineOf(key), format.ErrCorrupt, "%s=%d: it has to be positive", key, n)
		return 1
	}
	return n
}

func (s *section) flag(key string) bool { return s.int(key, 0) != 0 }

func (s *section) str(key, otherwise string) string {
	if o := s.find(key); o != nil {
		return o.value
	}
	return otherwise
}

// float reads an option as C's atof does, as far as that is a number.
func (s *section) float(key string, otherwise float64) float64 {
	o := s.find(key)
	if o == nil {
		return otherwise
	}
	end := len(o.value)
	for k, r := range o.value {
		if !strings.ContainsRune("0123456789+-.eE", r) {
			end = k
			break
		}
	}
	x, err := strconv.ParseFloat(o.value[:end], 64)
	if err != nil || math.IsInf(x, 0) {
		s.fail(o.line, format.ErrCorrupt, "%s=%s is no number", key, shortened(o.value))
		return otherwise
	}
	return x
}

// ints are an option's numbers between commas. It has to be there.
func (s *section) ints(key string) []int64 {
	o := s.find(key)
	if o == nil {
		s.fail(s.line, format.ErrCorrupt, "has no %s=", key)
		return nil
	}
	var list []int64
	for _, text := range strings.Split(o.value, ",") {
		list = append(list, s.number(o, text))
	}
	return list
}

// lineOf is the line for messages about an option: the section's own if the option is missing.
func (s *section) lineOf(key string) int {
	if o := s.find(key); o != nil {
		return o.line
	}
	return s.line
}

// edit replaces a range of the cfg by a text.
type edit struct {
	at   format.Span
	text string
}

// set gives an option a value on every line of the section that sets it. Text behind a number on its line stays.
func (s *section) set(key, value string) (edits []edit) {
	for _, o := range s.options {
		if o.key == key {
			edits = append(edits, edit{o.span(s.cfg.text), value})
		}
	}
	if edits == nil {
		edits = append(edits, s.add(key, value))
	}
	return edits
}

// add is a new option on the line below the section's name.
func (s *section) add(key, value string) edit {
	line := string(s.cfg.text[s.word.To:s.body])
	switch {
	case strings.HasSuffix(line, "\r\n"):
		return edit{format.Span{From: s.body, To: s.body}, key + "=" + value + "\r\n"}
	case strings.HasSuffix(line, "\n"):
		return edit{format.Span{From: s.body, To: s.body}, key + "=" + value + "\n"}
	}
	return edit{format.Span{From: s.body, To: s.body}, "\n" + key + "=" + value}
}

// without comments an option's lines out.
func (s *section) without(key string) (edits []edit) {
	for _, o := range s.options {
		if o.key == key {
			edits = append(edits, edit{format.Span{From: o.at, To: o.at}, "#"})
		}
	}
	return edits
}

// span is where the text has an option's value: its number if it is one, else all of it.
func (o option) span(text []byte) format.Span {
	want := len(digits(o.value))
	if want == 0 {
		want = len(o.value)
	}
	at := format.Span{From: -1, To: o.raw.From}
	for k := o.raw.From; k < o.raw.To && want > 0; k++ {
		if space(text[k]) {
			continue
		}
		if at.From < 0 {
			at.From = k
		}
		at.To, want = k+1, want-1
	}
	if at.From < 0 {
		at.From = at.To
	}
	return at
}
