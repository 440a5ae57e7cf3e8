package zootest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
)

// networks are one for each format that is not ONNX, by the folder that it is written to.
var networks = map[string]func(folder string) (string, format.Options, error){
	"caffe": mobileNetSSD, "darknet": TinyYOLO, "keras": MiniXception, "torch": trained,
}

// WriteNetworks writes all of them below a folder and returns their paths.
func WriteNetworks(folder string) ([]string, error) {
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		below := filepath.Join(folder, name)
		if err := os.MkdirAll(below, 0o777); err != nil {
			return nil, err
		}
		path, o, err := networks[name](below)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if o.State.Graph != "" {
			paths = append(paths, o.State.Graph)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// mobileNetSSD writes a Caffe detector with the layers of the well-known MobileNet-SSD, mobilenet-ssd.prototxt and its
// caffemodel, with random weights: 35 convolutions, each with a BatchNorm, a Scale and a ReLU in place, and the
// convolutions of six detection heads.
func mobileNetSSD(folder string) (path string, o format.Options, err error) {
	c := &caffeNet{rng: rand.New(rand.NewPCG(300, 0xcaffe)), shapes: map[string][]int64{"data": {1, 3, 300, 300}}, read: map[string]bool{}}
	c.text.WriteString("name: \"MobileNet-SSD\"\n# random weights: what folds does not depend on them\n")
	c.layer("data", "Input", nil, []string{"data"}, "input_param { shape { dim: 1 dim: 3 dim: 300 dim: 300 } }")
	x := c.mobile("conv0", "data", 32, 3, 2, 1)
	channels := int64(32)
	var heads []string
	for k, block := range [13][2]int64{{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {512, 2}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}} {
		name := fmt.Sprintf("conv%d", k+1)
		x = c.mobile(name+"/dw", x, channels, 3, block[1], channels)
		channels = block[0]
		x = c.mobile(name, x, channels, 1, 1, 1)
		if k == 10 || k == 12 {
			heads = append(heads, x)
		}
	}
	for k, out := range []int64{512, 256, 256, 128} {
		x = c.mobile(fmt.Sprintf("conv%d_1", 14+k), x, out/2, 1, 1, 1)
		x = c.mobile(fmt.Sprintf("conv%d_2", 14+k), x, out, 3, 2, 1)
		heads = append(heads, x)
	}
	var flat []string
	for k, h := range heads {
		boxes := int64(24)
		if k == 0 {
			boxes = 12
		}
		name := h + "_mbox_loc"
		blobs := []caffeBlob{c.uniform(-0.1, 0.1, boxes, c.shapes[h][1], 1, 1), c.uniform(-0.1, 0.1, boxes)}
		c.layer(name, "Convolution", []string{h}, []string{name}, fmt.Sprintf("convolution_param { num_output: %d kernel_size: 1 }", boxes), blobs...)
		c.layer(name+"_perm", "Permute", []string{name}, []string{name + "_perm"}, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
		c.layer(name+"_flat", "Flatten", []string{name + "_perm"}, []string{name + "_flat"}, "flatten_param { axis: 1 }")
		flat = append(flat, name+"_flat")
	}
	c.layer("mbox_loc", "Concat", flat, []string{"mbox_loc"}, "concat_param { axis: 1 }")
	path = filepath.Join(folder, "mobilenet-ssd.prototxt")
	o.Weights = filepath.Join(folder, "mobilenet-ssd.caffemodel")
	if err := os.WriteFile(path, []byte(c.text.String()), 0o666); err != nil {
		return "", o, err
	}
	return path, o, os.WriteFile(o.Weights, c.weights, 0o666)
}

// mobile adds a convolution without a bias, and a BatchNorm, a Scale and a ReLU over its top.
func (c *caffeNet) mobile(name, x string, out, kernel, stride, group int64) string {
	in := c.shapes[x]
	bound := math.Sqrt(3 * 2 / float64(in[1]/group*kernel*kernel))
	c.layer(name, "Convolution", []string{x}, []string{name}, fmt.Sprintf("convolution_param { num_output: %d bias_term: false pad: %d kernel_size: %d stride: %d group: %d weight_filler { type: \"msra\" } }", out, kernel/2, kernel, stride, group),
		c.uniform(-bound, bound, out, in[1]/group, kernel, kernel))
	mean, variance := c.uniform(-100, 100, out), c.uniform(300, 1500, out)
	factor := caffeBlob{shape: []int64{1}, values: []float64{float64(float32(999.98))}}
	over := []string{name}
	c.layer(name+"/bn", "BatchNorm", over, over, "", mean, variance, factor)
	c.layer(name+"/scale", "Scale", over, over, "scale_param { bias_term: true }", c.uniform(0.5, 1.5, out), c.uniform(-0.2, 0.2, out))
	c.layer(name+"/relu", "ReLU", over, over, "")
	c.shapes[name] = []int64{1, out, (in[2]-1)/stride + 1, (in[3]-1)/stride + 1}
	return name
}

// TinyYOLO writes a Darknet detector with the layers of the well-known tiny YOLO v3, yolo-tiny.cfg and its weights, with
// random weights and half its channels.
func TinyYOLO(folder string) (path string, o format.Options, err error) {
	d := newDarknet(3, "pjreddie")
	d.header = []uint32{0, 2, 0}
	d.c, d.h, d.w = 3, 416, 416
	d.section("net", "width", d.w, "height", d.h, "channels", d.c)
	conv := func(filters, size int) { d.convolution("leaky", true, 1, filters, size, 1, 1) }
	head := func(mask string) {
		d.convolution("linear", false, 1, 21, 1, 1, 1)
		d.section("yolo", "mask", mask, "anchors", "10,14, 23,27, 37,58, 81,82, 135,169, 344,319", "classes", 2, "num", 6)
		d.put(d.c, d.h, d.w)
	}
	for k, filters := range []int{8, 16, 32, 64, 128, 256} {
		conv(filters, 3)
		d.pool(2, 1+min(1, 5-k))
	}
	conv(512, 3)
	conv(128, 1)
	conv(256, 3)
	head("3,4,5")
	d.route("-4")
	conv(64, 1)
	d.section("upsample", "stride", 2)
	d.put(d.c, 2*d.h, 2*d.w)
	d.route("-1, 8")
	conv(128, 3)
	head("0,1,2")
	return d.writeAs(folder, "yolo-tiny")
}

// MiniXception writes a Keras classifier with the layers of the well-known mini Xception, xception-mini.h5, with random
// weights: separable convolutions with batch normalisations beside strided shortcuts.
func MiniXception(folder string) (path string, o format.Options, err error) {
	k := &kerasModel{rng: rand.New(rand.NewPCG(64, 33)), counts: map[string]int{}}
	input := k.layer("InputLayer", nil)
	input.settings["batch_input_shape"] = []any{nil, 64, 64, 1}
	x := k.call(input, []int64{64, 64, 1})
	conv := func(x kerasTensor, out, taps, stride int64) kerasTensor {
		settings, shape := k.windowed(x, taps, stride, "same")
		settings["filters"], settings["use_bias"] = out, false
		kernel := k.kernel("kernel", taps*taps*x.shape[2], taps, taps, x.shape[2], out)
		shape[2] = out
		return k.call(k.layer("Conv2D", settings, kernel), shape, x)
	}
	separable := func(x kerasTensor, out int64) kerasTensor {
		settings, shape := k.windowed(x, 3, 1, "same")
		settings["filters"], settings["use_bias"], settings["depth_multiplier"] = out, false, 1
		in := x.shape[2]
		shape[2] = out
		return k.norm(k.call(k.layer("SeparableConv2D", settings, k.kernel("depthwise_kernel", 9, 3, 3, in, 1), k.kernel("pointwise_kernel", in, 1, 1, in, out)), shape, x))
	}
	relu := func(x kerasTensor) kerasTensor {
		return k.simple("Activation", map[string]any{"activation": "relu"}, x)
	}
	x = relu(k.norm(conv(x, 8, 3, 1)))
	x = relu(k.norm(conv(x, 8, 3, 1)))
	for _, out := range []int64{16, 32, 64, 128} { // layers in Keras' order, which is that of depths
		main := separable(relu(separable(x, out)), out)
		shortcut := conv(x, out, 1, 2)
		main = k.pool("MaxPooling2D", main)
		x = k.simple("Add", nil, main, k.norm(shortcut))
	}
	x = k.conv(x, 7, 3, 1, "linear")
	x = k.call(k.layer("GlobalAveragePooling2D", map[string]any{"data_format": "channels_last"}), []int64{7}, x)
	k.simple("Activation", map[string]any{"activation": "softmax"}, x)
	path = filepath.Join(folder, "xception-mini.h5")
	f, err := os.Create(path)
	if err != nil {
		return "", o, err
	}
	return path, o, errors.Join(k.writeLegacy(f), f.Close())
}
