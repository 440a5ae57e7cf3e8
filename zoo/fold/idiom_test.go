package fold_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

type step = func(m *b, x *v) *v

func num(m *b, x float64) *v { return m.Const([]float64{x}) }

func mul(m *b, x, y *v) *v { return m.Op("Mul", in(x, y)) }

// onePlusErf is 1 + erf(x/√2), with a Div or a Mul.
func onePlusErf(op string, by float64) step {
	return func(m *b, x *v) *v { return m.Op("Add", in(m.Op("Erf", in(m.Op(op, in(x, num(m, by))))), num(m, 1))) }
}

// onePlusTanh is 1 + tanh(√(2/π)·(x + 0.044715·x³)).
func onePlusTanh(m *b, x *v) *v {
	cube := mul(m, m.Op("Pow", in(x, num(m, 3))), num(m, 0.044715))
	return m.Op("Add", in(num(m, 1), m.Op("Tanh", in(mul(m, num(m, 0.7978845608), m.Op("Add", in(x, cube)))))))
}

// factored is the same with x taken out of the sum.
func factored(m *b, x *v) *v {
	sum := m.Op("Add", in(mul(m, mul(m, x, num(m, 0.044715)), x), num(m, 1)))
	return m.Op("Add", in(m.Op("Tanh", in(mul(m, mul(m, x, num(m, 0.7978845608)), sum))), num(m, 1)))
}

func halfFirst(f step) step {
	return func(m *b, x *v) *v { return mul(m, mul(m, num(m, 0.5), x), f(m, x)) }
}
func halfLast(f step) step {
	return func(m *b, x *v) *v { return mul(m, mul(m, x, f(m, x)), num(m, 0.5)) }
}
func halfInside(f step) step {
	return func(m *b, x *v) *v { return mul(m, x, mul(m, f(m, x), num(m, 0.5))) }
}

func swish(m *b, x *v) *v { return mul(m, m.Op("Sigmoid", in(x)), x) }

func meanOf(m *b, x *v, axis int64) *v { return m.Op("ReduceMean", in(x), "axes", []int64{axis}) }

// centredAndScaled is (x − mean)/√(variance + ε) over an axis.
func centredAndScaled(m *b, x *v, axis int64) *v {
	y := m.Op("Sub", in(x, meanOf(m, x, axis)))
	return m.Op("Div", in(y, root(m, y, axis)))
}

// root is √(mean(x²) + ε).
func root(m *b, x *v, axis int64) *v {
	square := m.Op("Pow", in(x, num(m, 2)))
	return m.Op("Sqrt", in(m.Op("Add", in(meanOf(m, square, axis), num(m, 1e-5)))))
}

func decomposedNorm(m *b, x *v) *v {
	return m.Op("Add", in(mul(m, centredAndScaled(m, x, -1), m.Weight(8)), m.Weight(8)))
}

func decomposedRMS(m *b, x *v) *v {
	return mul(m, m.Op("Div", in(x, root(m, x, -1))), m.Const(m.Signed(8), 8))
}

// wholes are idioms as exporters write them, with the operator that ONNX Runtime makes of each; none where only other
// runtimes know that form.
var wholes = []struct {
	name  string
	fused string
	build step
}{
	{"Gelu, the half last", "Gelu", halfLast(onePlusErf("Div", math.Sqrt2))},
	{"Gelu, the half first", "Gelu", halfFirst(onePlusErf("Div", 1.4142))},
	{"Gelu, the half inside", "", halfInside(onePlusErf("Div", math.Sqrt2))},
	{"Gelu by a product, the half last", "", halfLast(onePlusErf("Mul", math.Sqrt(0.5)))},
	{"Gelu by a product, the half first", "", halfFirst(onePlusErf("Mul", math.Sqrt(0.5)))},
	{"Gelu by tanh, the half first", "FastGelu", halfFirst(onePlusTanh)},
	{"Gelu by tanh, the half last", "", halfLast(onePlusTanh)},
	{"Gelu by tanh in products", "FastGelu", halfFirst(factored)},
	{"Swish", "QuickGelu", swish},
	{"Swish with a slope", "QuickGelu", func(m *b, x *v) *v { return mul(m, x, m.Op("Sigmoid", in(mul(m, x, num(m, 1.702))))) }},
	{"HardSwish in two operators", "", func(m *b, x *v) *v { return mul(m, x, m.Op("HardSigmoid", in(x), "alpha", 1./6)) }},
	{"layer normalisation in primitives", "LayerNormalization", decomposedNorm},
	{"layer normalisation without shift", "SimplifiedLayerNormalization", func(m *b, x *v) *v {
		return mul(m, centredAndScaled(m, x, 2), m.Const(m.Signed(8), 8))
	}},
	{"root-mean-square normalisation", "SimplifiedLayerNormalization", decomposedRMS},
	{"root-mean-square normalisation by the inverse", "SimplifiedLayerNormalization", func(m *b, x *v) *v {
		return mul(m, mul(m, x, m.Op("Div", in(num(m, 1), root(m, x, -1)))), m.Const(m.Signed(8), 8))
	}},
}

