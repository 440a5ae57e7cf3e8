package onnx

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// maxFile is the largest protobuf message: larger models have to keep weights in external data.
const maxFile = 1<<31 - 1

// Write writes the model as edited, and beside it the external files that are still used, under their names, with rescaled
// tensors in place.
func (f *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	e := &encoder{index: f.index, moved: f.moved, original: map[*model.Value]*model.Constant{}, inPlace: map[*model.Value]bool{}, changed: map[string]bool{}}
	for _, i := range f.graphs {
		for _, p := range i.parts {
			if p, ok := p.(*initializer); ok {
				e.original[p.value] = p.read
			}
		}
	}
	placed := f.place(e)
	m, err := e.model(f.model)
	if err != nil {
		return nil, err
	}
	if m.Size > maxFile {
		return nil, fmt.Errorf("the folded model has %d bytes, an ONNX file holds %d: keep the weights in external data: %w", m.Size, maxFile, format.ErrLimit)
	}
	if err := format.Splice(ctx, out, "", f.File, m.Pieces, backend); err != nil {
		return nil, err
	}
	for _, rel := range f.order {
		o := f.others[rel]
		to := rel
		if f.moved[rel] != "" {
			to = f.moved[rel]
		}
		if err := format.Splice(ctx, out, to, o.file, withPlaced(placed[rel], o.size), backend); err != nil {
			return nil, fmt.Errorf("external data %s: %w", rel, err)
		}
	}
	return nil, nil
}

// Move makes Write write an external file under another name.
func (f *file) Move(rel, to string) error {
	rel = spelled(rel)
	if f.others[rel] == nil {
		return fmt.Errorf("the model has no external data %q", rel)
	}
	for _, i := range f.graphs { // other references to the file than those of initializers
		for k, p := range i.parts {
			n, ok := p.(*model.Node)
			if !ok || i.fields[k].Number != graphNode && i.fields[k].Number != functionNode {
				continue
			}
			for _, a := range n.Attrs {
				if a.Tensor == nil {
					continue
				}
				if s, ok := a.Tensor.Source.(*stored); ok && s.external != nil && s.external.path == rel {
					return fmt.Errorf("%v refers to the external data %q in an attribute", n, rel)
				}
			}
		}
		if slices.ContainsFunc(i.fields, func(g wire.Field) bool { return g.Number == graphSparse && !i.function }) {
			return fmt.Errorf("a sparse tensor may refer to the external data %q", rel)
		}
	}
	f.moved[rel] = to
	return nil
}

// placement is a rescaled tensor in its place in external data.
type placement struct {
	at format.Span
	v  *model.Value
}

// place finds the external tensors whose new elements can replace the old ones in place: no other tensor may share those
// bytes.
func (f *file) place(e *encoder) map[string][]placement {
	readers := map[string][]placement{}
	f.model.Walk(func(g *model.Graph) {
		for _, v := range g.Consts {
			if s, ok := v.Const.Source.(*stored); ok && s.external != nil && v.Const.Data != nil {
				x := s.external
				readers[x.path] = append(readers[x.path], placement{format.Span{From: x.offset, To: x.offset + x.length}, v})
			}
		}
	})
	out := map[string][]placement{}
	for path, list := range readers {
		slices.SortFunc(list, func(a, b placement) int {
			return cmp.Or(cmp.Compare(a.at.From, b.at.From), cmp.Compare(a.at.To, b.at.To))
		})
		before := int64(0) // where the tensors before this one end
		for k, p := range list {
			alone := before <= p.at.From && (k+1 == len(list) || p.at.To <= list[k+1].at.From)
			before = max(before, p.at.To)
			if e.original[p.v] == nil || len(p.v.Const.Factors) == 0 || e.original[p.v].Source != p.v.Const.Source {
				continue
			}
			if alone {
				e.inPlace[p.v], e.changed[path] = true, true
				out[path] = append(out[path], p)
			}
		}
	}
	return out
}

// withPlaced are the pieces of an external file with some tensors rescaled in place; placed is in ascending order.
func withPlaced(placed []placement, size int64) []format.Piece {
	m, at := &wire.Message{}, int64(0)
	for _, p := range placed {
		m.Copy(format.Span{From: at, To: p.at.From})
		m.Add(scaled(p.v))
		at = p.at.To
	}
	m.Copy(format.Span{From: at, To: size})
	return m.Pieces
}

// scaled is a constant's elements with its factors.
func scaled(v *model.Value) format.Piece {
	return format.Piece{Scaled: format.NewScaled(v.Name, storedName(v.Const), v.Const)}
}

// storedName is a constant's name in the original.
func storedName(c *model.Constant) string {
	if s, ok := c.Source.(*stored); ok {
		return s.name
	}
	return ""
}
