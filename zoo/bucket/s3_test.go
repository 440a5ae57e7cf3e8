//go:build buckets

package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/bucket/buckettest"
)

func init() {
	services["S3"] = func(t *testing.T) func(URL) *Folder {
		buckettest.Start(t)
		return func(u URL) *Folder {
			f, err := Open(t.Context(), u)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
}

// impatient opens the folder of a server so that it notes its pauses instead of making them.
func impatient(t *testing.T, s *buckettest.Server) (f *Folder, pauses *[]time.Duration) {
	t.Helper()
	u, err := Parse("s3://" + s.Bucket + "/zoo")
	if err != nil {
		t.Fatal(err)
	}
	if f, err = Open(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	pauses = &[]time.Duration{}
	f.timing.pause = func(ctx context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		return ctx.Err()
	}
	return f, pauses
}

// work lists, reads, makes, replaces and removes, and is what is there then.
func work(f *Folder, large []byte) error {
	ctx := context.Background()
	if err := f.List(ctx); err != nil {
		return err
	}
	r, err := f.Open(ctx, "there")
	if err != nil {
		return err
	}
	defer r.Close()
	old, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		rel  string
		data []byte
	}{{"new", old}, {"large", large}, {"there", []byte("replaced")}, {"there", []byte("again")}} {
		if err := f.Put(ctx, x.rel, bytes.NewReader(x.data), int64(len(x.data))); err != nil {
			return err
		}
	}
	return f.Remove(ctx, "goes")
}

func TestS3_EachRequestMayFailInEachWayAndAllIsDone(t *testing.T) {
	large := make([]byte, 2*part+1000)
	for k := range large {
		large[k] = byte(rand.Uint32())
	}
	for _, fault := range append([]buckettest.Fault{buckettest.None}, buckettest.Faults...) {
		t.Run(string(fault), func(t *testing.T) {
			for number, more := 0, true; more; number++ {
				more = t.Run("", func(t *testing.T) {
					s := buckettest.Start(t)
					f, pauses := impatient(t, s)
					if fault == buckettest.Hangs {
						f.timing.answer, f.timing.stall, f.timing.upload = time.Second, time.Second, time.Second
					}
					for _, rel := range []string{"there", "goes"} {
						if err := f.Put(t.Context(), rel, strings.NewReader(strings.Repeat(rel, 1000)), int64(1000*len(rel))); err != nil {
							t.Fatal(err)
						}
					}
					failed := 0
					s.Fail(func(k int, _ *http.Request) buckettest.Fault {
						if k == number {
							failed++
							return fault
						}
						return buckettest.None
					})
					if err := work(f, large); err != nil {
						t.Fatalf("request %d of %q: %v", number, s.Requests(), err)
					}
					if failed > 0 && fault == buckettest.Busy && slices.Max(append(*pauses, 0)) < 7*time.Second {
						t.Errorf("request %d of %q: pauses of %v, want the 7 s that were asked for", number, s.Requests(), *pauses)
					}
					s.Fail(nil)
					now, _ := impatient(t, s)
					if err := now.List(t.Context()); err != nil {
						t.Fatal(err)
					}
					want := map[string]string{"there": "again", "new": strings.Repeat("there", 1000), "large": string(large)}
					for rel, content := range want {
						if get(t, now, rel) != content {
							t.Errorf("request %d: %s is not what was written", number, rel)
						}
					}
					if len(now.list) != len(want) {
						t.Errorf("request %d: %d objects", number, len(now.list))
					}
					uploads := openUploads(t, s)
					if strings.Contains(uploads, "<Upload>") && fault != buckettest.Late && fault != buckettest.Cut {
						t.Errorf("request %d: an upload of parts is left open: %s", number, uploads)
					}
					if failed == 0 && number < 15 {
						t.Fatalf("only %d requests were made", number)
					}
					if failed == 0 || fault == buckettest.None {
						t.SkipNow()
					}
				}) && !t.Failed() && number < 40 && fault != buckettest.None
			}
		})
	}
}

// openUploads is what the server says of uploads of parts that were neither completed nor aborted.
func openUploads(t *testing.T, s *buckettest.Server) string {
	t.Helper()
	answer, err := http.Get(s.URL + "/" + s.Bucket + "?uploads")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestS3_WhatFailsForGoodFailsOnceAndWritesNothing(t *testing.T) {
	large := make([]byte, 2*part+1000)
	for _, fault := range []buckettest.Fault{buckettest.Error, buckettest.Busy, buckettest.Unread, buckettest.Denied} {
		for _, what := range []string{"PUT", "POST", "HEAD"} {
			s := buckettest.Start(t)
			f, pauses := impatient(t, s)
			if err := f.List(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Fail(func(_ int, r *http.Request) buckettest.Fault {
				if r.Method == what && r.URL.Query().Get("uploadId") == "" {
					return fault
				}
				return buckettest.None
			})
			data := large
			if what == "PUT" { // of one part
				data = large[:1000]
			}
			err := f.Put(t.Context(), "m", bytes.NewReader(data), int64(len(data)))
			if err == nil || !strings.Contains(err.Error(), "s3://models/zoo/m") {
				t.Errorf("%s of %s: %v", fault, what, err)
			}
			if tries := len(*pauses) + 1; fault == buckettest.Denied && tries != 1 || fault != buckettest.Denied && tries < usual.tries {
				t.Errorf("%s of %s: %d tries", fault, what, tries)
			}
			s.Fail(nil)
			if err := f.List(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, there := f.list["m"]; there && what != "HEAD" { // whose answer is all that is missing
				t.Errorf("%s of %s: something was written", fault, what)
			}
			if uploads := openUploads(t, s); strings.Contains(uploads, "<Upload>") {
				t.Errorf("%s of %s: an upload of parts is left open", fault, what)
			}
		}
	}
}

func TestOpen_WithoutCredentialsSaysSo(t *testing.T) {
	s := buckettest.Start(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	_, err := Open(t.Context(), URL{Scheme: "s3", Bucket: s.Bucket})
	if err == nil || !strings.Contains(err.Error(), "no credentials were found") || errors.Is(err, ErrNotBuilt) {
		t.Error(err)
	}
}
