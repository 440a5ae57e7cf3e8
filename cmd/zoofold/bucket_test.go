//go:build buckets

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/zoofold/zoofold/zoo/bucket"
	"github.com/zoofold/zoofold/zoo/bucket/buckettest"
	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

func init() { buildFlags = []string{"-tags", "buckets"} }

// depot is a workshop whose zoo and outputs are on an S3.
type depot struct {
	*workshop
	server *buckettest.Server
}

func newDepot(t *testing.T, models int) *depot {
	d := &depot{newWorkshop(t, "  - match: '**/*.onnx'\n    verify: [parity]\n"), buckettest.Start(t)}
	f := d.open("zoo")
	put := func(name string, data []byte) {
		if err := f.Put(t.Context(), name, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
	}
	for n := range models {
		kind := zootest.Kinds[n%len(zootest.Kinds)]
		data, err := kind.Bytes(uint64(n+1), 4, 2)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s/%d", kind.Name, n)
		if n%2 == 0 {
			model, weights, err := zootest.External(data, "weights.bin", 64)
			if err != nil {
				t.Fatal(err)
			}
			put(name+"/weights.bin", weights)
			data = model
		}
		put(name+"/model.onnx", data)
	}
	text := "version: 1\nzoo: s3://models/zoo\nout: s3://models/out\nmodels: [{match: '**/*.onnx', verify: [parity]}]\n"
	if err := os.WriteFile(d.manifest(), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *depot) open(folder string) *bucket.Folder {
	d.t.Helper()
	f, err := bucket.Open(context.Background(), bucket.URL{Scheme: "s3", Bucket: d.server.Bucket, Prefix: folder})
	if err == nil {
		err = f.List(context.Background())
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return f
}

// there are the objects in a folder; the outputs without the report and the run's state.
func (d *depot) there(folder string) map[string]string {
	d.t.Helper()
	f := d.open(folder)
	list := map[string]string{}
	for _, rel := range f.Below("") {
		if strings.HasPrefix(rel, ".zoofold/") || strings.HasPrefix(rel, "report") {
			continue
		}
		r, err := f.Open(context.Background(), rel)
		if err != nil {
			d.t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			d.t.Fatal(err)
		}
		list[rel] = string(data)
	}
	return list
}

func (d *depot) args(more ...string) []string {
	return append([]string{"-cache", filepath.Join(d.folder, "cache"), "-j", "2"}, more...)
}

func TestBuckets_ThePlainProgramFoldsThemByTheOneInItsFolder(t *testing.T) {
	d := newDepot(t, 2)
	folder := t.TempDir()
	program := filepath.Join(folder, "zoofold")
	data, err := os.ReadFile(realProgram(t))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "zoofold-buckets"), data, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := d.command(d.args("-quiet")...)
	c.Path = program
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 || len(d.there("out")) != 3 {
		t.Errorf("%v: %s: %q", err, out, slices.Sorted(maps.Keys(d.there("out"))))
	}
	c = d.command(d.args("-quiet")...)
	c.Env = append(c.Environ(), driversFor+"=another")
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "zoofold another") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestBuckets_ARunThatIsKilledAtAnyRequestLeavesWholeOutputsAndTheNextDoesTheRest(t *testing.T) {
	first := newDepot(t, 4)
	if o := first.run(first.args()...); o.exit != 0 || o.stderr != "" {
		t.Fatalf("exit %d: %s", o.exit, o.stderr)
	}
	want, report := first.there("out"), first.open("out")
	if _, err := report.Stat(t.Context(), "report.html"); err != nil || len(want) != 6 {
		t.Fatalf("%d outputs: %q, %v", len(want), slices.Sorted(maps.Keys(want)), err)
	}
	kills := oracle.Setting(t, "ZOOFOLD_KILLS", 10)
	for k := range kills {
		d := newDepot(t, 4)
		before := d.there("zoo")
		at := 5 + k*100/kills
		c := d.command(d.args("-quiet")...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		killed := ""
		d.server.Fail(func(number int, r *http.Request) buckettest.Fault {
			if number >= at {
				once.Do(func() {
					killed = r.Method + " " + r.URL.RequestURI()
					_ = c.Process.Kill()
				})
				if number == at && number%2 == 0 {
					return buckettest.None // the request is done, and nobody hears of it
				}
				return buckettest.Unread
			}
			return buckettest.None
		})
		_ = c.Wait()
		d.server.Fail(nil)
		what := fmt.Sprintf("killed at request %d, %s", at, killed)
		now := d.there("out")
		for name, data := range now {
			if data != want[name] {
				t.Errorf("%s: %s is half done", what, name)
			}
			if weights := strings.TrimSuffix(name, "model.onnx") + "weights.bin"; now[name] != "" && want[weights] != "" && now[weights] == "" {
				t.Errorf("%s: %s is there without its weights", what, name)
			}
		}
		o := d.run(d.args()...)
		if o.exit != 0 || o.stderr != "" || len(o.notes) > 0 || !maps.Equal(d.there("out"), want) {
			t.Fatalf("%s: the next run ends with %d: %s %q %v", what, o.exit, o.stderr, o.notes, o.why)
		}
		if o := d.run(d.args()...); o.exit != 0 || len(o.status) != 4 || slices.ContainsFunc(slices.Collect(maps.Values(o.status)), func(s string) bool { return s != "unchanged" }) {
			t.Errorf("%s: the run after the next: %v", what, o.status)
		}
		if !maps.Equal(before, d.there("zoo")) {
			t.Errorf("%s: the originals changed", what)
		}
		if left, _ := filepath.Glob(filepath.Join(d.folder, "cache", "work", "*")); len(left) > 0 {
			t.Errorf("%s: %q are left in the cache", what, left)
		}
	}
}

func TestBuckets_AWorkerOfAQueueFoldsModelsOfBuckets(t *testing.T) {
	d := newDepot(t, 4)
	if o := d.run(d.args()...); o.exit != 0 {
		t.Fatalf("exit %d: %s", o.exit, o.stderr)
	}
	want := d.there("out")
	d = newDepot(t, 4)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	w := exec.Command(realProgram(t), "worker", "-queue", s.ClientURL(), "-root", "s3://models/zoo", "-root", "s3://models/out", "-device", "cpu", "-cache", filepath.Join(d.folder, "other"))
	var said bytes.Buffer
	w.Stdout, w.Stderr, w.Env = &said, &said, append(os.Environ(), "ONNXRUNTIME_LIB=none")
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	o := d.run(d.args("-queue", s.ClientURL())...)
	if o.exit != 0 || o.stderr != "" || len(o.notes) > 0 || !maps.Equal(d.there("out"), want) {
		t.Errorf("exit %d: %s %q %v", o.exit, o.stderr, o.notes, o.why)
	}
	if err := errors.Join(w.Process.Signal(os.Interrupt), w.Wait()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said.String(), "below s3://models/zoo, s3://models/out") || strings.Count(said.String(), "/model.onnx ") != 4 {
		t.Error(said.String())
	}
	if o := d.run(d.args()...); o.exit != 0 || slices.ContainsFunc(slices.Collect(maps.Values(o.status)), func(s string) bool { return s != "unchanged" }) {
		t.Errorf("a run without workers: %v", o.status)
	}
	if left, _ := filepath.Glob(filepath.Join(d.folder, "*", "work", "*")); len(left) > 0 {
		t.Errorf("%q are left in caches", left)
	}
}

func TestBuckets_ARunThatAnotherOneIsInTheWayOfEndsWith3(t *testing.T) {
	d := newDepot(t, 2)
	var once sync.Once
	var second told
	d.server.Fail(func(_ int, r *http.Request) buckettest.Fault {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".onnx") {
			once.Do(func() { second = d.run(d.args()...) })
		}
		return buckettest.None
	})
	o := d.run(d.args()...)
	if o.exit != 0 || second.exit != exitLocked || !strings.Contains(second.stderr, "s3://models/out is locked by another run: process ") {
		t.Errorf("the first ends with %d, the second with %d: %s", o.exit, second.exit, second.stderr)
	}
}

func TestBuckets_WhatTheManifestSaysOfThemIsChecked(t *testing.T) {
	d := newDepot(t, 1)
	for places, want := range map[string]string{
		"zoo: s3://models/zoo\nout: s3://models/zoo/out":           "the output folder are one, or one lies in the other",
		"zoo: s3://models/zoo\nout: s3://models":                   "the output folder are one, or one lies in the other",
		"zoo: s3://key:secret@models/zoo\nout: s3://models/out":    "credentials come from the environment",
		"zoo: s3://models/zoo?secret=secret\nout: s3://models/out": "has no place in it",
		"zoo: s3://models/nothing\nout: s3://models/out":           "matches no file below s3://models/nothing",
		"zoo: s3://nowhere/zoo\nout: s3://models/out":              "nowhere",
		"zoo: http://models/zoo\nout: out":                         "its scheme is none of s3, gs, azblob, file",
	} {
		text := "version: 1\n" + places + "\nmodels: [{match: '**/*.onnx'}]\n"
		if err := os.WriteFile(d.manifest(), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		o := d.run(d.args()...)
		if o.exit != exitUsage && !strings.Contains(places, "nowhere") || o.exit == 0 || !strings.Contains(o.stderr, want) || strings.Contains(o.stderr, ":secret@") {
			t.Errorf("%s: exit %d: %s", places, o.exit, o.stderr)
		}
	}
}
