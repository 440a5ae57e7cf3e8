package op

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Convolutions.

func init() {
	inputs := []string{"input", "weight", "bias"}
	register(
		&Operator{Type: "Conv", Required: 2, Inputs: inputs, Eval: conv, DType: common, Shape: convShape, Magnitude: additive, Terms: convTerms, Needs: convNeeds, Window: convWindow, Wants: convWants},
		&Operator{Type: "ConvTranspose", Required: 2, Inputs: inputs, Eval: convTranspose, DType: common, Shape: convTransposeShape, Magnitude: additive, Terms: convTransposeTerms, Needs: convTransposeNeeds, Window: convWindow, Wants: convTransposeWants},
		&Operator{Type: "ConvInteger", Required: 2, Inputs: []string{"input", "weight", "zero point of the input", "zero point of the weight"}, Eval: ofIntegers(conv, 0), DType: always(tensor.Int32), Shape: convShape, Needs: convIntegerNeeds},
	)
}

func convTerms(_ *model.Node, in []*Array) int64 { return product(in[1].Shape[1:]) + 1 }

func convTransposeTerms(_ *model.Node, in []*Array) int64 {
	return in[1].Shape[0]*product(in[1].Shape[2:]) + 1
}

// kernelOf are the kernel's extents: those of the weight's shape or, where that is not known, of the attribute
// kernel_shape.
func kernelOf(n *model.Node) []int64 {
	if w := n.In(1); w != nil && w.Const != nil && len(w.Const.Shape) > 2 {
		return w.Const.Shape[2:]
	}
	return n.Ints("kernel_shape")
}

func convWindow(n *model.Node) Window {
	return Window{kernelOf(n), n.Ints("strides"), n.Ints("dilations")}
}

// weightShape is the shape of a stored weight, or nil.
func weightShape(n *model.Node, k, rank int) []int64 {
	if w := n.In(k); w != nil && w.Const != nil && len(w.Const.Shape) >= rank {
		return w.Const.Shape
	}
	return nil
}

func convWants(n *model.Node) []int64 {
	w := weightShape(n, 1, 3)
	if w == nil {
		return nil
	}
	return append([]int64{Unknown, w[1] * n.Int("group", 1)}, freeShape(len(w)-2)...)
}

func convTransposeWants(n *model.Node) []int64 {
	w := weightShape(n, 1, 3)
	if w == nil {
		return nil
	}
	return append([]int64{Unknown, w[0]}, freeShape(len(w)-2)...)
}

// window is how a kernel moves over the spatial axes.
type window struct {
	in, out, kernel, stride, dilation, begin, end []int64
}

// newWindow reads a node's window over spatial axes of those extents.
func newWindow(n *model.Node, in, kernel []int64) (*window, error) {
	rank := len(in)
	w := &window{in: in, kernel: kernel, stride: list(n, "strides", rank, 1), dilation: list(n, "dilations", rank, 1)}
	pads := list(n, "pads", 2*rank, 0)
	if len(kernel) != rank || len(w.stride) != rank || len(w.dilation) != rank || len(pads) != 2*rank {
		return nil, fmt.Errorf("a kernel of %d axes over %d", len(kernel), rank)
	}
	for _, list := range [][]int64{w.stride, w.dilation, pads, kernel} {
		if slices.ContainsFunc(list, func(d int64) bool { return d > maxElements || d < -maxElements }) {
			return nil, fmt.Errorf("a window of %v: %w", list, ErrTooLarge)
		}
	}
	for k := range in {
		if w.stride[k] < 1 || w.dilation[k] < 1 || kernel[k] < 1 {
			return nil, fmt.Errorf("kernel %v, strides %v, dilations %v", kernel, w.stride, w.dilation)
		}
		reach := (kernel[k]-1)*w.dilation[k] + 1
		begin, end := pads[k], pads[k+rank]
		var out int64
		switch auto := n.Str("auto_pad", "NOTSET"); auto {
		case "SAME_UPPER", "SAME_LOWER":
			out = (in[k] + w.stride[k] - 1) / w.stride[k]
			total := max((out-1)*w.stride[k]+reach-in[k], 0)
			if begin = total / 2; auto == "SAME_LOWER" {
				begin = total - begin
			}
			end = total - begin
		default:
			if auto == "VALID" {
				begin, end = 0, 0
			}
			room := in[k] + begin + end - reach
			if room < 0 {
				return nil, fmt.Errorf("a kernel that reaches over %d does not fit into %d", reach, in[k]+begin+end)
			}
			out = room/w.stride[k] + 1
			if n.Int("ceil_mode", 0) != 0 {
				out = (room+w.stride[k]-1)/w.stride[k] + 1
				if (out-1)*w.stride[k] >= in[k]+begin {
					out--
				}
			}
		}
		w.out, w.begin, w.end = append(w.out, out), append(w.begin, begin), append(w.end, end)
	}
	return w, within(maxTaps, slices.Concat(w.out, kernel)...)
}

