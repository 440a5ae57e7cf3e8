package manifests

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable is text that is safe to print: control characters and marks of direction are escaped as \u%04x, bytes that are
// not UTF-8 as \x%02x.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "\\x%02x", s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
		s = s[size:]
	}
	return b.String()
}

// printableLine is a line of the manifest as printable text, with its tabs.
func printableLine(line string) string {
	parts := strings.Split(line, "\t")
	for k := range parts {
		parts[k] = printable(parts[k])
	}
	return strings.Join(parts, "\t")
}

// split are a text's characters; a byte that is not UTF-8 is one.
func split(s string) []string { return strings.Split(s, "") }
