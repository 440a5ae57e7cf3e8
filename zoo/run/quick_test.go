package run

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
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

func TestLedger_ReadsEveryFieldOfALineQuickly(t *testing.T) {
	for n := range 20 {
		var want, got entry
		filled(reflect.ValueOf(&want).Elem(), &n)
		text, err := json.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		if !quickly(text, &got) || !reflect.DeepEqual(got, want) {
			t.Fatalf("of %s\n%+v was read", text, got)
		}
	}
}

func FuzzQuickly(f *testing.F) {
	for _, e := range []entry{{}, {Version: 3, Model: "a", Inputs: []stamp{{Path: "b", Time: -1, Fresh: true}}, Told: &told{Model: outcome.Model{Maps: []outcome.Map{{Into: []string{"c"}}}, Predictions: outcome.Check{Difference: 1e-9, Latency: &outcome.Latency{}}}}}} {
		text, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{`{"version":01}`, `{"version":-0}`, `{"version":1.0}`, `{"model":"\u00"}`, `{"inputs":[]}`, `{"inputs":null}`, `{"told":{"seconds":1e400}}`, `{"told":{"seconds":.5}}`, `{"version":1,}`, `{"model":"a","model":"b"}`, `{"model":"` + "\xff" + `"}`, `{"engineless":truer}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want entry
		if !quickly(text, &got) {
			return
		}
		if err := json.Unmarshal(text, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v\nquickly %+v\nby rule %+v", text, err, got, want)
		}
	})
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
