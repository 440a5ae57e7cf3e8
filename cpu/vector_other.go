//go:build !amd64

package cpu

import "github.com/zoofold/zoofold/zoo/tensor"

// fastest is the loops: no vector kernels are written for this processor.
func fastest(d tensor.DType) kernel { return loops(d) }

func runs(dst, scale []float64, inner int) { plainRuns(dst, scale, inner) }
