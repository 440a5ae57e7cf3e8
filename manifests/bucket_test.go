package manifests_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/manifests"
)

func TestParse_TakesFoldersInBuckets(t *testing.T) {
	t.Setenv("BUCKET", "s3://models")
	m, err := manifests.Parse("models.yaml", []byte("version: 1\nzoo: ${BUCKET}/zoo/\nout: gs://models/zoo\nmodels: [{match: '*.onnx'}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m.ZooURL == nil || m.ZooURL.String() != "s3://models/zoo" || m.Zoo != m.ZooURL.Path() || m.OutURL == nil || m.OutURL.Scheme != "gs" {
		t.Errorf("%+v", m)
	}
	dir := t.TempDir()
	m, err = manifests.Parse("models.yaml", []byte("version: 1\nzoo: file://"+dir+"/zoo\nout: out\nmodels: [{match: '*.onnx'}]\n"))
	if err != nil || m.ZooURL != nil || m.Zoo != filepath.Join(dir, "zoo") {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestParse_RefusesBucketsThatOverlapAndURLsWithSecrets(t *testing.T) {
	for places, want := range map[string]string{
		"zoo: s3://models/zoo\nout: s3://models/zoo":               "models.yaml:3:6: the zoo s3://models/zoo and the output folder are one",
		"zoo: s3://models/zoo\nout: s3://models/zoo/folded":        "models.yaml:3:6: the zoo s3://models/zoo and the output folder are one",
		"zoo: s3://models/zoo/a\nout: s3://models?region=eu":       "models.yaml:3:6: the zoo s3://models/zoo/a and the output folder are one",
		"zoo: s3://key:secret@models/zoo\nout: out":                "models.yaml:2:6: not a URL of a folder in a bucket: credentials come from the environment",
		"zoo: zoo\nout: azblob://models/out?sig=secret":            "models.yaml:3:6: not a URL of a folder in a bucket: ?sig= has no place in it",
		"zoo: https://models.example.org/zoo?key=secret\nout: out": "models.yaml:2:6: not a URL of a folder in a bucket: its scheme is none of s3, gs, azblob, file",
	} {
		_, err := manifests.Parse("models.yaml", []byte("version: 1\n"+places+"\nmodels: [{match: '*.onnx'}]\n"))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", places, err)
		}
	}
}
