package run

import (
	"reflect"
	"testing"

	"github.com/zoofold/zoofold/zoo/outcome"
)

func TestModelsOfWhichTheSameIsToldShareIt(t *testing.T) {
	told := func(node string) outcome.Model {
		return outcome.Model{Path: "a", Maps: []outcome.Map{{Node: node, Into: []string{"c"}}}, Remaining: []outcome.Left{{Node: node}}}
	}
	var a alike
	first, second, other, none := told("x"), told("x"), told("y"), outcome.Model{}
	for _, m := range []*outcome.Model{&first, &second, &other, &none} {
		before := *m
		if a.share(m); !reflect.DeepEqual(*m, before) {
			t.Errorf("%+v became %+v", before, *m)
		}
	}
	if &first.Maps[0] != &second.Maps[0] || &first.Maps[0] == &other.Maps[0] {
		t.Error("what is the same is not held once, or what is not the same is")
	}
	for k := range 2 * mostAlike {
		m := told(string(rune(0x4e00 + k)))
		a.share(&m)
	}
	if len(a.by) > mostAlike {
		t.Errorf("%d are held", len(a.by))
	}
}
