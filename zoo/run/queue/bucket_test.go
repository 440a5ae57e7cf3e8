//go:build buckets

package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/bucket/buckettest"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/run"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// depot is a scene whose zoo and outputs are on an S3. Every other model has its weights beside it.
type depot struct {
	*scene
	server *buckettest.Server
	want   map[string]string // the outputs of a run here, on folders
}

func newDepot(t *testing.T, models int, rules string) *depot {
	t.Helper()
	t.Setenv(cacheVariable, filepath.Join(t.TempDir(), "cache"))
	d := &depot{scene: newScene(t, models, rules), server: buckettest.Start(t)}
	zoo := filepath.Join(d.folder, "zoo")
	found, err := filepath.Glob(filepath.Join(zoo, "*", "*.onnx"))
	for k, path := range found {
		if k%2 == 0 && err == nil {
			var data, model, weights []byte
			if data, err = os.ReadFile(path); err == nil {
				name := strings.TrimSuffix(filepath.Base(path), ".onnx") + ".bin"
				if model, weights, err = zootest.External(data, name, 64); err == nil {
					err = errors.Join(os.WriteFile(path, model, 0o666), os.WriteFile(filepath.Join(filepath.Dir(path), name), weights, 0o666))
				}
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := must(t, nil, d.manifest, nil); r.Counts[outcome.Folded]+r.Counts[outcome.Copied] != models {
		t.Fatal(r.Counts)
	}
	d.want = d.outputs(t)
	f := d.open(t, "zoo")
	err = os.RemoveAll(filepath.Join(d.folder, "out"))
	for path, data := range files(t, zoo) {
		err = errors.Join(err, f.Put(t.Context(), filepath.ToSlash(path), strings.NewReader(data), int64(len(data))))
	}
	text, e := os.ReadFile(d.manifest)
	text = bytes.Replace(text, []byte("zoo: zoo\nout: out\n"), []byte("zoo: s3://models/zoo\nout: s3://models/out\n"), 1)
	if err = errors.Join(err, e, os.WriteFile(d.manifest, text, 0o666), os.RemoveAll(zoo)); err != nil {
		t.Fatal(err)
	}
	d.roots = []string{"s3://models/zoo", "s3://models/out"}
	return d
}

func (d *depot) open(t *testing.T, folder string) *bucket.Folder {
	t.Helper()
	f, err := bucket.Open(context.Background(), bucket.URL{Scheme: "s3", Bucket: d.server.Bucket, Prefix: folder})
	if err == nil {
		err = f.List(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// there are the objects in a folder, without what runs keep there.
func (d *depot) there(t *testing.T, folder string) map[string]string {
	t.Helper()
	f, list := d.open(t, folder), map[string]string{}
	for _, rel := range f.Below("") {
		if strings.HasPrefix(rel, ".zoofold/") {
			continue
		}
		r, err := f.Open(context.Background(), rel)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		list[rel] = string(data)
	}
	return list
}

func TestBuckets_OverTheQueueAreAsARunHere(t *testing.T) {
	const models = 24
	d := newDepot(t, models, "")
	before := d.there(t, "zoo")
	url := node(t, nil).ClientURL()
	stop := serve(t, url, d.scene, 3, nil)
	q := connect(t, url, "begins", nil)
	d.server.Fail(nil)
	r := must(t, q, d.manifest, nil)
	lists, requests := 0, d.server.Requests()
	for _, request := range requests {
		if strings.Contains(request, "list-type=2") {
			lists++
		}
	}
	if lists > 3 { // by who began the run: the zoo, and the outputs before and after it had the lock
		t.Errorf("folders were listed %d times", lists)
	}
	t.Logf("%d requests for %d models", len(requests), models)
	if r.Exit != run.ExitDone || len(r.Notes) > 0 || !maps.Equal(d.there(t, "out"), d.want) {
		t.Errorf("exit %d, %v, notes %q, %d outputs of %d", r.Exit, r.Counts, r.Notes, len(d.there(t, "out")), len(d.want))
	}
	d.server.Fail(nil)
	if again := must(t, q, d.manifest, nil); again.Counts[outcome.Unchanged] != models {
		t.Errorf("once more: %v", again.Counts)
	}
	for _, request := range d.server.Requests() {
		if strings.Contains(request, ".onnx") || strings.Contains(request, ".bin") {
			t.Errorf("once more: %s", request)
		}
	}
	stop()
	if local := must(t, nil, d.manifest, nil); local.Counts[outcome.Unchanged] != models {
		t.Errorf("a run here knows nothing of it: %v", local.Counts)
	}
	if !maps.Equal(before, d.there(t, "zoo")) {
		t.Error("the originals changed")
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv(cacheVariable), "work", "*")); len(left) > 0 {
		t.Errorf("%q are left in the cache", left)
	}
	empty(t, q)
}

func TestBuckets_AWorkerThatIsKilledAtAnOutputLosesNothing(t *testing.T) {
	for _, when := range []string{"before", "behind"} { // the output is there, and nobody hears of it
		t.Run(when, func(t *testing.T) {
			d := newDepot(t, 6, "verify: [predictions]")
			url := node(t, nil).ClientURL()
			q := connect(t, url, "begins", nil)
			victim, lines := child(t, "worker", url, strings.Join(d.roots, ","), "works")
			put, killed := make(chan struct{}, 1000), make(chan struct{})
			d.server.Fail(func(_ int, r *http.Request) buckettest.Fault {
				if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, ".onnx") {
					return buckettest.None
				}
				select {
				case <-killed:
					return buckettest.None
				case put <- struct{}{}:
				}
				if when == "behind" {
					return buckettest.Late
				}
				<-killed
				return buckettest.Unread
			})
			go func() {
				for lines.Scan() {
				}
			}()
			go func() {
				<-put
				if when == "behind" {
					<-put // it is tried again, and may be there
				}
				kill(t, victim)
				d.server.Fail(nil)
				close(killed)
				serve(t, url, d.scene, 2, nil)
			}()
			r := must(t, q, d.manifest, nil)
			if r.Exit != run.ExitDone || len(r.Notes) > 0 || !maps.Equal(d.there(t, "out"), d.want) {
				t.Errorf("exit %d, %v, notes %q, %d outputs of %d", r.Exit, r.Counts, r.Notes, len(d.there(t, "out")), len(d.want))
			}
			if again := must(t, q, d.manifest, nil); again.Counts[outcome.Unchanged] != 6 {
				t.Errorf("once more: %v", again.Counts)
			}
		})
	}
}

func TestBuckets_AWorkerWhoseRootsDoNotCoverThemTouchesNothing(t *testing.T) {
	d := newDepot(t, 2, "")
	d.roots = []string{"s3://models/zoo"}
	url := node(t, nil).ClientURL()
	serve(t, url, d.scene, 1, nil)
	d.server.Fail(nil)
	r := must(t, connect(t, url, "begins", nil), d.manifest, nil)
	for path, m := range r.models {
		if m.Status != outcome.Failed || !strings.Contains(m.Error, "s3://models/out "+run.ErrRoots.Error()) {
			t.Errorf("%s: %s, %s", path, m.Status, m.Error)
		}
	}
	for _, request := range d.server.Requests() {
		if strings.Contains(request, ".onnx") || strings.Contains(request, ".bin") {
			t.Error(request)
		}
	}
	if r.Exit != run.ExitFailed || len(r.models) != 2 || len(d.there(t, "out")) > 0 {
		t.Errorf("exit %d, %d outputs", r.Exit, len(d.there(t, "out")))
	}
}

func TestBuckets_ARunThatWasKilledGoesOn(t *testing.T) {
	const models = 20
	d := newDepot(t, models, "")
	url := node(t, nil).ClientURL()
	killed, lines := child(t, "begins", url, d.manifest)
	serve(t, url, d.scene, 2, nil)
	for range 5 {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "done") {
			t.Fatalf("the child says %q", lines.Text())
		}
	}
	kill(t, killed)
	if _, err := runOf(t.Context(), nil, d.manifest, nil); !errors.Is(err, run.ErrLocked) || !strings.Contains(err.Error(), "whose models are done by ") {
		t.Errorf("a run here meanwhile: %v", err)
	}
	q := connect(t, url, "begins", nil)
	r := must(t, q, d.manifest, nil)
	if r.Exit != run.ExitDone || len(r.Notes) > 0 || !maps.Equal(d.there(t, "out"), d.want) {
		t.Errorf("exit %d, %v, notes %q, %d outputs of %d", r.Exit, r.Counts, r.Notes, len(d.there(t, "out")), len(d.want))
	}
	empty(t, q)
	if here := must(t, nil, d.manifest, nil); here.Counts[outcome.Unchanged] != models {
		t.Errorf("here, after that: %v", here.Counts)
	}
}
