package zootest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
)

// Conventions are the programs that Darknet networks are for, as the setting epsilon names them: Darknet's is that of the seed
// modulo 3.
var Conventions = []string{"pjreddie", "alexeyab", "opencv"}

// Darknet writes a Darknet network of random layers into a folder, net.cfg and net.weights, as people write them: by its
// seed one that pjreddie's program runs, one that AlexeyAB's does, or one with layers of both. Equal seeds make equal files.
func Darknet(seed uint64, folder string) (path string, o format.Options, err error) {
	d := newDarknet(seed, Conventions[seed%3])
	d.untidy = true
	d.header = []uint32{0, 1 + uint32(d.rng.IntN(2)), 0}
	steps := d.pjreddie()
	switch d.convention {
	case "pjreddie":
		d.bare = true
		d.activations = "leaky leaky leaky leaky leaky leaky linear linear linear linear logistic relu tanh elu selu hardtan relie leaky leaky leaky linear linear ramp loggy stair lhtan plse"
	case "alexeyab":
		d.activations = "leaky leaky leaky leaky linear linear linear mish mish mish swish swish logistic relu tanh elu selu hardtan relie leaky leaky ramp loggy stair gelu hard_mish normalize_channels"
		steps = d.alexeyab()
	default:
		d.activations = "leaky linear relu6 nothing_known hardtan swish"
		steps = append(append(steps, d.alexeyab()...), d.deconvolutional, d.xnor, d.flipped)
		if d.rng.IntN(4) == 0 {
			d.header[0] = 1001 // connected layers' weights are transposed
		}
	}
	d.net()
	if d.rng.IntN(6) == 0 {
		d.section("crop", "crop_height", d.h-4, "crop_width", d.w-3, "flip", 0, "noadjust", d.rng.IntN(2))
		d.put(d.c, d.h-4, d.w-3)
	}
	if d.rng.IntN(6) == 0 {
		d.batchnorm()
	}
	d.conv(8, 3, d.rng.IntN(2))
	for range 8 + d.rng.IntN(8) {
		steps[d.rng.IntN(len(steps))]()
	}
	switch d.rng.IntN(4) {
	case 0:
		d.connected(6+d.rng.IntN(6), "leaky", true)
		d.connected(4, "linear", false)
		d.section("softmax")
		d.section("cost", "type", "sse")
	case 1:
		d.connected(5, "relu", true)
		if d.convention == "opencv" { // on the CPU, both programs read beyond what they allocate
			d.recurrent()
		}
	default:
		d.heads()
	}
	return d.write(folder)
}

// pjreddie are the blocks that pjreddie's Darknet knows.
func (d *darknet) pjreddie() []func() {
	return []func(){d.plain, d.plain, d.grouped, d.residual, d.narrow, d.maxpool, d.pyramid, d.upsample, d.reorg, d.dropout, d.back,
		d.batchnorm, d.batchnorm, d.normalisedPool, d.reversed, d.activation, d.foreign, d.sampled}
}

// alexeyab are those that AlexeyAB's knows.
func (d *darknet) alexeyab() []func() {
	return []func(){d.plain, d.plain, d.grouped, d.residual, d.narrow, d.maxpool, d.pyramid, d.upsample, d.reorg, d.dropout, d.back,
		d.batchnorm, d.normalisedPool, d.activation, d.local, d.half, d.gate, d.dilated, d.strided, d.flipped, d.shared, d.depth, d.averaged,
		d.attention, d.spatial, d.reorg3d, d.sum, d.weighted}
}

