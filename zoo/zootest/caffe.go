package zootest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Caffe writes one small Caffe net into a folder, a prototxt and its caffemodel: layers of many types, in place or not,
// written in one of the ways that people and programs write them. Every net has one input, "data", and is one that
// OpenCV's dnn runs. Equal seeds make equal files.
func Caffe(seed uint64, folder string) (path string, o format.Options, err error) {
	c := &caffeNet{rng: rand.New(rand.NewPCG(seed, 0xcaffe)), shapes: map[string][]int64{}, read: map[string]bool{}}
	c.style = c.rng.IntN(3)
	c.definitions = c.rng.IntN(2) == 0
	c.head()
	x := caffeBlocks[c.rng.IntN(4)](c, "data")
	for range 1 + c.rng.IntN(4) {
		x = caffeBlocks[c.rng.IntN(len(caffeBlocks))](c, x)
	}
	c.tail(x)
	path = filepath.Join(folder, fmt.Sprintf("net%d.prototxt", seed))
	if err := os.WriteFile(path, []byte(c.text.String()), 0o666); err != nil {
		return "", o, err
	}
	o.Weights = strings.TrimSuffix(path, ".prototxt") + ".caffemodel"
	return path, o, os.WriteFile(o.Weights, c.weights, 0o666)
}

// caffeNet is a net being written.
type caffeNet struct {
	rng         *rand.Rand
	text        strings.Builder
	weights     []byte
	shapes      map[string][]int64 // of blobs
	read        map[string]bool    // blobs that others read: no layer may overwrite them
	count       int
	style       int  // of the text: lines, lines with comments and tabs, one line a layer
	definitions bool // the caffemodel says of layers what the prototxt says
}

func (c *caffeNet) either() bool { return c.rng.IntN(2) == 0 }

// pick is one of the numbers.
func (c *caffeNet) pick(list ...int64) int64 { return list[c.rng.IntN(len(list))] }

// name is a new layer's name.
func (c *caffeNet) name(kind string) string {
	c.count++
	return fmt.Sprintf("%s%d", kind, c.count)
}

// caffeBlob is one weight: its shape and elements.
type caffeBlob struct {
	shape  []int64
	values []float64
	modern bool // OpenCV wants the shape as it is written today
}

func (c *caffeNet) uniform(lo, hi float64, shape ...int64) caffeBlob {
	n, _ := tensor.Elements(shape)
	b := caffeBlob{shape: shape, values: make([]float64, n)}
	for k := range b.values {
		b.values[k] = float64(float32(lo + (hi-lo)*c.rng.Float64()))
	}
	return b
}

// head writes the net's name and its input.
func (c *caffeNet) head() {
	shape := []int64{1, 4, 10 + c.pick(0, 1, 2, 3), 10 + c.pick(0, 1, 2, 3)}
	c.shapes["data"], c.read["data"] = shape, true
	c.text.WriteString("name: \"a net\" # of many layers\n")
	dims := func(key string) (s string) {
		for _, d := range shape {
			s += fmt.Sprintf("%s: %d ", key, d)
		}
		return s
	}
	switch c.rng.IntN(3) {
	case 0:
		fmt.Fprintf(&c.text, "input: \"data\"\n%s\n", strings.TrimSpace(dims("input_dim")))
	case 1:
		fmt.Fprintf(&c.text, "input: 'data'\ninput_shape { %s}\n", dims("dim"))
	default:
		c.layer("data", "Input", nil, []string{"data"}, "input_param { shape { "+dims("dim")+"} }")
	}
}

// tail ends the net in some classes, or in what it has come to.
func (c *caffeNet) tail(x string) {
	if c.either() {
		x = c.inner(x)
	}
	if c.either() {
		c.same(x, "Softmax", "")
	}
	fmt.Fprintf(&c.text, "# the end\n")
}

