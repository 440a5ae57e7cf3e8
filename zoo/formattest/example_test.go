package formattest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// A .dense file is one fully connected layer: a line of text, "dense OUTPUTS INPUTS BIAS NORM EPSILON", and float32 numbers,
// little endian. These are the weight [OUTPUTS, INPUTS], and vectors of OUTPUTS numbers: the bias where BIAS is 1, and γ, β, μ
// and σ² of a batch normalisation where NORM is 1. Some programs write the weight as [INPUTS, OUTPUTS], and nothing in the file
// says so.

func init() {
	format.Register(format.Format{
		Name: "dense", Version: 1, Extensions: []string{".dense"}, Open: open,
		Settings: []format.Setting{{
			Key: "order", Words: []string{"outputs", "inputs"},
			Doc: "which axis of its weight a dense file has first: the layer's outputs or its inputs",
		}},
	})
}

// header is what the line says.
type header struct {
	outputs, inputs int64
	bias, norm      int
	epsilon         float64
}

func (h header) String() string {
	return fmt.Sprintf("dense %d %d %d %d %g\n", h.outputs, h.inputs, h.bias, h.norm, h.epsilon)
}

// file is an open model.
type file struct {
	f        *os.File
	header   header
	inputs   bool        // the weight is [INPUTS, OUTPUTS]
	line     format.Span // of the header, in the file
	model    *model.Model
	gemm, bn *model.Node // bn is nil where there is none
	tensors  []*stored
}

// stored is a tensor of the file: what reads it, and the constant that it was opened as.
type stored struct {
	node  *model.Node
	input int
	was   *model.Constant
	at    format.Span
}

func open(_ context.Context, path string, o format.Options) (format.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	d := &file{f: f, inputs: o.Settings["dense.order"] == "inputs"}
	if err := d.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return d, nil
}

// read makes the graph. Elements stay in the file: a constant's Data reads them when they are asked for.
func (d *file) read() error {
	line, err := bufio.NewReader(io.LimitReader(d.f, 200)).ReadString('\n')
	h := &d.header
	if _, scan := fmt.Sscanf(line, "dense %d %d %d %d %g\n", &h.outputs, &h.inputs, &h.bias, &h.norm, &h.epsilon); err != nil || scan != nil {
		return fmt.Errorf("the first line is no header: %w", format.ErrCorrupt)
	}
	info, err := d.f.Stat()
	if err != nil {
		return err
	}
	vectors := int64(h.bias + 4*h.norm)
	elements, ok := tensor.Elements([]int64{h.outputs, h.inputs})
	if !ok || h.outputs < 1 || h.inputs < 1 || h.bias|h.norm|1 != 1 || !(h.epsilon >= 0) || elements > info.Size() || info.Size() != int64(len(line))+4*(elements+vectors*h.outputs) {
		return fmt.Errorf("%d bytes do not hold what the first line says: %w", info.Size(), format.ErrCorrupt)
	}
	d.line = format.Span{To: int64(len(line))}

	d.model = &model.Model{Opset: map[string]int64{"": 17}, Place: d.place}
	g := &model.Graph{Model: d.model, Name: "dense"}
	d.model.Graph = g
	x := &model.Value{Name: "x", DType: tensor.Float32, Shape: []int64{-1, h.inputs}, Graph: g, Input: true}
	g.Inputs = []*model.Value{x}
	next := d.line.To
	read := func(n *model.Node, k int, name string, shape ...int64) {
		elements, _ := tensor.Elements(shape)
		at := format.Span{From: next, To: next + 4*elements}
		next = at.To
		c := &model.Constant{DType: tensor.Float32, Shape: shape, Data: io.NewSectionReader(d.f, at.From, at.Len())}
		n.Set(k, g.AddConst(name, c))
		d.tensors = append(d.tensors, &stored{n, k, c, at})
	}
	out := "y"
	if h.norm == 1 {
		out = "sum"
	}
	if d.inputs {
		d.gemm = g.Append("Gemm", "dense", []*model.Value{x}, nil, out)
		read(d.gemm, 1, "weight", h.inputs, h.outputs)
	} else {
		d.gemm = g.Append("Gemm", "dense", []*model.Value{x}, model.Attrs("transB", 1), out)
		read(d.gemm, 1, "weight", h.outputs, h.inputs)
	}
	if h.bias == 1 {
		read(d.gemm, 2, "bias", h.outputs)
	}
	last := d.gemm
	if h.norm == 1 {
		d.bn = g.Append("BatchNormalization", "norm", d.gemm.Outputs, []model.Attr{model.Float("epsilon", h.epsilon)}, "y")
		for k, name := range []string{"gamma", "beta", "mean", "variance"} {
			read(d.bn, k+1, name, h.outputs)
		}
		last = d.bn
	}
	for _, n := range g.Nodes {
		n.Edited = false
		n.Outputs[0].DType, n.Outputs[0].Shape = tensor.Float32, []int64{-1, h.outputs}
	}
	last.Outputs[0].Output = true
	g.Outputs = last.Outputs
	return nil
}

