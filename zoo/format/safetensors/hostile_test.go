package safetensors_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// file is a file of that header, with so many bytes behind it.
func file(header string, bytes int) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header + strings.Repeat("\x00", bytes)
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOpen_RefusesHostileHeaders(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	for name, test := range map[string]struct {
		text, says string
	}{
		"nothing":                      {"", "no safetensors file"},
		"a length beyond the file":     {"\xff\xff\xff\xff\xff\xff\xff\xff{}", "was cut off"},
		"a length of 2^63":             {"\x00\x00\x00\x00\x00\x00\x00\x80{}", "was cut off"},
		"a header of 17 MB":            {file("{"+strings.Repeat(" ", 17<<20)+"}", 0), "a header of"},
		"no JSON":                      {file("[]", 0), "no JSON object"},
		"cut JSON":                     {file(`{"a":`, 0), "corrupt"},
		"something behind":             {file("{"+a+"}{}", 8), "something follows"},
		"a name twice":                 {file("{"+a+","+a+"}", 8), "is there twice"},
		"metadata twice":               {file(`{"__metadata__":{},"__metadata__":{}}`, 0), "is there twice"},
		"metadata of numbers":          {file(`{"__metadata__":{"a":1}}`, 0), "__metadata__"},
		"overlap":                      {file(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), "another tensor has its bytes"},
		"a hole":                       {file(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}`, 16), "no tensor has bytes"},
		"bytes behind":                 {file("{"+a+"}", 9), "something follows"},
		"bytes missing":                {file("{"+a+"}", 7), "cut off"},
		"a shape that lies":            {file(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), "are not bytes"},
		"a shape that overflows":       {file(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}`, 8), "shape"},
		"a negative extent":            {file(`{"a":{"dtype":"F32","shape":[-2,-1],"data_offsets":[0,8]}}`, 8), "shape"},
		"a negative offset":            {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}`, 8), "are not bytes"},
		"offsets the other way":        {file(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[8,0]}}`, 8), "are not bytes"},
		"one offset":                   {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}}`, 8), "data_offsets"},
		"a type that nobody knows":     {file(`{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}`, 8), "F33"},
		"a field that nobody knows":    {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8), "x"},
		"an extent that is no integer": {file(`{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}`, 8), "corrupt"},
	} {
		path := write(t, filepath.Join(t.TempDir(), "m.safetensors"), test.text)
		_, err := format.Open(t.Context(), path, format.Options{})
		if err == nil || !errors.Is(err, format.ErrCorrupt) && !errors.Is(err, format.ErrLimit) || !strings.Contains(err.Error(), test.says) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: %v, want one that says %q", name, err, test.says)
		}
	}
}

func TestOpen_RefusesHostileIndexes(t *testing.T) {
	shard := func(name string) string {
		return file(fmt.Sprintf(`{"%s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, name), 4)
	}
	for name, test := range map[string]struct {
		index, says string
	}{
		"a shard that is missing":   {`{"weight_map":{"a":"a.safetensors","c":"c.safetensors"}}`, "c.safetensors"},
		"a tensor listed twice":     {`{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}`, "second key"},
		"a shard under two names":   {`{"weight_map":{"a":"a.safetensors","b":"link.safetensors"}}`, "one file"},
		"another shard":             {`{"weight_map":{"a":"b.safetensors","b":"a.safetensors"}}`, "by the index"},
		"a tensor that is not said": {`{"weight_map":{"x":"a.safetensors"}}`, "does not list"},
		"a tensor that is missing":  {`{"weight_map":{"a":"a.safetensors","x":"a.safetensors"}}`, "does not hold"},
		"a shard outside":           {`{"weight_map":{"a":"../a.safetensors"}}`, "outside"},
		"an absolute path":          {`{"weight_map":{"a":"/a.safetensors"}}`, "outside"},
		"no file of tensors":        {`{"weight_map":{"a":"/etc/passwd"}}`, "no .safetensors file"},
		"no list":                   {`{"weight_map":[]}`, "weight_map"},
		"nothing":                   {`{"weight_map":{}}`, "no shards"},
		"itself":                    {`{"weight_map":{"a":"m.safetensors.index.json"}}`, "no .safetensors file"},
	} {
		folder := t.TempDir()
		write(t, filepath.Join(folder, "a.safetensors"), shard("a"))
		write(t, filepath.Join(folder, "b.safetensors"), shard("b"))
		if err := os.Symlink("a.safetensors", filepath.Join(folder, "link.safetensors")); err != nil {
			t.Skip(err)
		}
		path := write(t, filepath.Join(folder, "m.safetensors.index.json"), test.index)
		_, err := format.Open(t.Context(), path, format.Options{})
		if err == nil || !errors.Is(err, format.ErrCorrupt) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, test.says)
		}
	}
}

// Metadata, types that are only carried along and tensors that nothing touches stay byte for byte.
func TestWrite_KeepsMetadata(t *testing.T) {
	path, o, err := zootest.Safetensors(0, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(formattest.Written(t, path, o))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(out[8:]), `{"__metadata__":{"format":"pt","note":"a \"note\""},`) {
		t.Errorf("the header begins with %.60q", out[8:])
	}
	if len(out) < 16 || binary.LittleEndian.Uint64(out)%8 != 0 {
		t.Error("the elements do not begin on a multiple of 8 bytes")
	}
}

// FuzzHeader opens, folds and writes files of any bytes.
func FuzzHeader(f *testing.F) {
	o := format.Options{State: format.State{Epsilon: 1e-5, Pairs: []format.Pair{{Linear: `(.*)\.conv(\d+)`, Norm: `$1.bn$2`}, {Linear: "up", Norm: "up_bn", Transposed: true}}}}
	formattest.Fuzz(f, zootest.Safetensors, "m.safetensors", o, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
}
