package fold_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/zootest"

	_ "github.com/zoofold/zoofold/zoo/format/caffe"
	_ "github.com/zoofold/zoofold/zoo/format/checkpoint"
	_ "github.com/zoofold/zoofold/zoo/format/darknet"
	_ "github.com/zoofold/zoofold/zoo/format/keras"
	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	_ "github.com/zoofold/zoofold/zoo/format/torch"
)

// planFile plans a model file and fails the test if its numbers do not add up.
func planFile(t *testing.T, path string, neutralize bool) *fold.Plan {
	t.Helper()
	f, err := format.Open(t.Context(), path, format.Options{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer f.Close()
	p, err := fold.Fold(t.Context(), f.Model(), fold.Options{Neutralize: neutralize})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	foldtest.AddsUp(t, p, f.Model())
	return p
}

func TestCount_GeneratedModelsAddUp(t *testing.T) {
	folder := t.TempDir()
	paths, err := zootest.WriteNetworks(folder)
	if err != nil {
		t.Fatal(err)
	}
	more, err := zootest.Write(folder, 2*len(zootest.Kinds), 8, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, more...) {
		planFile(t, path, false)
		planFile(t, path, true)
	}
}

// TestCount_PublishedModelsAddUp reads what make fetch brought, if it did. The sums are the README's.
func TestCount_PublishedModelsAddUp(t *testing.T) {
	before, after, files := 0, 0, 0
	err := filepath.WalkDir("../../.cache/zoo/", func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".onnx") {
			p := planFile(t, path, false)
			before, after, files = before+p.Before, after+p.After, files+1
		}
		return err
	})
	if err != nil || files == 0 {
		t.Skip("no published models are here: make fetch")
	}
	if files == 26 && (before != 599 || after != 155) {
		t.Errorf("%d -> %d per-channel nodes, the README says 599 -> 155", before, after)
	}
}

