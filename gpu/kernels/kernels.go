// Package kernels holds the device code of the gpu backend: rescale.cu, and the PTX that make kernels compiles it to.
package kernels

import _ "embed"

// PTX is for compute capability 7.0 and later; drivers from 10.0 (410) on load it. Its entries are rescale_f64,
// rescale_f32, rescale_f16 and rescale_bf16.
//
//go:embed rescale.ptx
var PTX string
