package op

import "github.com/klauspost/cpuid/v2"

// FastProducts are the fastest that this processor has. Their bits are those of PlainProducts.
var FastProducts = fastest()

func fastest() Products {
	if cpuid.CPU.Supports(cpuid.AVX2) {
		return vectorProducts{}
	}
	return PlainProducts{}
}

// vectorProducts take four rows and eight columns at a time.
type vectorProducts struct{}

func (vectorProducts) Add(c, a, b []float64, rows, depth, panels, stride int, absolute bool) {
	if rows == 0 || depth == 0 || panels == 0 {
		return
	}
	mask := ^uint64(0)
	if absolute {
		mask >>= 1
	}
	width := panels * Panel
	_, _, _ = a[rows*depth-1], b[(panels-1)*stride+depth*Panel-1], c[rows*width-1] // the vectors look no further
	for r := 0; r < rows; {
		if r+4 <= rows {
			for p := range panels {
				addFour(&c[r*width+p*Panel], &a[r*depth], &b[p*stride], depth, width, mask)
			}
			r += 4
			continue
		}
		for p := range panels {
			addOne(&c[r*width+p*Panel], &a[r*depth], &b[p*stride], depth, mask)
		}
		r++
	}
}

// addFour adds the products of four rows of A, one behind the other, with a panel of B to C, whose rows are width apart. Of each
// element of A count the bits of the mask.
//
//go:noescape
func addFour(c, a, b *float64, depth, width int, mask uint64)

// addOne does so with one row.
//
//go:noescape
func addOne(c, a, b *float64, depth int, mask uint64)
