package zootest

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/zipped"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Torch writes one small program of torch.export into a folder, a .pt2 file as torch.export.save writes it, and returns its
// path. Equal seeds make equal files, which torch.export.load loads.
func Torch(seed uint64, folder string) (path string, o format.Options, err error) {
	p := &torchProgram{rng: rand.New(rand.NewPCG(seed, 47)), metas: map[string]string{}, counts: map[string]int{}, free: seed%5 == 4}
	p.network()
	path = filepath.Join(folder, fmt.Sprintf("program%d.pt2", seed))
	f, err := os.Create(path)
	if err != nil {
		return "", o, err
	}
	return path, o, errors.Join(p.write(f, fmt.Sprintf("program%d", seed)), f.Close())
}

// torchProgram is a program being made.
type torchProgram struct {
	rng     *rand.Rand
	free    bool // the size of the batch depends on the input
	stored  []*torchStored
	nodes   []string
	names   []string // of tensor_values, in their order
	metas   map[string]string
	counts  map[string]int
	modules []string
}

// torchStored is a parameter, a buffer or a constant.
type torchStored struct {
	kind, name string // "parameter", "conv.weight"
	input      string // "p_conv_weight"
	shape      []int64
	values     []float64
	last       bool         // channels are last in the record
	integer    bool         // of int64
	of         *torchStored // whose record it has
	record     string
}

// torchTensor is a tensor of the program; shape is without the batch where there is one.
type torchTensor struct {
	name  string
	shape []int64
}

const torchFree = `{"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)", "hint": {"as_int": 2}}}`

// size is an extent as a program writes it; below 0 the batch's.
func (p *torchProgram) size(d int64) string {
	switch {
	case d >= 0:
		return `{"as_int": ` + strconv.FormatInt(d, 10) + `}`
	case p.free:
		return torchFree
	}
	return `{"as_int": 2}`
}

// meta is what a program says of a tensor.
func (p *torchProgram) meta(dtype int, shape, strides []int64) string {
	var sizes, steps []string
	for k, d := range shape {
		sizes = append(sizes, p.size(d))
		steps = append(steps, `{"as_int": `+strconv.FormatInt(strides[k], 10)+`}`)
	}
	return fmt.Sprintf(`{"dtype": %d, "sizes": [%s], "requires_grad": false, "device": {"type": "cpu", "index": null}, "strides": [%s], "storage_offset": {"as_int": 0}, "layout": 7}`,
		dtype, strings.Join(sizes, ", "), strings.Join(steps, ", "))
}

// name is a name that the program has not yet, counted as PyTorch counts.
func (p *torchProgram) name(base string) string {
	n := p.counts[base]
	if p.counts[base]++; n > 0 {
		base += "_" + strconv.Itoa(n)
	}
	return base
}

// value notes a tensor with a batch.
func (p *torchProgram) value(name string, shape []int64) torchTensor {
	all := append([]int64{-1}, shape...)
	p.tell(name, p.meta(7, all, tensor.Strides(all)))
	return torchTensor{name, shape}
}

func (p *torchProgram) tell(name, meta string) {
	p.names = append(p.names, name)
	p.metas[name] = meta
}

// keep notes a stored tensor, and returns the name of the input that it is.
func (p *torchProgram) keep(kind, name string, values []float64, shape ...int64) *torchStored {
	prefix := map[string]string{"parameter": "p_", "buffer": "b_", "tensor_constant": "c_"}[kind]
	s := &torchStored{kind: kind, name: name, input: prefix + strings.ReplaceAll(name, ".", "_"), shape: shape, values: values}
	p.stored = append(p.stored, s)
	return s
}

func (p *torchProgram) uniform(lo, hi float64, shape ...int64) []float64 {
	n, _ := tensor.Elements(shape)
	values := make([]float64, n)
	for k := range values {
		values[k] = lo + (hi-lo)*p.rng.Float64()
	}
	return values
}

