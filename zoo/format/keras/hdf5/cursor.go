package hdf5

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// cursor reads numbers from a stretch of the file, one after the other. Behind its end it reads zeros, and err says so
// afterwards.
type cursor struct {
	b     []byte
	at    int64 // where b lies in the file
	off   int   // how much of b was read
	wrong error // the first thing that was
}

func (c *cursor) pos() int64 { return c.at + int64(c.off) }

func (c *cursor) left() int { return len(c.b) - c.off }

// err is the first error of reading what, or nil.
func (c *cursor) err(what string) error {
	if c.wrong != nil {
		return fmt.Errorf("%s: %w", what, c.wrong)
	}
	return nil
}

func (c *cursor) fail(err error) {
	if c.wrong == nil {
		c.wrong = err
	}
}

// bytes are the next n, nil where there are fewer.
func (c *cursor) bytes(n int) []byte {
	if n < 0 || n > c.left() {
		c.fail(corrupt(c.pos(), "%d bytes are claimed, %d remain", n, c.left()))
		c.off = len(c.b)
		return nil
	}
	b := c.b[c.off : c.off+n : c.off+n]
	c.off += n
	return b
}

func (c *cursor) skip(n int) { c.bytes(n) }

// uint is a little-endian number of n bytes, up to 8.
func (c *cursor) uint(n int) uint64 {
	var b [8]byte
	copy(b[:], c.bytes(n))
	return binary.LittleEndian.Uint64(b[:])
}

func (c *cursor) u8() byte { return byte(c.uint(1)) }

func (c *cursor) u16() uint16 { return uint16(c.uint(2)) }

func (c *cursor) u32() uint32 { return uint32(c.uint(4)) }

// address is a place in the file. Those beyond 2^63, the undefined one among them, are negative: no block lies there.
func (c *cursor) address() int64 { return int64(c.uint(8)) }

// length is a number of bytes.
func (c *cursor) length() int64 {
	n := int64(c.uint(8))
	if n < 0 {
		c.fail(corrupt(c.pos(), "%d bytes", uint64(n)))
		return 0
	}
	return n
}

// sub is a cursor for the next n bytes.
func (c *cursor) sub(n int) *cursor {
	at := c.pos()
	return &cursor{b: c.bytes(n), at: at, wrong: c.wrong}
}

// text reads up to a NUL.
func (c *cursor) text() string {
	n := bytes.IndexByte(c.b[c.off:], 0)
	if n < 0 {
		c.fail(corrupt(c.pos(), "text does not end"))
		return ""
	}
	s := string(c.bytes(n))
	c.skip(1)
	return s
}

// magic reads the four letters that a structure begins with.
func (c *cursor) magic(letters string) {
	at := c.pos()
	if got := c.bytes(4); string(got) != letters {
		c.fail(corrupt(at, "%q is not %q", got, letters))
	}
}

// version reads the version of a structure that has one only.
func (c *cursor) version(want byte) {
	at := c.pos()
	if got := c.u8(); got != want {
		c.fail(unsupported(at, "version %d", got))
	}
}

// checksum reads the checksum of all that stands before it.
func (c *cursor) checksum() {
	body := c.b[:c.off]
	if sum, got := lookup3(body), c.u32(); got != sum {
		c.fail(corrupt(c.pos()-4, "checksum %08x, the bytes before it have %08x", got, sum))
	}
}