// layer writes a layer that gives its tops no shape yet.
func (c *caffeNet) layer(name, typ string, bottoms, tops []string, params string, blobs ...caffeBlob) {
	s := fmt.Sprintf("name: %q type: %q ", name, typ)
	for _, b := range bottoms {
		s += fmt.Sprintf("bottom: %q ", b)
	}
	for _, t := range tops {
		s += fmt.Sprintf("top: %q ", t)
	}
	if len(blobs) > 0 && c.either() {
		s += "param { lr_mult: 1 } "
	}
	c.text.WriteString(c.laid("layer { " + s + params + " }"))
	if len(blobs) == 0 && c.either() {
		return
	}
	var m []byte
	m = caffeText(m, 1, name)
	if c.definitions {
		m = caffeText(m, 2, typ)
		for _, b := range bottoms {
			m = caffeText(m, 3, b)
		}
		for _, t := range tops {
			m = caffeText(m, 4, t)
		}
		m = caffeText(m, 7777, "a field that nobody knows")
		if n := map[string]protowire.Number{"Convolution": 106, "Deconvolution": 106, "InnerProduct": 117}[typ]; n > 0 {
			bias := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), uint64(len(blobs)-1))
			m = caffeText(m, n, string(bias))
		}
	}
	for _, b := range blobs {
		m = caffeText(m, 7, string(c.encode(b)))
	}
	c.weights = caffeText(c.weights, 100, string(m))
}

// laid lays a layer out in the net's style. Its tokens are separated by spaces.
func (c *caffeNet) laid(layer string) string {
	if c.style == 2 {
		return layer + "\n"
	}
	indent, out, depth := "  ", "", 0
	if c.style == 1 {
		indent = "\t"
	}
	line := ""
	flush := func() {
		if line != "" {
			out += strings.Repeat(indent, depth) + strings.TrimSpace(line) + "\n"
		}
		line = ""
	}
	for _, t := range strings.Fields(layer) {
		switch {
		case t == "{":
			line += " {"
			flush()
			depth++
		case t == "}":
			flush()
			depth--
			line = "}"
			flush()
		case strings.HasSuffix(t, ":") || line == "" || !strings.HasSuffix(line, ": "):
			flush()
			line = t + " "
		default:
			line += t
			flush()
		}
	}
	flush()
	if c.style == 1 {
		out = "# " + fmt.Sprint(c.count) + "\n" + strings.TrimSuffix(out, "\n") + " # end of layer\n\n"
	}
	return out
}

func caffeText(m []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(m, n, protowire.BytesType), s)
}

// encode is a BlobProto, in one of the forms that Caffe, its ancestors and OpenCV write.
func (c *caffeNet) encode(b caffeBlob) []byte {
	var m, data []byte
	le := binary.LittleEndian
	number := func(n protowire.Number, v int64) {
		m = protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), uint64(v))
	}
	if !b.modern && len(b.shape) <= 4 && c.rng.IntN(4) == 0 {
		for k, d := range append(slices.Repeat([]int64{1}, 4-len(b.shape)), b.shape...) {
			number(protowire.Number(1+k), d)
		}
	} else {
		var dims []byte
		for _, d := range b.shape {
			dims = protowire.AppendVarint(dims, uint64(d))
		}
		m = caffeText(m, 7, string(caffeText(nil, 1, string(dims))))
	}
	switch c.rng.IntN(6) {
	case 0: // one field an element
		for _, x := range b.values {
			m = protowire.AppendFixed32(protowire.AppendTag(m, 5, protowire.Fixed32Type), math.Float32bits(float32(x)))
		}
	case 1: // as OpenCV shrinks them
		for _, x := range b.values {
			data = le.AppendUint16(data, tensor.Float16Bits(x))
		}
		number(10, 2)
		m = caffeText(m, 12, string(data))
	default:
		for _, x := range b.values {
			data = le.AppendUint32(data, math.Float32bits(float32(x)))
		}
		m = caffeText(m, 5, string(data))
	}
	return m
}

// over is the top of a layer of one bottom: the bottom itself if no other layer reads it, or a new blob.
func (c *caffeNet) over(x, name string) string {
	if !c.read[x] && c.either() {
		return x
	}
	return name
}

// same adds a layer whose top has its bottom's shape.
func (c *caffeNet) same(x, typ, params string, blobs ...caffeBlob) string {
	name := c.name(strings.ToLower(typ))
	top := c.over(x, name)
	c.layer(name, typ, []string{x}, []string{top}, params, blobs...)
	c.shapes[top] = c.shapes[x]
	return top
}

// to adds a layer of one new top of that shape.
func (c *caffeNet) to(typ string, bottoms []string, shape []int64, params string, blobs ...caffeBlob) string {
	name := c.name(strings.ToLower(typ))
	c.layer(name, typ, bottoms, []string{name}, params, blobs...)
	c.shapes[name] = shape
	return name
}

// keep says that others read the blob too.
func (c *caffeNet) keep(x string) string {
	c.read[x] = true
	return x
}

