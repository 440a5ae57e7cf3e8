package run

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// bucketPost is a post whose workers take the scene's folder for the bucket "models", below some roots.
func (s *scene) bucketPost(roots ...string) *post {
	p := newPost()
	p.roots, p.options = roots, s.openBuckets
	return p
}

func TestRemote_InBucketsMakesAndTellsWhatARunHereDoes(t *testing.T) {
	for name, where := range map[string]string{
		"zoo": zooInBucket + "out: out\n", "out": "zoo: zoo\n" + outInBucket, "both": zooInBucket + outInBucket,
	} {
		t.Run(name, func(t *testing.T) {
			s := variety(t)
			local := s.must(nil)
			want := s.objects(s.out())
			if err := os.RemoveAll(s.out()); err != nil {
				t.Fatal(err)
			}
			before := contents(t, s.zoo())
			s.where = where
			p := s.bucketPost("s3://models")
			r := s.remote(p, 3, nil)
			if !equal(s.objects(s.out()), want) {
				t.Errorf("other outputs: %d of %d; %v", len(s.objects(s.out())), len(want), r.Counts)
			}
			a, b := untimed(local.models), untimed(r.models)
			for path, m := range a {
				if x := b[path]; !reflect.DeepEqual(m, x) {
					t.Errorf("%s: here %+v, there %+v", path, m, x)
				}
			}
			if len(a) != len(b) || !reflect.DeepEqual(local.Counts, r.Counts) || r.Exit != local.Exit || len(r.Notes) > 0 {
				t.Errorf("here %+v, there %+v", local.End, r.End)
			}
			if !equal(before, contents(t, s.zoo())) {
				t.Error("the originals changed")
			}
			if left, _ := filepath.Glob(filepath.Join(s.folder, "cache", "work", "*")); len(left) > 0 {
				t.Errorf("%q are left in the cache", left)
			}
			if left, _ := filepath.Glob(filepath.Join(s.out(), stateFolder, stagePlace, "*")); len(left) > 0 {
				t.Errorf("%q are left where outputs are staged", left)
			}
			p.handed = 0
			again := s.remote(p, 1, nil)
			if n := again.Counts[outcome.Unchanged]; n != len(a)-1 || p.handed != 1 {
				t.Errorf("the second time: %v, %d tasks", again.Counts, p.handed)
			}
			if here := s.must(nil); here.Counts[outcome.Unchanged] != len(a)-1 {
				t.Errorf("a run here does not know what was done elsewhere: %v", here.Counts)
			}
		})
	}
}

func TestRemote_InBucketsKnowsWhatRunsHereDid(t *testing.T) {
	s := newScene(t, 3)
	s.where, s.rules = zooInBucket+outInBucket, "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	p := s.bucketPost("s3://models")
	s.must(nil)
	if r := s.remote(p, 1, nil); r.Counts[outcome.Unchanged] != 3 {
		t.Errorf("what a run here did before: %v", r.Counts)
	}
	s.plain("more.onnx", 7)
	if r := s.must(nil); r.Counts[outcome.Folded] != 1 {
		t.Errorf("here: %v", r.Counts)
	}
	if r := s.remote(p, 1, nil); r.Counts[outcome.Unchanged] != 4 {
		t.Errorf("what a run here did in between: %v", r.Counts)
	}
}

func TestRemote_InBucketsReplacesOnlyWhatItMade(t *testing.T) {
	s := newScene(t, 1)
	s.where, s.rules = zooInBucket+outInBucket, "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	s.plain("a.onnx", 1)
	s.plain("b.onnx", 2)
	s.put("out/a.onnx", []byte("somebody's"))
	p := s.bucketPost("s3://models")
	var planted atomic.Bool
	p.options = func(o *Options) { // another writer, in the moment before an output is put in its place
		s.openBuckets(o)
		before := func(operation, path string) error {
			if operation == "rename" && strings.HasSuffix(path, "b.onnx") {
				s.put("out/b.onnx", []byte("another's"))
				planted.Store(true)
			}
			return nil
		}
		o.over = func(f files) files { return (&hooked{before: before}).over(f) } // each model has its own
	}
	r := s.remote(p, 1, nil)
	if m := r.models["a.onnx"]; m.Status != outcome.Failed || !strings.Contains(m.Error, "s3://models/out/a.onnx was not made by zoofold") {
		t.Errorf("%s: %s", m.Status, m.Error)
	}
	if m := r.models["b.onnx"]; !planted.Load() || m.Status != outcome.Failed || !strings.Contains(m.Error, "s3://models/out/b.onnx was not made by zoofold") {
		t.Errorf("planted %v, %s: %s", planted.Load(), m.Status, m.Error)
	}
	if now := contents(t, s.out()); now["a.onnx"] != "somebody's" || now["b.onnx"] != "another's" {
		t.Error("they were replaced")
	}
}

// outpaced are files that wait before the first of their outputs is put in its place, until three times somebody has looked
// at what is there: who is about to put it has done so twice, and the other one once.
type outpaced struct {
	files
	seen chan struct{}
	once *sync.Once
}

func (o *outpaced) Lstat(path string) (fs.FileInfo, error) {
	info, err := o.files.Lstat(path)
	if strings.Contains(path, "/models/out/") && strings.HasSuffix(path, "model.onnx") {
		o.seen <- struct{}{}
	}
	return info, err
}

func (o *outpaced) wait() {
	o.once.Do(func() {
		for range 3 {
			<-o.seen
		}
	})
}

func (o *outpaced) Rename(from, to string) error {
	o.wait()
	return o.files.Rename(from, to)
}

func (o *outpaced) Remove(path string) error {
	o.wait()
	return o.files.Remove(path)
}

