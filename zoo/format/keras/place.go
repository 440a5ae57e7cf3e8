package keras

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// placer builds the tree of weights of an edited model.
type placer struct {
	*changes
	old    map[*layer]*layer           // the original layer of each layer of the edited model
	sets   map[weightKey]*hdf5.Dataset // the changed ones
	scaled map[*hdf5.Dataset]*weightIs // those whose elements are multiplied while they are written
}

// newPlacer makes the datasets of changed weights. Computed ones, which are small, are encoded at once; others keep their
// elements, and are multiplied when they are written.
func newPlacer(c *changes, old map[*layer]*layer) (*placer, error) {
	p := &placer{changes: c, old: old, sets: map[weightKey]*hdf5.Dataset{}, scaled: map[*hdf5.Dataset]*weightIs{}}
	for key, is := range c.weights {
		set := &hdf5.Dataset{Type: hdf5.TypeOf(is.constant.DType), Shape: is.constant.Shape}
		v := key.layer.variable(key.role)
		like := v
		if v == nil && len(key.layer.vars) > 0 {
			like = key.layer.vars[0]
		}
		if like != nil {
			set.Attrs = like.set.Attrs
			if like.set.Type.Holds(is.constant.DType) { // a layer that keeps float32 weights does not get a float16 one
				set.Type = like.set.Type
			}
		}
		if v != nil {
			set.Shape = v.set.Shape
		}
		if is.constant.Data == nil {
			raw, err := is.constant.Encode()
			if err != nil {
				return nil, fmt.Errorf("layer %q: its %s: %w", key.layer.name, key.role, err)
			}
			out := make(tensor.Buffer, set.Bytes())
			if _, err := set.Type.Writer(out, is.constant.DType).WriteAt(raw, 0); err != nil {
				return nil, fmt.Errorf("layer %q: its %s: %w", key.layer.name, key.role, err)
			}
			set.Data = out
		} else {
			set.Data, is.data = v.data, v.data
			if set.Type == v.set.Type {
				set.Data = v.set.Data
			}
			p.scaled[set] = is
		}
		p.sets[key] = set
	}
	return p, nil
}

// vars are the weights of a layer of the edited model.
func (p *placer) vars(l *layer) []*variable {
	old := p.old[l]
	roles, known := l.roles()
	if !known || l.special() {
		return old.vars
	}
	var list []*variable
	for _, role := range roles {
		v := &variable{role: role}
		if before := old.variable(role); before != nil {
			v.name, v.set = before.name, before.set
		}
		if set := p.sets[weightKey{old, role}]; set != nil {
			v.set = set
		}
		list = append(list, v)
	}
	return list
}

// legacy lays out an .h5 file.
func (p *placer) legacy(root *hdf5.Group, before, n *network) (*hdf5.Group, error) {
	root = copied(root)
	weights := copied(root.Links[weightGroup].(*hdf5.Group))
	root.Links[weightGroup] = weights
	names, err := texts(weights.Attrs, layerNames)
	if err != nil {
		return nil, err
	}
	names = slices.Clone(names)
	for _, l := range before.layers {
		if p.gone(l) {
			delete(weights.Links, l.name)
			names = slices.DeleteFunc(names, func(name string) bool { return name == l.name })
		}
	}
	for l, name := range p.names {
		if group := weights.Links[l.name]; group != nil {
			delete(weights.Links, l.name)
			weights.Links[name] = group
		}
		if k := slices.Index(names, l.name); k >= 0 {
			names[k] = name
		}
	}
	for _, l := range n.listed() {
		old := p.old[l]
		if old.mixed {
			continue
		}
		var vars []*variable
		if l.inner == nil {
			if _, known := l.roles(); !known {
				continue
			}
			vars = p.vars(l)
		} else {
			slots, _ := l.slots(true)
			own := map[*layer][]*variable{}
			for _, s := range slots {
				if own[s.layer] == nil {
					own[s.layer] = p.vars(s.layer)
				}
			}
			for _, s := range legacyOrder(slots) {
				vars = append(vars, own[s.layer][slices.IndexFunc(own[s.layer], func(v *variable) bool { return v.role == s.role })])
			}
		}
		group, _ := weights.Links[l.name].(*hdf5.Group)
		if group == nil {
			if len(vars) == 0 {
				continue
			}
			group = &hdf5.Group{}
		}
		if weights.Links[l.name], err = regrouped(group, l.name, vars); err != nil {
			return nil, fmt.Errorf("layer %q: %w", l.name, err)
		}
	}
	setTexts(&weights.Attrs, layerNames, p.inOrder(names, before, n))
	return root, nil
}

