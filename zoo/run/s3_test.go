//go:build buckets

package run

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/bucket/buckettest"
	"github.com/zoofold/zoofold/zoo/outcome"
)

// onS3 is a scene whose zoo and outputs are on an S3, as they are in its folders until now.
func (s *scene) onS3(server *buckettest.Server) {
	s.t.Helper()
	s.where = "zoo: s3://" + server.Bucket + "/zoo\nout: s3://" + server.Bucket + "/out\n"
	s.upload("zoo")
}

// upload puts a folder of the scene on the server.
func (s *scene) upload(folder string) {
	s.t.Helper()
	f := s.onServer(folder)
	defer f.Close()
	for path := range contents(s.t, filepath.Join(s.folder, folder)) {
		content, err := os.Open(filepath.Join(s.folder, folder, path))
		if err != nil {
			s.t.Fatal(err)
		}
		info, err := content.Stat()
		if err == nil {
			err = f.Put(context.Background(), filepath.ToSlash(path), content, info.Size())
		}
		if content.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// onServer is a folder on the server, listed.
func (s *scene) onServer(folder string) *bucket.Folder {
	s.t.Helper()
	u, err := bucket.Parse("s3://models/" + folder)
	if err != nil {
		s.t.Fatal(err)
	}
	f, err := bucket.Open(context.Background(), u)
	if err == nil {
		err = f.List(context.Background())
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// downloaded are the contents of a folder on the server, without the report and the run's state.
func (s *scene) downloaded(folder string) map[string]string {
	s.t.Helper()
	f := s.onServer(folder)
	defer f.Close()
	to := s.t.TempDir()
	cache, err := bucket.OpenCache(to, 1<<30)
	if err != nil {
		s.t.Fatal(err)
	}
	w, err := cache.Workspace()
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Close()
	view := filepath.Join(w.Path(), "view")
	for _, rel := range f.Below("") {
		if strings.HasPrefix(rel, stateFolder+"/") || strings.HasPrefix(rel, "report.") {
			continue
		}
		if err := w.Bring(context.Background(), f, rel, filepath.Join(view, filepath.FromSlash(rel))); err != nil {
			s.t.Fatal(err)
		}
	}
	return contents(s.t, view)
}

// hasty has a run wait for nothing long.
func hasty(o *Options) {
	o.bucket = func(u bucket.URL) *bucket.Folder {
		f, err := bucket.Open(context.Background(), u)
		if err != nil {
			panic(err)
		}
		f.Hurry(time.Second)
		return f
	}
}

func TestS3_ARunWritesTheBytesOfALocalRunAndTheNextReadsNothing(t *testing.T) {
	server := buckettest.Start(t)
	s := variety(t)
	s.must(nil)
	want := s.objects(s.out())
	s.onS3(server)
	server.Fail(nil)
	r := s.must(func(o *Options) { o.bucket = nil })
	if got := s.downloaded("out"); !equal(got, want) {
		t.Errorf("other outputs: %d of %d; %v", len(got), len(want), r.Counts)
	}
	t.Logf("%d requests for %d models", len(server.Requests()), len(r.models))
	server.Fail(nil)
	r = s.must(func(o *Options) { o.bucket = nil })
	if n := r.Counts[outcome.Unchanged]; n != len(r.models)-1 {
		t.Errorf("the next run: %v", r.Counts)
	}
	lists := 0
	for _, request := range server.Requests() {
		switch {
		case strings.Contains(request, "list-type=2"):
			lists++
		case strings.HasPrefix(request, "PUT ") && strings.Contains(request, ".onnx"), strings.Contains(request, "/zoo/") && !strings.Contains(request, "damaged"):
			t.Errorf("%s", request)
		}
	}
	if lists > 2 {
		t.Errorf("%d lists: %q", lists, server.Requests())
	}
	t.Logf("%d requests where nothing has changed: %q", len(server.Requests()), server.Requests())
}

func TestS3_EachRequestOfARunMayFailInEachWay(t *testing.T) {
	s := newScene(t, 0)
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	s.external("one", 1)
	s.plain("plain.onnx", 2)
	s.must(nil)
	want := s.objects(s.out())
	step := 1
	if testing.Short() {
		step = 9
	}
	for _, fault := range buckettest.Faults {
		t.Run(string(fault), func(t *testing.T) {
			for number := 0; ; number += step {
				server := buckettest.Start(t)
				s := &scene{t: t, folder: s.folder, rules: s.rules}
				if err := os.RemoveAll(filepath.Join(s.folder, "cache")); err != nil {
					t.Fatal(err)
				}
				s.onS3(server)
				failed := ""
				server.Fail(func(k int, r *http.Request) buckettest.Fault {
					if k != number {
						return buckettest.None
					}
					failed = r.Method + " " + r.URL.RequestURI()
					return fault
				})
				r, err := s.run(context.Background(), func(o *Options) { hasty(o); o.Workers = 1 })
				server.Fail(nil)
				if got := s.downloaded("out"); err != nil || r.Counts[outcome.Folded] != 2 || !equal(got, want) || len(r.Notes) > 0 {
					t.Fatalf("request %d, %s: %v, %v, %q, %d outputs", number, failed, err, r.Counts, r.Notes, len(got))
				}
				if failed == "" {
					t.Logf("%d requests", number)
					return
				}
			}
		})
	}
}

func TestS3_AServiceThatStaysAwayFailsModelsAndLeavesNothingHalfDone(t *testing.T) {
	s := newScene(t, 0)
	s.rules = "models:\n  - match: '**/*.onnx'\n    verify: [parity]\n"
	s.external("one", 1)
	s.plain("plain.onnx", 2)
	s.must(nil)
	want := s.objects(s.out())
	for _, what := range []string{"GET /models/zoo/plain.onnx", "GET /models/zoo/one/weights.bin", "PUT /models/out/one/weights.bin", "PUT /models/out/one/model.onnx", "PUT /models/out/plain.onnx"} {
		server := buckettest.Start(t)
		s := &scene{t: t, folder: s.folder, rules: s.rules}
		if err := os.RemoveAll(filepath.Join(s.folder, "cache")); err != nil {
			t.Fatal(err)
		}
		s.onS3(server)
		server.Fail(func(_ int, r *http.Request) buckettest.Fault {
			if strings.HasPrefix(r.Method+" "+r.URL.Path, what) {
				return buckettest.Error
			}
			return buckettest.None
		})
		r := s.must(hasty)
		if r.Counts[outcome.Failed] != 1 || r.Counts[outcome.Folded] != 1 {
			t.Errorf("%s: %v", what, r.Counts)
		}
		server.Fail(nil)
		now := s.downloaded("out")
		for path, data := range now {
			if data != want[path] {
				t.Errorf("%s: %s is half done", what, path)
			}
		}
		if _, model := now["one/model.onnx"]; model && now["one/weights.bin"] == "" {
			t.Errorf("%s: the model is there without its weights", what)
		}
		if r := s.must(hasty); r.Counts[outcome.Failed] > 0 || !equal(s.downloaded("out"), want) {
			t.Errorf("%s: the next run does not mend it: %v", what, r.Counts)
		}
	}
}
