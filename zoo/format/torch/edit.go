package torch

import (
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// program is the edited text of the program.
func (c *changes) program() *jsontext.Value {
	copies := map[*jsontext.Value]*jsontext.Value{}
	text := c.h.text.Clone(copies)
	take := func(v *jsontext.Value) { copies[v].Up.Remove(copies[v]) }
	p := c.h.built.p
	for _, g := range c.gains {
		c.gain(g, copies)
	}
	for at, name := range c.names {
		copies[at].Replace(jsontext.Quote(name))
	}
	for _, s := range c.h.built.sites {
		if c.gone[s] {
			take(s.node.tree)
		}
	}
	metas := text.Get("graph_module", "graph", "tensor_values")
	for _, f := range c.fresh {
		insert(copies[f.like.item], `{"as_tensor": {"name": `+jsontext.Quote(f.name)+`}}`)
		insert(copies[f.like.spec], f.spec())
		metas.Set(f.name, f.meta(p.metaOf[f.like.name]))
	}
	for _, i := range p.inputs {
		if x := c.changed[i]; x != nil && x.strides != nil {
			metas.Set(i.name, relaid(p.metaOf[i.name], x.value.Const.DType, i.payload.meta.sizes, x.strides))
		}
		if c.dead[i] {
			take(i.item)
			take(i.spec)
		}
	}
	sweep(metas, c.dropped)
	return text
}

// sweep removes keys from an object.
func sweep(v *jsontext.Value, keys map[string]bool) {
	var left []*jsontext.Value
	var names []string
	for k, item := range v.Items {
		if !keys[v.Keys[k]] {
			left, names = append(left, item), append(names, v.Keys[k])
		}
	}
	if len(left) < len(v.Items) {
		v.Items, v.Keys = left, names
		v.Edited()
	}
}

// gain gives an operator an argument that was left out.
func (c *changes) gain(g gain, copies map[*jsontext.Value]*jsontext.Value) {
	value := `{"as_tensor": {"name": ` + jsontext.Quote(g.is.name) + `}}`
	var before *arg
	for _, a := range g.site.node.args {
		if a.name == g.arg {
			copies[a.tree].Set("arg", value)
			return
		}
		for _, r := range g.site.refs { // it stands behind the tensors
			if r.arg == a {
				before = a
			}
		}
	}
	insert(copies[before.tree], `{"name": `+jsontext.Quote(g.arg)+`, "arg": `+value+`, "kind": 1}`)
}

// insert puts an item behind another of an array.
func insert(v *jsontext.Value, text string) {
	item, err := jsontext.Parse(text)
	if err != nil {
		panic("torch: " + err.Error())
	}
	item.Up = v.Up
	v.Up.Items = slices.Insert(v.Up.Items, slices.Index(v.Up.Items, v)+1, item)
	v.Up.Edited()
}

// spec is the new tensor's entry in the signature.
func (f *fresh) spec() string {
	v := f.like.spec.Clone(map[*jsontext.Value]*jsontext.Value{})
	v.Up = nil
	_, inner := union(v)
	inner.Get("arg").Set("name", jsontext.Quote(f.name))
	for _, key := range []string{"parameter_name", "buffer_name", "tensor_constant_name"} {
		if inner.Get(key) != nil {
			inner.Set(key, jsontext.Quote(f.stored))
		}
	}
	return v.String()
}

// meta is the new tensor's metadata, in the form of another tensor's.
func (f *fresh) meta(like *jsontext.Value) string {
	return relaid(like, f.value.Const.DType, f.shape, f.strides)
}

// strides are those of a form whose record has its elements side by side.
func (f *stored) strides() []int64 {
	of, out := tensor.Strides(f.record()), make([]int64, len(f.perm))
	for k, p := range f.perm {
		out[k] = of[p]
	}
	return out
}

// relaid is a tensor's metadata with another type, shape and strides, and offset 0.
func relaid(like *jsontext.Value, d tensor.DType, sizes, strides []int64) string {
	v := like.Clone(map[*jsontext.Value]*jsontext.Value{})
	v.Up = nil
	list := func(xs []int64) string {
		var items []string
		for _, x := range xs {
			items = append(items, `{"as_int": `+strconv.FormatInt(x, 10)+`}`)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	for code, of := range dtypes {
		if of == d {
			v.Set("dtype", strconv.FormatInt(code, 10))
		}
	}
	v.Set("sizes", list(sizes))
	v.Set("strides", list(strides))
	v.Set("storage_offset", `{"as_int": 0}`)
	return v.String()
}

// config is the edited text of a configuration.
func (c *changes) config(of *config) *jsontext.Value {
	copies := map[*jsontext.Value]*jsontext.Value{}
	text := of.text.Clone(copies)
	list, gone := text.Get("config"), map[string]bool{}
	for _, i := range c.h.built.p.inputs {
		if i.payload == nil || i.payload.config != of {
			continue
		}
		if gone[i.stored] = c.dead[i]; c.dead[i] {
			continue
		}
		if x := c.changed[i]; x != nil && x.strides != nil {
			entry := copies[i.payload.tree]
			entry.Set("tensor_meta", relaid(entry.Get("tensor_meta"), x.value.Const.DType, i.payload.meta.sizes, x.strides))
			entry.Set("path_name", jsontext.Quote(x.path))
		}
	}
	for _, f := range c.fresh {
		if p := f.like.payload; p.config == of {
			entry := p.tree.Clone(map[*jsontext.Value]*jsontext.Value{})
			entry.Up = nil
			entry.Set("path_name", jsontext.Quote(f.path))
			entry.Set("tensor_meta", f.meta(p.tree.Get("tensor_meta")))
			list.Set(f.stored, entry.String())
		}
	}
	sweep(list, gone)
	return text
}
