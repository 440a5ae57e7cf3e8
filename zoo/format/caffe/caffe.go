// Package caffe reads and writes Caffe's nets: a prototxt, which lists layers, and a caffemodel with their weights.
//
// Layers are matched with their weights by name. What the net of phase TEST computes becomes a graph; layers of other
// phases stay in the prototxt. Writing changes the user's text only where folding changed the net: comments, order and
// unknown fields stay. In the caffemodel the messages of changed layers are rewritten, and all other bytes copied.
//
// Layers as in BVLC's caffe.proto, with those of the SSD, ENet and mobile forks that OpenCV runs too. A layer, or a form of
// one, that ONNX's operators do not express exactly is one node of the domain "caffe", through which nothing is folded.
package caffe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func init() {
	format.Register(format.Format{Name: "caffe", Version: 2, Extensions: []string{".prototxt"}, Open: open, Files: files})
}

// file is an open net.
type file struct {
	path    string
	net     *network
	weights *weightsFile
	model   *model.Model
	values  map[*blob]*model.Value
	blobs   map[*model.Value]*blob
}

// open opens a prototxt with the caffemodel that the options name, or the one beside it that has its name. Errors wrap
// format.ErrCorrupt or format.ErrLimit where a file is to blame; in the prototxt they say line and column.
func open(_ context.Context, path string, o format.Options) (format.File, error) {
	name := filepath.Base(path)
	text, err := readText(path, name)
	if err != nil {
		return nil, err
	}
	net, err := readNetwork(&source{name: name, text: text})
	if err != nil {
		return nil, err
	}
	weights := o.Weights
	if weights == "" {
		weights = strings.TrimSuffix(path, filepath.Ext(path)) + ".caffemodel"
	}
	w, err := readWeights(weights, filepath.Base(weights))
	if errors.Is(err, fs.ErrNotExist) && o.Weights == "" {
		return nil, fmt.Errorf("%s has no weights beside it: the manifest's weights names another caffemodel: %w", name, err)
	} else if err != nil {
		return nil, err
	}
	f := &file{path: path, net: net, weights: w, blobs: map[*model.Value]*blob{}}
	if err := f.read(); err != nil {
		w.File.Close()
		return nil, err
	}
	return f, nil
}

// files is what format.Files says of a prototxt.
func files(_ context.Context, path string, o format.Options) ([]string, error) {
	return format.Named(path, o, ".caffemodel"), nil
}

// readText reads a prototxt, which is text of moderate size.
func readText(path, name string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if info.Size() > maxText {
		return "", fmt.Errorf("%s: %d bytes of text: %w", name, info.Size(), format.ErrLimit)
	}
	data, err := os.ReadFile(path)
	return string(data), err
}

// read matches layers with weights and builds the graph.
func (f *file) read() error {
	users := map[string]int{} // of shared weights, by their param's name
	everyone := slices.Concat(f.net.layers, f.net.others)
	named, training := map[string]int{}, map[string]bool{}
	for _, l := range f.net.others {
		for _, name := range l.paramNames() {
			training[name] = true
		}
	}
	for _, l := range everyone {
		named[l.name]++
		for _, name := range l.paramNames() {
			if name != "" {
				users[name]++
			}
		}
	}
	for _, l := range f.net.layers {
		if l.where == nil {
			continue
		}
		if l.stored = f.weights.layers[l.name]; l.stored != nil {
			l.weights = l.stored.weights
		}
		l.shared = map[int]bool{}
		for k, name := range l.paramNames() {
			l.shared[k] = users[name] > 1
		}
		for k := range len(l.weights) + 1 { // a layer of the same name reads the same weights
			l.shared[k] = l.shared[k] || named[l.name] > 1
		}
	}
	if err := f.pair(named, training); err != nil {
		return err
	}
	b, err := build(f.net, f.weights)
	if err != nil {
		return err
	}
	f.model, f.values = b.graph.Model, b.values
	for x, v := range b.values {
		f.blobs[v] = x
	}
	f.model.Place, f.model.Stays, f.model.Twins = place, stays, twins
	f.model.Shares = f.sharers
	return nil
}

// sharers names the other layers that share weight k of a node's layer.
func (f *file) sharers(n *model.Node, k int) string {
	l, w, _ := weightOf(n, k)
	if l == nil || !l.shared[w] {
		return ""
	}
	name, list := "", []string(nil)
	if names := l.paramNames(); w < len(names) {
		name = names[w]
	}
	for _, other := range slices.Concat(f.net.layers, f.net.others) {
		if other == l || other.where == nil {
			continue
		}
		if other.name == l.name {
			list = append(list, fmt.Sprintf("another layer %q", other.name))
		} else if name != "" && slices.Contains(other.paramNames(), name) {
			list = append(list, fmt.Sprintf("layer %q", other.name))
		}
	}
	return strings.Join(list, " and ")
}