// bias is "bias_term: false" or nothing of the kind, and the weights with or without one.
func (c *caffeNet) bias(n int64, weight caffeBlob) (string, []caffeBlob) {
	switch c.rng.IntN(3) {
	case 0:
		return "", []caffeBlob{weight, c.uniform(-0.5, 0.5, n)}
	case 1:
		return "bias_term: true ", []caffeBlob{weight, c.uniform(-0.5, 0.5, n)}
	}
	return "bias_term: false ", []caffeBlob{weight}
}

// conv adds a convolution to that many channels, its sizes in one of the ways in which they can be given.
func (c *caffeNet) conv(x string, out, kernel, stride, pad, dilation, group int64) string {
	in := c.shapes[x]
	if min(in[2], in[3])+2*pad < dilation*(kernel-1)+1 { // it does not fit
		kernel, pad = 1, 0
	}
	taps := float64(in[1] / group * kernel * kernel)
	params, blobs := c.bias(out, c.uniform(-1.7/math.Sqrt(taps), 1.7/math.Sqrt(taps), out, in[1]/group, kernel, kernel))
	params += fmt.Sprintf("num_output: %d ", out)
	if c.either() {
		params += fmt.Sprintf("kernel_size: %d stride: %d pad: %d ", kernel, stride, pad)
	} else {
		params += fmt.Sprintf("kernel_h: %d kernel_w: %d stride_h: %d stride_w: %d pad_h: %d pad_w: %d ", kernel, kernel, stride, stride, pad, pad)
	}
	if dilation > 1 || c.either() {
		params += fmt.Sprintf("dilation: %d ", dilation)
	}
	if group > 1 {
		params += fmt.Sprintf("group: %d engine: CAFFE ", group)
	}
	extent := func(n int64) int64 { return (n+2*pad-dilation*(kernel-1)-1)/stride + 1 }
	return c.to("Convolution", []string{x}, []int64{in[0], out, extent(in[2]), extent(in[3])}, "convolution_param { "+params+"weight_filler { type: \"msra\" } }", blobs...)
}

// norm adds a BatchNorm, a Scale, or both.
func (c *caffeNet) norm(x string) string {
	n := c.shapes[x][1]
	kind := c.rng.IntN(5)
	if kind != 0 {
		factor := []float64{999.98, 1, 0.5}[c.rng.IntN(3)]
		if c.rng.IntN(20) == 0 {
			factor = 0
		}
		mean, variance := c.uniform(-0.5, 0.5, n), c.uniform(0.3, 2, n)
		for k := range mean.values {
			mean.values[k] = float64(float32(mean.values[k] * max(factor, 1)))
			variance.values[k] = float64(float32(variance.values[k] * max(factor, 1)))
		}
		params := []string{"", "batch_norm_param { use_global_stats: true }", "batch_norm_param { eps: 0.001 }"}[c.rng.IntN(3)]
		x = c.same(x, "BatchNorm", params, mean, variance, caffeBlob{shape: []int64{1}, values: []float64{float64(float32(factor))}})
	}
	if kind != 1 {
		gamma := c.uniform(0.5, 1.5, n)
		if c.either() {
			for k := range gamma.values {
				if c.rng.IntN(4) == 0 {
					gamma.values[k] = -gamma.values[k]
				}
			}
		}
		if c.either() {
			x = c.same(x, "Scale", "scale_param { bias_term: true }", gamma, c.uniform(-0.5, 0.5, n))
		} else {
			x = c.same(x, "Scale", []string{"", "scale_param { axis: 1 }"}[c.rng.IntN(2)], gamma)
		}
	}
	return x
}

// activation adds one, or none.
func (c *caffeNet) activation(x string) string {
	switch c.rng.IntN(10) {
	case 0:
		return c.same(x, "ReLU", "relu_param { negative_slope: 0.1 }")
	case 1:
		return c.same(x, "PReLU", "", c.uniform(0.1, 0.4, c.shapes[x][1]))
	case 2:
		return c.same(x, "PReLU", "prelu_param { channel_shared: true }", c.uniform(0.1, 0.4, 1))
	case 3:
		return c.same(x, []string{"Sigmoid", "TanH", "AbsVal", "ELU", "BNLL"}[c.rng.IntN(5)], "")
	case 4:
		return x
	case 5:
		return c.same(x, "Dropout", "dropout_param { dropout_ratio: 0.3 }")
	case 6:
		return c.same(x, "ReLU6", "")
	}
	return c.same(x, "ReLU", "")
}

