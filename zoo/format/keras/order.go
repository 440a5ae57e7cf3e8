package keras

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// listed are a network's layers in the order of Keras' model.layers, which may differ from the configuration's: weights are
// stored and loaded in that order. The layers of a functional model are sorted by depth, the number of calls on the longest
// way to an output. Layers of equal depth are in the order in which a walk from the outputs to the inputs finds them (Keras
// 3's ops/function.py, map_graph; Keras 1 and 2 do the same). Operations count for the depth, and are not listed.
func (n *network) listed() []*layer {
	var layers []*layer
	if n.sequential {
		layers = slices.Clone(n.layers)
		if len(layers) > 0 && layers[0].class == "InputLayer" {
			layers = layers[1:]
		}
		return layers
	}
	w := n.walk()
	depth, depths := map[callKey]int{}, map[*layer]int{}
	for _, key := range slices.Backward(w.order) {
		d := max(depth[key], depths[key.layer])
		depth[key], depths[key.layer] = d, d
		for _, r := range key.reads() {
			if before := r.key().callKey; w.done[before] {
				depth[before] = max(depth[before], d+1)
			}
		}
	}
	for _, r := range n.inputs { // inputs that nothing depends on
		if _, ok := depths[r.layer]; !ok {
			depths[r.layer], w.found[r.layer] = 0, -1
		}
	}
	for l := range depths {
		if l.counted {
			layers = append(layers, l)
		}
	}
	at := map[*layer]int{} // inputs that nothing depends on come in the same order
	for k, r := range n.inputs {
		at[r.layer] = k
	}
	slices.SortFunc(layers, func(a, b *layer) int {
		if d := depths[b] - depths[a]; d != 0 {
			return d
		}
		if d := w.found[a] - w.found[b]; d != 0 {
			return d
		}
		return at[a] - at[b]
	})
	return layers
}

type callKey struct {
	layer *layer
	call  int
}

type outputKey struct {
	callKey
	output int
}

func (r *ref) key() outputKey { return outputKey{callKey{r.layer, r.call}, r.output} }

// reads are the tensors that a call reads.
func (k callKey) reads() []*ref {
	if k.call < len(k.layer.calls) {
		return k.layer.calls[k.call].refs
	}
	return nil
}

// walk is a depth-first walk from outputs to inputs.
type walk struct {
	done  map[callKey]bool
	found map[*layer]int
	order []callKey // every call behind those that it reads
}

// walk finds all calls of a functional model that its outputs depend on. Keras ignores others.
func (n *network) walk() *walk {
	w := &walk{done: map[callKey]bool{}, found: map[*layer]int{}}
	for _, r := range n.outputs {
		w.visit(r)
	}
	return w
}

func (w *walk) visit(r *ref) {
	key := r.key()
	if w.done[key.callKey] {
		return
	}
	w.done[key.callKey] = true // cycles have been refused
	if _, ok := w.found[r.layer]; !ok {
		w.found[r.layer] = len(w.found)
	}
	for _, before := range key.reads() {
		w.visit(before)
	}
	w.order = append(w.order, key.callKey)
}

var capitals = []*regexp.Regexp{regexp.MustCompile(`(.)([A-Z][a-z]+)`), regexp.MustCompile(`([a-z])([A-Z])`)}

// snake is a class's name as Keras writes it in names of folders and layers: conv2d, batch_normalization.
func snake(class string) string {
	class = regexp.MustCompile(`\W+`).ReplaceAllString(class, "")
	for _, c := range capitals {
		class = c.ReplaceAllString(class, "${1}_${2}")
	}
	return strings.ToLower(class)
}

// folders are the names of the layers' groups in a .keras file: their classes, with numbers.
func folders(layers []*layer) []string {
	used := map[string]int{}
	var names []string
	for _, l := range layers {
		name := snake(className(l.tree))
		k := used[name]
		used[name]++
		if k > 0 {
			name += "_" + strconv.Itoa(k)
		}
		names = append(names, name)
	}
	return names
}
