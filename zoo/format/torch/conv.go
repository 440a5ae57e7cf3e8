package torch

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	register(convolution(1, false), "conv1d")
	register(convolution(2, false), "conv2d")
	register(convolution(3, false), "conv3d")
	register(convolution(1, true), "conv_transpose1d")
	register(convolution(2, true), "conv_transpose2d")
	register(convolution(3, true), "conv_transpose3d")
	register(general, "convolution", "_convolution")
	register(buildLinear, "linear")
	register(buildAddmm, "addmm")
	register(buildProduct, "mm", "bmm", "matmul")
}

func convolution(axes int, transposed bool) builds {
	return func(s *site) error { return s.convolve(axes, transposed) }
}

// general is the operator that all convolutions are decomposed into.
func general(s *site) error {
	stride, err := s.ints("stride")
	if err != nil {
		return err
	}
	w := s.ref("weight")
	if w == nil {
		return unclear("no weight")
	}
	axes := len(s.p.metas[w.name].sizes) - 2
	if len(stride) > axes || axes < 1 || axes > 3 {
		return unclear("strides for other axes")
	}
	return s.convolve(axes, s.yes("transposed", false))
}

// convolve makes a Conv or ConvTranspose. Weights are stored [out, in/groups, …], of transposed ones [in, out/groups, …], as
// ONNX's are.
func (s *site) convolve(axes int, transposed bool) error {
	x, rank, err := s.x("input")
	if err != nil {
		return err
	}
	if rank != axes+2 {
		return unclear("an image without a batch")
	}
	groups, err := s.int("groups", 1)
	if err != nil {
		return err
	}
	w, wRank, err := s.x("weight")
	if err != nil {
		return err
	}
	if wRank != rank || groups < 1 || w.DType != x.DType {
		return fmt.Errorf("a weight of %d axes for an image of %d, %d groups: %w", wRank, rank, groups, format.ErrCorrupt)
	}
	kernel := w.Shape[2:]
	out, channels := w.Shape[0], w.Shape[1]*groups
	if transposed {
		out, channels = w.Shape[1]*groups, w.Shape[0]
	}
	if x.Shape[1] != channels {
		return fmt.Errorf("a weight of shape %v with %d groups for %d channels: %w", w.Shape, groups, x.Shape[1], format.ErrCorrupt)
	}
	bias, err := s.optional("bias", w.DType, out)
	if err != nil {
		return err
	}
	attrs, err := s.windows(axes, kernel, transposed)
	if err != nil {
		return err
	}
	typ := "Conv"
	if transposed {
		typ = "ConvTranspose"
	}
	y := s.op(typ, []*model.Value{x, w, bias}, append(attrs, "kernel_shape", slices.Clone(kernel), "group", groups)...)
	s.places("", "weight", "bias")
	return s.result(0, y)
}

// windows are the attributes of a convolution's windows.
func (s *site) windows(axes int, kernel []int64, transposed bool) ([]any, error) {
	stride, err := s.each("stride", axes, 1)
	if err != nil {
		return nil, err
	}
	dilation, err := s.each("dilation", axes, 1)
	if err != nil {
		return nil, err
	}
	more, err := s.each("output_padding", axes, 0)
	if err != nil {
		return nil, err
	}
	pads, err := s.pads(axes, kernel, stride, dilation)
	if err != nil {
		return nil, err
	}
	for _, x := range slices.Concat(stride, dilation) {
		if x < 1 || x > maxSize {
			return nil, unclear("a stride or a dilation that is none")
		}
	}
	attrs := []any{"strides", stride, "dilations", dilation, "pads", pads}
	if slices.Max(more) > 0 {
		if !transposed {
			return nil, unclear("output_padding of a convolution")
		}
		attrs = append(attrs, "output_padding", more)
	}
	return attrs, nil
}

// maxSize bounds strides, paddings and windows.
const maxSize = 1 << 20

