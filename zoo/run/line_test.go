package run

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	fastjson "github.com/go-json-experiment/json"
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
			filled(v.Field(k), n)
		}
	default:
		panic("a ledger line has no " + v.Kind().String())
	}
}

func TestLedger_ReadsEveryFieldOfALine(t *testing.T) {
	for n := range 20 {
		var want, got entry
		filled(reflect.ValueOf(&want).Elem(), &n)
		text, err := json.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		if err := fastjson.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v: of %s\n%+v was read", err, text, got)
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
		if parseLine(text) == nil {
			b.Fatal("the line cannot be read")
		}
	}
}