// DarknetForOpenCV writes a network, as Darknet does, of the layers that OpenCV's dnn runs too, with its epsilon.
func DarknetForOpenCV(seed uint64, folder string) (path string, o format.Options, err error) {
	d := newDarknet(seed, "opencv")
	d.header = []uint32{0, 1 + uint32(seed%2), 5}
	d.activations = "leaky leaky leaky linear linear mish swish logistic"
	steps := []func(){d.plain, d.plain, d.grouped, d.residual, d.narrow, d.maxpool, d.pyramid, d.half, d.gate, d.upsample, d.reorg, d.dropout, d.back}
	d.net()
	d.conv(8, 3, 1)
	for range 8 + d.rng.IntN(10) {
		steps[d.rng.IntN(len(steps))]()
	}
	switch d.rng.IntN(5) {
	case 0:
		d.section("avgpool") // OpenCV loses track of an image's size behind routes
		d.put(d.c, 1, 1)
		d.connected(9, "leaky", false) // and looks for the weights of normalised layers where Darknet has their scales
		d.connected(4, "linear", false)
	case 1:
		d.conv(10, 1, 1)
		d.section("avgpool")
		d.put(d.c, 1, 1)
		d.section("softmax")
	case 2:
		d.convolution("linear", true, 1, 12, 1, 1, 1)
		d.section("region", "anchors", "1,2, 2,1", "classes", 1, "coords", 4, "num", 2, "softmax", 1)
	default:
		d.heads()
	}
	return d.write(folder)
}

// darknet is a network being written.
type darknet struct {
	rng         *rand.Rand
	convention  string
	text        strings.Builder
	weights     []byte
	header      []uint32
	c, h, w     int      // the last layer's output
	layers      [][3]int // each layer's output
	bare        bool     // [batchnorm] stores no biases
	untidy      bool     // the text is written as people write it
	activations string
}

func newDarknet(seed uint64, convention string) *darknet {
	return &darknet{rng: rand.New(rand.NewPCG(seed, 6)), convention: convention}
}

func (d *darknet) write(folder string) (string, format.Options, error) {
	return d.writeAs(folder, "net")
}

