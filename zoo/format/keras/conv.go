package keras

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	bias := map[string]string{"bias": "use_bias"}
	kernel := func(l *layer) []string { return l.biased("kernel") }
	for _, n := range []string{"1D", "2D", "3D"} {
		register(&class{build: buildConv, weights: kernel, gains: bias}, "Conv"+n)
		register(&class{build: buildConvTranspose, weights: kernel, gains: bias}, "Conv"+n+"Transpose")
		register(&class{build: buildDepthwise, weights: kernel, gains: bias}, "DepthwiseConv"+n)
		register(&class{build: buildSeparable, weights: func(l *layer) []string {
			return l.biased("depthwise_kernel", "pointwise_kernel")
		}, gains: bias}, "SeparableConv"+n)
	}
}

// biased are the roles, followed by "bias" if the layer has one.
func (l *layer) biased(roles ...string) []string {
	if l.config.Get("use_bias").Yes(true) {
		roles = append(roles, "bias")
	}
	return roles
}

// windowed is what all layers with a window have in common.
type windowed struct {
	spatial  int // axes
	axis     int // of the channels, in Keras' order
	channels int64
	kernel   []int64
	strides  []int64
	dilation []int64
	same     bool // padded as in TensorFlow: so that there are ⌈extent/stride⌉ windows, the smaller half in front
	causal   bool // padded in front only
}

// window reads the settings of a layer that slides a window, its size under that key.
func (s *site) window(size string, extent int64) (*windowed, error) {
	w := &windowed{spatial: int(s.layer.class[len(s.layer.class)-2] - '0')}
	if s.layer.class[len(s.layer.class)-1] != 'D' { // Conv2DTranspose
		w.spatial = int(s.layer.class[len("Conv")] - '0')
	}
	x := s.in[0]
	if err := ranked(x, w.spatial+2); err != nil {
		return nil, err
	}
	var err error
	if w.axis, err = s.channels(w.spatial + 2); err != nil {
		return nil, err
	}
	for _, list := range []struct {
		into *[]int64
		key  string
		def  int64
	}{{&w.kernel, size, extent}, {&w.strides, "strides", 1}, {&w.dilation, "dilation_rate", 1}} {
		if *list.into, err = s.sizes(list.key, w.spatial, list.def); err == nil {
			err = positive(*list.into)
		}
		if err != nil {
			return nil, err
		}
	}
	switch padding := s.word("padding", "valid"); padding {
	case "valid":
	case "same":
		w.same = true
	case "causal":
		w.causal = true
	default:
		return nil, unclear("padding is " + padding)
	}
	if w.causal && (w.spatial != 1 || w.axis != 2 || s.layer.class != "Conv1D") {
		return nil, unclear("padding is causal")
	}
	w.channels = -1
	if e := x.extents(); e != nil {
		w.channels = e[w.axis]
	}
	return w, nil
}

// attrs are the attributes of an ONNX operator with the window, for an input with channels first. Where extents are known
// the padding is computed, so that folding sees where it is 0.
func (w *windowed) attrs(x *model.Value) []any {
	attrs := []any{"kernel_shape", w.kernel, "strides", w.strides}
	if slices.ContainsFunc(w.dilation, func(d int64) bool { return d != 1 }) {
		attrs = append(attrs, "dilations", w.dilation)
	}
	pads := make([]int64, 2*w.spatial)
	for k := range w.kernel {
		reach := (w.kernel[k]-1)*w.dilation[k] + 1
		switch {
		case w.causal:
			pads[k] = reach - 1
		case w.same && (len(x.Shape) != w.spatial+2 || x.Shape[k+2] < 1):
			return append(attrs, "auto_pad", "SAME_UPPER")
		case w.same:
			extent := x.Shape[k+2]
			windows := (extent + w.strides[k] - 1) / w.strides[k]
			total := max((windows-1)*w.strides[k]+reach-extent, 0)
			pads[k], pads[w.spatial+k] = total/2, total-total/2
		}
	}
	return append(attrs, "pads", pads)
}

// kernelOrder puts the axes of a kernel that is stored with the spatial ones first in ONNX's order: the last one, the one
// before, the spatial ones.
func kernelOrder(spatial int) []int {
	perm := []int{spatial + 1, spatial}
	for k := range spatial {
		perm = append(perm, k)
	}
	return perm
}

// bias is the layer's bias, or nil.
func (s *site) bias(n int64) *model.Value {
	if !s.has("bias") {
		return nil
	}
	return s.weight("bias", []int64{n})
}