// pool adds a pooling of any kind.
func (c *caffeNet) pool(x string) string {
	in := c.shapes[x]
	kernel, stride := c.pick(2, 3), c.pick(1, 2, 3)
	pad := c.pick(0, 0, kernel-1)
	kind := []string{"MAX", "AVE"}[c.rng.IntN(2)]
	extent := func(n int64) int64 {
		count := (n+2*pad-kernel+stride-1)/stride + 1
		if pad > 0 && (count-1)*stride >= n+pad {
			count--
		}
		return count
	}
	out := []int64{in[0], in[1], extent(in[2]), extent(in[3])}
	if min(in[2], in[3]) < kernel || (out[2]-1)*stride >= in[2]+pad || (out[3]-1)*stride >= in[3]+pad { // it does not fit, or a window is empty
		return x
	}
	return c.to("Pooling", []string{x}, out, fmt.Sprintf("pooling_param { pool: %s kernel_size: %d stride: %d pad: %d }", kind, kernel, stride, pad))
}

// inner adds an InnerProduct, with a normalisation perhaps.
func (c *caffeNet) inner(x string) string {
	in := c.shapes[x]
	k, _ := tensor.Elements(in[1:])
	shape, params := []int64{5, k}, "num_output: 5 "
	params2, blobs := c.bias(5, c.uniform(-1, 1, shape...))
	x = c.to("InnerProduct", []string{x}, []int64{in[0], 5}, "inner_product_param { "+params+params2+"}", blobs...)
	if c.either() {
		x = c.norm(x)
	}
	return x
}

