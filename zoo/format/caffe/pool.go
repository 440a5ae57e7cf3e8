package caffe

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() { rules["Pooling"] = pooling }

// pooling: along an axis of extent n there are ⌈(n + 2·pad − kernel)/stride⌉ + 1 windows, less one if the last would start
// in the padding behind. The last one may reach beyond that padding: an average counts what lies within the padding, not
// what lies beyond. ONNX's operators do the same with explicit pads; an average over padding whose windows reach beyond it
// is one without padding, behind a Pad.
func pooling(b *builder) error {
	p := b.params("pooling_param")
	if err := b.counts(1, 1); err != nil {
		return err
	}
	in := b.shape(0)
	kind := p.enum("pool", "MAX", "MAX", "AVE", "STOCHASTIC")
	ceil := p.enum("round_mode", "CEIL", "CEIL", "FLOOR") == "CEIL" && p.bool("ceil_mode", true)
	if len(in) != 4 || kind != "MAX" && kind != "AVE" {
		return errOpaque
	}
	pad, stride := p.spatial("pad", "pad", 2, 0), p.spatial("stride", "stride", 2, 1)
	if pad == nil || stride == nil || p.has("pad_w") && !p.has("pad_h") { // a pad_w alone is ignored
		return opaque("a height without a width, or a width without a height")
	}
	if p.bool("global_pooling", false) {
		if p.has("kernel_size", "kernel_h", "kernel_w") || slices.Max(pad) != 0 || slices.Max(stride) != 1 {
			return errOpaque
		}
		b.only(map[string]string{"MAX": "GlobalMaxPool", "AVE": "GlobalAveragePool"}[kind], []*model.Value{b.in(0)})
		return nil
	}
	kernel := p.spatial("kernel_size", "kernel", 2, 0)
	if p.err != nil {
		return p.err
	}
	for _, list := range [][]int64{kernel, pad, stride} {
		if len(list) != 2 {
			return errOpaque
		}
	}
	if slices.Min(kernel) < 1 || slices.Min(stride) < 1 || slices.Min(pad) < 0 || pad[0] >= kernel[0] || pad[1] >= kernel[1] {
		return fmt.Errorf("kernel %v, pad %v, stride %v: the pad has to be less than the kernel: %w", kernel, pad, stride, format.ErrCorrupt)
	}
	behind := make([]int64, 2) // padding at the end that gives the same number of windows
	for k, n := range in[2:] {
		windows, ok := windows(n, kernel[k], pad[k], stride[k], ceil)
		if !ok {
			return errOpaque
		}
		behind[k] = max(0, (windows-1)*stride[k]+kernel[k]-n-pad[k])
	}
	x, beyond, op := b.in(0), behind[0] > pad[0] || behind[1] > pad[1], "MaxPool"
	var included []model.Attr
	if kind == "AVE" {
		op = "AveragePool"
		switch {
		case slices.Max(pad) == 0:
		case beyond:
			pads := b.integers("pads", 0, 0, pad[0], pad[1], 0, 0, pad[0], pad[1])
			x = b.node("Pad", "pad", []*model.Value{x, pads, b.added("zero", tensor.Float32, []int64{}, []float64{0})}, 1).Outputs[0]
			for k := range pad {
				behind[k], pad[k] = max(0, behind[k]-pad[k]), 0
			}
		default:
			included = append(included, model.Int("count_include_pad", 1))
		}
	}
	b.only(op, []*model.Value{x}, append(included, model.Ints("kernel_shape", kernel...), model.Ints("pads", append(slices.Clone(pad), behind...)...), model.Ints("strides", stride...))...)
	return nil
}

// windows is the number of windows along an axis; false if it is not known, or if a window would be empty.
func windows(n, kernel, pad, stride int64, ceil bool) (int64, bool) {
	if n < 0 || n+2*pad < kernel {
		return 0, false
	}
	count := (n+2*pad-kernel)/stride + 1
	if ceil {
		count = (n+2*pad-kernel+stride-1)/stride + 1
	}
	if pad > 0 && (count-1)*stride >= n+pad {
		count--
	}
	return count, (count-1)*stride < n+pad
}
