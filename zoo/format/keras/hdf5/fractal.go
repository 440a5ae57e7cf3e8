package hdf5

import "math/bits"

// fractalHeap is a heap of links or attributes (III.G): blocks that double in size from row to row of a table.
type fractalHeap struct {
	*file
	at          int64
	width       int64 // blocks in a row
	first       int64 // bytes of a block of the first two rows
	largest     int64 // bytes of the largest block that holds objects; larger ones hold blocks
	offsetSize  int   // bytes of an offset into the heap
	lengthSize  int   // bytes of an object's length
	root        int64
	rows        int64 // of the root; 0 where it holds objects itself
	checksummed bool  // blocks of objects
	huge        int64 // the B-tree of objects that lie outside
	hugeObjects map[uint64]span
	blocks      map[int64]*cursor // those read
}

func (f *file) fractalHeap(at int64) (*fractalHeap, error) {
	const size = 146
	c, err := f.block(at, size)
	if err != nil {
		return nil, err
	}
	h := &fractalHeap{file: f, at: at, blocks: map[int64]*cursor{}}
	c.magic("FRHP")
	c.version(0)
	c.skip(2) // the size of references
	filters, flags := c.u16(), c.u8()
	h.checksummed = flags&2 != 0
	largestObject := uint64(c.u32())
	c.skip(8)
	h.huge = c.address()
	c.skip(8 * 10) // free space and statistics
	h.width, h.first, h.largest = int64(c.u16()), c.length(), c.length()
	offsetBits := int(c.u16())
	c.skip(2)
	h.root, h.rows = c.address(), int64(c.u16())
	if filters > 0 {
		return nil, unsupported(at, "a compressed heap of links or attributes")
	}
	c.checksum()
	if err := c.err("fractal heap"); err != nil {
		return nil, err
	}
	power := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	if !power(h.width) || !power(h.first) || !power(h.largest) || h.first > h.largest || h.largest > 1<<31 || offsetBits > 64 || h.rows > 64 {
		return nil, corrupt(at, "a fractal heap of %d rows of %d blocks of %d to %d bytes", h.rows, h.width, h.first, h.largest)
	}
	h.offsetSize = (offsetBits + 7) / 8
	h.lengthSize = min((bits.Len64(uint64(h.largest))-1+7)/8, bytesFor(largestObject))
	return h, nil
}

// object reads the object that an identifier stands for.
func (h *fractalHeap) object(id *cursor) (*cursor, error) {
	at := id.pos()
	switch kind := id.u8(); kind {
	case 0x00: // in a block
		offset, length := id.uint(h.offsetSize), int64(id.uint(h.lengthSize))
		if err := id.err("fractal heap"); err != nil {
			return nil, err
		}
		return h.managed(at, offset, length)
	case 0x10: // outside
		key := id.uint(min(id.left(), 8))
		if h.hugeObjects == nil {
			h.hugeObjects = map[uint64]span{}
			err := h.btree2(h.huge, treeHuge, func(record *cursor) error {
				s := span{record.address(), record.length()}
				h.hugeObjects[record.uint(8)] = s
				return record.err("fractal heap")
			})
			if err != nil {
				return nil, err
			}
		}
		s, ok := h.hugeObjects[key]
		if !ok {
			return nil, corrupt(at, "object %d of the fractal heap at byte %d is not there", key, h.at)
		}
		return h.block(s.at, s.size)
	default:
		return nil, unsupported(at, "a reference of kind %#x into a heap", kind)
	}
}

// managed reads an object from a place of the heap, going down from the root to the block there.
func (h *fractalHeap) managed(from int64, offset uint64, length int64) (*cursor, error) {
	at, size, rows := h.root, h.first, h.rows
	for rows > 0 {
		row, start := 0, uint64(0) // which row of this block the offset is in, and where that begins
		for size = h.first; ; row++ {
			if row > 1 {
				size *= 2
			}
			if end := start + uint64(h.width*size); offset < end {
				break
			} else if end <= start || int64(row)+1 >= rows {
				return nil, corrupt(from, "a reference to byte %d of a heap that is smaller", offset)
			} else {
				start = end
			}
		}
		column := (offset - start) / uint64(size)
		child, err := h.child(at, rows, int64(row)*h.width+int64(column))
		if err != nil {
			return nil, err
		}
		at, offset, rows = child, (offset-start)%uint64(size), 0
		if size > h.largest {
			rows = int64(bits.Len64(uint64(size / h.first / h.width))) // log2, + 1
		}
	}
	block, err := h.direct(at, size)
	if err != nil {
		return nil, err
	}
	if offset > uint64(size) || length > size-int64(offset) {
		return nil, corrupt(from, "a reference to %d bytes at byte %d of a block of %d", length, offset, size)
	}
	return &cursor{b: block.b[offset : offset+uint64(length)], at: at + int64(offset)}, nil
}

// child is the address of a block within a block of blocks.
func (h *fractalHeap) child(at, rows, index int64) (int64, error) {
	head := 5 + 8 + h.offsetSize
	c, ok := h.blocks[at]
	if !ok {
		var err error
		if c, err = h.block(at, int64(head)+8*rows*h.width+4); err != nil {
			return 0, err
		}
		c.magic("FHIB")
		c.version(0)
		c.off = len(c.b) - 4
		c.checksum()
		if err := c.err("fractal heap"); err != nil {
			return 0, err
		}
		h.blocks[at] = c
	}
	entry := &cursor{b: c.b, at: c.at, off: head + 8*int(index)}
	address := entry.address()
	return address, entry.err("fractal heap")
}

// direct reads a block of objects.
func (h *fractalHeap) direct(at, size int64) (*cursor, error) {
	if c, ok := h.blocks[at]; ok && int64(len(c.b)) == size {
		return c, nil
	}
	c, err := h.block(at, size)
	if err != nil {
		return nil, err
	}
	c.magic("FHDB")
	c.version(0)
	if h.checksummed {
		c.skip(8 + h.offsetSize)
		place := c.off
		sum := c.u32()
		if c.wrong == nil {
			copy(c.b[place:], "\x00\x00\x00\x00") // of all the block, with zero in its own place
			if got := lookup3(c.b); got != sum {
				c.fail(corrupt(at+int64(place), "checksum %08x, the block has %08x", sum, got))
			}
		}
	}
	if err := c.err("fractal heap"); err != nil {
		return nil, err
	}
	h.blocks[at] = c
	return c, nil
}
