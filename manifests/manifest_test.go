package manifests_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
)

var update = flag.Bool("update", false, "write the golden files anew")

const head = "version: 1\nzoo: zoo\nout: out\n"

// mistakes are manifests that are refused. What is said of each stands in testdata/errors.golden.
var mistakes = []struct{ name, text string }{
	{"empty", ""},
	{"no mapping", "- a\n- b\n"},
	{"syntax", "version: 1\nzoo: [a\n"},
	{"version missing", "zoo: zoo\nout: out\nmodels: [{match: '*.onnx'}]\n"},
	{"version of the future", "version: 2\nzoo: zoo\nout: out\nmodels: [{match: '*.onnx'}]\n"},
	{"no models", head},
	{"models empty", head + "models: []\n"},
	{"unknown key", head + "models:\n  - match: '*.onnx'\n    exlude: ['**/*.int8.onnx']\n"},
	{"unknown key at the top", head + "modells:\n  - match: '*.onnx'\n"},
	{"key twice", head + "zoo: other\nmodels: [{match: '*.onnx'}]\n"},
	{"wrong type", head + "models:\n  - match: {a: b}\n"},
	{"a number for text", head + "models:\n  - match: '*.onnx'\n    unfoldable: 3\n"},
	{"unknown word", head + "models:\n  - match: '*.onnx'\n    unfoldable: keep\n"},
	{"unknown check", head + "models:\n  - match: '*.onnx'\n    verify: [parity, algebr]\n"},
	{"bad glob", head + "models:\n  - match: 'a[.onnx'\n"},
	{"bad timeout", head + "models:\n  - match: '*.onnx'\n    timeout: soon\n"},
	{"negative timeout", head + "models:\n  - match: '*.onnx'\n    timeout: -3s\n"},
	{"bad tolerance", head + "models:\n  - match: '*.onnx'\n    tolerance: -1\n"},
	{"bad size", head + "models:\n  - match: '*.onnx'\n    max_duplicate_bytes: lots\n"},
	{"unknown family", head + "models:\n  - match: '*.onnx'\n    fold: {convs: off}\n"},
	{"output inside the zoo", "version: 1\nzoo: zoo\nout: zoo/folded\nmodels: [{match: '*.onnx'}]\n"},
	{"output is the zoo", "version: 1\nzoo: zoo\nout: ./zoo\nmodels: [{match: '*.onnx'}]\n"},
	{"unknown placeholder", head + "models:\n  - match: '*.onnx'\n    output: '{folder}/{stem}.onnx'\n"},
	{"two documents", head + "models: [{match: '*.onnx'}]\n---\nversion: 1\n"},
}

// jobMistakes are refused when the zoo is looked at: a.onnx, b/a.onnx and note.txt.
var jobMistakes = []struct{ name, text string }{
	{"a glob that matches nothing", head + "models:\n  - match: '*.onnx'\n  - match: '*.caffemodel'\n"},
	{"two models that write one output", head + "models:\n  - match: '**/*.onnx'\n    output: same.onnx\n"},
	{"a missing zoo", "version: 1\nzoo: nowhere\nout: out\nmodels: [{match: '*.onnx'}]\n"},
	{"a missing second file", head + "models:\n  - match: 'a.onnx'\n    weights: '{dir}/{stem}.weights'\n"},
	{"an output that leaves its folder", head + "models:\n  - match: '*.onnx'\n    output: '../{stem}.onnx'\n"},
}

