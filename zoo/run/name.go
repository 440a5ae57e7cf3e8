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

// renamed is the entry with f applied to all names.
func (e *entry) renamed(f func(string) string) *entry {
	c := *e
	c.Manifest, c.Model, c.Weights = f(e.Manifest), f(e.Model), f(e.Weights)
	for _, list := range []*[]stamp{&c.Inputs, &c.Outputs, &c.Former} {
		*list = slices.Clone(*list)
		for k := range *list {
			(*list)[k].Path = f((*list)[k].Path)
		}
	}
	return &c
}
