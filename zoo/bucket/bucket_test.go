package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
)

// services are buckets to test with, each new and empty. They open a folder again and again.
var services = map[string]func(*testing.T) func(URL) *Folder{
	"memory": func(*testing.T) func(URL) *Folder {
		b := memblob.OpenBucket(nil)
		return func(u URL) *Folder { return Over(u, b) }
	},
	"files": func(t *testing.T) func(URL) *Folder {
		b, err := fileblob.OpenBucket(t.TempDir(), &fileblob.Options{CreateDir: true, NoTempDir: true})
		if err != nil {
			t.Fatal(err)
		}
		return func(u URL) *Folder { return Over(u, b) }
	},
}

// everywhere runs a test on each service. open opens a folder of the same bucket anew, and has it listed.
func everywhere(t *testing.T, test func(t *testing.T, open func() *Folder)) {
	for name, make := range services {
		t.Run(name, func(t *testing.T) {
			s := make(t)
			test(t, func() *Folder {
				f := s(URL{Scheme: "s3", Bucket: "models", Prefix: "a/folder"})
				if err := f.List(t.Context()); err != nil {
					t.Fatal(err)
				}
				return f
			})
		})
	}
}

func put(t *testing.T, f *Folder, rel, content string) {
	t.Helper()
	if err := f.Put(t.Context(), rel, strings.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, f *Folder, rel string) string {
	t.Helper()
	r, err := f.Open(t.Context(), rel)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParse_TakesFoldersAndNothingSecret(t *testing.T) {
	for text, want := range map[string]URL{
		"s3://b":                         {"s3", "b", "", ""},
		"s3://b/":                        {"s3", "b", "", ""},
		"s3://b/a/zoo/":                  {"s3", "b", "a/zoo", ""},
		"s3://b/zoo?region=eu-central-1": {"s3", "b", "zoo", "eu-central-1"},
		"gs://models.example.org/a%20b":  {"gs", "models.example.org", "a b", ""},
		"azblob://container/zoo":         {"azblob", "container", "zoo", ""},
	} {
		if u, err := Parse(text); err != nil || u != want {
			t.Errorf("%s: %+v, %v", text, u, err)
		}
	}
	for _, text := range []string{
		"s3://key:secret@b/zoo", "s3://key@b/zoo", "s3://b/zoo?access_key=secret", "s3://b?region=a&region=b", "s3://b?region=", "gs://b?region=eu",
		"s3://b?endpoint=http://evil", "azblob://c?sas=secret", "s3:///zoo", "s3://b/a//b", "s3://b/../c", "s3://b/a/../../c", "http://b/zoo", "s3://b/zoo#x", "s3://b/%zz",
		"s3://b/zoo?x=%zz", "s3://se cret@b",
	} {
		_, err := Parse(text)
		if !errors.Is(err, ErrURL) {
			t.Errorf("%s: %v", text, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error says it: %v", text, err)
		}
	}
}

func TestFile_IsAFolderOfThisHost(t *testing.T) {
	for text, want := range map[string]string{"file:///data/zoo": "/data/zoo", "file://localhost/data/a%20b": "/data/a b"} {
		if path, ok, err := File(text); path != want || !ok || err != nil {
			t.Errorf("%s: %q, %v, %v", text, path, ok, err)
		}
	}
	for _, text := range []string{"file://host/data", "file:data", "file://u@/data", "file:///data?x=1", "file://"} {
		if _, ok, err := File(text); !ok || !errors.Is(err, ErrURL) {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
	if _, ok, err := File("data/zoo"); ok || err != nil {
		t.Errorf("a path: %v, %v", ok, err)
	}
}

func TestOverlaps_SaysWhetherOneFolderLiesInTheOther(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"s3://b", "s3://b/x", true}, {"s3://b/x", "s3://b/x", true}, {"s3://b/x", "s3://b/x/y", true}, {"s3://b/x", "s3://b/xy", false},
		{"s3://b/x", "s3://c/x", false}, {"s3://b/x", "gs://b/x", false}, {"s3://b/x?region=a", "s3://b/x/y?region=b", true},
	} {
		a, errA := Parse(test.a)
		b, errB := Parse(test.b)
		if errA != nil || errB != nil || a.Overlaps(b) != test.want || b.Overlaps(a) != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, a.Overlaps(b))
		}
	}
}

func TestPath_IsShownAsAURL(t *testing.T) {
	u, err := Parse("s3://b/a/zoo")
	if got := Shown(filepath.Join(u.Path(), "m.onnx") + ": corrupt"); err != nil || got != "s3://b/a/zoo/m.onnx: corrupt" {
		t.Error(got, err)
	}
}

func TestFolder_HasWhatIsPutThere(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		want := map[string]string{"model.onnx": "model", "deep/er/weights.bin": "weights", "deep/empty": ""}
		for rel, content := range want {
			put(t, f, rel, content)
		}
		for k, f := range []*Folder{f, open()} { // what it knows, and what a list says
			for rel, content := range want {
				info, err := f.Stat(t.Context(), rel)
				if err != nil || info.Size() != int64(len(content)) || info.Name() != filepath.Base(rel) || !info.Mode().IsRegular() || get(t, f, rel) != content {
					t.Errorf("%d: %s: %+v, %v", k, rel, info, err)
				}
			}
			names := ""
			for _, rel := range []string{"", "deep", "deep/er"} {
				list, err := f.ReadDir(rel)
				if err != nil {
					t.Error(err)
				}
				for _, e := range list {
					names += fmt.Sprint(e.Name(), e.IsDir(), " ")
				}
			}
			if names != "deeptrue model.onnxfalse emptyfalse ertrue weights.binfalse " {
				t.Errorf("%d: %s", k, names)
			}
			if info, err := f.Stat(t.Context(), "deep"); err != nil || !info.IsDir() {
				t.Error(info, err)
			}
			for _, rel := range []string{"nothing", "deep/nothing", "mode"} {
				if _, err := f.Stat(t.Context(), rel); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v", rel, err)
				}
				if _, err := f.Open(t.Context(), rel); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v", rel, err)
				}
				if err := f.Remove(t.Context(), rel); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v", rel, err)
				}
			}
		}
		one, err := f.Stat(t.Context(), "model.onnx")
		two, e := open().Stat(t.Context(), "model.onnx")
		if err = errors.Join(err, e); err != nil || one.Version() != two.Version() || !one.ModTime().Equal(two.ModTime()) {
			t.Errorf("written and listed are not the same: %+v, %+v, %v", one, two, err)
		}
		if err := f.Remove(t.Context(), "deep/er/weights.bin"); err != nil {
			t.Error(err)
		}
		if _, err := f.ReadDir("deep/er"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the empty folder: %v", err)
		}
		if now := open(); len(now.list) != 2 {
			t.Errorf("%d objects are left", len(now.list))
		}
	})
}

