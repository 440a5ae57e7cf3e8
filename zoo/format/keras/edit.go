package keras

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
)

// changes are the edits of the graph, in terms of layers.
type changes struct {
	dropped map[callKey]bool              // calls that are removed
	plain   map[*layer]bool               // layers whose scale and center (γ and β) are removed
	weights map[weightKey]*weightIs       // changed weights, and gained ones
	said    map[weightKey]*model.Constant // changed settings, by their role
	names   map[*layer]string             // layers that are renamed to keep the names of the model's outputs
	numbers map[*layer][]int              // see number
}

// weightKey is a weight by its layer and role.
type weightKey struct {
	layer *layer
	role  string
}

// weightIs is the new content of a weight.
type weightIs struct {
	constant *model.Constant
	name     string      // in the original model
	data     io.ReaderAt // for a weight that is multiplied while it is written: its elements, in stored order
}

func (c *changes) none() bool { return len(c.dropped)+len(c.plain)+len(c.weights)+len(c.said) == 0 }

// changes compares the graph with the one that was read from the file.
func (h *file) changes() (*changes, error) {
	c := &changes{dropped: map[callKey]bool{}, plain: map[*layer]bool{}, weights: map[weightKey]*weightIs{}, said: map[weightKey]*model.Constant{}, names: map[*layer]string{}, numbers: map[*layer][]int{}}
	kept := map[callKey]bool{}
	for _, s := range h.built.sites {
		gone := 0
		for _, p := range s.parts {
			if p.node.Removed() {
				gone++
				continue
			}
			if err := c.inputs(p); err != nil {
				return nil, err
			}
		}
		key := callKey{s.layer, s.call}
		switch {
		case gone == 0:
			kept[key] = true
		case gone == len(s.parts):
			c.dropped[key] = true
		case gone == 1 && s.parts[len(s.parts)-1].tail && s.parts[len(s.parts)-1].node.Removed():
			c.plain[s.layer] = true
		default:
			return nil, fmt.Errorf("layer %q: %d of its %d operators were left out, which no Keras file can say", s.layer.name, gone, len(s.parts))
		}
	}
	for key := range c.dropped {
		if kept[key] {
			return nil, fmt.Errorf("layer %q is left out in one of several places, which no Keras file can say", key.layer.name)
		}
		if n := key.layer.calls[key.call].data; n != 1 {
			return nil, fmt.Errorf("layer %q reads %d tensors and is left out, which no Keras file can say", key.layer.name, n)
		}
	}
	if !c.none() { // layers that no output depends on are removed too, since Keras does not write such layers
		for _, n := range h.built.networks {
			if n.sequential {
				continue
			}
			reached := n.walk().done
			for _, l := range n.layers {
				for k := range l.calls {
					if !reached[callKey{l, k}] {
						c.dropped[callKey{l, k}] = true
					}
				}
			}
		}
	}
	c.nameOutputs(h.net)
	return c, nil
}

// nameOutputs keeps the names of the model's outputs, which are the names of the layers that compute them: a layer that
// replaces a dropped one gets its name.
func (c *changes) nameOutputs(n *network) {
	own := map[*layer]bool{nil: true}
	for _, r := range n.outputs {
		if c.resolve(r) == r {
			own[r.layer] = true
		}
	}
	for _, r := range n.outputs {
		to := c.resolve(r).layer
		if !own[to] && c.gone(r.layer) && len(to.calls) == 1 {
			own[to] = true
			c.names[to] = r.layer.name
		}
	}
}

// name is a layer's name in the edited model.
func (c *changes) name(l *layer) string {
	if name := c.names[l]; name != "" {
		return name
	}
	return l.name
}

// inputs records which weights of a node have changed.
func (c *changes) inputs(p *part) error {
	for k := range max(len(p.node.Inputs), len(p.given)) {
		v := p.node.In(k)
		var now, given *model.Constant
		if v != nil {
			now = v.Const
		}
		if k < len(p.given) {
			given = p.given[k]
		}
		if now == given {
			continue
		}
		if now == nil || k >= len(p.roles) || p.roles[k] == "" || place(p.node, k) == model.NoPlace {
			return fmt.Errorf("%v: its input %d is another one, for which a Keras file has no place", p.node, k)
		}
		key := weightKey{p.site.layer, p.roles[k]}
		if classes[p.site.layer.class].said[p.roles[k]] != "" {
			c.said[key] = now
			continue
		}
		if old := c.weights[key]; old != nil && old.constant != now {
			return fmt.Errorf("%v: its input %d is another one than in another place of its layer", p.node, k)
		}
		name := v.Name
		if given != nil {
			name = p.names[k]
		}
		c.weights[key] = &weightIs{constant: now, name: name}
	}
	return nil
}

// resolve follows a tensor through dropped calls to the tensor that replaces it.
func (c *changes) resolve(r *ref) *ref {
	for r.layer != nil && c.dropped[callKey{r.layer, r.call}] {
		r = r.layer.calls[r.call].refs[0]
	}
	return r
}

