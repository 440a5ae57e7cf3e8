//go:build !buckets

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuckets_ABuildWithoutThemSaysSo(t *testing.T) {
	for _, places := range []string{"zoo: s3://models/zoo\nout: out\n", "zoo: .\nout: gs://models/out\n", "zoo: azblob://models/zoo\nout: s3://models/out\n"} {
		path := filepath.Join(t.TempDir(), "models.yaml")
		if err := os.WriteFile(path, []byte("version: 1\n"+places+"models: [{match: '*.onnx', optional: true}]\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr strings.Builder
		code := command([]string{"-manifest", path, "-device", "cpu", "-onnxruntime", "none", "-cache", t.TempDir()}, &stdout, &stderr)
		if code != exitUsage || !strings.Contains(stderr.String(), "no drivers of buckets") || !strings.Contains(stderr.String(), "://models/") {
			t.Errorf("%s: exit %d: %s", places, code, stderr.String())
		}
	}
}

// The program beside it is a script here, which prints what it was given.
func TestBuckets_ABuildWithoutThemGivesWayToTheOneInItsFolder(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "zoofold")
	data, err := os.ReadFile(realProgram(t))
	if err == nil {
		err = os.WriteFile(program, data, 0o777)
	}
	script := "#!/bin/sh\necho \"$*\" \"for $ZOOFOLD_DRIVERS_FOR\"\nexec cat\n"
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "zoofold-buckets"), []byte(script), 0o777)
	}
	manifest := "version: 1\nzoo: s3://models/zoo\nout: out\nmodels: [{match: '*.onnx'}]\n"
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "models.yaml"), []byte(manifest), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, args ...string) (string, error) {
		c := exec.Command(program, args...)
		c.Dir, c.Stdin = folder, strings.NewReader(stdin)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	said, err := run("", "-version")
	if err != nil {
		t.Fatal(said)
	}
	version := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(said, " go1", 2)[0], "zoofold "), "\n")
	if !strings.Contains(said, "buckets: s3, gs, azblob, by "+filepath.Join(folder, "zoofold-buckets")) {
		t.Error(said)
	}
	large := manifest + strings.Repeat("# more than a pipe holds\n", 5000)
	for _, c := range []struct{ stdin, args, reads string }{
		{"unread", "-manifest models.yaml -j 3", "unread"},
		{large, "-manifest - -j 3", large},
		{"", "worker -queue nats://localhost:1 -root s3://models/zoo", ""},
	} {
		got, err := run(c.stdin, strings.Fields(c.args)...)
		if want := c.args + " for " + version + "\n" + c.reads; err != nil || got != want {
			t.Errorf("%s: %v: got %.200q, want %.200q", c.args, err, got, want)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "zoofold-buckets"), data, 0o777); err != nil { // it has no drivers either
		t.Fatal(err)
	}
	if got, err := run("", "-manifest", "models.yaml"); err == nil || !strings.Contains(got, "built without the tag buckets") {
		t.Errorf("%v: %s", err, got)
	}
	t.Setenv(driversFor, "another version")
	if err := wayGiven(); err == nil || os.Getenv(driversFor) != "" {
		t.Errorf("got %v", err)
	}
}
