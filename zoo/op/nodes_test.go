package op_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// example is one of ONNX's node tests: testdata/nodetests.py writes them.
type example struct {
	Inputs, Outputs []sample
	name, path      string
}

type sample struct {
	Name  string
	DType tensor.DType
	Shape []int64
	Data  []byte
}

// constant is a sample as a constant; nil where its type has no numbers here.
func (s sample) constant() *model.Constant {
	n, ok := tensor.Elements(s.Shape)
	if !ok || s.DType.Size() == 0 || n*int64(s.DType.Size()) != int64(len(s.Data)) || s.DType == tensor.Complex64 || s.DType == tensor.Complex128 {
		return nil
	}
	return &model.Constant{DType: s.DType, Shape: s.Shape, Data: bytes.NewReader(s.Data)}
}

func (s sample) array(t *testing.T) *op.Array {
	c := s.constant()
	if c == nil {
		return nil
	}
	a, err := op.FromConstant(c, 1<<24)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// examples are all of them.
func examples(t *testing.T) []example {
	folder := os.Getenv("ZOOFOLD_NODETESTS") // where they were written before
	if folder == "" {
		python := oracle.Python(t, "onnx", "numpy")
		folder = t.TempDir()
		if text, err := exec.Command(python, filepath.Join("..", "..", "testdata", "nodetests.py"), folder).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(paths) < 1000 {
		t.Fatalf("%d node tests, %v", len(paths), err)
	}
	var list []example
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		e := example{path: strings.TrimSuffix(path, ".json") + ".onnx", name: strings.TrimSuffix(filepath.Base(path), ".json")}
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// open is the example's model, and whether we can read it.
func (e example) open(t *testing.T) *model.Model {
	f, err := format.Open(context.Background(), e.path, format.Options{})
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	t.Cleanup(func() { f.Close() })
	return f.Model()
}

// run evaluates the example's model on its inputs: a value's elements by its name.
func (e example) run(t *testing.T) (map[string]*op.Array, error) {
	m := e.open(t)
	known := map[*model.Value]*op.Array{}
	for _, v := range m.Graph.Inputs {
		for _, s := range e.Inputs {
			if s.Name == v.Name {
				if known[v] = s.array(t); known[v] == nil {
					return nil, fmt.Errorf("an input of type %v: %w", s.DType, op.ErrUnsupported)
				}
			}
		}
	}
	out := map[string]*op.Array{}
	for _, n := range m.Graph.Nodes {
		in := make([]*op.Array, len(n.Inputs))
		for k, v := range n.Inputs {
			if v == nil {
				continue
			}
			if in[k] = known[v]; in[k] == nil && v.Const != nil {
				a, err := op.FromConstant(v.Const, 1<<24)
				if err != nil {
					return nil, fmt.Errorf("a constant of type %v: %w", v.Const.DType, op.ErrUnsupported)
				}
				in[k] = a
			}
			if in[k] == nil {
				return nil, fmt.Errorf("%v reads %q: %w", n, v.Name, op.ErrUnsupported)
			}
		}
		if n.Type == "Constant" {
			continue
		}
		list, err := op.Eval(n, in)
		if err != nil {
			return nil, err
		}
		for k, v := range n.Outputs {
			if v != nil && k < len(list) {
				known[v], out[v.Name] = list[k], list[k]
			}
		}
	}
	for _, v := range m.Graph.Outputs {
		if v.Const != nil && out[v.Name] == nil {
			a, err := op.FromConstant(v.Const, 1<<24)
			if err != nil {
				return nil, fmt.Errorf("a constant of type %v: %w", v.Const.DType, op.ErrUnsupported)
			}
			out[v.Name] = a
		}
	}
	return out, nil
}

// random are the tests whose outputs are drawn at random: nothing to compare.
var random = []string{"test_bernoulli", "test_randomuniform", "test_training_dropout"}

// differs says how an output is not what ONNX says; "" where it is.
func differs(e example, got *op.Array, want sample) string {
	ties := strings.HasPrefix(e.name, "test_dynamicquantizelinear")                                                     // float32 rounds a half way, float64 what is beside it
	typed := strings.HasPrefix(e.name, "test_gridsample") || strings.HasPrefix(e.name, "test_averagepool_2d_ceil_last") // with four digits
	c := want.constant()
	if c == nil {
		return ""
	}
	if got == nil {
		return "no output"
	}
	if !slices.Equal(got.Shape, want.Shape) {
		return fmt.Sprintf("shape %v, want %v", got.Shape, want.Shape)
	}
	if got.DType != tensor.Undefined && got.DType != want.DType {
		return fmt.Sprintf("a %v, want a %v", got.DType, want.DType)
	}
	a, err := op.FromConstant(c, 1<<24)
	if err != nil {
		return err.Error()
	}
	if !want.DType.Float() {
		for k := range a.Data {
			if got.Int(k) != a.Int(k) && (!ties || math.Abs(got.Data[k]-a.Data[k]) > 1) {
				return fmt.Sprintf("element %d is %d, want %d", k, got.Int(k), a.Int(k))
			}
		}
		return ""
	}
	unit, top := want.DType.Unit(), 0.0
	for _, x := range a.Data {
		if !math.IsInf(x, 0) {
			top = max(top, math.Abs(x))
		}
	}
	for k, x := range a.Data { // the reference computes in the output's type, sums of a hundred terms among it
		y := want.DType.Round(got.Data[k])
		if math.IsNaN(x) && math.IsNaN(y) || x == y || math.Abs(x-y) <= 64*unit*(math.Abs(x)+top/16) || math.Abs(x-y) <= 8*unit*top || typed && math.Abs(x-y) < 1e-4 {
			continue
		}
		return fmt.Sprintf("element %d is %.9g, want %.9g", k, y, x)
	}
	return ""
}

// operatorsOf names what an example is made of.
func operatorsOf(m *model.Model) string {
	var list []string
	for _, n := range m.Graph.Nodes {
		if !slices.Contains(list, n.Type) && (n.Type != "Constant" || len(m.Graph.Nodes) == 1) {
			list = append(list, n.Type)
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return "(expanded)"
}

func TestEval_PassesONNXNodeTests(t *testing.T) {
	list := examples(t)
	t.Run("values are those that ONNX says", func(t *testing.T) { valuesOf(t, list) })
	t.Run("damaged nodes do no worse than fail", func(t *testing.T) { damagedNodes(t, list) })
	t.Run("shapes are those that ONNX says, or unknown", func(t *testing.T) { shapesOf(t, list) })
	t.Run("nothing but what is needed changes a part of an output", func(t *testing.T) { needsOf(t, list) })
	t.Run("a part of an output is computed of what it needs", func(t *testing.T) { partsOf(t, list) })
}

func valuesOf(t *testing.T, list []example) {
	type tally struct{ known, unknown int }
	count, all := map[string]*tally{}, tally{}
	for _, e := range list {
		which := operatorsOf(e.open(t))
		if count[which] == nil {
			count[which] = &tally{}
		}
		got, err := e.run(t)
		if errors.Is(err, op.ErrUnsupported) {
			count[which].unknown++
			all.unknown++
			continue
		}
		count[which].known++
		all.known++
		if err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		if slices.ContainsFunc(random, func(prefix string) bool { return strings.HasPrefix(e.name, prefix) }) {
			continue
		}
		for _, want := range e.Outputs {
			if why := differs(e, got[want.Name], want); why != "" {
				t.Errorf("%s: %s: %s", e.name, want.Name, why)
			}
		}
	}
	var lines []string
	for which, n := range count {
		lines = append(lines, fmt.Sprintf("%s %d of %d", which, n.known, n.known+n.unknown))
	}
	slices.Sort(lines)
	t.Logf("%d of %d cases are known: %s", all.known, all.known+all.unknown, strings.Join(lines, ", "))
}

// settled makes every input of the model but the first a constant, so that shapes can follow from what they hold.
func (e example) settled(t *testing.T, m *model.Model) bool {
	for j, v := range m.Graph.Inputs {
		for _, s := range e.Inputs {
			if j > 0 && s.Name == v.Name {
				if v.Const = s.constant(); v.Const == nil {
					return false
				}
				v.Input = false
			}
		}
	}
	return true
}

func shapesOf(t *testing.T, list []example) {
	known, unknown := 0, 0
	for _, e := range list {
		for _, constants := range []bool{false, true} {
			m := e.open(t)
			for _, n := range m.Graph.Nodes { // what is declared is not to decide
				for _, v := range n.Outputs {
					if v != nil && v.Const == nil {
						v.Shape, v.DType = nil, tensor.Undefined
					}
				}
			}
			if constants && !e.settled(t, m) {
				continue
			}
			op.Infer(m, op.Constants())
			for k, v := range m.Graph.Outputs {
				want := e.Outputs[k]
				if want.constant() == nil {
					continue
				}
				if v.DType != tensor.Undefined && v.DType != want.DType {
					t.Errorf("%s: %s is a %v, want a %v", e.name, v.Name, v.DType, want.DType)
				}
				if v.Shape == nil || slices.ContainsFunc(v.Shape, func(d int64) bool { return d < 0 }) {
					unknown++
				} else {
					known++
				}
				if v.Shape == nil {
					continue
				}
				if len(v.Shape) != len(want.Shape) {
					t.Errorf("%s (constants: %v): %s has shape %v, want %v", e.name, constants, v.Name, v.Shape, want.Shape)
					continue
				}
				for j, d := range v.Shape {
					if d >= 0 && d != want.Shape[j] {
						t.Errorf("%s (constants: %v): %s has shape %v, want %v", e.name, constants, v.Name, v.Shape, want.Shape)
						break
					}
				}
			}
		}
	}
	t.Logf("%d shapes are known, %d are not", known, unknown)
}
