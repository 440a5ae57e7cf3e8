package op

import "github.com/klauspost/cpuid/v2"

// FastProducts are the fastest that this processor has. Their bits are those of PlainProducts.
var FastProducts = fastest()

func fastest() Products {
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3) {
		return vectorProducts{}
	}
	return PlainProducts{}
}

// vectorProducts take as many rows and panels at a time as there are sums in the registers: four rows of three panels, or of
// two; eight rows of one; and what is left one by one.
type vectorProducts struct{}

// The bits of an element of A that count.
var (
	allBits = [4]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	noSign  = [4]uint64{^uint64(0) >> 1, ^uint64(0) >> 1, ^uint64(0) >> 1, ^uint64(0) >> 1}
)

func (vectorProducts) Add(c, a, b []float64, rows, depth, panels, stride int, absolute bool) {
	if rows == 0 || depth == 0 || panels == 0 {
		return
	}
	mask := &allBits
	if absolute {
		mask = &noSign
	}
	width := panels * Panel
	_, _, _ = a[rows*depth-1], b[(panels-1)*stride+depth*Panel-1], c[rows*width-1] // the vectors look no further
	for p := 0; p < panels; {
		many, first := 1, &b[p*stride]
		for r := 0; r < rows; {
			to, from := &c[r*width+p*Panel], &a[r*depth]
			switch left := rows - r; {
			case panels-p >= 3 && panels-p != 4 && left >= 4: // of four panels two by two
				fourByThree(to, from, first, depth, width, stride, mask)
				many, r = 3, r+4
			case panels-p >= 2 && left >= 4:
				fourByTwo(to, from, first, depth, width, stride, mask)
				many, r = 2, r+4
			case left >= 8:
				eightByOne(to, from, first, depth, width, stride, mask)
				r += 8
			default:
				for k := range many {
					oneByOne(&c[r*width+(p+k)*Panel], from, &b[(p+k)*stride], depth, width, stride, mask)
				}
				r++
			}
		}
		p += many
	}
}

// These add the products of some rows of A, one behind the other, with some panels of B, stride apart, to C, whose rows are
// width apart.

//go:noescape
func fourByThree(c, a, b *float64, depth, width, stride int, mask *[4]uint64)

//go:noescape
func fourByTwo(c, a, b *float64, depth, width, stride int, mask *[4]uint64)

//go:noescape
func eightByOne(c, a, b *float64, depth, width, stride int, mask *[4]uint64)

//go:noescape
func oneByOne(c, a, b *float64, depth, width, stride int, mask *[4]uint64)
