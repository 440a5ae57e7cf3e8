package manifests_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/all"
	"github.com/zoofold/zoofold/zoo/format/state"
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
	{"version as a string", "version: \"1\"\nzoo: zoo\nout: out\nmodels: [{match: '*.onnx'}]\n"},
	{"a timeout without a unit", head + "models:\n  - match: '*.onnx'\n    timeout: 10\n"},
	{"none and another check", head + "models:\n  - match: '*.onnx'\n    verify: [none, parity]\n"},
	{"a glob without quotes", head + "models:\n  - match: **/*.onnx\n"},
	{"tabs", head + "models:\n\t- match: '*.onnx'\n"},
	{"an anchor", head + "models:\n  - match: &x '*.onnx'\n"},
	{"unknown proof", head + "models:\n  - match: '*.onnx'\n    proof: requires\n"},
	{"overwrite is no word", head + "models:\n  - match: '*.onnx'\n    overwrite: never\n"},
	{"nested too deep", head + "models: " + strings.Repeat("[", 33) + strings.Repeat("]", 33) + "\n"},
	{"dashes too deep", head + "models:\n  " + strings.Repeat("- ", 33) + "\n"},
	{"a long glob", head + "models:\n  - match: '" + strings.Repeat("a", 1001) + "'\n"},
	{"a deep glob", head + "models:\n  - match: '{a,{b,{c,{d,{e,f}}}}}'\n"},
	{"a glob of many braces", head + "models:\n  - match: '" + strings.Repeat("{a}", 17) + "'\n"},
	{"a glob of many choices", head + "models:\n  - match: '" + strings.Repeat("{a,b}", 11) + "'\n"},
	{"a glob of many stars", head + "models:\n  - match: '" + strings.Repeat("**/", 9) + "a'\n"},
	{"a long line", head + "models: [" + strings.Repeat(" ", 16<<10) + "]\n"},
	{"a long key", head + strings.Repeat("k", 65) + ": 1\n"},
	{"a dash in brackets", head + "models: [- a]\n"},
	{"many blank lines", head + strings.Repeat("\n", 101) + "models: [{match: '*.onnx'}]\n"},
	{"a carriage return in a line", head + "models: [{match: '*.onnx'\r}]\n"},
	{"control characters", head + "models:\n  - match: 'a\u009b31m\u202e\xff\x1b[31m'\n    x\u202e: 1\n"},
	{"two documents", head + "models: [{match: '*.onnx'}]\n---\nversion: 1\n"},
}

