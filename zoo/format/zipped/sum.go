// Package zipped reads and writes ZIP files for the formats that are ZIP files.
package zipped

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
)

// Summed computes the CRC-32 of content that is written in pieces, in any order, each byte once; bytes that are not written
// count as zero.
type Summed struct {
	To     io.WriterAt
	mu     sync.Mutex
	pieces []piece
}

type piece struct {
	from, size int64
	sum        uint32
}

// WriteAt may be called by several goroutines.
func (s *Summed) WriteAt(b []byte, off int64) (int, error) {
	p := piece{off, int64(len(b)), crc32.ChecksumIEEE(b)}
	s.mu.Lock()
	s.pieces = append(s.pieces, p)
	s.mu.Unlock()
	return s.To.WriteAt(b, off)
}

// Sum is the checksum of all size bytes.
func (s *Summed) Sum(size int64) (uint32, error) {
	slices.SortFunc(s.pieces, func(a, b piece) int { return cmp.Compare(a.from, b.from) })
	all, at := uint32(0), int64(0)
	for _, p := range append(s.pieces, piece{from: size}) {
		gap := p.from - at
		if gap < 0 || gap > 1<<16 {
			return 0, fmt.Errorf("bytes %d to %d were written twice, or never", min(at, p.from), max(at, p.from))
		}
		all = joined(all, crc32.ChecksumIEEE(make([]byte, gap)), gap)
		all = joined(all, p.sum, p.size)
		at = p.from + p.size
	}
	return all, nil
}

// joined is the CRC-32 of two adjacent pieces, given their CRC-32s a and b and the second one's length: a·x^(8n) + b, as
// polynomials over GF(2) modulo CRC-32's polynomial (zlib's crc32_combine).
func joined(a, b uint32, n int64) uint32 {
	const one = 1 << 31 // bits are reversed: the highest is x^0
	power, square := uint32(one), uint32(one>>8)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			power = times(power, square)
		}
		square = times(square, square)
	}
	return times(power, a) ^ b
}

// times multiplies two polynomials.
func times(a, b uint32) uint32 {
	var p uint32
	for ; a != 0; a <<= 1 {
		if a>>31 == 1 {
			p ^= b
		}
		low := b & 1
		if b >>= 1; low == 1 {
			b ^= crc32.IEEE
		}
	}
	return p
}
