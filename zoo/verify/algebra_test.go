package verify_test

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/verify"
)

func TestAlgebra_HoldsForRandomGraphs(t *testing.T) {
	regions, largest := 0, 0.0
	for seed := uint64(1); seed <= 800; seed++ {
		random := []func(uint64, int) *model.Model{modeltest.Random, modeltest.RandomCut}[seed%2]
		original, folded := random(seed, 12), random(seed, 12)
		plan, err := fold.Fold(t.Context(), folded, fold.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.AlgebraUnrounded(context.Background(), original, folded, plan)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if r.Failed != "" || len(r.NotRun) > 0 {
			t.Errorf("seed %d: failed %q, not run %q", seed, r.Failed, r.NotRun)
		}
		regions, largest = regions+r.Passed, max(largest, r.Share)
	}
	t.Logf("%d regions, the largest share of the limit is %.2g", regions, largest)
	if regions < 200 {
		t.Errorf("only %d regions: the graphs test nothing", regions)
	}
	if largest > 0.1 {
		t.Errorf("a correct fold uses %.2g of the limit: it is no limit", largest)
	}
}

// Of a damaged graph some regions cannot be evaluated. None may differ.
func TestAlgebra_HoldsForDamagedGraphs(t *testing.T) {
	passed := 0
	seeds := []uint64{
		10363, // a slope that widens its input
		24758, // positions that are no integers
		24635, // operands that do not broadcast
		27676, // a scale of 2^31 before a batch normalisation
		31205, // a lower limit that is the largest number
		52548, // limits of a type that is not known
		53761, // a transposed convolution with negative pads
		65687, // what is multiplied by 1 beside what is not
	}
	for seed := uint64(1); seed <= 4000; seed++ {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		original, folded := modeltest.RandomCut(seed, 14), modeltest.RandomCut(seed, 14)
		for _, m := range []*model.Model{original, folded} {
			modeltest.Damage(m, rand.New(rand.NewPCG(seed, 4)))
		}
		plan, err := fold.Fold(t.Context(), folded, fold.Options{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		r, err := verify.AlgebraUnrounded(context.Background(), original, folded, plan)
		if err != nil || r.Failed != "" {
			t.Errorf("seed %d: %v %s", seed, err, r.Failed)
		}
		passed += r.Passed
	}
	if passed < 1000 {
		t.Errorf("only %d regions: the graphs test nothing", passed)
	}
}

const channels = 4

// parameters of a batch normalisation, with a variance small enough that its epsilon counts.
type parameters struct{ scale, bias, mean, variance []float64 }

func drawn(b *modeltest.Builder) parameters {
	return parameters{b.Signed(channels), b.Uniform(channels, -1, 1), b.Uniform(channels, -1, 1), b.Uniform(channels, 0.01, 0.02)}
}

func (p parameters) node(b *modeltest.Builder, x *model.Value) *model.Value {
	return b.Op("BatchNormalization", []*model.Value{x, b.Const(p.scale, channels), b.Const(p.bias, channels), b.Const(p.mean, channels), b.Const(p.variance, channels)})
}

const epsilon = float64(float32(1e-5))

// right is the map of the normalisation.
func (p parameters) right(c int) (s, t float64) {
	s = p.scale[c] / math.Sqrt(p.variance[c]+epsilon)
	return s, p.bias[c] - p.mean[c]*s
}

// pair builds the original and a folded model around the same input and output names.
func pair(seed uint64, original, folded func(b *modeltest.Builder, x *model.Value) *model.Value, shape ...int64) (*model.Model, *model.Model) {
	build := func(f func(b *modeltest.Builder, x *model.Value) *model.Value) *model.Model {
		b := modeltest.New(seed)
		x := b.Input(shape...)
		x.Name = "x"
		y := f(b, x)
		y.Name = "y"
		return b.Output(y)
	}
	return build(original), build(folded)
}

// afterConv folds a normalisation behind a convolution: w' = s(c)·w for the output channel c, b' as given.
func afterConv(groups int64, s func(p parameters, c int) float64, axis func(o, i int) int, bias func(p parameters, c int, b float64) float64) (*model.Model, *model.Model) {
	draw := modeltest.New(5)
	p := drawn(draw)
	w, b := draw.Uniform(channels*channels/groups*9, -1, 1), draw.Uniform(channels, -1, 1)
	conv := func(m *modeltest.Builder, x *model.Value, w, b []float64) *model.Value {
		return m.Op("Conv", []*model.Value{x, m.Const(w, channels, channels/groups, 3, 3), m.Const(b, channels)}, "group", int(groups), "kernel_shape", []int64{3, 3}, "pads", []int64{1, 1, 1, 1})
	}
	return pair(6, func(m *modeltest.Builder, x *model.Value) *model.Value { return p.node(m, conv(m, x, w, b)) },
		func(m *modeltest.Builder, x *model.Value) *model.Value {
			w2, b2 := make([]float64, len(w)), make([]float64, len(b))
			per := int(channels / groups)
			for e := range w {
				w2[e] = w[e] * s(p, axis(e/9/per, e/9%per))
			}
			for c := range b {
				b2[c] = bias(p, c, b[c])
			}
			return conv(m, x, w2, b2)
		}, 1, channels, 6, 6)
}

func scale(p parameters, c int) float64 { s, _ := p.right(c); return s }

func whole(p parameters, c int, b float64) float64 { s, t := p.right(c); return s*b + t }

func output(o, _ int) int { return o }

func TestAlgebra_CatchesPlantedBugs(t *testing.T) {
	withEpsilon := func(f func(p parameters, c int) float64) (*model.Model, *model.Model) {
		return afterConv(1, f, output, func(p parameters, c int, b float64) float64 { return f(p, c)*(b-p.mean[c]) + p.bias[c] })
	}
	forward := func(pad int64, border func(w float64) float64) (*model.Model, *model.Model) {
		draw := modeltest.New(7)
		p := drawn(draw)
		w := draw.Uniform(channels*channels*9, -1, 1)
		attrs := []any{"kernel_shape", []int64{3, 3}, "pads", []int64{pad, pad, pad, pad}}
		return pair(8, func(m *modeltest.Builder, x *model.Value) *model.Value {
			return m.Op("Conv", []*model.Value{p.node(m, x), m.Const(w, channels, channels, 3, 3)}, attrs...)
		}, func(m *modeltest.Builder, x *model.Value) *model.Value {
			w2, b2 := make([]float64, len(w)), make([]float64, channels)
			for e := range w {
				s, t := p.right(e / 9 % channels)
				w2[e] = w[e] * s
				b2[e/9/channels] += border(w[e]) * t
			}
			return m.Op("Conv", []*model.Value{x, m.Const(w2, channels, channels, 3, 3), m.Const(b2, channels)}, attrs...)
		}, 1, channels, 6, 6)
	}
	gemm := func(beta float64) (*model.Model, *model.Model) {
		draw := modeltest.New(9)
		p := drawn(draw)
		w, b := draw.Uniform(channels*channels, -1, 1), draw.Uniform(channels, -1, 1)
		attrs := []any{"alpha", 0.5, "beta", 2.0}
		return pair(10, func(m *modeltest.Builder, x *model.Value) *model.Value {
			return p.node(m, m.Op("Gemm", []*model.Value{x, m.Const(w, channels, channels), m.Const(b, channels)}, attrs...))
		}, func(m *modeltest.Builder, x *model.Value) *model.Value {
			w2, b2 := make([]float64, len(w)), make([]float64, len(b))
			for e := range w {
				s, _ := p.right(e % channels)
				w2[e] = w[e] * s
			}
			for c := range b {
				s, t := p.right(c)
				b2[c] = s*b[c] + t/beta
			}
			return m.Op("Gemm", []*model.Value{x, m.Const(w2, channels, channels), m.Const(b2, channels)}, attrs...)
		}, 3, channels)
	}
	// a scale of two thirds of 98 channels, counted in integers: 64. The folded model scales so many.
	thirds := func(scaled int) (*model.Model, *model.Model) {
		return pair(11, func(m *modeltest.Builder, x *model.Value) *model.Value {
			width := m.Op("Slice", []*model.Value{m.Op("Shape", []*model.Value{x}), m.Ints(1), m.Ints(2)})
			end := m.Op("Mul", []*model.Value{m.Op("Div", []*model.Value{width, m.Ints(3)}), m.Ints(2)})
			first := m.Op("Slice", []*model.Value{x, m.Ints(0), end, m.Ints(1)})
			rest := m.Op("Slice", []*model.Value{x, end, m.Ints(1 << 40), m.Ints(1)})
			return m.Op("Concat", []*model.Value{m.Op("Mul", []*model.Value{first, m.Const([]float64{2})}), rest}, "axis", 1)
		}, func(m *modeltest.Builder, x *model.Value) *model.Value {
			factors := slices.Repeat([]float64{1}, 98)
			for c := range scaled {
				factors[c] = 2
			}
			return m.Op("Mul", []*model.Value{x, m.Const(factors, 98, 1)})
		}, 1, 98, 5)
	}
	for _, test := range []struct {
		name    string
		correct bool
		pair    func() (original, folded *model.Model)
	}{
		{"a scale of two thirds of the channels", true, func() (*model.Model, *model.Model) { return thirds(64) }},
		{"a scale that reaches one channel too many", false, func() (*model.Model, *model.Model) { return thirds(65) }},
		{"the right fold of a convolution", true, func() (*model.Model, *model.Model) { return afterConv(1, scale, output, whole) }},
		{"the right fold of a grouped convolution", true, func() (*model.Model, *model.Model) { return afterConv(2, scale, output, whole) }},
		{"the right fold without a border", true, func() (*model.Model, *model.Model) { return forward(0, func(w float64) float64 { return w }) }},
		{"the right fold of a Gemm", true, func() (*model.Model, *model.Model) { return gemm(2) }},
		{"epsilon 1e-3 for 1e-5", false, func() (*model.Model, *model.Model) {
			return withEpsilon(func(p parameters, c int) float64 { return p.scale[c] / math.Sqrt(p.variance[c]+1e-3) })
		}},
		{"epsilon 1e-6 for 1e-5", false, func() (*model.Model, *model.Model) {
			return withEpsilon(func(p parameters, c int) float64 { return p.scale[c] / math.Sqrt(p.variance[c]+1e-6) })
		}},
		{"epsilon outside the root", false, func() (*model.Model, *model.Model) {
			return withEpsilon(func(p parameters, c int) float64 { return p.scale[c] / (math.Sqrt(p.variance[c]) + 1e-5) })
		}},
		{"an unscaled bias", false, func() (*model.Model, *model.Model) {
			return afterConv(1, scale, output, func(p parameters, c int, b float64) float64 { _, t := p.right(c); return b + t })
		}},
		{"scales on the input axis, of equal size", false, func() (*model.Model, *model.Model) {
			return afterConv(1, scale, func(_, i int) int { return i }, whole)
		}},
		{"scales of another group", false, func() (*model.Model, *model.Model) {
			return afterConv(2, scale, func(o, _ int) int { return (o + 2) % channels }, whole)
		}},
		{"a shift across a padded border", false, func() (*model.Model, *model.Model) { return forward(1, func(w float64) float64 { return w }) }},
		{"a forgotten beta", false, func() (*model.Model, *model.Model) { return gemm(1) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			original, folded := test.pair()
			plan := &fold.Plan{Regions: []fold.Region{{Inputs: []string{"x"}, Outputs: []string{"y"}}}, Unit: 0x1p-24}
			r, err := verify.Algebra(context.Background(), original, folded, plan)
			if err != nil {
				t.Fatal(err)
			}
			check := r.Check()
			if want := map[bool]outcome.CheckStatus{true: outcome.Passed, false: outcome.Mismatch}[test.correct]; check.Status != want {
				t.Errorf("%v: %s (%.3g of the limit), want %v", check.Status, check.Note, check.Difference, want)
			}
		})
	}
}

func TestAlgebra_ThatCannotRunIsNotPassed(t *testing.T) {
	b := modeltest.New(1)
	y := b.Op("SomethingUnknown", []*model.Value{b.Input(1, 4)})
	y.Name = "y"
	m := b.Output(y)
	r, err := verify.Algebra(context.Background(), m, m, &fold.Plan{Regions: []fold.Region{{Inputs: []string{m.Graph.Inputs[0].Name}, Outputs: []string{"y"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Check(); c.Status != outcome.NotRun || c.Note == "" {
		t.Errorf("the check is %v (%q), want not run, and why", c.Status, c.Note)
	}
}

func TestAlgebra_HoldsWhereValuesAreGone(t *testing.T) {
	first, last := []int64{0, 3, 1, 2}, []int64{0, 2, 3, 1}
	for name, build := range map[string]func(b *modeltest.Builder) *model.Value{
		"Transposes that cancel before a product": func(b *modeltest.Builder) *model.Value {
			x := b.Op("Transpose", []*model.Value{b.Input(1, 5, 6, 4)}, "perm", first)
			x = b.Op("Mul", []*model.Value{x, b.Const(b.Signed(4), 4, 1, 1)})
			return b.Op("MatMul", []*model.Value{b.Op("Transpose", []*model.Value{x}, "perm", last), b.Weight(4, 3)})
		},
		"Transposes that cancel behind a convolution": func(b *modeltest.Builder) *model.Value {
			x := b.Op("Transpose", []*model.Value{b.Conv(b.Input(1, 3, 6, 7), 3, 4, 3, 1)}, "perm", last)
			x = b.Op("Mul", []*model.Value{x, b.Const(b.Signed(4), 4)})
			return b.Op("Relu", []*model.Value{b.Op("Transpose", []*model.Value{x}, "perm", first)})
		},
		"a scale from a shape that nothing needs any more": func(b *modeltest.Builder) *model.Value {
			x := b.Op("Relu", []*model.Value{b.Input(1, 9, 16)})
			width := b.Op("Slice", []*model.Value{b.Op("Shape", []*model.Value{x}), b.Ints(-1), b.Ints(9)})
			scale := b.Op("Sqrt", []*model.Value{b.Op("Sqrt", []*model.Value{b.Op("Cast", []*model.Value{width}, "to", 1)})})
			return b.Op("Sigmoid", []*model.Value{b.Op("Mul", []*model.Value{b.Op("MatMul", []*model.Value{x, b.Weight(16, 4)}), scale})})
		},
		"maps that become one, from an expression of constants along the last axis": func(b *modeltest.Builder) *model.Value {
			x := b.Op("Mul", []*model.Value{b.Op("Identity", []*model.Value{b.Const(b.Signed(192), 192)}), b.Input(1, 196, 192)})
			return b.Op("Relu", []*model.Value{b.Op("Mul", []*model.Value{x, b.Const(b.Signed(192), 192)})})
		},
		"a bias cast to the type of a value that nothing else reads": func(b *modeltest.Builder) *model.Value {
			x := b.Op("Relu", []*model.Value{b.Input(1, 3, 6, 7)})
			bias := b.Op("Expand", []*model.Value{b.Op("CastLike", []*model.Value{b.Const([]float64{2}, 1), b.Op("Neg", []*model.Value{x})}), b.Ints(4)})
			y := b.Op("Conv", []*model.Value{x, b.Weight(4, 3, 3, 3), bias})
			return b.Op("Relu", []*model.Value{b.Op("Mul", []*model.Value{y, b.Const(b.Signed(4), 4, 1, 1)})})
		},
		"as many rows as the data say": func(b *modeltest.Builder) *model.Value {
			x := b.Op("Compress", []*model.Value{b.Input(1, 9, 16), b.Op("Cast", []*model.Value{b.Input(9)}, "to", 9)}, "axis", 1)
			y := b.Op("MatMul", []*model.Value{b.Op("Relu", []*model.Value{x}), b.Weight(16, 4)})
			return b.Op("Relu", []*model.Value{b.Op("Mul", []*model.Value{y, b.Const(b.Signed(4), 4)})})
		},
		"an embedding, probed with the rows of its table": func(b *modeltest.Builder) *model.Value {
			rows := b.Op("Cast", []*model.Value{b.Input(-1, 6)}, "to", 7)
			x := b.Op("Gather", []*model.Value{b.Weight(9, 4), rows})
			return b.Op("Tanh", []*model.Value{b.Op("Mul", []*model.Value{x, b.Const(b.Signed(4), 4)})})
		},
	} {
		original, folded := modeltest.New(5), modeltest.New(5)
		m, f := original.Output(build(original)), folded.Output(build(folded))
		plan, err := fold.Fold(t.Context(), f, fold.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.AlgebraUnrounded(context.Background(), m, f, plan)
		if err != nil || r.Failed != "" || len(r.NotRun) > 0 || r.Passed == 0 || plan.After > 1 {
			t.Errorf("%s: %d maps are left, %+v, %v", name, plan.After, r, err)
		}
	}
}

// A weight of more than 2^24 elements is read in parts, and a wrong element at its end is seen.
func TestAlgebra_ProvesWeightsOfAnySize(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 300 MB")
	}
	const out, in = 2048, 1024
	build := func(scale float64, last float64) *model.Model {
		m := modeltest.New(3)
		x := m.Input(1, in, 8, 8)
		x.Name = "x"
		c := pattern{last: last, elements: out * in * 9, scale: float32(scale)}
		w := m.Const([]float64{0}, 1)
		w.Const = &model.Constant{DType: tensor.Float32, Shape: []int64{out, in, 3, 3}, Data: c}
		y := m.Op("Conv", []*model.Value{x, w}, "pads", []int64{1, 1, 1, 1})
		if scale == 1 {
			y = m.Op("Mul", []*model.Value{y, m.Const([]float64{2})})
		}
		y.Name = "y"
		return m.Output(y)
	}
	plan := &fold.Plan{Regions: []fold.Region{{Inputs: []string{"x"}, Outputs: []string{"y"}}}, Unit: 0x1p-24}
	for _, last := range []float64{1, 1.5} {
		r, err := verify.Algebra(context.Background(), build(1, 1), build(2, last), plan)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]outcome.CheckStatus{true: outcome.Passed, false: outcome.Mismatch}[last == 1]; r.Check().Status != want {
			t.Errorf("the last element times %v: %v (%s), want %v", last, r.Check().Status, r.Check().Note, want)
		}
	}
}

// pattern is a weight that needs no memory: small numbers times a scale, the last one also times another.
type pattern struct {
	elements int64
	scale    float32
	last     float64
}

func (p pattern) ReadAt(raw []byte, off int64) (int, error) {
	for k := 0; k+4 <= len(raw); k += 4 {
		e := (off + int64(k)) / 4
		x := p.scale * float32(e%7-3)
		if e == p.elements-1 {
			x = p.scale * float32(p.last)
		}
		binary.LittleEndian.PutUint32(raw[k:], math.Float32bits(x))
	}
	return len(raw), nil
}