// inOrder sorts names in the order of the edited model's layers, if they were in the order of the original's.
func (p *placer) inOrder(names []string, before, n *network) []string {
	was, is := map[string]int{}, map[string]int{}
	for k, l := range before.listed() {
		was[p.name(l)] = k
	}
	if !slices.IsSortedFunc(names, func(a, b string) int { return was[a] - was[b] }) {
		return names
	}
	for k, l := range n.listed() {
		is[l.name] = k
	}
	slices.SortStableFunc(names, func(a, b string) int { return is[a] - is[b] })
	return names
}

// regrouped is a layer's group in an .h5 file with the edited model's weights. New ones are named like those beside them.
func regrouped(group *hdf5.Group, layer string, vars []*variable) (*hdf5.Group, error) {
	group = deepCopied(group)
	names, err := texts(group.Attrs, weightNames)
	if err != nil {
		return nil, err
	}
	var now []string
	for _, v := range vars {
		if v.name == "" {
			v.name = newName(group, layer, vars, v.role)
		}
		now = append(now, v.name)
		if err := group.Set(v.name, v.set); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if !slices.Contains(now, name) {
			unlink(group, name)
		}
	}
	if !slices.Equal(names, now) {
		setTexts(&group.Attrs, weightNames, now)
	}
	return group, nil
}

// newName is a name for a weight of that role: conv2d/bias:0 beside conv2d/kernel:0, conv_b beside conv_W.
func newName(group *hdf5.Group, layer string, vars []*variable, role string) string {
	base := layer + "/" // if there is no other weight
	for _, v := range vars {
		if v.name != "" {
			base = v.name
			break
		}
	}
	folder, last := "", base
	if k := strings.LastIndex(base, "/"); k >= 0 {
		folder, last = base[:k+1], base[k+1:]
	}
	name := role
	if strings.HasSuffix(last, ":0") {
		name += ":0"
	}
	if stem, ok := strings.CutSuffix(last, "_W"); ok && role == "bias" {
		name = stem + "_b"
	}
	free := folder + name
	for k := 1; group.Get(free) != nil; k++ {
		free = folder + strconv.Itoa(k) + "_" + name
	}
	return free
}

// unlink removes an object from a group, and groups that are empty then.
func unlink(group *hdf5.Group, path string) {
	first, rest, deeper := strings.Cut(path, "/")
	if inner, ok := group.Links[first].(*hdf5.Group); ok && deeper {
		unlink(inner, rest)
		if len(inner.Links) > 0 {
			return
		}
	}
	delete(group.Links, first)
}

// copied is a shallow copy of a group; deepCopied also copies the groups in it.
func copied(g *hdf5.Group) *hdf5.Group {
	c := &hdf5.Group{Attrs: slices.Clone(g.Attrs), Links: maps.Clone(g.Links)}
	if c.Links == nil {
		c.Links = map[string]hdf5.Object{}
	}
	return c
}

func deepCopied(g *hdf5.Group) *hdf5.Group {
	c := copied(g)
	for name, o := range c.Links {
		if inner, ok := o.(*hdf5.Group); ok {
			c.Links[name] = deepCopied(inner)
		}
	}
	return c
}

// maxAttribute is the size in bytes above which Keras splits a list of names into several attributes.
const maxAttribute = 64512

