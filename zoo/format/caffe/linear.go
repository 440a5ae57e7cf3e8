package caffe

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	rules["Convolution"] = convolution
	rules["DepthwiseConvolution"] = convolution
	rules["ConvolutionDepthwise"] = convolution
	rules["Deconvolution"] = convolution
	rules["InnerProduct"] = innerProduct
}

// window are the sizes of a convolution along each spatial axis.
type window struct{ kernel, pad, stride, dilation []int64 }

// attrs are the window as ONNX's attributes.
func (w window) attrs() []model.Attr {
	return []model.Attr{
		model.Ints("kernel_shape", w.kernel...), model.Ints("pads", append(slices.Clone(w.pad), w.pad...)...),
		model.Ints("strides", w.stride...), model.Ints("dilations", w.dilation...),
	}
}

// window reads a convolution's sizes for n spatial axes.
func (p *params) window(n int) (window, error) {
	w := window{
		kernel: p.spatial("kernel_size", "kernel", n, 0), pad: p.spatial("pad", "pad", n, 0),
		stride: p.spatial("stride", "stride", n, 1), dilation: p.spatial("dilation", "dilation", n, 1),
	}
	if p.err != nil {
		return w, p.err
	}
	for _, list := range [][]int64{w.kernel, w.pad, w.stride, w.dilation} {
		if list == nil {
			return w, opaque("a height without a width, or a width without a height")
		}
		if len(list) != n || slices.Min(list) < 0 {
			return w, fmt.Errorf("kernel %v, pad %v, stride %v, dilation %v for %d spatial axes: %w", w.kernel, w.pad, w.stride, w.dilation, n, format.ErrCorrupt)
		}
	}
	if slices.Min(w.kernel) < 1 || slices.Min(w.stride) < 1 || slices.Min(w.dilation) < 1 {
		return w, fmt.Errorf("kernel %v, stride %v, dilation %v have to be positive: %w", w.kernel, w.stride, w.dilation, format.ErrCorrupt)
	}
	return w, nil
}

// convolution: the kernel has shape [out, in/group, kernel…], a deconvolution's [in, out/group, kernel…], as ONNX has it.
func convolution(b *builder) error {
	l := b.layer
	p := b.params("convolution_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in, bias := b.shape(0), p.bool("bias_term", true)
	out, group, axis := p.int("num_output", 0), p.int("group", 1), p.int("axis", 1)
	rank := len(in)
	if in == nil {
		rank = 4
		if len(l.weights) > 0 {
			rank = max(len(l.weights[0].shape), 3)
		}
	}
	if axis < 0 {
		axis += int64(rank)
	}
	if axis != 1 || rank < 3 {
		return errOpaque
	}
	w, err := p.window(rank - 2)
	if err != nil {
		return err
	}
	if err := b.wants(1 + truth(bias)); err != nil {
		return err
	}
	if l.typ == "ConvolutionDepthwise" { // it has one group for each channel, without saying so
		group = out
	}
	channels := int64(-1)
	if in != nil {
		channels = in[1]
	}
	if out < 1 || group < 1 || out%group != 0 || channels > 0 && channels%group != 0 {
		return fmt.Errorf("%d outputs, %d groups for %d channels: %w", out, group, channels, format.ErrCorrupt)
	}
	inGroup := int64(-1)
	if channels > 0 {
		inGroup = channels / group
	}
	want, typ := append([]int64{out, inGroup}, w.kernel...), "Conv"
	if l.typ == "Deconvolution" {
		want, typ = append([]int64{channels, out / group}, w.kernel...), "ConvTranspose"
	}
	extents, err := b.weightShape(0, want...)
	if err != nil {
		return err
	}
	inputs := []*model.Value{b.in(0), b.weight(0, "weight", extents)}
	if bias {
		if _, err := b.weightShape(1, out); err != nil {
			return err
		}
		inputs = append(inputs, b.weight(1, "bias", []int64{out}))
	}
	n := b.only(typ, inputs, append(w.attrs(), model.Int("group", group))...)
	b.stores(n, map[int]int{1: 0, 2: 1})
	l.gains = "convolution_param"
	return nil
}

func truth(x bool) int {
	if x {
		return 1
	}
	return 0
}

// innerProduct: the axes from axis on are one, of K elements, and multiplied by a matrix [out, K], or [K, out] where
// transpose is true.
func innerProduct(b *builder) error {
	p := b.params("inner_product_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in, bias := b.shape(0), p.bool("bias_term", true)
	out, axis, transposed := p.int("num_output", 0), p.int("axis", 1), p.bool("transpose", false)
	if p.err != nil {
		return p.err
	}
	if err := b.wants(1 + truth(bias)); err != nil {
		return err
	}
	if axis < 0 && in != nil {
		axis += int64(len(in))
	}
	if axis < 1 || in != nil && axis >= int64(len(in)) || in == nil && axis != 1 {
		return errOpaque
	}
	k, leading := int64(-1), int64(1)
	if in != nil {
		k, leading = product(in[axis:]), product(in[:axis])
	}
	want := []int64{out, k}
	if transposed {
		want = []int64{k, out}
	}
	extents, err := b.weightShape(0, want...)
	if err != nil {
		return err
	}
	x := b.in(0)
	if len(in) != 2 {
		x = b.node("Flatten", "flatten", []*model.Value{x}, 1, model.Int("axis", axis)).Outputs[0]
	}
	inputs := []*model.Value{x, b.weight(0, "weight", extents)}
	if bias {
		if _, err := b.weightShape(1, out); err != nil {
			return err
		}
		inputs = append(inputs, b.weight(1, "bias", []int64{out}))
	}
	n := b.only("Gemm", inputs, model.Int("transB", int64(1-truth(transposed))))
	b.stores(n, map[int]int{1: 0, 2: 1})
	b.layer.gains = "inner_product_param"
	if axis > 1 {
		if leading < 0 {
			return errOpaque
		}
		to := b.integers("shape", append(slices.Clone(in[:axis]), out)...)
		b.tops(b.node("Reshape", "reshape", []*model.Value{n.Outputs[0], to}, 1))
	}
	return nil
}

// product is that of extents; -1 if one of them is free, or if there are too many elements.
func product(extents []int64) int64 {
	p := int64(1)
	for _, d := range extents {
		if d < 0 || d > 0 && p > maxNumber*maxNumber/4/d {
			return -1
		}
		p *= d
	}
	return p
}