// expectBias checks the bias of a layer with that many outputs.
func (s *site) expectBias(n int64) error {
	if !s.setting("use_bias").Yes(true) {
		return nil
	}
	return s.expect("bias", s.in[0].dtype(), n)
}

// filters is the number of outputs that the settings give.
func (s *site) filters(key string) (int64, error) {
	n, ok := s.setting(key).Int()
	if !ok || n < 1 {
		return 0, unclear(key + " is " + short(s.setting(key)))
	}
	return n, nil
}

// Conv: kernels are stored (spatial…, in/groups, out).
func buildConv(s *site) (*value, error) {
	w, err := s.window("kernel_size", 0)
	if err != nil {
		return nil, err
	}
	out, err := s.filters("filters")
	if err != nil {
		return nil, err
	}
	groups, ok := s.setting("groups").Int()
	if !ok {
		groups = 1
	}
	in := int64(-1)
	if groups < 1 || out%groups != 0 || w.channels >= 0 && w.channels%groups != 0 {
		return nil, wrong(s.layer, "%d filters in %d groups for %d channels", out, groups, w.channels)
	}
	if w.channels >= 0 {
		in = w.channels / groups
	}
	x, perm := s.in[0], kernelOrder(w.spatial)
	stored := slices.Concat(w.kernel, []int64{in, out})
	if s.layer.old {
		switch {
		case w.axis == 1:
			stored, perm = slices.Concat([]int64{out, in}, w.kernel), nil
		case w.spatial == 1:
			stored, perm = []int64{w.kernel[0], 1, in, out}, []int{3, 2, 0, 1}
		}
	}
	if s.version.backend == "theano" && slices.ContainsFunc(w.kernel, func(k int64) bool { return k > 1 }) {
		return nil, unclear("Theano stores its kernels flipped")
	}
	if err := s.expect("kernel", x.dtype(), stored...); err != nil {
		return nil, err
	}
	if err := s.expectBias(out); err != nil {
		return nil, err
	}
	x.settled(w.spatial + 2)
	first := s.form(x, w.axis)
	set := s.layer.variable("kernel").set
	n, _ := tensor.Elements(set.Shape)
	taps, _ := tensor.Elements(w.kernel)
	shape := slices.Concat([]int64{out, n / out / taps}, w.kernel)
	attrs := append(w.attrs(first), "group", groups)
	y := s.weighted("Conv", "conv", []*model.Value{first, s.weight("kernel", shape, perm...), s.bias(out)}, []string{"", "kernel", "bias"}, attrs...)
	return s.result(s.activated(y, w.spatial+2, w.axis), w.spatial+2, w.axis), nil
}

// ConvTranspose: kernels are stored (spatial…, out, in). The result has in·stride extents with padding same, and
// (in − 1)·stride + max(kernel, stride) without; output_padding says otherwise.
func buildConvTranspose(s *site) (*value, error) {
	w, err := s.window("kernel_size", 0)
	if err != nil {
		return nil, err
	}
	out, err := s.filters("filters")
	if err != nil {
		return nil, err
	}
	extra := make([]int64, w.spatial)
	given := !s.setting("output_padding").Null()
	if given {
		if extra, err = s.sizes("output_padding", w.spatial, 0); err != nil {
			return nil, err
		}
	}
	if groups, ok := s.setting("groups").Int(); ok && groups != 1 || s.layer.old || s.version.backend == "theano" {
		return nil, unclear("groups, or a version of Keras that computes it differently")
	}
	x := s.in[0]
	if err := s.expect("kernel", x.dtype(), slices.Concat(w.kernel, []int64{out, w.channels})...); err != nil {
		return nil, err
	}
	if err := s.expectBias(out); err != nil {
		return nil, err
	}
	pads, more := make([]int64, 2*w.spatial), make([]int64, w.spatial)
	for k := range w.kernel {
		reach, stride := (w.kernel[k]-1)*w.dilation[k]+1, w.strides[k]
		before, after := int64(0), int64(0) // of the whole (in − 1)·stride + reach, cut off
		switch {
		case !w.same && !given:
			after = reach - max(reach, stride)
		case !w.same:
			after = -extra[k]
		default:
			total := reach - stride
			if given {
				total = reach - reach%2 - extra[k]
			}
			before = max(floorHalf(total), 0)
			after = total - before
		}
		pads[k], pads[w.spatial+k] = before, max(after, 0)
		more[k] = max(-after, 0)
	}
	x.settled(w.spatial + 2)
	first := s.form(x, w.axis)
	in := s.layer.variable("kernel").set.Shape[w.spatial+1]
	attrs := []any{"kernel_shape", w.kernel, "strides", w.strides, "pads", pads}
	if slices.ContainsFunc(w.dilation, func(d int64) bool { return d != 1 }) {
		attrs = append(attrs, "dilations", w.dilation)
	}
	if slices.ContainsFunc(more, func(p int64) bool { return p > 0 }) {
		attrs = append(attrs, "output_padding", more)
	}
	kernel := s.weight("kernel", slices.Concat([]int64{in, out}, w.kernel), kernelOrder(w.spatial)...)
	y := s.weighted("ConvTranspose", "conv", []*model.Value{first, kernel, s.bias(out)}, []string{"", "kernel", "bias"}, attrs...)
	return s.result(s.activated(y, w.spatial+2, w.axis), w.spatial+2, w.axis), nil
}

