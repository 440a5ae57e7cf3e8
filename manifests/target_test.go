package manifests_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/manifests"
)

func TestTarget_RefusesOutputFolderInTheZoo(t *testing.T) {
	dir := folder(t, "data/zoo/a.onnx")
	link(t, filepath.Join(dir, "data", "zoo"), filepath.Join(dir, "zoo"))
	link(t, "zoo", filepath.Join(dir, "other"))
	for _, out := range []string{"zoo", "zoo/new/folder", "data/zoo", "data/zoo/out", "other", "other/x/y", "zoo/../zoo/x"} {
		got := refused(t, dir, "version: 1\nzoo: zoo\nout: "+out+"\nmodels: [{match: '*.onnx'}]\n")
		if !strings.HasPrefix(got, "models.yaml:3:6: the output folder is inside the zoo") {
			t.Errorf("%s: %s", out, got)
		}
	}
}

func TestTarget_RefusesOutputInTheZoo(t *testing.T) {
	dir := folder(t, "data/zoo/a.onnx", "data/zoo/b/c.onnx", "out/empty")
	link(t, filepath.Join("..", "data", "zoo"), filepath.Join(dir, "out", "linked"))
	link(t, filepath.Join("..", "data", "zoo", "a.onnx"), filepath.Join(dir, "out", "link.onnx"))
	for _, c := range []struct{ out, output, want string }{
		{".", "data/zoo/x.onnx", "data/zoo/x.onnx"},
		{"data", "zoo/new/x.onnx", "data/zoo/new/x.onnx"},
		{"out", "linked/x.onnx", "data/zoo/x.onnx"},
		{"out", "linked/new/x.onnx", "data/zoo/new/x.onnx"},
		{"out", "link.onnx", "data/zoo/a.onnx"},
		{"data", "zoo", "data/zoo"},
	} {
		got := refused(t, dir, "version: 1\nzoo: data/zoo\nout: "+c.out+"\nmodels:\n- match: a.onnx\n  output: "+c.output+"\n")
		if !strings.HasPrefix(got, "models.yaml:6:11: the output of a.onnx would be written into the zoo ("+filepath.FromSlash(c.want)+"): give out or output another folder") {
			t.Errorf("%+v: %s", c, got)
		}
	}
	got := refused(t, dir, "version: 1\nzoo: data/zoo\nout: data\nmodels:\n- match: '**/*.onnx'\n  output: 'zoo/{dir}/x.onnx'\n")
	if !strings.Contains(got, "the output of a.onnx") || !strings.Contains(got, "the output of b/c.onnx") {
		t.Error(got)
	}
}

func TestTarget_KnowsTheZooByIdentity(t *testing.T) {
	dir := folder(t, "zoo/b/c.onnx")
	info, err := os.Stat(filepath.Join(dir, "zoo"))
	must(t, err)
	// The zoo's path is of no help where it is mounted a second time.
	for path, want := range map[string]bool{"zoo": true, "zoo/b": true, "zoo/new/folder": true, "other": false, ".": false} {
		if got := manifests.Inside(filepath.Join(dir, path), filepath.Join(dir, "mounted"), info); got != want {
			t.Errorf("%s is in the zoo: %v", path, got)
		}
	}
}

func TestTarget_OutputFolderMayContainTheZoo(t *testing.T) {
	dir := folder(t, "zoo/a.onnx", "zoo/b/c.onnx")
	zoo, err := parse(t, dir, "version: 1\nzoo: zoo\nout: .\nmodels: [{match: '**/*.onnx'}]\n").Walk(t.Context())
	must(t, err)
	equal(t, "jobs", paths(zoo), []string{"a.onnx", "b/c.onnx"})
	got := refused(t, folder(t, "zoo/zoo/a.onnx"), "version: 1\nzoo: zoo\nout: .\nmodels: [{match: '**/*.onnx'}]\n")
	if !strings.Contains(got, "models.yaml:3:6: the output of zoo/a.onnx would be written into the zoo") {
		t.Error(got)
	}
}

func TestTarget_RefusesOutputOverAModelsFile(t *testing.T) {
	dir := folder(t, "blobs/1", "zoo/n.cfg", "zoo/n.weights", "out/empty")
	link(t, filepath.Join("..", "blobs", "1"), filepath.Join(dir, "zoo", "a.onnx"))
	got := refused(t, dir, "version: 1\nzoo: zoo\nout: blobs\nmodels:\n- match: a.onnx\n  output: '1'\n")
	if !strings.Contains(got, "models.yaml:6:11: the output of a.onnx would be written over a file of a.onnx (blobs/1)") {
		t.Error(got)
	}
	if err := os.Link(filepath.Join(dir, "zoo", "n.weights"), filepath.Join(dir, "out", "a.onnx")); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	got = refused(t, dir, head+"models:\n- match: a.onnx\n- match: n.cfg\n  weights: n.weights\n")
	if !strings.Contains(got, "models.yaml:3:6: the output of a.onnx would be written over a file of n.cfg (out/a.onnx)") {
		t.Error(got)
	}
}

func TestTarget_RefusesZoofoldsOwnNames(t *testing.T) {
	dir := folder(t, "zoo/a.onnx", "zoo/report.html", "zoo/b/report.html")
	for output, own := range map[string]string{
		"report.json": "report.json", "REPORT.html": "REPORT.html", ".zoofold/x": ".zoofold", "a/.ZOOFOLD": ".ZOOFOLD", "a/.zoofold-1.tmp/x": ".zoofold-1.tmp",
	} {
		got := refused(t, dir, head+"models:\n- match: a.onnx\n  output: "+output+"\n")
		if !strings.HasPrefix(got, "models.yaml:6:11: "+own+" is zoofold's own: choose another output") {
			t.Errorf("%s: %s", output, got)
		}
	}
	if got := refused(t, dir, head+"models:\n- match: report.html\n"); !strings.HasPrefix(got, "models.yaml:3:6: report.html is zoofold's own") {
		t.Error(got)
	}
	equal(t, "below a folder", paths(walk(t, dir, "- match: b/report.html\n")), []string{"b/report.html"})
}

func TestTarget_RefusesOutputThatIsAFolderOfAnother(t *testing.T) {
	dir := folder(t, "zoo/a.onnx", "zoo/b.onnx")
	for _, order := range []string{"- match: a.onnx\n  output: x\n- match: b.onnx\n  output: x/y/z\n", "- match: b.onnx\n  output: x\n- match: a.onnx\n  output: x/y/z\n"} {
		if got := refused(t, dir, head+"models:\n"+order); !strings.HasPrefix(got, "models.yaml:8:11: ") || !strings.Contains(got, "would be written into out/x, which is the output of") {
			t.Error(got)
		}
	}
}
