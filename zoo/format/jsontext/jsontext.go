// Package jsontext edits JSON texts: what is not edited is written exactly as it was read. Configurations of models are
// JSON, and may hold values that this program does not know.
package jsontext

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/zoofold/zoofold/zoo/format"
)

// Value is a JSON value with its text: if it is not edited it is written with its keys in the same order and its numbers in
// the same spelling. NaN and Infinity are accepted, since Python's json module writes them.
type Value struct {
	Kind  byte     // one of n, t, f for the literals; 0 for numbers; and ", [, {
	text  string   // as read, or as made; "" for an array or object that has been edited
	Keys  []string // of an object, decoded
	Items []*Value // of an array or object
	Up    *Value   // the array or object that this is in
}

// maxNesting bounds how deep arrays and objects stand within each other.
const maxNesting = 200

// Parse reads a text that is one JSON value.
func Parse(text string) (*Value, error) {
	p := &parser{text: text}
	v, err := p.value(0)
	if err == nil {
		if p.space(); p.at < len(text) {
			err = p.wrong("something follows the end")
		}
	}
	return v, err
}

type parser struct {
	text string
	at   int
}

func (p *parser) wrong(what string, args ...any) error {
	return fmt.Errorf("JSON, byte %d: %s: %w", p.at, fmt.Sprintf(what, args...), format.ErrCorrupt)
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// next skips space and a byte, if it is that one.
func (p *parser) next(b byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == b {
		p.at++
		return true
	}
	return false
}

func (p *parser) value(depth int) (*Value, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("JSON, byte %d: more than %d arrays and objects within each other: %w", p.at, maxNesting, format.ErrLimit)
	}
	p.space()
	if p.at == len(p.text) {
		return nil, p.wrong("it ends where a value should be")
	}
	v, from := &Value{}, p.at
	var err error
	switch b := p.text[p.at]; b {
	case '{', '[':
		v.Kind = b
		err = p.items(v, depth)
	case '"':
		v.Kind = b
		_, err = p.string()
	case 'n', 't', 'f':
		v.Kind = b
		err = p.literal(map[byte]string{'n': "null", 't': "true", 'f': "false"}[b])
	case 'N':
		err = p.literal("NaN")
	case 'I':
		err = p.literal("Infinity")
	default:
		err = p.number()
	}
	v.text = p.text[from:p.at]
	return v, err
}

