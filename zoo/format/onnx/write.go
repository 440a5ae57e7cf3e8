package onnx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// maxFile is the largest protobuf message: larger models have to keep weights in external data.
const maxFile = 1<<31 - 1

// maxSubnormal is the share of a 16-bit tensor's elements that may become subnormal or zero in being rescaled.
const maxSubnormal = 1e-3

// Write writes the model as edited. External data that is still used is written beside it, under its name, with rescaled
// tensors in their old places.
func (f *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) error {
	e := &encoder{index: f.index, original: map[*model.Value]*model.Constant{}, inPlace: map[*model.Value]bool{}}
	for _, i := range f.graphs {
		for k, v := range i.parts {
			if v, ok := v.(*model.Value); ok && i.fields[k].number == graphInitializer && !i.function {
				e.original[v] = f.asRead[v]
			}
		}
	}
	placed := f.place(e)
	m, err := e.model(f.model)
	if err != nil {
		return err
	}
	if m.size > maxFile {
		return fmt.Errorf("the folded model has %d bytes, an ONNX file holds %d: keep the weights in external data: %w", m.size, maxFile, format.ErrLimit)
	}
	w := &writer{ctx: ctx, backend: backend, from: f.file}
	if err := w.file(out, "", m.pieces); err != nil {
		return err
	}
	for _, rel := range f.order {
		o := f.others[rel]
		w.from = o.file
		if err := w.file(out, rel, withPlaced(placed[rel], o.size)); err != nil {
			return fmt.Errorf("external data %s: %w", rel, err)
		}
	}
	return nil
}

// placement is a rescaled tensor in its place in external data.
type placement struct {
	at span
	v  *model.Value
}

// place finds the external tensors whose new elements can take their old place: nobody else may read the old ones.
func (f *file) place(e *encoder) map[string][]placement {
	readers := map[string][]placement{}
	f.model.Walk(func(g *model.Graph) {
		for _, v := range g.Consts {
			if s, ok := v.Const.Source.(*stored); ok && s.external != nil && v.Const.Data != nil {
				x := s.external
				readers[x.path] = append(readers[x.path], placement{span{x.offset, x.offset + x.length}, v})
			}
		}
	})
	out := map[string][]placement{}
	for path, list := range readers {
		for k, p := range list {
			if e.original[p.v] == nil || len(p.v.Const.Factors) == 0 || e.original[p.v].Source != p.v.Const.Source {
				continue
			}
			alone := true
			for j, q := range list {
				alone = alone && (j == k || q.at.to <= p.at.from || p.at.to <= q.at.from)
			}
			if alone {
				e.inPlace[p.v] = true
				out[path] = append(out[path], p)
			}
		}
	}
	return out
}

// withPlaced is an external file with some tensors rescaled in their places.
func withPlaced(placed []placement, size int64) []piece {
	m, at := &message{}, int64(0)
	for len(placed) > 0 {
		next := 0
		for k := range placed {
			if placed[k].at.from < placed[next].at.from {
				next = k
			}
		}
		p := placed[next]
		placed = append(placed[:next:next], placed[next+1:]...)
		m.copy(span{at, p.at.from})
		m.add(piece{scaled: p.v})
		at = p.at.to
	}
	m.copy(span{at, size})
	return m.pieces
}

// storedName is a constant's name in the original.
func storedName(c *model.Constant) string {
	if s, ok := c.Source.(*stored); ok {
		return s.name
	}
	return ""
}

type writer struct {
	ctx     context.Context
	backend tensor.Backend
	from    *os.File
}

// file writes one file of the model.
func (w *writer) file(out format.Output, rel string, pieces []piece) (err error) {
	to, err := out.Create(rel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	at := int64(0)
	for _, p := range pieces {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		switch {
		case p.scaled != nil:
			err = w.rescale(to, at, p.scaled)
			if err == nil {
				_, err = to.Seek(at+p.size(), io.SeekStart)
			}
		case p.made != nil:
			_, err = to.Write(p.made)
		default:
			err = w.copy(to, p.copied)
		}
		if err != nil {
			return err
		}
		at += p.size()
	}
	return nil
}

// copyStep bounds what is copied between two looks at the context.
const copyStep = 64 << 20

// copy copies a range of the original; files copy within the kernel where they can.
func (w *writer) copy(to format.OutputFile, s span) error {
	for s.from < s.to {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if _, err := w.from.Seek(s.from, io.SeekStart); err != nil {
			return err
		}
		n, err := io.Copy(to, io.LimitReader(w.from, min(s.len(), copyStep)))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("byte %d: the original has become shorter: %w", s.from, format.ErrCorrupt)
		}
		s.from += n
	}
	return nil
}

// rescale writes a constant's elements at a place of the file.
func (w *writer) rescale(to format.OutputFile, at int64, v *model.Value) error {
	c := v.Const
	elements, _ := c.Elements()
	job := &tensor.Rescale{DType: c.DType, Elements: elements, Factors: c.Factors}
	tally, err := w.backend.Rescale(w.ctx, io.NewOffsetWriter(to, at), c.Data, job)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", v.Name, err)
	}
	if tally.NonFinite > 0 || tally.Overflow > 0 || c.DType.Size() == 2 && float64(tally.Subnormal) > maxSubnormal*float64(elements) {
		return &format.OverflowError{Tensor: storedName(c), Tally: tally}
	}
	return nil
}