// TestIdioms_Float32NormalisationInAFloat16Model: what is computed in float32 is cast back before γ.
func TestIdioms_Float32NormalisationInAFloat16Model(t *testing.T) {
	m := modeltest.New(7)
	half := func(v *v) *v {
		v.DType, v.Const.DType = tensor.Float16, tensor.Float16
		return v
	}
	x := m.Input(1, 5, 8)
	x.DType = tensor.Float16
	y := m.Op("Cast", in(x), "to", 1)
	y = m.Op("Cast", in(m.Op("Div", in(y, root(m, y, -1)))), "to", 10)
	gamma := m.Op("Mul", in(y, half(m.Const(m.Signed(8), 8))))
	folded := m.Output(m.Op("MatMul", in(gamma, half(m.Weight(8, 6)))))
	plan, err := fold.Fold(t.Context(), folded, fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	foldtest.AddsUp(t, plan, folded)
	if k := len(plan.Maps) - 1; plan.Maps[k].Verdict != fold.Left || plan.Maps[k].Reason.Code != fold.InIdiom {
		t.Errorf("%+v: %v", plan.Maps[k], plan.Maps[k].Reason)
	}
}

// tokens is a sequence behind a matrix product with a bias; behind it comes another such product.
func tokens(m *b, idiom step) *model.Model {
	x := m.Op("Add", in(m.Op("MatMul", in(m.Input(1, 5, 8), m.Weight(8, 8))), m.Weight(8)))
	return m.Output(m.Op("Add", in(m.Op("MatMul", in(idiom(m, x), m.Weight(8, 6))), m.Weight(6))))
}

// picture is an image between convolutions, which runtimes keep in blocks of channels: a normalisation comes behind the
// idiom, and the second convolution pads, so that no shift gets into it.
func picture(m *b, idiom step) *model.Model {
	x := m.Conv(m.Input(1, 16, 8, 8), 16, 16, 1, 1)
	x = m.BatchNorm(idiom(m, x), 16)
	return m.Output(m.Conv(x, 16, 16, 3, 1, "pads", []int64{1, 1, 1, 1}))
}

func TestIdioms_AreFoldedWholeOrUntouched(t *testing.T) {
	for _, whole := range wholes {
		t.Run(whole.name, func(t *testing.T) {
			original := tokens(modeltest.New(7), whole.build)
			folded := tokens(modeltest.New(7), func(m *b, x *v) *v { // with a map before it and one behind it
				x = m.Op("Mul", in(whole.build(m, m.Op("Mul", in(x, m.Const(m.Signed(8), 8)))), m.Const(m.Signed(8), 8)))
				return m.Op("Mul", in(x, num(m, 0.5)))
			})
			plan, err := fold.Fold(t.Context(), folded, fold.Options{})
			if err != nil {
				t.Fatal(err)
			}
			foldtest.AddsUp(t, plan, folded)
			if got, want := types(folded), types(original); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			inside := 0
			for _, x := range plan.Maps {
				if x.Reason != nil && x.Reason.Code == fold.InIdiom {
					inside++
					if x.Verdict != fold.Left || !strings.Contains(x.Reason.Text, x.Node+" is part of a ") {
						t.Errorf("%+v: %v", x, x.Reason)
					}
				}
			}
			if plan.After != inside+2 { // the biases
				t.Errorf("%d per-channel nodes are left, of them %d in idioms: %+v", plan.After, inside, plan.Maps)
			}
			check(t, func() *model.Model { return tokens(modeltest.New(7), whole.build) }, inside+2, "")
		})
	}
}

// types are the operators of a model, in order.
func types(m *model.Model) string {
	var list []string
	for _, n := range m.Graph.Nodes {
		list = append(list, n.Type)
	}
	return strings.Join(list, " ")
}

func TestIdioms_NearMissesFold(t *testing.T) {
	for _, test := range []struct {
		name  string
		left  int
		build func(m *b) *v
	}{
		{"Gelu by another root", 2, func(m *b) *v { return valid(m, halfLast(onePlusErf("Div", 1.5))(m, image(m))) }},
		{"x·clip(x + 3, 0, 6)/6 becomes x·HardSigmoid(x)", 0, func(m *b) *v {
			x := image(m)
			y := m.Op("Clip", in(m.Op("Add", in(x, num(m, 3))), num(m, 0), num(m, 6)))
			return valid(m, m.Op("Div", in(mul(m, x, y), num(m, 6))))
		}},
		{"Gelu of which another reader takes a part", 2, func(m *b) *v {
			x := image(m)
			y := mul(m, x, onePlusErf("Div", math.Sqrt2)(m, x))
			return m.Op("Concat", in(valid(m, mul(m, y, num(m, 0.5))), valid(m, y)), "axis", 1)
		}},
		{"a normalisation over the channels of an image", 1, func(m *b) *v { // of ε
			y := mul(m, centredAndScaled(m, image(m), 1), m.Const(m.Signed(4), 4, 1, 1))
			return valid(m, shift(m, y))
		}},
		{"Swish by 1·x", 0, func(m *b) *v {
			x := image(m)
			return valid(m, mul(m, x, m.Op("Sigmoid", in(mul(m, x, num(m, 1))))))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			check(t, func() *model.Model {
				m := modeltest.New(3)
				return m.Output(test.build(m))
			}, test.left, "")
		})
	}
}

// attending is attention with one head, by scores as some function makes weights of them.
func attending(m *b, weights func(m *b, scores *v) *v) *v {
	x := m.Input(1, 5, 8)
	project := func() *v { return m.Op("Add", in(m.Op("MatMul", in(x, m.Weight(8, 8))), m.Weight(8))) }
	scores := m.Op("MatMul", in(project(), m.Op("Transpose", in(project()), "perm", []int64{0, 2, 1})))
	return m.Op("MatMul", in(weights(m, scores), project()))
}

func TestIdioms_AttentionScaleStaysBeforeAMask(t *testing.T) {
	scaled := func(m *b, x *v) *v { return m.Op("Div", in(x, num(m, 3))) }
	softmax := func(m *b, x *v) *v { return m.Op("Softmax", in(x)) }
	for _, test := range []struct {
		name    string
		left    int // but for the three biases
		weights step
	}{
		{"added", 1, func(m *b, x *v) *v { return softmax(m, m.Op("Add", in(scaled(m, x), m.Input(1, 5, 5)))) }},
		{"chosen", 1, func(m *b, x *v) *v {
			hidden := m.Op("Greater", in(m.Input(1, 5, 5), num(m, 0)))
			return softmax(m, m.Op("Where", in(hidden, scaled(m, x), num(m, -1e4))))
		}},
		{"none", 0, func(m *b, x *v) *v { return softmax(m, scaled(m, x)) }},
		{"a learnt bias of positions", 1, func(m *b, x *v) *v { return softmax(m, m.Op("Add", in(scaled(m, x), m.Weight(1, 5, 5)))) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			check(t, func() *model.Model {
				m := modeltest.New(5)
				return m.Output(attending(m, test.weights))
			}, 3+test.left, "")
		})
	}
}

// optimised prints the operators that ONNX Runtime runs of each model, a line a file.
const optimised = `
import collections, json, os, sys, tempfile
import onnx, onnxruntime as ort
for path in sys.argv[1:]:
    o = ort.SessionOptions()
    o.log_severity_level = 4
    o.optimized_model_filepath = os.path.join(tempfile.mkdtemp(), "optimised.onnx")
    ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    print(json.dumps(collections.Counter(n.op_type for n in onnx.load(o.optimized_model_filepath).graph.node)))
`

// TestIdioms_ONNXRuntimeStillFusesThemAfterFolding: what it ran as one operator before folding it runs as one after.
func TestIdioms_ONNXRuntimeStillFusesThemAfterFolding(t *testing.T) {
	python := oracle.Python(t, "onnx", "onnxruntime")
	folder := t.TempDir()
	args := []string{"-c", optimised}
	write := func(k int, kind string, m *model.Model) {
		name := fmt.Sprintf("%d.%s.onnx", k, kind)
		if err := onnx.Export(t.Context(), m, formattest.Folder{Path: folder, Name: name}, name, cpu.New(1)); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(folder, name))
	}
	for k, whole := range wholes {
		for place, build := range []func() *model.Model{
			func() *model.Model {
				return tokens(modeltest.New(7), func(m *b, x *v) *v {
					return m.Op("Mul", in(whole.build(m, x), m.Const(m.Signed(8), 8)))
				})
			},
			func() *model.Model { return picture(modeltest.New(7), whole.build) },
		} {
			folded := build()
			if _, err := fold.Fold(t.Context(), folded, fold.Options{}); err != nil {
				t.Fatal(err)
			}
			write(2*k+place, "original", build())
			write(2*k+place, "folded", folded)
		}
	}
	out, err := exec.Command(python, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	runs := slices.Collect(strings.Lines(string(out)))
	if len(runs) != 4*len(wholes) {
		t.Fatalf("%d models ran, want %d", len(runs), 4*len(wholes))
	}
	for k := range 2 * len(wholes) {
		whole := wholes[k/2]
		var original, folded map[string]int
		if json.Unmarshal([]byte(runs[2*k]), &original) != nil || json.Unmarshal([]byte(runs[2*k+1]), &folded) != nil {
			t.Fatalf("%s, %s", runs[2*k], runs[2*k+1])
		}
		if whole.fused != "" && (original[whole.fused] == 0 && k%2 == 0 || folded[whole.fused] < original[whole.fused]) {
			t.Errorf("%s: ONNX Runtime runs %v, and folded %v", whole.name, original, folded)
		}
		for op, count := range folded {
			if count > original[op] && op != "MatMul" {
				t.Errorf("%s: folded, ONNX Runtime runs %d %s, before %d", whole.name, count, op, original[op])
			}
		}
	}
}