// Arguments, as programs write them.
func torchInput(name, arg string) string {
	return fmt.Sprintf(`{"name": "%s", "arg": %s, "kind": 1}`, name, arg)
}
func torchArg(name, tensor string) string {
	return torchInput(name, `{"as_tensor": {"name": "`+tensor+`"}}`)
}
func torchNone(name string) string { return torchInput(name, `{"as_none": true}`) }
func torchInt(name string, x int64) string {
	return torchInput(name, `{"as_int": `+strconv.FormatInt(x, 10)+`}`)
}
func torchBool(name string, x bool) string {
	return torchInput(name, `{"as_bool": `+strconv.FormatBool(x)+`}`)
}
func torchFloat(name string, x float64) string {
	return torchInput(name, `{"as_float": `+strconv.FormatFloat(x, 'g', -1, 64)+`}`)
}
func torchInts(name string, xs ...int64) string {
	var items []string
	for _, x := range xs {
		items = append(items, strconv.FormatInt(x, 10))
	}
	return torchInput(name, `{"as_ints": [`+strings.Join(items, ", ")+`]}`)
}

// call adds an operator with one output.
func (p *torchProgram) call(target string, shape []int64, args ...string) torchTensor {
	base, _, _ := strings.Cut(target, ".")
	y := p.value(p.name(base), shape)
	p.node(target, y.name, `[{"as_tensor": {"name": "`+y.name+`"}}]`, args...)
	return y
}

func (p *torchProgram) node(target, name, outputs string, args ...string) {
	p.nodes = append(p.nodes, fmt.Sprintf(`{"target": "torch.ops.aten.%s", "inputs": [%s], "outputs": %s, "metadata": {"stack_trace": "File \"model.py\", line %d, in forward\n    x = self.%s(x)", "nn_module_stack": "L__self__,,model.Net"}, "is_hop_single_tensor_return": null, "name": "%s"}`,
		target, strings.Join(args, ", "), outputs, 10+len(p.nodes), name, name))
}

// module is the name of a new module.
func (p *torchProgram) module(base string) string {
	name := p.name("layers." + base)
	p.modules = append(p.modules, name)
	return name
}

func (p *torchProgram) one(n int) bool { return p.rng.IntN(n) == 0 }

// conv is a convolution.
func (p *torchProgram) conv(x torchTensor, out, taps, stride, groups int64) torchTensor {
	w := p.kernel(p.module("conv"), x.shape[0], out, taps, groups)
	return p.convBy(x, w, stride, groups, p.one(3))
}

func (p *torchProgram) kernel(module string, in, out, taps, groups int64) *torchStored {
	values := p.uniform(-1, 1, out, in/groups, taps, taps)
	for k := range values {
		values[k] *= 1.7 / float64(max(in/groups*taps, 1))
	}
	w := p.keep("parameter", module+".weight", values, out, in/groups, taps, taps)
	w.last = p.one(6)
	return w
}

func (p *torchProgram) convBy(x torchTensor, w *torchStored, stride, groups int64, biased bool) torchTensor {
	out, taps := w.shape[0], w.shape[2]
	args := []string{torchArg("input", x.name), torchArg("weight", w.input)}
	pad := taps / 2
	plain := stride == 1 && pad == 0 && groups == 1
	switch {
	case biased:
		args = append(args, torchArg("bias", p.keep("parameter", strings.TrimSuffix(w.name, "weight")+"bias", p.uniform(-0.5, 0.5, out), out).input))
	case !plain || p.one(2): // otherwise it is left out
		args = append(args, torchNone("bias"))
	}
	if !plain {
		args = append(args, torchInts("stride", stride, stride), torchInts("padding", pad, pad))
		if groups > 1 {
			args = append(args, torchInts("dilation", 1, 1), torchInt("groups", groups))
		}
	}
	after := func(d int64) int64 { return (d+2*pad-taps)/stride + 1 }
	return p.call("conv2d.default", []int64{out, after(x.shape[1]), after(x.shape[2])}, args...)
}