func scene(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"a.onnx", "b/a.onnx", "note.txt"} {
		path := filepath.Join(dir, "zoo", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte("x"), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMistakesAreShownWhereTheyStand(t *testing.T) {
	dir := scene(t)
	var got strings.Builder
	show := func(name, text string, err error) {
		if err == nil {
			t.Errorf("%s: accepted", name)
			return
		}
		if !errors.Is(err, manifests.ErrManifest) {
			t.Errorf("%s: %v is no ErrManifest", name, err)
		}
		got.WriteString("## " + name + "\n" + strings.ReplaceAll(err.Error(), dir, "DIR") + "\n\n")
	}
	path := filepath.Join(dir, "models.yaml")
	for _, m := range mistakes {
		_, err := manifests.Parse(path, []byte(m.text))
		show(m.name, m.text, err)
	}
	for _, m := range jobMistakes {
		parsed, err := manifests.Parse(path, []byte(m.text))
		if err == nil {
			_, _, err = parsed.Jobs()
		}
		show(m.name, m.text, err)
	}
	golden := "testdata/errors.golden"
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o777), os.WriteFile(golden, []byte(got.String()), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s\n(go test ./manifests -update writes it anew)", got.String(), want)
	}
}

func TestAFileGoesToTheFirstRuleThatMatches(t *testing.T) {
	dir := scene(t)
	m, err := manifests.Parse(filepath.Join(dir, "models.yaml"), []byte(head+`defaults: {timeout: 3m, verify: none}
models:
  - match: "b/*.onnx"
    output: "{dir}/{stem}.folded{ext}"
    keep: [head.*]
  - match: ["**/*.onnx"]
    exclude: "x/**"
    verify: parity
    fold: {branches: off}
  - match: "*.pt"
    optional: true
`))
	if err != nil {
		t.Fatal(err)
	}
	jobs, unmatched, err := m.Jobs()
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) != 2 || !slices.Equal(unmatched, []string{"note.txt"}) {
		t.Fatalf("jobs %+v, unmatched %v", jobs, unmatched)
	}
	for _, j := range jobs {
		rel, _ := filepath.Rel(m.Out, j.Target)
		switch filepath.ToSlash(j.Path) {
		case "b/a.onnx":
			if filepath.ToSlash(rel) != "b/a.folded.onnx" || len(j.Rule.Verify) != 0 || !slices.Equal(j.Rule.Keep, []string{"head.*"}) {
				t.Errorf("%+v", j)
			}
		case "a.onnx":
			if rel != "a.onnx" || !slices.Equal(j.Rule.Verify, []string{"parity"}) || !j.Rule.Off()["branches"] || j.Rule.Timeout.Minutes() != 3 {
				t.Errorf("%+v", j.Rule)
			}
		default:
			t.Errorf("%s", j.Path)
		}
	}
}

func TestEveryDecisionThatChangesAnOutputChangesTheFingerprint(t *testing.T) {
	parse := func(rule string) string {
		m, err := manifests.Parse("models.yaml", []byte(head+"models:\n  - match: '*.onnx'\n"+rule))
		if err != nil {
			t.Fatal(err)
		}
		return m.Rules[0].Fingerprint()
	}
	seen := map[string]string{parse(""): "nothing"}
	for _, rule := range []string{"    tolerance: 1e-3\n", "    unfoldable: skip\n", "    overridable: constant\n", "    keep: [a]\n", "    fold: {conv: off}\n", "    max_duplicate_bytes: 5\n", "    verify: none\n", "    norms: neutralize\n", "    export: metal\n", "    darknet: {epsilon: opencv}\n"} {
		f := parse(rule)
		if other, twice := seen[f]; twice {
			t.Errorf("%q has the fingerprint of %q", rule, other)
		}
		seen[f] = rule
	}
}

func TestTheFamiliesAreThoseOfFolding(t *testing.T) {
	want := append(fold.Families(), "branches")
	slices.Sort(want)
	if !slices.Equal(manifests.Families, slices.Compact(want)) {
		t.Errorf("the manifest knows %v, folding %v", manifests.Families, want)
	}
}

// valid says whether the JSON Schema accepts a manifest.
func valid(t *testing.T, text string) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(manifests.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func TestTheSchemaAgreesWithTheProgram(t *testing.T) {
	for _, path := range []string{"demo.yaml", "example.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := manifests.Parse(path, data); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if err := valid(t, string(data)); err != nil {
			t.Errorf("the schema refuses %s: %v", path, err)
		}
	}
	beyond := map[string]bool{"syntax": true, "key twice": true, "two documents": true, "bad glob": true, "output inside the zoo": true, "output is the zoo": true,
		"unknown placeholder": true, "output that leaves its folder": true, "bad timeout": true, "negative timeout": true, "bad size": true} // beyond a schema, or beyond need
	for _, m := range mistakes {
		if err := valid(t, m.text); err == nil && !beyond[m.name] {
			t.Errorf("the schema accepts %q", m.name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range slices.Concat(mistakes, jobMistakes) {
		f.Add([]byte(m.text))
	}
	for _, path := range []string{"demo.yaml", "example.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifests.Parse("models.yaml", data)
		if err != nil && !errors.Is(err, manifests.ErrManifest) {
			t.Errorf("%v is no ErrManifest", err)
		}
		if err == nil && (m.Zoo == "" || m.Out == "" || len(m.Rules) == 0) {
			t.Errorf("accepted without zoo, out or rules: %+v", m)
		}
	})
}