func TestPut_WritesTheHashOfTheContentBeside(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		put(t, f, "m", "abc")
		a, err := f.attributes(t.Context(), "m")
		if err != nil || a.Metadata[hashKey] != "06b05ab6733a618578af5f94892f3950" { // XXH3_128bits of "abc", by xxhsum -H2
			t.Error(a, err)
		}
	})
}

func TestFolder_ChangesNothingThatSomebodyElseChanged(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		first := open()
		put(t, first, "there", "1")
		put(t, first, "goes", "1")
		f, other := open(), open()
		put(t, other, "there", "22")
		put(t, other, "new", "22")
		if err := other.Remove(t.Context(), "goes"); err != nil {
			t.Fatal(err)
		}
		for _, rel := range []string{"there", "new", "goes"} {
			if err := f.Put(t.Context(), rel, strings.NewReader("mine"), 4); !errors.Is(err, ErrChanged) {
				t.Errorf("put %s: %v", rel, err)
			}
		}
		for _, rel := range []string{"there", "goes"} {
			r, err := f.Open(t.Context(), rel)
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if !errors.Is(err, ErrChanged) {
				t.Errorf("read %s: %v", rel, err)
			}
		}
		if err := f.Remove(t.Context(), "there"); !errors.Is(err, ErrChanged) {
			t.Errorf("remove: %v", err)
		}
		if now := open(); get(t, now, "there") != "22" || get(t, now, "new") != "22" || len(now.list) != 2 {
			t.Error("something was changed all the same")
		}
		if err := f.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		put(t, f, "there", "mine")
		put(t, f, "there", "mine again")
		if get(t, open(), "there") != "mine again" {
			t.Error("what the folder knows now cannot be replaced")
		}
	})
}

