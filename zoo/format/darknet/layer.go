package darknet

import (
	"fmt"
	"math"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// network is a cfg as layers, with their inputs, outputs and stored parts.
type network struct {
	cfg    *cfg
	input  extent
	layers []*layer
	floats int64 // that the layers store
	// bare says that [batchnorm] layers store no biases: pjreddie's Darknet writes none, AlexeyAB's does.
	bare bool
}

// extent is the size of a layer's output: an image of c channels, h by w, or, if these are 0, a vector of n values.
type extent struct{ c, h, w, n int64 }

func (e extent) image() bool { return e.c > 0 }

func (e extent) String() string {
	if e.image() {
		return fmt.Sprintf("%dx%dx%d", e.c, e.h, e.w)
	}
	return fmt.Sprint(e.n)
}

// shape is the extent as the shape of a value.
func (e extent) shape() []int64 {
	if e.image() {
		return []int64{1, e.c, e.h, e.w}
	}
	return []int64{1, e.n}
}

// layer is one section behind [net].
type layer struct {
	*section
	net        *network
	index      int
	name       string // of its node and its output: "convolutional_12", counted from 0 as Darknet counts
	in, out    extent
	activation string // "" for kinds that have none
	parts      []*part
	lender     *layer // the layer whose parts it shares, by share_index; nil if it has parts of its own
	build      func(*builder)

	// Its nodes that read parts, and the values that they read.
	linear, norm *model.Node
	values       map[string]*model.Value
}

// part is a tensor in the file of weights.
type part struct {
	name        string
	from, count int64 // in floats, behind the header
	shape       []int64
	perm        []int // if the file stores the axes in another order: axis k of the shape is stored as axis perm[k]

	// The node that reads it, and as which input; nil in layers without an equivalent in ONNX.
	node     *model.Node
	input    int
	original *model.Constant // as it was opened

	piece *format.Piece // as it is written; nil if it is dropped
}

// kinds are the layers that Darknet knows. Each function reads its options, sets the extent of its output and its parts,
// and returns the function that builds its nodes.
var kinds map[string]func(*layer) func(*builder)

func init() {
	kinds = map[string]func(*layer) func(*builder){
		"convolutional": convolutional, "deconvolutional": deconvolutional, "connected": connected, "batchnorm": batchnorm, "local": local,
		"activation": activation, "logistic": activation, "dropout": alias, "empty": alias, "cost": alias,
		"maxpool": maxpool, "avgpool": avgpool, "local_avgpool": localAvgpool, "softmax": softmax, "crop": crop,
		"route": route, "shortcut": shortcut, "scale_channels": scaleChannels, "sam": sam,
		"upsample": upsample, "reorg": reorg, "reorg3d": reorg,
		"rnn": recurrent, "gru": recurrent, "lstm": recurrent, "crnn": crnn, "implicit": implicit,
		"normalization": same, "l2norm": same,
		"yolo": same, "Gaussian_yolo": same, "region": same, "detection": head, "iseg": same, "contrastive": head,
	}
}

// unsupported are layers for videos, of AlexeyAB's Darknet.
var unsupported = map[string]bool{"conv_lstm": true, "history": true}

// refused are options that change what a layer, of any kind, computes or stores, and are not understood.
var refused = []string{"antialiasing", "coordconv", "maxpool_zero_nonmax", "dontload", "dontloadscales", "numload"}

// layersOf reads the layers of a cfg.
func layersOf(c *cfg, bare bool) (*network, error) {
	net := &network{cfg: c, bare: bare}
	s := c.sections[0]
	in := &layer{section: s, net: net}
	in.put(s.int("channels", 0), s.int("height", 0), s.int("width", 0))
	if n := s.int("inputs", 0); !in.out.image() && n > 0 {
		in.out = extent{n: n}
	}
	net.input = in.out
	if s.err == nil && in.out.n < 1 {
		s.fail(s.line, format.ErrCorrupt, "says neither width, height and channels of the input nor inputs")
	}
	if s.err != nil {
		return nil, s.err
	}
	last := in
	for k, s := range c.sections[1:] {
		l := &layer{section: s, net: net, index: k, name: fmt.Sprintf("%s_%d", s.kind, k), in: last.out}
		read := kinds[s.kind]
		switch {
		case unsupported[s.kind]:
			s.fail(s.line, format.ErrUnread, "the layer is of a type that is not known")
		case read == nil:
			s.fail(s.line, format.ErrCorrupt, "Darknet has no such layer")
		default:
			l.build = read(l)
		}
		for _, key := range refused {
			if s.flag(key) {
				s.fail(s.lineOf(key), format.ErrUnread, "the option %s", key)
			}
		}
		if s.err != nil {
			return nil, s.err
		}
		net.layers = append(net.layers, l)
		last = l
	}
	return net, nil
}

// put sets the layer's output to an image. Extents below 1, or with more values than Darknet's int can count, are an error,
// except in [net].
func (l *layer) put(c, h, w int64) {
	n, ok := tensor.Elements([]int64{max(c, 0), max(h, 0), max(w, 0)})
	switch {
	case !ok || n > math.MaxInt32:
		l.fail(l.line, format.ErrLimit, "an image of %dx%dx%d: Darknet counts its values in 31 bits", c, h, w)
	case n > 0:
		l.out = extent{c, h, w, n}
	case l.name != "":
		l.fail(l.line, format.ErrCorrupt, "it makes an image of %dx%dx%d of one of %v", c, h, w, l.in)
	}
}

// image says whether the layer reads an image, and fails where it does not.
func (l *layer) image() bool {
	if !l.in.image() {
		l.fail(l.line, format.ErrCorrupt, "it needs an image, what it reads is a vector of %d", l.in.n)
	}
	return l.in.image()
}

// slid is the number of positions of a window of that size along an extent; fewer than one is an error.
func (l *layer) slid(extent, padding, size, stride int64) int64 {
	if extent+padding < size {
		l.fail(l.line, format.ErrCorrupt, "a window of %d does not fit into %v with its padding", size, l.in)
		return 1
	}
	return (extent+padding-size)/stride + 1
}

// store adds a part: the next tensor in the file is the layer's.
func (l *layer) store(name string, shape ...int64) *part {
	n, ok := tensor.Elements(shape)
	if !ok || n > math.MaxInt64/8-l.net.floats {
		l.fail(l.line, format.ErrLimit, "its %s would be of shape %v", name, shape)
		n = 0
	}
	p := &part{name: name, from: l.net.floats, count: n, shape: shape}
	l.net.floats += n
	l.parts = append(l.parts, p)
	return p
}

// storeNorm adds the parts of a batch normalisation of n channels, except its biases, which are stored elsewhere.
func (l *layer) storeNorm(n int64) {
	for _, name := range []string{"scales", "mean", "variance"} {
		l.store(name, n)
	}
}

func (l *layer) part(name string) *part {
	for _, p := range l.parts {
		if p.name == name {
			return p
		}
	}
	return nil
}

// end is where the layer's own parts end, in floats.
func (l *layer) end() int64 {
	if len(l.parts) == 0 || l.lender != nil {
		return 0
	}
	p := l.parts[len(l.parts)-1]
	return p.from + p.count
}

// named is a layer before this one that an option names, by its number or, below 0, by its distance.
func (l *layer) named(key string, number int64) *layer {
	k := number
	if k < 0 {
		k += int64(l.index)
	}
	if k < 0 || k >= int64(l.index) {
		l.fail(l.lineOf(key), format.ErrCorrupt, "%s=%d: layer %d does not come before this one, layer %d", key, number, k, l.index)
		return nil
	}
	return l.net.layers[k]
}

// maxListed bounds the layers that one option lists.
const maxListed = 1 << 10

// others are the layers that an option lists, at least one; nil where it is wrong.
func (l *layer) others(key string) (list []*layer) {
	numbers := l.ints(key)
	if len(numbers) > maxListed {
		l.fail(l.lineOf(key), format.ErrLimit, "%s= lists more than %d layers", key, maxListed)
		return nil
	}
	for _, n := range numbers {
		o := l.named(key, n)
		if o == nil {
			return nil
		}
		list = append(list, o)
	}
	return list
}

// where names the layer in messages: `layer 12 [convolutional] (yolo.cfg:113)`.
func (l *layer) where() string {
	return fmt.Sprintf("layer %d [%s] (%s:%d)", l.index, l.kind, l.cfg.name, l.line)
}