// jobMistakes are refused when the zoo is looked at: a.onnx, b/a.onnx and note.txt.
var jobMistakes = []struct{ name, text string }{
	{"a glob that matches nothing", head + "models:\n  - match: '*.onnx'\n  - match: '*.caffemodel'\n"},
	{"two models that write one output", head + "models:\n  - match: '**/*.onnx'\n    output: same.onnx\n"},
	{"a missing zoo", "version: 1\nzoo: nowhere\nout: out\nmodels: [{match: '*.onnx'}]\n"},
	{"a second file outside the zoo", head + "models:\n  - match: 'a.onnx'\n    weights: '{dir}/../{stem}.weights'\n"},
	{"a report for an output", head + "models:\n  - match: 'a.onnx'\n    output: 'Report.json'\n"},
	{"an output among zoofold's own", head + "models:\n  - match: 'a.onnx'\n    output: 'a/.Zoofold/ledger'\n"},
	{"an output in the zoo", "version: 1\nzoo: zoo\nout: .\nmodels:\n  - match: 'a.onnx'\n    output: 'zoo/b.onnx'\n"},
	{"an output below another", head + "models:\n  - match: 'a.onnx'\n  - match: 'b/a.onnx'\n    output: 'a.onnx/b.onnx'\n"},
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

func TestParse_ErrorsShowTheirPlace(t *testing.T) {
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
			_, err = parsed.Walk(t.Context())
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

func TestWalk_FirstMatchingRuleTakesAFile(t *testing.T) {
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
	zoo, err := m.Walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(zoo.Jobs) != 2 || !slices.Equal(zoo.Unmatched, []string{"note.txt"}) {
		t.Fatalf("jobs %+v, unmatched %v", zoo.Jobs, zoo.Unmatched)
	}
	for _, j := range zoo.Jobs {
		rel, _ := filepath.Rel(m.Out, j.Target)
		switch filepath.ToSlash(j.Path) {
		case "b/a.onnx":
			if filepath.ToSlash(rel) != "b/a.folded.onnx" || len(j.Rule.Verify) != 0 || !slices.Equal(j.Rule.Keep, []string{"head.*"}) {
				t.Errorf("%+v", j)
			}
		case "a.onnx":
			if rel != "a.onnx" || !slices.Equal(j.Rule.Verify, []string{"parity"}) || !j.Rule.Folding().Off["branches"] || j.Rule.Timeout.Minutes() != 3 {
				t.Errorf("%+v", j.Rule)
			}
		default:
			t.Errorf("%s", j.Path)
		}
	}
}

func rules(t *testing.T, text string) []manifests.Rule {
	t.Helper()
	m, err := manifests.Parse("models.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m.Rules
}

func TestFingerprint_ChangesWithEverySettingOfOutputs(t *testing.T) {
	seen := map[string]string{}
	for _, rule := range []string{"", "    tolerance: 1e-3\n", "    unfoldable: skip\n", "    overridable: constant\n", "    keep: [a]\n", "    fold: {conv: off}\n", "    max_duplicate_bytes: 5\n", "    norms: neutralize\n", "    export: metal\n", "    darknet: {epsilon: opencv}\n", "    weights: a\n",
		"    state: {graph: a.pt2}\n", "    state: {preset: torchvision/resnet}\n", "    state: {preset: torchvision/resnet, epsilon: 1}\n", "    state: {epsilon: 1, pairs: [{linear: a, norm: b}]}\n", "    state: {epsilon: 1, pairs: [{linear: a, norm: b, norm_first: on}]}\n"} {
		f := rules(t, head+"models:\n  - match: '*.onnx'\n"+rule)[0].Fingerprint()
		if other, twice := seen[f]; twice {
			t.Errorf("%q has the fingerprint of %q", rule, other)
		}
		seen[f] = rule
	}
}

func TestFingerprint_CoversEveryFieldOrNamesIt(t *testing.T) {
	base := rules(t, head+"models:\n  - match: '*.onnx'\n")[0]
	fields := reflect.TypeFor[manifests.Settings]()
	for k := range fields.NumField() {
		changed, name := base, fields.Field(k).Name
		switch v := reflect.ValueOf(&changed.Settings).Elem().Field(k); v.Kind() {
		case reflect.String:
			v.SetString("other")
		case reflect.Int64:
			v.SetInt(77)
		case reflect.Float64:
			v.SetFloat(77)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Slice:
			v.Set(reflect.ValueOf([]string{"other"}))
		case reflect.Struct:
			v.Field(0).SetString("other")
		case reflect.Map:
			one := reflect.MakeMap(v.Type())
			one.SetMapIndex(reflect.ValueOf("conv"), reflect.Zero(v.Type().Elem()))
			v.Set(one)
		default:
			t.Fatalf("%s is of a kind that this test cannot change", name)
		}
		if same := changed.Fingerprint() == base.Fingerprint(); same != slices.Contains(manifests.NoOutput, name) {
			t.Errorf("changing %s leaves the fingerprint as it is: %v", name, same)
		}
	}
}

func TestFingerprint_FamilySwitchedOnIsTheDefault(t *testing.T) {
	got := rules(t, head+"models:\n  - match: a\n  - match: b\n    fold: {conv: on}\n")
	if got[0].Fingerprint() != got[1].Fingerprint() {
		t.Error("fold: {conv: on} changes the fingerprint")
	}
}

func TestFingerprint_DefaultOfAFormatThatIsWritten(t *testing.T) {
	got := rules(t, head+"defaults: {darknet: {epsilon: opencv}}\nmodels:\n  - match: a\n  - match: b\n    darknet: {epsilon: pjreddie}\n")
	if never := rules(t, head+"models: [{match: a}]\n")[0]; got[1].Fingerprint() != never.Fingerprint() || got[0].Fingerprint() == never.Fingerprint() {
		t.Error("a setting changes the fingerprint by being written")
	}
}

func TestVerify_NamedChecksAreRequired(t *testing.T) {
	for _, c := range []struct {
		defaults, rule string
		named, want    bool
	}{
		{"{}", "", false, false},
		{"{}", "", true, true},
		{"{}", "verify: parity", false, true},
		{"{}", "verify: none, proof: require", false, true},
		{"{verify: [parity]}", "", false, true},
		{"{verify: [parity]}", "proof: try", true, false},
		{"{proof: try}", "verify: parity", false, false},
		{"{proof: require}", "", false, true},
	} {
		r := rules(t, head+"defaults: "+c.defaults+"\nmodels:\n  - {match: a, "+c.rule+"}\n")[0]
		if r.Required(c.named) != c.want {
			t.Errorf("defaults %s, rule %q, named %v: required %v", c.defaults, c.rule, c.named, !c.want)
		}
	}
}

func TestOverwrite_IsOffByDefault(t *testing.T) {
	got := rules(t, head+"defaults: {overwrite: true}\nmodels:\n  - match: a\n  - {match: b, overwrite: false}\n")
	if !got[0].Overwrite || got[1].Overwrite || rules(t, head+"models: [{match: a}]\n")[0].Overwrite {
		t.Errorf("overwrite %v, %v", got[0].Overwrite, got[1].Overwrite)
	}
}

func TestKeep_PatternsHaveTheirPlaces(t *testing.T) {
	got := rules(t, head+"defaults: {keep: [a]}\nmodels:\n  - match: x\n  - match: y\n    keep: [b, c]\n")
	if k := got[0].KeepPlaces(); !slices.Equal(k, []manifests.Keep{{Pattern: "a", Place: "models.yaml:4:19"}}) {
		t.Errorf("inherited: %v", k)
	}
	if k := got[1].KeepPlaces(); !slices.Equal(k, []manifests.Keep{{Pattern: "b", Place: "models.yaml:8:12"}, {Pattern: "c", Place: "models.yaml:8:15"}}) {
		t.Errorf("of the rule: %v", k)
	}
}

func TestParse_SkipsAByteOrderMark(t *testing.T) {
	if got := rules(t, "\ufeff"+head+"models: [{match: a}]\n"); len(got) != 1 {
		t.Error(got)
	}
}

func TestErrors_ShowNoControlCharacters(t *testing.T) {
	_, err := manifests.Parse("a\x1b[31m\u202e.yaml", []byte("version: 1\nx\u009b\u202ey\u2066\x1b\xff\x07: 1\n\u202e: [\"\xfe\"]\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, r := range err.Error() {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%q shows %U", err.Error(), r)
		}
	}
	if got := manifests.Printable("a\xff\u009b\u202e\x1b\n"); got != `a\xff\u009b\u202e\u001b\u000a` {
		t.Errorf("got %s", got)
	}
}

func TestErrors_AreLimitedInNumber(t *testing.T) {
	_, err := manifests.Parse("m.yaml", []byte(head+"models:\n"+strings.Repeat("- {match: a, x: 1}\n", 1000)))
	if err == nil || !strings.Contains(err.Error(), "950 more mistakes") || !errors.Is(err, manifests.ErrManifest) {
		t.Errorf("%.300v", err)
	}
}

func TestSchema_KnowsEveryName(t *testing.T) {
	for what, names := range map[string][]string{"export": format.Exporters(), "preset": state.Presets(), "family": fold.Families()} {
		for _, name := range names {
			if !strings.Contains(string(manifests.Schema()), `"`+name+`"`) {
				t.Errorf("schema.json does not know the %s %q", what, name)
			}
		}
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

func TestSchema_AgreesWithTheProgram(t *testing.T) {
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
		"unknown placeholder": true, "output that leaves its folder": true, "bad timeout": true, "negative timeout": true, "bad size": true,
		"a glob without quotes": true, "tabs": true, "an anchor": true, "dashes too deep": true, "nested too deep": true, "a long glob": true, "a deep glob": true, "a glob of many braces": true,
		"a glob of many choices": true, "a glob of many stars": true, "a long line": true, "many blank lines": true, "a carriage return in a line": true, "a dash in brackets": true} // beyond a schema, or beyond need
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
	for _, text := range hostile(500) {
		f.Add([]byte(text))
	}
	for _, path := range []string{"demo.yaml", "example.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	names := []string{"a/b.onnx", "a\xff/\xfeb.onnx", strings.Repeat("ab/", 20) + "c"}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifests.Parse("models.yaml", data)
		if err != nil && !errors.Is(err, manifests.ErrManifest) {
			t.Errorf("%v is no ErrManifest", err)
		}
		if err != nil && strings.IndexFunc(err.Error(), func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) >= 0 {
			t.Errorf("%q acts on a terminal", err)
		}
		if err != nil {
			return
		}
		if m.Zoo == "" || m.Out == "" || len(m.Rules) == 0 {
			t.Errorf("accepted without zoo, out or rules: %+v", m)
		}
		for _, r := range m.Rules {
			_, _ = r.Fingerprint(), r.KeepPlaces()
			for _, g := range slices.Concat(r.Match, r.Exclude, r.Keep) {
				for _, name := range names {
					if _, err := doublestar.Match(g, name); err != nil {
						t.Errorf("%q: %v", g, err)
					}
				}
			}
		}
	})
}