func TestAppend_PiecesAreOneFile(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		if _, err := f.OpenWhole(t.Context(), "ledger"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		want := map[string]bool{}
		for k := range 3 {
			f := open()
			a, err := f.Append(t.Context(), "ledger")
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for j := range 20 {
				line := fmt.Sprintf("line %d of %d\n", j, k)
				want[line] = true
				all.Go(func() {
					if n, err := io.WriteString(a, line); err != nil || n != len(line) {
						t.Error(n, err)
					}
				})
			}
			all.Wait()
			lines(t, open(), want)
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			now := open()
			lines(t, now, want)
			if n := len(now.Below("ledger.d")); n != k+1 {
				t.Errorf("%d pieces after %d runs", n, k+1)
			}
		}
		f = open()
		if err := f.Replace(t.Context(), "ledger", strings.NewReader("all\n"), 4); err != nil {
			t.Fatal(err)
		}
		a, err := f.Append(t.Context(), "ledger")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(a, "more\n"); err != nil {
			t.Fatal(err)
		}
		now := open()
		lines(t, now, map[string]bool{"all\n": true, "more\n": true})
		if n := len(now.Below("ledger.d")); n != 1 {
			t.Errorf("%d pieces are left", n)
		}
		two, err := now.Append(t.Context(), "ledger")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(a, "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(two, "b"); !errors.Is(err, ErrChanged) {
			t.Errorf("two write the same piece: %v", err)
		}
	})
}

func TestAppend_JoinsWhatRunsLeftThatWereKilled(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		a, err := open().Append(t.Context(), "ledger")
		want := map[string]bool{}
		for k := range manyPieces + 5 {
			line := fmt.Sprintf("line %d\n", k)
			want[line] = true
			if err == nil {
				_, err = io.WriteString(a, line)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		next := open()
		lines(t, next, want)
		b, err := next.Append(t.Context(), "ledger")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(open().Below("ledger.d")); n != 1 {
			t.Errorf("%d pieces", n)
		}
		want["last\n"] = true
		if _, err := io.WriteString(b, "last\n"); err != nil {
			t.Fatal(err)
		}
		lines(t, next, want)
		lines(t, open(), want)
	})
}

// lines fails the test unless the ledger has those lines, each once.
func lines(t *testing.T, f *Folder, want map[string]bool) {
	t.Helper()
	r, err := f.OpenWhole(t.Context(), "ledger")
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		got[line] = true
	}
	if len(got) != len(want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
	for line := range want {
		if !got[line] {
			t.Errorf("%q is missing", line)
		}
	}
}

