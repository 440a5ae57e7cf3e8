package op

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Linear operators, normalisations and pooling.

func init() {
	operators["Conv"] = conv
	operators["ConvTranspose"] = convTranspose
	operators["Gemm"] = gemm
	operators["MatMul"] = matMul
	operators["BatchNormalization"] = batchNorm
	operators["InstanceNormalization"] = instanceNorm
	operators["LayerNormalization"] = layerNorm
	operators["RMSNormalization"] = rmsNorm
	operators["SimplifiedLayerNormalization"] = rmsNorm // ONNX Runtime's name for it, in ONNX's domain
	operators["GroupNormalization"] = groupNorm
	operators["MaxPool"] = maxPool
	operators["AveragePool"] = pool(0, func(a, b float64) float64 { return a + b }, true)
	operators["GlobalAveragePool"] = globalPool(0, func(a, b float64) float64 { return a + b }, true)
	operators["GlobalMaxPool"] = globalPool(math.Inf(-1), math.Max, false)
	operators["Pad"] = pad
	operators["DepthToSpace"] = depthToSpace
	operators["SpaceToDepth"] = spaceToDepth
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

// taps are, for each output position and each tap of the kernel, the input position, or -1 in the padding.
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

// counts are, for each output position, the taps that are inside the padded image: the last window of ceil_mode may reach
// beyond it.
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

func convTranspose(n *model.Node, in []*Array) ([]*Array, error) {
	x, w, groups, err := convolution(n, in)
	if err != nil {
		return nil, err
	}
	if w.Shape[0] != x.Shape[1] {
		return nil, fmt.Errorf("input %v, weight %v", x.Shape, w.Shape)
	}
	spatial := len(x.Shape) - 2
	stride, dilation, pads, extra := list(n, "strides", spatial, 1), list(n, "dilations", spatial, 1), list(n, "pads", 2*spatial, 0), list(n, "output_padding", spatial, 0)
	if len(stride) != spatial || len(dilation) != spatial || len(pads) != 2*spatial || len(extra) != spatial {
		return nil, fmt.Errorf("attributes for other than %d axes", spatial)
	}
	pads, err = transposedPads(n, x, w, stride, dilation, pads, extra)
	if err != nil {
		return nil, err
	}
	shape := []int64{x.Shape[0], w.Shape[1] * groups}
	for k := range spatial {
		d := (x.Shape[2+k]-1)*stride[k] + extra[k] + (w.Shape[2+k]-1)*dilation[k] + 1 - pads[k] - pads[k+spatial]
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
				o := i[a]*stride[a] + k[a]*dilation[a] - pads[a]
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

// transposedPads are the pads of a ConvTranspose, which follow from the output's extents where those are given, or with
// SAME_UPPER and SAME_LOWER are the input's times the strides. What is odd goes behind for SAME_UPPER, else before.
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
		pads[k+spatial] = total - pads[k] // below 0: zeros behind
	}
	return pads, nil
}

// multiply is A·B of [m, k] and [k, n], by strides.
func multiply(y, a, b []float64, m, k, n, aRow, aCol, bRow, bCol int) {
	for i := range m {
		row := y[i*n:][:n]
		for c := range k {
			x := a[i*aRow+c*aCol]
			if bCol == 1 {
				for j, w := range b[c*bRow:][:n] {
					row[j] += x * w
				}
				continue
			}
			for j := range row {
				row[j] += x * b[c*bRow+j*bCol]
			}
		}
	}
}

func gemm(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if len(a.Shape) != 2 || len(b.Shape) != 2 {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	m, k, aRow, aCol := int(a.Shape[0]), int(a.Shape[1]), int(a.Shape[1]), 1
	if n.Int("transA", 0) != 0 {
		m, k, aRow, aCol = k, m, 1, int(a.Shape[1])
	}
	rows, cols, bRow, bCol := int(b.Shape[0]), int(b.Shape[1]), int(b.Shape[1]), 1
	if n.Int("transB", 0) != 0 {
		rows, cols, bRow, bCol = cols, rows, 1, int(b.Shape[1])
	}
	if rows != k {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	out, err := NewArray([]int64{int64(m), int64(cols)})
	if err != nil {
		return nil, err
	}
	if err := within(maxWork, int64(m), int64(k), int64(cols)); err != nil {
		return nil, err
	}
	multiply(out.Data, a.Data, b.Data, m, k, cols, aRow, aCol, bRow, bCol)
	alpha, beta := n.Float("alpha", 1), n.Float("beta", 1)
	for e := range out.Data {
		out.Data[e] *= alpha
	}
	if c := input(in, 2); c != nil && beta != 0 {
		if c, err = broadcastTo(c, out.Shape); err != nil {
			return nil, err
		}
		for e := range out.Data {
			out.Data[e] += beta * c.Data[e]
		}
	}
	return one(out, nil)
}

func matMul(_ *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if len(a.Shape) == 0 || len(b.Shape) == 0 {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	row, column := len(a.Shape) == 1, len(b.Shape) == 1 // a vector's axis of 1 is not in the product
	if row {
		a = &Array{Shape: []int64{1, a.Shape[0]}, Data: a.Data}
	}
	if column {
		b = &Array{Shape: []int64{b.Shape[0], 1}, Data: b.Data}
	}
	ar, br := len(a.Shape), len(b.Shape)
	m, k, n := a.Shape[ar-2], a.Shape[ar-1], b.Shape[br-1]
	batch, err := broadcastShape(a.Shape[:ar-2], b.Shape[:br-2])
	if err != nil || b.Shape[br-2] != k {
		return nil, fmt.Errorf("matrices of shapes %v and %v", a.Shape, b.Shape)
	}
	out, err := NewArray(slices.Concat(batch, []int64{m, n}))
	if err != nil {
		return nil, err
	}
	if err := within(maxWork, append(batch, m, k, n)...); err != nil {
		return nil, err
	}
	offset := func(shape []int64, index []int64) int64 {
		at, step := int64(0), int64(1)
		for j := len(shape) - 1; j >= 0; j-- {
			if i := index[len(index)-len(shape)+j]; shape[j] != 1 {
				at += i * step
			}
			step *= shape[j]
		}
		return at
	}
	p := 0
	walk(batch, func(index []int64) {
		x, w := a.Data[offset(a.Shape[:ar-2], index)*m*k:], b.Data[offset(b.Shape[:br-2], index)*k*n:]
		multiply(out.Data[p:], x, w, int(m), int(k), int(n), int(k), 1, int(n), 1)
		p += int(m * n)
	})
	if out.Shape = batch; !row {
		out.Shape = append(out.Shape, m)
	}
	if !column {
		out.Shape = append(out.Shape, n)
	}
	return one(out, nil)
}

// perChannel calls f with every element and its channel on axis 1.
func perChannel(x *Array, f func(e, c int)) {
	inner, channels := int(product(x.Shape[2:])), int(x.Shape[1])
	for first, c := 0, 0; first < len(x.Data); first, c = first+inner, (c+1)%channels {
		for e := first; e < first+inner; e++ {
			f(e, c)
		}
	}
}

func vectors(in []*Array, from, to, n int) error {
	for k := from; k < to; k++ {
		if a := input(in, k); a == nil || len(a.Data) != n {
			return fmt.Errorf("input %d is not a vector of %d", k, n)
		}
	}
	return nil
}

func batchNorm(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x.Shape) < 2 || n.Int("training_mode", 0) != 0 {
		return nil, fmt.Errorf("shape %v or training: %w", x.Shape, ErrUnsupported)
	}
	if err := vectors(in, 1, 5, int(x.Shape[1])); err != nil {
		return nil, err
	}
	epsilon := n.Float("epsilon", float64(float32(1e-5)))
	out := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	perChannel(x, func(e, c int) {
		out.Data[e] = in[1].Data[c]*(x.Data[e]-in[3].Data[c])/math.Sqrt(in[4].Data[c]+epsilon) + in[2].Data[c]
	})
	return one(out, nil)
}

// normalize subtracts the mean of each stretch of that many elements and divides by its deviation. With them come each
// stretch's mean and the inverse of its deviation.
func normalize(x *Array, stretch int, epsilon float64) (out *Array, means, inverses []float64) {
	out = &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}
	for first := 0; first+stretch <= len(x.Data) && stretch > 0; first += stretch {
		mean, square := 0.0, 0.0
		for _, v := range x.Data[first : first+stretch] {
			mean += v
		}
		mean /= float64(stretch)
		for _, v := range x.Data[first : first+stretch] {
			square += (v - mean) * (v - mean)
		}
		deviation := math.Sqrt(square/float64(stretch) + epsilon)
		for e := first; e < first+stretch; e++ {
			out.Data[e] = (x.Data[e] - mean) / deviation
		}
		means, inverses = append(means, mean), append(inverses, 1/deviation)
	}
	return out, means, inverses
}

func instanceNorm(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x.Shape) < 3 {
		return nil, fmt.Errorf("shape %v", x.Shape)
	}
	if err := vectors(in, 1, 3, int(x.Shape[1])); err != nil {
		return nil, err
	}
	out, _, _ := normalize(x, int(product(x.Shape[2:])), n.Float("epsilon", float64(float32(1e-5))))
	perChannel(out, func(e, c int) { out.Data[e] = out.Data[e]*in[1].Data[c] + in[2].Data[c] })
	return one(out, nil)
}

func layerNorm(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	x := in[0]
	axis, err := axisOf(n.Int("axis", -1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	out, means, inverses := normalize(x, int(product(x.Shape[axis:])), n.Float("epsilon", float64(float32(1e-5))))
	if out, err = combine(func(a, b float64) float64 { return a * b }, out, in[1]); err != nil {
		return nil, err
	}
	if b := input(in, 2); b != nil {
		if out, err = combine(func(a, b float64) float64 { return a + b }, out, b); err != nil {
			return nil, err
		}
	}
	kept := slices.Concat(x.Shape[:axis], slices.Repeat([]int64{1}, len(x.Shape)-axis))
	return []*Array{out, {Shape: kept, Data: means}, {Shape: kept, Data: inverses}}, nil
}

// rmsNorm divides by the root of the mean square over the trailing axes.
func rmsNorm(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 2); err != nil {
		return nil, err
	}
	x := in[0]
	axis, err := axisOf(n.Int("axis", -1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	out, size, epsilon := &Array{Shape: x.Shape, Data: make([]float64, len(x.Data))}, int(product(x.Shape[axis:])), n.Float("epsilon", float64(float32(1e-5)))
	for first := 0; size > 0 && first+size <= len(x.Data); first += size {
		square := 0.0
		for _, v := range x.Data[first : first+size] {
			square += v * v
		}
		root := math.Sqrt(square/float64(size) + epsilon)
		for k, v := range x.Data[first : first+size] {
			out.Data[first+k] = v / root
		}
	}
	return one(combine(func(a, b float64) float64 { return a * b }, out, in[1]))
}

// groupNorm has, from operator set 21 on, a scale and a bias for each channel; before that, for each group.
func groupNorm(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	x, groups := in[0], n.Int("num_groups", 1)
	if len(x.Shape) < 2 || groups < 1 || x.Shape[1]%groups != 0 {
		return nil, fmt.Errorf("%d groups of shape %v", groups, x.Shape)
	}
	each := 1
	if opset(n) < 21 {
		each = int(x.Shape[1] / groups)
	}
	if err := vectors(in, 1, 3, int(x.Shape[1])/each); err != nil {
		return nil, err
	}
	out, _, _ := normalize(x, int(x.Shape[1]/groups*product(x.Shape[2:])), n.Float("epsilon", float64(float32(1e-5))))
	perChannel(x, func(e, c int) { out.Data[e] = out.Data[e]*in[1].Data[c/each] + in[2].Data[c/each] })
	return one(out, nil)
}

func pool(start float64, step func(a, b float64) float64, mean bool) operator {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 1); err != nil {
			return nil, err
		}
		x := in[0]
		if len(x.Shape) < 3 {
			return nil, fmt.Errorf("shape %v", x.Shape)
		}
		w, err := newWindow(n, x.Shape[2:], n.Ints("kernel_shape"))
		if err != nil {
			return nil, err
		}
		out, err := NewArray(slices.Concat(x.Shape[:2], w.out))
		if err != nil {
			return nil, err
		}
		if err := within(maxWork, int64(len(out.Data)), product(w.kernel)); err != nil {
			return nil, err
		}
		taps, counts, size := w.taps(), w.counts(), int(product(x.Shape[2:]))
		for plane := range int(x.Shape[0] * x.Shape[1]) {
			from := x.Data[plane*size:][:size]
			for p, row := range taps {
				y, count := start, 0
				for _, at := range row {
					if at >= 0 {
						y, count = step(y, from[at]), count+1
					}
				}
				if mean {
					if n.Int("count_include_pad", 0) != 0 {
						count = int(counts[p])
					}
					y /= float64(count)
				}
				out.Data[plane*len(taps)+p] = y
			}
		}
		return one(out, nil)
	}
}

// maxPool has a second output: where the largest elements stand in the flattened input, rows first or columns first.
func maxPool(n *model.Node, in []*Array) ([]*Array, error) {
	out, err := pool(math.Inf(-1), math.Max, false)(n, in)
	if err != nil || n.Out(1) == nil {
		return out, err
	}
	x := in[0]
	w, err := newWindow(n, x.Shape[2:], n.Ints("kernel_shape"))
	if err != nil {
		return nil, err
	}
	places, _ := NewArray(out[0].Shape)
	taps, size := w.taps(), int(product(x.Shape[2:]))
	for plane := range int(x.Shape[0] * x.Shape[1]) {
		from := x.Data[plane*size:][:size]
		for p, row := range taps {
			best := -1
			for _, at := range row {
				if at >= 0 && (best < 0 || from[at] > from[best]) {
					best = int(at)
				}
			}
			if n.Int("storage_order", 0) != 0 {
				best = columnFirst(best, x.Shape[2:])
			}
			places.Data[plane*len(taps)+p] = float64(plane*size + best)
		}
	}
	return []*Array{out[0], places}, nil
}

// columnFirst is the position in an image stored column after column of what stands at a position in one stored row after
// row.
func columnFirst(at int, shape []int64) int {
	to, step := 0, 1
	for _, d := range shape {
		step *= int(d)
	}
	for k := len(shape) - 1; k >= 0; k-- {
		step /= int(shape[k])
		to += at % int(shape[k]) * step
		at /= int(shape[k])
	}
	return to
}

func globalPool(start float64, step func(a, b float64) float64, mean bool) operator {
	return func(_ *model.Node, in []*Array) ([]*Array, error) {
		if err := need(in, 1); err != nil {
			return nil, err
		}
		x := in[0]
		if len(x.Shape) < 3 {
			return nil, fmt.Errorf("shape %v", x.Shape)
		}
		shape := slices.Repeat([]int64{1}, len(x.Shape))
		copy(shape, x.Shape[:2])
		out, err := NewArray(shape)
		if err != nil {
			return nil, err
		}
		size := int(product(x.Shape[2:]))
		for k := range out.Data {
			y := start
			for _, v := range x.Data[k*size:][:size] {
				y = step(y, v)
			}
			if mean {
				y /= float64(size)
			}
			out.Data[k] = y
		}
		return one(out, nil)
	}
}

func pad(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x, given := in[0], ints(n, "pads", in, 1)
	rank := len(x.Shape)
	axes := make([]int, 0, rank)
	if a := input(in, 3); a != nil {
		for _, v := range a.Ints() {
			axis, err := axisOf(v, rank)
			if err != nil {
				return nil, err
			}
			axes = append(axes, axis)
		}
	} else {
		for k := range rank {
			axes = append(axes, k)
		}
	}
	if len(given) != 2*len(axes) {
		return nil, fmt.Errorf("%d pads for %d axes", len(given), len(axes))
	}
	begin, shape := make([]int64, rank), slices.Clone(x.Shape)
	for k, axis := range axes {
		begin[axis] = given[k]
		if shape[axis] += given[k] + given[k+len(axes)]; shape[axis] < 0 {
			return nil, fmt.Errorf("pads %v of shape %v", given, x.Shape)
		}
	}
	value := n.Float("value", 0)
	if v := input(in, 2); v != nil && len(v.Data) == 1 {
		value = v.Data[0]
	}
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	mode, step, e := n.Str("mode", "constant"), strides(x.Shape), 0
	if mode != "constant" && len(x.Data) == 0 {
		return nil, fmt.Errorf("nothing to pad with in shape %v", x.Shape)
	}
	if mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap" {
		return nil, fmt.Errorf("mode %q: %w", mode, ErrUnsupported)
	}
	walk(shape, func(index []int64) {
		at, inside := int64(0), true
		for k, i := range index {
			i -= begin[k]
			if d := x.Shape[k]; i < 0 || i >= d {
				switch mode {
				case "constant":
					inside = false
				case "edge":
					i = min(max(i, 0), d-1)
				case "reflect":
					if period := 2 * (d - 1); period > 0 {
						i = ((i % period) + period) % period
						i = min(i, period-i)
					} else {
						i = 0
					}
				case "wrap":
					i = ((i % d) + d) % d
				}
			}
			at += i * step[k]
		}
		if out.Data[e] = value; inside {
			out.Data[e] = x.Data[at]
		}
		e++
	})
	return one(out, nil)
}

func depthToSpace(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x, b := in[0], n.Int("blocksize", 0)
	if len(x.Shape) != 4 || b < 1 || b > maxBlock || x.Shape[1]%(b*b) != 0 {
		return nil, fmt.Errorf("shape %v, blocks of %d", x.Shape, b)
	}
	few, h, w := x.Shape[1]/(b*b), x.Shape[2], x.Shape[3]
	step := strides(x.Shape)
	block := few * step[1] // from one of a block to the next: DCR
	channel := step[1]
	if n.Str("mode", "DCR") == "CRD" {
		block, channel = step[1], b*b*step[1]
	}
	out, err := NewArray([]int64{x.Shape[0], few, h * b, w * b})
	if err != nil {
		return nil, err
	}
	e := 0
	walk(out.Shape, func(i []int64) {
		out.Data[e] = x.Data[i[0]*step[0]+i[1]*channel+((i[2]%b)*b+i[3]%b)*block+i[2]/b*step[2]+i[3]/b]
		e++
	})
	return one(out, nil)
}

func spaceToDepth(n *model.Node, in []*Array) ([]*Array, error) {
	if err := need(in, 1); err != nil {
		return nil, err
	}
	x, b := in[0], n.Int("blocksize", 0)
	if len(x.Shape) != 4 || b < 1 || b > maxBlock || x.Shape[2]%b != 0 || x.Shape[3]%b != 0 {
		return nil, fmt.Errorf("shape %v, blocks of %d", x.Shape, b)
	}
	step, few, crd := strides(x.Shape), x.Shape[1], n.Str("mode", "DCR") == "CRD"
	out, err := NewArray([]int64{x.Shape[0], few * b * b, x.Shape[2] / b, x.Shape[3] / b})
	if err != nil {
		return nil, err
	}
	e := 0
	walk(out.Shape, func(i []int64) {
		channel, block := i[1]%few, i[1]/few
		if crd {
			channel, block = i[1]/(b*b), i[1]%(b*b)
		}
		out.Data[e] = x.Data[i[0]*step[0]+channel*step[1]+(i[2]*b+block/b)*step[2]+i[3]*b+block%b]
		e++
	})
	return one(out, nil)
}
