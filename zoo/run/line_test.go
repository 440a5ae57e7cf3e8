package run

import (
	"math"
	"reflect"
	"testing"
)

// filled gives every field a value that is not its zero, and another each time.
func filled(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"plain", "a \"quote\" \\ and\nmore", "Größe → ∞", "<&>\u2028"}[*n%4])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * []int64{1, -1, 1e12}[*n%3])
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - uint64(*n))
	case reflect.Float64:
		v.SetFloat(math.Pow(-1.5, float64(*n%300)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for k := range v.Len() {
			filled(v.Index(k), n)
		}
	case reflect.Struct:
		for k := range v.NumField() {
			if v.Type().Field(k).IsExported() { // a line has no others
				filled(v.Field(k), n)
			}
		}
	default:
		panic("a ledger line has no " + v.Kind().String())
	}
}

func TestLedger_ReadsEveryFieldOfALine(t *testing.T) {
	var known alike
	for n := range 20 {
		var want entry
		filled(reflect.ValueOf(&want).Elem(), &n)
		want.Version = ledgerVersion
		text, err := line(&want)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time its nodes are known
			if got := parseLine(text, &known); got == nil || !reflect.DeepEqual(*got, want) {
				t.Fatalf("of %s\n%+v was read", text, got)
			}
		}
	}
}

// BenchmarkLine is what a line of a ledger costs to be read.
func BenchmarkLine(b *testing.B) {
	n := 0
	var e entry
	filled(reflect.ValueOf(&e).Elem(), &n)
	e.Version, e.State = ledgerVersion, ""
	text, err := line(&e)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if parseLine(text, &alike{}) == nil {
			b.Fatal("the line cannot be read")
		}
	}
}
