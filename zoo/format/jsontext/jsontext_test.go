package jsontext

import (
	"errors"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
)

func TestEdits_KeepTheSpellingOfAllElse(t *testing.T) {
	const text = `{"b": [1.0, -2e-3,1e400, NaN, Infinity, -Infinity], "ä\u00e9\ud83d\ude00\"\\\n": null,"c" :{ "d":true, "e" : false } }`
	v, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.String(); got != text {
		t.Errorf("read as %s", got)
	}
	if want := []string{"b", "äé😀\"\\\n", "c"}; !slices.Equal(v.Keys, want) {
		t.Errorf("keys %q, want %q", v.Keys, want)
	}
	c := v.Clone(map[*Value]*Value{})
	c.Get("c").Set("f", `"new"`)
	c.Get("c").Remove(c.Get("c", "d"))
	want := `{"b": [1.0, -2e-3,1e400, NaN, Infinity, -Infinity], "\u00e4\u00e9\ud83d\ude00\"\\\u000a": null, "c": {"e": false, "f": "new"}}`
	if got := c.String(); got != want {
		t.Errorf("edited: %s\nwant    %s", got, want)
	}
	if v.String() != text {
		t.Error("the original was edited")
	}
	for _, bad := range []string{"", "{", "[1,]", `{"a" 1}`, `{"a":1,"a":2}`, `"abc`, "nul", "1 2", "-", "[1 2]", "0x10", `{1:2}`} {
		if _, err := Parse(bad); !errors.Is(err, format.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