// floorHalf is ⌊n/2⌋, also for negative n.
func floorHalf(n int64) int64 { return n >> 1 }

// multiplier is a depthwise layer's number of outputs for each channel.
func (s *site) multiplier() (int64, error) {
	m, ok := s.setting("depth_multiplier").Int()
	switch {
	case s.setting("depth_multiplier").Null():
		return 1, nil
	case !ok || m < 1 || m > maxSize:
		return 0, unclear("depth_multiplier is " + short(s.setting("depth_multiplier")))
	}
	return m, nil
}

// depthwise appends the convolution of each channel by itself: kernels are stored (spatial…, in, multiplier), and output
// in·multiplier + m is of channel in.
func (s *site) depthwise(w *windowed, role string, bias bool) (*model.Value, int64) {
	set := s.layer.variable(role).set
	in, m := set.Shape[w.spatial], set.Shape[w.spatial+1]
	perm := []int{w.spatial, w.spatial + 1}
	for k := range w.spatial {
		perm = append(perm, k)
	}
	first := s.form(s.in[0], w.axis)
	inputs, roles := []*model.Value{first, s.weight(role, slices.Concat([]int64{in * m, 1}, w.kernel), perm...)}, []string{"", role}
	if bias {
		inputs, roles = append(inputs, s.bias(in*m)), append(roles, "bias")
	}
	return s.weighted("Conv", "depthwise", inputs, roles, append(w.attrs(first), "group", in)...), in * m
}

func buildDepthwise(s *site) (*value, error) {
	w, err := s.window("kernel_size", 0)
	if err != nil {
		return nil, err
	}
	m, err := s.multiplier()
	if err != nil {
		return nil, err
	}
	x := s.in[0]
	if err := s.expect("kernel", x.dtype(), slices.Concat(w.kernel, []int64{w.channels, m})...); err != nil {
		return nil, err
	}
	if err := s.expectBias(s.layer.variable("kernel").set.Shape[w.spatial] * m); err != nil {
		return nil, err
	}
	x.settled(w.spatial + 2)
	y, _ := s.depthwise(w, "kernel", true)
	return s.result(s.activated(y, w.spatial+2, w.axis), w.spatial+2, w.axis), nil
}

func buildSeparable(s *site) (*value, error) {
	w, err := s.window("kernel_size", 0)
	if err != nil {
		return nil, err
	}
	out, err := s.filters("filters")
	if err != nil {
		return nil, err
	}
	m, err := s.multiplier()
	if err != nil {
		return nil, err
	}
	if s.layer.old && w.axis == 1 || s.version.backend == "theano" {
		return nil, unclear("Theano's kernels")
	}
	x, ones := s.in[0], slices.Repeat([]int64{1}, w.spatial)
	if err := s.expect("depthwise_kernel", x.dtype(), slices.Concat(w.kernel, []int64{w.channels, m})...); err != nil {
		return nil, err
	}
	between := s.layer.variable("depthwise_kernel").set.Shape[w.spatial] * m
	if err := s.expect("pointwise_kernel", x.dtype(), slices.Concat(ones, []int64{between, out})...); err != nil {
		return nil, err
	}
	if err := s.expectBias(out); err != nil {
		return nil, err
	}
	x.settled(w.spatial + 2)
	y, _ := s.depthwise(w, "depthwise_kernel", false)
	kernel := s.weight("pointwise_kernel", slices.Concat([]int64{out, between}, ones), kernelOrder(w.spatial)...)
	y = s.weighted("Conv", "pointwise", []*model.Value{y, kernel, s.bias(out)}, []string{"", "pointwise_kernel", "bias"}, "kernel_shape", ones)
	return s.result(s.activated(y, w.spatial+2, w.axis), w.spatial+2, w.axis), nil
}
