package hdf5

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
)

// filter is one step of the filter pipeline of chunks (IV.A.2.l).
type filter struct {
	id     uint16
	values []uint32
}

// The filters that are undone.
const (
	filterDeflate  = 1
	filterShuffle  = 2
	filterFletcher = 3
)

var otherFilters = map[uint16]string{4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32015: "zstd"}

// filters reads a filter pipeline message.
func (c *cursor) filters() []filter {
	at := c.pos()
	version, count := c.u8(), int(c.u8())
	if version == 1 {
		c.skip(6)
	}
	if version != 1 && version != 2 || count > 32 {
		c.fail(unsupported(at, "version %d with %d filters", version, count))
	}
	var list []filter
	for range count {
		if c.wrong != nil {
			break
		}
		f := filter{id: c.u16()}
		name := 0
		if version == 1 || f.id >= 256 {
			name = int(c.u16())
		}
		c.skip(2) // flags
		values := int(c.u16())
		if version == 1 {
			name += -name & 7
		}
		c.skip(name)
		for range min(values, c.left()/4) {
			f.values = append(f.values, c.u32())
		}
		if version == 1 && values%2 == 1 {
			c.skip(4)
		}
		if f.id != filterDeflate && f.id != filterShuffle && f.id != filterFletcher {
			name, known := otherFilters[f.id]
			if !known {
				name = fmt.Sprintf("number %d", f.id)
			}
			c.fail(unsupported(at, "the filter %s", name))
		}
		if f.id == filterShuffle && (len(f.values) == 0 || f.values[0] == 0) {
			c.fail(corrupt(at, "a shuffle of no elements"))
		}
		list = append(list, f)
	}
	return list
}

// chunk is a box of the array, filtered and stored by itself.
type chunk struct {
	span
	skipped uint32  // bit k: filter k was not applied
	from    []int64 // the box's lowest corner, in elements
}

// chunked reads the elements of a dataset stored in chunks. Chunks that make whole rows of the array, along its first
// axis, are decoded together, and the last such slab is kept: a dataset that is read in order is decoded once.
type chunked struct {
	r       io.ReaderAt
	shape   []int64
	box     []int64 // the shape of chunks
	size    int64   // bytes of an element
	row     int64   // bytes of all elements with one first index
	fill    []byte
	filters []filter
	slabs   map[int64][]chunk // by the first index, over that of the box

	mu      sync.Mutex
	slab    int64 // the one decoded, -1 for none
	decoded []byte
}

// chunks reads where the chunks of a dataset are, which has elements.
func (f *file) chunks(c, filters *cursor, d *Dataset, fill []byte) (*chunked, error) {
	at, rank := c.pos(), int(c.u8())-1
	if rank != len(d.Shape) || rank < 1 {
		return nil, corrupt(at, "chunks of %d dimensions for a shape %v", rank, d.Shape)
	}
	x := &chunked{r: f.r, shape: slices.Clone(d.Shape), size: int64(d.Type.Size()), row: d.Bytes() / d.Shape[0], fill: fill, slabs: map[int64][]chunk{}, slab: -1}
	tree := c.address()
	bytes := x.size
	for range rank {
		n := int64(c.u32())
		if n == 0 || bytes > maxSlab/n {
			return nil, limited(at, "chunks of more than %d bytes, or of none", maxSlab)
		}
		bytes *= n
		x.box = append(x.box, n)
	}
	size := int64(c.u32())
	if err := c.err("chunks"); err != nil {
		return nil, err
	}
	if size != x.size {
		return nil, corrupt(at, "chunks of elements of %d bytes, not of %d", size, x.size)
	}
	if rows := min(x.box[0], x.shape[0]); x.row > maxSlab/rows {
		return nil, limited(at, "%d rows of %d bytes in one row of chunks: rewrite the file with h5repack -l CONTI", rows, x.row)
	}
	if filters != nil {
		x.filters = filters.filters()
		if err := filters.err("filters"); err != nil {
			return nil, err
		}
	}
	if tree == undefined {
		return x, nil
	}
	seen := map[int64]bool{}
	return x, f.btree1(tree, treeChunk, 8+8*int64(rank+1), -1, func(key *cursor, child int64) error {
		k := chunk{span: span{child, int64(key.u32())}, skipped: key.u32(), from: make([]int64, rank)}
		number := int64(0) // among all boxes that the shape has
		for i := range k.from {
			k.from[i] = key.length()
			number = number*((x.shape[i]-1)/x.box[i]+1) + k.from[i]/x.box[i]
			if k.from[i]%x.box[i] != 0 || k.from[i] >= x.shape[i] {
				return corrupt(key.at, "a chunk at %v of a shape %v in chunks of %v", k.from, x.shape, x.box)
			}
		}
		if err := key.err("chunk"); err != nil {
			return err
		}
		if child < 0 || k.size > f.size-child || k.size > 2*bytes+1024 || seen[number] {
			return corrupt(key.at, "a chunk of %d bytes at byte %d, or a second one", k.size, child)
		}
		seen[number] = true
		slab := k.from[0] / x.box[0]
		x.slabs[slab] = append(x.slabs[slab], k)
		return nil
	})
}

