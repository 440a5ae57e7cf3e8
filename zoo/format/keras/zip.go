package keras

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/zipped"
)

// write writes a .keras file: the members in their order, all but the configuration and the weights copied.
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

// fresh is a member's header for new, uncompressed content.
func fresh(m *zip.File) *zip.FileHeader {
	h := m.FileHeader
	h.Method, h.Extra, h.Modified = zip.Store, nil, time.Time{} // the time as it was stands in other fields
	return &h
}

// appender is the file behind a zip.Writer. A member whose bytes come in any order is written to the file directly, and the
// zip.Writer only counts its bytes.
type appender struct {
	to   format.OutputFile
	at   int64
	past bool // the bytes are in the file already: count them only
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
	s := &zipped.Summed{To: io.NewOffsetWriter(a.to, a.at)}
	size, err := write(s)
	if err != nil {
		return err
	}
	if h.CRC32, err = s.Sum(size); err != nil {
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
