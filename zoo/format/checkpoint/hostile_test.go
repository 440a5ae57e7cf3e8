package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/torch/pickle"
	"github.com/zoofold/zoofold/zoo/format/zipped"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

// torchGlobal, call and so on are parts of pickles.
func global(module, name string) pickle.Global { return pickle.Global{Module: module, Name: name} }

func call(f pickle.Global, args ...pickle.Value) *pickle.Object {
	return &pickle.Object{Func: f, Args: &pickle.Tuple{Items: args}}
}

func storage(class, key string, count int64) *pickle.Persistent {
	return &pickle.Persistent{ID: &pickle.Tuple{Items: []pickle.Value{"storage", global("torch", class), key, "cpu", count}}}
}

func tensorOf(s pickle.Value, offset int64, shape, strides []int64) *pickle.Object {
	return call(global("torch._utils", "_rebuild_tensor_v2"), s, offset, pickle.IntTuple(shape), pickle.IntTuple(strides), false, call(global("collections", "OrderedDict")))
}

func dict(items ...pickle.Value) *pickle.Dict {
	d := &pickle.Dict{}
	for k := 0; k+1 < len(items); k += 2 {
		d.Items = append(d.Items, pickle.Item{Key: items[k], Value: items[k+1]})
	}
	return d
}

