package caffe

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
)

// encode is the caffemodel without the removed layers, and with the changed weights.
func (f *file) encode(changes map[*layer]*change, gone map[string]bool, names map[*model.Value]string) (*wire.Message, error) {
	changed := map[*storedLayer]*layer{}
	for l, c := range changes {
		if l.stored != nil && !c.dropped {
			changed[l.stored] = l
		}
	}
	out, at := &wire.Message{}, int64(0)
	for _, s := range f.weights.order {
		out.Copy(format.Span{From: at, To: s.at.All.From})
		at = s.at.All.To
		var inner *wire.Message
		if l := changed[s]; l != nil {
			var err error
			if inner, err = f.encodeLayer(l, changes[l], names); err != nil {
				return nil, fmt.Errorf("%s: layer %q: %w", f.weights.name, l.name, err)
			}
		}
		switch {
		case gone[s.name]:
		case inner != nil:
			out.Message(s.at.Number, inner)
		default:
			out.Copy(s.at.All)
		}
	}
	out.Copy(format.Span{From: at, To: f.weights.Size})
	return out, nil
}

// encodeLayer is a layer's message with new weights, and with the prototxt's new names of blobs if it had the old ones; nil
// if nothing changes.
func (f *file) encodeLayer(l *layer, c *change, names map[*model.Value]string) (*wire.Message, error) {
	layout := layouts[l.stored.v1]
	stored := map[protowire.Number][]string{}
	if err := f.weights.Each(l.stored.at.Body, func(g wire.Field) error {
		if g.Number != layout.bottom && g.Number != layout.top {
			return nil
		}
		text, err := f.weights.Text(g)
		stored[g.Number] = append(stored[g.Number], text)
		return err
	}); err != nil {
		return nil, err
	}
	fresh := map[protowire.Number][]string{
		layout.bottom: renames(l.bottoms, stored[layout.bottom], c.in, names),
		layout.top:    renames(l.tops, stored[layout.top], c.out, names),
	}
	if len(c.weights) == 0 && fresh[layout.bottom] == nil && fresh[layout.top] == nil {
		return nil, nil
	}
	out, weight, seen := &wire.Message{}, 0, map[protowire.Number]int{}
	params := layout.params[l.gains]
	err := f.weights.Each(l.stored.at.Body, func(g wire.Field) (err error) {
		k := seen[g.Number]
		seen[g.Number]++
		switch {
		case fresh[g.Number] != nil:
			out.Text(g.Number, fresh[g.Number][k])
		case g.Number == layout.blobs:
			weight++
			if x := c.weights[k]; x == nil {
				out.Copy(g.All)
			} else if err = f.encodeWeight(out, g.Number, l.weights[k], x); err != nil {
				return err
			}
			if c.gained && weight == len(l.weights) {
				err = f.encodeNew(out, g.Number, l, c.weights[weight])
			}
		case g.Number == params && c.gained:
			err = f.encodeParams(out, g, biasTerm[l.gains])
		default:
			out.Copy(g.All)
		}
		return err
	})
	if c.gained && params > 0 && seen[params] == 0 && l.gains == "scale_param" { // without the message there is no bias
		term := &wire.Message{}
		term.Varint(biasTerm[l.gains], 1)
		out.Message(params, term)
	}
	return out, err
}

// renames are the new names of a message's list of blobs; nil if they do not change, or were not the prototxt's.
func renames(list []*field, stored []string, values []*model.Value, names map[*model.Value]string) (fresh []string) {
	if len(stored) != len(list) {
		return nil
	}
	differs := false
	for k, v := range values {
		if stored[k] != list[k].value {
			return nil
		}
		fresh = append(fresh, names[v])
		differs = differs || names[v] != stored[k]
	}
	if !differs {
		return nil
	}
	return fresh
}

// encodeWeight writes a weight's message with other elements, as float32: what Caffe computes with.
func (f *file) encodeWeight(out *wire.Message, number protowire.Number, x *weight, c *model.Constant) error {
	inner := &wire.Message{}
	if err := f.weights.Each(x.at.Body, func(g wire.Field) error {
		switch g.Number {
		case blobData, blobDoubleData, blobRawType, blobRawData, blobDiff, blobDoubleDiff:
		default:
			inner.Copy(g.All)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := elements(inner, x.label, c); err != nil {
		return err
	}
	out.Message(number, inner)
	return nil
}

// encodeNew writes the message of a bias that the layer did not have, shaped as its other weights are.
func (f *file) encodeNew(out *wire.Message, number protowire.Number, l *layer, c *model.Constant) error {
	inner := &wire.Message{}
	n, _ := c.Elements()
	if l.weights[0].old {
		for k, d := range []int64{1, 1, 1, n} {
			inner.Varint(blobNum+protowire.Number(k), uint64(d))
		}
	} else {
		extents := []int64{n}
		if l.gains == "scale_param" { // [1, C], perhaps
			extents = l.weights[0].shape
		}
		var dims []byte
		for _, d := range extents {
			dims = protowire.AppendVarint(dims, uint64(d))
		}
		shape := &wire.Message{}
		shape.Bytes(blobShapeDim, dims)
		inner.Message(blobShape, shape)
	}
	if err := elements(inner, "the new bias", c); err != nil {
		return err
	}
	out.Message(number, inner)
	return nil
}

// elements adds a constant's elements to a BlobProto.
func elements(out *wire.Message, label string, c *model.Constant) error {
	if c.Data == nil {
		raw, err := c.Encode()
		if err == nil {
			out.Bytes(blobData, raw)
		}
		return err
	}
	stored := label
	if x, ok := c.Source.(*weight); ok {
		stored = x.constant
	}
	head := protowire.AppendTag(nil, blobData, protowire.BytesType)
	out.Add(format.Piece{Made: protowire.AppendVarint(head, uint64(c.Bytes()))})
	out.Add(format.Piece{Scaled: format.NewScaled(label, stored, c)})
	return nil
}

// encodeParams writes a layer's parameters with bias_term true.
func (f *file) encodeParams(out *wire.Message, g wire.Field, term protowire.Number) error {
	inner := &wire.Message{}
	err := f.weights.Each(g.Body, func(p wire.Field) error {
		if p.Number != term {
			inner.Copy(p.All)
		}
		return nil
	})
	inner.Varint(term, 1)
	out.Message(g.Number, inner)
	return err
}
