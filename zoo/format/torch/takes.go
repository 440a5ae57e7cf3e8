package torch

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// place says whether the file stores input k of a node: as a tensor that is read in one form, or as an omitted argument
// that can be gained.
func (b *builder) place(n *model.Node, k int) model.Place {
	if b.holds(n, k) {
		return model.Stored
	}
	p, ok := n.Source.(*part)
	if !ok || k >= len(p.gains) || p.gains[k] == "" || p.site.like() == nil {
		return model.NoPlace
	}
	if k >= len(p.given) || p.given[k] == nil && (n.In(k) == nil || n.In(k).Const != nil && b.stored[n.In(k)] == nil) {
		return model.Gained
	}
	return model.NoPlace
}

// holds says whether input k of a node is a stored tensor that is read in one form.
func (b *builder) holds(n *model.Node, k int) bool {
	p, ok := n.Source.(*part)
	if !ok || k >= len(p.given) || p.given[k] == nil {
		return false
	}
	r := p.given[k]
	return r.form != nil && r.form.input.forms == 1 && !r.form.input.payload.fixed && n.In(k) != nil && n.In(k).Const != nil
}

// like is the stored tensor of the site behind which a new one is added: its weight, or any other.
func (s *site) like() *input {
	var found *input
	for _, r := range s.refs {
		switch {
		case r.form == nil:
		case r.arg.name == "weight" || r.arg.name == "mat2":
			return r.form.input
		case found == nil:
			found = r.form.input
		}
	}
	return found
}

// stays says whether a node has to stay, and why. It may be one of several nodes of an operator. A later operator may read
// its storage after it was written. Or, without it, an operator that writes into its input would write into a storage that
// others read.
func (b *builder) stays(n *model.Node) (string, bool) {
	p, ok := n.Source.(*part)
	switch {
	case !ok || len(p.site.parts) != 1:
		return "", true
	case p.site.shared:
		return "others read what it writes into", true
	case slices.ContainsFunc(n.Outputs[0].Uses, func(u model.Use) bool { return u.Node.Source == (shadow{}) }):
		return "its output is a view of what is written later", true
	case b.writtenBehind(n) && b.sharedBefore(n):
		return "what is behind it writes into its output, and others read its input", true
	}
	return "", false
}

// writes says whether the operator writes into that input of the node.
func (p *part) writes(k int) bool {
	names := p.site.node.writes()
	if len(names) == 0 {
		return false
	}
	return k >= len(p.given) || p.given[k] == nil || slices.Contains(names, p.given[k].name)
}

// maxSteps bounds the nodes through which a storage is followed.
const maxSteps = 1 << 10

// passes says whether the node's output may share its input's storage once maps are removed: the node is a view, or a map.
func passes(n *model.Node) bool {
	p, ok := n.Source.(*part)
	if !ok || n.Domain != "" {
		return true
	}
	_, name, _ := operator(p.site.node.target)
	switch {
	case views[name], inPlace(name):
		return true
	case n.Type == "BatchNormalization", n.Type == "Neg":
		return true
	case n.Type == "Mul", n.Type == "Add", n.Type == "Sub", n.Type == "Div":
		return slices.ContainsFunc(n.Inputs, func(v *model.Value) bool { return constant(v, 4) })
	}
	return false
}

// constant says whether a value is stored, or computed from stored ones in at most that many steps.
func constant(v *model.Value, steps int) bool {
	if v == nil || v.Producer == nil || steps == 0 {
		return v != nil && v.Const != nil
	}
	return !slices.ContainsFunc(v.Producer.Inputs, func(x *model.Value) bool { return !constant(x, steps-1) })
}

// writtenBehind says whether something writes into the storage of the node's output.
func (b *builder) writtenBehind(n *model.Node) bool {
	steps := 0
	seen := map[*model.Node]bool{}
	var look func(n *model.Node) bool
	look = func(n *model.Node) bool {
		if seen[n] {
			return false
		}
		if steps++; steps > maxSteps {
			return true
		}
		seen[n] = true
		for _, v := range n.Outputs {
			if v == nil {
				continue
			}
			for _, u := range v.Uses {
				if p, ok := u.Node.Source.(*part); ok && p.writes(u.Index) {
					return true
				}
				if passes(u.Node) && look(u.Node) {
					return true
				}
			}
		}
		return false
	}
	return look(n)
}

// sharedBefore says whether anything but the node reads the storage of its input.
func (b *builder) sharedBefore(n *model.Node) bool {
	for range maxSteps {
		x := n.In(0)
		if x != nil && x.Const != nil && n.In(1) != nil && n.In(1).Const == nil { // a constant and an operand
			x = n.In(1)
		}
		switch {
		case x == nil || x.Producer == nil || x.Output || len(x.Uses) != 1:
			return true
		case !passes(x.Producer):
			return len(x.Producer.Outputs) != 1
		}
		n = x.Producer
	}
	return true
}
