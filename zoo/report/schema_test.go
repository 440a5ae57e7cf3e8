package report_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
)

func schema(t *testing.T) *jsonschema.Schema {
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(report.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("report.schema.json", text); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func written(t *testing.T, doc *report.Document) any {
	var b bytes.Buffer
	if err := doc.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSchema_ReportsAreValid(t *testing.T) {
	s := schema(t)
	played, empty := report.NewDocument(), report.NewDocument()
	play(played)
	empty.End(outcome.End{Counts: map[outcome.Status]int{}})
	for name, doc := range map[string]*report.Document{"played": played, "large": zooOf(400), "without models": empty} {
		if err := s.Validate(written(t, doc)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, damage := range map[string]func(*report.Document){
		"another schema":     func(d *report.Document) { d.Schema = "zoofold-report/2" },
		"an unknown status":  func(d *report.Document) { d.Models[0].Status = "lost" },
		"an unknown verdict": func(d *report.Document) { d.Models[2].Maps[0].Verdict = "eaten" },
		"a check unsaid":     func(d *report.Document) { d.Models[0].Parity.Status = "" },
		"a negative count":   func(d *report.Document) { d.Models[0].Before = -1 },
	} {
		doc := report.NewDocument()
		play(doc)
		damage(doc)
		if s.Validate(written(t, doc)) == nil {
			t.Errorf("%s is valid", name)
		}
	}
}

// fields are the JSON names of a struct's fields, those that are always there first.
func fields(t reflect.Type) (required, optional []string) {
	for k := range t.NumField() {
		if !t.Field(k).IsExported() {
			continue
		}
		name, options, _ := strings.Cut(t.Field(k).Tag.Get("json"), ",")
		if strings.Contains(options, "omitempty") {
			optional = append(optional, name)
		} else {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	slices.Sort(optional)
	return required, optional
}

func TestSchema_AndManualNameEveryField(t *testing.T) {
	type object struct {
		Required   []string                   `json:"required"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var s struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(report.JSONSchema(), &s); err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{"": report.Document{}, "start": outcome.Start{}, "model": outcome.Model{}, "map": outcome.Map{}, "left": outcome.Left{}, "fold": outcome.Fold{}, "step": outcome.Step{}, "check": outcome.Check{}, "latency": outcome.Latency{}, "end": outcome.End{}, "past": report.Past{}, "changes": report.Changes{}, "moved": report.Moved{}} {
		def := s.Defs[name]
		if name == "" {
			def = s.object
		}
		required, optional := fields(reflect.TypeOf(value))
		if got := slices.Sorted(slices.Values(def.Required)); !slices.Equal(got, required) {
			t.Errorf("%q requires %v, the type has %v", name, got, required)
		}
		all := slices.Sorted(slices.Values(append(required, optional...)))
		if got := slices.Sorted(maps.Keys(def.Properties)); !slices.Equal(got, all) {
			t.Errorf("%q has the properties %v, the type %v", name, got, all)
		}
		for _, field := range all {
			if !bytes.Contains(manual, []byte("`"+field+"`")) {
				t.Errorf("docs/report.md says nothing of %q in %q", field, name)
			}
		}
	}
}
