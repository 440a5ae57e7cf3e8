package cpu

import "github.com/zoofold/zoofold/zoo/tensor"

// tile is the number of elements whose scales are laid out at once: they and the elements stay in first-level cache.
const tile = 512

// scales lays out the scale of each element of a tile, so that every layout is the same multiplication of two vectors.
type scales struct {
	product, factor [tile]float64
	until           int64 // the elements before this one, from the tile on, have the scale that fills all of product
}

// start forgets what was laid out, before another chunk.
func (s *scales) start() { s.until = 0 }

// at is the scales of the n ≤ tile elements from element e on. Calls go upwards through a chunk; a run of elements that
// share one channel in every factor is laid out once.
func (s *scales) at(factors []tensor.Factor, e int64, n int) []float64 {
	if e+int64(n) <= s.until {
		return s.product[:n]
	}
	product, factor := s.product[:n], s.factor[:n]
	run := int64(1) << 62
	if len(factors) == 0 {
		for k := range product {
			product[k] = 1
		}
	}
	for k := range factors {
		if k == 0 {
			run = min(run, spread(product, &factors[k], e))
			continue
		}
		run = min(run, spread(factor, &factors[k], e))
		for j, f := range factor {
			product[j] *= f
		}
	}
	if s.until = 0; n == tile && run >= tile {
		s.until = e + run
	}
	return product
}

// spread writes the factor's scale of each element from element e on, and returns how many elements from e on share
// that of e. It divides once and counts from there.
func spread(dst []float64, f *tensor.Factor, e int64) int64 {
	outer, channels, inner := f.Outer, f.Channels, f.Inner
	if channels == 1 { // the rows of a block share its one scale
		outer, inner = 1, outer*inner
	}
	if outer == 1 { // blocks of one row are one row of more channels
		channels *= f.Blocks
	}
	period := channels * inner
	at := e % period
	scale := f.Scale
	block := int64(0)
	left := int64(len(dst)) // of the row's repetitions
	if outer > 1 {
		block = e / (outer * period)
		left = outer*period - e%(outer*period)
	}
	run := inner - at%inner
	for {
		n := min(left, int64(len(dst)))
		repeat(dst[:n], scale[block*channels:][:channels], at, inner)
		if dst = dst[n:]; len(dst) == 0 {
			return run
		}
		block, at, left = block+1, 0, outer*period
	}
}

// repeat writes the scales of elements at, at+1, … of rows that hold inner elements of each channel.
func repeat(dst []float64, scale []float64, at, inner int64) {
	period := int64(len(scale)) * inner
	n := int64(0) // written
	end := min(period, int64(len(dst)))
	if inner == 1 {
		n = int64(copy(dst[:end], scale[at:]))
		n += int64(copy(dst[n:end], scale))
	} else {
		c, left := at/inner, inner-at%inner
		for n < end {
			run := dst[n:min(n+left, end)]
			s := scale[c]
			for k := range run {
				run[k] = s
			}
			n += left
			if c, left = c+1, inner; c == int64(len(scale)) {
				c = 0
			}
		}
		n = end
	}
	for n < int64(len(dst)) { // whole periods are written: n is a multiple of period here
		n += int64(copy(dst[n:], dst[:n]))
	}
}