func list(n *model.Node, name string, count int, def int64) []int64 {
	if l := n.Ints(name); l != nil {
		return l
	}
	return slices.Repeat([]int64{def}, count)
}

// taps are, for each output position and each tap (element) of the kernel, the input position that it reads, or −1 in the
// padding.
func (w *window) taps() [][]int32 {
	step := strides(w.in)
	var table [][]int32
	walk(w.out, func(o []int64) {
		row := make([]int32, 0, product(w.kernel))
		walk(w.kernel, func(k []int64) {
			at := int64(0)
			for a := range o {
				i := o[a]*w.stride[a] + k[a]*w.dilation[a] - w.begin[a]
				if i < 0 || i >= w.in[a] {
					at = -1
					break
				}
				at += i * step[a]
			}
			row = append(row, int32(at))
		})
		table = append(table, row)
	})
	return table
}

// counts are, for each output position, how many taps lie within the padded image: with ceil_mode, the last window may
// reach beyond that.
func (w *window) counts() []int64 {
	var out []int64
	walk(w.out, func(o []int64) {
		count := int64(1)
		for a := range o {
			first := o[a]*w.stride[a] - w.begin[a]
			inside := (w.in[a] + w.end[a] - first + w.dilation[a] - 1) / w.dilation[a]
			count *= min(inside, w.kernel[a])
		}
		out = append(out, count)
	})
	return out
}

// reads are the ranges of the spatial axes that the windows of ranges of the output lie over.
func (w *window) reads(out Box) Box {
	var box Box
	for k, r := range out {
		from := r.From*w.stride[k] - w.begin[k]
		to := (r.To-1)*w.stride[k] + (w.kernel[k]-1)*w.dilation[k] + 1 - w.begin[k]
		box = append(box, Range{from, to}.within(w.in[k]))
	}
	return box
}

func convNeeds(n *model.Node, in []*Array, out Part) []Box {
	x, w, groups, err := convolution(n, in)
	if err != nil || len(out.Box) != len(x.Shape) || w.Shape[0] == 0 {
		return nil
	}
	win, err := newWindow(n, x.Shape[2:], w.Shape[2:])
	if err != nil {
		return nil
	}
	channels, group := out.Box[1], w.Shape[0]/groups
	read := Range{channels.From / group * w.Shape[1], ((channels.To-1)/group + 1) * w.Shape[1]}
	weight := Whole(w.Shape)
	weight[0] = channels
	return []Box{slices.Concat(Box{out.Box[0], read}, win.reads(out.Box[2:])), weight, {channels}}
}

func convIntegerNeeds(n *model.Node, in []*Array, out Part) []Box {
	if boxes := convNeeds(n, in, out); boxes != nil {
		return boxes[:2] // no bias
	}
	return nil
}

func convTransposeNeeds(n *model.Node, in []*Array, out Part) []Box {
	x, w, groups, err := convolution(n, in)
	if err != nil || len(out.Box) != len(x.Shape) || w.Shape[1] == 0 {
		return nil
	}
	s, err := newSpread(n, x, w)
	if err != nil {
		return nil
	}
	channels, group := out.Box[1], x.Shape[1]/groups
	read := Range{channels.From / w.Shape[1] * group, ((channels.To-1)/w.Shape[1] + 1) * group}
	box, weight := Box{out.Box[0], read}, Whole(w.Shape)
	if weight[0] = read; groups == 1 {
		weight[1] = channels
	}
	for k, r := range out.Box[2:] {
		if s.stride[k] < 1 {
			return nil
		}
		first := r.From + s.pads[k] - (w.Shape[2+k]-1)*s.dilation[k]
		last := r.To - 1 + s.pads[k]
		box = append(box, Range{-floorDiv(-first, s.stride[k]), floorDiv(last, s.stride[k]) + 1})
	}
	return []Box{box, weight, {channels}}
}

