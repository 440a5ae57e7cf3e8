package run

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// The folders of a scene as folders of a bucket.
const (
	zooInBucket = "zoo: s3://models/zoo\n"
	outInBucket = "out: s3://models/out\n"
)

// openBuckets has a run take the scene's folder for the bucket "models".
func (s *scene) openBuckets(o *Options) {
	o.Cache, o.CacheSize = filepath.Join(s.folder, "cache"), 1<<30
	o.bucket = func(u bucket.URL) *bucket.Folder { return bucket.Over(u, s.asBucket()) }
}

func (s *scene) asBucket() *blob.Bucket {
	s.t.Helper()
	b, err := fileblob.OpenBucket(s.folder, &fileblob.Options{NoTempDir: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// objects are the contents of a folder of the bucket, without the files in which the driver has what is known of them.
func (s *scene) objects(folder string) map[string]string {
	s.t.Helper()
	list := contents(s.t, folder)
	for path := range list {
		if strings.HasSuffix(path, ".attrs") || strings.HasPrefix(path, "report.") {
			delete(list, path)
		}
	}
	return list
}

// variety is a scene with models of one file and of several, of all kinds and formats that tests have here.
func variety(t *testing.T) *scene {
	s := newScene(t, 6)
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity, algebra]\n"
	s.external("with/weights", 1)
	s.external("others", 2)
	if err := os.WriteFile(filepath.Join(s.zoo(), "damaged.onnx"), []byte("no model"), 0o666); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBucket_ARunWritesTheBytesOfALocalRun(t *testing.T) {
	for name, where := range map[string]string{
		"zoo": zooInBucket + "out: out\n", "out": "zoo: zoo\n" + outInBucket, "both": zooInBucket + outInBucket,
	} {
		t.Run(name, func(t *testing.T) {
			s := variety(t)
			r := s.must(nil)
			want, local := s.objects(s.out()), r
			if len(want) < 10 || r.Counts[outcome.Failed] != 1 {
				t.Fatalf("%d outputs, %v", len(want), r.Counts)
			}
			if err := os.RemoveAll(s.out()); err != nil {
				t.Fatal(err)
			}
			before := contents(t, s.zoo())
			s.where = where
			r = s.must(nil)
			if !equal(s.objects(s.out()), want) {
				t.Errorf("other outputs: %d of %d; %v", len(s.objects(s.out())), len(want), r.Counts)
			}
			for path, m := range r.models {
				before := local.models[path]
				if m.Status != before.Status || m.Output != before.Output || m.OutputBytes != before.OutputBytes || m.Bytes != before.Bytes {
					t.Errorf("%s: %+v, locally %+v", path, m, before)
				}
				if strings.Contains(m.Error, "cache") || m.Error != before.Error {
					t.Errorf("%s: %s", path, m.Error)
				}
			}
			if len(r.Notes) > 0 {
				t.Error(r.Notes)
			}
			again := s.must(nil)
			if n := again.Counts[outcome.Unchanged]; n != len(r.models)-1 {
				t.Errorf("the next run: %v", again.Counts)
			}
			if !equal(before, contents(t, s.zoo())) {
				t.Error("the originals changed")
			}
			if left, _ := filepath.Glob(filepath.Join(s.folder, "cache", "work", "*")); len(left) > 0 {
				t.Errorf("%q are left in the cache", left)
			}
			if left, _ := filepath.Glob(filepath.Join(s.out(), stateFolder, "*")); name != "zoo" {
				for _, path := range left {
					if base := filepath.Base(path); base != aboutFile && base != aboutFile+".attrs" && base != ledgerFile+".d" {
						t.Errorf("%s is left", path)
					}
				}
			}
		})
	}
}

func TestBucket_EveryOperationMayFail(t *testing.T) {
	s, list := situations(t)
	s.where = "zoo: zoo\n" + outInBucket
	for k, x := range list { // what the earlier run left, as a bucket has it
		if err := errors.Join(os.RemoveAll(s.out()), os.MkdirAll(s.out(), 0o777)); err != nil {
			t.Fatal(err)
		}
		if len(x.before) == 0 {
			continue
		}
		earlier := newScene(t, 0)
		earlier.rules, earlier.where = s.rules, s.where
		earlier.folder = s.folder
		list[k].out = s.earlierInBucket(x)
	}
	s.must(nil)
	after := contents(t, s.out())
	for k := range list {
		list[k].after = after
		if len(list[k].before) > 0 {
			list[k].before = contents(t, list[k].out)
		}
	}
	s.everyOperationFails(t, list)
}

// earlierInBucket makes the outputs of the earlier run of a situation in the bucket, and moves them away.
func (s *scene) earlierInBucket(x situation) string {
	s.t.Helper()
	now := filepath.Join(s.t.TempDir(), "zoo")
	if err := os.Rename(s.zoo(), now); err != nil {
		s.t.Fatal(err)
	}
	s.external("one", 1)
	s.external("two", 2)
	s.plain("plain.onnx", 5)
	s.settled()
	s.must(nil)
	out := filepath.Join(s.t.TempDir(), "out")
	if err := errors.Join(os.Rename(s.out(), out), os.RemoveAll(s.zoo()), os.Rename(now, s.zoo())); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestBucket_OutputsThatOthersMadeOrChangedStay(t *testing.T) {
	s := newScene(t, 1)
	s.where = zooInBucket + outInBucket
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	s.plain("a.onnx", 1)
	s.plain("b.onnx", 2)
	s.put("out/a.onnx", []byte("somebody's"))
	r := s.must(nil)
	if m := r.models["a.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, "s3://models/out/a.onnx was not made by zoofold") {
		t.Errorf("%s: %s", m.Status, m.Error)
	}
	s.put("out/b.onnx", []byte("changed"))
	if m := s.must(nil).models["b.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, "s3://models/out/b.onnx was changed since zoofold wrote it") {
		t.Errorf("%s: %s", m.Status, m.Error)
	}
	s.rules += "    overwrite: true\n"
	if r := s.must(nil); r.Counts[outcome.Failed] > 0 {
		t.Errorf("with overwrite: %+v", r.models)
	}
	// another writer, in the moment before an output is put in its place
	s.plain("c.onnx", 3)
	planted := false
	h := &hooked{before: func(operation, path string) error {
		if operation == "rename" && strings.HasSuffix(path, "c.onnx") && !planted {
			planted = true
			s.put("out/c.onnx", []byte("another's"))
		}
		return nil
	}}
	r = s.must(func(o *Options) { o.over = h.over })
	if m := r.models["c.onnx"]; !planted || m.Status != outcome.Failed || !strings.Contains(m.Error, "was changed by somebody else since the bucket was listed") {
		t.Errorf("planted %v, %s: %s", planted, m.Status, m.Error)
	}
	if got := contents(t, s.out())["c.onnx"]; got != "another's" {
		t.Errorf("the other's is %.20q now", got)
	}
}

func TestBucket_WithoutAPlaceForTheCacheNothingIsFolded(t *testing.T) {
	s := newScene(t, 1)
	s.where = zooInBucket + outInBucket
	_, err := s.run(context.Background(), func(o *Options) { o.Cache = "" })
	if !errors.Is(err, ErrPlace) || !strings.Contains(err.Error(), "-cache") {
		t.Error(err)
	}
}

func TestBucket_PruneRemovesWhatHasNoSource(t *testing.T) {
	s := variety(t)
	s.where = zooInBucket + outInBucket
	s.must(nil)
	want := s.objects(s.out())
	if err := os.RemoveAll(filepath.Join(s.zoo(), "with")); err != nil {
		t.Fatal(err)
	}
	dry := s.must(func(o *Options) { o.Prune, o.DryRun, o.Report = true, true, "" })
	if len(dry.WouldRemove) != 2 || !equal(want, s.objects(s.out())) {
		t.Errorf("a dry run: %q", dry.WouldRemove)
	}
	r := s.must(func(o *Options) { o.Prune = true })
	delete(want, "with/weights/model.onnx")
	delete(want, "with/weights/weights.bin")
	if len(r.Pruned) != 2 || !equal(want, s.objects(s.out())) {
		t.Errorf("pruned %q, %d are left of %d", r.Pruned, len(s.objects(s.out())), len(want))
	}
}

func TestBucket_AnOriginalThatChangesWhileTheRunIsAtWorkFailsItsModelAlone(t *testing.T) {
	s := newScene(t, 1)
	s.where = zooInBucket + outInBucket
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	s.plain("a.onnx", 1)
	s.plain("b.onnx", 2)
	h := &hooked{before: func(operation, path string) error {
		if operation == "append" { // the ledger's: the zoo is listed by now
			s.plain("a.onnx", 3)
		}
		return nil
	}}
	r := s.must(func(o *Options) { o.over = h.over })
	if m := r.models["a.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, "s3://models/zoo/a.onnx: was changed by somebody else") {
		t.Errorf("%s: %s", m.Status, m.Error)
	}
	if r.models["b.onnx"].Status != outcome.Folded {
		t.Errorf("%+v", r.models["b.onnx"])
	}
	if r := s.must(nil); r.models["a.onnx"].Status != outcome.Folded {
		t.Errorf("the next run: %+v", r.models["a.onnx"])
	}
}

func TestBucket_TheCacheKeepsToItsSizeAndModelsThatAreLargerAreFoldedAllTheSame(t *testing.T) {
	s := variety(t)
	s.must(nil)
	want := s.objects(s.out())
	if err := os.RemoveAll(s.out()); err != nil {
		t.Fatal(err)
	}
	s.where = zooInBucket + outInBucket
	r := s.must(func(o *Options) { o.CacheSize = 1000 })
	if !equal(want, s.objects(s.out())) {
		t.Errorf("%v %+v", r.Counts, r.models)
	}
	kept := int64(0)
	err := filepath.WalkDir(filepath.Join(s.folder, "cache", "objects"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, e := d.Info()
			if err = e; err == nil {
				kept += info.Size()
			}
		}
		return err
	})
	if err != nil || kept > 300_000 { // the last ones that were brought, at most
		t.Errorf("%d bytes are kept, %v", kept, err)
	}
}

func TestBucket_ManyLinesAreReadAsOneLedger(t *testing.T) {
	s := newScene(t, 1)
	s.where = "zoo: zoo\n" + outInBucket
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	for k := range 3 {
		s.plain(string(rune('a'+k))+".onnx", uint64(k+1))
		if r := s.must(nil); r.Counts[outcome.Folded]+r.Counts[outcome.Unchanged] != k+2 || k > 0 && r.Counts[outcome.Folded] != 1 {
			t.Fatalf("night %d: %v", k, r.Counts)
		}
	}
	data, err := zootest.Kinds[0].Bytes(9, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.put("zoo/a.onnx", data)
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 || r.Counts[outcome.Unchanged] != 3 {
		t.Fatal(r.Counts)
	}
}

// The index beside the configuration is what names the shards.
func TestBucket_FilesThatAnIndexBesideAModelNamesAreBrought(t *testing.T) {
	s := newScene(t, 0)
	if err := os.MkdirAll(s.zoo(), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := zootest.KerasShards(15, s.zoo()); err != nil {
		t.Fatal(err)
	}
	s.rules = "models:\n  - match: 'model15.json'\n    verify: [parity, algebra]\n"
	s.where = zooInBucket + "out: out\n"
	r := s.must(s.openBuckets)
	if r.Counts[outcome.Folded] != 1 {
		t.Errorf("%v: %+v", r.Counts, r.models)
	}
}
