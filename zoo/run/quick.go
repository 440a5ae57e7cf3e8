package run

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/zeebo/xxh3"
)

// quickly reads a value that json.Marshal wrote: structs, lists, texts and numbers, without spaces, fields in their order. That
// takes a quarter of json.Unmarshal's time, which has to expect anything, and a ledger has ten thousands of lines. Where it says
// false the text is something else, json.Unmarshal may know what, and the value is of no use.
func quickly(text []byte, into any) bool {
	q := quick{text: text}
	return q.value(reflect.ValueOf(into).Elem()) && q.at == len(text)
}

type quick struct {
	text []byte
	at   int
}

// next skips a byte, if it is that one.
func (q *quick) next(b byte) bool {
	if q.at < len(q.text) && q.text[q.at] == b {
		q.at++
		return true
	}
	return false
}

func (q *quick) value(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		text, ok := q.string()
		v.SetString(text)
		return ok
	case reflect.Bool:
		v.SetBool(bytes.HasPrefix(q.text[q.at:], []byte("true")))
		return q.word(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(q.number(), 10, 64)
		v.SetInt(n)
		return err == nil
	case reflect.Uint64:
		n, err := strconv.ParseUint(q.number(), 10, 64)
		v.SetUint(n)
		return err == nil
	case reflect.Float64:
		var err error
		number := q.number()
		if json.Valid([]byte(number)) { // ParseFloat knows more spellings
			var x float64
			x, err = strconv.ParseFloat(number, 64)
			v.SetFloat(x)
			return err == nil
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return q.value(v.Elem())
	case reflect.Slice:
		return v.Type().Elem().Kind() != reflect.Uint8 && q.list(v)
	case reflect.Struct:
		return q.object(v)
	}
	return false
}

func (q *quick) word(w string) bool {
	ok := bytes.HasPrefix(q.text[q.at:], []byte(w))
	q.at += len(w)
	return ok
}

// number is the text of one, without leading zeros; "" where there is none.
func (q *quick) number() string {
	from := q.at
	for q.at < len(q.text) && strings.IndexByte("+-.0123456789Ee", q.text[q.at]) >= 0 {
		q.at++
	}
	text := string(q.text[from:q.at])
	if digits := strings.TrimPrefix(text, "-"); strings.HasPrefix(text, "+") || len(digits) > 1 && digits[0] == '0' && digits[1] != '.' {
		return ""
	}
	return text
}

func (q *quick) list(v reflect.Value) bool {
	if !q.next('[') {
		return false
	}
	if v.Set(reflect.MakeSlice(v.Type(), 0, 0)); q.next(']') {
		return true
	}
	for n := 0; ; n++ {
		v.Grow(1)
		v.SetLen(n + 1)
		if !q.value(v.Index(n)) {
			return false
		}
		if !q.next(',') {
			return q.next(']')
		}
	}
}

func (q *quick) object(v reflect.Value) bool {
	if !q.next('{') {
		return false
	}
	if q.next('}') {
		return true
	}
	for _, f := range fieldsOf(v.Type()) {
		if !bytes.HasPrefix(q.text[q.at:], f.key) {
			continue
		}
		if q.at += len(f.key); !q.value(v.FieldByIndex(f.index)) {
			return false
		}
		if !q.next(',') {
			return q.next('}')
		}
	}
	return false
}

// string reads one. Texts that come again and again are held once.
func (q *quick) string() (string, bool) {
	if !q.next('"') {
		return "", false
	}
	from, escapes := q.at, false
	for ; q.at < len(q.text) && q.text[q.at] != '"'; q.at++ {
		if q.text[q.at] < ' ' {
			return "", false
		}
		if q.text[q.at] == '\\' {
			escapes = true
			q.at++
		}
	}
	if q.at >= len(q.text) {
		return "", false
	}
	inner := q.text[from:q.at]
	q.at++
	if escapes {
		var few [128]byte
		plain, ok := unquoted(few[:0], inner)
		if !ok {
			var s string
			err := json.Unmarshal(q.text[from-1:q.at], &s)
			return s, err == nil
		}
		inner = plain
	}
	if !utf8.Valid(inner) {
		return "", false
	}
	slot := &often[xxh3.Hash(inner)%uint64(len(often))]
	if known := slot.Load(); known != nil && *known == string(inner) {
		return *known, true
	}
	text := string(inner)
	slot.Store(&text)
	return text, true
}

// unquoted appends a text whose only escapes are those of quotation marks and backslashes; ok is false where there are others.
func unquoted(to, text []byte) (_ []byte, ok bool) {
	for k := 0; k < len(text); k++ {
		if text[k] == '\\' {
			if k++; text[k] != '"' && text[k] != '\\' {
				return nil, false
			}
		}
		to = append(to, text[k])
	}
	return to, true
}

// often holds texts that were read lately.
var often [1024]atomic.Pointer[string]

// quickField is a field of a struct as JSON has it.
type quickField struct {
	key   []byte // "name":
	index []int
}

var quickFields sync.Map // by type

// fieldsOf are a type's, in the order in which json.Marshal writes them; none of one that writes itself.
func fieldsOf(t reflect.Type) []quickField {
	if known, ok := quickFields.Load(t); ok {
		return known.([]quickField)
	}
	var list []quickField
	if p := reflect.PointerTo(t); !p.Implements(reflect.TypeFor[json.Unmarshaler]()) && !p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.IsExported() && name != "" && name != "-" {
				list = append(list, quickField{[]byte(`"` + name + `":`), f.Index})
			}
		}
	}
	quickFields.Store(t, list)
	return list
}
