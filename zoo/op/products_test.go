package op

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// matrices are matrices, B in panels with room between them.
func matrices(rng *rand.Rand, rows, depth, panels, stride int) (c, a, b []float64) {
	draw := func(n int) []float64 {
		list := make([]float64, n)
		for k := range list {
			list[k] = rng.NormFloat64()
		}
		return list
	}
	return draw(rows * panels * Panel), draw(rows * depth), draw((panels-1)*stride + depth*Panel)
}

func TestProducts_OfAllKindsHaveTheSameBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for k := range 500 {
		absolute := k%2 == 0
		rows, depth, panels := 1+rng.IntN(20), 1+rng.IntN(40), 1+rng.IntN(9)
		stride := depth*Panel + rng.IntN(3)*Panel
		c, a, b := matrices(rng, rows, depth, panels, stride)
		want := slices.Clone(c)
		for r := range rows {
			for j := range panels * Panel {
				y := 0.0
				for k := range depth {
					v := a[r*depth+k]
					if absolute {
						v = math.Abs(v)
					}
					y = math.FMA(v, b[j/Panel*stride+k*Panel+j%Panel], y)
				}
				want[r*panels*Panel+j] += y
			}
		}
		for _, p := range []Products{PlainProducts{}, FastProducts} {
			got := slices.Clone(c)
			p.Add(got, a, b, rows, depth, panels, stride, absolute)
			if !slices.Equal(got, want) {
				t.Fatalf("%T: %d rows, depth %d, %d panels of stride %d: %v, want %v", p, rows, depth, panels, stride, got, want)
			}
		}
	}
}

// BenchmarkProducts is the algebra check's loop: bytes of A as float64 a second, by the number of panels of columns.
func BenchmarkProducts(b *testing.B) {
	const rows, depth = 8, 2048
	for panels := range 4 {
		panels++
		c, x, y := matrices(rand.New(rand.NewPCG(1, 2)), rows, depth, panels, depth*Panel)
		for _, p := range []Products{PlainProducts{}, FastProducts} {
			b.Run(fmt.Sprintf("%T/%d", p, panels), func(b *testing.B) {
				b.SetBytes(rows * depth * 8)
				for b.Loop() {
					p.Add(c, x, y, rows, depth, panels, depth*Panel, true)
				}
			})
		}
	}
}