// floorDiv is a quotient rounded down, for a divisor above 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// convolution checks the operands that Conv and ConvTranspose share.
func convolution(n *model.Node, in []*Array) (x, w *Array, groups int64, err error) {
	if err := need(in, 2); err != nil {
		return nil, nil, 0, err
	}
	x, w, groups = in[0], in[1], n.Int("group", 1)
	if len(x.Shape) < 3 || len(x.Shape) != len(w.Shape) || groups < 1 || x.Shape[1]%groups != 0 || w.Shape[0]%groups != 0 {
		return nil, nil, 0, fmt.Errorf("input %v, weight %v, %d groups", x.Shape, w.Shape, groups)
	}
	return x, w, groups, nil
}

// conv is Y[b, o, p] = Σ W[o, i, t]·X[b, g(o)·I + i, p·stride + t·dilation − pad] + B[o], over the I input channels of o's
// group and the taps t, with W of shape [O, I, kernel…] and zeros outside of X.
func conv(n *model.Node, in []*Array) ([]*Array, error) {
	x, w, groups, err := convolution(n, in)
	if err != nil {
		return nil, err
	}
	if w.Shape[1]*groups != x.Shape[1] {
		return nil, fmt.Errorf("input %v, weight %v, %d groups", x.Shape, w.Shape, groups)
	}
	win, err := newWindow(n, x.Shape[2:], w.Shape[2:])
	if err != nil {
		return nil, err
	}
	out, err := NewArray(slices.Concat([]int64{x.Shape[0], w.Shape[0]}, win.out))
	if err != nil {
		return nil, err
	}
	bias := input(in, 2)
	if bias != nil && int64(len(bias.Data)) != w.Shape[0] {
		return nil, fmt.Errorf("a bias of shape %v for %d channels", bias.Shape, w.Shape[0])
	}
	if err := within(maxWork, int64(len(out.Data)), product(w.Shape[1:])); err != nil {
		return nil, err
	}
	c := &convolver{x: x, w: w, out: out, taps: win.taps(), groups: int(groups)}
	for b := range int(x.Shape[0]) {
		for g := range c.groups {
			c.group(b, g)
		}
	}
	if bias != nil {
		perChannel(out, func(e, o int) { out.Data[e] += bias.Data[o] })
	}
	return one(out, nil)
}

// convolver computes a convolution, four positions at a time.
type convolver struct {
	x, w, out *Array
	taps      [][]int32
	groups    int
}

// group is one group of one image.
func (c *convolver) group(b, g int) {
	in, outs, positions := int(c.w.Shape[1]), int(c.w.Shape[0])/c.groups, len(c.taps)
	size, kernel := int(product(c.x.Shape[2:])), int(product(c.w.Shape[2:]))
	terms := in * kernel
	var columns [4][]float64
	for k := range columns {
		columns[k] = make([]float64, terms)
	}
	image := c.x.Data[(b*int(c.x.Shape[1])+g*in)*size:]
	for p := 0; p < positions; p += len(columns) {
		count := min(len(columns), positions-p)
		for k := range count {
			for i := range in {
				column, plane := columns[k][i*kernel:][:kernel], image[i*size:][:size]
				for t, at := range c.taps[p+k] {
					if at >= 0 {
						column[t] = plane[at]
					} else {
						column[t] = 0
					}
				}
			}
		}
		for o := range outs {
			weights := c.w.Data[(g*outs+o)*terms:][:terms]
			c0, c1, c2, c3 := columns[0][:terms], columns[1][:terms], columns[2][:terms], columns[3][:terms]
			var y [4]float64
			for k, v := range weights {
				y[0] += v * c0[k]
				y[1] += v * c1[k]
				y[2] += v * c2[k]
				y[3] += v * c3[k]
			}
			copy(c.out.Data[((b*c.groups+g)*outs+o)*positions+p:][:count], y[:])
		}
	}
}

