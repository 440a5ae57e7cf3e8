package safetensors

import (
	"context"
	"fmt"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/state"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Write copies the files in which nothing was edited. The others get a new header, and their tensors are copied, rescaled
// or written anew.
func (h *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	edits, err := h.Net.Edits()
	if err != nil {
		return nil, err
	}
	changed, fresh := map[*entry]*state.Edit{}, map[*entry][]*state.Edit{}
	edited := map[*shard]bool{}
	for k := range edits {
		e := &edits[k]
		at := h.of[e.Tensor]
		edited[at.shard] = true
		if e.New == "" {
			changed[at.entry] = e
		} else {
			fresh[at.entry] = append(fresh[at.entry], e)
		}
	}
	for _, s := range h.shards {
		rel := h.Rel(s.path)
		pieces := []format.Piece{{Copied: format.Span{To: s.size}}}
		if edited[s] {
			if pieces, err = s.pieces(changed, fresh); err != nil {
				return nil, err
			}
		}
		if err := format.Splice(ctx, out, rel, s.f, pieces, backend); err != nil {
			return nil, err
		}
	}
	return h.Finish(ctx, out, edits, backend)
}

// pieces are the pieces of an edited file. The tensors keep their order, in the header and behind it.
func (s *shard) pieces(changed map[*entry]*state.Edit, fresh map[*entry][]*state.Edit) ([]format.Piece, error) {
	pieces := []format.Piece{{}}
	placed := map[*entry][]*entry{} // the edited tensor, if it is kept, and new ones behind it
	at := int64(0)
	place := func(e *entry, name, dtype string, shape []int64, size int64) {
		placed[e] = append(placed[e], &entry{name, dtype, shape, at, at + size})
		at += size
	}
	for _, e := range s.order() {
		switch edit := changed[e]; {
		case edit == nil:
			pieces = appended(pieces, format.Span{From: s.from + e.from, To: s.from + e.to})
			place(e, e.name, e.dtype, e.shape, e.to-e.from)
		case !edit.Gone:
			pieces = append(pieces, edit.Pieces...)
			place(e, e.name, e.dtype, e.shape, e.to-e.from)
		}
		for _, edit := range fresh[e] {
			for _, e := range s.entries {
				if e.name == edit.New {
					return nil, fmt.Errorf("a new tensor would be called %q, as another one is", e.name)
				}
			}
			pieces = append(pieces, edit.Pieces...)
			place(e, edit.New, e.dtype, edit.Shape, format.Size(edit.Pieces))
		}
	}
	var entries []*entry
	for _, e := range s.entries {
		entries = append(entries, placed[e]...)
	}
	header, err := s.encode(entries)
	pieces[0].Made = header
	return pieces, err
}

// appended joins a copied range with the one before it where they touch.
func appended(pieces []format.Piece, span format.Span) []format.Piece {
	last := &pieces[len(pieces)-1]
	if len(pieces) > 1 && last.Made == nil && last.Scaled == nil && last.Copied.To == span.From {
		last.Copied.To = span.To
		return pieces
	}
	return append(pieces, format.Piece{Copied: span})
}
