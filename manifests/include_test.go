package manifests_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/manifests"
)

// folderOf writes files into a new folder, and is its path.
func folderOf(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

const shared = "version: 1\ndefaults: {verify: [parity]}\nmodels:\n  - match: '**/*.onnx'\n    unfoldable: skip\n  - match: '**/*.h5'\n    optional: true\n"

func TestInclude_RulesFollowWithTheirFilesDefaults(t *testing.T) {
	folder := folderOf(t, map[string]string{
		"a/models.yaml":      "version: 1\nzoo: zoo\nout: out\ninclude: ../rules.yaml\ndefaults: {verify: none}\nmodels: [{match: 'first/*.onnx'}]\n",
		"b/models.yaml":      "version: 1\nzoo: zoo\nout: out\ninclude: ['../rules.yaml']\n",
		"a/zoo/first/x.onnx": "x", "a/zoo/y.onnx": "y", "b/zoo/z.onnx": "z",
		"rules.yaml": "\ufeff" + shared,
	})
	for name, want := range map[string][]string{"a": {"first/x.onnx copy ", "y.onnx skip parity"}, "b": {"z.onnx skip parity"}} {
		m, err := manifests.Load(filepath.Join(folder, name, "models.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		zoo, err := m.Walk(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, j := range zoo.Jobs {
			got = append(got, j.Path+" "+j.Rule.Unfoldable+" "+strings.Join(j.Rule.Verify, ","))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestInclude_ErrorsHaveTheirPlace(t *testing.T) {
	const head = "version: 1\nzoo: zoo\nout: out\ninclude: [rules.yaml]\n"
	for _, x := range []struct{ manifest, rules, want string }{
		{head, "version: 1\nmodels:\n  - match: '*.onnx'\n    exlude: []\n", "rules.yaml:4:5: unknown key \"exlude\" (did you mean \"exclude\"?)"},
		{head, "version: 1\nzoo: other\nmodels: [{match: '*.onnx'}]\n", "rules.yaml:2:1: unknown key \"zoo\""},
		{head, "version: 1\ninclude: models.yaml\nmodels: [{match: '*.onnx'}]\n", "rules.yaml:2:1: unknown key \"include\""},
		{head, "models: [{match: '*.onnx'}]\n", "rules.yaml:1:1: version: 1 is missing"},
		{head, "version: 1\n", "rules.yaml:1:1: models is missing"},
		{head, "", "rules.yaml:1:1: the manifest is empty: it needs version and models"},
		{head, "version: 1\nmodels: [{match: '*.none'}]\n", "rules.yaml:2:18: \"*.none\" matches no file below"},
		{strings.Replace(head, "rules.yaml", "other.yaml", 1), "", "models.yaml:4:11: include: "},
		{strings.Replace(head, "rules.yaml", ".", 1), "", "not a regular file"},
		{"version: 1\nzoo: zoo\nout: out\n", "", "models.yaml:1:1: models is missing"},
	} {
		folder := folderOf(t, map[string]string{"models.yaml": x.manifest, "rules.yaml": x.rules, "zoo/x.onnx": "x"})
		m, err := manifests.Load(filepath.Join(folder, "models.yaml"))
		if err == nil {
			_, err = m.Walk(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%q and %q: %v\nwant %s", x.manifest, x.rules, err, x.want)
		}
	}
}

func TestPaths_ExpandSetEnvironmentVariables(t *testing.T) {
	folder := folderOf(t, map[string]string{"zoo/x.onnx": "x", "shared/rules.yaml": shared})
	t.Setenv("ZOOFOLD_TEST_ROOT", folder)
	t.Setenv("ZOOFOLD_TEST_EMPTY", "")
	parse := func(zoo string) (*manifests.Manifest, error) {
		return manifests.Parse(filepath.Join(t.TempDir(), "models.yaml"), []byte("version: 1\nzoo: '"+zoo+"'\nout: '${ZOOFOLD_TEST_ROOT}/out'\ninclude: '${ZOOFOLD_TEST_ROOT}/shared/rules.yaml'\n"))
	}
	m, err := parse("${ZOOFOLD_TEST_ROOT}/zoo")
	if err != nil || m.Zoo != filepath.Join(folder, "zoo") || m.Out != filepath.Join(folder, "out") || len(m.Rules) != 2 {
		t.Fatalf("%v: %+v", err, m)
	}
	for zoo, want := range map[string]string{
		"${ZOOFOLD_TEST_UNSET}/zoo": "models.yaml:2:6: the environment variable ZOOFOLD_TEST_UNSET is not set",
		"${ZOOFOLD_TEST_EMPTY}/zoo": "models.yaml:2:6: the environment variable ZOOFOLD_TEST_EMPTY is empty",
		"${ZOO":                     "${ is not followed by the name of an environment variable and a }",
		"${1}":                      "${ is not followed by the name of an environment variable and a }",
	} {
		if _, err := parse(zoo); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", zoo, err, want)
		}
	}
	if m, err := parse("a$b"); err != nil || filepath.Base(m.Zoo) != "a$b" {
		t.Errorf("%v", err)
	}
}
