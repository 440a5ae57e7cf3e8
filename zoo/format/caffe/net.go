package caffe

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
)

// network is a prototxt: its layers in the order in which Caffe runs them.
type network struct {
	*source
	name   string
	top    *message
	layers []*layer // of the net in phase TEST
	others []*layer // layers of other phases, levels or stages
	blobs  []*blob  // in the order in which they are made
}

// layer is one layer of a prototxt, or the net's inputs that are declared outside of layers.
type layer struct {
	name, typ string
	where     *field // nil for the net's inputs
	text      *message
	v1        bool     // a V1LayerParameter, as in nets of before 2014
	bottoms   []*field // the names of what it reads
	tops      []*field // of what it makes
	in, out   []*blob
	shapes    [][]int64 // of the tops of the net's inputs
	built               // its nodes in the graph
	weights   []*weight // what the caffemodel holds for it
	stored    *storedLayer
	shared    map[int]bool // weights that another layer uses too
	twins     []*layer     // those that share all its weights, itself among them
}

// blob is one value that flows through the net: what one layer writes under a name. A layer whose top has the name of its
// bottom works in place: it makes a new blob of that name, which later layers read.
type blob struct {
	name  string // as the prototxt has it
	value string // unique: the name of the value in the graph
	by    *layer
	read  bool
}

// inputTypes are the types of input layers.
var inputTypes = []string{"Input", "Data", "ImageData", "AnnotatedData", "MemoryData", "HDF5Data", "DummyData", "WindowData"}

// isInput says whether the layer is an input layer.
func (l *layer) isInput() bool {
	return l.where == nil || slices.Contains(inputTypes, l.typ) || len(l.bottoms) == 0 && l.typ != "Parameter"
}

// readNetwork reads a prototxt.
func readNetwork(s *source) (*network, error) {
	top, err := s.parse()
	if err != nil {
		return nil, err
	}
	net := &network{source: s, top: top}
	var stages []string
	for _, f := range top.all("state") {
		for _, g := range f.inner.all("stage") {
			stages = append(stages, g.value)
		}
	}
	for _, f := range top.all("name") {
		net.name = f.value
	}
	if err := net.readInputs(); err != nil {
		return nil, err
	}
	fields, old := top.all("layer"), top.all("layers")
	if len(fields) > 0 && len(old) > 0 {
		return nil, s.errorAt(fields[0].from, "layer here, but layers in line %d: a net has to be of one version of the format", s.line(old[0].from))
	}
	for _, f := range append(fields, old...) {
		l, err := net.readLayer(f)
		if err != nil {
			return nil, err
		}
		used, err := net.includes(l, stages)
		if err != nil {
			return nil, err
		}
		if used {
			net.layers = append(net.layers, l)
		} else {
			net.others = append(net.others, l)
		}
	}
	if !slices.ContainsFunc(net.layers, func(l *layer) bool { return l.where != nil }) {
		return nil, fmt.Errorf("%s: not a Caffe net: it has no layer for phase TEST (a solver's prototxt?): %w", s.name, format.ErrCorrupt)
	}
	return net, net.resolve()
}

// readInputs reads the net's inputs outside layers: input with input_shape, or with four input_dim each.
func (net *network) readInputs() error {
	names := net.top.all("input")
	if len(names) == 0 {
		return nil
	}
	l := &layer{typ: "Input", tops: names}
	shapes, dims := net.top.all("input_shape"), net.top.all("input_dim")
	p := &params{source: net.source, layer: l, in: net.top}
	for k := range names {
		switch {
		case len(shapes) == len(names):
			q := &params{source: net.source, layer: l, in: shapes[k].inner}
			l.shapes = append(l.shapes, q.ints("dim"))
			p.err = q.err
		case len(dims) == 4*len(names) && len(shapes) == 0:
			l.shapes = append(l.shapes, p.ints("input_dim")[4*k:4*k+4])
		case len(dims)+len(shapes) == 0: // the program that runs the net sets it
			l.shapes = append(l.shapes, nil)
		default:
			return net.errorAt(names[0].from, "%d inputs with %d input_shape and %d input_dim: want one shape or four dims for each", len(names), len(shapes), len(dims))
		}
		if p.err != nil {
			return p.err
		}
	}
	net.layers = append(net.layers, l)
	return nil
}

func (net *network) readLayer(f *field) (*layer, error) {
	if f.inner == nil {
		return nil, net.errorAt(f.from, "a layer is a message in braces")
	}
	if f.elementOf {
		return nil, net.errorAt(f.from, "layers in a list cannot be edited: write each as a field of its own")
	}
	l := &layer{where: f, text: f.inner, v1: f.name == "layers", bottoms: f.inner.all("bottom"), tops: f.inner.all("top")}
	if l.v1 && len(l.text.all("layer")) > 0 {
		return nil, net.errorAt(f.from, "layers that hold a layer are of Caffe's first format: run Caffe's upgrade_net_proto_text on it")
	}
	for name, into := range map[string]*string{"name": &l.name, "type": &l.typ} {
		list := l.text.all(name)
		if len(list) > 1 || len(list) == 1 && list[0].inner != nil {
			return nil, net.errorAt(list[len(list)-1].from, "want one %s", name)
		}
		if len(list) == 1 {
			*into = list[0].value
		}
	}
	if l.typ == "" {
		return nil, net.errorAt(f.from, "layer %q has no type", l.name)
	}
	if l.v1 {
		l.typ = upgraded(l.typ)
	}
	for _, g := range append(l.bottoms[:len(l.bottoms):len(l.bottoms)], l.tops...) {
		if !g.quoted {
			return nil, net.errorAt(g.from, "layer %q: want the name of a blob in quotes", l.name)
		}
	}
	return l, nil
}

