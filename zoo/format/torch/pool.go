package torch

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	for axes, suffix := range []string{1: "1d", 2: "2d", 3: "3d"} {
		if axes == 0 {
			continue
		}
		register(pool("MaxPool", axes), "max_pool"+suffix, "max_pool"+suffix+"_with_indices")
		register(pool("AveragePool", axes), "avg_pool"+suffix)
		register(adaptive("GlobalAveragePool", "AveragePool", axes), "adaptive_avg_pool"+suffix, "_adaptive_avg_pool"+suffix)
		register(adaptive("GlobalMaxPool", "MaxPool", axes), "adaptive_max_pool"+suffix)
	}
}

func pool(typ string, axes int) builds {
	return func(s *site) error {
		x, rank, err := s.x("self", "input")
		if err != nil {
			return err
		}
		if rank != axes+2 || !x.DType.Float() {
			return unclear("an image without a batch")
		}
		kernel, err := s.each("kernel_size", axes, 0)
		if err != nil {
			return err
		}
		stride, err := s.each("stride", axes, 0)
		if err != nil {
			return err
		}
		dilation, err := s.each("dilation", axes, 1)
		if err != nil {
			return err
		}
		for k := range axes {
			if stride[k] == 0 { // omitted
				stride[k] = kernel[k]
			}
			if kernel[k] < 1 || stride[k] < 1 || dilation[k] < 1 || max(kernel[k], stride[k], dilation[k]) > maxSize {
				return unclear("a window that is none")
			}
		}
		pads, err := s.pads(axes, kernel, stride, dilation)
		if err != nil {
			return err
		}
		attrs := []any{"kernel_shape", kernel, "strides", stride, "pads", pads}
		if s.yes("ceil_mode", false) && s.rounds(x, kernel, stride, dilation, pads) {
			if typ != "MaxPool" {
				return unclear("windows that reach beyond the padding")
			}
			attrs = append(attrs, "ceil_mode", 1)
		}
		switch {
		case typ == "MaxPool":
			attrs = append(attrs, "dilations", dilation)
		case s.node.arg("divisor_override") != nil:
			return unclear("a divisor of its own")
		case s.yes("count_include_pad", true):
			attrs = append(attrs, "count_include_pad", 1)
		}
		return s.result(0, s.op(typ, []*model.Value{x}, attrs...))
	}
}

// rounds says whether ceil_mode changes the number of windows.
func (s *site) rounds(x *model.Value, kernel, stride, dilation, pads []int64) bool {
	for k := range kernel {
		d := x.Shape[k+2]
		if d < 0 || (d+pads[k]+pads[len(kernel)+k]-dilation[k]*(kernel[k]-1)-1)%stride[k] != 0 {
			return true
		}
	}
	return false
}

// adaptive pools to an image of a given size, if that is 1, the input's size or a divisor of it.
func adaptive(global, windowed string, axes int) builds {
	return func(s *site) error {
		x, rank, err := s.x("self", "input")
		if err != nil {
			return err
		}
		size, err := s.each("output_size", axes, -1)
		if err != nil {
			return err
		}
		if rank != axes+2 || !x.DType.Float() {
			return unclear("an image without a batch")
		}
		if slices.Equal(size, slices.Repeat([]int64{1}, axes)) {
			return s.result(0, s.op(global, []*model.Value{x}))
		}
		kernel := make([]int64, axes)
		for k, d := range size {
			in := x.Shape[k+2]
			if in < 1 || d < 1 || in%d != 0 {
				return unclear("windows of several sizes")
			}
			kernel[k] = in / d
		}
		return s.result(0, s.op(windowed, []*model.Value{x}, "kernel_shape", kernel, "strides", kernel))
	}
}
