// Package metal writes the weights of any model in the form of Metal Performance Shaders. Every convolution and fully
// connected layer gets a raw little-endian float32 file NAME_W.bin in the order [out, kernel height, kernel width,
// in/groups], and NAME_b.bin with its biases. The file index.json says what each file holds. A fully connected layer behind
// a flattened image is a convolution whose kernel is the image.
//
// The order is that of MPSCNNConvolution and MPSCNNFullyConnected (Apple's MPSCNNConvolutionDataSource, weights): with
// W[o][y][x][i] the weight of output channel o, the output at (o, r, c) of a convolution of stride s and dilation d is
//
//	b[o] + Σ W[o][y][x][i] · in[g(o)·I + i][s·r + d·y − top][s·c + d·x − left]
//
// where I is in/groups and g(o) the group of o.
package metal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	format.RegisterExporter(format.Exporter{Name: "metal", Suffix: ".metal", Version: 2, Main: mainFile, Export: Export})
}

// mainFile is written last.
const mainFile = "index.json"

// Index is what index.json holds.
type Index struct {
	Version int     `json:"version"` // 1
	Layers  []Layer `json:"layers"`  // in the order of the network
	Left    []Left  `json:"left"`    // nodes whose parameters are not exported
}

// Layer is one convolution or fully connected layer.
type Layer struct {
	Name     string `json:"name"`
	Operator string `json:"operator"` // Conv, ConvTranspose, Gemm or MatMul, as in ONNX
	Groups   int64  `json:"groups"`
	Weights  File   `json:"weights"`
	Bias     *File  `json:"bias,omitempty"`

	Strides   []int64 `json:"strides,omitempty"`
	Dilations []int64 `json:"dilations,omitempty"`
	Pads      []int64 `json:"pads,omitempty"` // top, left, bottom, right
	AutoPad   string  `json:"auto_pad,omitempty"`
}

// File is one tensor.
type File struct {
	File   string  `json:"file"`
	Shape  []int64 `json:"shape"`
	Order  string  `json:"order"` // OHWI for weights, O for biases
	DType  string  `json:"dtype"` // float32
	SHA256 string  `json:"sha256"`
}

// Left is a node whose parameters are not exported: Metal's layers do not compute it.
type Left struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Export writes the folder rel of the output. Constants that carry factors are rescaled by the backend first. Weights are
// held in memory one at a time.
func Export(ctx context.Context, m *model.Model, out format.Output, rel string, backend tensor.Backend) error {
	consts := op.Constants()
	op.Infer(m, consts)
	e := &exporter{out: out, folder: rel, backend: backend, consts: consts, index: Index{Version: 1, Layers: []Layer{}, Left: []Left{}}, names: map[string]bool{}, biases: map[*model.Node]bool{}}
	for _, n := range m.Graph.Nodes {
		if err := e.node(ctx, n); err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
	}
	text, err := json.MarshalIndent(e.index, "", " ")
	if err != nil {
		return err
	}
	_, err = e.write(ctx, mainFile, tensor.Buffer(append(text, '\n')))
	return err
}

type exporter struct {
	out     format.Output
	folder  string
	backend tensor.Backend
	consts  *op.Folder
	index   Index
	names   map[string]bool      // of files, in lower case
	biases  map[*model.Node]bool // Adds that are the biases of the MatMuls before them
}

// node exports a node's parameters, or lists the node in Index.Left.
func (e *exporter) node(ctx context.Context, n *model.Node) error {
	if n.Domain != "" || e.biases[n] {
		return nil
	}
	layer, why := e.layer(n)
	switch {
	case why != "":
		e.index.Left = append(e.index.Left, Left{n.String(), why})
		return nil
	case layer == nil:
		return nil
	}
	name := e.name(n)
	l := Layer{
		Name: n.Name, Operator: n.Type, Groups: n.Int("group", 1),
		Strides: n.Ints("strides"), Dilations: n.Ints("dilations"), Pads: n.Ints("pads"), AutoPad: n.Str("auto_pad", ""),
	}
	if l.Name == "" {
		l.Name = n.Outputs[0].Name
	}
	var err error
	if l.Weights, err = e.tensor(ctx, name+"_W.bin", layer.weight, layer.view, layer.perm, layer.shape, "OHWI"); err != nil {
		return err
	}
	if layer.bias != nil {
		b, err := e.tensor(ctx, name+"_b.bin", layer.bias, layer.bias.Shape, nil, layer.shape[:1], "O")
		if err != nil {
			return err
		}
		l.Bias = &b
	}
	e.index.Layers = append(e.index.Layers, l)
	return nil
}

// name is a file name made of a node's, which no other node has.
func (e *exporter) name(n *model.Node) string {
	hint := n.Name
	if hint == "" {
		hint = n.Outputs[0].Name
	}
	hint = strings.TrimLeft(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-_.", r):
			return r
		}
		return '_'
	}, hint), ".")
	if len(hint) > 200 {
		hint = hint[:200]
	}
	name := hint
	for k := 1; name == "" || e.names[strings.ToLower(name)]; k++ {
		name = fmt.Sprintf("%s_%d", hint, k)
	}
	e.names[strings.ToLower(name)] = true // file systems that ignore case
	return name
}

// tensor writes a constant as float32, its axes, as the view has them, in another order.
func (e *exporter) tensor(ctx context.Context, name string, c *model.Constant, view []int64, perm []int, shape []int64, order string) (File, error) {
	raw, err := e.raw(ctx, c)
	if err != nil {
		return File{}, err
	}
	var elements io.ReaderAt = raw
	if perm != nil {
		elements = tensor.Permuted(raw, view, perm, c.DType.Size())
	}
	if c.DType != tensor.Float32 {
		if elements, err = narrowed(elements, c); err != nil {
			return File{}, err
		}
	}
	n, _ := c.Elements()
	sum, err := e.write(ctx, name, io.NewSectionReader(elements, 0, 4*n))
	return File{name, slices.Clone(shape), order, "float32", sum}, err
}

// raw are a constant's elements as its file stores them, its factors applied.
func (e *exporter) raw(ctx context.Context, c *model.Constant) (tensor.Buffer, error) {
	if c.Data == nil {
		return c.Encode()
	}
	raw := make(tensor.Buffer, c.Bytes())
	if len(c.Factors) > 0 {
		return raw, format.NewScaled("", "", c).Write(ctx, e.backend, raw, 0)
	}
	return raw, tensor.ReadFull(c.Data, raw, 0)
}

// narrowed converts elements of another type to float32, rounded once.
func narrowed(elements io.ReaderAt, c *model.Constant) (tensor.Buffer, error) {
	n, _ := c.Elements()
	raw, values, out := make([]byte, c.Bytes()), make([]float64, n), make(tensor.Buffer, 4*n)
	return out, errors.Join(tensor.ReadFull(elements, raw, 0), tensor.Decode(values, raw, c.DType), tensor.Encode(out, values, tensor.Float32))
}

// write writes one file and is its SHA-256.
func (e *exporter) write(ctx context.Context, name string, content io.ReaderAt) (sum string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	to, err := e.out.Create(path.Join(e.folder, name))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(to, hash), io.NewSectionReader(content, 0, 1<<62))
	return hex.EncodeToString(hash.Sum(nil)), err
}