// norm is a batch normalisation.
func (p *torchProgram) norm(x torchTensor) torchTensor {
	c, m := x.shape[0], p.module("bn")
	args := []string{torchArg("input", x.name)}
	if p.one(8) {
		args = append(args, torchNone("weight"), torchNone("bias"))
	} else {
		args = append(args, torchArg("weight", p.keep("parameter", m+".weight", p.uniform(0.5, 1.5, c), c).input),
			torchArg("bias", p.keep("parameter", m+".bias", p.uniform(-1, 1, c), c).input))
	}
	args = append(args, torchArg("running_mean", p.keep("buffer", m+".running_mean", p.uniform(-1, 1, c), c).input),
		torchArg("running_var", p.keep("buffer", m+".running_var", p.uniform(0.3, 2, c), c).input),
		torchBool("training", false), torchFloat("momentum", 0.1), torchFloat("eps", 1e-5), torchBool("cudnn_enabled", true))
	p.keep("buffer", m+".num_batches_tracked", []float64{float64(p.rng.IntN(1000))}).integer = true
	return p.call("batch_norm.default", x.shape, args...)
}

// activation is one of those that networks have, most of which work in place.
func (p *torchProgram) activation(x torchTensor) torchTensor {
	switch p.rng.IntN(8) {
	case 0:
		return p.call("relu.default", x.shape, torchArg("self", x.name))
	case 1:
		return p.call("hardtanh_.default", x.shape, torchArg("self", x.name), torchFloat("min_val", 0), torchFloat("max_val", 6))
	case 2:
		return p.call("silu_.default", x.shape, torchArg("self", x.name))
	case 3:
		return p.call("leaky_relu.default", x.shape, torchArg("self", x.name), torchFloat("negative_slope", 0.1))
	case 4:
		return p.call("hardswish_.default", x.shape, torchArg("self", x.name))
	case 5:
		return x
	}
	return p.call("relu_.default", x.shape, torchArg("self", x.name))
}

// block is a convolution, a normalisation and an activation.
func (p *torchProgram) block(x torchTensor) torchTensor {
	groups := int64(1)
	if p.one(3) {
		groups = 2
	}
	stride := int64(1)
	if x.shape[1] >= 6 && p.one(3) {
		stride = 2
	}
	return p.activation(p.norm(p.conv(x, 8, 3, stride, groups)))
}

func (p *torchProgram) depthwise(x torchTensor) torchTensor {
	x = p.activation(p.norm(p.conv(x, x.shape[0], 3, 1, x.shape[0])))
	return p.norm(p.conv(x, 8, 1, 1, 1))
}

// residual adds what it reads, in place or not.
func (p *torchProgram) residual(x torchTensor) torchTensor {
	y := p.norm(p.conv(p.activation(p.norm(p.conv(x, x.shape[0], 3, 1, 1))), x.shape[0], 3, 1, 1))
	target := "add.Tensor"
	if p.one(2) {
		target = "add_.Tensor"
	}
	return p.activation(p.call(target, x.shape, torchArg("self", y.name), torchArg("other", x.name)))
}

// preactivated normalises what it adds to: the activation may work on the normalisation's output alone.
func (p *torchProgram) preactivated(x torchTensor) torchTensor {
	y := p.call("relu_.default", x.shape, torchArg("self", p.norm(x).name))
	y = p.conv(y, x.shape[0], 3, 1, 1)
	return p.call("add.Tensor", x.shape, torchArg("self", x.name), torchArg("other", y.name))
}

// halved multiplies what it adds to: without the multiplication the activation would write into what is added.
func (p *torchProgram) halved(x torchTensor) torchTensor {
	y := p.call("mul.Tensor", x.shape, torchArg("self", x.name), torchFloat("other", 0.5))
	y = p.conv(p.call("relu_.default", x.shape, torchArg("self", y.name)), x.shape[0], 3, 1, 1)
	return p.call("add.Tensor", x.shape, torchArg("self", x.name), torchArg("other", p.norm(y).name))
}

// dense is two branches side by side.
func (p *torchProgram) dense(x torchTensor) torchTensor {
	a, b := p.norm(p.conv(x, 4, 1, 1, 1)), p.activation(p.norm(p.conv(x, 4, 3, 1, 1)))
	args := torchInput("tensors", `{"as_tensors": [{"name": "`+a.name+`"}, {"name": "`+b.name+`"}]}`)
	y := p.call("cat.default", []int64{8, x.shape[1], x.shape[2]}, args, torchInt("dim", 1))
	return p.norm(p.conv(y, 8, 1, 1, 1))
}

