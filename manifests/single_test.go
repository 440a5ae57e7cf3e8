package manifests

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// everySetting is a rule in which no setting is what it is by default.
func everySetting() Rule {
	return Rule{Output: "{dir}/x-{name}", Weights: "{stem}.w", Settings: Settings{
		Verify: []string{"parity"}, Proof: "try", Overwrite: true, Device: "cpu", Timeout: 90 * time.Second, Tolerance: 1e-7, Unfoldable: "skip",
		Overridable: "constant", MaxDuplicateBytes: 5, Keep: []string{"a/*", "<&>\u2028\"\\ é"}, Fold: map[string]bool{"branches": false},
		Export: []string{"metal"}, Formats: map[string]string{"darknet.epsilon": "opencv"}, Latency: "gate", Norms: "neutralize",
		State: State{Presets: []string{"torchvision/resnet"}, Epsilon: 1e-5, Pairs: []Pair{{Linear: `conv(\d+)`, Norm: "bn$1", First: true, Transposed: true, Epsilon: 0.25}}},
	}}
}

func TestRuleText_SaysEverySetting(t *testing.T) {
	full := everySetting()
	for k := range reflect.TypeFor[Settings]().NumField() {
		name := reflect.TypeFor[Settings]().Field(k).Name
		if reflect.DeepEqual(reflect.ValueOf(full.Settings).Field(k).Interface(), reflect.ValueOf(Defaults()).Field(k).Interface()) {
			t.Errorf("the test's rule leaves %s at its default", name)
		}
	}
	example, err := Load("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain := Rule{Output: "{dir}/{name}", Settings: Defaults()}
	unproven := plain
	unproven.Verify = nil
	for _, r := range append(example.Rules, full, plain, unproven) {
		text, err := r.Text()
		if err != nil {
			t.Errorf("%v: %v", r.Match, err)
			continue
		}
		back, err := parseRule(text)
		if err != nil || back.Fingerprint() != r.Fingerprint() {
			t.Errorf("%v: another rule comes back: %v\n%s", r.Match, err, text)
		}
	}
}

func TestRuleText_RefusesWhatNoTextSays(t *testing.T) {
	for name, change := range map[string]func(*Rule){
		"a word that is none": func(r *Rule) { r.Device = "tpu" },
		"no time":             func(r *Rule) { r.Timeout = 0 },
		"bytes that are none": func(r *Rule) { r.Keep = []string{"a\xff"} },
	} {
		r := everySetting()
		change(&r)
		if text, err := r.Text(); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestSingle_IsTheJobThatAWalkFinds(t *testing.T) {
	folder := t.TempDir()
	zoo, out := filepath.Join(folder, "zoo"), filepath.Join(folder, "out")
	for _, name := range []string{"a/net.cfg", "a/net.weights"} {
		path := filepath.Join(zoo, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(name), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Parse(filepath.Join(folder, "m.yaml"), []byte("version: 1\nzoo: zoo\nout: out\nmodels:\n  - match: '**/*.cfg'\n    weights: '{dir}/{stem}.weights'\n    output: 'x/{name}'\n"))
	if err != nil {
		t.Fatal(err)
	}
	walked, err := m.Walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.Rules[0].Text()
	if err != nil {
		t.Fatal(err)
	}
	single, found, err := Single(Place{Path: zoo}, Place{Path: out}, nil, text, "a/net.cfg")
	if err != nil || len(found.Jobs) != 1 {
		t.Fatal(found, err)
	}
	want, got := walked.Jobs[0], found.Jobs[0]
	if got.Rule.Fingerprint() != want.Rule.Fingerprint() || single.Zoo != m.Zoo || single.Out != m.Out {
		t.Errorf("another manifest: %+v", single)
	}
	if want.Rule, got.Rule = nil, nil; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSingle_RefusesWhatAManifestWould(t *testing.T) {
	folder := t.TempDir()
	zoo, out := filepath.Join(folder, "zoo"), filepath.Join(folder, "out")
	if err := errors.Join(os.MkdirAll(zoo, 0o777), os.WriteFile(filepath.Join(zoo, "a.onnx"), nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, out, rule, model, want string }{
		{"an unknown key", out, `{"match": "**", "exec": "rm"}`, "a.onnx", "unknown key"},
		{"no mapping", out, `[1]`, "a.onnx", "must be a mapping"},
		{"nothing", out, ``, "a.onnx", "empty"},
		{"deep nesting", out, strings.Repeat("[", 1000), "a.onnx", "levels deep"},
		{"too long", out, `{"match": "` + strings.Repeat("x", maxSize) + `"}`, "a.onnx", "more than"},
		{"a model outside", out, `{"match": "**"}`, "../a.onnx", "no path of a model"},
		{"a model above", out, `{"match": "**"}`, "/etc/passwd", "no path of a model"},
		{"an output outside", out, `{"match": "**", "output": "../../{name}"}`, "a.onnx", "outside"},
		{"an output of zoofold's own", out, `{"match": "**", "output": ".zoofold/ledger"}`, "a.onnx", "zoofold's own"},
		{"weights outside", out, `{"match": "**", "weights": "../w"}`, "a.onnx", "outside the zoo"},
		{"an output in the zoo", filepath.Join(zoo, "out"), `{"match": "**"}`, "a.onnx", "inside the zoo"},
	} {
		if _, _, err := Single(Place{Path: zoo}, Place{Path: c.out}, nil, []byte(c.rule), c.model); err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, found, err := Single(Place{Path: zoo}, Place{Path: out}, nil, []byte(`{"match": "**"}`), "gone.onnx"); err != nil || len(found.Failures) != 1 {
		t.Errorf("a model that is not there: %+v, %v", found, err)
	}
}