// ReadAt reads bytes of the array in row-major order. It may be called by several goroutines.
func (x *chunked) ReadAt(p []byte, off int64) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, end, slab := 0, x.shape[0]*x.row, x.box[0]*x.row
	for n < len(p) {
		at := off + int64(n)
		if at < 0 || at >= end {
			return n, io.EOF
		}
		if err := x.load(at / slab); err != nil {
			return n, err
		}
		n += copy(p[n:], x.decoded[at%slab:])
	}
	return n, nil
}

// load decodes a slab.
func (x *chunked) load(slab int64) error {
	if slab == x.slab {
		return nil
	}
	x.slab = -1
	rows := min(x.box[0], x.shape[0]-slab*x.box[0])
	x.decoded = slices.Grow(x.decoded[:0], int(rows*x.row))[:rows*x.row]
	repeat(x.decoded, x.fill, 0)
	for _, k := range x.slabs[slab] {
		b, err := x.read(k)
		if err != nil {
			return fmt.Errorf("chunk at %v: %w", k.from, err)
		}
		x.place(b, k, rows)
	}
	x.slab = slab
	return nil
}

// place copies what a chunk has of the array into the decoded slab, line by line along the last axis.
func (x *chunked) place(b []byte, k chunk, rows int64) {
	rank := len(x.box)
	limit := make([]int64, rank) // the part of the box within the array
	for i := range limit {
		limit[i] = min(x.box[i], x.shape[i]-k.from[i])
	}
	limit[0] = min(limit[0], rows)
	line := limit[rank-1] * x.size
	index := make([]int64, rank)
	for {
		var from, to int64
		for i := range index {
			from = from*x.box[i] + index[i]
			if i == 0 {
				to = index[0]
			} else {
				to = to*x.shape[i] + k.from[i] + index[i]
			}
		}
		copy(x.decoded[to*x.size:], b[from*x.size:from*x.size+line])
		axis := rank - 2
		for ; axis >= 0; axis-- {
			if index[axis]++; index[axis] < limit[axis] {
				break
			}
			index[axis] = 0
		}
		if axis < 0 {
			return
		}
	}
}

// read reads a chunk and undoes its filters.
func (x *chunked) read(k chunk) ([]byte, error) {
	b := make([]byte, k.size)
	if err := readFull(x.r, b, k.at); err != nil {
		return nil, err
	}
	want := int(x.size)
	for _, n := range x.box {
		want *= int(n)
	}
	for i := len(x.filters) - 1; i >= 0; i-- {
		if k.skipped>>i&1 == 1 {
			continue
		}
		switch f := x.filters[i]; f.id {
		case filterFletcher:
			if len(b) < 4 {
				return nil, corrupt(k.at, "no checksum")
			}
			body := b[:len(b)-4]
			if got, sum := binary.LittleEndian.Uint32(b[len(body):]), fletcher32(body); got != sum {
				return nil, corrupt(k.at, "checksum %08x, the chunk has %08x", got, sum)
			}
			b = body
		case filterDeflate:
			z, err := zlib.NewReader(bytes.NewReader(b))
			if err == nil {
				b, err = io.ReadAll(io.LimitReader(z, int64(want)+1024)) // checksums may be within
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %w", corrupt(k.at, "deflate"), err)
			}
		case filterShuffle:
			b = unshuffle(b, int(f.values[0]))
		}
	}
	if len(b) != want {
		return nil, corrupt(k.at, "%d bytes, a chunk has %d", len(b), want)
	}
	return b, nil
}

// unshuffle puts the bytes of elements together: they were stored as all first bytes, then all second ones, and so on.
func unshuffle(b []byte, size int) []byte {
	count := len(b) / size
	out := slices.Clone(b) // an incomplete element stays at the end
	for k := range count {
		for i := range size {
			out[k*size+i] = b[i*count+k]
		}
	}
	return out
}
