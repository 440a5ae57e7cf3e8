package manifests_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/manifests"
)

// folder is a temporary folder with files, given with slashes.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, []byte(name), 0o666))
	}
	return dir
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// link makes a symbolic link, or skips the test where there are none.
func link(t *testing.T, target, file string) {
	t.Helper()
	if err := os.Symlink(target, file); err != nil {
		t.Skipf("no links here: %v", err)
	}
}

func parse(t *testing.T, dir, text string) *manifests.Manifest {
	t.Helper()
	m, err := manifests.Parse(filepath.Join(dir, "models.yaml"), []byte(text))
	must(t, err)
	return m
}

func walk(t *testing.T, dir, models string) *manifests.Zoo {
	t.Helper()
	zoo, err := parse(t, dir, head+"models:\n"+models).Walk(t.Context())
	must(t, err)
	return zoo
}

// refused is the error of a walk.
func refused(t *testing.T, dir, text string) string {
	t.Helper()
	m, err := manifests.Parse(filepath.Join(dir, "models.yaml"), []byte(text))
	if err == nil {
		_, err = m.Walk(t.Context())
	}
	if err == nil || !errors.Is(err, manifests.ErrManifest) {
		t.Fatalf("got %v, not an error of the manifest", err)
	}
	return strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
}

// paths are the jobs of a zoo.
func paths(zoo *manifests.Zoo) (list []string) {
	for _, j := range zoo.Jobs {
		list = append(list, j.Path)
	}
	return list
}

// failures are those of a zoo, as "path: error".
func failures(zoo *manifests.Zoo, dir string) (list []string) {
	for _, f := range zoo.Failures {
		list = append(list, strings.ReplaceAll(f.Path+": "+f.Err.Error(), dir+string(filepath.Separator), ""))
	}
	return list
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nnot\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWalk_ModelWithoutWeightsFailsAlone(t *testing.T) {
	dir := folder(t, "zoo/ssd/a.prototxt", "zoo/ssd/b.prototxt", "zoo/ssd/b.caffemodel", "zoo/ssd/c.prototxt", "zoo/ssd/c.caffemodel/x")
	zoo := walk(t, dir, "  - match: 'ssd/*.prototxt'\n    weights: '{dir}/{stem}.caffemodel'\n")
	equal(t, "jobs", paths(zoo), []string{"ssd/b.prototxt"})
	equal(t, "failures", failures(zoo, dir), []string{
		"ssd/a.prototxt: models.yaml:6:14: no weights for ssd/a.prototxt: expected ssd/a.caffemodel",
		"ssd/c.prototxt: models.yaml:6:14: no weights for ssd/c.prototxt: ssd/c.caffemodel is a folder",
	})
	equal(t, "unmatched", zoo.Unmatched, []string{"ssd/c.caffemodel/x"})
	if j := zoo.Jobs[0]; j.Weights != filepath.Join(dir, "zoo", "ssd", "b.caffemodel") || j.Size != int64(len("zoo/ssd/b.prototxt")+len("zoo/ssd/b.caffemodel")) {
		t.Errorf("%+v", j)
	}
}

func TestWalk_UnreadableFolderFailsAlone(t *testing.T) {
	dir := folder(t, "zoo/a.onnx", "zoo/locked/b.onnx", "zoo/z/c.onnx")
	m := parse(t, dir, head+"models:\n  - match: '**/*.onnx'\n  - match: 'locked/*.h5'\n")
	m.SetReadDir(func(name string) ([]fs.DirEntry, error) {
		if filepath.Base(name) == "locked" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
		}
		return os.ReadDir(name)
	})
	zoo, err := m.Walk(t.Context())
	must(t, err)
	equal(t, "jobs", paths(zoo), []string{"a.onnx", "z/c.onnx"})
	equal(t, "failures", failures(zoo, dir), []string{"locked/: the folder cannot be read: permission denied"})
	if len(zoo.Notes) != 1 || !strings.Contains(zoo.Notes[0], `models.yaml:6:12: "locked/*.h5" matches no file of the folders that can be read`) {
		t.Errorf("what may lie in the folder is an error: %q", zoo.Notes)
	}
	if !errors.Is(zoo.Failures[0].Err, fs.ErrPermission) {
		t.Error("the reason is not in the chain")
	}
}

