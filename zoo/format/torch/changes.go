package torch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// changes are the differences between an edited graph and the file.
type changes struct {
	h       *file
	gone    map[*site]bool
	names   map[*jsontext.Value]string // new names at places of the program's text that name a tensor
	gains   []gain
	fresh   []*fresh
	of      map[*model.Value]*fresh
	changed map[*input]*change
	dead    map[*input]bool
	dropped map[string]bool // tensors that are removed
	used    map[string]bool // names in use: of tensors, parameters and records
}

// gain is an omitted argument that becomes a new stored tensor.
type gain struct {
	site *site
	arg  string
	is   *fresh
}

// change is a stored tensor with new elements.
type change struct {
	value   *model.Value
	path    string  // of its record; a new record if other tensors share the old one
	strides []int64 // nil: the same layout as before
}

// fresh is a stored tensor that is new.
type fresh struct {
	name, stored, path string
	like               *input // an existing input of the same kind, behind which it is added
	value              *model.Value
	shape, strides     []int64
}

// changes finds the edits of the graph. It refuses those that a program cannot express.
func (h *file) changes() (*changes, error) {
	c := &changes{h: h, gone: map[*site]bool{}, names: map[*jsontext.Value]string{}, of: map[*model.Value]*fresh{}, changed: map[*input]*change{}, dead: map[*input]bool{}, dropped: map[string]bool{}}
	c.reserve()
	ours := map[*model.Node]bool{}
	for _, s := range h.built.sites {
		if err := c.site(s, ours); err != nil {
			return nil, err
		}
	}
	for _, n := range h.built.m.Graph.Nodes {
		if !n.Removed() && !ours[n] && n.Source != (shadow{}) {
			return nil, fmt.Errorf("%v is nothing that a program can say", n)
		}
	}
	for v, f := range h.built.stored {
		if v.Const != f.was && len(v.Uses) > 0 {
			c.changed[f.input] = &change{value: v}
		}
	}
	if err := c.refs(); err != nil {
		return nil, err
	}
	c.unread()
	c.lay()
	return c, nil
}

// none says whether nothing was edited.
func (c *changes) none() bool {
	return len(c.gone)+len(c.names)+len(c.gains)+len(c.changed)+len(c.dead) == 0
}

// reserve records the names in use.
func (c *changes) reserve() {
	c.used = map[string]bool{}
	for name := range c.h.built.p.metas {
		c.used[name] = true
	}
	for _, n := range c.h.built.p.nodes {
		c.used[n.name] = true
	}
	for _, config := range c.h.configs {
		for _, p := range config.list {
			c.used["stored "+p.name] = true
		}
	}
	for _, m := range c.h.archive.Members {
		c.used["record "+m.Path] = true
	}
}

// free is a new name that is not in use.
func (c *changes) free(prefix, hint string) string {
	name := hint
	for k := 1; c.used[prefix+name]; k++ {
		name = hint + "_" + strconv.Itoa(k)
	}
	c.used[prefix+name] = true
	return name
}

// site finds whether an operator was removed, and the names of its outputs.
func (c *changes) site(s *site, ours map[*model.Node]bool) error {
	removed := 0
	for _, p := range s.parts {
		ours[p.node] = true
		if p.node.Removed() {
			removed++
		} else if p.node.Type != p.typ {
			return fmt.Errorf("%v is no %s any more, which a program cannot say", p.node, p.typ)
		}
	}
	switch {
	case removed == 0:
	case removed == len(s.parts):
		c.gone[s] = true
		for _, name := range s.outputs {
			c.dropped[name] = true
		}
		return nil
	default:
		return fmt.Errorf("%d of the %d nodes of %q are gone, which a program cannot say", removed, len(s.parts), s.name)
	}
	for k, o := range s.outlets {
		if o.node == nil {
			continue
		}
		if v := o.node.Outputs[o.index]; v != nil && v.Name != s.outputs[k] {
			c.names[s.node.outputs[k]] = v.Name
			c.dropped[s.outputs[k]] = true
		}
	}
	return nil
}