// place says what the file has of an input: its tensors, and a bias that it can have.
func (d *file) place(n *model.Node, k int) model.Place {
	switch {
	case slices.ContainsFunc(d.tensors, func(t *stored) bool { return t.node == n && t.input == k }):
		return model.Stored
	case n == d.gemm && k == 2:
		return model.Gained
	}
	return model.NoPlace
}

func (d *file) Model() *model.Model { return d.model }
func (d *file) Inputs() []string    { return []string{d.f.Name()} }
func (d *file) Close() error        { return d.f.Close() }

// Write writes the header anew if a bias came or the normalisation went, copies tensors that nothing changed, has the backend
// rescale those with factors, and encodes those that folding computed. All values keep their names.
func (d *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	h := d.header
	tensors := slices.Clone(d.tensors)
	if h.bias == 0 && d.gemm.In(2) != nil {
		h.bias = 1
		tensors = slices.Insert(tensors, 1, &stored{node: d.gemm, input: 2})
	}
	if d.bn != nil && d.bn.Removed() {
		h.norm, h.epsilon = 0, 0
		tensors = slices.DeleteFunc(tensors, func(t *stored) bool { return t.node == d.bn })
	}
	pieces := []format.Piece{{Copied: d.line}}
	if h != d.header {
		pieces[0] = format.Piece{Made: []byte(h.String())}
	}
	for _, t := range tensors {
		v := t.node.In(t.input)
		if v == nil || v.Const == nil {
			return nil, fmt.Errorf("%v reads no constant as input %d", t.node, t.input)
		}
		switch c := v.Const; {
		case c == t.was:
			pieces = append(pieces, format.Piece{Copied: t.at})
		case c.Data != nil:
			pieces = append(pieces, format.Piece{Scaled: format.NewScaled(v.Name, v.Name, c)})
		default:
			made, err := c.Encode()
			if err != nil {
				return nil, fmt.Errorf("%q: %w", v.Name, err)
			}
			pieces = append(pieces, format.Piece{Made: made})
		}
	}
	return nil, format.Splice(ctx, out, "", d.f, pieces, backend)
}

// generate writes a layer of each kind.
func generate(seed uint64, folder string) (string, format.Options, error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	h := header{1 + rng.Int64N(5), 1 + rng.Int64N(5), int(seed & 1), int(seed >> 1 & 1), 0}
	numbers := make([]float64, h.outputs*h.inputs+int64(h.bias)*h.outputs)
	for k := range numbers {
		numbers[k] = rng.NormFloat64()
	}
	if h.norm == 1 {
		h.epsilon = 0.001
		for range 4 * h.outputs { // a variance is positive
			numbers = append(numbers, 0.5+rng.Float64())
		}
	}
	data, err := (&model.Constant{DType: tensor.Float32, Shape: []int64{int64(len(numbers))}, Values: numbers}).Encode()
	path := filepath.Join(folder, "layer.dense")
	o := format.Options{Settings: map[string]string{"dense.order": []string{"outputs", "inputs"}[seed>>2&1]}}
	return path, o, errors.Join(err, os.WriteFile(path, append([]byte(h.String()), data...), 0o666))
}

func TestSuite_Dense(t *testing.T) {
	formattest.Suite{Generate: generate, Seeds: 16, Damages: 200}.Run(t)
}

// A setting is declared with the format, and nowhere else.
func TestDense_SettingIsKnownToManifests(t *testing.T) {
	const text = "version: 1\nzoo: zoo\nout: out\nmodels: [{match: '*.dense', dense: {order: %s}}]\n"
	m, err := manifests.Parse("models.yaml", fmt.Appendf(nil, text, "inputs"))
	if err != nil || m.Rules[0].Formats["dense.order"] != "inputs" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := manifests.Parse("models.yaml", fmt.Appendf(nil, text, "input")); err == nil || !strings.Contains(err.Error(), `"input" is not one of outputs, inputs (did you mean "inputs"?)`) {
		t.Errorf("a wrong word: %v", err)
	}
	if schema := string(manifests.Schema()); !strings.Contains(schema, `"order": {"default":"outputs","description":"Which axis of its weight`) {
		t.Errorf("the schema is\n%s", schema)
	}
}

func TestDense_BiasReplacesItsNormalisation(t *testing.T) {
	path, _, err := generate(2, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(formattest.Read(t, formattest.Written(t, path, format.Options{})), []byte("\n"))
	var h header
	if _, err := fmt.Sscanf(string(line), "dense %d %d %d %d %g", &h.outputs, &h.inputs, &h.bias, &h.norm, &h.epsilon); err != nil || h.bias != 1 || h.norm != 0 {
		t.Errorf("%q, %v", line, err)
	}
}