// Both have looked at what is in the place of the output before the first puts its own there.
func TestRemote_TwoWorkersOnOneModelInABucketDoNoHarm(t *testing.T) {
	for name, add := range map[string]func(s *scene, seed uint64){
		"of two files": func(s *scene, seed uint64) { s.external("one", seed) },
		"of one file":  func(s *scene, seed uint64) { s.plain("model.onnx", seed) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 0)
			if err := os.MkdirAll(s.zoo(), 0o777); err != nil {
				t.Fatal(err)
			}
			s.where, s.rules = "zoo: zoo\n"+outInBucket, "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
			add(s, 2)
			s.must(nil)
			want := s.objects(s.out())
			if err := os.RemoveAll(s.out()); err != nil {
				t.Fatal(err)
			}
			for _, seed := range []uint64{1, 2} { // the second time something is replaced
				add(s, seed)
				p, seen := s.bucketPost("s3://models"), make(chan struct{}, 100)
				p.twice = true
				var once sync.Once
				p.options = func(o *Options) {
					s.openBuckets(o)
					o.over = func(f files) files { return &outpaced{f, seen, &once} }
				}
				r := s.remote(p, 2, nil)
				for _, message := range p.held {
					if a, err := readAnswer(message); err != nil || a.Model.Status != outcome.Folded {
						t.Errorf("seed %d: %+v, %v", seed, a, err)
					}
				}
				if len(p.held) != 2 || r.Exit != ExitDone {
					t.Errorf("seed %d: %d answers, %v", seed, len(p.held), r.Counts)
				}
			}
			if !equal(s.objects(s.out()), want) {
				t.Error("other outputs")
			}
		})
	}
}

func TestWorker_RefusesABucketThatNoRootCovers(t *testing.T) {
	for _, roots := range [][]string{nil, {"s3://models/zoo"}, {"s3://models/zoo", "s3://models/ou"}, {"s3://other"}, {"gs://models"}} {
		s := newScene(t, 1)
		s.where, s.rules = zooInBucket+outInBucket, "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
		r := s.remote(s.bucketPost(roots...), 1, nil)
		for path, m := range r.models {
			if m.Status != outcome.Failed || !strings.Contains(m.Error, "s3://models/") || !strings.Contains(m.Error, ErrRoots.Error()) {
				t.Errorf("%q: %s: %s, %s", roots, path, m.Status, m.Error)
			}
		}
		if len(r.models) != 1 || len(s.objects(s.out())) > 2 { // the run's own
			t.Errorf("%q: %v", roots, s.objects(s.out()))
		}
	}
	s := newScene(t, 1)
	s.where = zooInBucket + outInBucket
	if r := s.remote(s.bucketPost("s3://models/zoo", "s3://models/out"), 1, nil); r.Counts[outcome.Folded] != 1 {
		t.Errorf("roots that do: %+v", r.models)
	}
}

func TestNewWorker_RefusesRootsInBucketsThatItCannotOpen(t *testing.T) {
	for root, want := range map[string]string{
		"s3://key:secret@models/zoo": "credentials come from the environment",
		"http://models":              "its scheme is none of",
		"s3://models":                "-cache",
	} {
		_, err := NewWorker("w", Options{Workers: 1, Backend: cpu.New(1)}, []string{root})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v", root, err)
		}
	}
	if !bucket.Built {
		_, err := NewWorker("w", Options{Workers: 1, Backend: cpu.New(1), Cache: t.TempDir()}, []string{"s3://models"})
		if !errors.Is(err, bucket.ErrNotBuilt) {
			t.Error(err)
		}
	}
}

func TestReadTask_NamesPlacesInOneWay(t *testing.T) {
	for name, good := range map[string]bool{
		"/srv/zoo": true, "s3://models/zoo": true, "s3://models": true, "gs://models/a%20b": true, "azblob://c/x%3Fy": true,
		"srv": false, "/srv/../etc": false, "s3://models/zoo/": false, "s3://models/a b": false, "s3://models/zoo?region=x": false,
		"s3://models/../x": false, "s3://k:s@models/zoo": false, "file:///srv": false, "http://models": false, "s3://": false,
	} {
		m, err := (&task{Version: messageVersion, ID: "i", Run: "r", Zoo: name, Out: "/out", Manifest: "m", Model: "a.onnx"}).message()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readTask(m); (err == nil) != good || err != nil && !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	u := bucket.URL{Scheme: "s3", Bucket: "b", Prefix: "a b/%20?#"}
	if p, err := placeOf(nameOf("", &u)); err != nil || *p.URL != u {
		t.Errorf("%v, %v", p.URL, err)
	}
}

func TestBucket_AnAskingFolderIsAsItWasFirstAskedFor(t *testing.T) {
	s := newScene(t, 0)
	s.put("zoo/a", []byte("first"))
	f := bucket.Over(bucket.URL{Scheme: "s3", Bucket: "models", Prefix: "zoo"}, s.asBucket())
	defer f.Close()
	ctx, asking := context.Background(), f.Asking()
	if info, err := asking.Stat(ctx, "a"); err != nil || info.Size() != 5 {
		t.Fatal(info, err)
	}
	if _, err := asking.Stat(ctx, "b"); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	s.put("zoo/a", []byte("another"))
	s.put("zoo/b", []byte("new"))
	for _, name := range []string{"a", "b"} {
		if err := asking.Put(ctx, name, strings.NewReader("mine"), 4); !errors.Is(err, bucket.ErrChanged) {
			t.Errorf("%s was replaced: %v", name, err)
		}
	}
	asking.Forget()
	if err := asking.Put(ctx, "a", strings.NewReader("mine"), 4); err != nil {
		t.Error(err)
	}
	if info, err := asking.Stat(ctx, "a"); err != nil || info.Size() != 4 {
		t.Error(info, err)
	}
}