// halves splits the channels, and treats one half.
func (p *torchProgram) halves(x torchTensor) torchTensor {
	half := x.shape[0] / 2
	shape := []int64{half, x.shape[1], x.shape[2]}
	a, b := p.value(p.name("getitem"), shape), p.value(p.name("getitem"), shape)
	p.node("chunk.default", p.name("chunk"), `[{"as_tensors": [{"name": "`+a.name+`"}, {"name": "`+b.name+`"}]}]`, torchArg("self", x.name), torchInt("chunks", 2), torchInt("dim", 1))
	b = p.norm(p.conv(b, half, 3, 1, 1))
	return p.call("cat.default", x.shape, torchInput("tensors", `{"as_tensors": [{"name": "`+a.name+`"}, {"name": "`+b.name+`"}]}`), torchInt("dim", 1))
}

// transposed doubles an image.
func (p *torchProgram) transposed(x torchTensor) torchTensor {
	if x.shape[1] > 12 {
		return x
	}
	m := p.module("deconv")
	w := p.keep("parameter", m+".weight", p.uniform(-0.3, 0.3, x.shape[0], 4, 2, 2), x.shape[0], 4, 2, 2)
	y := p.call("conv_transpose2d.input", []int64{8, 2 * x.shape[1], 2 * x.shape[2]}, torchArg("input", x.name), torchArg("weight", w.input), torchNone("bias"),
		torchInts("stride", 2, 2), torchInts("padding", 0, 0), torchInts("output_padding", 0, 0), torchInt("groups", 2))
	return p.activation(p.norm(y))
}

func (p *torchProgram) pool(x torchTensor) torchTensor {
	if x.shape[1] < 4 {
		return x
	}
	target := "max_pool2d.default"
	if p.one(2) {
		target = "avg_pool2d.default"
	}
	return p.call(target, []int64{x.shape[0], x.shape[1] / 2, x.shape[2] / 2}, torchArg("self", x.name), torchInts("kernel_size", 2, 2), torchInts("stride", 2, 2))
}

// twice is one convolution in two places, with a normalisation behind each.
func (p *torchProgram) twice(x torchTensor) torchTensor {
	w := p.kernel(p.module("conv"), x.shape[0], x.shape[0], 3, 1)
	y := p.norm(p.convBy(x, w, 1, 1, false))
	return p.norm(p.convBy(y, w, 1, 1, false))
}

// tied is two convolutions whose weights are one record.
func (p *torchProgram) tied(x torchTensor) torchTensor {
	w, v := p.kernel(p.module("conv"), x.shape[0], x.shape[0], 1, 1), p.kernel(p.module("conv"), x.shape[0], x.shape[0], 1, 1)
	v.of, v.last, w.last = w, false, false
	return p.norm(p.convBy(p.activation(p.norm(p.convBy(x, w, 1, 1, false))), v, 1, 1, false))
}

// scaled multiplies each channel by a parameter, as layer scales do.
func (p *torchProgram) scaled(x torchTensor) torchTensor {
	c := x.shape[0]
	gamma := p.keep("parameter", p.module("gamma"), p.uniform(0.5, 1.5, c), c)
	shape := []int64{1, c, 1, 1}
	view := p.name("view")
	p.tell(view, p.meta(7, shape, tensor.Strides(shape)))
	p.node("view.default", view, `[{"as_tensor": {"name": "`+view+`"}}]`, torchArg("self", gamma.input), torchInts("size", shape...))
	y := p.conv(x, c, 1, 1, 1)
	y = p.call("mul.Tensor", x.shape, torchArg("self", y.name), torchArg("other", view))
	return p.call("add.Tensor", x.shape, torchArg("self", x.name), torchArg("other", y.name))
}

// numbers multiplies by a number, and adds a constant.
func (p *torchProgram) numbers(x torchTensor) torchTensor {
	x = p.call("mul.Tensor", x.shape, torchArg("self", p.conv(x, x.shape[0], 1, 1, 1).name), torchFloat("other", 0.5+p.rng.Float64()))
	c := p.keep("tensor_constant", p.name("constant"), p.uniform(-1, 1, 1), 1)
	return p.call("add.Tensor", x.shape, torchArg("self", x.name), torchArg("other", c.input))
}

