//go:build !buckets

package main

import (
	"os"
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
		if code != exitUsage || !strings.Contains(stderr.String(), "this build of zoofold has no buckets") || !strings.Contains(stderr.String(), "://models/") {
			t.Errorf("%s: exit %d: %s", places, code, stderr.String())
		}
	}
}
