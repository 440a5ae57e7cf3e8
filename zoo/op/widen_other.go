//go:build !amd64

package op

import "github.com/zoofold/zoofold/zoo/tensor"

// widenVectors decodes nothing without vectors: it returns 0.
func widenVectors([]float64, []byte, tensor.DType) int { return 0 }
