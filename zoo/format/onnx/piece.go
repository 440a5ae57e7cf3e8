package onnx

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/model"
)

// A piece is some bytes of the written file: bytes made anew, a range copied from the original, or the rescaled elements
// of a constant.
type piece struct {
	made   []byte
	copied span
	scaled *model.Value
}

func (p piece) size() int64 {
	switch {
	case p.scaled != nil:
		return p.scaled.Const.Bytes()
	case p.made != nil:
		return int64(len(p.made))
	}
	return p.copied.len()
}

// message is a protobuf message being put together.
type message struct {
	pieces []piece
	size   int64
}

func (m *message) add(p piece) {
	if p.size() == 0 {
		return
	}
	m.size += p.size()
	if len(m.pieces) > 0 {
		last := &m.pieces[len(m.pieces)-1]
		switch {
		case p.scaled != nil || last.scaled != nil:
		case p.made != nil && last.made != nil:
			last.made = append(last.made, p.made...)
			return
		case p.made == nil && last.made == nil && last.copied.to == p.copied.from:
			last.copied.to = p.copied.to
			return
		}
	}
	m.pieces = append(m.pieces, p)
}

// copy takes a range of the original over.
func (m *message) copy(s span) { m.add(piece{copied: s}) }

// bytes adds a length-delimited field made anew.
func (m *message) bytes(number protowire.Number, b []byte) {
	out := protowire.AppendTag(nil, number, protowire.BytesType)
	m.add(piece{made: protowire.AppendBytes(out, b)})
}

func (m *message) text(number protowire.Number, s string) { m.bytes(number, []byte(s)) }

func (m *message) varint(number protowire.Number, v uint64) {
	out := protowire.AppendTag(nil, number, protowire.VarintType)
	m.add(piece{made: protowire.AppendVarint(out, v)})
}

// message adds another message as a field.
func (m *message) message(number protowire.Number, inner *message) {
	out := protowire.AppendTag(nil, number, protowire.BytesType)
	m.add(piece{made: protowire.AppendVarint(out, uint64(inner.size))})
	for _, p := range inner.pieces {
		m.add(p)
	}
}
