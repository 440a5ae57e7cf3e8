package onnx

import (
	"github.com/zoofold/zoofold/zoo/format"
	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message being put together.
type message struct {
	pieces []format.Piece
	size   int64
}

func (m *message) add(p format.Piece) {
	if p.Size() == 0 {
		return
	}
	m.size += p.Size()
	if len(m.pieces) > 0 {
		last := &m.pieces[len(m.pieces)-1]
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
	m.pieces = append(m.pieces, p)
}

// copy takes a range of the original over.
func (m *message) copy(s format.Span) { m.add(format.Piece{Copied: s}) }

// bytes adds a length-delimited field made anew.
func (m *message) bytes(number protowire.Number, b []byte) {
	out := protowire.AppendTag(nil, number, protowire.BytesType)
	m.add(format.Piece{Made: protowire.AppendBytes(out, b)})
}

func (m *message) text(number protowire.Number, s string) { m.bytes(number, []byte(s)) }

func (m *message) varint(number protowire.Number, v uint64) {
	out := protowire.AppendTag(nil, number, protowire.VarintType)
	m.add(format.Piece{Made: protowire.AppendVarint(out, v)})
}

// message adds another message as a field.
func (m *message) message(number protowire.Number, inner *message) {
	out := protowire.AppendTag(nil, number, protowire.BytesType)
	m.add(format.Piece{Made: protowire.AppendVarint(out, uint64(inner.size))})
	for _, p := range inner.pieces {
		m.add(p)
	}
}
