package hdf5

import (
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Attributes are an object's attributes, in the order in which they are stored.
type Attributes []Attribute

// Attribute is a named value.
type Attribute struct {
	Name  string
	Value Value
}

// Get is the value of that name.
func (a Attributes) Get(name string) (Value, bool) {
	if k := a.index(name); k >= 0 {
		return a[k].Value, true
	}
	return Value{}, false
}

// Set replaces the value of that name, or adds it at the end.
func (a *Attributes) Set(name string, v Value) {
	if k := a.index(name); k >= 0 {
		(*a)[k].Value = v
		return
	}
	*a = append(*a, Attribute{name, v})
}

// Delete removes the attribute of that name, if there is one.
func (a *Attributes) Delete(name string) {
	if k := a.index(name); k >= 0 {
		*a = slices.Delete(*a, k, k+1)
	}
}

func (a Attributes) index(name string) int {
	return slices.IndexFunc(a, func(b Attribute) bool { return b.Name == name })
}

// Value is an array small enough to be in memory. What is read can be written again as it was, whatever its type means.
type Value struct {
	Type    Type
	Shape   []int64  // no dimensions: a scalar
	Null    bool     // without elements and even without a shape, as h5py.Empty
	Raw     []byte   // the elements as the type encodes them, in row-major order
	Strings []string // instead of Raw, the elements of text of variable length
}

// Text is a scalar of text, as h5py writes a str.
func Text(s string) Value { return Value{Type: variableText, Strings: []string{s}} }

// Texts is a list of text, as h5py writes a list of str; an empty one is an empty list of float64, as numpy makes it.
func Texts(list []string) Value {
	if len(list) == 0 {
		return Value{Type: TypeOf(tensor.Float64), Shape: []int64{0}}
	}
	return Value{Type: variableText, Shape: []int64{int64(len(list))}, Strings: list}
}

// Text is the value of a scalar of text.
func (v Value) Text() (string, bool) {
	list, ok := v.Texts()
	if !ok || len(v.Shape) > 0 || len(list) != 1 {
		return "", false
	}
	return list[0], true
}

// Texts are the elements of text of fixed or variable length, without padding. An array without elements is an empty list
// whatever its type, since numpy makes empty lists float64.
func (v Value) Texts() ([]string, bool) {
	switch {
	case v.Null:
		return nil, false
	case byteSize(v.Type, v.Shape, false) == 0:
		return []string{}, true
	case v.Type.variable():
		return v.Strings, true
	case v.Type.class() != classText:
		return nil, false
	}
	list := []string{}
	for b := range slices.Chunk(v.Raw, v.Type.Size()) {
		s := string(b)
		switch v.Type.message[1] & 15 {
		case 0: // ends with NUL
			s, _, _ = strings.Cut(s, "\x00")
		case 1:
			s = strings.TrimRight(s, "\x00")
		case 2:
			s = strings.TrimRight(s, " ")
		}
		list = append(list, s)
	}
	return list, true
}

// WithTexts is a value of other text of the same kind: of variable or fixed length, which grows as needed; a scalar stays
// one if it can. Where v is no text, it is what Texts makes.
func (v Value) WithTexts(list []string) Value {
	if len(list) == 0 || v.Null || !v.Type.variable() && v.Type.class() != classText {
		return Texts(list)
	}
	w := Value{Type: v.Type}
	if len(list) != 1 || len(v.Shape) > 0 {
		w.Shape = []int64{int64(len(list))}
	}
	if v.Type.variable() {
		w.Strings = list
		return w
	}
	padding := v.Type.message[1] & 15
	size := 1
	for _, s := range list {
		if padding == 0 {
			s += "\x00"
		}
		size = max(size, len(s))
	}
	w.Type = Type{v.Type.message[:4] + fixedText(size).message[4:]}
	fill := "\x00"
	if padding == 2 {
		fill = " "
	}
	for _, s := range list {
		w.Raw = append(w.Raw, s+strings.Repeat(fill, size-len(s))...)
	}
	return w
}

// numbers are the elements of numbers of either byte order, and of booleans; integers beyond 2^53 are rounded.
func (v Value) numbers() ([]float64, bool) {
	d, bigEndian := v.Type.number()
	if d == tensor.Undefined || v.Null {
		return nil, false
	}
	raw, size := slices.Clone(v.Raw), d.Size()
	if bigEndian {
		for b := range slices.Chunk(raw, size) {
			slices.Reverse(b)
		}
	}
	list := make([]float64, len(raw)/size)
	return list, tensor.Decode(list, raw, d) == nil
}