func TestLock_IsOnesAlone(t *testing.T) {
	no := func(string) bool { return false }
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		unlock, err := f.Lock(t.Context(), "lock", "process 1", no)
		if err != nil {
			t.Fatal(err)
		}
		held, yes := errors.AsType[*HeldError](second(open().Lock(t.Context(), "lock", "process 2", no)))
		if !yes || !strings.Contains(held.Who, "process 1") {
			t.Errorf("a second: %v", held)
		}
		put(t, f, "x", "1")
		if err := unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := f.head(t.Context(), "lock"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is left: %v", err)
		}
		if unlock, err = open().Lock(t.Context(), "lock", "process 2", no); err != nil {
			t.Fatal(err)
		}
		defer unlock(t.Context())
		third := open()
		again, err := third.Lock(t.Context(), "lock", "process 3", func(who string) bool { return who == "process 2" })
		if err != nil {
			t.Fatalf("one whose holder is gone: %v", err)
		}
		put(t, third, "x", "2")
		if err := again(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestLock_ThatWasNotRenewedIsTakenAndItsOwnerWritesNothing(t *testing.T) {
	no := func(string) bool { return false }
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		f.timing.lease, f.timing.renew = time.Nanosecond, time.Hour
		unlock, err := f.Lock(t.Context(), "lock", "process 1", no)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Put(t.Context(), "x", strings.NewReader("1"), 1); !errors.Is(err, ErrLost) {
			t.Errorf("a write: %v", err)
		}
		other := open()
		other.timing.lease, other.timing.renew = -time.Hour, time.Hour // the other's is over long since
		release, err := other.Lock(t.Context(), "lock", "process 2", no)
		if err != nil {
			t.Fatal(err)
		}
		if err := unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := other.head(t.Context(), "lock"); err != nil {
			t.Errorf("the first one removed the second's: %v", err)
		}
		if err := release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCache_BringsObjectsOnceAndKeepsToItsSize(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		content := func(k int) string { return strings.Repeat(string(rune('a'+k)), 100) }
		for k := range 5 {
			put(t, f, fmt.Sprintf("m%d/model", k), content(k))
		}
		folder := t.TempDir()
		c, err := OpenCache(folder, 320)
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.Workspace()
		if err != nil {
			t.Fatal(err)
		}
		bring := func(f *Folder, k int) error {
			return w.Bring(t.Context(), f, fmt.Sprintf("m%d/model", k), filepath.Join(w.Path(), fmt.Sprintf("%p/m%d/model", f, k)))
		}
		has := func() (names string) {
			list, err := c.contents()
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range list {
				data := read(t, c.content(x.name))
				names += data[:1]
			}
			return names
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := bring(f, 0); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, k := range []int{1, 2} {
			if err := bring(f, k); err != nil {
				t.Fatal(err)
			}
		}
		again := open()
		if err := again.service.Delete(t.Context(), "m0/model"); err != nil { // from now on the cache alone has it
			t.Fatal(err)
		}
		for _, k := range []int{0, 3, 4} {
			if err := bring(again, k); err != nil {
				t.Fatalf("%d: %v", k, err)
			}
		}
		if got := has(); got != "ade" {
			t.Errorf("the cache has %s", got)
		}
		for k := range 3 { // what was brought stays the workspace's
			if got := read(t, filepath.Join(w.Path(), fmt.Sprintf("%p/m%d/model", f, k))); got != content(k) {
				t.Errorf("%d: %s", k, got)
			}
		}
		put(t, f, "m4/model", "another")
		if err := bring(f, 4); err != nil {
			t.Error(err)
		}
		if got := read(t, filepath.Join(w.Path(), fmt.Sprintf("%p/m4/model", f))); got != "another" {
			t.Errorf("the new version: %s", got)
		}
		if again, err := OpenCache(folder, 320); err != nil { // another process leaves the workspace alone
			t.Error(err)
		} else if _, err := filepath.Glob(again.folder); err != nil || read(t, filepath.Join(w.Path(), fmt.Sprintf("%p/m1/model", f))) != content(1) {
			t.Error("the workspace was swept")
		}
		_ = w.lock.Unlock() // its process ends
		if _, err := OpenCache(folder, 320); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(folder, "work", "*")); len(left) > 0 {
			t.Errorf("%q are left", left)
		}
	})
}

func TestCache_AWorkspaceHasAnAbsolutePath(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := OpenCache("cache", 10)
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Workspace()
	if err != nil || !filepath.IsAbs(w.Path()) {
		t.Error(w, err)
	}
}

func TestCache_WhatCannotBeReadLeavesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		put(t, f, "m", "old")
		put(t, open(), "m", "newer")
		folder := t.TempDir()
		c, err := OpenCache(folder, 1000)
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.Workspace()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(w.Path(), "m")
		if err := w.Bring(t.Context(), f, "m", path); !errors.Is(err, ErrChanged) {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		files := 0
		_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, _ error) error {
			if !d.IsDir() {
				files++
			}
			return nil
		})
		if files > 0 {
			t.Errorf("%d files are left", files)
		}
	})
}

// breaking is a bucket's content that breaks off.
type breaking struct {
	io.ReaderAt
	at int64
}

func (b breaking) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, errors.New("the disk fails")
	}
	return b.ReaderAt.ReadAt(p, off)
}

func TestPut_OfAFileThatCannotBeReadWritesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() *Folder) {
		f := open()
		data := bytes.Repeat([]byte("x"), 1<<20)
		err := f.Put(t.Context(), "m", breaking{bytes.NewReader(data), 1 << 19}, 1<<20)
		if !errors.Is(err, errContent) || !strings.Contains(err.Error(), "the disk fails") {
			t.Error(err)
		}
		if now := open(); len(now.list) > 0 {
			t.Error(slices.Collect(func(yield func(string) bool) {
				for k := range now.list {
					yield(k)
				}
			}))
		}
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCache_WorkspacesComeAndGoWhileOthersSweep(t *testing.T) {
	folder := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				c, err := OpenCache(folder, 1<<20)
				if err != nil {
					t.Error(err)
					return
				}
				w, err := c.Workspace()
				if err == nil {
					_, err = w.View()
				}
				if err == nil {
					err = w.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
