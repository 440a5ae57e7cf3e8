package run

import (
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

// rawName is the prefix of names that are not UTF-8, which JSON cannot hold: their bytes follow in hexadecimal. No file
// system allows the character in names.
const rawName = "\x00"

// written is a name as the ledger writes it.
func written(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return rawName + hex.EncodeToString([]byte(name))
}

// read is a name that the ledger wrote.
func read(name string) string {
	digits, raw := strings.CutPrefix(name, rawName)
	if !raw {
		return name
	}
	b, _ := hex.DecodeString(digits) // a line that zoofold did not write may say anything
	return string(b)
}

// rename replaces all names in the entry by a function of theirs.
func (e *entry) rename(f func(string) string) {
	e.Manifest, e.Model, e.Weights = f(e.Manifest), f(e.Model), f(e.Weights)
	for _, list := range [][]stamp{e.Inputs, e.Outputs, e.Former} {
		for k := range list {
			list[k].Path = f(list[k].Path)
		}
	}
}

// written is the entry as the ledger writes it: itself, unless one of its names is no UTF-8.
func (e *entry) written() *entry {
	names := []stamp{{Path: e.Manifest}, {Path: e.Model}, {Path: e.Weights}}
	for _, list := range [][]stamp{names, e.Inputs, e.Outputs, e.Former} {
		if slices.ContainsFunc(list, func(s stamp) bool { return !utf8.ValidString(s.Path) }) {
			c := *e
			c.Inputs, c.Outputs, c.Former = slices.Clone(e.Inputs), slices.Clone(e.Outputs), slices.Clone(e.Former)
			c.rename(written)
			return &c
		}
	}
	return e
}
