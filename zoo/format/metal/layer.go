package metal

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

// parameters are a layer's constants, and how its weight is rearranged to [out, height, width, in/groups].
type parameters struct {
	weight, bias *model.Constant
	view         []int64 // the weight's shape, with axes split that are moved to different places
	perm         []int   // of the view; nil: the elements stay in order
	shape        []int64 // [out, height, width, in/groups]
}

// layer reads a node as a layer, or says why its parameters are not exported; both results are empty for nodes without
// parameters.
func (e *exporter) layer(n *model.Node) (*parameters, string) {
	switch n.Type {
	case "Conv", "ConvTranspose":
		return e.convolution(n)
	case "Gemm":
		return e.gemm(n)
	case "MatMul":
		return e.matMul(n)
	case "Constant", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad", "Clip", "Resize", "Gather", "ReduceMean", "Expand", "Tile":
		return nil, "" // their constants are settings, not parameters
	}
	for _, v := range n.Inputs {
		if v != nil && v.Const != nil && v.Const.DType.Float() {
			return nil, "it is no convolution or fully connected layer: fold the model first, or compute it beside them"
		}
	}
	return nil, ""
}

// floats is input k as a constant of floats.
func floats(n *model.Node, k int) *model.Constant {
	if v := n.In(k); v != nil && v.Const != nil && v.Const.DType.Float() {
		return v.Const
	}
	return nil
}

func (e *exporter) convolution(n *model.Node) (*parameters, string) {
	p := &parameters{weight: floats(n, 1), bias: floats(n, 2)}
	if p.weight == nil || n.In(2) != nil && p.bias == nil {
		return nil, "its weight or bias is no constant of floats"
	}
	w, groups := p.weight.Shape, n.Int("group", 1)
	height := int64(1)
	switch {
	case len(w) == 4:
		height = w[2]
	case len(w) != 3:
		return nil, fmt.Sprintf("its weight has %d axes, Metal's convolutions have one or two spatial ones", len(w))
	}
	if groups < 1 || w[0]%groups != 0 {
		return nil, fmt.Sprintf("its weight has shape %v for %d groups", w, groups)
	}
	width := w[len(w)-1]
	if n.Type == "Conv" { // [out, in/groups, height, width]
		p.view, p.perm, p.shape = []int64{w[0], w[1], height, width}, []int{0, 2, 3, 1}, []int64{w[0], height, width, w[1]}
		return p, ""
	}
	// [groups · in/groups, out/groups, height, width]
	p.view, p.perm = []int64{groups, w[0] / groups, w[1], height, width}, []int{0, 2, 3, 4, 1}
	p.shape = []int64{groups * w[1], height, width, w[0] / groups}
	return p, ""
}

func (e *exporter) gemm(n *model.Node) (*parameters, string) {
	p := &parameters{weight: floats(n, 1), bias: floats(n, 2)}
	switch {
	case p.weight == nil || len(p.weight.Shape) != 2 || n.In(2) != nil && p.bias == nil:
		return nil, "its weight or bias is no constant of floats"
	case n.Int("transA", 0) != 0 || n.Float("alpha", 1) != 1 || p.bias != nil && n.Float("beta", 1) != 1:
		return nil, "it transposes its input, or multiplies by alpha or beta"
	}
	return e.connected(n, p, n.Int("transB", 0) != 0)
}

func (e *exporter) matMul(n *model.Node) (*parameters, string) {
	p := &parameters{weight: floats(n, 1)}
	if p.weight == nil && floats(n, 0) == nil {
		return nil, ""
	}
	if p.weight == nil || len(p.weight.Shape) != 2 {
		return nil, "its weight is not a matrix on the right"
	}
	if y := n.Outputs[0]; len(y.Uses) == 1 && !y.Output && y.Uses[0].Node.Type == "Add" {
		add := y.Uses[0].Node
		if c := floats(add, 1-y.Uses[0].Index); c != nil && len(c.Shape) == 1 && c.Shape[0] == p.weight.Shape[1] {
			p.bias, e.biases[add] = c, true
		}
	}
	return e.connected(n, p, false)
}

// connected completes a fully connected layer whose weight is [out, in] or, not transposed, [in, out].
func (e *exporter) connected(n *model.Node, p *parameters, transposed bool) (*parameters, string) {
	w := p.weight.Shape
	in, out := w[0], w[1]
	if transposed {
		in, out = out, in
	}
	if p.bias != nil {
		if b, _ := p.bias.Elements(); b != out || len(p.bias.Shape) > 0 && p.bias.Shape[len(p.bias.Shape)-1] != out {
			return nil, fmt.Sprintf("its bias has shape %v, not one element for each of its %d outputs", p.bias.Shape, out)
		}
	}
	image, channelsLast := flattened(n.In(0), in) // the axes of the input: [in, height, width], or [height, width, in]
	p.shape = []int64{out, 1, 1, in}
	if image != nil {
		p.shape = []int64{out, image[1], image[2], image[0]}
		if channelsLast {
			p.shape = []int64{out, image[0], image[1], image[2]}
		}
	}
	if image == nil {
		image, channelsLast = []int64{1, 1, in}, true
	}
	switch {
	case transposed && channelsLast:
	case transposed: // [out, in, height, width]
		p.view, p.perm = append([]int64{out}, image...), []int{0, 2, 3, 1}
	case channelsLast: // [height, width, in, out]
		p.view, p.perm = append(slices.Clone(image), out), []int{3, 0, 1, 2}
	default: // [in, height, width, out]
		p.view, p.perm = append(slices.Clone(image), out), []int{3, 1, 2, 0}
	}
	return p, ""
}

// flattened are the extents, without the batch, of the image that v is the flattened form of, and whether its channels are
// the last axis; nil if v is not a flattened image.
func flattened(v *model.Value, in int64) (image []int64, channelsLast bool) {
	for range maxSteps {
		n := v.Producer
		if n == nil {
			return nil, false
		}
		x := n.In(0)
		switch {
		case n.Type == "Flatten" || n.Type == "Reshape" || n.Type == "Squeeze":
			if x == nil || len(x.Shape) != 4 || slices.Min(x.Shape[1:]) < 0 || x.Shape[1]*x.Shape[2]*x.Shape[3] != in {
				return nil, false
			}
			return x.Shape[1:], lastAxisIsChannels(x)
		case elementwise(n) && x != nil:
			v = x
		default:
			return nil, false
		}
	}
	return nil, false
}

// maxSteps bounds the operators that are followed back from a value.
const maxSteps = 64

// elementwise says whether a node leaves the elements of its first input where they are.
func elementwise(n *model.Node) bool {
	o := op.Of(n)
	return o.Elementwise || o.PerChannel
}

// lastAxisIsChannels says whether an image comes from a Transpose that put its channels last.
func lastAxisIsChannels(v *model.Value) bool {
	for range maxSteps {
		n := v.Producer
		switch {
		case n == nil:
			return false
		case n.Type == "Transpose":
			return slices.Equal(n.Ints("perm"), []int64{0, 2, 3, 1})
		case !elementwise(n) || n.In(0) == nil:
			return false
		}
		v = n.Inputs[0]
		if v.Const != nil {
			return false
		}
	}
	return false
}
