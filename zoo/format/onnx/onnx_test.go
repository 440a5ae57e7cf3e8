package onnx_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// generated is one model of every kind.
func generated(t testing.TB) map[string][]byte {
	out := map[string][]byte{}
	for _, k := range zootest.Kinds {
		data, err := k.Bytes(1, 4, 2)
		if err != nil {
			t.Fatal(err)
		}
		out[k.Name] = data
	}
	return out
}

func write(t testing.TB, data []byte) string {
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrite_UneditedModelIsCopiedByteForByte(t *testing.T) {
	paths, _ := filepath.Glob("../../../.cache/zoo/*/*/*.onnx") // what make fetch brought, if it did
	for _, data := range generated(t) {
		paths = append(paths, write(t, data))
	}
	for _, path := range paths {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := format.Open(t.Context(), path, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var out onnx.Memory
		if _, err := f.Write(context.Background(), &out, tensor.Reference{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: %d bytes became %d others", path, len(want), len(out.Bytes()))
		}
	}
}

func TestSuite(t *testing.T) {
	formattest.Suite{
		Generate: func(seed uint64, folder string) (string, format.Options, error) {
			path := filepath.Join(folder, "model.onnx")
			data, err := zootest.Kinds[seed%uint64(len(zootest.Kinds))].Bytes(seed, 4, 2)
			return path, format.Options{}, errors.Join(err, os.WriteFile(path, data, 0o666))
		},
		Seeds: 15, Damages: 400,
	}.Run(t)
}

// field is one length-delimited field.
func field(number protowire.Number, content ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), bytes.Join(content, nil))
}

func number(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
}

func text(n protowire.Number, s string) []byte { return field(n, []byte(s)) }

// file is a model around the fields of a graph.
func file(graph ...[]byte) []byte {
	return slices.Concat(number(1, 8), field(7, graph...), field(8, text(1, ""), number(2, 17)))
}

// node is a NodeProto.
func node(op, name string, inputs, outputs []string, attrs ...[]byte) []byte {
	var b []byte
	for _, s := range inputs {
		b = append(b, text(1, s)...)
	}
	for _, s := range outputs {
		b = append(b, text(2, s)...)
	}
	return field(1, b, text(3, name), text(4, op), bytes.Join(attrs, nil))
}

// floats is a float32 TensorProto.
func floats(name string, dims []uint64, rest ...[]byte) []byte {
	var b []byte
	for _, d := range dims {
		b = append(b, number(1, d)...)
	}
	return field(5, b, number(2, 1), text(8, name), bytes.Join(rest, nil))
}

// value is a ValueInfoProto of float32 in a graph's field.
func value(in protowire.Number, name string, dims ...uint64) []byte {
	var shape []byte
	for _, d := range dims {
		shape = append(shape, field(1, number(1, d))...)
	}
	return field(in, text(1, name), field(2, field(1, number(1, 1), field(2, shape))))
}

func TestOpen_HostileFilesGetOneClearErrorInBoundedMemory(t *testing.T) {
	deep := []byte{}
	for range 2000 {
		deep = field(1, text(4, "If"), field(5, text(1, "then_branch"), field(6, deep)))
	}
	manyNodes := bytes.Repeat(node("Relu", "", []string{"x"}, []string{"y"}), 1<<21+1)
	huge := floats("w", []uint64{1 << 30, 1 << 30}, field(9, make([]byte, 16)))
	for _, test := range []struct {
		name string
		data []byte
		want []string // parts of the message
		kind error
	}{
		{"empty", nil, []string{"empty"}, format.ErrCorrupt},
		{"text", []byte("hello, this is not a model at all"), nil, format.ErrCorrupt},
		{"a zip", append([]byte("PK\x03\x04"), make([]byte, 100)...), []string{"zip"}, format.ErrCorrupt},
		{"no graph", number(1, 8), []string{"no graph"}, format.ErrCorrupt},
		{"a length beyond the end", append(number(1, 8), protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.BytesType), 1<<40)...), []string{"byte "}, format.ErrCorrupt},
		{"a length of 2^64-1", append(number(1, 8), protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.BytesType), 1<<64-1)...), []string{"byte "}, format.ErrCorrupt},
		{"graphs in graphs in graphs", file(deep), nil, format.ErrLimit},
		{"more nodes than are granted", file(manyNodes), nil, format.ErrLimit},
		{"2^60 elements", file(huge, node("Relu", "r", []string{"w"}, []string{"y"}), value(12, "y")), []string{`"w"`}, format.ErrCorrupt},
		{"a negative extent", file(floats("w", []uint64{1<<64 - 4}, field(9, make([]byte, 16)))), []string{`"w"`}, format.ErrCorrupt},
		{"a value produced twice", file(node("Relu", "a", []string{"x"}, []string{"y"}), node("Relu", "b", []string{"x"}, []string{"y"}), value(11, "x", 1)), []string{`"y"`}, format.ErrCorrupt},
		{"a cycle", file(node("Relu", "a", []string{"z"}, []string{"y"}), node("Relu", "b", []string{"y"}, []string{"z"}), value(12, "z")), []string{`node 0 (Relu "a") reads what node 1 (Relu "b") makes, which depends on it`}, format.ErrCorrupt},
		{"a node that waits for itself", file(node("Relu", "a", []string{"y"}, []string{"y"}), value(12, "y")), []string{`node 0 (Relu "a") reads its own output`}, format.ErrCorrupt},
		{"an input that nobody makes", file(node("Relu", "a", []string{"x"}, []string{"y"}), value(12, "y")), []string{`node 0 (Relu "a"): byte`, `input "x" is not defined`}, format.ErrCorrupt},
		{"fewer bytes than the shape wants", file(floats("w", []uint64{4}, field(9, make([]byte, 12)))), []string{`"w"`}, format.ErrCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.data)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := format.Open(t.Context(), path, format.Options{})
			runtime.ReadMemStats(&after)
			if err == nil {
				f.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, test.kind) {
				t.Errorf("%v is no %v", err, test.kind)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
				t.Errorf("%q is not one clear line", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20+60*uint64(len(test.data)) {
				t.Errorf("%d MB were allocated for %d bytes", used>>20, len(test.data))
			}
		})
	}
}