func (p *parser) items(v *Value, depth int) error {
	end := byte(']')
	if v.Kind == '{' {
		end = '}'
	}
	p.at++
	seen := map[string]bool{}
	for first := true; !p.next(end); first = false {
		if !first && !p.next(',') {
			return p.wrong("neither a comma nor %q", end)
		}
		if v.Kind == '{' {
			p.space()
			key, err := p.string()
			if err != nil {
				return err
			}
			if seen[key] {
				return p.wrong("a second key %q", key)
			}
			if seen[key] = true; !p.next(':') {
				return p.wrong("no colon after the key %q", key)
			}
			v.Keys = append(v.Keys, key)
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		item.Up = v
		v.Items = append(v.Items, item)
	}
	return nil
}

func (p *parser) literal(word string) error {
	if !strings.HasPrefix(p.text[p.at:], word) {
		return p.wrong("no value")
	}
	p.at += len(word)
	return nil
}

func (p *parser) number() error {
	from := p.at
	for p.at < len(p.text) && strings.IndexByte("+-.0123456789eE", p.text[p.at]) >= 0 {
		p.at++
	}
	if p.text[from:p.at] == "-" {
		return p.literal("Infinity")
	}
	if _, err := strconv.ParseFloat(p.text[from:p.at], 64); err != nil && !strings.Contains(err.Error(), "range") {
		p.at = from
		return p.wrong("no value")
	}
	return nil
}

// string reads a string and decodes it.
func (p *parser) string() (string, error) {
	if p.at == len(p.text) || p.text[p.at] != '"' {
		return "", p.wrong("no string")
	}
	p.at++
	from := p.at
	for k := p.at; k < len(p.text); k++ {
		switch p.text[k] {
		case '"':
			p.at = k + 1
			return unescape(p.text[from:k]), nil
		case '\\':
			k++
		}
	}
	return "", p.wrong("a string that does not end")
}

var escapes = map[byte]rune{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape decodes what stands between the quotes of a string.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	unit := func(at int) (rune, bool) { // \uXXXX
		if at+6 > len(s) || s[at] != '\\' || s[at+1] != 'u' {
			return 0, false
		}
		x, err := strconv.ParseUint(s[at+2:at+6], 16, 16)
		return rune(x), err == nil
	}
	for k := 0; k < len(s); k++ {
		if s[k] != '\\' || k+1 == len(s) {
			b.WriteByte(s[k])
			continue
		}
		if r, ok := unit(k); ok {
			k += 5
			if low, ok := unit(k + 1); ok && utf16.IsSurrogate(r) {
				r, k = utf16.DecodeRune(r, low), k+6
			}
			b.WriteRune(r)
			continue
		}
		k++
		if r, ok := escapes[s[k]]; ok {
			b.WriteRune(r)
		} else {
			b.WriteByte(s[k])
		}
	}
	return b.String()
}

// Quote is a string as JSON, in ASCII as Python writes it.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r < utf8.RuneSelf-1:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// String is the value's text. Edited arrays and objects are spaced as Python's json module spaces them.
func (v *Value) String() string {
	var b strings.Builder
	v.write(&b)
	return b.String()
}

func (v *Value) write(b *strings.Builder) {
	if v.text != "" {
		b.WriteString(v.text)
		return
	}
	b.WriteByte(v.Kind)
	for k, item := range v.Items {
		if k > 0 {
			b.WriteString(", ")
		}
		if v.Kind == '{' {
			b.WriteString(Quote(v.Keys[k]))
			b.WriteString(": ")
		}
		item.write(b)
	}
	b.WriteByte(v.Kind + 2) // ] follows [ by two, and } follows {
}

// Clone copies a value, and sets copies[x] to the copy of each part x.
func (v *Value) Clone(copies map[*Value]*Value) *Value {
	c := &Value{Kind: v.Kind, text: v.text, Keys: slices.Clone(v.Keys)}
	for _, item := range v.Items {
		i := item.Clone(copies)
		i.Up = c
		c.Items = append(c.Items, i)
	}
	copies[v] = c
	return c
}

// Edited discards the stored text of an array or object, and of all that contain it.
func (v *Value) Edited() {
	for ; v != nil; v = v.Up {
		v.text = ""
	}
}

// Set gives an object's key a value, at the end if it is new.
func (v *Value) Set(key, text string) {
	item := &Value{text: text, Up: v}
	if strings.IndexByte(`ntf"[{`, text[0]) >= 0 {
		item.Kind = text[0]
	}
	if k := slices.Index(v.Keys, key); k >= 0 {
		v.Items[k] = item
	} else {
		v.Keys, v.Items = append(v.Keys, key), append(v.Items, item)
	}
	v.Edited()
}

// Replace puts a scalar in the place of another.
func (v *Value) Replace(text string) {
	v.text = text
	v.Up.Edited()
}

// Remove takes an item out of an array or object.
func (v *Value) Remove(item *Value) {
	k := slices.Index(v.Items, item)
	v.Items = slices.Delete(v.Items, k, k+1)
	if v.Kind == '{' {
		v.Keys = slices.Delete(v.Keys, k, k+1)
	}
	v.Edited()
}

// Get is an object's value of that key; nil where there is none, or where v is no object.
func (v *Value) Get(keys ...string) *Value {
	for _, key := range keys {
		if v == nil || v.Kind != '{' {
			return nil
		}
		k := slices.Index(v.Keys, key)
		if k < 0 {
			return nil
		}
		v = v.Items[k]
	}
	return v
}

// List are an array's items, nil where v is none.
func (v *Value) List() []*Value {
	if v == nil || v.Kind != '[' {
		return nil
	}
	return v.Items
}

// Null says whether v is null or missing.
func (v *Value) Null() bool { return v == nil || v.Kind == 'n' }

// Str is a string, and false where v is none.
func (v *Value) Str() (string, bool) {
	if v == nil || v.Kind != '"' {
		return "", false
	}
	return unescape(v.text[1 : len(v.text)-1]), true
}

// Yes is a truth value, or the default where v is none.
func (v *Value) Yes(def bool) bool {
	if v == nil || v.Kind != 't' && v.Kind != 'f' {
		return def
	}
	return v.Kind == 't'
}

// Float is a number, and false where v is none.
func (v *Value) Float() (float64, bool) {
	if v == nil || v.Kind != 0 {
		return 0, false
	}
	switch v.text {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	x, err := strconv.ParseFloat(v.text, 64)
	return x, err == nil
}

// maxExtent bounds the integers that Int accepts: extents, sizes, axes.
const maxExtent = 1 << 40

// Int is a whole number, and false where v is none.
func (v *Value) Int() (int64, bool) {
	x, ok := v.Float()
	if !ok || x != math.Trunc(x) || math.Abs(x) > maxExtent {
		return 0, false
	}
	return int64(x), true
}