// writeAs writes NAME.cfg and NAME.weights.
func (d *darknet) writeAs(folder, name string) (string, format.Options, error) {
	path := filepath.Join(folder, name+".cfg")
	text := d.text.String()
	if d.untidy && d.convention != "pjreddie" && d.rng.IntN(3) == 0 { // whose program takes \r for a part of the name
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if d.untidy && d.rng.IntN(3) == 0 {
		text = strings.TrimRight(text, "\r\n")
	}
	var head []byte
	for _, x := range d.header {
		head = binary.LittleEndian.AppendUint32(head, x)
	}
	seen := 4
	if d.header[0]*10+d.header[1] >= 2 && d.header[0] < 1000 {
		seen = 8
	}
	head = append(head, []byte{7, 6, 5, 0, 0, 0, 0, 0}[:seen]...)
	return path, format.Options{Settings: map[string]string{"darknet.epsilon": d.convention}}, errors.Join(os.WriteFile(path, []byte(text), 0o666), os.WriteFile(filepath.Join(folder, name+".weights"), append(head, d.weights...), 0o666))
}

// section writes a section; its layer is the next one.
func (d *darknet) section(kind string, options ...any) {
	pick := func(list ...string) string {
		if !d.untidy {
			return list[0]
		}
		return list[d.rng.IntN(len(list))]
	}
	switch kind {
	case "convolutional":
		kind = pick(kind, kind, "conv")
	case "connected":
		kind = pick(kind, "conn")
	}
	fmt.Fprintf(&d.text, "%s[%s]%s\n", pick("", "", "# the next layer\n", "\n"), kind, pick("", "", " ", "\t"))
	for k := 0; k < len(options); k += 2 {
		fmt.Fprintf(&d.text, "%s%v%s=%s%v%s\n", pick("", "", " "), options[k], pick("", "", " "), pick("", "", " "), options[k+1], pick("", "", "", " "))
		d.text.WriteString(pick("", "", "", "", "; a remark\n", "an_option_of_mine=1\n", "\n"))
	}
	d.text.WriteString(pick("\n", "\n", ""))
}

// put sets the layer's output.
func (d *darknet) put(c, h, w int) {
	d.c, d.h, d.w = c, h, w
	d.layers = append(d.layers, [3]int{c, h, w})
}

// floats adds numbers to the weights.
func (d *darknet) floats(n int, f func(k int) float64) {
	for k := range n {
		d.weights = binary.LittleEndian.AppendUint32(d.weights, math.Float32bits(float32(f(k))))
	}
}

func (d *darknet) normal(n, fanIn int) {
	d.floats(n, func(int) float64 { return d.rng.NormFloat64() / math.Sqrt(float64(fanIn)) })
}

func (d *darknet) biases(n int) { d.floats(n, func(int) float64 { return d.rng.Float64() - 0.5 }) }

// norm adds scales, means and variances. Scales go with the deviation, so that small variances, with which an epsilon shows,
// do not make the network explode.
func (d *darknet) norm(n int) {
	deviation := make([]float64, n)
	for k := range deviation {
		deviation[k] = math.Pow(10, -1.7*d.rng.Float64())
	}
	d.floats(n, func(k int) float64 {
		sign := float64(1 - 2*(d.rng.IntN(5)/4))
		return sign * (0.5 + d.rng.Float64()) * deviation[k]
	})
	d.floats(n, func(k int) float64 { return (2*d.rng.Float64() - 1) * deviation[k] })
	d.floats(n, func(k int) float64 { return deviation[k] * deviation[k] })
}

func (d *darknet) net() {
	if d.untidy && d.rng.IntN(2) == 0 {
		d.text.WriteString("# a network of random layers\n")
	}
	d.c, d.h, d.w = 3, 8*(2+d.rng.IntN(3)), 8*(2+d.rng.IntN(3))
	d.section("net", "batch", 64, "subdivisions", 8, "width", d.w, "height", d.h, "channels", d.c, "learning_rate", "0.001")
}

// convolution writes one, and its floats.
func (d *darknet) convolution(activation string, norm bool, groups, filters, size, stride, pad int, more ...any) {
	options := []any{"filters", filters, "size", size, "stride", stride, "pad", pad, "activation", activation}
	if groups > 1 {
		options = append(options, "groups", groups)
	}
	if norm {
		options = append([]any{"batch_normalize", 1}, options...)
	} else if d.rng.IntN(3) == 0 {
		options = append(options, "batch_normalize", 0)
	}
	d.section("convolutional", append(options, more...)...)
	d.biases(filters)
	if norm {
		d.norm(filters)
	}
	fanIn := d.c / groups * size * size
	d.normal(filters*fanIn, fanIn)
	padding := 0
	if pad != 0 {
		padding = size / 2
	}
	d.put(filters, (d.h+2*padding-size)/stride+1, (d.w+2*padding-size)/stride+1)
}

// any is an activation.
func (d *darknet) any() string {
	list := strings.Fields(d.activations)
	return list[d.rng.IntN(len(list))]
}

// conv writes a convolution of that many filters and that size.
func (d *darknet) conv(filters, size, pad int) {
	d.convolution(d.any(), d.rng.IntN(4) > 0, 1, filters, size, 1, pad)
}

func (d *darknet) plain() {
	pad := 1
	if min(d.h, d.w) > 8 {
		pad = d.rng.IntN(2)
	}
	size := 1 + 2*d.rng.IntN(3)
	stride := 1
	if size > 1 { // on the CPU, pjreddie's program does not see the stride of a kernel of 1
		stride += d.down()
	}
	d.convolution(d.any(), d.rng.IntN(4) > 0, 1, 4+2*d.rng.IntN(5), size, stride, pad)
}

// down is 1 where the image is still large enough to be halved.
func (d *darknet) down() int {
	if min(d.h, d.w) > 8 {
		return d.rng.IntN(2)
	}
	return 0
}

// divisor is a number that divides the channels.
func (d *darknet) divisor() int {
	all := []int{d.c}
	for k := 2; k < d.c; k++ {
		if d.c%k == 0 {
			all = append(all, k)
		}
	}
	return all[d.rng.IntN(len(all))]
}

func (d *darknet) grouped() {
	g := d.divisor()
	d.convolution(d.any(), true, g, g*(1+d.rng.IntN(2)), 3, 1, 1)
}

func (d *darknet) residual() {
	c := d.c
	d.convolution("leaky", true, 1, max(c/2, 2), 1, 1, 1)
	d.convolution(d.any(), true, 1, c, 3, 1, 1)
	d.section("shortcut", "from", -3, "activation", []string{"linear", "leaky"}[d.rng.IntN(2)])
	d.put(d.c, d.h, d.w)
}

// narrow adds an image of other channels.
func (d *darknet) narrow() {
	d.conv(d.c, 3, 1)
	d.conv(max(d.c+2*d.rng.IntN(5)-4, 2), 3, 1)
	d.section("shortcut", "from", -2, "activation", "linear")
	d.put(d.c, d.h, d.w)
}

// sampled adds every second position of a larger image.
func (d *darknet) sampled() {
	if d.down() == 0 || d.h%2 != 0 || d.w%2 != 0 {
		return
	}
	d.convolution(d.any(), true, 1, 6, 3, 2, 1)
	d.section("shortcut", "from", -2, "activation", "linear")
	d.put(d.c, d.h, d.w)
}

func (d *darknet) pool(size, stride int) {
	d.section("maxpool", "size", size, "stride", stride)
	d.put(d.c, (d.h-1)/stride+1, (d.w-1)/stride+1)
}

func (d *darknet) maxpool() {
	d.pool(2+d.rng.IntN(2), 1+d.down())
}

// pyramid is YOLO v4's: pools of several sizes, joined.
func (d *darknet) pyramid() {
	d.pool(5, 1)
	d.route("-2")
	d.pool(7, 1)
	d.route("-1,-3,-4")
	d.convolution(d.any(), true, 1, 8, 1, 1, 1)
}

// route joins layers.
func (d *darknet) route(layers string, more ...any) {
	c := 0
	for _, text := range strings.Split(layers, ",") {
		var k int
		if _, err := fmt.Sscan(text, &k); err != nil {
			panic(err)
		}
		if k < 0 {
			k += len(d.layers)
		}
		c, d.h, d.w = c+d.layers[k][0], d.layers[k][1], d.layers[k][2]
	}
	if len(more) > 0 {
		c /= more[1].(int)
	}
	d.section("route", append([]any{"layers", layers}, more...)...)
	d.put(c, d.h, d.w)
}

// half is YOLO v4 tiny's: half of the channels go through a convolution.
func (d *darknet) half() {
	d.conv(8, 3, 1)
	d.route("-1", "groups", 2, "group_id", d.rng.IntN(2))
	d.conv(4, 3, 1)
	d.route("-1,-3")
}

// gate is EfficientNet's: channels are scaled by what their means say.
func (d *darknet) gate() {
	c, h, w := d.c, d.h, d.w
	d.section("avgpool")
	d.put(c, 1, 1)
	d.convolution("swish", false, 1, 3, 1, 1, 0)
	d.convolution("logistic", false, 1, c, 1, 1, 0)
	d.section("scale_channels", "from", -4, "activation", "linear")
	d.put(c, h, w)
}

func (d *darknet) upsample() {
	if max(d.h, d.w) > 24 {
		return
	}
	d.section("upsample", "stride", 2)
	d.put(d.c, 2*d.h, 2*d.w)
}

func (d *darknet) reorg() {
	if d.h%2 != 0 || d.w%2 != 0 || min(d.h, d.w) < 8 || d.c > 12 {
		return
	}
	if d.c%4 != 0 {
		d.conv(8, 1, 1)
	}
	d.section("reorg", "stride", 2)
	d.put(4*d.c, d.h/2, d.w/2)
}

func (d *darknet) dropout() {
	d.section("dropout", "probability", ".2")
	d.put(d.c, d.h, d.w)
}

// back routes to a layer of the same size, by its number.
func (d *darknet) back() {
	for k, e := range d.layers {
		if e[1] == d.h && e[2] == d.w && k < len(d.layers)-1 {
			d.route(fmt.Sprintf("%d,-1", k))
			d.convolution(d.any(), true, 1, 6, 1, 1, 0)
			return
		}
	}
}

// heads are YOLO's, at one size or at two.
func (d *darknet) heads() {
	yolo := func() {
		d.convolution("linear", d.rng.IntN(3) == 0, 1, 3*7, 1, 1, 1)
		d.section("yolo", "mask", "0,1,2", "anchors", "10,14, 23,27, 37,58, 81,82, 135,169, 344,319", "classes", 2, "num", 6, "ignore_thresh", ".7")
		d.put(d.c, d.h, d.w)
	}
	d.conv(8, 3, 1)
	yolo()
	if d.rng.IntN(2) == 0 {
		d.route("-3")
		d.conv(8, 1, 1)
		d.upsample()
		yolo()
	}
}

// From here on: what OpenCV does not run.

func (d *darknet) batchnorm() {
	d.section("batchnorm")
	if !d.bare {
		d.biases(d.c)
	}
	d.norm(d.c)
	d.put(d.c, d.h, d.w)
}

func (d *darknet) normalisedPool() {
	d.convolution("linear", d.rng.IntN(2) == 0, 1, 6, 3, 1, 1)
	d.maxpool()
	d.batchnorm()
	d.convolution("leaky", true, 1, 8, 1, 1, 0)
}

func (d *darknet) deconvolutional() {
	if max(d.h, d.w) > 24 {
		return
	}
	norm, n := d.rng.IntN(2), 4+d.rng.IntN(3)
	d.section("deconvolutional", "filters", n, "size", 4, "stride", 2, "padding", 1, "activation", d.any(), "batch_normalize", norm)
	d.biases(n)
	if norm == 1 {
		d.norm(n)
	}
	d.normal(d.c*n*16, d.c*4)
	d.put(n, 2*d.h, 2*d.w)
}

func (d *darknet) dilated() {
	d.convolution(d.any(), true, 1, 6, 3, 1, 1, "dilation", 2)
}

func (d *darknet) strided() {
	h := d.h
	d.convolution(d.any(), true, 1, 6, 3, 1, 1, "stride_x", 2, "stride_y", 1)
	d.layers = d.layers[:len(d.layers)-1]
	d.put(6, h, (d.w-1)/2+1)
}

func (d *darknet) flipped() {
	d.convolution(d.any(), true, 1, 5, 3, 1, 1, "flipped", 1, "cbn", 1)
}

// shared uses the weights of a convolution before it; sometimes what follows makes it need others.
func (d *darknet) shared() {
	number := len(d.layers)
	d.convolution("leaky", true, 1, d.c, 3, 1, 1)
	activation := []string{"leaky", "linear"}[d.rng.IntN(2)]
	d.section("convolutional", "share_index", []int{number, -1}[d.rng.IntN(2)], "batch_normalize", 1, "filters", d.c, "size", 3, "pad", 1, "activation", activation)
	d.put(d.c, d.h, d.w)
	if activation == "linear" {
		d.batchnorm()
	}
}

func (d *darknet) depth() {
	n := d.divisor()
	d.section("maxpool", "maxpool_depth", 1, "out_channels", n)
	d.put(n, d.h, d.w)
}

func (d *darknet) averaged() {
	d.section("local_avgpool", "size", 3, "stride", 1)
	d.put(d.c, d.h, d.w)
}

func (d *darknet) attention() {
	d.conv(d.c, 1, 1)
	d.convolution("logistic", true, 1, d.c, 1, 1, 0)
	d.section("sam", "from", -2)
	d.put(d.c, d.h, d.w)
}

func (d *darknet) spatial() {
	c := d.c
	d.conv(c, 1, 1)
	d.convolution("logistic", true, 1, 1, 3, 1, 1)
	d.section("scale_channels", "from", -2, "scale_wh", 1)
	d.put(c, d.h, d.w)
}

func (d *darknet) reorg3d() {
	if d.h%2 != 0 || d.w%2 != 0 || min(d.h, d.w) < 8 || d.c > 12 {
		return
	}
	d.section("reorg3d", "stride", 2)
	d.put(4*d.c, d.h/2, d.w/2)
	d.batchnorm()
	d.conv(8, 1, 1)
}

func (d *darknet) reversed() {
	if max(d.h, d.w) > 24 {
		return
	}
	d.conv(8, 1, 1)
	d.section("reorg", "stride", 2, "reverse", 1)
	d.put(2, 2*d.h, 2*d.w)
}

func (d *darknet) activation() {
	d.section("activation", "activation", []string{"leaky", "relu", "tanh", "logistic", "linear"}[d.rng.IntN(5)]) // AlexeyAB's knows swish and mish only elsewhere
	d.put(d.c, d.h, d.w)
}

// sum is a shortcut of several layers.
func (d *darknet) sum() {
	d.conv(6, 3, 1)
	d.conv(6, 1, 1)
	d.conv(6, 1, 1)
	d.section("shortcut", "from", "-2,-3", "activation", d.any())
	d.put(d.c, d.h, d.w)
}

// weighted is a shortcut with weights of its own.
func (d *darknet) weighted() {
	d.conv(d.c, 3, 1)
	d.section("shortcut", "from", -2, "weights_type", []string{"per_feature", "per_channel"}[len(d.layers)%2], "weights_normalization", "relu", "activation", "leaky")
	d.biases([]int{2, 2 * d.c}[len(d.layers)%2])
	d.put(d.c, d.h, d.w)
}

func (d *darknet) xnor() {
	d.convolution("leaky", true, 1, 6, 3, 1, 1, "xnor", 1)
}

// foreign is a layer that ONNX has no operator for.
func (d *darknet) foreign() {
	d.convolution("linear", true, 1, 5, 1, 1, 1) // nowhere zeros alone, whose length is none
	d.section([]string{"normalization", "l2norm", "logistic"}[d.rng.IntN(3)])
	d.put(d.c, d.h, d.w)
}

func (d *darknet) local() {
	if d.h*d.w > 200 || d.h < 3 || d.w < 3 {
		return
	}
	h, w := d.h-2, d.w-2
	d.section("local", "filters", 3, "size", 3, "stride", 1, "pad", 0, "activation", "leaky")
	d.biases(3 * h * w)
	d.normal(3*h*w*d.c*9, d.c*9)
	d.put(3, h, w)
}

func (d *darknet) connected(n int, activation string, norm bool) {
	options := []any{"output", n, "activation", activation}
	if norm {
		options = append(options, "batch_normalize", 1)
	}
	d.section("connected", options...)
	in := d.c * d.h * d.w
	d.biases(n)
	d.normal(n*in, in)
	if norm {
		d.norm(n)
	}
	d.put(n, 1, 1)
}

// recurrent layers end the network.
func (d *darknet) recurrent() {
	kind := []string{"rnn", "gru", "lstm"}[d.rng.IntN(3)]
	n, in := 4, d.c
	d.section(kind, "output", n, "hidden", n, "batch_normalize", 1)
	cell := func(in, n int) {
		d.biases(n)
		d.normal(n*in, in)
		d.norm(n)
	}
	if kind == "rnn" {
		cell(in, n)
		cell(n, n)
		cell(n, n)
		return
	}
	for range map[string]int{"gru": 3, "lstm": 4}[kind] {
		cell(in, n)
		cell(n, n)
	}
}