// zipOf is a file with a pickle and members: names and contents in turn.
func zipOf(t testing.TB, v pickle.Value, members ...string) string {
	t.Helper()
	text, err := pickle.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.pt")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zipped.NewWriter(f)
	members = append([]string{"data.pkl", string(text)}, members...)
	for k := 0; k+1 < len(members); k += 2 {
		if err := w.Bytes(zip.FileHeader{Name: "archive/" + members[k]}, []byte(members[k+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen_RefusesHostileCheckpoints(t *testing.T) {
	eight := strings.Repeat("\x00", 8)
	one := tensorOf(storage("FloatStorage", "0", 2), 0, []int64{2}, []int64{1})
	deep := pickle.Value(one)
	for range 600 {
		deep = &pickle.List{Items: []pickle.Value{deep}}
	}
	for name, test := range map[string]struct {
		value   pickle.Value
		members []string
		says    string
	}{
		"os.system":                    {dict("a", one, "x", call(global("os", "system"), "ls")), []string{"data/0", eight}, "os.system"},
		"eval":                         {dict("a", one, "x", call(global("builtins", "eval"), "1")), []string{"data/0", eight}, "builtins.eval"},
		"a whole module":               {call(global("torchvision.models.resnet", "ResNet")), nil, "torchvision.models.resnet.ResNet"},
		"torch's own, but no data":     {dict("a", one, "x", call(global("torch", "load"), "f")), []string{"data/0", eight}, "torch.load"},
		"a storage that is missing":    {dict("a", one), nil, "is not in the file"},
		"a storage that lies":          {dict("a", one), []string{"data/0", eight[:4]}, "has 2 elements"},
		"a storage of 2^62":            {dict("a", tensorOf(storage("FloatStorage", "0", 1<<62), 0, []int64{2}, []int64{1})), []string{"data/0", eight}, "elements"},
		"a negative storage":           {dict("a", tensorOf(storage("FloatStorage", "0", -1), 0, []int64{2}, []int64{1})), []string{"data/0", eight}, "number of elements"},
		"a type that nobody knows":     {dict("a", tensorOf(storage("MagicStorage", "0", 2), 0, []int64{2}, []int64{1})), []string{"data/0", eight}, "MagicStorage"},
		"a storage of two types":       {dict("a", one, "b", tensorOf(storage("IntStorage", "0", 2), 0, []int64{2}, []int64{1})), []string{"data/0", eight}, "two types"},
		"beyond its storage":           {dict("a", tensorOf(storage("FloatStorage", "0", 2), 1, []int64{2}, []int64{1})), []string{"data/0", eight}, "are not in storage"},
		"a negative offset":            {dict("a", tensorOf(storage("FloatStorage", "0", 2), -1, []int64{2}, []int64{1})), []string{"data/0", eight}, "are not in storage"},
		"a stride that overflows":      {dict("a", tensorOf(storage("FloatStorage", "0", 2), 0, []int64{3, 3}, []int64{1 << 62, 1 << 62})), []string{"data/0", eight}, "are not in storage"},
		"a negative stride":            {dict("a", tensorOf(storage("FloatStorage", "0", 2), 1, []int64{2}, []int64{-1})), []string{"data/0", eight}, "are not in storage"},
		"extents that overflow":        {dict("a", tensorOf(storage("FloatStorage", "0", 2), 0, []int64{1 << 40, 1 << 40}, []int64{0, 0})), []string{"data/0", eight}, "are not in storage"},
		"sizes without strides":        {dict("a", tensorOf(storage("FloatStorage", "0", 2), 0, []int64{2}, nil)), []string{"data/0", eight}, "not read"},
		"a tensor of nothing":          {dict("a", call(global("torch._utils", "_rebuild_tensor_v2"))), nil, "not read"},
		"a parameter of a parameter":   {dict("a", call(global("torch._utils", "_rebuild_parameter"), call(global("torch._utils", "_rebuild_parameter"), one))), []string{"data/0", eight}, "of a parameter"},
		"a name twice":                 {dict("a", one, "a", one), []string{"data/0", eight}, "there twice"},
		"no tensors":                   {dict("a", int64(1)), nil, "no dict of tensors"},
		"a number":                     {int64(1), nil, "no dict of tensors"},
		"TorchScript":                  {dict("a", one), []string{"data/0", eight, "code/m.py", "x"}, "TorchScript"},
		"big endian":                   {dict("a", one), []string{"data/0", eight, "byteorder", "big"}, "byte order"},
		"a storage that is a part":     {dict("a", tensorOf(&pickle.Persistent{ID: &pickle.Tuple{Items: []pickle.Value{"storage", global("torch", "FloatStorage"), "0", "cpu", int64(2), &pickle.Tuple{Items: []pickle.Value{"1"}}}}}, 0, []int64{2}, []int64{1})), []string{"data/0", eight}, "part of another"},
		"an identifier that is a list": {dict("a", tensorOf(&pickle.Persistent{ID: &pickle.List{}}, 0, []int64{2}, []int64{1})), nil, "identifier"},
	} {
		path := zipOf(t, test.value, test.members...)
		_, err := format.Open(t.Context(), path, format.Options{})
		if err == nil || !errors.Is(err, format.ErrCorrupt) && !errors.Is(err, format.ErrLimit) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, test.says)
		}
	}
	if _, err := pickle.Encode(dict("a", deep)); !errors.Is(err, pickle.ErrLimit) {
		t.Errorf("lists in lists: %v", err)
	}
}

func TestOpen_SaysWhatANonCheckpointIs(t *testing.T) {
	for says, text := range map[string]string{
		"neither a ZIP file nor a pickle": "hello",
		"none of torch.save":              "\x80\x02N.",
		"not a ZIP file":                  "PK\x03\x04",
		"before 0.1.10":                   strings.Repeat("\x00", 257) + "ustar" + strings.Repeat("\x00", 250),
		"code":                            "\x80\x02i.",
	} {
		path := filepath.Join(t.TempDir(), "m.bin")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := format.Open(t.Context(), path, format.Options{})
		if err == nil || !errors.Is(err, format.ErrCorrupt) && !errors.Is(err, format.ErrLimit) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want one that says %q", err, says)
		}
	}
}

// TorchScript's code is compressed, which no member of a checkpoint is.
func TestOpen_NamesTorchScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.pt")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.Create("m/code/__torch__/m.py")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(strings.Repeat("def forward", 100)))
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := format.Open(t.Context(), path, format.Options{}); !errors.Is(err, format.ErrLimit) || !strings.Contains(err.Error(), "TorchScript") {
		t.Error(err)
	}
}

// A tensor that others see too, under another name or within their elements, stays as it is.
func TestTensors_ThatShareElementsStay(t *testing.T) {
	floats := func(n int) string { return strings.Repeat("\x00\x00\x80\x3f", n) }
	vector := func(key string) *pickle.Object {
		return tensorOf(storage("FloatStorage", key, 2), 0, []int64{2}, []int64{1})
	}
	w := tensorOf(storage("FloatStorage", "0", 6), 0, []int64{2, 1, 1, 1}, []int64{1, 1, 1, 1})
	for name, other := range map[string]pickle.Value{
		"the same tensor":   w,
		"the same elements": tensorOf(storage("FloatStorage", "0", 6), 1, []int64{3}, []int64{1}),
	} {
		norm := []pickle.Value{"bn.weight", vector("1"), "bn.bias", vector("2"), "bn.running_mean", vector("3"), "bn.running_var", vector("4")}
		members := []string{"data/0", floats(6), "data/1", "\x00\x00\x00\x40\x00\x00\x00\x40", "data/2", floats(2), "data/3", floats(2), "data/4", floats(2)}
		o := format.Options{State: format.State{Epsilon: 1e-5, Pairs: []format.Pair{{Linear: "conv", Norm: "bn"}}}}
		alone := zipOf(t, dict(append([]pickle.Value{"conv.weight", w}, norm...)...), members...)
		if before, after := read(t, alone), read(t, formattest.Written(t, alone, o)); bytes.Equal(before, after) {
			t.Error("a tensor of its own stayed")
		}
		shared := zipOf(t, dict(append([]pickle.Value{"conv.weight", w, "other", other}, norm...)...), members...)
		if before, after := read(t, shared), read(t, formattest.Written(t, shared, o)); !bytes.Equal(before, after) {
			t.Errorf("%s: it was changed", name)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzCheckpoint opens, folds and writes files of any bytes.
func FuzzCheckpoint(f *testing.F) {
	o := format.Options{State: format.State{Epsilon: 1e-5, Pairs: []format.Pair{{Linear: `(.*)\.conv(\d+)`, Norm: `$1.bn$2`}, {Linear: "up", Norm: "up_bn", Transposed: true}}}}
	formattest.Fuzz(f, zootest.Checkpoint, "m.pt", o, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
}

// FuzzPickle does so with the pickle of a ZIP file, whose checksums are right.
func FuzzPickle(f *testing.F) {
	one := tensorOf(storage("FloatStorage", "0", 2), 0, []int64{2}, []int64{1})
	text, err := pickle.Encode(dict("bn.running_var", one, "bn.running_mean", one, "conv.weight", one))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "m.pt")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w := zipped.NewWriter(file)
		err = errors.Join(w.Bytes(zip.FileHeader{Name: "a/data.pkl"}, text), w.Bytes(zip.FileHeader{Name: "a/data/0"}, make([]byte, 8)), w.Close(), file.Close())
		if err != nil {
			t.Fatal(err)
		}
		formattest.Try(t, path, format.Options{State: format.State{Epsilon: 1e-5, Pairs: []format.Pair{{Linear: "conv", Norm: "bn"}}}})
	})
}

// index writes an index of one shard, m.bin, which is a file that zipOf wrote.
func index(t *testing.T, shard, text string) string {
	t.Helper()
	if err := os.Rename(shard, filepath.Join(filepath.Dir(shard), "m.bin")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(shard), "pytorch_model.bin.index.json")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen_RefusesHostileIndexes(t *testing.T) {
	a := tensorOf(storage("FloatStorage", "0", 2), 0, []int64{2}, []int64{1})
	for name, test := range map[string]struct {
		value pickle.Value
		text  string
		says  string
	}{
		"a shard that is missing":         {dict("a", a), `{"weight_map": {"a": "m.bin", "b": "n.bin"}}`, "n.bin"},
		"a tensor that is missing":        {dict("a", a), `{"weight_map": {"a": "m.bin", "b": "m.bin"}}`, "does not hold"},
		"a tensor that is not said":       {dict("a", a, "b", a), `{"weight_map": {"a": "m.bin"}}`, "does not list"},
		"a shard elsewhere":               {dict("a", a), `{"weight_map": {"a": "../m.bin"}}`, "outside"},
		"shards of another kind":          {dict("a", a), `{"weight_map": {"a": "m.safetensors"}}`, "no .bin file"},
		"a shard with dicts in it":        {dict("model", dict("a", a)), `{"weight_map": {"a": "m.bin"}}`, "within each other"},
		"a shard that is no dict":         {a, `{"weight_map": {"a": "m.bin"}}`, "m.bin: it holds no dict"},
		"a shard that calls for a system": {dict("a", a, "b", call(global("os", "system"), "true")), `{"weight_map": {"a": "m.bin"}}`, "os.system"},
	} {
		path := index(t, zipOf(t, test.value, "data/0", "12345678"), test.text)
		_, err := format.Open(t.Context(), path, format.Options{})
		if err == nil || !errors.Is(err, format.ErrCorrupt) && !errors.Is(err, format.ErrLimit) || !strings.Contains(err.Error(), test.says) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: %v, want one that says %q", name, err, test.says)
		}
	}
}