// refs finds what the operators read after the edits.
func (c *changes) refs() error {
	b := c.h.built
	for _, s := range b.sites {
		if !c.gone[s] { // a name may move from one operator to another
			for k, o := range s.outlets {
				if o.node != nil {
					delete(c.dropped, o.node.Outputs[o.index].Name)
				} else if !c.gone[s] {
					delete(c.dropped, s.outputs[k])
				}
			}
		}
	}
	for _, s := range b.sites {
		if c.gone[s] {
			continue
		}
		for _, r := range s.refs {
			if err := c.ref(s, r); err != nil {
				return fmt.Errorf("node %q: %w", s.name, err)
			}
		}
		for _, p := range s.parts {
			if err := c.gained(s, p); err != nil {
				return fmt.Errorf("node %q: %w", s.name, err)
			}
		}
	}
	for _, r := range b.faces {
		if c.dropped[r.name] {
			if b.stored[r.was] != nil || c.dropped[r.was.Name] {
				return fmt.Errorf("the output %q is gone", r.name)
			}
			c.names[r.at] = r.was.Name
		}
	}
	return nil
}

// ref finds the name that an argument has to have now.
func (c *changes) ref(s *site, r *ref) error {
	if len(r.used) == 0 {
		return nil
	}
	now := r.used[0].Node.In(r.used[0].Index)
	for _, u := range r.used {
		if now == nil || u.Node.In(u.Index) != now {
			return fmt.Errorf("its argument %s is several tensors now", r.arg.name)
		}
	}
	if now == r.was && !c.dropped[r.name] {
		return nil
	}
	name, err := c.nameOf(s, now, r.form, r.arg.name)
	if err == nil && name != r.name {
		c.names[r.at] = name
	}
	return err
}

// nameOf is a value's name in the program; a new constant is stored first.
func (c *changes) nameOf(s *site, v *model.Value, form *stored, arg string) (string, error) {
	b := c.h.built
	switch f := b.stored[v]; {
	case v.Const == nil && v.Producer != nil && v.Producer.Source == (shadow{}):
		return "", fmt.Errorf("its argument %s is %q now, which has no name", arg, v.Name)
	case v.Const == nil:
		return v.Name, nil
	case f != nil && equal(f.shape, f.input.payload.meta.sizes):
		return f.input.name, nil
	case f != nil:
		return "", fmt.Errorf("its argument %s is a form of %q now", arg, f.input.name)
	}
	return c.add(s, v, form, arg).name, nil
}

// add is a stored tensor that is new: called as an argument of the operator that reads it, beside its weight.
func (c *changes) add(s *site, v *model.Value, form *stored, arg string) *fresh {
	if f := c.of[v]; f != nil {
		return f
	}
	like := s.like()
	if form != nil {
		like = form.input
	}
	hint := like.stored + "_folded"
	if form == nil {
		hint = arg
		if k := strings.LastIndex(like.stored, "."); k >= 0 {
			hint = like.stored[:k+1] + arg
		}
	}
	f := &fresh{like: like, value: v, stored: c.free("stored ", hint), shape: v.Const.Shape}
	if form != nil { // as the operator reads it
		f.shape = form.shape
	}
	if f.strides = tensor.Strides(f.shape); form != nil && v.Const.Data != nil {
		f.strides = form.strides()
	}
	prefix, _, _ := strings.Cut(like.name, "_")
	f.name = c.free("", prefix+"_"+strings.ReplaceAll(f.stored, ".", "_"))
	f.path = c.record(like.payload.config)
	c.of[v] = f
	c.fresh = append(c.fresh, f)
	return f
}

// record is the name of a new record.
func (c *changes) record(config *config) string {
	for k := len(config.list); ; k++ {
		path := config.prefix + strconv.Itoa(k)
		if key := "record " + config.folder + path; !c.used[key] {
			c.used[key] = true
			return path
		}
	}
}