// number is a call's number after the dropped ones are removed.
func (c *changes) number(l *layer, call int) int {
	if len(l.calls) < 2 {
		return call
	}
	list := c.numbers[l]
	if list == nil {
		next := 0
		for k := range l.calls {
			list = append(list, next)
			if !c.dropped[callKey{l, k}] {
				next++
			}
		}
		c.numbers[l] = list
	}
	return list[call]
}

// gone says whether all calls of a layer are dropped.
func (c *changes) gone(l *layer) bool {
	for k := range l.calls {
		if !c.dropped[callKey{l, k}] {
			return false
		}
	}
	return len(l.calls) > 0
}

// editConfig makes the changes to a copy of the configuration; copies maps each part of the original to its copy.
func (c *changes) editConfig(n *network, copies map[*jsontext.Value]*jsontext.Value) error {
	for _, l := range n.layers {
		if err := c.editLayer(l, copies[l.tree]); err != nil {
			return fmt.Errorf("layer %q: %w", l.name, err)
		}
		if l.inner != nil {
			if err := c.editConfig(l.inner, copies); err != nil {
				return err
			}
		}
	}
	if n.sequential {
		return c.unchain(n, copies)
	}
	rewire := func(refs []*ref, what int) {
		for _, r := range refs {
			to := c.resolve(r)
			if call := c.number(to.layer, to.call); to != r || call != r.call || c.names[to.layer] != "" {
				tree := copies[r.tree]
				tree.Items[0].Replace(jsontext.Quote(c.name(to.layer)))
				tree.Items[1].Replace(strconv.Itoa(call + to.layer.base[what]))
				tree.Items[2].Replace(strconv.Itoa(to.output))
				if to == r || !r.tensor || !to.tensor {
					continue
				}
				for _, key := range []string{"shape", "dtype"} { // as they are said, or not, where the tensor was read so far
					if said := to.tree.Up.Get(key); said != nil {
						tree.Up.Set(key, said.String())
					} else if other := tree.Up.Get(key); other != nil {
						tree.Up.Remove(other)
					}
				}
			}
		}
	}
	rewire(n.inputs, facing)
	rewire(n.outputs, facing)
	for _, l := range n.layers {
		for _, call := range l.calls {
			if c.dropped[callKey{l, call.index}] {
				copies[call.tree].Up.Remove(copies[call.tree])
				continue
			}
			rewire(call.refs, reading)
		}
		if c.gone(l) {
			copies[l.tree].Up.Remove(copies[l.tree])
		}
	}
	return nil
}

// editLayer updates the settings that say which weights a layer has.
func (c *changes) editLayer(l *layer, tree *jsontext.Value) error {
	settings := l.settings(tree)
	if name := c.names[l]; name != "" {
		for _, of := range []*jsontext.Value{tree, tree.Get("config")} {
			if v := of.Get("name"); v != nil {
				v.Replace(jsontext.Quote(name))
			}
		}
	}
	if c.plain[l] {
		settings.Set("scale", "false")
		settings.Set("center", "false")
	}
	class := classes[l.class]
	if l.foreign || class == nil {
		return nil
	}
	for _, role := range slices.Sorted(maps.Keys(class.said)) {
		if is := c.said[weightKey{l, role}]; is != nil {
			settings.Set(class.said[role], spelled(is.Values))
		}
	}
	for _, role := range slices.Sorted(maps.Keys(class.gains)) {
		setting := class.gains[role]
		if c.weights[weightKey{l, role}] == nil || l.variable(role) != nil {
			continue
		}
		if settings.Get("bias") != nil && role == "bias" { // Keras 1
			setting = "bias"
		}
		settings.Set(setting, "true")
	}
	return nil
}

// spelled are float32 numbers as JSON: one number if all are equal, else a list.
func spelled(values []float64) string {
	words := make([]string, len(values))
	for k, x := range values {
		words[k] = strconv.FormatFloat(float64(float32(x)), 'g', -1, 32)
	}
	if !slices.ContainsFunc(words, func(w string) bool { return w != words[0] }) {
		return words[0]
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// unchain removes dropped layers from a sequential model. If the first one declared the model's input, an InputLayer with
// the name that Keras gave the input is put in its place.
func (c *changes) unchain(n *network, copies map[*jsontext.Value]*jsontext.Value) error {
	for k, l := range n.layers {
		if !c.gone(l) {
			continue
		}
		tree := copies[l.tree]
		if k > 0 || l.class == "InputLayer" {
			tree.Up.Remove(tree)
			continue
		}
		input := n.faces()[0]
		shape := make([]string, len(input.shape))
		for k, d := range input.shape {
			if shape[k] = strconv.FormatInt(d, 10); d < 0 {
				shape[k] = "null"
			}
		}
		dtype := "dtype"
		if l.old {
			dtype = "input_dtype"
		}
		settings := fmt.Sprintf(`{"batch_input_shape": [%s], %s: %s, "sparse": false, "name": %s}`,
			strings.Join(shape, ", "), jsontext.Quote(dtype), jsontext.Quote(input.dtype.String()), jsontext.Quote(input.name))
		read, err := jsontext.Parse(fmt.Sprintf(`{"class_name": "InputLayer", "config": %s}`, settings))
		if err != nil {
			return err
		}
		tree.Up.Items[0], read.Up = read, tree.Up
		read.Up.Edited()
	}
	return nil
}
