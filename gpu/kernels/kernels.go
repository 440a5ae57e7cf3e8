// Package kernels holds the device code of the gpu backend: CUDA C, and the PTX that make kernels compiles it to. The PTX is
// for compute capability 7.0 and later; drivers from 10.0 (410) on load it.
package kernels

import _ "embed"

// PTX has the entries rescale_T and sum_T, for each T of f64, f32, f16 and bf16.
//
//go:embed rescale.ptx
var PTX string

// Product has the entry product_f64.
//
//go:embed product.ptx
var Product string
