package caffe

import (
	"context"
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// change is what became of a layer.
type change struct {
	dropped bool
	in, out []*model.Value
	weights map[int]*model.Constant // new elements, by the weight's number
	gained  bool                    // one more weight than before
}

// Write writes the net as edited: the prototxt, and the caffemodel beside it.
func (f *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	changes, err := f.changes()
	if err != nil {
		return nil, err
	}
	names := f.blobNames(changes)
	e := &edits{source: f.net.source}
	gone := f.editText(e, changes, names)
	text := e.text()
	renamed, err := f.renamed(text, changes)
	if err != nil {
		return nil, err
	}
	if err := format.Splice(ctx, out, "", nil, []format.Piece{{Made: []byte(text)}}, backend); err != nil {
		return nil, err
	}
	message, err := f.encode(changes, gone, names)
	if err != nil {
		return nil, err
	}
	if err := format.Splice(ctx, out, format.Beside(f.path, f.weights.path), f.weights.File, message.Pieces, backend); err != nil {
		return nil, fmt.Errorf("%s: %w", f.weights.name, err)
	}
	return renamed, nil
}

// changes compares the graph with the layers that it was made from. An edit that layers cannot express is an error, and a
// bug, since folding asks before it edits.
func (f *file) changes() (map[*layer]*change, error) {
	for _, n := range f.model.Graph.Nodes {
		if l, ok := n.Source.(*layer); !ok || !slices.Contains(l.nodes, n) {
			return nil, fmt.Errorf("%v is no layer of a Caffe net: it cannot be written", n)
		}
	}
	all := map[*layer]*change{}
	for _, l := range f.net.layers {
		c := &change{weights: map[int]*model.Constant{}}
		all[l] = c
		gone := 0
		for _, n := range l.nodes {
			if n.Removed() {
				gone++
			}
		}
		switch {
		case l.isInput():
			for _, x := range l.out {
				c.out = append(c.out, f.values[x])
			}
		case gone == len(l.nodes):
			c.dropped = true
		case gone > 0:
			return nil, fmt.Errorf("layer %q: %d of its %d parts are gone: a Caffe net cannot say so", l.name, gone, len(l.nodes))
		default:
			if err := f.compare(l, c); err != nil {
				return nil, fmt.Errorf("layer %q: %w", l.name, err)
			}
		}
	}
	return all, nil
}

// compare finds the edited layer's bottoms and tops, and which of its weights changed.
func (f *file) compare(l *layer, c *change) error {
	for k, uses := range l.reads {
		v := uses[0].Node.Inputs[uses[0].Index]
		for _, u := range uses[1:] {
			if u.Node.Inputs[u.Index] != v {
				return fmt.Errorf("its bottom %d would have to be two blobs", k)
			}
		}
		c.in = append(c.in, v)
	}
	for _, u := range l.makes {
		c.out = append(c.out, u.Node.Outputs[u.Index])
	}
	for _, v := range slices.Concat(c.in, c.out) {
		if f.blobs[v] == nil {
			return fmt.Errorf("%q is no blob of the net", v.Name)
		}
	}
	for j, n := range l.nodes {
		if form(n) != l.forms[j] {
			return fmt.Errorf("%v has changed in type or attributes", n)
		}
		for k, v := range n.Inputs {
			var now, before *model.Constant
			if v != nil {
				now = v.Const
			}
			if k < len(l.consts[j]) {
				before = l.consts[j][k]
			}
			w, stored := l.place[k]
			switch {
			case now == before:
			case now == nil || n != l.main || !stored || w > len(l.weights) || w == len(l.weights) && l.gains == "":
				return fmt.Errorf("%v has another input %d, for which there is no place", n, k)
			case w < len(l.weights):
				if elements, _ := now.Elements(); elements != l.weights[w].count {
					return fmt.Errorf("%v has %d elements as input %d, blob %d has %d", n, elements, k, w, l.weights[w].count)
				}
				c.weights[w] = l.enlarged(now)
			case slices.ContainsFunc(now.Values, func(x float64) bool { return x != 0 }):
				c.weights[w], c.gained = now, true
			}
		}
	}
	return nil
}

// enlarged is a constant multiplied by the layer's factor, as the file stores it.
func (l *layer) enlarged(c *model.Constant) *model.Constant {
	if l.factor == 0 || l.factor == 1 {
		return c
	}
	large := &model.Constant{DType: c.DType, Shape: c.Shape, Values: slices.Clone(c.Values)}
	for k := range large.Values {
		large.Values[k] *= l.factor
	}
	return large
}

// blobNames are the names of the values' blobs. Each keeps its name, unless the edited net would overwrite a blob of that
// name before its last reader: then the value whose graph name differs takes its graph name.
func (f *file) blobNames(changes map[*layer]*change) map[*model.Value]string {
	names := map[*model.Value]string{}
	for v, b := range f.blobs {
		names[v] = b.name
	}
	var live []*layer
	last := map[*model.Value]int{} // the last layer that reads a value
	for _, l := range f.net.layers {
		if c := changes[l]; !c.dropped {
			for _, v := range c.in {
				last[v] = len(live)
			}
			live = append(live, l)
		}
	}
	for again := true; again; {
		again = false
		current := map[string]*model.Value{}
		for k, l := range live {
			c := changes[l]
			for j, v := range c.out {
				old := current[names[v]]
				if old != nil && (j >= len(c.in) || c.in[j] != old || last[old] > k) {
					if old.Name == f.blobs[old].name {
						old = v
					}
					names[old], again = old.Name, true
				}
				current[names[v]] = v
			}
		}
	}
	return names
}

// renamed are the values that have other names when the written text is opened.
func (f *file) renamed(text string, changes map[*layer]*change) (map[string]string, error) {
	again, err := readNetwork(&source{name: f.net.source.name, text: text})
	if err != nil {
		return nil, fmt.Errorf("the folded prototxt cannot be read: %w", err)
	}
	renamed, k := map[string]string{}, 0
	for _, l := range f.net.layers {
		c := changes[l]
		if c.dropped {
			continue
		}
		if k >= len(again.layers) || again.layers[k].name != l.name || len(again.layers[k].out) != len(c.out) {
			return nil, fmt.Errorf("layer %q is not where it was in the folded prototxt", l.name)
		}
		for j, v := range c.out {
			if name := again.layers[k].out[j].value; name != v.Name {
				renamed[v.Name] = name
			}
		}
		k++
	}
	return renamed, nil
}