func TestWalk_UnreadableZooIsAnErrorOfTheManifest(t *testing.T) {
	dir := folder(t, "zoo")
	if got := refused(t, dir, head+"models: [{match: a}]\n"); !strings.HasPrefix(got, "models.yaml:2:6: the zoo zoo cannot be read: it is no folder") {
		t.Error(got)
	}
	m := parse(t, folder(t, "zoo/a"), head+"models: [{match: a}]\n")
	m.SetReadDir(func(string) ([]fs.DirEntry, error) { return nil, fs.ErrPermission })
	if _, err := m.Walk(t.Context()); err == nil || !strings.Contains(err.Error(), "models.yaml:2:6") || !errors.Is(err, manifests.ErrManifest) {
		t.Error(err)
	}
}

func TestWalk_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := parse(t, folder(t, "zoo/a"), head+"models: [{match: a}]\n").Walk(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, manifests.ErrManifest) {
		t.Error(err)
	}
}

func TestWalk_SkipsFoldersThatEveryRuleExcludes(t *testing.T) {
	dir := folder(t, "zoo/a.onnx", "zoo/lost+found/x.onnx", "zoo/b/lost+found/y.onnx", "zoo/old/z.onnx", "zoo/a.h5")
	m := parse(t, dir, head+"models:\n  - match: '**/*.onnx'\n    exclude: ['**/lost+found/**', 'old/**']\n  - match: '**/*.h5'\n    exclude: '**/lost+found/**'\n")
	var read []string
	m.SetReadDir(func(name string) ([]fs.DirEntry, error) {
		rel, _ := filepath.Rel(dir, name)
		read = append(read, filepath.ToSlash(rel))
		return os.ReadDir(name)
	})
	zoo, err := m.Walk(t.Context())
	must(t, err)
	equal(t, "folders that were read", read, []string{"zoo", "zoo/b", "zoo/old"})
	equal(t, "jobs", paths(zoo), []string{"a.h5", "a.onnx"})
	equal(t, "notes", zoo.Notes, nil)
	if len(zoo.Folders) != 5 {
		t.Errorf("%d folders are listed, not the zoo and 4", len(zoo.Folders))
	}
}

func TestWalk_KnowsModelsThatAreAloneInTheirFolders(t *testing.T) {
	dir := folder(t, "zoo/a.onnx", "zoo/pure/b.onnx", "zoo/pure/c.onnx", "zoo/pure/sub/d.onnx", "zoo/data/e.onnx", "zoo/data/deep/w.bin", "zoo/data/deep/pure/f.onnx",
		"zoo/hidden/g.onnx", "zoo/hidden/.w/w.bin", "zoo/old/h.onnx", "zoo/old/skip/w.bin", "zoo/pair/i.prototxt", "zoo/pair/i.caffemodel", "zoo/pair/j.onnx")
	zoo := walk(t, dir, "  - match: '**/*.onnx'\n    exclude: 'old/skip/**'\n  - match: '**/*.prototxt'\n    exclude: 'old/skip/**'\n    weights: '{dir}/{stem}.caffemodel'\n")
	var alone []string
	for _, j := range zoo.Jobs {
		if j.Alone {
			alone = append(alone, j.Path)
		}
	}
	equal(t, "models without other files", alone, []string{"data/deep/pure/f.onnx", "pure/b.onnx", "pure/c.onnx", "pure/sub/d.onnx"})
}

func TestWalk_ListsFoldersTheZooFirst(t *testing.T) {
	dir := folder(t, "zoo/.git/x.onnx", "zoo/a/b.onnx")
	zoo := walk(t, dir, "  - match: '**/*.onnx'\n")
	equal(t, "jobs", paths(zoo), []string{"a/b.onnx"})
	var want []fs.FileInfo
	for _, name := range []string{"", ".git", "a"} {
		info, err := os.Stat(filepath.Join(dir, "zoo", name))
		must(t, err)
		want = append(want, info)
	}
	if !slices.EqualFunc(zoo.Folders, want, os.SameFile) {
		t.Errorf("folders %v", zoo.Folders)
	}
}

func TestWalk_FollowsAZooThatIsALink(t *testing.T) {
	dir := folder(t, "data/a.onnx")
	link(t, "data", filepath.Join(dir, "zoo"))
	zoo := walk(t, dir, "  - match: '*.onnx'\n")
	equal(t, "jobs", paths(zoo), []string{"a.onnx"})
	if zoo.Jobs[0].Source != filepath.Join(dir, "zoo", "a.onnx") {
		t.Error(zoo.Jobs[0].Source)
	}
}

