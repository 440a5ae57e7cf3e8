package cpu

import "github.com/zoofold/zoofold/zoo/tensor"

// tile is the number of elements whose scales are laid out at once: they and the elements stay in first-level cache.
const tile = 1024

// slack is the number of scales beyond a tile that may be overwritten, so that whole vectors can be written.
const slack = 3

// scales lays out the scale of each element of a tile, so that every layout is the same multiplication of two vectors.
type scales struct {
	product, factor [tile + slack]float64
	until           int64 // the elements before this one, from the tile on, have the scale that fills all of product
}

// start discards the scales of the last chunk.
func (s *scales) start() { s.until = 0 }

// at is the scales of the n ≤ tile elements from element e on. Calls go upwards through a chunk; a run of elements that
// share one channel in every factor is laid out once.
func (s *scales) at(factors []tensor.Factor, e int64, n int) []float64 {
	product := s.product[:n]
	if e+int64(n) <= s.until {
		return product
	}
	if len(factors) == 0 {
		for k := range product {
			product[k] = 1
		}
	}
	shared := int64(1) << 62 // elements from e on with the same scale
	for k := range factors {
		if k == 0 {
			shared = spread(s.product[:n+slack], &factors[k], e)
			continue
		}
		shared = min(shared, spread(s.factor[:n+slack], &factors[k], e))
		for j, f := range s.factor[:n] {
			product[j] *= f
		}
	}
	if s.until = 0; n == tile {
		s.until = e + shared
	}
	return product
}

// spread writes the factor's scale of each element from element e on, but for the last slack of dst, and returns how
// many elements from e on share that of e. It divides once and counts from there.
func spread(dst []float64, f *tensor.Factor, e int64) int64 {
	outer, channels, inner := f.Outer, f.Channels, f.Inner
	if channels == 1 { // the rows of a block share its one scale
		outer, inner = 1, outer*inner
	}
	if outer == 1 { // blocks of one row are one row of more channels
		channels *= f.Blocks
	}
	block, left := int64(0), outer*channels*inner // of the block, from e on
	if outer > 1 {
		block, left = e/left, left-e%left
	}
	at := e % (channels * inner)
	shared := inner - at%inner
	for {
		n := min(left, int64(len(dst)-slack))
		repeat(dst[:n+slack], f.Scale[block*channels:][:channels], at, inner)
		if dst = dst[n:]; len(dst) == slack {
			return shared
		}
		block, at, left = block+1, 0, outer*channels*inner
	}
}

// repeat writes the scales of elements at, at+1, … of rows that hold inner elements of each channel, but for the last
// slack of dst.
func repeat(dst []float64, scale []float64, at, inner int64) {
	size := int64(len(dst) - slack)
	n := int64(0) // written
	for size > n && n < int64(len(scale))*inner {
		c, left := (at+n)/inner%int64(len(scale)), inner-(at+n)%inner
		switch whole := min((size-n)/inner, int64(len(scale))-c); {
		case left < inner || whole == 0: // a part of a run, at either end
			left = min(left, size-n)
			runs(dst[n:], scale[c:c+1], int(left))
			n += left
		case inner == 1:
			n += int64(copy(dst[n:size], scale[c:]))
		default:
			runs(dst[n:], scale[c:c+whole], int(inner))
			n += whole * inner
		}
	}
	if period := int64(len(scale)) * inner; n > period {
		n -= n % period
	}
	for n < size { // whole rows are written: the rest repeats them
		n += int64(copy(dst[n:size], dst[:n]))
	}
}

// plainRuns writes each scale inner times.
func plainRuns(dst, scale []float64, inner int) {
	for k, s := range scale {
		run := dst[k*inner:][:inner]
		for j := range run {
			run[j] = s
		}
	}
}
