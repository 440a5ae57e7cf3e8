package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/report"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// layout is a random arrangement of folders, links, manifests and flags, most of them mistaken or hostile.
type layout struct {
	t    *testing.T
	rng  *rand.Rand
	base string
	said []string // how it was made
}

// one chooses.
func one[T any](l *layout, list ...T) T { return list[l.rng.IntN(len(list))] }

// often is true in so many of a hundred layouts.
func (l *layout) often(percent int) bool { return l.rng.IntN(100) < percent }

func (l *layout) path(rel string) string { return filepath.Join(l.base, rel) }

// try does what may not be possible in this layout.
func (l *layout) try(what string, err error) {
	if err == nil {
		l.said = append(l.said, what)
	}
}

func (l *layout) write(rel string, data []byte) {
	path := l.path(rel)
	if _, err := os.Lstat(path); err == nil {
		return
	}
	l.try("file "+rel, errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, data, 0o644)))
}

func (l *layout) link(target, rel string) {
	if filepath.IsAbs(target) || l.often(20) {
		target = l.path(target)
	} else if r, err := filepath.Rel(filepath.Dir(l.path(rel)), l.path(target)); err == nil {
		target = r
	}
	l.try("link "+rel+" -> "+target, errors.Join(os.MkdirAll(filepath.Dir(l.path(rel)), 0o777), os.Symlink(target, l.path(rel))))
}

func (l *layout) hard(rel, as string) {
	l.try("hard link "+as+" = "+rel, errors.Join(os.MkdirAll(filepath.Dir(l.path(as)), 0o777), os.Link(l.path(rel), l.path(as))))
}

// models are the bytes that the zoos of all layouts are made of.
type models struct{ plain [3][]byte }

func newModels(t *testing.T) (m models) {
	for k := range m.plain {
		data, err := zootest.Kinds[0].Bytes(uint64(k+1), 4, 1)
		if err != nil {
			t.Fatal(err)
		}
		m.plain[k] = data
	}
	return m
}

// zoo makes a zoo of a few models, one with external data in a place that may be another file's.
func (l *layout) zoo(m models, zoo string) {
	l.write(zoo+"/a.onnx", m.plain[0])
	l.write(zoo+"/sub/b.onnx", m.plain[1])
	location := one(l, "w.bin", "w.bin", "report.json", "report.html", ".zoofold/ledger", ".zoofold/lock", "b.onnx", "data/w.bin", "x/../w.bin")
	if model, weights, err := zootest.External(m.plain[2], location, 64); err == nil {
		l.write(zoo+"/sub/c.onnx", model)
		l.write(filepath.Join(zoo, "sub", location), weights)
	}
	if l.often(30) {
		l.write("elsewhere/linked.onnx", m.plain[1])
		l.link("elsewhere/linked.onnx", zoo+"/linked.onnx")
	}
	if l.often(20) {
		l.write(zoo+"/.zoofold-keep.tmp/precious", []byte("precious"))
		l.write(zoo+"/.zoofold/staging/precious", []byte("precious"))
	}
	if l.often(20) {
		l.link("out", zoo+"/out")
	}
}

// traps are put where outputs may go.
func (l *layout) traps(zoo, out string) {
	for range l.rng.IntN(4) {
		at := filepath.Join(out, one(l, "a.onnx", "sub", "sub/b.onnx", "sub/w.bin", ".zoofold", ".zoofold/ledger", ".zoofold/lock", ".zoofold/holder",
			".zoofold/staging", ".zoofold/about", "report.json", "report.html", "zoo", "x"))
		to := one(l, zoo, zoo+"/sub", zoo+"/a.onnx", zoo+"/sub/b.onnx", "elsewhere", "elsewhere/precious", "nowhere", out)
		switch l.rng.IntN(4) {
		case 0, 1:
			l.link(to, at)
		case 2:
			l.hard(to, at)
		case 3:
			l.write(at, []byte("mine"))
		}
	}
}

