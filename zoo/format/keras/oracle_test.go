package keras_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/darknet"
	_ "github.com/zoofold/zoofold/zoo/format/keras"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/verify"
	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// lines runs the oracle and decodes what it prints, a JSON object a line.
func lines[T any](t *testing.T, args ...string) []T {
	t.Helper()
	t.Setenv("KERAS_BACKEND", "numpy")
	python := oracle.Python(t, "keras", "jax", "h5py", "onnxruntime")
	cmd := exec.Command(python, append([]string{"testdata/oracle.py"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		text := stderr.String()
		t.Fatalf("oracle %v: %v\n%s", args[0], err, text[max(0, len(text)-4000):])
	}
	var list []T
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		var x T
		if err := json.Unmarshal(s.Bytes(), &x); err == nil {
			list = append(list, x)
		}
	}
	return list
}

// comparison is how far the answers of a model are apart, relative to the largest of them.
type comparison struct {
	Name          string
	Folded        float64  // Keras on the folded file
	Named         bool     // inputs and outputs are called as before
	Read          float64  // ONNX Runtime on what we make of the original
	Runs          bool     // ONNX Runtime can run it: no convolutions of float16, and something could be exported
	Outputs       int      // that Read is about
	Before, After int      // layers
	Unloadable    bool     // Keras 3 does not load the original
	Types         []string // of the data sets of floats in the folded file, as NumPy writes them
}

// prepare folds FOLDER/models/NAME into FOLDER/folded, proves it, and exports the original into FOLDER/onnx.
func prepare(t *testing.T, folder, name string) *fold.Plan {
	t.Helper()
	path := filepath.Join(folder, "models", name)
	open := func(path string) format.File {
		f, err := format.Open(t.Context(), path, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	export(t, path, filepath.Join(folder, "onnx"), name+".onnx")
	f := open(path)
	plan, err := fold.Fold(t.Context(), f.Model(), fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := f.Write(context.Background(), formattest.Folder{Path: filepath.Join(folder, "folded"), Name: name}, verify.NewParity(cpu.New(2)))
	if err != nil {
		t.Fatal(err)
	}
	original, folded := open(path), open(filepath.Join(folder, "folded", name))
	verify.Rename(folded.Model(), renamed)
	r, err := verify.Algebra(context.Background(), original.Model(), folded.Model(), plan)
	if err != nil || r.Failed != "" || len(r.NotRun) > 0 {
		t.Errorf("algebra: %v %s %v", err, r.Failed, r.NotRun)
	}
	return plan
}

// export writes a model as ONNX, if ONNX has operators for anything of it.
func export(t *testing.T, path, folder, name string) {
	t.Helper()
	f, err := format.Open(t.Context(), path, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = onnx.Export(context.Background(), f.Model(), formattest.Folder{Path: folder, Name: name}, "", cpu.New(1))
	if err != nil && !errors.Is(err, format.ErrForeign) {
		t.Fatalf("export: %v", err)
	}
}

// left are the per-channel nodes that a plan leaves, but for what layers compute that are no map themselves: a GELU's division.
func left(p *fold.Plan) (list []string) {
	for _, m := range p.Maps {
		if m.Verdict != fold.Folded && !strings.Contains(m.Reason.Text, "is not a layer of its own") && !strings.Contains(m.Reason.Text, "is not understood") {
			list = append(list, m.Node+": "+m.Reason.Error())
		}
	}
	return list
}

func TestKeras_AgreesOnGeneratedModels(t *testing.T) {
	if testing.Short() {
		t.Skip("the oracle takes its time")
	}
	folder := t.TempDir()
	only := strings.Fields(os.Getenv("KERAS_CASES")) // names of cases; all where it is not set
	models := lines[struct {
		Name string
		Left int
	}](t, append([]string{"make", folder}, only...)...)
	if len(only) == 0 && len(models) < 80 {
		t.Fatalf("only %d models", len(models))
	}
	args := []string{"compare", folder}
	for _, m := range models {
		t.Run(m.Name, func(t *testing.T) {
			plan := prepare(t, folder, m.Name)
			if list := left(plan); len(list) != m.Left {
				t.Errorf("%d maps are left, want %d:\n%s", len(list), m.Left, strings.Join(list, "\n"))
			}
		})
		if _, err := os.Stat(filepath.Join(folder, "folded", m.Name)); err == nil {
			args = append(args, m.Name)
		} else if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	worstFolded, worstRead, outputs := 0.0, 0.0, 0
	for _, c := range lines[comparison](t, args...) {
		limit := 2e-5
		if strings.HasPrefix(c.Name, "halves") {
			limit = 1e-2
		}
		if c.Folded > limit || !c.Named || c.Read > limit || c.Runs && c.Outputs == 0 {
			t.Errorf("%s: the folded model is off by %.2g (names kept: %v), our reading of it by %.2g on %d outputs", c.Name, c.Folded, c.Named, c.Read, c.Outputs)
		}
		if limit == 2e-5 {
			worstFolded, worstRead = max(worstFolded, c.Folded), max(worstRead, c.Read)
		}
		outputs += c.Outputs
		stored, _, _ := strings.Cut(strings.TrimPrefix(c.Name, "stored_as_"), ".")
		want := map[string][]string{"big_f4": {">f4"}, "f8": {"<f8"}, "big_f8": {">f8"}, "f2": {"<f2", "<f4"}, "big_f2": {"<f4", ">f2"}}[stored]
		if !slices.Equal(c.Types, want) {
			t.Errorf("%s: the folded file has data sets of types %v, want %v", c.Name, c.Types, want)
		}
	}
	t.Logf("%d models, %d outputs: folded off by at most %.2g, read off by at most %.2g", len(args)-2, outputs, worstFolded, worstRead)
}

func TestKeras1_IsReadAsItsEquivalentInKeras3(t *testing.T) {
	folder := t.TempDir()
	args := []string{"twins", folder}
	for _, m := range lines[comparison](t, "keras1", folder) {
		plan := prepare(t, folder, m.Name+".h5")
		if list := left(plan); len(list) > 0 || len(plan.Maps) < 2 {
			t.Errorf("%s: of %d maps these are left: %v", m.Name, len(plan.Maps), list)
		}
		export(t, filepath.Join(folder, "folded", m.Name+".h5"), filepath.Join(folder, "onnx"), m.Name+".h5.folded.onnx")
		args = append(args, m.Name)
	}
	list := lines[comparison](t, args...)
	if len(list) != 3 {
		t.Errorf("%d models were compared", len(list))
	}
	for _, c := range list {
		if c.Read > 1e-5 || c.Folded > 1e-5 {
			t.Errorf("%s: our reading is off by %.2g, and folded by %.2g", c.Name, c.Read, c.Folded)
		}
	}
}

func TestTensorFlowFunctions_AreReadAsTheirEquivalentsInKeras3(t *testing.T) {
	folder := t.TempDir()
	for _, m := range lines[comparison](t, "lambdas", folder) {
		plan := prepare(t, folder, m.Name+".h5")
		if list := left(plan); len(list) > 0 || len(plan.Maps) < 8 {
			t.Errorf("%s: of %d maps these are left: %v", m.Name, len(plan.Maps), list)
		}
		export(t, filepath.Join(folder, "folded", m.Name+".h5"), filepath.Join(folder, "onnx"), m.Name+".h5.folded.onnx")
		list := lines[comparison](t, "twins", folder, m.Name)
		if len(list) != 1 || list[0].Read > 1e-5 || list[0].Folded > 1e-5 {
			t.Errorf("our reading, and the folded file: %+v", list)
		}
	}
}

func TestKeras_MiniXCEPTIONFolds(t *testing.T) {
	path := oracle.Shared(t, "models/keras/fer2013_mini_XCEPTION.hdf5")
	folder, name := t.TempDir(), filepath.Base(path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(folder, "models"), 0o777), os.WriteFile(filepath.Join(folder, "models", name), data, 0o666)); err != nil {
		t.Fatal(err)
	}
	plan := prepare(t, folder, name)
	if plan.Before != 14 || plan.After != 0 || len(plan.Maps) != 14 {
		t.Errorf("%d maps, %d per-channel nodes became %d:\n%s", len(plan.Maps), plan.Before, plan.After, strings.Join(left(plan), "\n"))
	}
	for _, c := range lines[comparison](t, "compare", folder, name) {
		if c.Before-c.After != 14 || c.Folded > 1e-5 || c.Read > 1e-5 || !c.Named || c.Outputs != 1 {
			t.Errorf("%+v", c)
		}
		t.Logf("Keras on the folded file is off by %.2g, ONNX Runtime on our reading of the original by %.2g", c.Folded, c.Read)
	}
}

func TestKeras_AgreesOnOwnModels(t *testing.T) {
	folder := t.TempDir()
	models := filepath.Join(folder, "models")
	if err := os.Mkdir(models, 0o777); err != nil {
		t.Fatal(err)
	}
	args, before, after := []string{"compare", folder}, 0, 0
	for seed := range uint64(25) {
		generate := func(folder string) (string, format.Options, error) { return zootest.Keras(seed, folder) }
		if seed == 24 {
			generate = zootest.MiniXception
		}
		path, _, err := generate(models)
		if err != nil {
			t.Fatal(err)
		}
		plan := prepare(t, folder, filepath.Base(path))
		before, after = before+plan.Before, after+plan.After
		args = append(args, filepath.Base(path))
	}
	compared := 0
	for _, c := range lines[comparison](t, args...) {
		if c.Unloadable && c.Name != "xception-mini.h5" {
			continue
		}
		compared++
		if c.Folded > 1e-5 || c.Read > 1e-5 || !c.Named || c.Outputs != 1 {
			t.Errorf("%+v", c)
		}
	}
	if compared < 18 || after*4 > before {
		t.Errorf("%d models were compared, %d per-channel nodes became %d", compared, before, after)
	}
	t.Logf("%d models: %d -> %d per-channel nodes", compared, before, after)
}

// A Darknet detector and what YAD2K makes of it, the same network in Keras, fold to the same weights, bit for bit: both add
// the epsilon to the variance.
func TestKeras_DetectorFoldsAsInDarknet(t *testing.T) {
	folder := t.TempDir()
	cfg, o, err := zootest.TinyYOLO(folder)
	if err != nil {
		t.Fatal(err)
	}
	o.Settings = map[string]string{"darknet.epsilon": "alexeyab"}
	names := lines[comparison](t, "yolo", folder, cfg, "1e-5")
	f, err := format.Open(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fold.Fold(t.Context(), f.Model(), fold.Options{}); err != nil {
		t.Fatal(err)
	}
	out := formattest.Folder{Path: filepath.Join(folder, "darknet"), Name: filepath.Base(cfg)}
	if _, err := f.Write(context.Background(), out, cpu.New(2)); err != nil {
		t.Fatal(err)
	}
	o.Weights = filepath.Join(out.Path, format.Beside(cfg, f.Inputs()[1]))
	want := convolutions(t, filepath.Join(out.Path, out.Name), o)
	if len(want) < 10 || len(names) != 2 {
		t.Fatalf("%d convolutions, %d twins", len(want), len(names))
	}
	args := []string{"compare", folder}
	for _, m := range names {
		if list := left(prepare(t, folder, m.Name)); len(list) > 0 {
			t.Errorf("%s: these are left: %v", m.Name, list)
		}
		got := convolutions(t, filepath.Join(folder, "folded", m.Name), format.Options{})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the folded weights are others than Darknet's", m.Name)
		}
		args = append(args, m.Name)
	}
	for _, c := range lines[comparison](t, args...) {
		if c.Folded > 1e-5 || c.Read > 1e-5 || c.Outputs != 2 {
			t.Errorf("%+v", c)
		}
	}
}

// convolutions are the kernels and biases of a model's convolutions, in ONNX's order of axes, sorted: formats list layers
// in orders of their own.
func convolutions(t *testing.T, path string, o format.Options) (list [][2][]float64) {
	t.Helper()
	f, err := format.Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range f.Model().Graph.Nodes {
		if n.Type == "BatchNormalization" {
			t.Errorf("%s: %v is left", path, n)
		}
		if n.Type != "Conv" {
			continue
		}
		var both [2][]float64
		for k := range both {
			if both[k], err = n.Inputs[1+k].Const.Float64s(1 << 24); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, both)
	}
	slices.SortFunc(list, func(a, b [2][]float64) int { return slices.Compare(a[0], b[0]) })
	return list
}
