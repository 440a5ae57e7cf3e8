package darknet

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

// convolutional: W [n, c/groups, size, size]. The padding is that of an undilated kernel.
func convolutional(l *layer) func(*builder) {
	n, size, groups := l.positive("filters", 1), l.positive("size", 1), max(l.int("groups", 1), 1)
	stride := l.positive("stride", 1)
	strideX, strideY := l.int("stride_x", 0), l.int("stride_y", 0)
	if strideX < 1 {
		strideX = stride
	}
	if strideY < 1 {
		strideY = stride
	}
	dilation := l.positive("dilation", 1)
	if size == 1 {
		dilation = 1
	}
	pad := l.padding(size)
	l.activation = l.str("activation", "logistic")
	norm := l.flag("batch_normalize") || l.flag("cbn")
	xnor := l.flag("xnor") || l.flag("binary")
	if xnor {
		groups = 1
	}
	if !l.image() {
		return nil
	}
	c := l.in.c
	if c%groups != 0 || n%groups != 0 {
		l.fail(l.lineOf("groups"), format.ErrCorrupt, "groups=%d does not divide its %d channels and its %d filters evenly", groups, c, n)
		return nil
	}
	l.put(n, l.slid(l.in.h, 2*pad, size, strideY), l.slid(l.in.w, 2*pad, size, strideX))
	if l.find("share_index") != nil && l.int("share_index", 0) != noSharing {
		l.borrow(norm, n, c/groups, size, size)
	} else {
		l.store("biases", n)
		if norm {
			l.storeNorm(n)
		}
		w := l.store("weights", n, c/groups, size, size)
		if l.flag("flipped") { // the file has [c/groups, size, size, n]
			w.perm = []int{3, 0, 1, 2}
		}
	}
	foreign := ""
	switch {
	case xnor:
		foreign = "xnor"
	case dilation > 1 && 2*pad != size-1, size == 1 && pad > 0: // Darknet computes another output extent than it reports
		foreign = "convolutional"
	}
	return func(b *builder) {
		p := dilation * pad
		attrs := []model.Attr{model.Ints("kernel_shape", size, size), model.Ints("strides", strideY, strideX), model.Ints("pads", p, p, p, p), model.Ints("dilations", dilation, dilation), model.Int("group", groups)}
		b.parametric(l, "Conv", b.image(l, b.before(l), l.in, "image"), attrs, norm, l.out.shape())
		if foreign != "" {
			l.linear.Type, l.linear.Domain = foreign, domain
		}
	}
}

// padding is what a convolution adds on each side.
func (l *layer) padding(size int64) int64 {
	if l.flag("pad") {
		return size / 2
	}
	p := l.int("padding", 0)
	if p < 0 {
		l.fail(l.lineOf("padding"), format.ErrCorrupt, "padding=%d is negative", p)
	}
	return max(p, 0)
}

// noSharing is the value of share_index that means none to AlexeyAB's Darknet.
const noSharing = -1_000_000_000

// borrow gives the layer the parts of the one that share_index names.
func (l *layer) borrow(norm bool, weights ...int64) {
	lender := l.named("share_index", l.int("share_index", 0))
	if lender == nil {
		return
	}
	w := lender.part("weights")
	if lender.kind != "convolutional" || !slices.Equal(w.shape, weights) || norm && lender.part("scales") == nil {
		l.fail(l.lineOf("share_index"), format.ErrCorrupt, "share_index=%d: %s has no weights of its shape to share", l.int("share_index", 0), lender.where())
		return
	}
	l.lender = lender
	for _, p := range lender.parts {
		if norm || p.name == "biases" || p.name == "weights" {
			copied := *p
			l.parts = append(l.parts, &copied)
		}
	}
}

// deconvolutional, of pjreddie's Darknet: W [c, n, size, size].
func deconvolutional(l *layer) func(*builder) {
	n, size, stride := l.positive("filters", 1), l.positive("size", 1), l.positive("stride", 1)
	pad := l.padding(size)
	l.activation = l.str("activation", "logistic")
	norm := l.flag("batch_normalize")
	if !l.image() {
		return nil
	}
	l.put(n, (l.in.h-1)*stride+size-2*pad, (l.in.w-1)*stride+size-2*pad)
	l.store("biases", n)
	if norm {
		l.storeNorm(n)
	}
	l.store("weights", l.in.c, n, size, size)
	return func(b *builder) {
		attrs := []model.Attr{model.Ints("kernel_shape", size, size), model.Ints("strides", stride, stride), model.Ints("pads", pad, pad, pad, pad)}
		b.parametric(l, "ConvTranspose", b.image(l, b.before(l), l.in, "image"), attrs, norm, l.out.shape())
	}
}

// connected: W [output, inputs], in old files transposed. Unlike a convolution's, the weights come before the scales.
func connected(l *layer) func(*builder) {
	n := l.positive("output", 1)
	l.activation = l.str("activation", "logistic")
	norm := l.flag("batch_normalize")
	l.put(n, 1, 1)
	l.store("biases", n)
	w := l.store("weights", n, l.in.n)
	if norm {
		l.storeNorm(n)
	}
	return func(b *builder) {
		attrs := []model.Attr{model.Int("transB", 1)}
		if b.transposed {
			w.shape, attrs = []int64{l.in.n, n}, nil
		}
		b.parametric(l, "Gemm", b.flat(l, b.before(l), l.in), attrs, norm, []int64{1, n})
	}
}

// batchnorm normalises the output of the layer before.
func batchnorm(l *layer) func(*builder) {
	if !l.image() {
		return nil
	}
	l.out = l.in
	if !l.net.bare {
		l.store("biases", l.in.c)
	}
	l.storeNorm(l.in.c)
	return func(b *builder) { b.handOn(l, b.normalize(l, b.before(l), b.stored(l, "mean"), l.name, l.name)) }
}

// parametric builds a layer of weights: the operator, the batch normalisation and the activation. With a batch
// normalisation behind it, the operator has the bias −μ and the normalisation the mean 0: so the file stores the operator's
// bias whether the normalisation stays or is folded.
func (b *builder) parametric(l *layer, typ string, x *model.Value, attrs []model.Attr, norm bool, shape []int64) {
	inputs, y := []*model.Value{x, b.stored(l, "weights"), nil}, l.beforeActivation()
	var mean *model.Value
	if !norm {
		inputs[2] = b.stored(l, "biases")
	} else if inputs[2] = b.negated(l); inputs[2] != nil {
		y, mean = l.name+"/sum", b.zeros(l, "mean")
	} else {
		y, mean, inputs = l.name+"/sum", b.stored(l, "mean"), inputs[:2]
	}
	l.linear = b.node(l, typ, l.name, inputs, attrs, y, shape)
	v := l.linear.Outputs[0]
	if norm {
		v = b.normalize(l, v, mean, l.name+"/norm", l.beforeActivation())
	}
	b.handOn(l, b.activate(l, v))
}

// normalize adds the layer's batch normalisation.
func (b *builder) normalize(l *layer, x, mean *model.Value, name, y string) *model.Value {
	beta := b.stored(l, "biases")
	if beta == nil {
		beta = b.zeros(l, "biases")
	}
	variance, epsilon := b.variance(l)
	inputs := []*model.Value{x, b.stored(l, "scales"), beta, mean, variance}
	l.norm = b.node(l, "BatchNormalization", name, inputs, []model.Attr{model.Float("epsilon", epsilon)}, y, x.Shape)
	return l.norm.Outputs[0]
}
