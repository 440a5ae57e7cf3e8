package op

import "github.com/zoofold/zoofold/zoo/tensor"

// Widen is tensor.Decode, with vectors where the processor has them: weights are read by it.
func Widen(dst []float64, raw []byte, d tensor.DType) error {
	if size := d.Size(); size > 0 && len(raw) == len(dst)*size {
		done := widenVectors(dst, raw, d)
		dst, raw = dst[done:], raw[done*size:]
	}
	return tensor.Decode(dst, raw, d)
}
