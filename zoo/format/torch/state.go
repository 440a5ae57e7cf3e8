package torch

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// A program can be the graph of a checkpoint: the tensors of a state_dict replace its parameters and buffers of the same
// names. The checkpoint may be folded already: a batch normalisation without any tensors was removed, and a linear operator
// may have a bias that the program lacks.

// substitute replaces the program's tensors by the checkpoint's.
func (h *file) substitute(tensors func(string) (format.Stored, bool)) error {
	c := h.configs[0]
	c.tensors = tensors
	for _, p := range c.list {
		t, ok := tensors(p.name)
		switch {
		case !ok:
			p.absent = true
			continue
		case p.pickled || p.meta == nil:
			return fmt.Errorf("tensor %q is an object in the graph: %w", p.name, format.ErrCorrupt)
		case t.DType != p.meta.dtype || !equal(t.Shape, p.meta.sizes):
			return fmt.Errorf("tensor %q has type %v and shape %v in the checkpoint, %v and %v in the graph: %w", p.name, t.DType, t.Shape, p.meta.dtype, p.meta.sizes, format.ErrCorrupt)
		}
		meta := *p.meta
		meta.strides, meta.offset = tensor.Strides(meta.sizes), 0
		n, _ := tensor.Elements(meta.sizes)
		p.meta, p.data, p.fixed = &meta, t.Data, t.Fixed
		p.record = &member{Path: p.record.Path, Len: n * meta.size}
	}
	return nil
}

// bare restricts edits to those that a checkpoint can express: the elements of tensors that are read in one place, biases,
// and batch normalisations, which the loading code replaces by Identity. Everything else is code, and stays.
func (b *builder) bare() {
	b.m.Place = func(n *model.Node, k int) model.Place {
		place := b.place(n, k)
		p, _ := n.Source.(*part)
		if place == model.Stored && len(n.In(k).Uses) != 1 || place == model.Gained && p.gains[k] != "bias" {
			return model.NoPlace
		}
		return place
	}
	b.m.Stays = func(n *model.Node) (string, bool) {
		if n.Type != "BatchNormalization" {
			return format.InCode, true
		}
		return b.stays(n)
	}
}

// missing says whether all tensors that a site reads besides its input are absent.
func (s *site) missing() bool {
	found := false
	for _, r := range s.refs {
		if e := s.entries[r.name]; r.arg.name != "input" && (e == nil || !e.absent) {
			return false
		}
		found = found || r.arg.name != "input"
	}
	return found
}

// identity builds a batch normalisation whose tensors are absent as an Identity.
func (s *site) identity(x *model.Value) error {
	s.refs = slices.DeleteFunc(s.refs, func(r *ref) bool { return r.arg.name != "input" })
	return s.result(0, s.op("Identity", []*model.Value{x}))
}

// gained is the checkpoint's bias for an operator that has none in the program, or nil.
func (s *site) gained(dtype tensor.DType, channels int64) (*model.Value, error) {
	like := s.like()
	if like == nil || like.payload.config.tensors == nil {
		return nil, nil
	}
	name, ok := strings.CutSuffix(like.stored, "weight")
	if !ok || like.payload.config.payload[name+"bias"] != nil {
		return nil, nil
	}
	t, ok := like.payload.config.tensors(name + "bias")
	switch {
	case !ok:
		return nil, nil
	case t.DType != dtype || !equal(t.Shape, []int64{channels}):
		return nil, fmt.Errorf("tensor %q has type %v and shape %v, which is no bias of %d channels: %w", name+"bias", t.DType, t.Shape, channels, format.ErrCorrupt)
	}
	return s.m.Graph.AddConst(s.unique(s.name+"/bias"), &model.Constant{DType: dtype, Shape: t.Shape, Data: t.Data}), nil
}

// Edits are the changes of the checkpoint's tensors.
func (h *file) Edits() ([]format.Edit, error) {
	c, err := h.changes()
	if err != nil {
		return nil, err
	}
	var list []format.Edit
	for _, i := range h.built.p.inputs {
		switch {
		case i.payload == nil || i.payload.absent || i.payload.config != h.configs[0]:
		case c.dead[i]:
			list = append(list, format.Edit{Name: i.stored})
		case c.changed[i] != nil:
			pieces, err := h.pieces(c.changed[i].value, i.name)
			if err != nil {
				return nil, err
			}
			list = append(list, format.Edit{Name: i.stored, Pieces: pieces})
		}
		for _, f := range c.fresh {
			if f.like == i {
				pieces, err := h.pieces(f.value, f.value.Name)
				if err != nil {
					return nil, err
				}
				list = append(list, format.Edit{Name: f.stored, Like: i.stored, Pieces: pieces})
			}
		}
	}
	return list, nil
}

// pieces are a constant's elements, in the order of the tensor's axes.
func (h *file) pieces(v *model.Value, name string) ([]format.Piece, error) {
	k, err := contentOf(v, name)
	switch f := h.built.stored[v]; {
	case err != nil:
		return nil, err
	case k.scaled != nil:
		return []format.Piece{{Scaled: k.scaled}}, nil
	case f == nil || inOrder(f.perm):
		return []format.Piece{{Made: k.made}}, nil
	default: // as the operator reads it
		back := make([]int, len(f.perm))
		for k, p := range f.perm {
			back[p] = k
		}
		made := make([]byte, len(k.made))
		_, err := io.ReadFull(io.NewSectionReader(tensor.Permuted(bytes.NewReader(k.made), f.shape, back, v.Const.DType.Size()), 0, int64(len(made))), made)
		return []format.Piece{{Made: made}}, err
	}
}