// upgraded is the current name of a V1LayerParameter's type; unknown types stay as they are.
func upgraded(typ string) string {
	if t, ok := map[string]string{
		"ABSVAL": "AbsVal", "BNLL": "BNLL", "CONCAT": "Concat", "CONVOLUTION": "Convolution", "DATA": "Data", "DECONVOLUTION": "Deconvolution",
		"DROPOUT": "Dropout", "DUMMY_DATA": "DummyData", "ELTWISE": "Eltwise", "EXP": "Exp", "FLATTEN": "Flatten", "HDF5_DATA": "HDF5Data",
		"IMAGE_DATA": "ImageData", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN", "MEMORY_DATA": "MemoryData", "POOLING": "Pooling", "POWER": "Power",
		"RELU": "ReLU", "SIGMOID": "Sigmoid", "SLICE": "Slice", "SOFTMAX": "Softmax", "SPLIT": "Split", "TANH": "TanH", "WINDOW_DATA": "WindowData",
	}[typ]; ok {
		return t
	}
	return typ
}

// includes says whether the net of phase TEST and level 0 has the layer: without include it has, unless an exclude holds;
// with include, only if one of them holds.
func (net *network) includes(l *layer, stages []string) (bool, error) {
	included, excluded := l.text.all("include"), l.text.all("exclude")
	if len(included) > 0 && len(excluded) > 0 {
		return false, net.errorAt(excluded[0].from, "layer %q has both include and exclude", l.name)
	}
	for _, rule := range append(included[:len(included):len(included)], excluded...) {
		p := &params{source: net.source, layer: l, in: rule.inner}
		holds := p.int("min_level", 0) <= 0 && p.int("max_level", 0) >= 0
		if f := p.one("phase"); f != nil {
			holds = holds && (f.value == "TEST" || f.value == "1")
		}
		for _, f := range p.list("stage") {
			holds = holds && slices.Contains(stages, f.value)
		}
		for _, f := range p.list("not_stage") {
			holds = holds && !slices.Contains(stages, f.value)
		}
		if p.err != nil {
			return false, p.err
		}
		if holds {
			return len(included) > 0, nil
		}
	}
	return len(included) == 0, nil
}

// resolve finds out which blob each layer reads and makes, and gives blobs their unique names.
func (net *network) resolve() error {
	current := map[string]*blob{}
	versions := map[string][]*blob{}
	for _, l := range net.layers {
		for _, f := range l.bottoms {
			b := current[f.value]
			if other := net.maker(f.value); b == nil && other != nil {
				return fmt.Errorf("%s: layer %q reads %q, which in phase TEST no layer makes, only %q for another phase, level or stage: include that, or leave out what reads it: %w",
					net.position(f.from), l.name, f.value, other.name, format.ErrUnread)
			}
			if b == nil {
				return net.errorAt(f.from, "layer %q reads %q, which no layer before it makes", l.name, f.value)
			}
			b.read = true
			l.in = append(l.in, b)
		}
		for k, f := range l.tops {
			before := current[f.value]
			if before != nil && (k >= len(l.in) || l.in[k] != before) {
				return net.errorAt(f.from, "layer %q makes %q, as layer %q does: only a layer that reads it in the same place may", l.name, f.value, before.by.name)
			}
			b := &blob{name: f.value, by: l}
			current[f.value] = b
			versions[f.value] = append(versions[f.value], b)
			net.blobs = append(net.blobs, b)
			l.out = append(l.out, b)
		}
	}
	taken := map[string]int{}
	for name := range versions {
		taken[name] = 1
	}
	for _, b := range net.blobs {
		list := versions[b.name]
		keeper := list[len(list)-1]
		if list[0].by.isInput() {
			keeper = list[0]
		}
		if b.value = b.name; b != keeper {
			b.value = unique(taken, b.name+"@"+b.by.name)
		}
	}
	return nil
}

// maker is a layer of another phase that makes a blob of that name; nil if there is none.
func (net *network) maker(blob string) *layer {
	for _, l := range net.others {
		if slices.ContainsFunc(l.tops, func(f *field) bool { return f.value == blob }) {
			return l
		}
	}
	return nil
}

// unique is the hint, or the hint with a number behind it, such that it is not taken; it is from then on.
func unique(taken map[string]int, hint string) string {
	name, k := hint, taken[hint]
	for ; taken[name] > 0; k++ {
		name = fmt.Sprintf("%s_%d", hint, k)
	}
	taken[name], taken[hint] = 1, max(k, 1)
	return name
}
