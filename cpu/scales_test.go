package cpu

import (
	"slices"
	"testing"
)

// On processors without vectors plainRuns lays out all scales.
func TestMultiply_VectorAndPlainLoopsAgree(t *testing.T) {
	scale := []float64{1, 2, 3, 4, 5}
	for n := range len(scale) + 1 {
		for inner := 1; inner < 40; inner++ {
			got, want := make([]float64, n*inner+slack), make([]float64, n*inner+slack)
			runs(got, scale[:n], inner)
			plainRuns(want, scale[:n], inner)
			got, want = got[:n*inner], want[:n*inner]
			if !slices.Equal(got, want) {
				t.Fatalf("%d runs of %d: %v, want %v", n, inner, got, want)
			}
			for k, s := range want {
				if s != scale[k/inner] {
					t.Fatalf("%d runs of %d: element %d has scale %v, want %v", n, inner, k, s, scale[k/inner])
				}
			}
		}
	}
}
