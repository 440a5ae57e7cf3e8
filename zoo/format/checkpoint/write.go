package checkpoint

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/state"
	"github.com/zoofold/zoofold/zoo/format/torch/pickle"
	"github.com/zoofold/zoofold/zoo/format/zipped"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Write copies the files in which nothing was edited. In the others a changed tensor gets new elements, in its own storage
// if no other tensor shares it. The pickle is rewritten only if tensors are added or removed, or get another storage.
func (h *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	edits, err := h.Net.Edits()
	if err != nil {
		return nil, err
	}
	for _, s := range h.shards {
		rel := h.Rel(s.path)
		var own []state.Edit
		for _, e := range edits {
			if s.tree.views[e.Tensor] != nil {
				own = append(own, e)
			}
		}
		if err := s.write(ctx, out, rel, own, backend); err != nil {
			return nil, err
		}
	}
	return h.Finish(ctx, out, edits, backend)
}

// write writes one file.
func (s *shard) write(ctx context.Context, out format.Output, rel string, edits []state.Edit, backend tensor.Backend) error {
	if len(edits) == 0 {
		return format.Splice(ctx, out, rel, s.f, []format.Piece{{Copied: format.Span{To: s.size}}}, backend)
	}
	w := &edition{tree: s.tree, rel: rel, fresh: map[string][]format.Piece{}, beside: map[string][]string{}}
	text, err := w.edit(edits)
	if err != nil {
		return err
	}
	switch box := s.box.(type) {
	case *zipFile:
		err = w.zip(ctx, box, text, out, backend)
	case *legacyFile:
		err = w.legacy(ctx, box, text, out, backend)
	}
	return err
}

// edition is an edited checkpoint.
type edition struct {
	*tree
	rel    string                    // the file, beside the model file; "" for that itself
	fresh  map[string][]format.Piece // new and changed storages, by key
	beside map[string][]string       // new keys, by the key behind which they are written
	live   map[string]bool           // keys that the pickle still names
}

// edit makes the edits, and returns the new pickle; nil if it does not change.
func (w *edition) edit(edits []state.Edit) (text []byte, err error) {
	rewritten := false
	for _, d := range w.dicts { // the original values are not modified
		items := *d.items
		defer func() { *d.items = items }()
		*d.items = slices.Clone(items)
	}
	for k := range edits {
		e := &edits[k]
		v := w.views[e.Tensor]
		if e.Gone {
			*v.dict.items = slices.DeleteFunc(*v.dict.items, func(i pickle.Item) bool { return i.Key == v.Name })
			rewritten = true
			continue
		}
		if e.New == "" && v.alone(e) {
			w.fresh[v.storage.key] = e.Pieces
			continue
		}
		rewritten = true
		key := w.key()
		w.fresh[key] = e.Pieces
		w.beside[v.storage.key] = append(w.beside[v.storage.key], key)
		at := slices.IndexFunc(*v.dict.items, func(i pickle.Item) bool { return i.Key == v.Name })
		made := v.like(key, e.Shape)
		if e.New == "" {
			(*v.dict.items)[at].Value = made
			continue
		}
		if slices.ContainsFunc(*v.dict.items, func(i pickle.Item) bool { return i.Key == e.New }) {
			return nil, fmt.Errorf("a new tensor would be called %q, as another one is", e.New)
		}
		*v.dict.items = slices.Insert(*v.dict.items, at+1, pickle.Item{Key: e.New, Value: made})
	}
	w.live = map[string]bool{}
	err = pickle.Walk(w.value, func(v pickle.Value) error {
		if p, ok := v.(*pickle.Persistent); ok {
			w.live[p.ID.(*pickle.Tuple).Items[2].(string)] = true
		}
		return nil
	})
	if err != nil || !rewritten {
		return nil, err
	}
	return pickle.Encode(w.value)
}

// alone says whether the tensor is its whole storage, in order, so that new elements can replace the old ones there.
func (v *view) alone(e *state.Edit) bool {
	return v.storage.named == 1 && v.offset == 0 && v.span[1] == v.storage.data.Size() && slices.Equal(e.Shape, v.Shape) && slices.Equal(v.strides, tensor.Strides(v.Shape))
}

// key is an unused key.
func (w *edition) key() string {
	for k := len(w.storages); ; k++ {
		key := strconv.Itoa(k)
		if _, used := w.fresh[key]; !used && w.storages[key] == nil && w.box.storage(key) == nil {
			return key
		}
	}
}

