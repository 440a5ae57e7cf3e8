package keras

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(&class{build: buildDense, weights: func(l *layer) []string { return l.biased("kernel") }, gains: map[string]string{"bias": "use_bias"}}, "Dense")
	register(&class{build: buildEmbedding, weights: func(*layer) []string { return []string{"embeddings"} }}, "Embedding")
}

// Dense: kernels are stored (in, out). On tensors of more than two axes it becomes a convolution with a kernel of one tap:
// that has a bias, and its channels on the same axis as the layers around it.
func buildDense(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 2); err != nil {
		return nil, err
	}
	out, err := s.filters("units")
	if err != nil {
		return nil, err
	}
	in := int64(-1)
	if e := x.extents(); e != nil {
		in = e[x.rank-1]
	}
	if x.rank > 5 {
		return nil, unclear("a tensor of more than five axes")
	}
	if err := s.expect("kernel", x.dtype(), in, out); err != nil {
		return nil, err
	}
	if err := s.expectBias(out); err != nil {
		return nil, err
	}
	in = s.layer.variable("kernel").set.Shape[0]
	roles := []string{"", "kernel", "bias"}
	if x.rank == 2 {
		y := s.weighted("Gemm", "gemm", []*model.Value{s.form(x, 1), s.weight("kernel", []int64{in, out}), s.bias(out)}, roles)
		return s.result(s.activated(y, 2, 1), 2, 1), nil
	}
	ones := slices.Repeat([]int64{1}, x.rank-2)
	kernel := s.weight("kernel", slices.Concat([]int64{out, in}, ones), 1, 0)
	y := s.weighted("Conv", "conv", []*model.Value{s.form(x, x.rank-1), kernel, s.bias(out)}, roles, "kernel_shape", ones)
	return s.result(s.activated(y, x.rank, x.rank-1), x.rank, x.rank-1), nil
}

// Embedding picks rows of a table by index.
func buildEmbedding(s *site) (*value, error) {
	x := s.in[0]
	if err := known(x, 1); err != nil {
		return nil, err
	}
	rows, err := s.filters("input_dim")
	if err != nil {
		return nil, err
	}
	width, err := s.filters("output_dim")
	if err != nil {
		return nil, err
	}
	set := s.layer.variable("embeddings")
	if set == nil {
		return nil, wrong(s.layer, "its embeddings are not in the file")
	}
	d := s.keeps()
	if d == tensor.Undefined { // a mixed policy
		d = set.set.Type.DType()
	}
	if err := s.expect("embeddings", d, rows, width); err != nil {
		return nil, err
	}
	index := s.op("Cast", "cast", []*model.Value{s.form(x, 1)}, "to", int(tensor.Int64))
	y := s.weighted("Gather", "gather", []*model.Value{s.weight("embeddings", []int64{rows, width}), index}, []string{"embeddings"}, "axis", 0)
	v := s.result(y, x.rank+1, 1)
	v.masked = s.setting("mask_zero").Yes(false)
	return v, nil
}
