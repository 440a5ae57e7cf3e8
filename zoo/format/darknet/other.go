package darknet

import (
	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// upsample repeats each value stride times along both axes.
func upsample(l *layer) func(*builder) {
	stride, scale := l.int("stride", 2), l.float("scale", 1)
	if !l.image() {
		return nil
	}
	switch {
	case stride > 0:
		l.put(l.in.c, l.in.h*stride, l.in.w*stride)
	case stride < 0: // it sums blocks, the reverse of upsampling
		l.put(l.in.c, l.in.h/-stride, l.in.w/-stride)
	default:
		l.fail(l.lineOf("stride"), format.ErrCorrupt, "stride=0")
		return nil
	}
	return func(b *builder) {
		x := b.image(l, b.before(l), l.in, "image")
		if stride < 0 || scale != 1 {
			b.opaque(l, x)
			return
		}
		scales := b.constant(l.name+"/scales", tensor.Float32, []float64{1, 1, float64(stride), float64(stride)}, 4)
		b.only(l, "Resize", []*model.Value{x, nil, scales}, model.Text("mode", "nearest"), model.Text("coordinate_transformation_mode", "asymmetric"), model.Text("nearest_mode", "floor"))
	}
}

// reorg moves squares of positions into channels, or back with reverse. [reorg] computes indices with the extents of the
// other side, a bug of Darknet's with which YOLO v2 was trained; [reorg3d], of AlexeyAB's Darknet, computes them as
// intended.
func reorg(l *layer) func(*builder) {
	s, reverse := l.positive("stride", 1), l.flag("reverse")
	if !l.image() {
		return nil
	}
	c, h, w := l.in.c, l.in.h, l.in.w
	whole := h%s == 0 && w%s == 0
	if reverse {
		whole = c%s == 0 && c/s%s == 0
		l.put(c/s/s, h*s, w*s)
	} else if area := s * s; area > 1<<31 {
		l.fail(l.lineOf("stride"), format.ErrLimit, "stride=%d", s)
	} else {
		l.put(c*area, h/s, w/s)
	}
	plain := whole && !l.flag("flatten") && !l.flag("extra")
	if n := l.int("extra", 0); n > 0 {
		l.out = extent{n: l.in.n + n}
	}
	return func(b *builder) {
		x := b.image(l, b.before(l), l.in, "image")
		switch {
		case plain && l.kind == "reorg" && reverse:
			b.only(l, "DepthToSpace", []*model.Value{x}, model.Int("blocksize", s), model.Text("mode", "DCR"))
		case plain && l.kind == "reorg3d" && !reverse:
			b.only(l, "SpaceToDepth", []*model.Value{x}, model.Int("blocksize", s))
		case plain && l.kind == "reorg" && c%s == 0 && c/s%s == 0: // the input, read as c/s² channels of h·s by w·s
			x = b.reshaped(l, l.name+"/squares", x, []int64{c / s / s, h, s, w, s})
			x = b.node(l, "Transpose", l.name+"/order", []*model.Value{x}, []model.Attr{model.Ints("perm", 2, 4, 0, 1, 3)}, l.name+"/order", []int64{s, s, c / s / s, h, w}).Outputs[0]
			b.handOn(l, b.reshaped(l, l.name, x, l.out.shape()))
		default:
			b.opaque(l, x)
		}
	}
}

// local is a convolution with other weights at every position.
func local(l *layer) func(*builder) {
	n, size, stride := l.positive("filters", 1), l.positive("size", 1), l.positive("stride", 1)
	l.activation = l.str("activation", "logistic")
	if !l.image() {
		return nil
	}
	used := size
	if l.flag("pad") {
		used = 1
	}
	l.put(n, l.slid(l.in.h, 0, used, stride), l.slid(l.in.w, 0, used, stride))
	l.store("biases", l.out.n)
	l.store("weights", l.out.h, l.out.w, n, l.in.c, size, size)
	return func(b *builder) { b.opaque(l, b.before(l)) }
}

// recurrent layers are several connected ones, of which all Darknets agree on the sizes, though not on the order.
func recurrent(l *layer) func(*builder) {
	n, norm := l.positive("output", 1), l.flag("batch_normalize")
	in := l.in.n
	l.out = extent{n: n}
	connected := func(in, out int64) {
		l.store("biases", out)
		l.store("weights", out, in)
		if norm {
			l.storeNorm(out)
		}
	}
	switch l.kind {
	case "rnn":
		hidden := l.positive("hidden", n)
		connected(in, hidden)
		connected(hidden, hidden)
		connected(hidden, n)
	default:
		for range map[string]int{"gru": 3, "lstm": 4}[l.kind] {
			connected(in, n)
			connected(n, n)
		}
	}
	return func(b *builder) { b.opaque(l, b.before(l)) }
}

// crnn is three convolutions, whose sizes only AlexeyAB's Darknet lets a cfg say, under other names than pjreddie's.
func crnn(l *layer) func(*builder) {
	n, hidden := l.positive("output", 1), l.positive("hidden", 1)
	size, groups, padding := l.positive("size", 3), max(l.int("groups", 1), 1), l.padding(l.int("size", 3))
	if l.find("output_filters") != nil || l.find("hidden_filters") != nil {
		n, hidden = l.positive("output_filters", 1), l.positive("hidden_filters", 1)
		size, groups, padding = 3, 1, 1
	}
	if !l.image() {
		return nil
	}
	if 2*padding != size-1 || l.int("stride", 1) != 1 || l.in.c%groups != 0 || hidden%groups != 0 || n%groups != 0 {
		l.fail(l.line, format.ErrCorrupt, "its convolutions do not fit each other")
		return nil
	}
	l.put(n, l.in.h, l.in.w)
	for _, c := range [][2]int64{{l.in.c, hidden}, {hidden, hidden}, {hidden, n}} {
		l.store("biases", c[1])
		if l.flag("batch_normalize") {
			l.storeNorm(c[1])
		}
		l.store("weights", c[1], c[0]/groups, size, size)
	}
	return func(b *builder) { b.opaque(l, b.before(l)) }
}

// implicit outputs its weights, whatever its input is.
func implicit(l *layer) func(*builder) {
	l.put(l.positive("filters", 128), l.positive("atoms", 1), 1)
	l.store("weights", l.out.c, l.out.h)
	return func(b *builder) { b.opaque(l) }
}

// same is a layer without an equivalent in ONNX, with an output of its input's extent: a head, most often.
func same(l *layer) func(*builder) {
	l.out = l.in
	return func(b *builder) { b.opaque(l, b.before(l)) }
}

// head is one whose output is not an image.
func head(l *layer) func(*builder) {
	l.out = extent{n: l.in.n}
	return func(b *builder) { b.opaque(l, b.before(l)) }
}
