package op

import (
	"github.com/klauspost/cpuid/v2"

	"github.com/zoofold/zoofold/zoo/tensor"
)

var canWiden = cpuid.CPU.Supports(cpuid.AVX2, cpuid.F16C)

// widenVectors decodes the first elements, in groups of eight, and returns their number.
func widenVectors(dst []float64, raw []byte, d tensor.DType) int {
	n := len(dst) &^ 7
	if n == 0 || !canWiden {
		return 0
	}
	switch d {
	case tensor.Float32:
		widenFloat32(&dst[0], &raw[0], n)
	case tensor.Float16:
		widenFloat16(&dst[0], &raw[0], n)
	case tensor.BFloat16:
		widenBFloat16(&dst[0], &raw[0], n)
	default:
		return 0
	}
	return n
}

//go:noescape
func widenFloat32(dst *float64, raw *byte, n int)

//go:noescape
func widenFloat16(dst *float64, raw *byte, n int)

//go:noescape
func widenBFloat16(dst *float64, raw *byte, n int)