// convTranspose adds W[i, j, t]·X[b, i, p] to Y[b, g(i)·J + j, p·stride + t·dilation − pad] for the J output channels of i's
// group: the gradient of conv, with W of shape [I, J, kernel…].
func convTranspose(n *model.Node, in []*Array) ([]*Array, error) {
	x, w, groups, err := convolution(n, in)
	if err != nil {
		return nil, err
	}
	if w.Shape[0] != x.Shape[1] {
		return nil, fmt.Errorf("input %v, weight %v", x.Shape, w.Shape)
	}
	s, err := newSpread(n, x, w)
	if err != nil {
		return nil, err
	}
	spatial := len(x.Shape) - 2
	shape := []int64{x.Shape[0], w.Shape[1] * groups}
	for k := range spatial {
		d := (x.Shape[2+k]-1)*s.stride[k] + s.extra[k] + (w.Shape[2+k]-1)*s.dilation[k] + 1 - s.pads[k] - s.pads[k+spatial]
		if d < 1 {
			return nil, fmt.Errorf("an output of extent %d", d)
		}
		shape = append(shape, d)
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(within(maxTaps, slices.Concat(x.Shape[2:], w.Shape[2:])...), within(maxWork, int64(len(x.Data)), product(w.Shape[1:]))); err != nil {
		return nil, err
	}
	step := strides(shape[2:])
	size, kernel, outSize := int(product(x.Shape[2:])), int(product(w.Shape[2:])), int(product(shape[2:]))
	var targets [][]int32 // by input position and tap
	walk(x.Shape[2:], func(i []int64) {
		row := make([]int32, 0, kernel)
		walk(w.Shape[2:], func(k []int64) {
			at := int64(0)
			for a := range i {
				o := i[a]*s.stride[a] + k[a]*s.dilation[a] - s.pads[a]
				if o < 0 || o >= shape[2+a] {
					at = -1
					break
				}
				at += o * step[a]
			}
			row = append(row, int32(at))
		})
		targets = append(targets, row)
	})
	ins, outs, perGroup := int(x.Shape[1]), int(w.Shape[1]), int(x.Shape[1]/groups)
	for b := range int(x.Shape[0]) {
		for i := range ins {
			plane := x.Data[(b*ins+i)*size:][:size]
			for j := range outs {
				o := i/perGroup*outs + j
				y, weights := out.Data[(b*int(shape[1])+o)*outSize:][:outSize], w.Data[(i*outs+j)*kernel:][:kernel]
				for p, row := range targets {
					for t, at := range row {
						if at >= 0 {
							y[at] += weights[t] * plane[p]
						}
					}
				}
			}
		}
	}
	if bias := input(in, 2); bias != nil {
		if int64(len(bias.Data)) != shape[1] {
			return nil, fmt.Errorf("a bias of shape %v for %d channels", bias.Shape, shape[1])
		}
		for e := range out.Data {
			out.Data[e] += bias.Data[e/outSize%int(shape[1])]
		}
	}
	return one(out, nil)
}

// spread is how a ConvTranspose's kernel is laid over the spatial axes of its output: at every stride-th position.
type spread struct{ stride, dilation, pads, extra []int64 }

func newSpread(n *model.Node, x, w *Array) (s *spread, err error) {
	spatial := len(x.Shape) - 2
	s = &spread{list(n, "strides", spatial, 1), list(n, "dilations", spatial, 1), list(n, "pads", 2*spatial, 0), list(n, "output_padding", spatial, 0)}
	if len(s.stride) != spatial || len(s.dilation) != spatial || len(s.pads) != 2*spatial || len(s.extra) != spatial {
		return nil, fmt.Errorf("attributes for other than %d axes", spatial)
	}
	s.pads, err = transposedPads(n, x, w, s.stride, s.dilation, s.pads, s.extra)
	return s, err
}

// transposedPads are the pads of a ConvTranspose. They follow from output_shape where it is given; with SAME_UPPER and
// SAME_LOWER the output has the input's extents times the strides. Of an odd total, SAME_UPPER puts the larger half behind,
// all else before.
func transposedPads(n *model.Node, x, w *Array, stride, dilation, pads, extra []int64) ([]int64, error) {
	spatial, auto, want := len(stride), n.Str("auto_pad", "NOTSET"), n.Ints("output_shape")
	same := auto == "SAME_UPPER" || auto == "SAME_LOWER"
	switch {
	case auto == "VALID" && want == nil:
		return make([]int64, 2*spatial), nil
	case want == nil && !same:
		return pads, nil
	case want != nil && len(want) != spatial:
		return nil, fmt.Errorf("an output of shape %v for %d axes: %w", want, spatial, ErrUnsupported)
	}
	pads = make([]int64, 2*spatial)
	for k := range spatial {
		extent := x.Shape[2+k] * stride[k]
		if want != nil {
			extent = want[k]
		}
		total := (x.Shape[2+k]-1)*stride[k] + extra[k] + (w.Shape[2+k]-1)*dilation[k] + 1 - extent
		if pads[k] = max(total, 0) / 2; auto != "SAME_UPPER" {
			pads[k] = (max(total, 0) + 1) / 2
		}
		pads[k+spatial] = total - pads[k] // a negative pad adds zeros
	}
	return pads, nil
}

// windowExtent is the extent of a windowed axis after the operator.
func windowExtent(n *model.Node, x, kernel, stride, dilation, before, after int64) int64 {
	if kernel < 0 || stride < 1 {
		return Unknown
	}
	auto := n.Str("auto_pad", "NOTSET")
	same := auto == "SAME_UPPER" || auto == "SAME_LOWER"
	if auto == "VALID" {
		before, after = 0, 0
	}
	switch {
	case stride == 1 && (same || before+after == (kernel-1)*dilation):
		return x
	case x < 0:
		return Unknown
	case same:
		return (x + stride - 1) / stride
	}
	free := x + before + after - (kernel-1)*dilation - 1
	if free < 0 {
		return Unknown
	}
	if n.Int("ceil_mode", 0) != 0 {
		out := (free+stride-1)/stride + 1
		if (out-1)*stride >= x+before { // a window that starts in the padding behind is left out
			out--
		}
		return out
	}
	return free/stride + 1
}

// windowExtents are the spatial extents after a convolution or pooling with that kernel.
func windowExtents(n *model.Node, x, kernel []int64) []int64 {
	out := freeShape(len(x))
	pads, strides, dilations := n.Ints("pads"), n.Ints("strides"), n.Ints("dilations")
	for k := range out {
		out[k] = windowExtent(n, x[k], elementAt(kernel, k, Unknown), elementAt(strides, k, 1), elementAt(dilations, k, 1), elementAt(pads, k, 0), elementAt(pads, len(x)+k, 0))
	}
	return out
}

// convShape is [N, O] and, for each spatial axis, the number of positions of the window.
func convShape(in *Inference, n *model.Node) [][]int64 {
	x, w := in.of(n.In(0)), in.of(n.In(1))
	if len(w) < 3 {
		return nil
	}
	out := freeShape(len(w))
	out[1] = w[0]
	if len(x) == len(w) {
		out[0] = x[0]
		copy(out[2:], windowExtents(n, x[2:], w[2:]))
	}
	return shapes(out)
}

// convTransposeShape is [N, J·group] and (x − 1)·stride + output_padding + (kernel − 1)·dilation + 1 − pads per axis, or what
// output_shape or auto_pad say.
func convTransposeShape(in *Inference, n *model.Node) [][]int64 {
	x, w := in.of(n.In(0)), in.of(n.In(1))
	if len(w) < 3 {
		return nil
	}
	out := append([]int64{Unknown, w[1] * n.Int("group", 1)}, freeShape(len(w)-2)...)
	if len(x) == len(w) {
		out[0] = x[0]
		pads, strides, dilations, extra := n.Ints("pads"), n.Ints("strides"), n.Ints("dilations"), n.Ints("output_padding")
		for k, extent := range x[2:] {
			switch given := n.Ints("output_shape"); {
			case given != nil:
				out[2+k] = elementAt(given, len(given)-len(x)+2+k, Unknown)
			case extent < 0:
			case n.Str("auto_pad", "NOTSET") == "SAME_UPPER" || n.Str("auto_pad", "NOTSET") == "SAME_LOWER":
				out[2+k] = extent * elementAt(strides, k, 1)
			default:
				out[2+k] = (extent-1)*elementAt(strides, k, 1) + elementAt(extra, k, 0) + (w[2+k]-1)*elementAt(dilations, k, 1) + 1 - elementAt(pads, k, 0) - elementAt(pads, len(w)-2+k, 0)
			}
		}
	}
	return shapes(out)
}