// like is a new tensor constructed like v, with a storage of its own and another shape.
func (v *view) like(key string, shape []int64) pickle.Value {
	n, _ := tensor.Elements(shape)
	if v.storage.class.Name == "UntypedStorage" {
		n *= v.size
	}
	id := &pickle.Tuple{Items: []pickle.Value{"storage", v.storage.class, key, v.storage.where, n}}
	if _, ok := v.object.Args.Items[0].(*pickle.Persistent).ID.(*pickle.Tuple); ok && len(v.object.Args.Items[0].(*pickle.Persistent).ID.(*pickle.Tuple).Items) > 5 {
		id.Items = append(id.Items, pickle.None{})
	}
	o := *v.object
	o.Args = &pickle.Tuple{Items: slices.Clone(o.Args.Items)}
	o.Args.Items[0], o.Args.Items[1] = &pickle.Persistent{ID: id}, int64(0)
	o.Args.Items[2], o.Args.Items[3] = pickle.IntTuple(shape), pickle.IntTuple(tensor.Strides(shape))
	if v.wrapper == nil {
		return &o
	}
	p := *v.wrapper
	p.Args = &pickle.Tuple{Items: slices.Clone(p.Args.Items)}
	p.Args.Items[0] = &o
	return &p
}

// zip writes a ZIP file: members in their order, each new storage behind the one that it was added to.
func (w *edition) zip(ctx context.Context, z *zipFile, text []byte, out format.Output, backend tensor.Backend) error {
	to, err := out.Create(w.rel)
	if err != nil {
		return err
	}
	to2 := zipped.NewWriter(to)
	err = w.members(ctx, z, text, to2, backend)
	if err == nil {
		err = to2.Close()
	}
	return errors.Join(err, to.Close())
}

func (w *edition) members(ctx context.Context, z *zipFile, text []byte, to *zipped.Writer, backend tensor.Backend) error {
	put := func(h zip.FileHeader, key string) error {
		h.Name = z.Folder + "data/" + key
		pieces := w.fresh[key]
		return to.Pieces(h, format.Size(pieces), func(at io.WriterAt) error { return format.WritePieces(ctx, pieces, at, backend) })
	}
	for _, m := range z.Members {
		if err := ctx.Err(); err != nil {
			return err
		}
		key, isStorage := keyOf(m.Path)
		pieces, edited := w.fresh[key]
		var err error
		switch {
		case m.Path == pickled && text != nil:
			err = to.Bytes(m.FileHeader, text)
		case isStorage && edited:
			if err = z.Check(m); err == nil && pieces != nil {
				err = put(m.FileHeader, key)
			}
		case isStorage && w.storages[key] != nil && !w.live[key]:
			err = z.Check(m) // folding read it
		default:
			err = to.Copy(ctx, m.FileHeader, z.Data(m))
		}
		if err == nil && isStorage {
			for _, other := range w.beside[key] {
				if err = put(m.FileHeader, other); err != nil {
					break
				}
			}
		}
		if err != nil {
			return fmt.Errorf("member %q: %w", m.Name, err)
		}
	}
	return nil
}

// keyOf is the key of a storage's member.
func keyOf(path string) (string, bool) {
	const folder = "data/"
	if len(path) > len(folder) && path[:len(folder)] == folder {
		return path[len(folder):], true
	}
	return "", false
}

// legacy writes a file in the form before ZIP files.
func (w *edition) legacy(ctx context.Context, l *legacyFile, text []byte, out format.Output, backend tensor.Backend) error {
	pieces := []format.Piece{{Copied: format.Span{From: 0, To: l.pickles[3][0]}}}
	if text == nil {
		pieces = append(pieces, format.Piece{Copied: format.Span{From: l.pickles[3][0], To: l.pickles[3][1]}})
	} else {
		pieces = append(pieces, format.Piece{Made: text})
	}
	var keys []string
	for _, key := range l.keys {
		if w.live[key] {
			keys = append(keys, key)
		}
		keys = append(keys, w.beside[key]...)
	}
	if slices.Equal(keys, l.keys) {
		pieces = append(pieces, format.Piece{Copied: format.Span{From: l.pickles[4][0], To: l.pickles[4][1]}})
	} else {
		list := &pickle.List{}
		for _, key := range keys {
			list.Items = append(list.Items, key)
		}
		text, err := pickle.Encode(list)
		if err != nil {
			return err
		}
		pieces = append(pieces, format.Piece{Made: text})
	}
	for _, key := range keys {
		own, edited := w.fresh[key]
		if !edited {
			at := l.at[key]
			pieces = append(pieces, format.Piece{Copied: format.Span{From: at.from - 8, To: at.from + at.size}})
			continue
		}
		count := uint64(format.Size(own) / w.width(key))
		pieces = append(pieces, format.Piece{Made: binary.LittleEndian.AppendUint64(nil, count)})
		pieces = append(pieces, own...)
	}
	return format.Splice(ctx, out, w.rel, l.f, pieces, backend)
}

// width is the element size of a storage; of a new one, that of the storage behind which it is written.
func (w *edition) width(key string) int64 {
	if s := w.storages[key]; s != nil {
		return sizeOf(s.class.Name)
	}
	for beside, keys := range w.beside {
		if slices.Contains(keys, key) {
			return sizeOf(w.storages[beside].class.Name)
		}
	}
	return 1
}