// manifest is a random one's text.
func (l *layout) manifest(zoo string) string {
	out := one(l, "out", "out", "out", "out", ".", "data", zoo, zoo+"/sub", zoo+"/new", "out/deep/er", strings.ToUpper(zoo), "link", "elsewhere/out", filepath.Dir(zoo), zoo+"/../out")
	output := one(l, "", "", "", "{dir}/{stem}.folded.onnx", "{name}", zoo+"/{name}", "zoo/{name}", "../"+zoo+"/{name}", "sub/{name}", "report.json", ".zoofold/{name}", "link/{dir}/{name}", "x/{name}")
	text := fmt.Sprintf("version: 1\nzoo: %s\nout: %s\nmodels:\n  - match: '**/*.onnx'\n    verify: none\n", one(l, zoo, zoo, zoo, "zoolink"), out)
	if output != "" {
		text += fmt.Sprintf("    output: '%s'\n", output)
	}
	if l.often(20) {
		text += "    overwrite: true\n"
	}
	if l.often(10) {
		text += "    export: onnx\n"
	}
	return text
}

// file is what must not change of a file, folder or link.
type file struct {
	mode    fs.FileMode
	time    time.Time
	content string
}

// tree is everything below the base.
func (l *layout) tree() map[string]file {
	list := map[string]file{}
	err := filepath.WalkDir(l.base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := file{mode: info.Mode()}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			f.content, err = os.Readlink(path)
		case info.Mode().IsRegular():
			var data []byte
			data, err = os.ReadFile(path)
			f.content, f.time = string(data), info.ModTime()
		}
		rel, _ := filepath.Rel(l.base, path)
		list[rel] = f
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return list
}

// below says whether a path is one of some folders or in one.
func below(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		rel, err := filepath.Rel(f, path)
		return err == nil && filepath.IsLocal(rel)
	})
}

// real is a path of the layout with its links resolved as far as it is there, relative to the base; false if it leaves it.
func (l *layout) real(path string) (string, bool) {
	rest := ""
	for range 100 {
		if target, err := os.Readlink(path); err == nil { // it may lead to what is not there yet
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(path), target)
			}
			path = target
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			rel, err := filepath.Rel(l.base, filepath.Join(real, rest))
			return rel, err == nil && filepath.IsLocal(rel)
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = filepath.Dir(path)
	}
	return "", false
}

// run runs a manifest, with a surprise in the middle, and checks that nothing changed that may not.
func (l *layout) run(zoo, manifest string, made map[string]bool) {
	path := l.path(one(l, "models.yaml", "models.yaml", "other.yaml"))
	if err := os.WriteFile(path, []byte(manifest), 0o644); err != nil {
		l.t.Fatal(err)
	}
	o := Options{Workers: 1 + l.rng.IntN(2), NoEngine: "none in this test", Sink: sink{map[string]outcome.Model{}}, Document: report.NewDocument()}
	o.DryRun, o.Prune = l.often(10), l.often(40)
	o.Force = one(l, ForceNothing, ForceNothing, ForceHash, ForceAll)
	if l.often(50) {
		o.Report = l.path(one(l, "out", zoo, zoo+"/sub", "elsewhere", "link", "out/sub", "reports"))
	}
	if l.often(30) && !o.DryRun {
		o.Metrics = l.path(one(l, zoo+"/a.onnx", zoo+"/new.prom", "elsewhere/precious", "out/a.onnx", "out/m.prom", "link/m.prom", "models.yaml"))
	}
	before := l.tree()
	l.said = append(l.said, fmt.Sprintf("run with force %q, prune %v, dry %v, report %q, metrics %q:\n%s", o.Force, o.Prune, o.DryRun, o.Report, o.Metrics, manifest))
	swapped := map[string]bool{} // what the surprise changed
	m, err := manifests.Load(path)
	if err != nil {
		l.same(before, l.tree(), nil, nil, swapped)
		return
	}
	places := []string{m.Out}
	for _, p := range []string{o.Report, o.Metrics} {
		if p != "" {
			places = append(places, p)
		}
	}
	var allowed []string
	for _, p := range places {
		if rel, ok := l.real(p); ok {
			allowed = append(allowed, rel)
		}
	}
	if out, ok := l.real(m.Out); ok && strings.Contains(manifest, "overwrite: true") { // files may be replaced there, but no originals
		for rel, f := range before {
			if f.mode.IsRegular() && below(rel, out) && !below(rel, zoo) && state(rel) == "" {
				made[rel] = true
			}
		}
	}
	surprise := l.often(30)
	o.Manifest, o.Backend = m, cpu.New(1)
	if surprise { // what it changes is told from what the run changes by looking before and after
		o.Workers = 1
		o.Backend = &backend{Backend: cpu.New(1), do: func(_ context.Context, call int) error {
			if call == 1 {
				l.surprise(m.Out, zoo, swapped)
			}
			return nil
		}}
	}
	end, err := Run(context.Background(), o)
	if err == nil && end.Counts[outcome.Folded]+end.Counts[outcome.Copied] > 0 {
		l.said = append(l.said, fmt.Sprint(end.Counts))
	}
	after := l.tree()
	l.same(before, after, allowed, made, swapped)
	if below(filepath.Clean(zoo), allowed...) || !slices.Contains(allowed, ".") { // new files of zoofold's own may change in the next run
		for rel := range after {
			if _, was := before[rel]; !was && !swapped[rel] {
				made[rel] = true
			}
		}
	}
}