func TestExternalData_OutsideTheFolderIsRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, make([]byte, 64), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, location := range []string{"../secret", outside, "a/../../secret", "link", "folder/secret"} {
		dir := t.TempDir()
		if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link")), os.Symlink(filepath.Dir(outside), filepath.Join(dir, "folder"))); err != nil {
			t.Fatal(err)
		}
		w := floats("w", []uint64{4}, field(13, text(1, "location"), text(2, location)), number(14, 1))
		path := filepath.Join(dir, "m.onnx")
		if err := os.WriteFile(path, file(w, node("Relu", "", []string{"w"}, []string{"y"}), value(12, "y", 4)), 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := format.Open(t.Context(), path, format.Options{})
		if err == nil {
			f.Close()
		}
		if !errors.Is(err, format.ErrOutside) {
			t.Errorf("%s: %v", location, err)
		}
	}
}

func TestExternalData_OverTwoGigabytesIsRescaledInPlace(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 4.5 GB")
	}
	const k, n = 1 << 15, 1<<14 + 100 // 2.16e9 bytes of float32
	dir, out := t.TempDir(), t.TempDir()
	data, err := os.Create(filepath.Join(dir, "weights.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	const last = int64(4*k*n - 4)
	one := []byte{0, 0, 0x80, 0x3f}
	if _, err := data.WriteAt(one, last); err != nil {
		t.Fatal(err)
	}
	if _, err := data.WriteAt(one, 0); err != nil {
		t.Fatal(err)
	}
	scale := make([]byte, 4*n)
	for c := range n {
		copy(scale[4*c:], []byte{0, 0, 0, 0x40}) // 2
	}
	path := filepath.Join(dir, "m.onnx")
	model := file(
		floats("w", []uint64{k, n}, field(13, text(1, "location"), text(2, "weights.bin")), number(14, 1)),
		floats("s", []uint64{n}, field(9, scale)),
		node("MatMul", "m", []string{"x", "w"}, []string{"h"}), node("Mul", "scale", []string{"h", "s"}, []string{"y"}),
		value(11, "x", 1, k), value(12, "y", 1, n))
	if err := os.WriteFile(path, model, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := format.Open(t.Context(), path, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plan, err := fold.Fold(t.Context(), f.Model(), fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if plan.After != 0 {
		t.Fatalf("%d -> %d: %+v", plan.Before, plan.After, plan.Maps)
	}
	if _, err := f.Write(context.Background(), formattest.Folder{Path: out, Name: "m.onnx"}, cpu.New(2)); err != nil {
		t.Fatal(err)
	}
	written, err := os.Open(filepath.Join(out, "weights.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer written.Close()
	for _, at := range []int64{0, last} {
		var b [4]byte
		if _, err := written.ReadAt(b[:], at); err != nil || b != [4]byte{0, 0, 0, 0x40} {
			t.Errorf("at byte %d: % x, %v", at, b, err)
		}
	}
	if info, err := written.Stat(); err != nil || info.Size() != last+4 {
		t.Errorf("size %v, %v", info, err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, data := range generated(f) { // minimising them takes long: run with -fuzzminimizetime=20x
		f.Add(data)
	}
	f.Add(file(floats("w", []uint64{4}, field(9, make([]byte, 16))), node("Relu", "r", []string{"w"}, []string{"y"}), value(12, "y", 4)))
	f.Add(field(7, field(1, text(4, "If"), field(5, text(1, "then_branch"), field(6, node("Relu", "", []string{"x"}, []string{"y"}))))))
	path := filepath.Join(f.TempDir(), "model.onnx")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		formattest.Try(t, path, format.Options{})
	})
}

func TestExternalData_TwoSpellingsOfAPathAreOneFile(t *testing.T) {
	dir := t.TempDir()
	tensor := func(name, location, offset string) []byte {
		entry := func(key, value string) []byte { return field(13, text(1, key), text(2, value)) }
		return floats(name, []uint64{4}, entry("location", location), entry("offset", offset), entry("length", "16"), number(14, 1))
	}
	data := slices.Concat(
		tensor("a", "w.bin", "0"), tensor("b", "./w.bin", "16"), tensor("c", "x/../w.bin", "32"),
		node("Add", "", []string{"a", "b"}, []string{"s"}), node("Add", "", []string{"s", "c"}, []string{"y"}), value(12, "y", 4))
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "m.onnx"), file(data), 0o666), os.WriteFile(filepath.Join(dir, "w.bin"), make([]byte, 48), 0o666)); err != nil {
		t.Fatal(err)
	}
	f, err := format.Open(t.Context(), filepath.Join(dir, "m.onnx"), format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if inputs := f.Inputs(); len(inputs) != 2 || inputs[1] != filepath.Join(dir, "w.bin") {
		t.Errorf("%q", inputs)
	}
	out := formattest.Folder{Path: t.TempDir(), Name: "m.onnx"}
	if _, err := f.Write(t.Context(), out, cpu.New(1)); err != nil {
		t.Error(err)
	}
}

func TestExternalData_ChecksumOfChangedBytesIsRemoved(t *testing.T) {
	dir := t.TempDir()
	entry := func(key, value string) []byte { return field(13, text(1, key), text(2, value)) }
	external := func(name, location, offset, length string, dims ...uint64) []byte {
		return floats(name, dims, entry("location", location), entry("checksum", "da39a3ee"), entry("offset", offset), entry("length", length), number(14, 1))
	}
	data := slices.Concat(
		external("w", "w.bin", "0", "16", 2, 2, 1, 1), external("unread", "w.bin", "16", "4", 1), external("other", "o.bin", "0", "4", 1),
		floats("s", []uint64{2, 1, 1}, field(9, []byte{0, 0, 0, 64, 0, 0, 64, 64})),
		node("Conv", "", []string{"x", "w"}, []string{"c"}), node("Mul", "", []string{"c", "s"}, []string{"y"}),
		value(11, "x", 1, 2, 4, 4), value(12, "y", 1, 2, 4, 4))
	for name, content := range map[string][]byte{"m.onnx": file(data), "w.bin": make([]byte, 20), "o.bin": make([]byte, 4)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f, err := format.Open(t.Context(), filepath.Join(dir, "m.onnx"), format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p, err := fold.Fold(t.Context(), f.Model(), fold.Options{}); err != nil || p.After != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	out := formattest.Folder{Path: t.TempDir(), Name: "m.onnx"}
	if _, err := f.Write(t.Context(), out, cpu.New(1)); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(filepath.Join(out.Path, "m.onnx"))
	if n := bytes.Count(written, []byte("checksum")); err != nil || n != 1 {
		t.Errorf("%d checksums are left, want that of o.bin alone: %v", n, err)
	}
}

func TestFiles_AreThoseOfExternalDataWhereverATensorStands(t *testing.T) {
	at := func(location string) []byte {
		return slices.Concat(number(2, 1), field(13, text(1, "location"), text(2, location)), number(14, 1))
	}
	inline := slices.Concat(number(2, 1), field(13, text(1, "location"), text(2, "unused.bin"))) // its elements are in the model file
	attr := func(n protowire.Number, content []byte) []byte { return field(5, text(1, "a"), field(n, content)) }
	body := field(5, at("body.bin"))
	graph := slices.Concat(
		field(5, at("./w.bin")), field(5, at("w.bin")), field(5, inline), field(15, field(1, at("sparse.bin")), field(2, at("indices.bin"))),
		node("Constant", "", nil, []string{"c"}, attr(5, at("constant.bin"))), node("X", "", nil, []string{"x"}, attr(10, at("list.bin"))),
		node("If", "", nil, []string{"y"}, attr(6, body), attr(11, field(1, attr(6, field(5, at("deep/deep.bin")))))),
	)
	model := slices.Concat(file(graph), field(25, text(1, "f"), field(7, attr(5, at("function.bin")))))
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := os.WriteFile(path, model, 0o666); err != nil {
		t.Fatal(err)
	}
	names, err := format.Files(t.Context(), path, format.Options{})
	want := []string{"w.bin", "sparse.bin", "indices.bin", "constant.bin", "list.bin", "body.bin", "deep/deep.bin", "function.bin"}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v, want %q", names, err, want)
	}
}

func TestFiles_OutsideTheFolderOrNestedWithoutEndAreErrors(t *testing.T) {
	outside := func(location string) []byte {
		return file(field(5, field(13, text(1, "location"), text(2, location)), number(14, 1)))
	}
	deep := []byte{}
	for range 200 {
		deep = field(1, field(5, field(6, deep)))
	}
	for name, test := range map[string]struct {
		model []byte
		want  error
	}{
		"above":    {outside("../w.bin"), format.ErrOutside},
		"absolute": {outside("/etc/passwd"), format.ErrOutside},
		"none":     {outside(""), format.ErrOutside},
		"nested":   {file(deep), format.ErrLimit},
		"cut":      {outside("w.bin")[:20], format.ErrCorrupt},
	} {
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := os.WriteFile(path, test.model, 0o666); err != nil {
			t.Fatal(err)
		}
		if names, err := format.Files(t.Context(), path, format.Options{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %q, %v, want %v", name, names, err, test.want)
		}
	}
}