// pads is a convolution's padding, at the beginnings and then at the ends. "same" pads more at the end where it is uneven.
func (s *site) pads(axes int, kernel, stride, dilation []int64) ([]int64, error) {
	pads := make([]int64, 2*axes)
	if a := s.node.arg("padding"); a != nil && a.kind == "as_string" {
		switch s.word("padding", "") {
		case "valid":
			return pads, nil
		case "same":
		default:
			return nil, unclear("padding is a word that is not known")
		}
		for k := range axes {
			if stride[k] != 1 || kernel[k] > maxSize || dilation[k] > maxSize {
				return nil, unclear("padding is same, with strides")
			}
			all := dilation[k] * (kernel[k] - 1)
			pads[k], pads[axes+k] = all/2, all-all/2
		}
		return pads, nil
	}
	list, err := s.each("padding", axes, 0)
	if err != nil {
		return nil, err
	}
	for k, x := range list {
		if x < 0 || x > maxSize {
			return nil, unclear("a padding that is none")
		}
		pads[k], pads[axes+k] = x, x
	}
	return pads, nil
}

// optional is an argument that is a vector with an element for each channel; nil where it is left out.
func (s *site) optional(name string, like tensor.DType, channels int64) (*model.Value, error) {
	if s.node.arg(name) == nil {
		if name == "bias" && s.ref("weight") != nil {
			return s.gained(like, channels)
		}
		return nil, nil
	}
	v, err := s.tensor(name)
	if err != nil {
		return nil, err
	}
	if v.DType != like {
		return nil, unclear(name + " is of another type")
	}
	return v, expect(v, name, channels)
}

// buildLinear: weights are stored [out, in]. On tensors of more than two axes it is a convolution by kernels of one tap, so
// that it has a bias.
func buildLinear(s *site) error {
	x, rank, err := s.x("input")
	if err != nil {
		return err
	}
	w, wRank, err := s.x("weight")
	if err != nil {
		return err
	}
	if wRank != 2 || rank < 2 || rank > 5 || w.DType != x.DType {
		return unclear("it is linear in another way")
	}
	if in := x.Shape[rank-1]; w.Shape[1] != in {
		return fmt.Errorf("a weight of shape %v for %d elements: %w", w.Shape, in, format.ErrCorrupt)
	}
	bias, err := s.optional("bias", w.DType, w.Shape[0])
	if err != nil {
		return err
	}
	if rank == 2 {
		y := s.op("Gemm", []*model.Value{x, w, bias}, "transB", 1)
		s.places("", "weight", "bias")
		return s.result(0, y)
	}
	if !s.isStored("weight") {
		return unclear("a weight that is computed")
	}
	if w, err = s.weight("weight", rank); err != nil {
		return err
	}
	into, back := make([]int64, rank), make([]int64, rank)
	for k := range rank {
		switch k {
		case 0:
		case 1:
			into[1], back[rank-1] = int64(rank-1), 1
		default:
			into[k], back[k-1] = int64(k-1), int64(k)
		}
	}
	y := s.op("Transpose", []*model.Value{x}, "perm", into)
	y = s.op("Conv", []*model.Value{y, w, bias}, "kernel_shape", slices.Repeat([]int64{1}, rank-2))
	s.places("", "weight", "bias")
	return s.result(0, s.op("Transpose", []*model.Value{y}, "perm", back))
}

// buildAddmm: beta·self + alpha·(mat1·mat2).
func buildAddmm(s *site) error {
	beta, err := s.float("beta", 1)
	if err != nil {
		return err
	}
	alpha, err := s.float("alpha", 1)
	if err != nil {
		return err
	}
	x, rank, err := s.x("mat1")
	if err != nil {
		return err
	}
	w, wRank, err := s.x("mat2")
	if err != nil {
		return err
	}
	c, cRank, err := s.x("self")
	if err != nil {
		return err
	}
	if rank != 2 || wRank != 2 || cRank > 2 || alpha != 1 || beta != 1 || w.DType != x.DType || c.DType != x.DType {
		return unclear("it is linear in another way")
	}
	y := s.op("Gemm", []*model.Value{x, w, c})
	s.places("", "mat2", "self")
	return s.result(0, y)
}

func buildProduct(s *site) error {
	x, rank, err := s.x("self")
	if err != nil {
		return err
	}
	w, wRank, err := s.x("mat2", "other")
	if err != nil {
		return err
	}
	if rank < 2 || wRank < 2 || w.DType != x.DType {
		return unclear("a product with a vector")
	}
	y := s.op("MatMul", []*model.Value{x, w})
	s.places("self", "mat2")
	return s.result(0, y)
}