// written is an activation that works on a view of what is read later: as it is then.
func (p *torchProgram) written(x torchTensor) torchTensor {
	y := p.norm(p.conv(x, x.shape[0], 3, 1, 1))
	flat := p.call("flatten.using_ints", []int64{x.shape[0], x.shape[1] * x.shape[2]}, torchArg("self", y.name), torchInt("start_dim", 2))
	p.call("relu_.default", flat.shape, torchArg("self", flat.name))
	return p.conv(y, x.shape[0], 1, 1, 1)
}

// again reads what an activation worked on by the name that it had before.
func (p *torchProgram) again(x torchTensor) torchTensor {
	y := p.norm(p.conv(x, x.shape[0], 3, 1, 1))
	z := p.call("relu_.default", y.shape, torchArg("self", y.name))
	z = p.conv(z, x.shape[0], 1, 1, 1)
	return p.call("add.Tensor", y.shape, torchArg("self", z.name), torchArg("other", y.name))
}

// rolled is an operator that ONNX has no name for.
func (p *torchProgram) rolled(x torchTensor) torchTensor {
	x = p.call("roll.default", x.shape, torchArg("self", p.norm(p.conv(x, 8, 1, 1, 1)).name), torchInts("shifts", 1), torchInts("dims", 3))
	return p.norm(p.conv(x, 8, 1, 1, 1))
}

// attended is what transformers have: layer normalisation and linear layers over the channels of each position.
func (p *torchProgram) attended(x torchTensor) torchTensor {
	c, n := x.shape[0], x.shape[1]*x.shape[2]
	y := p.call("flatten.using_ints", []int64{c, n}, torchArg("self", x.name), torchInt("start_dim", 2))
	y = p.call("transpose.int", []int64{n, c}, torchArg("self", y.name), torchInt("dim0", 1), torchInt("dim1", 2))
	m := p.module("norm")
	y = p.call("layer_norm.default", y.shape, torchArg("input", y.name), torchInts("normalized_shape", c), torchArg("weight", p.keep("parameter", m+".weight", p.uniform(0.5, 1.5, c), c).input), torchArg("bias", p.keep("parameter", m+".bias", p.uniform(-1, 1, c), c).input))
	y = p.linear(y, 12, p.one(2))
	y = p.call("gelu.default", y.shape, torchArg("self", y.name))
	y = p.linear(y, c, true)
	y = p.call("dropout.default", y.shape, torchArg("input", y.name), torchFloat("p", 0.1), torchBool("train", false))
	y = p.call("transpose.int", []int64{c, n}, torchArg("self", y.name), torchInt("dim0", 1), torchInt("dim1", 2))
	args := []string{torchArg("self", y.name), torchInts("shape", 2, c, x.shape[1], x.shape[2])}
	if p.free {
		args[1] = torchInts("shape", -1, c, x.shape[1], x.shape[2])
	}
	y = p.call("reshape.default", x.shape, args...)
	return p.call("add.Tensor", x.shape, torchArg("self", x.name), torchArg("other", y.name))
}

// positions is one linear layer over the channels in two places, with a map behind each, between activations that have limits.
func (p *torchProgram) positions(x torchTensor) torchTensor {
	c := x.shape[0]
	last := func(x torchTensor) torchTensor {
		return p.call("permute.default", []int64{x.shape[1], x.shape[2], x.shape[0]}, torchArg("self", x.name), torchInts("dims", 0, 2, 3, 1))
	}
	first := func(x torchTensor) torchTensor {
		return p.call("permute.default", []int64{x.shape[2], x.shape[0], x.shape[1]}, torchArg("self", x.name), torchInts("dims", 0, 3, 1, 2))
	}
	w := p.keep("parameter", p.module("linear")+".weight", p.uniform(-0.5, 0.5, c, c), c, c)
	for k := range 2 {
		y := p.call("linear.default", []int64{x.shape[1], x.shape[2], c}, torchArg("input", last(x).name), torchArg("weight", w.input))
		x = p.norm(first(y))
		if k == 0 {
			x = p.call("clamp.default", x.shape, torchArg("self", x.name), torchNone("min"), torchFloat("max", 3))
		}
		x = p.call("clamp_min.default", x.shape, torchArg("self", x.name), torchFloat("min", -2))
	}
	return x
}

