package darknet

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// window reads a pooling layer's window; sees says that it overlaps the image at every position.
func (l *layer) window() (attrs []model.Attr, sees bool) {
	stride := l.positive("stride", 1)
	x, y := l.positive("stride_x", stride), l.positive("stride_y", stride)
	size := l.positive("size", stride)
	padding := l.int("padding", size-1) // of both sides together, the smaller half first
	if padding < 0 {
		l.fail(l.lineOf("padding"), format.ErrCorrupt, "padding=%d is negative", padding)
		return nil, false
	}
	l.put(l.in.c, l.slid(l.in.h, padding, size, y), l.slid(l.in.w, padding, size, x))
	first, last := padding/2, padding-padding/2
	return []model.Attr{model.Ints("kernel_shape", size, size), model.Ints("strides", y, x), model.Ints("pads", first, first, last, last)}, last < size
}

func maxpool(l *layer) func(*builder) {
	if !l.image() {
		return nil
	}
	if l.flag("maxpool_depth") {
		return maxpoolDepth(l)
	}
	return pool(l, "MaxPool")
}

// localAvgpool divides by the number of values within the image.
func localAvgpool(l *layer) func(*builder) {
	if !l.image() {
		return nil
	}
	return pool(l, "AveragePool")
}

func pool(l *layer, typ string) func(*builder) {
	attrs, sees := l.window()
	return func(b *builder) {
		x := b.image(l, b.before(l), l.in, "image")
		if !sees {
			b.opaque(l, x)
			return
		}
		b.only(l, typ, []*model.Value{x}, attrs...)
	}
}

// maxpoolDepth takes maxima over channels: of channels k, k + n, k + 2n … for output channel k of n.
func maxpoolDepth(l *layer) func(*builder) {
	n := l.positive("out_channels", 1)
	l.put(n, l.in.h, l.in.w)
	return func(b *builder) {
		x := b.image(l, b.before(l), l.in, "image")
		if l.in.c%n != 0 {
			b.opaque(l, x)
			return
		}
		x = b.reshaped(l, l.name+"/split", x, []int64{1, l.in.c / n, n, l.in.h, l.in.w})
		b.only(l, "ReduceMax", []*model.Value{x}, model.Ints("axes", 1), model.Int("keepdims", 0))
	}
}

func avgpool(l *layer) func(*builder) {
	if !l.image() {
		return nil
	}
	l.put(l.in.c, 1, 1)
	return func(b *builder) {
		b.only(l, "GlobalAveragePool", []*model.Value{b.image(l, b.before(l), l.in, "image")})
	}
}

// softmax is over the whole input; with groups, a temperature or a tree it stays opaque.
func softmax(l *layer) func(*builder) {
	l.out = extent{n: l.in.n}
	plain := l.int("groups", 1) == 1 && l.float("temperature", 1) == 1 && l.str("tree", "") == "" && l.float("spatial", 0) == 0
	return func(b *builder) {
		x := b.before(l)
		if !plain || l.in.image() && l.in.h*l.in.w > 1 {
			b.opaque(l, x)
			return
		}
		n := b.node(l, "Softmax", l.name, []*model.Value{x}, []model.Attr{model.Int("axis", 1)}, l.name, slices.Clone(x.Shape))
		b.handOn(l, n.Outputs[0])
	}
}

// maxCrop bounds the channels of an image that is cropped: it has colour channels.
const maxCrop = 1 << 10

// crop cuts out the middle and makes 2x − 1 of it, unless noadjust is given. It is the net's first step and stays: it is a
// convolution here, so that it does not count as an affine map.
func crop(l *layer) func(*builder) {
	h, w := l.positive("crop_height", 1), l.positive("crop_width", 1)
	adjust := !l.flag("noadjust")
	if !l.image() {
		return nil
	}
	if h > l.in.h || w > l.in.w || l.in.c > maxCrop {
		l.fail(l.line, format.ErrCorrupt, "it cannot crop %dx%d of an image of %v", h, w, l.in)
		return nil
	}
	l.put(l.in.c, h, w)
	return func(b *builder) {
		c, top, left := l.in.c, (l.in.h-h)/2, (l.in.w-w)/2
		name := l.name
		if adjust {
			name += "/middle"
		}
		inputs := []*model.Value{b.image(l, b.before(l), l.in, "image"), b.shape(name+"/from", []int64{top, left}), b.shape(name+"/to", []int64{top + h, left + w}), b.shape(name+"/axes", []int64{2, 3})}
		v := b.node(l, "Slice", name, inputs, nil, name, l.out.shape()).Outputs[0]
		if adjust {
			weight := b.constant(l.name+"/weights", tensor.Float32, slices.Repeat([]float64{2}, int(c)), c, 1, 1, 1)
			bias := b.constant(l.name+"/bias", tensor.Float32, slices.Repeat([]float64{-1}, int(c)), c)
			v = b.node(l, "Conv", l.name, []*model.Value{v, weight, bias}, []model.Attr{model.Int("group", c), model.Ints("kernel_shape", 1, 1)}, l.name, l.out.shape()).Outputs[0]
		}
		b.handOn(l, v)
	}
}
