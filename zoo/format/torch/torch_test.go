package torch_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/torch"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Torch, Seeds: 60, Damages: 600}.Run(t)
}

// member is one file of an archive.
type member struct {
	name string // below the folder
	data []byte
}

// members are those of a program.
func members(t testing.TB, path string) (list []member) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, m := range z.File {
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(m.Name, "/")
		list = append(list, member{name, data})
	}
	return list
}

// archive writes members as a .pt2 file.
func archive(t testing.TB, list []member, method uint16) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program.pt2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, m := range list {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "program/" + m.name, Method: method})
		if err == nil {
			_, err = w.Write(m.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// generated is a small program with edits: of texts in its members, from and to in turn.
func generated(t testing.TB, seed uint64, edits ...string) string {
	t.Helper()
	path, _, err := zootest.Torch(seed, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list := members(t, path)
	for k := 0; k < len(edits); k += 2 {
		done := false
		for i := range list {
			if strings.HasSuffix(list[i].name, ".json") && bytes.Contains(list[i].data, []byte(edits[k])) {
				list[i].data = bytes.ReplaceAll(list[i].data, []byte(edits[k]), []byte(edits[k+1]))
				done = true
			}
		}
		if !done {
			t.Fatalf("no member has %s", edits[k])
		}
	}
	return archive(t, list, zip.Store)
}

const (
	programText   = "models/model.json"
	weightsText   = "data/weights/model_weights_config.json"
	constantsText = "data/constants/model_constants_config.json"
)

func TestOpen_BadFilesGetOneClearError(t *testing.T) {
	with := func(edit func([]member) []member) func(*testing.T) string {
		return func(t *testing.T) string {
			return archive(t, edit(members(t, generated(t, 1))), zip.Store)
		}
	}
	without := func(name string) func(*testing.T) string {
		return with(func(list []member) []member {
			return slices.DeleteFunc(list, func(m member) bool { return m.name == name })
		})
	}
	text := func(edits ...string) func(*testing.T) string {
		return func(t *testing.T) string { return generated(t, 1, edits...) }
	}
	raw := func(edit func([]byte) []byte) func(*testing.T) string {
		return func(t *testing.T) string {
			path, _, err := zootest.Torch(1, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, edit(data), 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	for _, test := range []struct {
		name string
		path func(*testing.T) string
		want error
		text string
	}{
		{"no file", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none.pt2") }, os.ErrNotExist, "none.pt2"},
		{"a folder", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "folder.pt2")
			if err := os.Mkdir(path, 0o777); err != nil {
				t.Fatal(err)
			}
			return path
		}, format.ErrCorrupt, "not a file"},
		{"empty", raw(func([]byte) []byte { return nil }), format.ErrCorrupt, "not a ZIP file"},
		{"cut off", raw(func(b []byte) []byte { return b[:len(b)/2] }), format.ErrCorrupt, "cut off"},
		{"the program is damaged", raw(func(b []byte) []byte {
			b[bytes.Index(b, []byte(`"graph_module"`))+3] ^= 1
			return b
		}), format.ErrCorrupt, "checksum"},
		{"compressed", func(t *testing.T) string { return archive(t, members(t, generated(t, 1)), zip.Deflate) }, format.ErrLimit, "compressed"},
		{"a size that lies", raw(func(b []byte) []byte {
			at := bytes.Index(b, []byte("PK\x01\x02"))
			binary.LittleEndian.PutUint32(b[at+20:], 1<<30)
			binary.LittleEndian.PutUint32(b[at+24:], 1<<30)
			return b
		}), format.ErrCorrupt, "the archive has"},
		{"members that overlap", raw(func(b []byte) []byte {
			first := bytes.Index(b, []byte("PK\x01\x02"))
			second := first + 4 + bytes.Index(b[first+4:], []byte("PK\x01\x02"))
			copy(b[second+42:second+46], b[first+42:first+46])
			return b
		}), format.ErrCorrupt, "its bytes are those of"},
		{"a member twice", with(func(list []member) []member { return append(list, list[0]) }), format.ErrCorrupt, "twice"},
		{"a member elsewhere", with(func(list []member) []member { return append(list, member{"../../x", nil}) }), format.ErrOutside, "outside"},
		{"big endian", with(func(list []member) []member {
			for k := range list {
				if list[k].name == "byteorder" {
					list[k].data = []byte("big")
				}
			}
			return list
		}), format.ErrLimit, "byte order"},
		{"no program", without(programText), format.ErrCorrupt, "no program"},
		{"several programs", with(func(list []member) []member { return append(list, member{"models/other.json", []byte("{}")}) }), format.ErrLimit, "2 programs"},
		{"no weights", without(weightsText), format.ErrCorrupt, weightsText},
		{"pickled weights", with(func(list []member) []member {
			for k := range list {
				if list[k].name == weightsText {
					list[k].name = "data/weights/model.pt"
				}
			}
			return list
		}), format.ErrLimit, "again with a newer one"},
		{"an older archive", func(t *testing.T) string {
			return archive(t, []member{{"serialized_exported_program.json", []byte("{}")}}, zip.Store)
		}, format.ErrLimit, "again with a newer one"},
		{"a checkpoint", func(t *testing.T) string { return archive(t, []member{{"data.pkl", nil}}, zip.Store) }, format.ErrCorrupt, "without a graph"},
		{"no constants", without(constantsText), format.ErrCorrupt, constantsText},
		{"no record", without("data/weights/weight_2"), format.ErrCorrupt, "no record data/weights/weight_2"},
		{"a short record", with(func(list []member) []member {
			for k := range list {
				if list[k].name == "data/weights/weight_0" {
					list[k].data = list[k].data[:8]
				}
			}
			return list
		}), format.ErrCorrupt, "are not in record weight_0"},
		{"another schema", text(`"major": 8`, `"major": 9`), format.ErrLimit, "schema version 9"},
		{"no schema", text(`"schema_version"`, `"schema"`), format.ErrCorrupt, "schema_version"},
		{"no nodes", text(`"nodes":`, `"node":`), format.ErrCorrupt, "no graph"},
		{"no outputs", with(func(list []member) []member {
			for k := range list {
				list[k].data = regexp.MustCompile(`"outputs": \[[^\]]*\], "nodes"`).ReplaceAll(list[k].data, []byte(`"outputs": [], "nodes"`))
			}
			return list
		}), format.ErrCorrupt, "returns no tensor"},
		{"an unknown dtype", text(`"dtype": 7`, `"dtype": 77`), format.ErrLimit, "dtype 77"},
		{"another layout", text(`"layout": 7`, `"layout": 2`), format.ErrLimit, "layout 2"},
		{"a negative size", text(`"sizes": [{"as_int": 8}]`, `"sizes": [{"as_int": -8}]`), format.ErrCorrupt, "size 0"},
		{"huge strides", text(`"strides": [{"as_int": 1}]`, `"strides": [{"as_int": 99999999999}]`), format.ErrCorrupt, "are not in record"},
		{"a name that is not in the graph", text(`{"name": "input", "arg": {"as_tensor": {"name": "x"}}`, `{"name": "input", "arg": {"as_tensor": {"name": "y"}}`), format.ErrCorrupt, `reads "y"`},
		{"a parameter that is not stored", text(`"parameter_name": "layers.conv.weight"`, `"parameter_name": "gone"`), format.ErrCorrupt, `"gone"`},
		{"inputs in another order", text(`"input_specs": [`, `"input_specs": [{"token": {}}, `), format.ErrCorrupt, "inputs"},
		{"an output twice", text(`"outputs": [{"as_tensor": {"name": "batch_norm"}}]`, `"outputs": [{"as_tensor": {"name": "conv2d"}}]`), format.ErrCorrupt, "there already"},
		{"deep JSON", text(`"guards_code": []`, `"guards_code": `+strings.Repeat("[", 500)+strings.Repeat("]", 500)), format.ErrLimit, "within each other"},
		{"no JSON", text(`"guards_code": []`, `"guards_code": `), format.ErrCorrupt, "JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := test.path(t)
			f, err := format.Open(t.Context(), path, format.Options{})
			if err == nil {
				f.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("%v\nwant %v, with %q", err, test.want, test.text)
			}
		})
	}
}

// folded folds a program, and returns what it was and what was written.
func folded(t *testing.T, path string) (before, after *model.Model, written string) {
	t.Helper()
	return foldedAs(t, path, fold.Options{})
}

func foldedAs(t *testing.T, path string, o fold.Options) (before, after *model.Model, written string) {
	t.Helper()
	open := func(path string) format.File {
		f, err := format.Open(t.Context(), path, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	f := open(path)
	if _, err := fold.Fold(t.Context(), f.Model(), o); err != nil {
		t.Fatal(err)
	}
	out := formattest.Folder{Path: t.TempDir(), Name: "folded.pt2"}
	if _, err := f.Write(t.Context(), out, cpu.New(1)); err != nil {
		t.Fatal(err)
	}
	written = filepath.Join(out.Path, out.Name)
	return open(path).Model(), open(written).Model(), written
}

func TestWrite_NoticesDamagedRecords(t *testing.T) {
	path, _, err := zootest.Torch(1, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[64*3] ^= 1 // of the first kernel
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := format.Open(t.Context(), path, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fold.Fold(t.Context(), f.Model(), fold.Options{}); err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(t.Context(), formattest.Folder{Path: t.TempDir(), Name: "folded.pt2"}, cpu.New(1))
	if !errors.Is(err, format.ErrCorrupt) || !strings.Contains(err.Error(), "weight_0") || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("%v", err)
	}
}

// A folded convolution has the bias that its module would have, and the normalisation's tensors are gone from every list.
func TestWrite_FoldedNormalisationsLeaveNothing(t *testing.T) {
	biases := 0
	for seed := range uint64(40) {
		_, _, path := folded(t, generated(t, seed))
		all := map[string]string{}
		for _, m := range members(t, path) {
			all[m.name] = string(m.data)
		}
		for _, name := range []string{programText, weightsText} {
			for k := range 8 {
				module := "layers.bn"
				if k > 0 {
					module = fmt.Sprintf("layers.bn_%d", k)
				}
				if strings.Contains(all[programText], `"`+module+`.running_mean"`) {
					continue // it is left
				}
				for _, part := range []string{".weight", ".bias", ".running_var", ".num_batches_tracked"} {
					if strings.Contains(all[name], `"`+module+part+`"`) {
						t.Errorf("seed %d: %s still has %s%s", seed, name, module, part)
					}
				}
			}
		}
		if strings.Contains(all[weightsText], `"layers.conv.bias"`) {
			biases++
		}
		for name := range all {
			record, ok := strings.CutPrefix(name, "data/weights/weight_")
			if ok && !strings.Contains(all[weightsText], `"weight_`+record+`"`) {
				t.Errorf("seed %d: nobody reads the record %s", seed, name)
			}
		}
		if !strings.Contains(all[weightsText], `"unused"`) {
			t.Errorf("seed %d: a parameter that nobody read is gone", seed)
		}
	}
	if biases == 0 {
		t.Error("no convolution has a bias called after it")
	}
}

func TestWrite_AlignsRecordsAsPyTorchDoes(t *testing.T) {
	_, _, path := folded(t, generated(t, 2))
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, m := range z.File {
		at, err := m.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		if at%64 != 0 {
			t.Errorf("%s begins at byte %d", m.Name, at)
		}
	}
}

func TestWrite_KeepsUnknownFields(t *testing.T) {
	path := generated(t, 3, `"metadata": {"stack_trace"`, `"new_field": [1.50, null], "metadata": {"stack_trace"`, `"guards_code": []`, `"guards_code": [], "newer": {"b": 1e-07, "a": "\u00e4"}`)
	_, _, written := folded(t, path)
	for _, m := range members(t, written) {
		if m.name == programText {
			for _, text := range []string{`"new_field": [1.50, null]`, `"newer": {"b": 1e-07, "a": "\u00e4"}`} {
				if !bytes.Contains(m.data, []byte(text)) {
					t.Errorf("the folded program lacks %s", text)
				}
			}
		}
	}
}

// Programs of older versions have no names of nodes.
func TestOpen_NodesNeedNoNames(t *testing.T) {
	for seed := range uint64(10) {
		before, after, _ := folded(t, generated(t, seed, `"is_hop_single_tensor_return": null, "name"`, `"is_hop_single_tensor_return": null, "called"`))
		if fold.Count(after) >= fold.Count(before) {
			t.Errorf("seed %d: nothing is folded", seed)
		}
	}
}

// reads are the names of what the node reads whose output has that name.
func reads(m *model.Model, output string) (names []string) {
	for _, n := range m.Graph.Nodes {
		if n.Out(0) != nil && n.Outputs[0].Name == output {
			for _, v := range n.Inputs {
				if v != nil {
					names = append(names, v.Name)
				}
			}
		}
	}
	return names
}

// program writes a program of these nodes, over an input x and a weight p_w: nodes are targets, inputs (tensors, or numbers behind #) and outputs.
func program(t *testing.T, nodes ...string) string {
	t.Helper()
	var list, values []string
	meta := `{"dtype": 7, "sizes": [{"as_int": 1}, {"as_int": 4}], "requires_grad": false, "device": {"type": "cpu", "index": null}, "strides": [{"as_int": 4}, {"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7}`
	last := ""
	for _, n := range nodes {
		words := strings.Fields(n)
		var args []string
		for k, x := range words[1 : len(words)-1] {
			arg := `{"as_tensor": {"name": "` + x + `"}}`
			if number, ok := strings.CutPrefix(x, "#"); ok {
				arg = `{"as_float": ` + number + `}`
			}
			name := []string{"self", "other"}[k]
			if words[0] == "linear.default" {
				name = []string{"input", "weight"}[k]
			}
			args = append(args, fmt.Sprintf(`{"name": "%s", "arg": %s, "kind": 1}`, name, arg))
		}
		last = words[len(words)-1]
		list = append(list, fmt.Sprintf(`{"target": "torch.ops.aten.%s", "inputs": [%s], "outputs": [{"as_tensor": {"name": "%s"}}], "metadata": {}, "name": "%s"}`, words[0], strings.Join(args, ", "), last, last))
		values = append(values, fmt.Sprintf(`"%s": %s`, last, meta))
	}
	weight := strings.Replace(strings.Replace(meta, `"as_int": 1}, {"as_int": 4`, `"as_int": 4}, {"as_int": 4`, 1), `"x"`, `"p_w"`, 1)
	text := fmt.Sprintf(`{"graph_module": {"graph": {"inputs": [{"as_tensor": {"name": "p_w"}}, {"as_tensor": {"name": "x"}}], "outputs": [{"as_tensor": {"name": "%s"}}], "nodes": [%s], "tensor_values": {"x": %s, "p_w": %s, %s}}, "signature": {"input_specs": [{"parameter": {"arg": {"name": "p_w"}, "parameter_name": "w"}}, {"user_input": {"arg": {"as_tensor": {"name": "x"}}}}], "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "%s"}}}}]}}, "schema_version": {"major": 8, "minor": 99}}`,
		last, strings.Join(list, ", "), meta, weight, strings.Join(values, ", "), last)
	config := `{"config": {"w": {"path_name": "weight_0", "is_param": true, "use_pickle": false, "tensor_meta": ` + weight + `}}}`
	return archive(t, []member{{programText, []byte(text)}, {weightsText, []byte(config)}, {constantsText, []byte(`{"config": {}}`)}, {"data/weights/weight_0", bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, 16)}}, zip.Store)
}

func TestAliases_ReadersOfAWrittenStorageReadWhatWasWritten(t *testing.T) {
	for _, test := range []struct {
		name  string
		nodes []string
		of    string
		want  []string
	}{
		{"by its old name", []string{"abs.default x a", "relu_.default a b", "add.Tensor a b c"}, "c", []string{"b", "b"}},
		{"before it was written", []string{"abs.default x a", "neg.default a n", "relu_.default a b", "add.Tensor n b c"}, "n", []string{"a"}},
		{"by the name of what is the same", []string{"abs.default x a", "detach.default a d", "relu_.default a b", "add.Tensor d b c"}, "c", []string{"b", "b"}},
		{"by a view", []string{"abs.default x a", "view.default a v", "relu_.default a b", "add.Tensor v b c"}, "c", []string{"v/written", "b"}},
		{"of which it is a view", []string{"abs.default x a", "view.default a v", "relu_.default v b", "add.Tensor a b c"}, "c", []string{"a/written", "b"}},
		{"by a copy", []string{"abs.default x a", "clone.default a v", "relu_.default a b", "add.Tensor v b c"}, "c", []string{"v", "b"}},
		{"written twice", []string{"abs.default x a", "relu_.default a b", "neg_.default a c", "add.Tensor b c d"}, "d", []string{"c", "c"}},
		{"an input", []string{"relu_.default x b", "add.Tensor x b c"}, "c", []string{"b", "b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := format.Open(t.Context(), program(t, test.nodes...), format.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := reads(f.Model(), test.of); !slices.Equal(got, test.want) {
				t.Errorf("%s reads %q, want %q", test.of, got, test.want)
			}
		})
	}
}

// A multiplication goes into the convolution behind an activation, but where the activation would write into what others
// read then.
func TestAliases_MapsStayBeforeOperatorsThatWrite(t *testing.T) {
	for _, test := range []struct {
		name  string
		nodes []string
		left  int
	}{
		{"nobody else reads", []string{"abs.default x a", "mul.Tensor a #2 b", "relu_.default b c", "linear.default c p_w d"}, 0},
		{"others read", []string{"abs.default x a", "mul.Tensor a #2 b", "relu_.default b c", "linear.default c p_w d", "add.Tensor a d e"}, 1},
		{"others read, and nothing writes", []string{"abs.default x a", "mul.Tensor a #2 b", "relu.default b c", "linear.default c p_w d", "add.Tensor a d e"}, 0},
		{"others read a view", []string{"abs.default x a", "view.default a v", "mul.Tensor v #2 b", "relu_.default b c", "linear.default c p_w d", "add.Tensor a d e"}, 1},
		{"an input", []string{"mul.Tensor x #2 b", "relu_.default b c", "linear.default c p_w d"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, after, _ := folded(t, program(t, test.nodes...))
			if got := fold.Count(after); got != test.left {
				t.Errorf("%d maps are left, want %d", got, test.left)
			}
		})
	}
}

func TestOpen_LeavesUnknownOperatorsAlone(t *testing.T) {
	for _, node := range []string{"nothing_known.default x y", "view.default x y", "permute.default x y", "conv2d.default x y", "batch_norm.default x y", "cat.default x y", "pad.default x y", "softmax.int x y"} {
		f, err := format.Open(t.Context(), program(t, node), format.Options{})
		if err != nil {
			t.Errorf("%s: %v", node, err)
			continue
		}
		if n := f.Model().Graph.Nodes; len(n) != 1 {
			t.Errorf("%s: %d nodes", node, len(n))
		}
		f.Close()
	}
}
