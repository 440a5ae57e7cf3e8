package state

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
)

// pattern is a parsed pair.
type pattern struct {
	format.Pair
	linear *regexp.Regexp // the whole name of the linear operator
}

// maxPattern bounds the text of a pattern.
const maxPattern = 1 << 10

// pairsOf are the pairs that a state names, its own before those of its presets.
func pairsOf(s format.State) ([]pattern, error) {
	list := slices.Clone(s.Pairs)
	for k := range list {
		list[k].Epsilon = cmp.Or(list[k].Epsilon, s.Epsilon)
	}
	for _, name := range s.Presets {
		p, ok := presets[name]
		if !ok {
			return nil, fmt.Errorf("no preset is called %q, only %s", name, strings.Join(Presets(), ", "))
		}
		for _, pair := range p.pairs {
			pair.Epsilon, pair.Preset = cmp.Or(s.Epsilon, p.epsilon), true
			list = append(list, pair)
		}
	}
	var out []pattern
	for _, p := range list {
		if len(p.Linear) > maxPattern {
			return nil, fmt.Errorf("a pattern of %d bytes", len(p.Linear))
		}
		re, err := regexp.Compile("^(?:" + p.Linear + ")$")
		if err != nil {
			return nil, fmt.Errorf("the pattern %q: %w", p.Linear, err)
		}
		if !(p.Epsilon > 0) {
			return nil, fmt.Errorf("the pair %q has no epsilon: give one, as the network's code has it", p.Linear)
		}
		out = append(out, pattern{p, re})
	}
	return out, nil
}

// found is a linear operator with its normalisations.
type found struct {
	*linear
	before, after *norm
}

// norm is a batch normalisation.
type norm struct {
	name    string
	epsilon float64
	claims  []string // the linear operators that pairs put beside it
	what    string   // if nothing folds it: the name of its input, which says why
}

// pairs makes a chain of every linear operator that a pair names, and one of every batch normalisation that none names.
func (b *builder) pairs(patterns []pattern) {
	matched := make([]bool, len(patterns))
	for _, dict := range b.dicts {
		w := within{b, dict}
		norms := w.norms()
		for _, f := range w.find(patterns, matched, norms) {
			w.chain(f)
		}
		for _, n := range norms {
			if len(n.claims) != 1 {
				w.lone(n)
			}
		}
	}
	for k, p := range patterns {
		if !matched[k] && !p.Preset {
			b.warnings = append(b.warnings, fmt.Sprintf("no tensor is called as the pair %q says", p.Linear))
		}
	}
	b.settle()
}

// norms are the batch normalisations of a dict, in the order of their tensors.
func (w within) norms() (list []*norm) {
	for _, t := range w.tensors {
		name, ok := strings.CutSuffix(t.Name, ".running_var")
		if t.Dict != w.dict || !ok {
			continue
		}
		if n := (&norm{name: name}); w.channels(n) > 0 {
			list = append(list, n)
		}
	}
	return list
}

// channels is the number of a batch normalisation's channels; 0 if its tensors contradict each other.
func (w within) channels(n *norm) int64 {
	variance := w.get(n.name + ".running_var")
	if len(variance.Shape) != 1 {
		return 0
	}
	for _, part := range []string{"weight", "bias", "running_mean", "running_var"} {
		switch t := w.get(n.name + "." + part); {
		case t == nil && part == "running_mean":
			return 0
		case t != nil && (!slices.Equal(t.Shape, variance.Shape) || t.DType != variance.DType || !t.DType.Float()):
			return 0
		}
	}
	return variance.Shape[0]
}

// wrapped is the prefix that DataParallel gives the names of a network's tensors.
const wrapped = "module."

// prefix is the part of a dict's names that is removed before patterns are matched.
func (w within) prefix() string {
	for _, t := range w.tensors {
		if t.Dict == w.dict && !strings.HasPrefix(t.Name, wrapped) {
			return ""
		}
	}
	return wrapped
}

// modules are the names of all modules that tensors of the dict are in, at any depth.
func (w within) modules() map[string]bool {
	all := map[string]bool{}
	for _, t := range w.tensors {
		if t.Dict != w.dict {
			continue
		}
		for m := moduleOf(t.Name); m != "" && !all[m]; m = moduleOf(m) {
			all[m] = true
		}
	}
	return all
}

