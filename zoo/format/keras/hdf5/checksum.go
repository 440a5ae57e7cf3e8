package hdf5

import (
	"encoding/binary"
	"math/bits"
)

// lookup3 is Bob Jenkins' hash of that name (hashlittle, initial value 0), the checksum of HDF5's newer structures.
func lookup3(p []byte) uint32 {
	a := 0xdeadbeef + uint32(len(p))
	b, c := a, a
	for len(p) > 12 {
		a += binary.LittleEndian.Uint32(p)
		b += binary.LittleEndian.Uint32(p[4:])
		c += binary.LittleEndian.Uint32(p[8:])
		a, b, c = mix(a, b, c)
		p = p[12:]
	}
	if len(p) == 0 {
		return c
	}
	var tail [12]byte
	copy(tail[:], p)
	a += binary.LittleEndian.Uint32(tail[:])
	b += binary.LittleEndian.Uint32(tail[4:])
	c += binary.LittleEndian.Uint32(tail[8:])
	for _, r := range [...]int{14, 11, 25, 16, 4, 14, 24} {
		a, b, c = b, (c^b)-bits.RotateLeft32(b, r), a
	}
	return b
}

// mix is lookup3's mix of three words: each round is the same with the words exchanged.
func mix(a, b, c uint32) (uint32, uint32, uint32) {
	for _, r := range [...]int{4, 6, 8, 16, 19, 4} {
		a -= c
		a ^= bits.RotateLeft32(c, r)
		c += b
		a, b, c = b, c, a
	}
	return a, b, c
}

// fletcher32 is HDF5's checksum of chunks: Fletcher's of 16-bit big-endian words, an odd last byte being the high one.
func fletcher32(p []byte) uint32 {
	var low, high uint32
	for k, b := range p {
		word := uint32(b)
		if k%2 == 0 {
			word <<= 8
		}
		low = modulo65535(low + word)
		if k%2 == 1 || k == len(p)-1 {
			high = modulo65535(high + low)
		}
	}
	return high<<16 | low
}

// modulo65535 takes the remainder, with 65535 for 0 unless x is 0.
func modulo65535(x uint32) uint32 { return x&0xffff + x>>16 }