// caffeBlocks are pieces of nets: each goes on from a blob of four axes and ends in one.
var caffeBlocks = []func(c *caffeNet, x string) string{
	func(c *caffeNet, x string) string { // the common one
		x = c.conv(x, c.pick(4, 6, 8), c.pick(1, 3), 1, c.pick(0, 1), 1, 1)
		return c.activation(c.norm(x))
	},
	func(c *caffeNet, x string) string { // depthwise and pointwise
		n := c.shapes[x][1]
		x = c.activation(c.norm(c.conv(x, n, 3, c.pick(1, 2), 1, 1, n)))
		return c.activation(c.norm(c.conv(x, 8, 1, 1, 0, 1, 1)))
	},
	func(c *caffeNet, x string) string { // grouped and dilated
		return c.norm(c.conv(x, 4, 3, 1, 2, 2, c.pick(1, 2)))
	},
	func(c *caffeNet, x string) string { // a normalisation first
		return c.conv(c.norm(c.keep(x)), 6, c.pick(1, 2), 1, 0, 1, 1)
	},
	func(c *caffeNet, x string) string { // a residual
		n := c.shapes[c.keep(x)][1]
		y := c.norm(c.activation(c.norm(c.conv(x, n, 3, 1, 1, 1, 1))))
		z := x
		if c.either() {
			z = c.norm(c.conv(x, n, 1, 1, 0, 1, 1))
		}
		op := []string{"", "eltwise_param { operation: SUM }", "eltwise_param { operation: PROD }", "eltwise_param { operation: MAX }",
			"eltwise_param { coeff: 1 coeff: -1 }", "eltwise_param { operation: SUM coeff: 0.5 coeff: 2 }"}[c.rng.IntN(6)]
		x = c.to("Eltwise", []string{y, z}, c.shapes[x], op)
		if c.either() {
			x = c.norm(x)
		}
		return c.activation(x)
	},
	func(c *caffeNet, x string) string { // branches side by side
		in := c.shapes[c.keep(x)]
		y, z := c.conv(x, 3, 1, 1, 0, 1, 1), c.conv(x, 5, 3, 1, 1, 1, 1)
		if c.either() {
			y = c.norm(y)
		}
		return c.activation(c.norm(c.to("Concat", []string{y, z}, []int64{in[0], 8, in[2], in[3]}, []string{"", "concat_param { axis: 1 }"}[c.rng.IntN(2)])))
	},
	func(c *caffeNet, x string) string { // cut, treated apart, put together
		in := c.shapes[x]
		if in[1]%2 != 0 {
			return x
		}
		name := c.name("slice")
		c.layer(name, "Slice", []string{x}, []string{name + "/a", name + "/b"}, fmt.Sprintf("slice_param { axis: 1 slice_point: %d }", in[1]/2))
		half := []int64{in[0], in[1] / 2, in[2], in[3]}
		c.shapes[name+"/a"], c.shapes[name+"/b"] = half, half
		return c.to("Concat", []string{c.norm(name + "/a"), c.activation(name + "/b")}, in, "concat_param { axis: 1 }")
	},
	func(c *caffeNet, x string) string { // pooling between
		return c.norm(c.pool(c.conv(x, 4, 1, 1, 0, 1, 1)))
	},
	func(c *caffeNet, x string) string { // pooling, then on
		return c.conv(c.norm(c.pool(x)), 4, 2, 1, 0, 1, 1)
	},
	func(c *caffeNet, x string) string { // upwards
		in := c.shapes[x]
		params, blobs := c.bias(4, c.uniform(-0.5, 0.5, in[1], 4, 2, 2))
		x = c.to("Deconvolution", []string{x}, []int64{in[0], 4, 2 * in[2], 2 * in[3]}, "convolution_param { num_output: 4 kernel_size: 2 stride: 2 "+params+"}", blobs...)
		return c.pool(c.norm(x))
	},
	func(c *caffeNet, x string) string { // one number for all
		return c.conv(c.same(x, "Power", "power_param { scale: 0.7 shift: 0.2 }"), 4, 1, 1, 0, 1, 1)
	},
	func(c *caffeNet, x string) string { // a gate by channels, as SENet has it
		x = c.activation(c.norm(c.conv(x, 4, 3, 1, 1, 1, 1)))
		in := c.shapes[c.keep(x)]
		g := c.to("Pooling", []string{x}, []int64{in[0], in[1], 1, 1}, "pooling_param { pool: AVE global_pooling: true }")
		g = c.same(c.conv(g, in[1], 1, 1, 0, 1, 1), "Sigmoid", "")
		g = c.to("Flatten", []string{g}, []int64{in[0], in[1]}, "")
		return c.to("Scale", []string{x, g}, in, "scale_param { axis: 0 }")
	},
	func(c *caffeNet, x string) string { // axes turned there and back
		in := c.shapes[x]
		x = c.to("Permute", []string{x}, []int64{in[0], in[2], in[3], in[1]}, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
		return c.norm(c.to("Permute", []string{x}, in, "permute_param { order: 0 order: 3 order: 1 order: 2 }"))
	},
	func(c *caffeNet, x string) string { // channels shuffled
		in := c.shapes[x]
		if in[1]%2 != 0 {
			return x
		}
		return c.norm(c.to("ShuffleChannel", []string{x}, in, "shuffle_channel_param { group: 2 }"))
	},
	func(c *caffeNet, x string) string { // resized, and cut to what it was
		in := c.shapes[c.keep(x)]
		y := c.to("Interp", []string{c.conv(x, 4, 1, 1, 0, 1, 1)}, []int64{in[0], 4, 2*in[2] - 1, 2*in[3] - 1}, "interp_param { zoom_factor: 2 }")
		offset := "crop_param { axis: 2 offset: 1 }"
		if in[2] < 2 || in[3] < 2 {
			offset = "crop_param { axis: 2 }"
		}
		return c.norm(c.to("Crop", []string{y, x}, []int64{in[0], 4, in[2], in[3]}, offset))
	},
	func(c *caffeNet, x string) string { // reshaped, and read by two
		in := c.shapes[x]
		y := c.to("Reshape", []string{c.conv(x, 4, 1, 1, 0, 1, 1)}, []int64{in[0], 4, in[2] * in[3], 1}, "reshape_param { shape { dim: 0 dim: 4 dim: -1 dim: 1 } }")
		name := c.name("split")
		c.layer(name, "Split", []string{c.norm(y)}, []string{name + "a", name + "b"}, "")
		c.shapes[name+"a"], c.shapes[name+"b"] = c.shapes[y], c.shapes[y]
		return c.to("Eltwise", []string{c.activation(c.keep(name + "a")), c.norm(name + "b")}, c.shapes[y], "eltwise_param { operation: MAX }")
	},
	func(c *caffeNet, x string) string { // what no map passes
		if c.either() {
			return c.same(x, "LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 }")
		}
		gamma := c.uniform(0.5, 1.5, c.shapes[x][1])
		gamma.modern = true
		return c.norm(c.to("Normalize", []string{x}, c.shapes[x], "norm_param { across_spatial: false channel_shared: false }", gamma))
	},
}