// linear is a linear layer over the last axis.
func (p *torchProgram) linear(x torchTensor, out int64, biased bool) torchTensor {
	in := x.shape[len(x.shape)-1]
	m := p.module("linear")
	values := p.uniform(-1, 1, out, in)
	for k := range values {
		values[k] *= 1.7 / math.Sqrt(float64(in))
	}
	args := []string{torchArg("input", x.name), torchArg("weight", p.keep("parameter", m+".weight", values, out, in).input)}
	if biased {
		args = append(args, torchArg("bias", p.keep("parameter", m+".bias", p.uniform(-0.5, 0.5, out), out).input))
	}
	return p.call("linear.default", append(slices.Clone(x.shape[:len(x.shape)-1]), out), args...)
}

// network is a random one.
func (p *torchProgram) network() {
	p.counts["x"] = 1
	x := p.value("x", []int64{3, 12, 12})
	if p.one(5) {
		x = p.norm(x)
	}
	x = p.activation(p.norm(p.conv(x, 8, 3, 1, 1)))
	steps := []func(torchTensor) torchTensor{p.block, p.block, p.depthwise, p.residual, p.residual, p.preactivated, p.halved, p.dense, p.halves, p.transposed, p.pool,
		p.twice, p.tied, p.scaled, p.numbers, p.written, p.again, p.rolled, p.attended, p.positions}
	for range 3 + p.rng.IntN(5) {
		x = steps[p.rng.IntN(len(steps))](x)
	}
	if !p.one(4) {
		x = p.call("adaptive_avg_pool2d.default", []int64{x.shape[0], 1, 1}, torchArg("self", x.name), torchInts("output_size", 1, 1))
		x = p.call("flatten.using_ints", []int64{x.shape[0]}, torchArg("self", x.name), torchInt("start_dim", 1))
		x = p.linear(x, 6, p.one(2))
		if p.one(2) {
			x = p.linear(p.activation(p.norm(x)), 5, true)
		}
	}
	p.stored = append(p.stored, &torchStored{kind: "parameter", name: "unused", input: "p_unused", shape: []int64{3}, values: []float64{1, 2, 3}})
}

// inputs are the stored tensors as programs list them: parameters, buffers, constants.
func (p *torchProgram) inputs() (list []*torchStored) {
	for _, kind := range []string{"parameter", "buffer", "tensor_constant"} {
		for _, s := range p.stored {
			if s.kind == kind {
				list = append(list, s)
			}
		}
	}
	return list
}

// strides are those of the record, which may have channels last.
func (s *torchStored) strides() []int64 {
	if !s.last {
		return tensor.Strides(s.shape)
	}
	c, w := s.shape[1], s.shape[3]
	return []int64{c * s.shape[2] * w, 1, w * c, c}
}

// bytes are the record: of float32, or of int64.
func (s *torchStored) bytes() (b []byte) {
	if s.integer {
		return binary.LittleEndian.AppendUint64(nil, uint64(s.values[0]))
	}
	order := make([]float64, len(s.values))
	strides, own := s.strides(), tensor.Strides(s.shape)
	for e, x := range s.values {
		at, rest := int64(0), int64(e)
		for k := range s.shape {
			at += rest / own[k] * strides[k]
			rest %= own[k]
		}
		order[at] = x
	}
	for _, x := range order {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
	}
	return b
}

func (p *torchProgram) metaOf(s *torchStored) string {
	if s.integer {
		return p.meta(5, nil, nil)
	}
	return p.meta(7, s.shape, s.strides())
}

