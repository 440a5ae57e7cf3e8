package main

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// mutation makes a hostile file of a good one. other is another good file.
type mutation struct {
	name   string
	mutate func(rng *rand.Rand, data, other []byte) []byte
}

// blind mutations know nothing of a file's form.
var blind = []mutation{
	{"truncate", func(rng *rand.Rand, data, _ []byte) []byte { return data[:rng.IntN(len(data))] }},
	{"flip", flip}, {"splice", splice}, {"repeat", repeat}, {"length", length}, {"integer", integer}, {"digits", digits},
}

// mutations are all. A change within a message gets past the first look at the lengths: half of them are of this kind.
var mutations = append(slices.Repeat([]mutation{{"message", message}}, len(blind)), blind...)

// lies are the numbers that files lie with.
var lies = []uint64{0, 1, 2, 3, 4, 7, 64, 127, 128, 255, 1 << 15, 1<<16 - 1, 1 << 20, 1 << 24, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 40, 1 << 60, 1<<63 - 1, 1 << 63, 1<<64 - 2, 1<<64 - 1}

func lie(rng *rand.Rand) uint64 { return lies[rng.IntN(len(lies))] }

// flip changes a few bits.
func flip(rng *rand.Rand, data, _ []byte) []byte {
	for range 1 + rng.IntN(8) {
		data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
	}
	return data
}

// part is a random part of some bytes, mostly a short one.
func part(rng *rand.Rand, data []byte) []byte {
	from := rng.IntN(len(data))
	most := len(data) - from
	if rng.IntN(4) > 0 {
		most = min(most, 64)
	}
	return data[from : from+rng.IntN(most+1)]
}

// splice puts a part of another file, or of this one, in the place of a part.
func splice(rng *rand.Rand, data, other []byte) []byte {
	if rng.IntN(2) == 0 {
		other = data
	}
	from := rng.IntN(len(data))
	to := from + rng.IntN(min(len(data)-from, 256)+1)
	return slices.Concat(data[:from], part(rng, other), data[to:])
}

// repeat has a part many times.
func repeat(rng *rand.Rand, data, _ []byte) []byte {
	p := part(rng, data)
	if len(p) == 0 {
		return data
	}
	at := rng.IntN(len(data) + 1)
	return slices.Concat(data[:at], bytes.Repeat(p, 1+rng.IntN(1+(1<<16)/len(p))), data[at:])
}

// length puts a lying varint somewhere.
func length(rng *rand.Rand, data, _ []byte) []byte {
	at := rng.IntN(len(data))
	return slices.Concat(data[:at], protowire.AppendVarint(nil, lie(rng)), data[min(len(data), at+1+rng.IntN(3)):])
}

// integer puts a lying integer of fixed width somewhere, in either order of bytes.
func integer(rng *rand.Rand, data, _ []byte) []byte {
	b := protowire.AppendFixed64(nil, lie(rng)) // little endian
	if b = b[:4+4*rng.IntN(2)]; rng.IntN(4) == 0 {
		slices.Reverse(b)
	}
	copy(data[rng.IntN(len(data))/4*4:], b)
	return data
}

var number = regexp.MustCompile(`-?[0-9]+`)

// digits replaces a number in text.
func digits(rng *rand.Rand, data, other []byte) []byte {
	places := number.FindAllIndex(data, 1000)
	if len(places) == 0 {
		return flip(rng, data, other)
	}
	p := places[rng.IntN(len(places))]
	text := []string{"-1", "", "1e999", "nan", "0x", "99999999999999999999", strconv.FormatUint(lie(rng), 10)}[rng.IntN(7)]
	return slices.Concat(data[:p[0]], []byte(text), data[p[1]:])
}

// message changes one field somewhere within a protobuf message and mends the lengths around it.
func message(rng *rand.Rand, data, other []byte) []byte {
	fields := split(data)
	if len(fields) == 0 {
		return flip(rng, data, other)
	}
	k := rng.IntN(len(fields))
	f := fields[k]
	number, kind, tag := protowire.ConsumeTag(f)
	content, length := protowire.ConsumeBytes(f[tag:])
	switch {
	case kind == protowire.BytesType && length > 0 && len(split(content)) > 0 && rng.IntN(8) > 0:
		fields[k] = protowire.AppendBytes(slices.Clone(f[:tag]), message(rng, slices.Clone(content), other))
		return slices.Concat(fields...)
	case rng.IntN(4) == 0: // the field itself
		switch rng.IntN(4) {
		case 0:
			fields[k] = nil
		case 1:
			fields[k] = bytes.Repeat(f, 2+rng.IntN(50))
		case 2:
			j := rng.IntN(len(fields))
			fields[k], fields[j] = fields[j], fields[k]
		case 3:
			fields[k] = append(protowire.AppendTag(nil, number%20+1, kind), f[tag:]...)
		}
		return slices.Concat(fields...)
	}
	head := slices.Clone(f[:tag])
	switch kind { // its value
	case protowire.VarintType:
		fields[k] = protowire.AppendVarint(head, lie(rng))
	case protowire.Fixed32Type:
		fields[k] = protowire.AppendFixed32(head, uint32(lie(rng)))
	case protowire.Fixed64Type:
		fields[k] = protowire.AppendFixed64(head, lie(rng))
	case protowire.BytesType:
		content = slices.Clone(content)
		if len(content) > 0 {
			content = blind[rng.IntN(len(blind))].mutate(rng, content, other)
		}
		fields[k] = protowire.AppendBytes(head, content)
	}
	return slices.Concat(fields...)
}

// split is a message's fields; nil if the bytes are none.
func split(data []byte) (fields [][]byte) {
	for len(data) > 0 {
		number, _, n := protowire.ConsumeField(data)
		if n < 0 || number > 1000 {
			return nil
		}
		fields, data = append(fields, data[:n]), data[n:]
	}
	return fields
}