// setTexts writes a list of names as one attribute, or as several, in the form that texts reads.
func setTexts(attrs *hdf5.Attributes, name string, list []string) {
	like, whole := attrs.Get(name)
	first := name
	if !whole {
		if like, whole = attrs.Get(name + "0"); whole {
			first = name + "0"
		}
	}
	size := 0
	for _, s := range list {
		size = max(size, len(s))
	}
	parts := max(1, (size*len(list)+maxAttribute-1)/maxAttribute)
	if parts == 1 && first == name {
		attrs.Set(name, like.WithTexts(list))
		return
	}
	at := slices.IndexFunc(*attrs, func(a hdf5.Attribute) bool { return a.Name == first })
	*attrs = slices.DeleteFunc(slices.Clone(*attrs), func(a hdf5.Attribute) bool {
		number, numbered := strings.CutPrefix(a.Name, name)
		_, err := strconv.Atoi(number)
		return a.Name == name || numbered && err == nil
	})
	var made []hdf5.Attribute
	for k := range parts {
		part := list[k*len(list)/parts : (k+1)*len(list)/parts]
		made = append(made, hdf5.Attribute{Name: name + strconv.Itoa(k), Value: like.WithTexts(part)})
	}
	*attrs = slices.Insert(*attrs, min(max(at, 0), len(*attrs)), made...)
}

// archive builds the tree of weights of a .keras file: groups are named after the layers' classes, with numbers, in the
// order of Keras' model.layers.
func (p *placer) archive(group *hdf5.Group, n *network, stored map[string]bool) *hdf5.Group {
	group = copied(group)
	listed := n.listed()
	folder := &hdf5.Group{Links: map[string]hdf5.Object{}}
	into := layerFolders[0]
	for _, name := range layerFolders {
		if g, ok := group.Links[name].(*hdf5.Group); ok {
			folder.Attrs, into = g.Attrs, name
			break
		}
	}
	for k, name := range folders(listed) {
		l := listed[k]
		old := p.old[l]
		if id := l.tree.Get("shared_object_id"); l.twin {
			if stored[id.String()] {
				if old.group != nil {
					folder.Links[name] = old.group
				}
				continue
			}
			stored[id.String()] = true
		}
		own := old.group
		switch _, known := l.roles(); {
		case l.inner != nil && own != nil:
			own = p.archive(own, l.inner, stored)
		case l.inner != nil || !known || l.special():
		default:
			if inner := l.own(own); inner != nil && l.timed {
				own = copied(own)
				own.Links["layer"] = revalued(inner, p.vars(l))
			} else {
				own = revalued(own, p.vars(l))
			}
		}
		if own != nil {
			folder.Links[name] = p.called(own, l)
		}
	}
	if len(folder.Links) > 0 || group.Links[into] != nil {
		group.Links[into] = folder
	}
	return group
}

// called is a layer's group in a .keras file with the attribute "name" updated, if the file has such attributes.
func (p *placer) called(group *hdf5.Group, l *layer) *hdf5.Group {
	vars, ok := group.Links[varsFolder].(*hdf5.Group)
	if !ok || p.names[p.old[l]] == "" || nameOf(group) == "" {
		return group
	}
	group, vars = copied(group), copied(vars)
	v, _ := vars.Attrs.Get("name")
	vars.Attrs.Set("name", v.WithTexts([]string{l.name}))
	group.Links[varsFolder] = vars
	return group
}

// revalued is a layer's group in a .keras file with the edited model's weights.
func revalued(group *hdf5.Group, vars []*variable) *hdf5.Group {
	if group == nil {
		if len(vars) == 0 {
			return nil
		}
		group = &hdf5.Group{}
	}
	group = copied(group)
	folder := &hdf5.Group{Links: map[string]hdf5.Object{}}
	if old, ok := group.Links[varsFolder].(*hdf5.Group); ok {
		folder.Attrs = old.Attrs
	} else if len(vars) == 0 {
		return group
	}
	for k, v := range vars {
		folder.Links[strconv.Itoa(k)] = v.set
	}
	group.Links[varsFolder] = folder
	return group
}