// write writes the archive.
func (p *torchProgram) write(f *os.File, name string) error {
	z := zipped.NewWriter(f)
	put := func(path string, data []byte) error {
		return z.Bytes(zip.FileHeader{Name: name + "/" + path, Flags: 0x800}, data)
	}
	var configs [2][]string
	var records [2]int
	for _, s := range p.inputs() {
		k, folder, prefix := 0, "data/weights/", "weight_"
		if s.kind == "tensor_constant" {
			k, folder, prefix = 1, "data/constants/", "tensor_"
		}
		if s.of != nil {
			s.record = s.of.record
		} else {
			s.record = prefix + strconv.Itoa(records[k])
			records[k]++
			if err := put(folder+s.record, s.bytes()); err != nil {
				return err
			}
		}
		configs[k] = append(configs[k], fmt.Sprintf(`"%s": {"path_name": "%s", "is_param": %t, "use_pickle": false, "tensor_meta": %s}`, s.name, s.record, s.kind == "parameter", p.metaOf(s)))
	}
	for _, member := range []struct{ path, text string }{
		{"data/weights/model_weights_config.json", `{"config": {` + strings.Join(configs[0], ", ") + `}}`},
		{"data/constants/model_constants_config.json", `{"config": {` + strings.Join(configs[1], ", ") + `}}`},
		{"models/model.json", p.text()},
		{"data/sample_inputs/model.pt", ""},
		{"archive_format", "pt2"}, {"archive_version", "0"}, {".data/version", "3\n"}, {"byteorder", "little"},
		{".data/serialization_id", "0000000000000000000000000000000000000000"},
	} {
		if err := put(member.path, []byte(member.text)); err != nil {
			return err
		}
	}
	return z.Close()
}

// text is the program.
func (p *torchProgram) text() string {
	var inputs, specs, values, calls []string
	for _, s := range p.inputs() {
		inputs = append(inputs, `{"as_tensor": {"name": "`+s.input+`"}}`)
		persistent := ""
		if s.kind == "buffer" {
			persistent = `, "persistent": true`
		}
		specs = append(specs, fmt.Sprintf(`{"%s": {"arg": {"name": "%s"}, "%s_name": "%s"%s}}`, s.kind, s.input, s.kind, s.name, persistent))
		values = append(values, `"`+s.input+`": `+p.metaOf(s))
	}
	inputs = append(inputs, `{"as_tensor": {"name": "x"}}`)
	specs = append(specs, `{"user_input": {"arg": {"as_tensor": {"name": "x"}}}}`)
	for _, name := range p.names {
		values = append(values, `"`+name+`": `+p.metas[name])
	}
	for _, m := range p.modules {
		calls = append(calls, `{"fqn": "`+m+`", "signature": null}`)
	}
	y := p.names[len(p.names)-1]
	const in = `[1, {\"type\": \"builtins.tuple\", \"context\": \"null\", \"children_spec\": [{\"type\": \"builtins.tuple\", \"context\": \"null\", \"children_spec\": [{\"type\": null, \"context\": null, \"children_spec\": []}]}, {\"type\": \"builtins.dict\", \"context\": \"[]\", \"children_spec\": []}]}]`
	const out = `[1, {\"type\": null, \"context\": null, \"children_spec\": []}]`
	ranges := ""
	if p.free {
		ranges = `"s77": {"min_val": 1, "max_val": 64}`
	}
	join := func(list []string) string { return strings.Join(list, ", ") }
	return `{"graph_module": {"graph": {"inputs": [` + join(inputs) + `], "outputs": [{"as_tensor": {"name": "` + y + `"}}], "nodes": [` + join(p.nodes) +
		`], "tensor_values": {` + join(values) + `}, "sym_int_values": {}, "sym_bool_values": {}, "is_single_tensor_return": false, "custom_obj_values": {}, "sym_float_values": {}}, "signature": {"input_specs": [` +
		join(specs) + `], "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "` + y + `"}}}}]}, "module_call_graph": [{"fqn": "", "signature": {"inputs": [], "outputs": [], "in_spec": "` + in +
		`", "out_spec": "` + out + `", "forward_arg_names": ["x"]}}, ` + join(calls) + `], "metadata": {}, "treespec_namedtuple_fields": {}}, "opset_version": {"aten": 10}, "range_constraints": {` + ranges +
		`}, "schema_version": {"major": 8, "minor": 20}, "verifiers": ["TRAINING"], "torch_version": "2.15.0", "guards_code": []}`
}
