package metal_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/metal"
	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// files keeps an output's files in memory.
type files map[string]*onnx.Memory

func (f files) Create(rel string) (format.OutputFile, error) {
	m := &onnx.Memory{}
	f[rel] = m
	return m.Create("")
}

// floats are the elements of an exported file, whose hash has to be the index's.
func (f files) floats(t *testing.T, folder string, x metal.File) []float64 {
	t.Helper()
	data := f[folder+"/"+x.File].Bytes()
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != x.SHA256 || x.DType != "float32" {
		t.Errorf("%s: hash or type differs from the index", x.File)
	}
	n := int64(1)
	for _, d := range x.Shape {
		n *= d
	}
	if int64(len(data)) != 4*n {
		t.Fatalf("%s: %d bytes for shape %v", x.File, len(data), x.Shape)
	}
	out := make([]float64, n)
	for k := range out {
		out[k] = float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*k:])))
	}
	return out
}

func export(t *testing.T, m *model.Model) (files, metal.Index) {
	t.Helper()
	f := files{}
	if err := metal.Export(context.Background(), m, f, "net.metal", cpu.New(1)); err != nil {
		t.Fatal(err)
	}
	var index metal.Index
	if err := json.Unmarshal(f["net.metal/index.json"].Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	return f, index
}

// run evaluates a model in float64.
func run(t *testing.T, m *model.Model, inputs ...*op.Array) *op.Array {
	t.Helper()
	known := map[*model.Value]*op.Array{nil: nil}
	for k, v := range m.Graph.Inputs {
		known[v] = inputs[k]
	}
	for _, v := range m.Graph.Consts {
		a, err := op.FromConstant(v.Const, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		known[v] = a
	}
	for _, n := range m.Graph.Nodes {
		in := make([]*op.Array, len(n.Inputs))
		for k, v := range n.Inputs {
			in[k] = known[v]
		}
		out, err := op.Eval(n, in)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range n.Outputs {
			known[v] = out[k]
		}
	}
	return known[m.Graph.Outputs[0]]
}

// convolve is Metal's documented sum, over an image [in, height, width]; transposed scatters instead of gathering.
func convolve(l metal.Layer, w, b []float64, x *op.Array, out []int64, transposed bool) []float64 {
	kh, kw, per := l.Weights.Shape[1], l.Weights.Shape[2], l.Weights.Shape[3]
	at := func(list []int64, k int, def int64) int64 {
		if k < len(list) {
			return list[k]
		}
		return def
	}
	sy, sx, dy, dx := at(l.Strides, 0, 1), at(l.Strides, 1, 1), at(l.Dilations, 0, 1), at(l.Dilations, 1, 1)
	top, left := at(l.Pads, 0, 0), at(l.Pads, 1, 0)
	height, width := x.Shape[2], x.Shape[3]
	y := make([]float64, out[1]*out[2]*out[3])
	for o := range out[1] {
		group := o / (out[1] / l.Groups)
		for r := range out[2] {
			for c := range out[3] {
				if b != nil {
					y[(o*out[2]+r)*out[3]+c] += b[o]
				}
			}
		}
		for ky := range kh {
			for kx := range kw {
				for i := range per {
					weight := w[((o*kh+ky)*kw+kx)*per+i]
					plane := x.Data[(group*per+i)*height*width:]
					if transposed {
						for r := range height {
							for c := range width {
								p, q := sy*r+dy*ky-top, sx*c+dx*kx-left
								if p >= 0 && p < out[2] && q >= 0 && q < out[3] {
									y[(o*out[2]+p)*out[3]+q] += weight * plane[r*width+c]
								}
							}
						}
						continue
					}
					for r := range out[2] {
						for c := range out[3] {
							p, q := sy*r+dy*ky-top, sx*c+dx*kx-left
							if p >= 0 && p < height && q >= 0 && q < width {
								y[(o*out[2]+r)*out[3]+c] += weight * plane[p*width+q]
							}
						}
					}
				}
			}
		}
	}
	return y
}

func image(rng *rand.Rand, shape ...int64) *op.Array {
	a, _ := op.NewArray(shape)
	for k := range a.Data {
		a.Data[k] = rng.NormFloat64()
	}
	return a
}

func same(t *testing.T, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d elements, want %d", len(got), len(want))
	}
	for k := range got {
		if math.Abs(got[k]-want[k]) > 1e-9*(1+math.Abs(want[k])) {
			t.Fatalf("element %d is %g, want %g", k, got[k], want[k])
		}
	}
}

func TestExport_ConvolutionsComputeByMetalsFormula(t *testing.T) {
	for seed := range uint64(40) {
		b := modeltest.New(seed)
		groups := int64(1 + b.Rand.IntN(3))
		in, out := groups*int64(1+b.Rand.IntN(3)), groups*int64(1+b.Rand.IntN(3))
		kh, kw := int64(1+b.Rand.IntN(3)), int64(1+b.Rand.IntN(3))
		attrs := []any{"group", int(groups), "kernel_shape", []int64{kh, kw}, "strides", []int64{1, 2}, "dilations", []int64{2, 1}, "pads", []int64{1, 0, 0, 1}}
		x := b.Input(1, in, 7, 6)
		typ, w := "Conv", b.Weight(out, in/groups, kh, kw)
		if seed%2 == 1 {
			typ, w = "ConvTranspose", b.Weight(in, out/groups, kh, kw)
		}
		inputs := []*model.Value{x, w}
		if seed%3 > 0 {
			inputs = append(inputs, b.Weight(out))
		}
		m := b.Output(b.Op(typ, inputs, attrs...))
		f, index := export(t, m)
		if len(index.Layers) != 1 || len(index.Left) != 0 {
			t.Fatalf("%+v", index)
		}
		l := index.Layers[0]
		var bias []float64
		if l.Bias != nil {
			bias = f.floats(t, "net.metal", *l.Bias)
		}
		input := image(b.Rand, 1, in, 7, 6)
		want := run(t, m, input)
		same(t, convolve(l, f.floats(t, "net.metal", l.Weights), bias, input, want.Shape, typ == "ConvTranspose"), want.Data)
	}
}

func TestExport_FullyConnectedLayersAreConvolutionsOfTheirImage(t *testing.T) {
	for seed := range uint64(32) {
		b := modeltest.New(seed)
		channelsLast, transposed, product, flat := seed&1 != 0, seed&2 != 0, seed&4 != 0, seed&8 != 0
		const c, h, w, out = 3, 2, 4, 5
		x := b.Input(1, c, h, w)
		v := x
		if channelsLast {
			v = b.Op("Transpose", []*model.Value{v}, "perm", []int64{0, 2, 3, 1})
		}
		v = b.Op("Relu", []*model.Value{v})
		v = b.Op("Flatten", []*model.Value{v})
		if flat {
			v = b.Op("Sigmoid", []*model.Value{v})
		}
		switch {
		case product:
			v = b.Op("MatMul", []*model.Value{v, b.Weight(c*h*w, out)})
			v = b.Op("Add", []*model.Value{v, b.Weight(out)})
		case transposed:
			v = b.Op("Gemm", []*model.Value{v, b.Weight(out, c*h*w), b.Weight(out)}, "transB", 1)
		default:
			v = b.Op("Gemm", []*model.Value{v, b.Weight(c*h*w, out), b.Weight(1, out)})
		}
		m := b.Output(v)
		f, index := export(t, m)
		if len(index.Layers) != 1 || len(index.Left) != 0 || index.Layers[0].Bias == nil {
			t.Fatalf("%+v", index)
		}
		l := index.Layers[0]
		if l.Weights.Shape[1] != h || l.Weights.Shape[2] != w || l.Weights.Shape[3] != c {
			t.Fatalf("shape %v", l.Weights.Shape)
		}
		input := image(b.Rand, 1, c, h, w)
		want := run(t, m, input)
		for k, y := range input.Data { // what reaches the layer, in the image's own order
			if y = max(y, 0); flat {
				y = 1 / (1 + math.Exp(-y))
			}
			input.Data[k] = y
		}
		same(t, convolve(l, f.floats(t, "net.metal", l.Weights), f.floats(t, "net.metal", *l.Bias), input, []int64{1, out, 1, 1}, false), want.Data)
	}
}

func TestExport_FactorsAndOtherTypesBecomeFloat32(t *testing.T) {
	b := modeltest.New(1)
	w := b.Const([]float64{1, 2, 3, 4, 5, 6, 7, 8}, 2, 4, 1, 1)
	raw := make(tensor.Buffer, 16)
	if err := tensor.Encode(raw, w.Const.Values, tensor.Float16); err != nil {
		t.Fatal(err)
	}
	w.Const = &model.Constant{DType: tensor.Float16, Shape: w.Shape, Data: raw, Factors: []tensor.Factor{{Layout: tensor.AxisLayout(w.Shape, 0), Scale: []float64{2, -1}}}}
	m := b.Output(b.Op("Conv", []*model.Value{b.Input(1, 4, 2, 2), w}))
	f, index := export(t, m)
	got := f.floats(t, "net.metal", index.Layers[0].Weights)
	same(t, got, []float64{2, 4, 6, 8, -5, -6, -7, -8})
}

func TestIndex_ListsWhatMetalCannotHold(t *testing.T) {
	b := modeltest.New(1)
	x := b.BatchNorm(b.Conv(b.Input(1, 2, 5, 5), 2, 3, 3, 1), 3)
	x = b.Op("Conv", []*model.Value{x, b.Weight(2, 3, 1, 1, 1)})
	_, index := export(t, b.Output(x))
	if len(index.Layers) != 1 || len(index.Left) != 2 || !strings.HasPrefix(index.Left[0].Node, "BatchNormalization") || !strings.Contains(index.Left[1].Reason, "5 axes") {
		t.Errorf("%+v", index)
	}
}

func TestFileNames_AreDistinctAndStayInTheFolder(t *testing.T) {
	b := modeltest.New(1)
	x := b.Input(1, 2, 5, 5)
	for _, name := range []string{"../a/b", ".._a_b", "A", "a", "", strings.Repeat("x", 500)} {
		x = b.Conv(x, 2, 2, 1, 1)
		x.Producer.Name = name
	}
	f, index := export(t, b.Output(x))
	seen := map[string]bool{}
	for _, l := range index.Layers {
		name := strings.ToLower(l.Weights.File)
		if seen[name] || strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") || len(name) > 255 {
			t.Errorf("file %q", name)
		}
		seen[name] = true
	}
	if len(index.Layers) != 6 || len(f) != 13 {
		t.Errorf("%d layers, %d files", len(index.Layers), len(f))
	}
}