func TestWalk_FollowsLinksToFiles(t *testing.T) {
	dir := folder(t, "blobs/1", "blobs/2", "zoo/n.txt")
	link(t, "../blobs/1", filepath.Join(dir, "zoo", "a.prototxt"))
	link(t, "../blobs/2", filepath.Join(dir, "zoo", "a.caffemodel"))
	zoo := walk(t, dir, "  - match: '*.prototxt'\n    weights: '{stem}.caffemodel'\n")
	equal(t, "jobs", paths(zoo), []string{"a.prototxt"})
	if j := zoo.Jobs[0]; j.Source != filepath.Join(dir, "zoo", "a.prototxt") || j.Weights != filepath.Join(dir, "zoo", "a.caffemodel") || j.Size != 14 {
		t.Errorf("%+v", j)
	}
}

func TestWalk_BrokenLinksFailWithTheirReason(t *testing.T) {
	dir := folder(t, "zoo/dir/x.txt", "zoo/folder.onnx/y.txt")
	for name, target := range map[string]string{"a.onnx": "nothing", "b.onnx": "b.onnx", "c.onnx": "dir", "e": "dir", "d.onnx": "dir/x.txt/z"} {
		link(t, target, filepath.Join(dir, "zoo", name))
	}
	zoo := walk(t, dir, "  - match: '*.onnx'\n  - match: '*'\n")
	equal(t, "jobs", paths(zoo), nil)
	equal(t, "failures", failures(zoo, dir), []string{
		"a.onnx: links to nothing", "b.onnx: links in a loop", "c.onnx: links to a folder", "d.onnx: links to nothing",
	})
	equal(t, "unmatched", zoo.Unmatched, []string{"dir/x.txt", "e", "folder.onnx/y.txt"})
}

func TestWalk_NamesNeedNotBeUTF8(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("names are bytes on Linux")
	}
	dir := folder(t, "zoo/\xff/\xfe.onnx")
	zoo := walk(t, dir, "  - match: '**/?.onnx'\n    weights: '{dir}/{stem}.weights'\n")
	equal(t, "failures", failures(zoo, dir), []string{"\xff/\xfe.onnx: models.yaml:6:14: no weights for \\xff/\\xfe.onnx: expected \\xff/\\xfe.weights"})
	zoo = walk(t, dir, "  - match: '*/?.onnx'\n")
	equal(t, "jobs", paths(zoo), []string{"\xff/\xfe.onnx"})
	if zoo.Jobs[0].Target != filepath.Join(dir, "out", "\xff", "\xfe.onnx") {
		t.Errorf("%q", zoo.Jobs[0].Target)
	}
}

func TestSettings_WithoutEffectAreReported(t *testing.T) {
	dir := folder(t, "zoo/a.onnx", "zoo/b.cfg", "zoo/b.weights")
	for _, c := range []struct {
		models string
		want   []string
	}{
		{"  - match: ['*.onnx', '*.cfg']\n  - match: 'a.*'\n", []string{
			"models.yaml:6:12: the rule does nothing: an earlier rule (models.yaml:5:13) takes every file that it matches"}},
		{"  - match: 'a.*'\n    exclude: ['*.onnx']\n  - match: '*.onnx'\n", nil},
		{"  - match: '*.onnx'\n    exclude: ['a*', 'b*']\n", []string{
			`models.yaml:6:21: exclude "b*" does nothing: it matches no file that the rule matches`}},
		{"  - match: '*.h5'\n    exclude: 'a*'\n    optional: true\n", nil},
		{"  - match: '*.onnx'\n    darknet: {epsilon: opencv}\n", []string{"models.yaml:6:14: darknet does nothing: the rule has no .cfg"}},
		{"  - match: '*.cfg'\n    darknet: {epsilon: opencv}\n    weights: b.weights\n", nil},
		{"  - match: '*.onnx'\n    weights: b.weights\n", []string{
			"models.yaml:6:14: weights does nothing: all models of the rule are ONNX, which have theirs in them or name them"}},
		{"  - match: '*.{onnx,cfg}'\n    export: onnx\n    darknet: {epsilon: opencv}\n", nil},
	} {
		var got []string
		for _, note := range walk(t, dir, c.models).Notes {
			got = append(got, strings.ReplaceAll(note, dir+string(filepath.Separator), ""))
		}
		equal(t, c.models, got, c.want)
	}
	_, err := parse(t, dir, head+"models:\n  - match: '*.onnx'\n    export: [metal, onnx]\n").Walk(t.Context())
	if err == nil || !strings.Contains(err.Error(), "6:13: export: onnx has nothing to do: all models of the rule are ONNX already; remove it") {
		t.Errorf("export: onnx of ONNX models: %v", err)
	}
	zoo, err := parse(t, dir, head+"defaults: {darknet: {epsilon: opencv}, export: onnx}\nmodels: [{match: '*.onnx'}]\n").Walk(t.Context())
	must(t, err)
	equal(t, "notes on defaults", zoo.Notes, nil)
}
