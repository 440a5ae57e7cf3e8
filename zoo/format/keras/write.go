package keras

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Write copies the file if nothing was edited. Otherwise it writes a new HDF5 file of the edited tree, in a .keras file
// beside copies of the other members. It leaves out the state of the optimizer and what belongs to it, since they refer to
// the weights before folding.
func (h *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	c, err := h.changes()
	if err == nil && c.none() {
		return nil, h.copy(ctx, out, backend)
	}
	if err != nil {
		return nil, err
	}
	copies := map[*jsontext.Value]*jsontext.Value{}
	config := h.config.Clone(copies)
	if err := c.editConfig(h.net, copies); err != nil {
		return nil, err
	}
	root := copied(h.root)
	h.drop(config, root)
	again, err := jsontext.Parse(config.String())
	if err != nil {
		return nil, fmt.Errorf("the edited configuration: %w", err)
	}
	n, err := parseModel(again, h.version.major)
	if err != nil {
		return nil, fmt.Errorf("the edited configuration: %w", err)
	}
	old := map[*layer]*layer{}
	c.pair(h.net, n, old)
	p, err := newPlacer(c, old)
	if err != nil {
		return nil, err
	}
	if h.layered {
		root = p.archive(root, n, map[string]bool{})
	} else if root, err = p.legacy(root, h.net, n); err != nil {
		return nil, err
	}
	if v, ok := root.Attrs.Get(modelConfig); ok {
		root.Attrs.Set(modelConfig, v.WithTexts([]string{config.String()}))
	}
	_, built, err := read(again, root, h.layered, h.version)
	if err != nil {
		return nil, fmt.Errorf("the edited model: %w", err)
	}
	sets := map[*model.Constant]*hdf5.Dataset{}
	for key, is := range c.weights {
		sets[is.constant] = p.sets[key]
	}
	renamed, err := match(h.built.m.Graph, built.m.Graph, sets)
	if err != nil {
		return nil, fmt.Errorf("the edited model would be read as another one: %w", err)
	}
	content := func(d *hdf5.Dataset, w io.WriterAt) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if is := p.scaled[d]; is != nil {
			return is.scaled().Write(ctx, backend, d.Type.Writer(w, is.constant.DType), 0)
		}
		return d.Copy(w)
	}
	if h.inRoot {
		root = root.Links[weightGroup].(*hdf5.Group)
	}
	name := ""
	if h.pair != nil {
		if err := made(ctx, out, h.pair.edited(config.String()), backend); err != nil {
			return nil, err
		}
		name = h.beside(h.pair.weights)
	}
	if h.shards != nil {
		h.shards.settle(p)
		return renamed, h.shards.write(ctx, out, h.beside, h.pair.weights, root, content, backend)
	}
	to, err := out.Create(name)
	if err != nil {
		return nil, err
	}
	if h.archive != nil {
		err = h.archive.write(ctx, to, config.String(), func(w io.WriterAt) (int64, error) { return hdf5.Write(w, root, content) })
	} else {
		_, err = hdf5.Write(to, root, content)
	}
	return renamed, errors.Join(err, to.Close())
}

// scaled is a weight whose elements are multiplied while it is written, in the order in which it is stored.
func (is *weightIs) scaled() *format.Scaled {
	s := format.NewScaled(is.name, is.name, is.constant)
	from := is.constant.Source.(*stored)
	s.Data = is.data
	if inOrder(from.perm) {
		return s
	}
	shape := make([]int64, len(from.perm))
	for k, p := range from.perm {
		shape[k] = from.v.set.Shape[p]
	}
	s.Factors = slices.Clone(s.Factors)
	for k, f := range s.Factors {
		s.Factors[k] = f.Stored(shape, from.perm)
	}
	return s
}

// copy writes an unchanged copy of the file.
func (h *file) copy(ctx context.Context, out format.Output, backend tensor.Backend) error {
	name := ""
	if h.pair != nil {
		if err := made(ctx, out, h.pair.text, backend); err != nil {
			return err
		}
		name = h.beside(h.pair.weights)
	}
	if h.shards != nil {
		return h.shards.copy(ctx, out, h.beside, h.pair.weights, backend)
	}
	info, err := h.f.Stat()
	if err != nil {
		return err
	}
	return format.Splice(ctx, out, name, h.f, []format.Piece{{Copied: format.Span{To: info.Size()}}}, backend)
}

// beside is where a file that the model is made of is written, relative to the model file.
func (h *file) beside(path string) string { return format.Beside(h.path, path) }

// made writes the text as the model's own file.
func made(ctx context.Context, out format.Output, text string, backend tensor.Backend) error {
	return format.Splice(ctx, out, "", nil, []format.Piece{{Made: []byte(text)}}, backend)
}

// drop removes the state of training: the optimizer's state, which refers to the weights before folding, and the settings
// of compile().
func (h *file) drop(config *jsontext.Value, root *hdf5.Group) {
	h.dropped = nil
	state := false
	for _, name := range []string{optimizer, "optimizer"} {
		if root.Links[name] != nil {
			delete(root.Links, name)
			state = true
		}
	}
	compiled := false
	if v := config.Get("compile_config"); !v.Null() && len(v.Items) > 0 { // a network that was not compiled has an empty one
		config.Set("compile_config", "null")
		compiled = true
	}
	if _, ok := root.Attrs.Get(trainingConfig); ok {
		root.Attrs.Delete(trainingConfig)
		compiled = true
	}
	switch {
	case state:
		h.dropped = []string{"the optimizer's state and the training configuration are left out: the folded model is for inference"}
	case compiled:
		h.dropped = []string{"the training configuration is left out: the folded model is for inference"}
	}
}

// pair records the original layer of each layer of an edited network.
func (c *changes) pair(before, n *network, old map[*layer]*layer) {
	left := slices.DeleteFunc(slices.Clone(before.layers), c.gone)
	if len(n.layers) > len(left) { // a new InputLayer
		left = slices.Insert(left, 0, &layer{class: "InputLayer"})
	}
	for k, l := range n.layers {
		old[l] = left[k]
		if l.inner != nil {
			c.pair(left[k].inner, l.inner, old)
		}
	}
}
