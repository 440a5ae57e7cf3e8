package cpu

import (
	"github.com/klauspost/cpuid/v2"

	"github.com/zoofold/zoofold/zoo/tensor"
)

var hasVectors = cpuid.CPU.Supports(cpuid.AVX2, cpuid.BMI1, cpuid.F16C)

// fastest is the loops, and before them the vector kernels where the processor has AVX2, BMI1 and F16C.
func fastest(d tensor.DType) kernel {
	k := loops(d)
	if !hasVectors {
		return k
	}
	switch d {
	case tensor.Float64:
		k.vector = vectorFloat64
	case tensor.Float32:
		k.vector = vectorFloat32
	case tensor.Float16:
		k.vector = vectorFloat16
	case tensor.BFloat16:
		k.vector = vectorBFloat16
	}
	return k
}

// runs writes each scale inner times, inner > 0. It may write up to slack scales more, which dst has room for.
func runs(dst, scale []float64, inner int) {
	if !hasVectors {
		plainRuns(dst, scale, inner)
		return
	}
	_ = dst[:len(scale)*inner+slack]
	if len(scale) > 0 {
		vectorRuns(&dst[0], &scale[0], len(scale), inner)
	}
}

//go:noescape
func vectorRuns(dst, scale *float64, n, inner int)

//go:noescape
func vectorFloat64(data *byte, scale *float64, n int) int

//go:noescape
func vectorFloat32(data *byte, scale *float64, n int) int

//go:noescape
func vectorFloat16(data *byte, scale *float64, n int) int

//go:noescape
func vectorBFloat16(data *byte, scale *float64, n int) int