// gained finds constants as inputs that stand for omitted arguments.
func (c *changes) gained(s *site, p *part) error {
	for k, v := range p.node.Inputs {
		if k < len(p.given) && p.given[k] != nil {
			continue
		}
		var was *model.Constant
		if k < len(p.consts) {
			was = p.consts[k]
		}
		switch {
		case v == nil && was == nil, v != nil && v.Const != nil && v.Const == was:
			continue
		case v != nil && v.Const == nil && was == nil && k < len(p.given): // computed within the operator
			continue
		case v == nil || v.Const == nil || k >= len(p.gains) || p.gains[k] == "":
			return fmt.Errorf("there is no argument for input %d of %v", k, p.node)
		}
		arg := p.gains[k]
		c.gains = append(c.gains, gain{s, arg, c.add(s, v, nil, arg)})
	}
	return nil
}

// unread finds the stored tensors that are not read any more, and operators that only gave them another form.
func (c *changes) unread() {
	p, b := c.h.built.p, c.h.built
	reads := map[string]int{}
	say := func(at *jsontext.Value) {
		name, ok := c.names[at]
		if !ok {
			name, _ = at.Str()
		}
		reads[name]++
	}
	for _, s := range b.sites {
		if !c.gone[s] {
			for _, r := range s.refs {
				say(r.at)
			}
		}
	}
	for _, at := range slices.Concat(p.outputs, p.pinned) {
		say(at)
	}
	for _, s := range slices.Backward(b.sites) {
		lost := func(name string) bool { return p.readers[name] > 0 && reads[name] == 0 }
		if len(s.parts) > 0 || c.gone[s] || len(s.outputs) == 0 || !lost(s.outputs[0]) {
			continue
		}
		c.gone[s], c.dropped[s.outputs[0]] = true, true
		for _, r := range s.refs {
			reads[r.name]--
		}
	}
	prefixes := map[string]bool{}
	for _, i := range p.inputs {
		if i.payload == nil || p.readers[i.name] == 0 || reads[i.name] > 0 {
			continue
		}
		c.dead[i] = true
		if prefix, ok := strings.CutSuffix(i.stored, "running_mean"); ok {
			prefixes[prefix] = true
		}
	}
	for _, i := range p.inputs { // num_batches_tracked goes with the running mean
		if prefix, ok := strings.CutSuffix(i.stored, "num_batches_tracked"); ok && prefixes[prefix] && i.payload != nil && p.readers[i.name] == 0 {
			c.dead[i] = true
		}
	}
	for i := range c.dead {
		c.dropped[i.name] = true
		delete(c.changed, i)
	}
}

// lay assigns records to the changed tensors: their own, or new ones if unchanged tensors share those.
func (c *changes) lay() {
	type key struct {
		config *config
		path   string
	}
	dead, users, taken := map[*payload]bool{}, map[key]int{}, map[key]bool{}
	for i := range c.dead {
		dead[i.payload] = true
	}
	for _, config := range c.h.configs {
		for _, p := range config.list {
			if !dead[p] {
				users[key{config, p.path}]++
			}
		}
	}
	for i := range c.changed { // a record goes to the first of those that have changed where all have
		users[key{i.payload.config, i.payload.path}]--
	}
	for _, i := range c.h.built.p.inputs {
		x := c.changed[i]
		if x == nil {
			continue
		}
		p := i.payload
		x.path = p.path
		n, _ := tensor.Elements(p.meta.sizes)
		perm, _ := p.meta.stored()
		computed := x.value.Const.Data == nil
		if at := (key{p.config, p.path}); users[at] == 0 && !taken[at] {
			taken[at] = true
		} else {
			x.path = c.record(p.config)
		}
		if x.path == p.path && p.meta.offset == 0 && n*p.meta.size == p.record.Len && (!computed || inOrder(perm)) {
			continue
		}
		if x.strides = (&stored{shape: p.meta.sizes, perm: perm}).strides(); computed {
			x.strides = tensor.Strides(p.meta.sizes)
		}
	}
}