// pair finds layers that share all their weights. The caffemodel has a copy for each layer: Caffe uses the last one for
// all, OpenCV each for its layer. So layers whose copies differ are not paired.
func (f *file) pair(named map[string]int, training map[string]bool) error {
	groups := map[string][]*layer{}
	for _, l := range f.net.layers {
		if l.where == nil || len(l.weights) == 0 {
			continue
		}
		names := l.paramNames()
		if len(names) != len(l.weights) || named[l.name] > 1 || slices.ContainsFunc(names, func(name string) bool { return name == "" || training[name] }) {
			continue
		}
		key := l.typ + "\x00" + strings.Join(names, "\x00")
		groups[key] = append(groups[key], l)
	}
	users := map[string]int{} // of the groups
	for key, group := range groups {
		for _, name := range strings.Split(key, "\x00")[1:] {
			users[name] += len(group)
		}
	}
	counts := map[string]int{}
	for _, l := range f.net.layers {
		if l.where != nil {
			for _, name := range l.paramNames() {
				counts[name]++
			}
		}
	}
	for key, group := range groups {
		whole := len(group) > 1
		for _, name := range strings.Split(key, "\x00")[1:] {
			whole = whole && users[name] == len(group) && counts[name] == len(group) // no other layer has it
		}
		for _, l := range group[1:] {
			if !whole {
				break
			}
			var err error
			if whole, err = group[0].same(l); err != nil {
				return err
			}
		}
		if !whole {
			continue
		}
		for _, l := range group {
			l.twins = group
		}
	}
	return nil
}

// same says whether two layers have the same weights in the caffemodel.
func (l *layer) same(m *layer) (bool, error) {
	if len(l.weights) != len(m.weights) {
		return false, nil
	}
	for k, w := range l.weights {
		if !slices.Equal(w.shape, m.weights[k].shape) {
			return false, nil
		}
		a, b := w.as(w.shape), m.weights[k].as(w.shape)
		equal, err := tensor.Equal(a.Data, b.Data, a.Bytes())
		if err != nil || !equal {
			return false, err
		}
	}
	return true, nil
}

// twins are the nodes of the layers that share all their weights with n's.
func twins(n *model.Node) (list []*model.Node, together bool) {
	l, ok := n.Source.(*layer)
	if !ok || n != l.main {
		return nil, false
	}
	for _, t := range l.twins {
		if t.main == nil || t.gains != l.gains || !maps.Equal(t.place, l.place) {
			return nil, false
		}
		list = append(list, t.main)
	}
	return list, false
}

// paramNames are the names that the layer gives its weights, by which others share them; "" for no name.
func (l *layer) paramNames() (names []string) {
	for _, f := range l.text.all("param") {
		name := f.value // as a V1LayerParameter has it
		for _, g := range f.inner.all("name") {
			name = g.value
		}
		names = append(names, name)
	}
	return names
}

// place says whether the files store input k of a node: as a weight, or as one that its layer can gain behind the others.
func place(n *model.Node, k int) model.Place {
	l, w, ok := weightOf(n, k)
	switch {
	case ok && w < len(l.weights):
		return model.Stored
	case ok && w == len(l.weights) && l.gains != "":
		return model.Gained
	}
	return model.NoPlace
}

// stays says that a node cannot be removed by itself: one of several nodes of a layer.
func stays(n *model.Node) (why string, yes bool) {
	l, ok := n.Source.(*layer)
	return "", !ok || len(l.nodes) > 1
}

// weightOf is the layer of a node and the index of its weight that is input k. ok is false if another layer shares the
// weight and is not known to use it in the same way.
func weightOf(n *model.Node, k int) (l *layer, w int, ok bool) {
	if l, ok = n.Source.(*layer); !ok || n != l.main {
		return l, 0, false
	}
	w, ok = l.place[k]
	all, _ := twins(n)
	return l, w, ok && (!l.shared[w] || len(all) > 0)
}

func (f *file) Model() *model.Model { return f.model }

// Inputs are the prototxt and the caffemodel.
func (f *file) Inputs() []string { return []string{f.path, f.weights.path} }

func (f *file) Close() error { return f.weights.File.Close() }