// find are the linear operators that pairs name. Of several pairs for one operator, the first with an existing
// normalisation counts.
func (w within) find(patterns []pattern, matched []bool, norms []*norm) (list []*found) {
	named := map[string]*norm{}
	for _, n := range norms {
		named[n.name] = n
	}
	prefix, modules := w.prefix(), w.modules()
	for _, t := range w.tensors {
		name, ok := strings.CutSuffix(t.Name, ".weight")
		if t.Dict != w.dict || !ok || named[name] != nil {
			continue
		}
		inner := strings.TrimPrefix(name, prefix)
		var f *found
		for k, p := range patterns {
			at := p.linear.FindStringSubmatchIndex(inner)
			if at == nil {
				continue
			}
			expand := func(template string) string {
				return prefix + string(p.linear.ExpandString(nil, template, inner, at))
			}
			there := func(template string) bool { return modules[expand(template)] }
			if p.With != "" && !there(p.With) || p.Without != "" && there(p.Without) {
				continue
			}
			l := w.linear(name, p.Transposed)
			if l == nil {
				continue
			}
			matched[k] = true
			if f == nil {
				f = &found{linear: l}
			}
			n := named[expand(p.Norm)]
			if n == nil || f.transposed != l.transposed {
				continue
			}
			w.claim(f, n, p)
		}
		if f != nil {
			list = append(list, f)
		}
	}
	return list
}

// claim pairs a normalisation with a linear operator, if their sizes agree.
func (w within) claim(f *found, n *norm, p pattern) {
	channels, shape := w.channels(n), f.weight.Shape
	n.epsilon = p.Epsilon
	switch {
	case p.First && len(shape) != 2:
		n.what = fmt.Sprintf("what is before %s, a convolution behind which may pad", n.name)
		return
	case p.First && (f.before != nil || shape[1] != channels), !p.First && f.after != nil, !p.First && f.outputs(channels) != channels:
		n.what = fmt.Sprintf("what is before %s, which does not fit %s", n.name, f.name)
		return
	case f.weight.DType != w.get(n.name+".running_var").DType:
		n.what = fmt.Sprintf("what is before %s, which is of another type than %s", n.name, f.name)
		return
	}
	n.claims = append(n.claims, f.name)
	if p.First {
		f.before = n
	} else {
		f.after = n
	}
}

// outputs is the number of the operator's output channels. channels are the normalisation's: they decide for a transposed
// convolution, whose weight does not give the number of groups.
func (l *linear) outputs(channels int64) int64 {
	shape := l.weight.Shape
	switch {
	case !l.transposed:
		return shape[0]
	case len(shape) == 2 || channels <= 0 || channels%shape[1] != 0 || shape[0]%(channels/shape[1]) != 0:
		return shape[1]
	}
	return channels
}

// chain makes the graph of a linear operator and the normalisations beside it.
func (w within) chain(f *found) {
	shape := f.weight.Shape
	fits := func(n *norm) bool { return n != nil && len(n.claims) == 1 }
	in := shape[1]
	channels := f.outputs(0)
	if f.transposed {
		in = shape[0]
		if f.bias != nil {
			channels = f.outputs(f.bias.Shape[0])
		}
		if fits(f.after) {
			channels = f.outputs(w.channels(f.after))
		}
	}
	if f.bias != nil && f.bias.Shape[0] != channels {
		return // not a bias of this operator
	}
	extents := []int64{1, in}
	if !f.transposed {
		extents = append(extents, shape[2:]...)
	} else {
		extents = append(extents, slices.Repeat([]int64{1}, len(shape)-2)...)
	}
	x := w.input(f.name+".input", f.weight.DType, extents...)
	if fits(f.before) {
		x = w.batchNorm(f.before, x, f.name+".normalised_input")
	}
	output, sum := f.name+".output", f.name+".output"
	if fits(f.after) {
		sum = f.name + ".sum"
	}
	var y *model.Value
	if len(shape) > 2 {
		y = w.conv(f.linear, x, channels, sum)
	} else {
		y = w.fully(f.linear, x, [][2]int64{whole(f.weight)}, sum)[0]
	}
	if fits(f.after) {
		y = w.batchNorm(f.after, y, output)
	}
	w.output(y)
}

// lone builds the graph of a batch normalisation that no pair names. The name of its input is the reason.
func (w within) lone(n *norm) {
	switch {
	case len(n.claims) > 1:
		n.what = fmt.Sprintf("what is before %s, beside which pairs see %s", n.name, strings.Join(n.claims, " and "))
	case n.what == "":
		n.what = fmt.Sprintf("what is before %s, which no pair or preset of state: names", n.name)
	}
	n.epsilon = cmp.Or(n.epsilon, 1e-5)
	w.output(w.batchNorm(n, w.input(n.what, w.get(n.name+".running_var").DType, 1, w.channels(n), 1), n.name+".output"))
}

// batchNorm adds the node of a batch normalisation.
func (w within) batchNorm(n *norm, x *model.Value, output string) *model.Value {
	b := w.node("BatchNormalization", n.name, output, x.Shape, []*model.Value{x}, "epsilon", n.epsilon)
	channels := w.channels(n)
	for k, part := range []string{"weight", "bias", "running_mean", "running_var"} {
		if t := w.get(n.name + "." + part); t != nil {
			w.read(b, k+1, t, whole(t))
			continue
		}
		x := 0.0
		if part == "weight" {
			x = 1
		}
		w.computed(b, k+1, n.name+"."+part, w.get(n.name+".running_var").DType, channels, x)
	}
	return b.Outputs[0]
}
