package hdf5

import (
	"reflect"
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// padded is text of fixed length: 0 ends with NUL, 1 is filled up with NUL, 2 with spaces.
func padded(padding byte, size int) Type {
	b := []byte(fixedText(size).message)
	b[1] = padding | 1<<4 // UTF-8
	return Type{string(b)}
}

func TestTexts_OfEveryKind(t *testing.T) {
	for name, c := range map[string]struct {
		value Value
		want  []string
	}{
		"variable":            {Texts([]string{"a", ""}), []string{"a", ""}},
		"scalar":              {Text("a"), []string{"a"}},
		"ends with NUL":       {Value{Type: padded(0, 4), Shape: []int64{2}, Raw: []byte("ab\x00xcd\x00\x00")}, []string{"ab", "cd"}},
		"filled with NUL":     {Value{Type: padded(1, 4), Shape: []int64{2}, Raw: []byte("a\x00b\x00abcd")}, []string{"a\x00b", "abcd"}},
		"filled with spaces":  {Value{Type: padded(2, 4), Shape: []int64{2}, Raw: []byte("ab   c  ")}, []string{"ab", " c"}},
		"an empty float list": {Value{Type: TypeOf(tensor.Float64), Shape: []int64{0}}, []string{}},
		"numbers":             {Value{Type: TypeOf(tensor.Float64), Raw: make([]byte, 8)}, nil},
		"null":                {Value{Type: variableText, Null: true}, nil},
		"nothing":             {Value{}, nil},
	} {
		if got, ok := c.value.Texts(); ok != (c.want != nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	if got, ok := Text("a").Text(); got != "a" || !ok {
		t.Errorf("a scalar: %q, %v", got, ok)
	}
	if _, ok := Texts([]string{"a"}).Text(); ok {
		t.Error("a list is one text")
	}
}

func TestWithTexts_KeepsTheKind(t *testing.T) {
	for name, c := range map[string]struct {
		value Value
		list  []string
		want  Value
	}{
		"a scalar stays one":    {Text("a"), []string{"b"}, Text("b")},
		"a scalar that cannot":  {Text("a"), []string{"b", "c"}, Texts([]string{"b", "c"})},
		"a list of one":         {Texts([]string{"a", "b"}), []string{"c"}, Texts([]string{"c"})},
		"nothing is left":       {Texts([]string{"a"}), nil, Value{Type: TypeOf(tensor.Float64), Shape: []int64{0}}},
		"an empty float list":   {Texts(nil), []string{"a"}, Texts([]string{"a"})},
		"fixed length":          {Value{Type: padded(1, 2), Shape: []int64{1}, Raw: []byte("ab")}, []string{"abc", "d"}, Value{Type: padded(1, 3), Shape: []int64{2}, Raw: []byte("abcd\x00\x00")}},
		"fixed length with NUL": {Value{Type: padded(0, 2), Raw: []byte("a\x00")}, []string{"abc"}, Value{Type: padded(0, 4), Raw: []byte("abc\x00")}},
		"fixed with spaces":     {Value{Type: padded(2, 2), Shape: []int64{1}, Raw: []byte("ab")}, []string{"", "abc"}, Value{Type: padded(2, 3), Shape: []int64{2}, Raw: []byte("   abc")}},
		"fixed and empty":       {Value{Type: padded(1, 2), Shape: []int64{1}, Raw: []byte("ab")}, []string{""}, Value{Type: padded(1, 1), Shape: []int64{1}, Raw: []byte("\x00")}},
	} {
		got := c.value.WithTexts(c.list)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v %+v, want %v %+v", name, got.Type, got, c.want.Type, c.want)
		}
		if back, ok := got.Texts(); !ok || len(back) != len(c.list) {
			t.Errorf("%s: reads back as %q", name, back)
		}
	}
}

func TestNumbers_OfEveryType(t *testing.T) {
	boolean := Type{"\x18\x02\x00\x00\x01\x00\x00\x00" + TypeOf(tensor.Int8).message + "FALSE\x00\x00\x00TRUE\x00\x00\x00\x00\x00\x01"}
	big := []byte(TypeOf(tensor.Int16).message)
	big[1] |= 1
	for _, c := range []struct {
		value Value
		want  []float64
		name  string
	}{
		{Value{Type: TypeOf(tensor.Float32), Shape: []int64{2}, Raw: []byte("\x00\x00\x80\x3f\x00\x00\x00\xc0")}, []float64{1, -2}, "float32"},
		{Value{Type: TypeOf(tensor.BFloat16), Raw: []byte("\x80\x3f")}, []float64{1}, "bfloat16"},
		{Value{Type: TypeOf(tensor.Int64), Raw: []byte("\xff\xff\xff\xff\xff\xff\xff\xff")}, []float64{-1}, "int64"},
		{Value{Type: TypeOf(tensor.Uint8), Raw: []byte{255}}, []float64{255}, "uint8"},
		{Value{Type: Type{string(big)}, Shape: []int64{2}, Raw: []byte{1, 2, 0xff, 0xfe}}, []float64{258, -2}, "big-endian int16"},
		{Value{Type: boolean, Shape: []int64{2}, Raw: []byte{1, 0}}, []float64{1, 0}, "enumeration of int8"},
		{Value{Type: variableText, Strings: []string{"a"}}, nil, "text of variable length"},
		{Value{Type: padded(1, 8), Raw: make([]byte, 8)}, nil, "text of 8 bytes"},
		{Value{Type: TypeOf(tensor.Float32), Null: true}, nil, "float32"},
		{Value{}, nil, "no type"},
	} {
		if got, ok := c.value.numbers(); ok != (c.want != nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %v, %v", c.value.Type, got, ok)
		}
		if got := c.value.Type.String(); got != c.name {
			t.Errorf("%q, want %q", got, c.name)
		}
	}
}

func TestTypeOf_IsTheInverseOfDType(t *testing.T) {
	for d := tensor.DType(0); d < 32; d++ {
		kind := TypeOf(d)
		switch d {
		case tensor.Undefined, tensor.String, tensor.Bool, tensor.Complex64, tensor.Complex128:
			if kind != (Type{}) {
				t.Errorf("%v is stored as %v", d, kind)
			}
		default:
			if kind.DType() != d && kind != (Type{}) || kind.Size() != d.Size() {
				t.Errorf("%v is stored as %v of %d bytes", d, kind, kind.Size())
			}
		}
	}
}

func TestNumbers_OpaqueTypesAreRefused(t *testing.T) {
	opaque := Type{"\x15\x00\x00\x00\x02\x00\x00\x00"}
	if !opaque.opaque() || opaque.Size() != 2 || opaque.DType() != tensor.Undefined || TypeOf(tensor.BFloat16).opaque() {
		t.Errorf("%v of %d bytes, %v", opaque, opaque.Size(), opaque.DType())
	}
}

func TestAttributes_KeepTheirOrder(t *testing.T) {
	var a Attributes
	for _, name := range []string{"b", "a", "c"} {
		a.Set(name, Text(name))
	}
	a.Set("b", Text("new"))
	a.Delete("a")
	a.Delete("unknown")
	a.Set("a", Text("last"))
	want := Attributes{{"b", Text("new")}, {"c", Text("c")}, {"a", Text("last")}}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("%v", a)
	}
	if v, ok := a.Get("c"); !ok || !reflect.DeepEqual(v, Text("c")) {
		t.Errorf("c: %v, %v", v, ok)
	}
	if _, ok := a.Get("unknown"); ok {
		t.Error("an attribute that is not there")
	}
}
