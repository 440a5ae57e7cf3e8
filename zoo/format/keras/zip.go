package keras

import (
	"archive/zip"
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/zoofold/zoofold/zoo/format"
)

// write writes a .keras file: the members in their order, but for the configuration and the weights as they were.
func (a *archive) write(ctx context.Context, to format.OutputFile, config string, weights func(io.WriterAt) (int64, error)) error {
	end := &appender{to: to}
	z := zip.NewWriter(end)
	for _, m := range a.members {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		switch m.Name {
		case configMember:
			var w io.Writer
			if w, err = z.CreateHeader(fresh(m)); err == nil {
				_, err = io.WriteString(w, config)
			}
		case weightsMember:
			err = end.member(z, fresh(m), weights)
		default:
			err = z.Copy(m)
		}
		if err != nil {
			return fmt.Errorf("member %q: %w", m.Name, err)
		}
	}
	return z.Close()
}

// fresh is a member's header for other content, stored as it is.
func fresh(m *zip.File) *zip.FileHeader {
	h := m.FileHeader
	h.Method, h.Extra, h.Modified = zip.Store, nil, time.Time{} // the time as it was stands in other fields
	return &h
}

// appender is the end of a ZIP file. A member whose bytes come in any order is written past the zip.Writer, which only has
// to count them.
type appender struct {
	to   format.OutputFile
	at   int64
	past bool // what is written now is written already
}

func (a *appender) Write(b []byte) (n int, err error) {
	if n = len(b); !a.past {
		n, err = a.to.WriteAt(b, a.at)
	}
	a.at += int64(n)
	return n, err
}

// member appends a member that write makes.
func (a *appender) member(z *zip.Writer, h *zip.FileHeader, write func(io.WriterAt) (int64, error)) error {
	h.Flags |= 0x8                                              // sizes and checksum follow the content
	h.CRC32, h.CompressedSize64, h.UncompressedSize64 = 0, 0, 0 // not known yet
	w, err := z.CreateRaw(h)
	if err == nil {
		err = z.Flush()
	}
	if err != nil {
		return err
	}
	s := &summed{w: io.NewOffsetWriter(a.to, a.at)}
	size, err := write(s)
	if err != nil {
		return err
	}
	if h.CRC32, err = s.sum(size); err != nil {
		return err
	}
	h.CompressedSize64, h.UncompressedSize64 = uint64(size), uint64(size)
	//lint:ignore SA1019 zip.Writer writes the content's sizes from these
	h.CompressedSize, h.UncompressedSize = uint32(min(size, math.MaxUint32)), uint32(min(size, math.MaxUint32))
	a.past = true
	zeros := make([]byte, min(size, 1<<20))
	for left := size; left > 0 && err == nil; left -= int64(len(zeros)) {
		_, err = w.Write(zeros[:min(left, int64(len(zeros)))])
	}
	if err == nil {
		err = z.Flush()
	}
	a.past = false
	return err
}

// summed takes the CRC-32 of what is written in pieces, in any order, each byte once; what is left out is zero.
type summed struct {
	w      io.WriterAt
	mu     sync.Mutex
	pieces []piece
}

type piece struct {
	from, size int64
	sum        uint32
}

// WriteAt may be called by several goroutines.
func (s *summed) WriteAt(b []byte, off int64) (int, error) {
	p := piece{off, int64(len(b)), crc32.ChecksumIEEE(b)}
	s.mu.Lock()
	s.pieces = append(s.pieces, p)
	s.mu.Unlock()
	return s.w.WriteAt(b, off)
}

// sum is the checksum of all size bytes.
func (s *summed) sum(size int64) (uint32, error) {
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

// joined is the CRC-32 of two pieces one behind the other, of theirs and the second one's length: the first times x^(8n),
// plus the second, as polynomials over GF(2) modulo the checksum's own (zlib's crc32_combine).
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
