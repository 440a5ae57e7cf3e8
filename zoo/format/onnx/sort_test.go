package onnx_test

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// differences are how far the outputs of two models lie apart in ONNX Runtime, relative to the largest value, for each pair.
func differences(t *testing.T, pairs ...string) []float64 {
	t.Helper()
	const script = `
import sys, numpy, onnxruntime
def run(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    s, rng = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), numpy.random.default_rng(1)
    return s.run(None, {i.name: rng.standard_normal([d if isinstance(d, int) else 2 for d in i.shape]).astype("float32") for i in s.get_inputs()})
for a, b in zip(sys.argv[1::2], sys.argv[2::2]):
    pairs = list(zip(run(a), run(b), strict=True))
    assert pairs and all(x.shape == y.shape for x, y in pairs)
    print(max(float(abs(x - y).max() / abs(x).max()) for x, y in pairs))
`
	cmd := exec.Command(oracle.Python(t, "numpy", "onnxruntime"), append([]string{"-c", script}, pairs...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var list []float64
	for _, word := range strings.Fields(string(out)) {
		x, err := strconv.ParseFloat(word, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
	if len(list) != len(pairs)/2 {
		t.Fatalf("%d answers for %d pairs", len(list), len(pairs)/2)
	}
	return list
}

// shuffled is a model file whose nodes are in another order.
func shuffled(t *testing.T, data []byte, rng *rand.Rand) []byte {
	t.Helper()
	split := func(data []byte) (fields [][]byte, numbers []protowire.Number) {
		for len(data) > 0 {
			number, _, n := protowire.ConsumeField(data)
			if n < 0 {
				t.Fatal("no protobuf")
			}
			fields, numbers, data = append(fields, data[:n]), append(numbers, number), data[n:]
		}
		return fields, numbers
	}
	var out []byte
	fields, numbers := split(data)
	for k, f := range fields {
		if numbers[k] != 7 {
			out = append(out, f...)
			continue
		}
		_, _, head := protowire.ConsumeTag(f)
		body, _ := protowire.ConsumeBytes(f[head:])
		inner, kinds := split(body)
		var nodes []int
		for k, kind := range kinds {
			if kind == 1 {
				nodes = append(nodes, k)
			}
		}
		was := slices.Clone(inner)
		for k, from := range rng.Perm(len(nodes)) {
			inner[nodes[k]] = was[nodes[from]]
		}
		out = append(out, field(7, inner...)...)
	}
	return out
}

// order are the names of a file's nodes, as stored.
func order(t *testing.T, path string) (names []string) {
	t.Helper()
	data := formattest.Read(t, path)
	graph := inside(t, data, 7)
	for len(graph) > 0 {
		number, kind, head := protowire.ConsumeTag(graph)
		n := protowire.ConsumeFieldValue(number, kind, graph[head:])
		if number == 1 {
			body, _ := protowire.ConsumeBytes(graph[head:])
			names = append(names, string(inside(t, body, 3)))
		}
		graph = graph[head+n:]
	}
	return names
}

// inside is the content of the first field of that number.
func inside(t *testing.T, data []byte, want protowire.Number) []byte {
	t.Helper()
	for len(data) > 0 {
		number, kind, head := protowire.ConsumeTag(data)
		n := protowire.ConsumeFieldValue(number, kind, data[max(head, 0):])
		if n < 0 {
			break
		}
		if number == want {
			body, _ := protowire.ConsumeBytes(data[head:])
			return body
		}
		data = data[head+n:]
	}
	t.Fatalf("there is no field %d", want)
	return nil
}

func TestUnsortedNodes_AreReadSortedAndKeepTheirOrder(t *testing.T) {
	outer := []string{"c"}
	branch := func(name string) []byte {
		return field(5, text(1, name), field(6, node("Relu", name+"_relu", outer, []string{name}), text(2, name), value(12, name)), number(20, 5))
	}
	models := generated(t)
	models["a body reads it"] = file(
		floats("w", []uint64{4, 3, 1, 1}, field(9, bytes.Repeat([]byte{0, 0, 0, 63, 0, 0, 64, 191}, 6))), floats("s", []uint64{4, 1, 1}, field(9, bytes.Repeat([]byte{0, 0, 0, 64}, 4))),
		field(5, number(2, 9), text(8, "yes"), field(9, []byte{1})),
		node("Conv", "conv", []string{"x", "w"}, []string{"d"}), node("Mul", "mul", []string{"d", "s"}, outer),
		node("If", "if", []string{"yes"}, []string{"y"}, branch("then_branch"), branch("else_branch")),
		value(11, "x", 1, 3, 4, 4), value(12, "y"))
	var names, pairs []string
	unsorted := 0
	for name, data := range models {
		rng := rand.New(rand.NewPCG(7, 1))
		sorted := write(t, data)
		was, err := format.Open(t.Context(), sorted, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer was.Close()
		want, err := fold.Fold(t.Context(), was.Model(), fold.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			path := write(t, shuffled(t, data, rng))
			f, err := format.Open(t.Context(), path, format.Options{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer f.Close()
			known := map[*model.Value]bool{}
			for _, n := range f.Model().Graph.Nodes {
				for _, v := range n.Inputs {
					if v != nil && v.Producer != nil && !known[v] {
						t.Errorf("%s: %v reads %q, which comes later", name, n, v.Name)
					}
				}
				for _, v := range n.Outputs {
					known[v] = true
				}
			}
			out := formattest.Folder{Path: t.TempDir(), Name: "m.onnx"}
			if _, err := f.Write(t.Context(), out, cpu.New(1)); err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(out.Path, out.Name)
			if !bytes.Equal(formattest.Read(t, copied), formattest.Read(t, path)) {
				t.Errorf("%s: a model that was not edited is written otherwise", name)
			}
			plan, err := fold.Fold(t.Context(), f.Model(), fold.Options{})
			if err != nil || plan.Before != want.Before || plan.After != want.After {
				t.Errorf("%s: %v, %d -> %d per-channel nodes, sorted it has %d -> %d", name, err, plan.Before, plan.After, want.Before, want.After)
			}
			out = formattest.Folder{Path: t.TempDir(), Name: "m.onnx"}
			if _, err := f.Write(t.Context(), out, cpu.New(1)); err != nil {
				t.Fatal(err)
			}
			folded := filepath.Join(out.Path, out.Name)
			before, after := order(t, path), order(t, folded)
			if left := slices.DeleteFunc(slices.Clone(before), func(s string) bool { return !slices.Contains(after, s) }); !slices.Equal(left, slices.DeleteFunc(after, func(s string) bool { return !slices.Contains(before, s) })) {
				t.Errorf("%s: the nodes %q are left as %q", name, before, after)
			}
			if !slices.Equal(before, order(t, sorted)) {
				unsorted++
			}
			names, pairs = append(names, name), append(pairs, sorted, folded)
		}
	}
	if unsorted < len(names)/2 {
		t.Errorf("only %d of %d files are unsorted", unsorted, len(names))
	}
	for k, d := range differences(t, pairs...) {
		if d > 1e-5 {
			t.Errorf("%s: ONNX Runtime's answers differ by %v", names[k], d)
		}
	}
}
