package hdf5

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/zoofold/zoofold/zoo/format"
)

const (
	superblockSize = 96
	entrySize      = 40        // of a symbol table
	maxMessage     = 1<<16 - 8 // bytes of a message; its length is a multiple of 8
	headerSize     = 16        // of an object header of version 1, without its messages
	collectionSize = 4096      // of the global heap, at least
	objectHead     = 16        // of a collection and of each object in one
	maxText        = math.MaxUint32
)

// encoded is a message of an object header, or another structure, being made.
type encoded struct {
	kind  uint16
	flags byte
	b     []byte
}

func (m encoded) as(kind uint16, flags byte) encoded { return encoded{kind, flags, m.b} }

func (m *encoded) text(s string) { m.b = append(m.b, s...) }
func (m *encoded) u8(v ...byte)  { m.b = append(m.b, v...) }
func (m *encoded) u16(v uint16)  { m.b = binary.LittleEndian.AppendUint16(m.b, v) }
func (m *encoded) u32(v uint32)  { m.b = binary.LittleEndian.AppendUint32(m.b, v) }
func (m *encoded) align()        { m.b = append(m.b, make([]byte, -len(m.b)&7)...) }
func (m *encoded) u64(v ...uint64) {
	for _, x := range v {
		m.b = binary.LittleEndian.AppendUint64(m.b, x)
	}
}

// entry adds a symbol table entry (III.C).
func (m *encoded) entry(name int64, s symbol) {
	m.u64(uint64(name), uint64(s.header))
	if s.tree == 0 {
		m.u64(0, 0, 0)
		return
	}
	m.u64(1, uint64(s.tree), uint64(s.heap)) // what is known of a group
}

// superblock fills in the first bytes, of a file of end bytes (II.A, version 0).
func (e *encoder) superblock(root symbol, end int64) {
	var m encoded
	m.text(signature)
	m.u8(0, 0, 0, 0, 0, 8, 8, 0)
	m.u16(leafK)
	m.u16(internalK)
	m.u32(0)
	none := int64(undefined)
	m.u64(0, uint64(none), uint64(end), uint64(none))
	m.entry(0, root)
	copy(e.b, m.b)
}

// header writes an object header of version 1, and says where it is and where the body of each message is.
func (e *encoder) header(messages []encoded) (at int64, places []int64, err error) {
	var m encoded
	for _, x := range messages {
		x.align()
		if len(x.b) > maxMessage {
			return 0, nil, fmt.Errorf("a message of type %#x of %d bytes, a header takes %d: %w", x.kind, len(x.b), maxMessage, format.ErrLimit)
		}
		m.u16(x.kind)
		m.u16(uint16(len(x.b)))
		m.u8(x.flags, 0, 0, 0)
		places = append(places, headerSize+int64(len(m.b)))
		m.b = append(m.b, x.b...)
	}
	if len(messages) >= maxMessages || int64(len(m.b)) > math.MaxUint32 {
		return 0, nil, fmt.Errorf("%d attributes: %w", len(messages), format.ErrLimit)
	}
	var head encoded
	head.u8(1, 0)
	head.u16(uint16(len(messages)))
	head.u32(1) // how many links there are; the encoder counts further ones
	head.u64(uint64(len(m.b)))
	at = e.append(append(head.b, m.b...))
	for k := range places {
		places[k] += at
	}
	return at, places, nil
}

// dataspace makes the message of a shape.
func dataspace(shape []int64, null bool) (encoded, error) {
	var m encoded
	switch {
	case len(shape) > maxRank || null && len(shape) > 0:
		return m, fmt.Errorf("%d dimensions", len(shape))
	case null:
		m.u8(2, 0, 0, 2)
	default:
		m.u8(1, byte(len(shape)))
		m.align()
		for _, d := range shape {
			m.u64(uint64(d))
		}
	}
	return m.as(messageDataspace, 0), nil
}

// collection is the part of the global heap to which texts are being added (III.E).
type collection struct {
	at, used, size int64
	objects        uint32
}

// intern adds a text to the global heap, and what stands for it to m.
func (e *encoder) intern(m *encoded, s string) error {
	if int64(len(s)) > maxText {
		return fmt.Errorf("a text of %d bytes: %w", len(s), format.ErrLimit)
	}
	c := &e.collection
	need := objectHead + aligned(int64(len(s)))
	if need > c.size-c.used {
		size := max(collectionSize, objectHead+need)
		*c = collection{at: e.reserve(size), used: objectHead, size: size}
		copy(e.b[c.at:], "GCOL\x01")
		binary.LittleEndian.PutUint64(e.b[c.at+8:], uint64(size))
	}
	c.objects++
	object := e.b[c.at+c.used:]
	binary.LittleEndian.PutUint16(object, uint16(c.objects))
	binary.LittleEndian.PutUint64(object[8:], uint64(len(s)))
	copy(object[objectHead:], s)
	c.used += need
	if free := c.size - c.used; free >= objectHead {
		binary.LittleEndian.PutUint64(e.b[c.at+c.used+8:], uint64(free))
	}
	m.u32(uint32(len(s)))
	m.u64(uint64(c.at))
	m.u32(c.objects)
	return nil
}