func TestRemaining_CountedNodesOtherThanMapsHaveAReason(t *testing.T) {
	conv := func(m *b) *v { return m.Conv(m.Input(1, 3, 5, 5), 3, 4, 3, 1) }
	for _, test := range []struct {
		name  string
		code  fold.Code
		o     fold.Options
		build func(m *b) *v
	}{
		{"shapes are computed with it", fold.Integer, fold.Options{}, func(m *b) *v {
			x := m.Input(-1, 4)
			return m.Op("Mul", in(m.Op("Shape", in(x)), m.Ints(2, 2)))
		}},
		{"its family is switched off", fold.Keep, fold.Options{Off: map[string]bool{"elementwise": true}}, func(m *b) *v { return positive(m, conv(m)) }},
		{"it is of another domain", fold.Unsupported, fold.Options{}, func(m *b) *v {
			y := positive(m, conv(m))
			y.Producer.Domain = "other"
			return y
		}},
		{"it lacks an operand", fold.Unsupported, fold.Options{}, func(m *b) *v { return m.Op("Mul", in(conv(m), nil)) }},
		{"the constant is dequantised", fold.Quantized, fold.Options{}, func(m *b) *v {
			return m.Op("Add", in(m.Op("MatMul", in(m.Input(1, 5, 4), m.Weight(4, 4))), dequantized(m, 5, 4)))
		}},
		{"the scale is an input that callers may set", fold.NotConstant, fold.Options{}, func(m *b) *v {
			c := m.Const([]float64{2})
			c.Input = true
			return m.Op("Mul", in(conv(m), m.Op("Neg", in(c))))
		}},
		{"it normalises constants", fold.NoGain, fold.Options{}, func(m *b) *v { return m.BatchNorm(m.Weight(1, 4, 2, 2), 4) }},
		{"the function is left as it is", fold.Subgraph, fold.Options{}, func(m *b) *v {
			f := function(m, "F", "", 1, func(f *b, x []*v) *v { return f.Op("Mul", in(x[0], f.Const([]float64{2}))) })
			f.Opset[""]--
			return call(m, "F", "", in(conv(m)))
		}},
		{"it joins an input to an output, and the file has no other operators", fold.Unsupported, fold.Options{}, func(m *b) *v {
			m.Model.Place = func(*model.Node, int) model.Place { return model.Stored }
			return m.Op("Mul", in(m.Input(1, 4), m.Const([]float64{1})))
		}},
		{"norms: neutralize leaves functions", fold.Subgraph, fold.Options{Neutralize: true}, func(m *b) *v {
			function(m, "F", "", 1, func(f *b, x []*v) *v { return f.Op("Mul", in(x[0], f.Const([]float64{2}))) })
			return call(m, "F", "", in(conv(m)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := modeltest.New(4)
			folded := m.Output(test.build(m))
			p, err := fold.Fold(t.Context(), folded, test.o)
			if err != nil {
				t.Fatal(err)
			}
			foldtest.AddsUp(t, p, folded)
			if len(p.Maps) != 1 || p.Maps[0].Verdict != fold.Left || p.Maps[0].Reason.Code != test.code || !strings.Contains(p.Maps[0].Reason.Text, `"`) {
				t.Errorf("%+v: %v", p.Maps, p.Maps[0].Reason)
			}
		})
	}
}

func TestMaps_VerdictOfEachNode(t *testing.T) {
	for _, test := range []struct {
		name  string
		fates string // of the nodes, in order
		build func(m *b) *v
	}{
		{"two nodes of one run become one", "merged into Mul, merged into Mul", func(m *b) *v {
			return m.Op("Tanh", in(positive(m, positive(m, m.Op("Tanh", in(image(m)))))))
		}},
		{"a scale goes on, the shift stays", "merged into Conv Add", func(m *b) *v {
			x := m.Conv(m.Op("Tanh", in(m.Input(1, 3, 6, 7))), 3, 4, 3, 1)
			x = m.Op("Tanh", in(m.Op("Reshape", in(x, m.Ints(1, 4, -1)))))
			return m.Op("Conv", in(m.BatchNorm(x, 4), m.Weight(5, 4, 3)), "pads", []int64{1, 1})
		}},
		{"a batch normalisation of an image does not become an Add", "left into", func(m *b) *v {
			return same(m, m.BatchNorm(m.Op("Tanh", in(image(m))), 4))
		}},
		{"a map and its inverse are gone", "folded into, folded into", func(m *b) *v {
			x := m.Op("Tanh", in(image(m)))
			x = m.Op("Mul", in(x, m.Const([]float64{2})))
			return m.Op("Tanh", in(m.Op("Transpose", in(m.Op("Mul", in(m.Op("Transpose", in(x)), m.Const([]float64{0.5})))))))
		}},
		{"a scale goes into a plain normalisation, which is a per-channel node then", "merged into LayerNormalization", func(m *b) *v {
			x := m.Op("LayerNormalization", in(m.Op("Tanh", in(m.Input(1, 3, 4))), m.Const([]float64{1, 1, 1, 1}, 4)))
			return m.Op("Tanh", in(m.Op("Mul", in(x, m.Const(m.Signed(4), 4)))))
		}},
		{"a normalisation that takes a scale is not what it was", "merged into LayerNormalization, merged into LayerNormalization", func(m *b) *v {
			x := m.Op("LayerNormalization", in(m.Op("Tanh", in(m.Input(1, 3, 4))), m.Const(m.Signed(4), 4)))
			return m.Op("Tanh", in(m.Op("Mul", in(x, m.Const(m.Signed(4), 4)))))
		}},
		{"one that nobody reads any more is gone", "folded into Conv", func(m *b) *v { return positive(m, image(m)) }},
		{"what a merged convolution had taken is in the other one", "folded into Conv, folded into Conv", func(m *b) *v {
			x := m.Input(1, 4, 6, 6)
			conv := func(taps int64, pads ...int64) *v {
				return m.BatchNorm(m.Op("Conv", in(x, m.Weight(4, 4, taps, taps), m.Weight(4)), "pads", pads), 4)
			}
			return m.Op("Add", in(conv(3, 1, 1, 1, 1), conv(1, 0, 0, 0, 0)))
		}},
		{"Neg is counted by nobody", "", func(m *b) *v { return m.Op("Neg", in(image(m))) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := modeltest.New(4)
			folded := m.Output(test.build(m))
			p, err := fold.Fold(t.Context(), folded, fold.Options{})
			if err != nil {
				t.Fatal(err)
			}
			foldtest.AddsUp(t, p, folded)
			var fates []string
			for _, x := range p.Maps {
				fate := string(x.Verdict) + " into"
				for _, n := range x.Into {
					fate += " " + n[:strings.IndexByte(n, ' ')]
				}
				fates = append(fates, fate)
			}
			if got := strings.Join(fates, ", "); got != test.fates {
				t.Errorf("%s, want %s: %+v", got, test.fates, p.Maps)
			}
		})
	}
}

func TestCount_NodeOfAFunctionCountsOncePerCall(t *testing.T) {
	m := modeltest.New(5)
	function(m, "F", "", 2, func(f *b, x []*v) *v { return f.Op("Mul", x) })
	x := m.Op("Tanh", in(image(m)))
	var parts []*v
	for k := range 3 {
		y := m.Op("Tanh", in(x))
		if k == 0 {
			y = same(m, y)
		}
		parts = append(parts, m.Op("Tanh", in(call(m, "F", "", in(y, m.Const([]float64{2}))))))
	}
	folded := m.Output(m.Op("Concat", parts, "axis", 1))
	p, err := fold.Fold(t.Context(), folded, fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	foldtest.AddsUp(t, p, folded)
	if p.Before != 3 || p.After != 2 {
		t.Errorf("%d -> %d per-channel nodes, want 3 -> 2", p.Before, p.After)
	}
}

// TestReason_OverflowAndUnderflowDiffer: a constant that would overflow is another thing than one that would be rounded to
// almost nothing.
func TestReason_NamesWhatTheOperandIs(t *testing.T) {
	conv := func(m *b) *v { return m.Conv(m.Input(1, 3, 5, 5), 3, 4, 3, 1) }
	for words, build := range map[string]func(m *b) *v{
		"is a sparse tensor": func(m *b) *v {
			sparse := &model.Value{Name: "sparse", DType: tensor.Float32, Shape: []int64{4, 3, 1, 1}, Graph: m.Model.Graph}
			return positive(m, m.Op("Conv", in(m.Input(1, 3, 5, 5), sparse)))
		},
		"is an expression of constants": func(m *b) *v {
			c := m.Op("Unheard", in(m.Const([]float64{1, 2, 3, 4}, 4, 1, 1)))
			c.DType, c.Shape, c.Producer.Domain = tensor.Float32, []int64{4, 1, 1}, "other"
			return m.Op("Mul", in(conv(m), c))
		},
		"multiplies a vector of shape [4]": func(m *b) *v {
			x := m.Op("Mul", in(m.Input(4), m.Const([]float64{1, 2, 3, 4}, 4)))
			return m.Op("MatMul", in(x, m.Weight(4, 3)))
		},
		"is computed at run time": func(m *b) *v {
			x := conv(m)
			c := m.Const([]float64{2})
			c.Input = true
			return m.Op("Mul", in(x, m.Op("Neg", in(c))))
		},
	} {
		m := modeltest.New(4)
		p, err := fold.Fold(t.Context(), m.Output(build(m)), fold.Options{})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, x := range p.Maps {
			if x.Reason != nil {
				text += x.Reason.Text + "\n"
			}
		}
		if !strings.Contains(text, words) {
			t.Errorf("%s: %+v", words, p.Maps)
		}
	}
}

func TestReason_OverflowAndUnderflowDiffer(t *testing.T) {
	for code, words := range map[fold.Code]string{
		fold.Overflow: "would overflow float16", fold.Underflow: "would become subnormal in float16", fold.Statistics: "not finite",
	} {
		m := modeltest.New(3)
		y := positive(m, image(m))
		w := y.Producer.In(0).Producer.In(1)
		w.DType, w.Const.DType = tensor.Float16, tensor.Float16
		folded := m.Output(m.Op("Tanh", in(y)))
		p, err := fold.Fold(t.Context(), folded, fold.Options{Refuse: map[string]fold.Code{w.Name: code}})
		if err != nil {
			t.Fatal(err)
		}
		foldtest.AddsUp(t, p, folded)
		why := p.Remaining[0].Reason
		if why.Code != code || !strings.Contains(why.Text, words) {
			t.Errorf("%s: %v", code, why)
		}
		others := []string{"overflow", "subnormal", "not finite"}
		others = slices.DeleteFunc(others, func(word string) bool { return strings.Contains(words, word) })
		for _, word := range others {
			if strings.Contains(why.Text, word) {
				t.Errorf("%s: %v", code, why)
			}
		}
	}
}

func TestMaps_MeetingMapsAreMergedNotFolded(t *testing.T) {
	m := modeltest.New(3)
	x, c := m.Op("Tanh", in(m.Input(2, 3, 4))), m.Const(m.Signed(4), 4)
	mean := m.Op("Mean", in(m.Op("Mul", in(x, c)), m.Op("Mul", in(m.Op("Sin", in(x)), c))))
	sub := m.Op("Sub", in(mean, m.Weight(4)))
	neg := m.Op("Neg", in(m.Op("Cos", in(m.Op("Neg", in(mean))))))
	model := m.Output(m.Op("Tanh", in(sub)), neg)
	plan, err := fold.Fold(t.Context(), model, fold.Options{})
	if err != nil {
		t.Fatal(err)
	}
	foldtest.AddsUp(t, plan, model)
	if plan.After > plan.Before {
		t.Errorf("%d per-channel nodes became %d", plan.Before, plan.After)
	}
	if n := plan.Tally(); n.Merged == 0 {
		t.Errorf("nothing was merged: %+v %+v", n, plan.Maps)
	}
}
