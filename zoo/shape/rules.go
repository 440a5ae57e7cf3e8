package shape

import (
	"math"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/eval"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// A rule infers a node's outputs from its inputs.
type rule func(*inference, *model.Node)

var rules = map[string]rule{}

func init() {
	for _, r := range []struct {
		rule  rule
		types string
	}{
		{same, "Identity Relu LeakyRelu PRelu Sigmoid Tanh Softmax LogSoftmax HardSigmoid " +
			"HardSwish Clip Abs Neg Exp Log Sqrt Erf Elu Selu Celu Gelu Mish Swish Softplus Softsign Ceil " +
			"Floor Round Reciprocal BatchNormalization InstanceNormalization RMSNormalization SimplifiedLayerNormalization " +
			"GroupNormalization LpNormalization LRN CumSum CumProd ThresholdedRelu Hardmax Shrink Sign Sin Cos Tan " +
			"Asin Acos Atan Sinh Cosh Asinh Acosh Atanh BitwiseNot Trilu MeanVarianceNormalization " +
			"ScatterElements ScatterND Scatter ReverseSequence RotaryEmbedding"},
		{layerNorm, "LayerNormalization"},
		{dropout, "Dropout"},
		{elementwise, "Add Sub Mul Div Pow Sum Mean Max Min Mod BitShift BitwiseAnd BitwiseOr BitwiseXor"},
		{compare, "Equal Greater Less GreaterOrEqual LessOrEqual And Or Xor"},
		{truth, "Not IsNaN IsInf"},
		{pool, "MaxPool AveragePool LpPool"},
		{globalPool, "GlobalAveragePool GlobalMaxPool GlobalLpPool"},
		{reduce, "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare " +
			"ReduceLogSumExp ReduceLogSum"},
		{squeeze, "Squeeze"},
		{unsqueeze, "Unsqueeze"},
		{flatten, "Flatten"},
		{reshape, "Reshape"},
		{transpose, "Transpose"},
		{concat, "Concat"},
		{split, "Split"},
		{slice, "Slice"},
		{gather, "Gather"},
		{gatherElements, "GatherElements"},
		{gatherND, "GatherND"},
		{oneHot, "OneHot"},
		{topK, "TopK"},
		{nonZero, "NonZero"},
		{compress, "Compress"},
		{eyeLike, "EyeLike"},
		{rangeOf, "Range"},
		{einsum, "Einsum"},
		{attention, "Attention"},
		{gridSample, "GridSample"},
		{col2im, "Col2Im"},
		{centerCropPad, "CenterCropPad"},
		{pad, "Pad"},
		{expand, "Expand"},
		{cast, "Cast"},
		{castLike, "CastLike"},
		{where, "Where"},
		{conv, "Conv DeformConv"},
		{convInteger, "ConvInteger"},
		{convTranspose, "ConvTranspose"},
		{gemm, "Gemm"},
		{matMul, "MatMul"},
		{matMulInteger, "MatMulInteger"},
		{dequantize, "DequantizeLinear"},
		{quantize, "QuantizeLinear"},
		{dynamicQuantize, "DynamicQuantizeLinear"},
		{shapeOf, "Shape"},
		{size, "Size"},
		{resize, "Resize Upsample"},
		{depthToSpace, "DepthToSpace"},
		{spaceToDepth, "SpaceToDepth"},
		{recurrent, "LSTM GRU RNN"},
		{constantOfShape, "ConstantOfShape"},
		{tile, "Tile"},
		{argMax, "ArgMax ArgMin"},
		{branch, "If"},
	} {
		for _, t := range strings.Fields(r.types) {
			rules[t] = r.rule
		}
	}
}

func same(in *inference, n *model.Node) { set(n, 0, typeOf(n.In(0)), in.of(n.In(0))) }

// broadcast is the shape of two values combined element by element, aligned to the right.
func broadcast(a, b []int64) []int64 {
	if a == nil || b == nil {
		return nil
	}
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for k, d := range b {
		j := len(a) - len(b) + k
		switch {
		case out[j] == 1:
			out[j] = d
		case d == 1 || d == out[j]:
		case d > 1: // the other is as large, or free and then as large or 1
			out[j] = d
		case out[j] < 0: // one of them may be 1
			out[j] = Unknown
		}
	}
	return out
}

func elementwise(in *inference, n *model.Node) {
	if in.opset < 7 && n.Int("broadcast", 0) != 0 { // B is made as large as A
		set(n, 0, typeOf(n.In(0)), in.of(n.In(0)))
		return
	}
	out, d := in.of(n.In(0)), typeOf(n.In(0))
	for k := 1; k < len(n.Inputs); k++ {
		out = broadcast(out, in.of(n.In(k)))
		if d == tensor.Undefined {
			d = typeOf(n.In(k))
		}
	}
	set(n, 0, d, out)
}

func compare(in *inference, n *model.Node) {
	set(n, 0, tensor.Bool, broadcast(in.of(n.In(0)), in.of(n.In(1))))
}

func where(in *inference, n *model.Node) {
	set(n, 0, typeOf(n.In(1)), broadcast(in.of(n.In(0)), broadcast(in.of(n.In(1)), in.of(n.In(2)))))
}

// window is the extent of a windowed axis after the operator.
func window(n *model.Node, x, kernel, stride, dilation, before, after int64) int64 {
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

func at(list []int64, k int, def int64) int64 {
	if k >= 0 && k < len(list) {
		return list[k]
	}
	return def
}

// windows are the spatial extents after a convolution or pooling with that kernel.
func windows(n *model.Node, x, kernel []int64) []int64 {
	out := free(len(x))
	pads, strides, dilations := n.Ints("pads"), n.Ints("strides"), n.Ints("dilations")
	for k := range out {
		out[k] = window(n, x[k], at(kernel, k, Unknown), at(strides, k, 1), at(dilations, k, 1), at(pads, k, 0), at(pads, len(x)+k, 0))
	}
	return out
}

func conv(in *inference, n *model.Node) {
	x, w := in.of(n.In(0)), in.of(n.In(1))
	d := typeOf(n.In(0))
	if d == tensor.Undefined {
		d = typeOf(n.In(1))
	}
	if len(w) < 3 {
		set(n, 0, d, nil)
		return
	}
	out := append([]int64{Unknown, w[0]}, free(len(w)-2)...)
	if len(x) == len(w) {
		out = append([]int64{x[0], w[0]}, windows(n, x[2:], w[2:])...)
	}
	set(n, 0, d, out)
}

// convInteger and matMulInteger add bytes up in int32.
func convInteger(in *inference, n *model.Node) {
	set(n, 0, tensor.Int32, nil)
	conv(in, n)
}

func matMulInteger(in *inference, n *model.Node) {
	set(n, 0, tensor.Int32, nil)
	matMul(in, n)
}

func convTranspose(in *inference, n *model.Node) {
	x, w := in.of(n.In(0)), in.of(n.In(1))
	d := typeOf(n.In(0))
	if d == tensor.Undefined {
		d = typeOf(n.In(1))
	}
	if len(w) < 3 {
		set(n, 0, d, nil)
		return
	}
	out := append([]int64{Unknown, w[1] * n.Int("group", 1)}, free(len(w)-2)...)
	if len(x) == len(w) {
		out[0] = x[0]
		pads, strides, dilations, extra := n.Ints("pads"), n.Ints("strides"), n.Ints("dilations"), n.Ints("output_padding")
		for k, extent := range x[2:] {
			switch given := n.Ints("output_shape"); {
			case given != nil:
				out[2+k] = at(given, len(given)-len(x)+2+k, Unknown)
			case extent < 0:
			case n.Str("auto_pad", "NOTSET") == "SAME_UPPER" || n.Str("auto_pad", "NOTSET") == "SAME_LOWER":
				out[2+k] = extent * at(strides, k, 1)
			default:
				out[2+k] = (extent-1)*at(strides, k, 1) + at(extra, k, 0) + (w[2+k]-1)*at(dilations, k, 1) + 1 - at(pads, k, 0) - at(pads, len(w)-2+k, 0)
			}
		}
	}
	set(n, 0, d, out)
}

func pool(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	if len(x) < 3 {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := append([]int64{x[0], x[1]}, windows(n, x[2:], n.Ints("kernel_shape"))...)
	set(n, 0, typeOf(n.In(0)), out)
	set(n, 1, tensor.Int64, out)
}

func globalPool(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	if len(x) < 2 {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := slices.Repeat([]int64{1}, len(x))
	out[0], out[1] = x[0], x[1]
	set(n, 0, typeOf(n.In(0)), out)
}

func gemm(in *inference, n *model.Node) {
	a, b := in.of(n.In(0)), in.of(n.In(1))
	out := free(2)
	if len(a) == 2 {
		out[0] = a[transposed(n, "transA")]
	}
	if len(b) == 2 {
		out[1] = b[1-transposed(n, "transB")]
	}
	d := typeOf(n.In(0))
	if d == tensor.Undefined {
		d = typeOf(n.In(1))
	}
	set(n, 0, d, out)
}

// transposed is 1 where a flag of a Gemm is set.
func transposed(n *model.Node, flag string) int {
	if n.Int(flag, 0) != 0 {
		return 1
	}
	return 0
}

func matMul(in *inference, n *model.Node) {
	a, b := in.of(n.In(0)), in.of(n.In(1))
	d := typeOf(n.In(0))
	if d == tensor.Undefined {
		d = typeOf(n.In(1))
	}
	if len(a) == 0 || len(b) == 0 {
		set(n, 0, d, nil)
		return
	}
	var out []int64
	if len(a) >= 2 && len(b) >= 2 {
		out = slices.Clone(broadcast(a[:len(a)-2], b[:len(b)-2]))
	} else if len(a) >= 2 {
		out = slices.Clone(a[:len(a)-2])
	} else if len(b) >= 2 {
		out = slices.Clone(b[:len(b)-2])
	}
	if len(a) >= 2 { // a vector is a row on the left and a column on the right: that axis is not in the product
		out = append(out, a[len(a)-2])
	}
	if len(b) >= 2 {
		out = append(out, b[len(b)-1])
	}
	if out == nil {
		out = []int64{}
	}
	set(n, 0, d, out)
}

// axes are a node's axes, an attribute in old operator sets and input k in new ones; false where they are not known.
func (in *inference) axes(n *model.Node, k, rank int) ([]int, bool) {
	list := n.Ints("axes")
	if list == nil && n.In(k) != nil {
		if list = in.ints(n.In(k)); list == nil {
			return nil, false
		}
	}
	return counted(list, rank)
}

// counted are axes counted from 0.
func counted(list []int64, rank int) ([]int, bool) {
	out := make([]int, 0, len(list))
	for _, a := range list {
		axis, ok := axisOf(a, rank)
		if !ok {
			return nil, false
		}
		out = append(out, axis)
	}
	return out, true
}

func reduce(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	axes, ok := in.axes(n, 1, len(x))
	if x == nil || !ok {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	if len(axes) == 0 && n.Int("noop_with_empty_axes", 0) != 0 {
		set(n, 0, typeOf(n.In(0)), x)
		return
	}
	out := []int64{}
	for k, d := range x {
		switch {
		case len(axes) > 0 && !slices.Contains(axes, k):
			out = append(out, d)
		case n.Int("keepdims", 1) != 0:
			out = append(out, 1)
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func argMax(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	axis, ok := axisOf(n.Int("axis", 0), len(x))
	if !ok {
		set(n, 0, tensor.Int64, nil)
		return
	}
	out := slices.Clone(x)
	out[axis] = 1
	if n.Int("keepdims", 1) == 0 {
		out = slices.Delete(out, axis, axis+1)
	}
	set(n, 0, tensor.Int64, out)
}

func squeeze(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	axes, ok := in.axes(n, 1, len(x))
	if x == nil || !ok {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := []int64{}
	for k, d := range x {
		switch {
		case len(axes) == 0 && d < 0: // may be 1 or not
			set(n, 0, typeOf(n.In(0)), nil)
			return
		case len(axes) == 0 && d == 1 || slices.Contains(axes, k):
		default:
			out = append(out, d)
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func unsqueeze(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	count := len(n.Ints("axes"))
	if count == 0 {
		count = len(in.ints(n.In(1)))
	}
	axes, ok := in.axes(n, 1, len(x)+count)
	if x == nil || !ok || count == 0 {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out, next := make([]int64, len(x)+count), 0
	for k := range out {
		if slices.Contains(axes, k) {
			out[k] = 1
		} else if next < len(x) {
			out[k] = x[next]
			next++
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

// product is known if all extents are, and a free extent if it is one of it and ones.
func product(s []int64) int64 {
	p := int64(1)
	for _, d := range s {
		switch {
		case p == 1:
			p = d
		case d == 1:
		case d < 0 || p < 0:
			return Unknown
		default:
			p *= d
		}
	}
	return p
}

func flatten(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	out := free(2)
	if axis := n.Int("axis", 1); x != nil {
		if axis < 0 {
			axis += int64(len(x))
		}
		if axis >= 0 && axis <= int64(len(x)) {
			out = []int64{product(x[:axis]), product(x[axis:])}
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func reshape(in *inference, n *model.Node) {
	x, want := in.of(n.In(0)), in.ints(n.In(1))
	if in.opset < 5 {
		want = n.Ints("shape")
	}
	d := typeOf(n.In(0))
	if want == nil {
		if s := in.of(n.In(1)); len(s) == 1 && s[0] >= 0 && s[0] <= 64 {
			set(n, 0, d, free(int(s[0])))
		} else {
			set(n, 0, d, nil)
		}
		return
	}
	out, rest, others := make([]int64, len(want)), -1, slices.Clone(x)
	known := int64(1)
	for k, w := range want {
		switch {
		case w == 0 && n.Int("allowzero", 0) == 0:
			out[k] = at(x, k, Unknown)
		case w == -1:
			rest, out[k] = k, Unknown
			continue
		default:
			out[k] = extent(w)
		}
		switch j := slices.Index(others, out[k]); {
		case out[k] >= 0 && known >= 0:
			known *= out[k]
		case out[k] < Unknown && j >= 0: // a free extent of both: the others hold as many elements as the others
			others[j] = 1
		default:
			known = Unknown
		}
	}
	if total := product(others); rest >= 0 && x != nil {
		switch {
		case known == 1:
			out[rest] = total
		case known > 0 && total >= 0 && total%known == 0:
			out[rest] = total / known
		case known > 0 && total < 0:
			out[rest] = quotient(others, known)
		}
	}
	set(n, 0, d, out)
}

// quotient is the one free extent among others if the rest of them multiply to known.
func quotient(others []int64, known int64) int64 {
	free := int64(Unknown)
	for _, d := range others {
		switch {
		case d < 0 && free != Unknown:
			return Unknown
		case d < 0:
			free = d
		case d == 0 || known%d != 0:
			return Unknown
		default:
			known /= d
		}
	}
	if known != 1 {
		return Unknown
	}
	return free
}

func transpose(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	perm := n.Ints("perm")
	if x == nil || perm != nil && len(perm) != len(x) {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := make([]int64, len(x))
	for k := range out {
		from := int64(len(x) - 1 - k)
		if perm != nil {
			from = perm[k]
		}
		if from < 0 || from >= int64(len(x)) {
			return
		}
		out[k] = x[from]
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func concat(in *inference, n *model.Node) {
	var out []int64
	d := tensor.Undefined
	axis := -1
	for _, v := range n.Inputs {
		if d == tensor.Undefined {
			d = typeOf(v)
		}
		s := in.of(v)
		if s == nil {
			continue
		}
		if out == nil {
			a, ok := axisOf(n.Int("axis", 1), len(s))
			if !ok {
				return
			}
			axis, out = a, slices.Clone(s)
			out[axis] = 0
		}
		if len(s) != len(out) {
			return
		}
		for k, x := range s {
			if k != axis && out[k] < 0 {
				out[k] = x
			}
		}
	}
	if out == nil {
		set(n, 0, d, nil)
		return
	}
	for _, v := range n.Inputs {
		s := in.of(v)
		if s == nil || s[axis] < 0 {
			out[axis] = Unknown
			break
		}
		out[axis] += s[axis]
	}
	set(n, 0, d, out)
}

func split(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	axis, ok := axisOf(n.Int("axis", 0), len(x))
	sizes := n.Ints("split")
	if sizes == nil {
		sizes = in.ints(n.In(1))
	}
	for k := range n.Outputs {
		if !ok {
			set(n, k, typeOf(n.In(0)), nil)
			continue
		}
		out := slices.Clone(x)
		switch count := int64(len(n.Outputs)); {
		case k < len(sizes):
			out[axis] = extent(sizes[k])
		case sizes == nil && n.In(1) == nil && x[axis] >= 0:
			part := (x[axis] + count - 1) / count
			out[axis] = min(part, x[axis]-int64(k)*part)
		default:
			out[axis] = Unknown
		}
		set(n, k, typeOf(n.In(0)), out)
	}
}

func slice(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	if x == nil {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	starts, ends, axes, steps := n.Ints("starts"), n.Ints("ends"), n.Ints("axes"), []int64(nil)
	if in.opset >= 10 {
		starts, ends, axes, steps = in.ints(n.In(1)), in.ints(n.In(2)), in.ints(n.In(3)), in.ints(n.In(4))
		if n.In(3) != nil && axes == nil {
			set(n, 0, typeOf(n.In(0)), free(len(x)))
			return
		}
	}
	out := slices.Clone(x)
	count := max(len(starts), len(ends), len(axes))
	if starts == nil && ends == nil && axes == nil {
		out = free(len(x))
	}
	for k := range count {
		axis, ok := axisOf(at(axes, k, int64(k)), len(x))
		if !ok {
			return
		}
		from, to, step := at(starts, k, noElement), at(ends, k, noElement), at(steps, k, 1)
		if n.In(4) != nil && in.opset >= 10 && steps == nil {
			step = noElement
		}
		switch whole := from == 0 && to >= math.MaxInt32 && step == 1; {
		case whole:
		case x[axis] < 0 || unknown(from) || unknown(to) || unknown(step) || step == 0:
			out[axis] = Unknown
		default:
			_, out[axis] = eval.Sliced(from, to, step, x[axis])
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func gather(in *inference, n *model.Node) {
	x, index := in.of(n.In(0)), in.of(n.In(1))
	axis, ok := axisOf(n.Int("axis", 0), len(x))
	if !ok || index == nil {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := append([]int64{}, x[:axis]...) // a scalar's shape is empty, not nil
	set(n, 0, typeOf(n.In(0)), append(append(out, index...), x[axis+1:]...))
}

func pad(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	if x == nil {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	pads := n.Ints("pads")
	if pads == nil {
		pads = in.ints(n.In(1))
	}
	axes, ok := in.axes(n, 3, len(x))
	if n.In(3) == nil {
		axes = nil
		for k := range x {
			axes = append(axes, k)
		}
	}
	out := slices.Clone(x)
	for k, axis := range axes {
		before, after := at(pads, k, noElement), at(pads, len(axes)+k, noElement)
		switch {
		case !ok || unknown(before) || unknown(after):
			out[axis] = Unknown
			continue
		case out[axis] < 0 && before+after == 0:
			continue
		case out[axis] < 0:
			out[axis] = Unknown
			continue
		}
		out[axis] += before + after
	}
	if !ok {
		out = free(len(x))
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func expand(in *inference, n *model.Node) {
	want := in.ints(n.In(1))
	want = slices.Clone(want)
	for k, d := range want {
		want[k] = extent(d)
	}
	set(n, 0, typeOf(n.In(0)), broadcast(in.of(n.In(0)), want))
}

func castLike(in *inference, n *model.Node) { set(n, 0, typeOf(n.In(1)), in.of(n.In(0))) }

func cast(in *inference, n *model.Node) { set(n, 0, tensor.DType(n.Int("to", 0)), in.of(n.In(0))) }

func dequantize(in *inference, n *model.Node) {
	d := tensor.DType(n.Int("output_dtype", 0))
	if d == tensor.Undefined {
		d = typeOf(n.In(1))
	}
	set(n, 0, d, in.of(n.In(0)))
}

// dynamicQuantize outputs bytes, one scale and one zero point.
func dynamicQuantize(in *inference, n *model.Node) {
	set(n, 0, tensor.Uint8, in.of(n.In(0)))
	set(n, 1, tensor.Float32, []int64{})
	set(n, 2, tensor.Uint8, []int64{})
}

func quantize(in *inference, n *model.Node) {
	d := tensor.DType(n.Int("output_dtype", 0))
	switch {
	case d != tensor.Undefined:
	case n.In(2) != nil:
		d = typeOf(n.In(2))
	default:
		d = tensor.Uint8
	}
	set(n, 0, d, in.of(n.In(0)))
}

func shapeOf(in *inference, n *model.Node) {
	if x := in.of(n.In(0)); x != nil {
		from, to := clampRange(n.Int("start", 0), n.Int("end", int64(len(x))), int64(len(x)))
		set(n, 0, tensor.Int64, []int64{to - from})
		return
	}
	set(n, 0, tensor.Int64, free(1))
}

func size(_ *inference, n *model.Node) { set(n, 0, tensor.Int64, []int64{}) }

func resize(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	axes, ok := counted(n.Ints("axes"), len(x))
	if x == nil || !ok {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	if len(axes) == 0 {
		for k := range x {
			axes = append(axes, k)
		}
	}
	scales, sizes := n.In(2), []int64(nil)
	if n.Type == "Upsample" || in.opset < 11 {
		scales = n.In(1)
	} else if n.Str("keep_aspect_ratio_policy", "stretch") == "stretch" {
		sizes = in.ints(n.In(3))
	}
	factors := n.Floats("scales")
	if a, ok := in.consts.Value(scales); ok {
		factors = a.Data
	}
	out := slices.Clone(x)
	for k, axis := range axes {
		out[axis] = Unknown
		switch {
		case len(sizes) == len(axes):
			out[axis] = extent(sizes[k])
		case len(factors) == len(axes) && x[axis] >= 0 && factors[k] > 0 && factors[k] < 1<<20:
			out[axis] = int64(float32(x[axis]) * float32(factors[k])) // rounded to float32, then down
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

// maxBlock bounds blocksize: its square is no overflow.
const maxBlock = 1 << 16

func depthToSpace(in *inference, n *model.Node) {
	x, b := in.of(n.In(0)), n.Int("blocksize", 0)
	if len(x) != 4 || b < 1 || b > maxBlock {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := free(4)
	out[0] = x[0]
	if x[1] >= 0 {
		out[1] = x[1] / (b * b)
	}
	for k := 2; k < 4; k++ {
		if x[k] >= 0 {
			out[k] = x[k] * b
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func spaceToDepth(in *inference, n *model.Node) {
	x, b := in.of(n.In(0)), n.Int("blocksize", 0)
	if len(x) != 4 || b < 1 || b > maxBlock {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := free(4)
	out[0] = x[0]
	if x[1] >= 0 {
		out[1] = x[1] * b * b
	}
	for k := 2; k < 4; k++ {
		if x[k] >= 0 {
			out[k] = x[k] / b
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

func recurrent(in *inference, n *model.Node) {
	x := in.of(n.In(0))
	directions := int64(1)
	if n.Str("direction", "forward") == "bidirectional" {
		directions = 2
	}
	hidden := n.Int("hidden_size", Unknown)
	steps, batch := int64(Unknown), int64(Unknown)
	if len(x) == 3 {
		steps, batch = x[0], x[1]
	}
	state := []int64{directions, batch, hidden}
	sequence := []int64{steps, directions, batch, hidden}
	if n.Int("layout", 0) != 0 {
		if len(x) == 3 {
			batch, steps = x[0], x[1]
		}
		state, sequence = []int64{batch, directions, hidden}, []int64{batch, steps, directions, hidden}
	}
	set(n, 0, typeOf(n.In(0)), sequence)
	set(n, 1, typeOf(n.In(0)), state)
	set(n, 2, typeOf(n.In(0)), state)
}

func constantOfShape(in *inference, n *model.Node) {
	d := tensor.Float32
	if a := n.Attr("value"); a != nil && a.Tensor != nil {
		d = a.Tensor.DType
	}
	want := in.ints(n.In(0))
	if want == nil {
		if s := in.of(n.In(0)); len(s) == 1 && s[0] >= 0 && s[0] <= 64 {
			set(n, 0, d, free(int(s[0])))
		}
		return
	}
	out := slices.Clone(want)
	for k, x := range out {
		out[k] = extent(x)
	}
	set(n, 0, d, out)
}

func tile(in *inference, n *model.Node) {
	x, times := in.of(n.In(0)), in.ints(n.In(1))
	if x == nil {
		set(n, 0, typeOf(n.In(0)), nil)
		return
	}
	out := free(len(x))
	for k := range out {
		switch {
		case k >= len(times) || unknown(times[k]):
		case times[k] == 1:
			out[k] = x[k]
		case x[k] >= 0:
			out[k] = times[k] * x[k]
		}
	}
	set(n, 0, typeOf(n.In(0)), out)
}

// branch gives the outputs of an If the types that its bodies agree on, or those of the one that is taken.
func branch(in *inference, n *model.Node) {
	bodies := n.Bodies
	if b := in.consts.Branch(n); b != nil {
		bodies = []*model.Graph{b}
		for k, v := range n.Outputs {
			if k < len(b.Outputs) && v != nil {
				if x, ok := in.vectors[b.Outputs[k]]; ok {
					in.vectors[v] = x
				}
			}
		}
	}
	for k := range n.Outputs {
		var d tensor.DType
		var out []int64
		for j, b := range bodies {
			if k >= len(b.Outputs) {
				return
			}
			v := b.Outputs[k]
			s := in.of(v)
			if j == 0 {
				d, out = typeOf(v), slices.Clone(s)
				continue
			}
			if typeOf(v) != d || len(s) != len(out) {
				d, out = tensor.Undefined, nil
				break
			}
			for i := range out {
				if out[i] != s[i] {
					out[i] = Unknown
				}
			}
		}
		set(n, k, d, out)
	}
}
