package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
)

// Message builds a protobuf message from new bytes, ranges of the original and rescaled tensors.
type Message struct {
	Pieces []format.Piece
	Size   int64 // in bytes, of all pieces
}

// Add appends a piece, joined with the one before it if both are bytes or adjacent ranges.
func (m *Message) Add(p format.Piece) {
	if p.Size() == 0 {
		return
	}
	m.Size += p.Size()
	if len(m.Pieces) > 0 {
		last := &m.Pieces[len(m.Pieces)-1]
		switch {
		case p.Scaled != nil || last.Scaled != nil:
		case p.Made != nil && last.Made != nil:
			last.Made = append(last.Made, p.Made...)
			return
		case p.Made == nil && last.Made == nil && last.Copied.To == p.Copied.From:
			last.Copied.To = p.Copied.To
			return
		}
	}
	m.Pieces = append(m.Pieces, p)
}

// Copy appends a range of the original.
func (m *Message) Copy(s format.Span) { m.Add(format.Piece{Copied: s}) }

// Bytes adds a new length-delimited field.
func (m *Message) Bytes(number protowire.Number, b []byte) {
	out := protowire.AppendTag(nil, number, protowire.BytesType)
	m.Add(format.Piece{Made: protowire.AppendBytes(out, b)})
}

// Text adds a string field.
func (m *Message) Text(number protowire.Number, s string) { m.Bytes(number, []byte(s)) }

// Varint adds a number.
func (m *Message) Varint(number protowire.Number, v uint64) {
	out := protowire.AppendTag(nil, number, protowire.VarintType)
	m.Add(format.Piece{Made: protowire.AppendVarint(out, v)})
}

// Message adds another message as a field.
func (m *Message) Message(number protowire.Number, inner *Message) {
	out := protowire.AppendTag(nil, number, protowire.BytesType)
	m.Add(format.Piece{Made: protowire.AppendVarint(out, uint64(inner.Size))})
	for _, p := range inner.Pieces {
		m.Add(p)
	}
}
