package hdf5

import (
	"errors"
	"fmt"
	"io"

	"github.com/zoofold/zoofold/zoo/format"
)

// Limits on what a file may ask for.
const (
	maxDepth    = 64       // groups within groups, levels of a B-tree
	maxRank     = 32       // HDF5's own
	maxMessages = 1 << 16  // of one object
	maxMetadata = 64 << 20 // bytes read of everything but the elements of datasets
	minRead     = 64       // the least that a read counts for, since it allocates memory
	maxSlab     = 64 << 20 // bytes of a row of chunks, which is decoded at once
	maxInflate  = 1 << 11  // bytes of elements for each byte of the file; deflate reaches 1032
)

// undefined is the address of an absent structure.
const undefined = -1

const signature = "\x89HDF\r\n\x1a\n"

// file is an HDF5 file being read.
type file struct {
	r     io.ReaderAt
	size  int64
	left  int64            // bytes of metadata that may still be read: in a well-formed file each is read about once
	known map[int64]Object // by the address of the header; nil while the object is being read
	heaps map[int64]map[uint32]span
}

// span is a range of bytes of the file.
type span struct{ at, size int64 }

// Open reads the tree of the HDF5 file of that many bytes. Its datasets read from r later on.
func Open(r io.ReaderAt, size int64) (*Group, error) {
	f := &file{r: r, size: size, left: min(maxMetadata, 16*min(size, maxMetadata)+64<<10), known: map[int64]Object{}, heaps: map[int64]map[uint32]span{}}
	root, err := f.superblock()
	if err != nil {
		return nil, fmt.Errorf("hdf5: %w", err)
	}
	o, err := f.object(root, &place{})
	if err != nil {
		return nil, fmt.Errorf("hdf5: %w", err)
	}
	group, ok := o.(*Group)
	if !ok {
		return nil, fmt.Errorf("hdf5: %w", corrupt(root, "the root is a dataset"))
	}
	return group, nil
}

// superblock finds the root group's header (II.A).
func (f *file) superblock() (root int64, err error) {
	if f.size < 48 {
		return 0, fmt.Errorf("not an HDF5 file: it has %d bytes: %w", f.size, format.ErrCorrupt)
	}
	c, err := f.block(0, min(f.size, 100))
	if err != nil {
		return 0, err
	}
	if string(c.bytes(8)) != signature {
		return 0, fmt.Errorf("not an HDF5 file: it does not begin with %q: %w", signature, format.ErrCorrupt)
	}
	version := c.u8()
	var offsets, lengths byte
	switch version {
	case 0, 1:
		c.skip(4)
		offsets, lengths = c.u8(), c.u8()
		c.skip(9)
		if version == 1 {
			c.skip(4)
		}
	case 2, 3:
		offsets, lengths = c.u8(), c.u8()
		c.skip(1)
	default:
		return 0, unsupported(8, "superblock version %d", version)
	}
	if offsets != 8 || lengths != 8 {
		return 0, unsupported(c.pos(), "offsets of %d bytes and lengths of %d, not of 8", offsets, lengths)
	}
	base := c.address()
	c.skip(8) // free space, or the superblock's extension
	end := c.address()
	if version < 2 {
		c.skip(8 + 8) // the driver, the root's name
	}
	root = c.address()
	if version >= 2 {
		c.checksum()
	}
	if err := c.err("superblock"); err != nil {
		return 0, err
	}
	if base != 0 {
		return 0, unsupported(0, "a file within a file: its base address is %d", base)
	}
	if end < 0 || end > f.size {
		return 0, corrupt(0, "the file is cut short: it has %d bytes, its superblock says %d", f.size, end)
	}
	return root, nil
}

// charge counts n bytes that are about to be read.
func (f *file) charge(at, n int64) error {
	f.left -= max(n, minRead)
	if f.left < 0 {
		return limited(at, "the file's structure is read over and over, or is larger than %d bytes", maxMetadata)
	}
	return nil
}

// block reads n bytes of metadata.
func (f *file) block(at, n int64) (*cursor, error) {
	if at < 0 || n < 0 || at > f.size || n > f.size-at {
		return nil, corrupt(at, "%d bytes are referred to, the file has %d", n, f.size)
	}
	if err := f.charge(at, n); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if err := readFull(f.r, b, at); err != nil {
		return nil, err
	}
	return &cursor{b: b, at: at}, nil
}

// readFull fills b from offset at.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return corrupt(at+int64(n), "the file has become shorter")
	}
	return err
}
