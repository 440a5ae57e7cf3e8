package zipped

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/zoofold/zoofold/zoo/format"
)

// Writer writes a ZIP file of uncompressed members, each starting at a multiple of 64 bytes, as PyTorch aligns them: the
// extra field "FB" of a member's header is the padding. Checksums and sizes follow each member's bytes, since some are not
// known before.
type Writer struct {
	to      io.WriterAt
	at      int64
	entries []entry
}

type entry struct {
	zip.FileHeader
	at int64 // of its header
}

const (
	align      = 64
	headerSize = 30
	follows    = 0x8 // the flag that checksum and sizes come behind the bytes
)

// NewWriter writes to a file from its beginning on.
func NewWriter(to io.WriterAt) *Writer { return &Writer{to: to} }

func (w *Writer) write(b []byte) error {
	n, err := w.to.WriteAt(b, w.at)
	w.at += int64(n)
	return err
}

// begin writes a member's header.
func (w *Writer) begin(h zip.FileHeader) error {
	if len(h.Name) > math.MaxUint16 {
		return fmt.Errorf("a name of %d bytes: %w", len(h.Name), format.ErrLimit)
	}
	h.Flags |= follows
	h.Method, h.Extra, h.CRC32, h.UncompressedSize64 = zip.Store, nil, 0, 0
	w.entries = append(w.entries, entry{h, w.at})
	fill := (align - (w.at+headerSize+int64(len(h.Name))+4)%align) % align
	b := binary.LittleEndian.AppendUint32(nil, 0x04034b50)
	//lint:ignore SA1019 the time as it was stands in these fields
	for _, x := range []uint16{h.ReaderVersion, h.Flags, zip.Store, h.ModifiedTime, h.ModifiedDate} {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	b = append(b, make([]byte, 12)...) // checksum and sizes
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Name)))
	b = binary.LittleEndian.AppendUint16(b, uint16(4+fill))
	b = append(append(b, h.Name...), 'F', 'B')
	b = binary.LittleEndian.AppendUint16(b, uint16(fill))
	for range fill {
		b = append(b, 'Z')
	}
	return w.write(b)
}

// end writes what follows a member's bytes.
func (w *Writer) end(size int64, sum uint32) error {
	e := &w.entries[len(w.entries)-1]
	e.UncompressedSize64, e.CRC32 = uint64(size), sum
	w.at += size
	b := binary.LittleEndian.AppendUint32(nil, 0x08074b50)
	b = binary.LittleEndian.AppendUint32(b, sum)
	for range 2 {
		if size >= math.MaxUint32 {
			b = binary.LittleEndian.AppendUint64(b, uint64(size))
		} else {
			b = binary.LittleEndian.AppendUint32(b, uint32(size))
		}
	}
	return w.write(b)
}

// Bytes adds a member of these bytes.
func (w *Writer) Bytes(h zip.FileHeader, data []byte) error {
	if err := w.begin(h); err != nil {
		return err
	}
	if _, err := w.to.WriteAt(data, w.at); err != nil {
		return err
	}
	return w.end(int64(len(data)), crc32.ChecksumIEEE(data))
}

// Pieces adds a member of so many bytes, which are written in any order.
func (w *Writer) Pieces(h zip.FileHeader, size int64, write func(io.WriterAt) error) error {
	if err := w.begin(h); err != nil {
		return err
	}
	s := &Summed{To: io.NewOffsetWriter(w.to, w.at)}
	if err := write(s); err != nil {
		return err
	}
	sum, err := s.Sum(size)
	if err != nil {
		return err
	}
	return w.end(size, sum)
}

// copyStep is the number of bytes that are copied between two checks of the context.
const copyStep = 1 << 20

// Copy adds a member of an open archive. Its bytes have to have the checksum that the header says.
func (w *Writer) Copy(ctx context.Context, h zip.FileHeader, from *io.SectionReader) error {
	want := h.CRC32
	if err := w.begin(h); err != nil {
		return err
	}
	b, sum := make([]byte, min(copyStep, from.Size())), uint32(0)
	for at := int64(0); at < from.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.ReadAt(b[:min(int64(len(b)), from.Size()-at)], at)
		if n == 0 {
			return fmt.Errorf("byte %d: %w", at, err)
		}
		if _, err := w.to.WriteAt(b[:n], w.at+at); err != nil {
			return err
		}
		sum = crc32.Update(sum, crc32.IEEETable, b[:n])
		at += int64(n)
	}
	if sum != want {
		return fmt.Errorf("its checksum is %08x, the archive says %08x: the file was damaged: %w", sum, want, format.ErrCorrupt)
	}
	return w.end(from.Size(), sum)
}

// Close writes the directory.
func (w *Writer) Close() error {
	from := w.at
	for _, e := range w.entries {
		if err := w.write(e.directory()); err != nil {
			return err
		}
	}
	size, at := w.at-from, w.at
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0x06064b50) // the directory's end for large files
	b = le.AppendUint64(b, 44)
	b = le.AppendUint16(le.AppendUint16(b, 45), 45)
	b = le.AppendUint32(le.AppendUint32(b, 0), 0)
	for _, x := range []int64{int64(len(w.entries)), int64(len(w.entries)), size, from} {
		b = le.AppendUint64(b, uint64(x))
	}
	b = le.AppendUint32(b, 0x07064b50) // where that is
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(at))
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, 0x06054b50) // the directory's end
	b = le.AppendUint32(b, 0)
	count := uint16(min(len(w.entries), math.MaxUint16))
	b = le.AppendUint16(le.AppendUint16(b, count), count)
	b = le.AppendUint32(b, uint32(min(size, math.MaxUint32)))
	b = le.AppendUint32(b, uint32(min(from, math.MaxUint32)))
	return w.write(le.AppendUint16(b, 0))
}

// directory is a member's entry in the directory.
func (e *entry) directory() []byte {
	le := binary.LittleEndian
	size := e.UncompressedSize64
	var extra []byte // ZIP64: numbers that do not fit into 32 bits
	if size >= math.MaxUint32 {
		extra = le.AppendUint64(le.AppendUint64(extra, size), size)
	}
	if e.at >= math.MaxUint32 {
		extra = le.AppendUint64(extra, uint64(e.at))
	}
	if len(extra) > 0 {
		extra = append(le.AppendUint16(le.AppendUint16(nil, 1), uint16(len(extra))), extra...)
	}
	b := le.AppendUint32(nil, 0x02014b50)
	for _, x := range []uint16{e.CreatorVersion, e.ReaderVersion, e.Flags, zip.Store, e.ModifiedTime, e.ModifiedDate} {
		b = le.AppendUint16(b, x)
	}
	b = le.AppendUint32(b, e.CRC32)
	b = le.AppendUint32(b, uint32(min(size, math.MaxUint32)))
	b = le.AppendUint32(b, uint32(min(size, math.MaxUint32)))
	for _, n := range []int{len(e.Name), len(extra), len(e.Comment), 0, 0} {
		b = le.AppendUint16(b, uint16(n))
	}
	b = le.AppendUint32(b, e.ExternalAttrs)
	b = le.AppendUint32(b, uint32(min(e.at, math.MaxUint32)))
	return append(append(append(b, e.Name...), extra...), e.Comment...)
}