// surprise turns a folder of the output into a link to the zoo while models are being folded, and notes what it changed.
func (l *layout) surprise(out, zoo string, swapped map[string]bool) {
	before := l.tree()
	at := filepath.Join(out, one(l, "sub", "x", ".zoofold/staging"))
	if os.Rename(at, at+"-moved") != nil {
		return
	}
	target, _ := filepath.Rel(filepath.Dir(at), l.path(one(l, zoo, zoo+"/sub")))
	l.try("in the middle "+at+" becomes a link to "+target, os.Symlink(target, at))
	after := l.tree()
	for _, list := range []map[string]file{before, after} {
		for rel := range list {
			if before[rel] != after[rel] {
				swapped[rel] = true
			}
		}
	}
}

// same checks that what was there before is there after, as it was, but for what runs made, and that what is new lies where
// it may.
func (l *layout) same(before, after map[string]file, allowed []string, made, swapped map[string]bool) {
	l.t.Helper()
	var wrong []string
	for rel, was := range before {
		now, is := after[rel]
		switch {
		case made[rel] || swapped[rel] || now == was:
		case made[state(rel)+"/"+aboutFile]: // zoofold's own folder
		case !is:
			wrong = append(wrong, rel+" is gone")
		default:
			wrong = append(wrong, fmt.Sprintf("%s was %v of %v, %d bytes, and is %v of %v, %d bytes", rel, was.mode, was.time, len(was.content), now.mode, now.time, len(now.content)))
		}
	}
	for rel := range after {
		if _, was := before[rel]; was || swapped[rel] {
			continue
		}
		zoo := slices.ContainsFunc([]string{"zoo", "data/zoo"}, func(z string) bool { return below(rel, z) && before[z].mode.IsDir() })
		if zoo || !below(rel, allowed...) && !slices.ContainsFunc(allowed, func(a string) bool { return below(a, rel) }) {
			wrong = append(wrong, rel+" is new")
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		l.t.Fatalf("%s\n\n%s", strings.Join(l.said, "\n"), strings.Join(wrong, "\n"))
	}
}

// state is the folder of a run's state in which a path lies, or "".
func state(rel string) string {
	if k := strings.Index(rel+"/", stateFolder+"/"); k >= 0 {
		return rel[:k+len(stateFolder)]
	}
	return ""
}

// Whatever a manifest says and whatever lies about: every file of the zoo keeps bytes, mode and time, nothing outside the
// output, report and metrics is created, changed or removed, and in them nothing that zoofold did not make.
func TestOriginals_AreNeverTouched(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	layouts := 2000
	if testing.Short() {
		layouts = 200
	}
	if n, err := strconv.Atoi(os.Getenv("ZOOFOLD_LAYOUTS")); err == nil {
		layouts = n
	}
	m := newModels(t)
	root := t.TempDir()
	for seed := range uint64(layouts) {
		l := &layout{t: t, rng: rand.New(rand.NewPCG(seed, 1)), base: filepath.Join(root, fmt.Sprint(seed))}
		l.said = append(l.said, fmt.Sprintf("layout %d", seed))
		zoo := one(l, "zoo", "zoo", "data/zoo")
		l.write("elsewhere/precious", []byte("precious"))
		l.zoo(m, zoo)
		l.link(zoo, "zoolink")
		l.link(one(l, zoo, "out", "elsewhere", "nowhere"), "link")
		if l.often(15) {
			l.link(one(l, "elsewhere", zoo, "nowhere"), "out")
		}
		l.traps(zoo, "out")
		if l.often(20) {
			l.traps(zoo, ".")
		}
		made := map[string]bool{"models.yaml": true, "other.yaml": true}
		for range 1 + l.rng.IntN(3) {
			l.run(zoo, l.manifest(zoo), made)
			if l.often(30) {
				l.traps(zoo, "out")
			}
		}
		if err := os.RemoveAll(l.base); err != nil {
			t.Fatal(err)
		}
	}
}
