package darknet

import (
	"fmt"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

// alias is a layer whose output is its input.
func alias(l *layer) func(*builder) {
	l.out = l.in
	return func(b *builder) { b.handOn(l, b.before(l)) }
}

// route joins the channels of other layers; with groups, one group of each layer's channels.
func route(l *layer) func(*builder) {
	others, groups, group := l.others("layers"), l.positive("groups", 1), l.int("group_id", 0)
	if group < 0 || group >= groups {
		l.fail(l.lineOf("group_id"), format.ErrCorrupt, "group_id=%d of %d groups", group, groups)
	}
	if l.err != nil {
		return nil
	}
	if len(others) == 1 && groups == 1 {
		l.in, l.out = others[0].out, others[0].out
		return func(b *builder) { b.handOn(l, b.handed[others[0].index]) }
	}
	l.in = others[0].out
	c, n, alike := int64(0), int64(0), true
	for _, o := range others {
		c, n = c+o.out.c/groups, n+o.out.n/groups
		alike = alike && o.out.image() && o.out.h == l.in.h && o.out.w == l.in.w && o.out.c%groups == 0
	}
	if !alike {
		l.out = extent{n: n} // as in Darknet: the concatenated values of all
		return func(b *builder) { b.opaque(l, b.values(others)...) }
	}
	l.put(c, l.in.h, l.in.w)
	return func(b *builder) {
		var parts []*model.Value
		for k, o := range others {
			v := b.image(l, b.handed[o.index], o.out, fmt.Sprintf("image%d", k))
			if groups > 1 {
				y := fmt.Sprintf("%s/group%d", l.name, k)
				if len(others) == 1 {
					y = l.name
				}
				v = b.channels(l, y, v, o.out, group*o.out.c/groups, (group+1)*o.out.c/groups)
			}
			parts = append(parts, v)
		}
		if len(parts) == 1 {
			b.handOn(l, parts[0])
			return
		}
		b.only(l, "Concat", parts, model.Int("axis", 1))
	}
}

// values are the outputs of layers.
func (b *builder) values(layers []*layer) (list []*model.Value) {
	for _, l := range layers {
		list = append(list, b.handed[l.index])
	}
	return list
}

// channels are those of an image from one number to another.
func (b *builder) channels(l *layer, name string, v *model.Value, e extent, from, to int64) *model.Value {
	inputs := []*model.Value{v, b.shape(name+"/from", []int64{from}), b.shape(name+"/to", []int64{to}), b.shape(name+"/axes", []int64{1})}
	return b.node(l, "Slice", name, inputs, nil, name, []int64{1, to - from, e.h, e.w}).Outputs[0]
}

// shortcut adds the outputs of other layers to what it reads. Of images with other channels, those that both have are
// added; of larger images, with pjreddie's Darknet, every second or third position. One with weights, of AlexeyAB's, is left
// as it is.
func shortcut(l *layer) func(*builder) {
	others := l.others("from")
	l.activation = l.str("activation", "linear")
	weights := l.str("weights_type", "none")
	if !l.image() || l.err != nil {
		return nil
	}
	l.out = l.in
	n := int64(len(others)) + 1
	switch weights {
	case "none":
	case "per_feature", "per_layer":
		l.store("weights", n)
	case "per_channel":
		l.store("weights", n, l.in.c)
	default:
		l.fail(l.lineOf("weights_type"), format.ErrCorrupt, "weights_type=%s is not one of none, per_feature, per_layer and per_channel", shortened(weights))
	}
	// pjreddie's shortcuts multiply by alpha and beta, AlexeyAB's do not.
	plain := weights == "none" && l.float("alpha", 1) == 1 && l.float("beta", 1) == 1
	for _, o := range others {
		plain = plain && o.out.image() && o.out.h/l.in.h == o.out.w/l.in.w && o.out.h >= l.in.h && o.out.w >= l.in.w
	}
	return func(b *builder) {
		if !plain {
			b.opaque(l, append([]*model.Value{b.before(l)}, b.values(others)...)...)
			return
		}
		sum := b.image(l, b.before(l), l.in, "image")
		for k, o := range others {
			v := b.image(l, b.handed[o.index], o.out, fmt.Sprintf("image%d", k))
			v = b.withChannels(l, k, b.sampled(l, k, v, o.out), o.out)
			name, y := l.name, l.beforeActivation()
			if k > 0 {
				name = fmt.Sprintf("%s/%d", l.name, k)
			}
			if k < len(others)-1 {
				y = fmt.Sprintf("%s/sum%d", l.name, k)
			}
			sum = b.node(l, "Add", name, []*model.Value{sum, v}, nil, y, l.out.shape()).Outputs[0]
		}
		b.handOn(l, b.activate(l, sum))
	}
}

// sampled are the positions of an image that fall on those of the layer's.
func (b *builder) sampled(l *layer, k int, v *model.Value, e extent) *model.Value {
	if e.h == l.out.h && e.w == l.out.w {
		return v
	}
	name, step := fmt.Sprintf("%s/sampled%d", l.name, k), e.h/l.out.h
	inputs := []*model.Value{v,
		b.shape(name+"/from", []int64{0, 0}),
		b.shape(name+"/to", []int64{(l.out.h-1)*step + 1, (l.out.w-1)*step + 1}),
		b.shape(name+"/axes", []int64{2, 3}),
		b.shape(name+"/steps", []int64{step, step}),
	}
	return b.node(l, "Slice", name, inputs, nil, name, []int64{1, e.c, l.out.h, l.out.w}).Outputs[0]
}

// withChannels is an image with as many channels as the layer's: cut, or with zeros behind them.
func (b *builder) withChannels(l *layer, k int, v *model.Value, e extent) *model.Value {
	name := fmt.Sprintf("%s/channels%d", l.name, k)
	switch more := l.out.c - e.c; {
	case more < 0:
		return b.channels(l, name, v, l.out, 0, l.out.c)
	case more > 0:
		pads := b.shape(name+"/pads", []int64{0, 0, 0, 0, 0, more, 0, 0})
		return b.node(l, "Pad", name, []*model.Value{v, pads}, nil, name, l.out.shape()).Outputs[0]
	}
	return v
}

// scaleChannels multiplies an image by one number for each channel, or, with scale_wh, for each position.
func scaleChannels(l *layer) func(*builder) {
	wh := l.flag("scale_wh")
	return product(l, func(e extent) bool {
		if wh {
			return l.in.c == 1 && l.in.h == e.h && l.in.w == e.w
		}
		return l.in.h == 1 && l.in.w == 1 && l.in.c == e.c
	})
}

// sam multiplies two images.
func sam(l *layer) func(*builder) {
	return product(l, func(e extent) bool { return l.in == e })
}

func product(l *layer, fits func(extent) bool) func(*builder) {
	others := l.others("from")
	l.activation = l.str("activation", "linear")
	if !l.image() || l.err != nil {
		return nil
	}
	o := others[0]
	if !o.out.image() || !fits(o.out) {
		l.fail(l.lineOf("from"), format.ErrCorrupt, "an image of %v does not fit that of %v of layer %d", l.in, o.out, o.index)
		return nil
	}
	l.out = o.out
	return func(b *builder) {
		b.only(l, "Mul", []*model.Value{b.image(l, b.handed[o.index], o.out, "image0"), b.image(l, b.before(l), l.in, "image")})
	}
}
