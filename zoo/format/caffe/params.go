package caffe

import (
	"slices"
	"strings"
)

// params reads a layer's parameters of one kind, "convolution_param". It keeps the first error, and records which fields
// were read: a field that no rule reads may change what the layer computes.
type params struct {
	source *source
	layer  *layer
	in     *message // nil where the layer has none
	asked  []string
	err    error
}

// harmless are fields that say how a layer is trained or which code computes it, not what it computes.
var harmless = strings.Fields("engine weight_filler bias_filler filler cudnn_math_override conv_algos_override " +
	"cudnn_convolution_algo_seeker force_nd_im2col fuse_type stable_prod_grad moving_average_fraction dropout_ratio " +
	"scale_filler slope_filler shift_filler momentum frozen")

// params are the layer's parameters of that kind.
func (l *layer) params(s *source, kind string) *params {
	p := &params{source: s, layer: l}
	list := l.text.all(kind)
	if len(list) == 0 {
		return p
	}
	if f := list[0]; len(list) > 1 || f.inner == nil {
		p.fail(list[len(list)-1], "want one message")
	} else {
		p.in = f.inner
	}
	return p
}

func (p *params) fail(f *field, want string) {
	if p.err == nil {
		p.err = p.source.errorAt(f.from, "layer %q: %s of %q, found %q", p.layer.name, want, f.name, strings.TrimSpace(p.source.text[f.at:min(f.end, f.at+40)]))
	}
}

// list are the fields of that name.
func (p *params) list(name string) []*field {
	p.asked = append(p.asked, name)
	return p.in.all(name)
}

// one is the field of that name; nil where there is none.
func (p *params) one(name string) *field {
	list := p.list(name)
	if len(list) == 0 {
		return nil
	}
	if len(list) > 1 {
		p.fail(list[1], "want one value")
	}
	return list[0]
}

// has says whether one of the fields is there.
func (p *params) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return len(p.list(n)) > 0 })
}

// maxNumber bounds extents, axes and counts in a text, so that computing with them does not overflow.
const maxNumber = 1 << 31

func (p *params) number(f *field) int64 {
	n, ok := f.integer()
	if !ok || n < -maxNumber || n > maxNumber {
		p.fail(f, "want a whole number as value")
		return 0
	}
	return n
}

func (p *params) int(name string, def int64) int64 {
	if f := p.one(name); f != nil {
		return p.number(f)
	}
	return def
}

func (p *params) ints(name string) (list []int64) {
	for _, f := range p.list(name) {
		list = append(list, p.number(f))
	}
	return list
}

func (p *params) float(name string, def float64) float64 {
	f := p.one(name)
	if f == nil {
		return def
	}
	x, ok := f.float()
	if !ok {
		p.fail(f, "want a number as value")
	}
	return x
}

func (p *params) bool(name string, def bool) bool {
	f := p.one(name)
	if f == nil {
		return def
	}
	x, ok := f.truth()
	if !ok {
		p.fail(f, "want true or false as value")
	}
	return x
}

// enum is a word, or the number that stands for it: its place in the list.
func (p *params) enum(name, def string, words ...string) string {
	f := p.one(name)
	if f == nil {
		return def
	}
	if n, ok := f.integer(); ok && n >= 0 && n < int64(len(words)) {
		return words[n]
	}
	return f.value
}

// spatial are sizes for each of n spatial axes, as convolutions and poolings give them: none, one for all, one for each; or
// as a height and a width. If only one of those two is given the other is 0, which is allowed for a pad; for a kernel or a
// stride the result is nil.
func (p *params) spatial(name, short string, n int, def int64) []int64 {
	if height, width := p.has(short+"_h"), p.has(short+"_w"); height && width || (height || width) && short == "pad" {
		return []int64{p.int(short+"_h", 0), p.int(short+"_w", 0)}
	} else if height || width {
		return nil
	}
	list := p.ints(name)
	switch len(list) {
	case 0:
		list = slices.Repeat([]int64{def}, n)
	case 1:
		list = slices.Repeat(list, n)
	}
	return list
}

// unknown is the first parameter that was not read and may matter; "" if there is none.
func (p *params) unknown() string {
	if p.in == nil {
		return ""
	}
	for _, f := range p.in.fields {
		if !slices.Contains(p.asked, f.name) && !slices.Contains(harmless, f.name) {
			return f.name
		}
	}
	return ""
}
