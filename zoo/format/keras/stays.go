package keras

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/model"
)

// place says whether the file stores input k of a node: as one of its layer's weights, or as a weight or setting that the
// layer can gain.
func place(n *model.Node, k int) model.Place {
	p, ok := n.Source.(*part)
	if !ok || k >= len(p.roles) || p.roles[k] == "" || !p.site.known() {
		return model.NoPlace
	}
	switch class := classes[p.site.layer.class]; {
	case p.site.has(p.roles[k]):
		return model.Stored
	case class.gains[p.roles[k]] != "" || class.said[p.roles[k]] != "":
		return model.Gained
	}
	return model.NoPlace
}

// owns says whether the layer has no other site, so that only this one reads its weights.
func (s *site) owns() bool { return s.once && !s.layer.twin }

// known says whether all sites of the layer use its weights in the same way.
func (s *site) known() bool {
	if s.layer.twin {
		return false
	}
	for _, t := range s.of[s.layer] {
		if len(t.parts) != len(s.parts) {
			return false
		}
		for k, p := range t.parts {
			if o := s.parts[k].node; p.node.Type != o.Type || p.node.Domain != o.Domain {
				return false
			}
		}
	}
	return true
}

// sharers names the other places that read weight k of a node.
func sharers(n *model.Node, k int) string {
	p, ok := n.Source.(*part)
	if !ok || k >= len(p.roles) || p.roles[k] == "" || p.site.known() {
		return ""
	}
	if p.site.layer.twin {
		return "another layer, as one object"
	}
	var list []string
	for _, s := range p.site.of[p.site.layer] {
		if s != p.site {
			list = append(list, fmt.Sprintf("%q", s.name))
		}
	}
	return strings.Join(list, " and ")
}

// twins are the corresponding nodes of all sites of a node's layer, if they use its weights in the same way.
func twins(n *model.Node) (list []*model.Node, together bool) {
	p, ok := n.Source.(*part)
	if !ok || p.site.once || !p.site.known() {
		return nil, false
	}
	k := slices.Index(p.site.parts, p)
	for _, s := range p.site.of[p.site.layer] {
		list = append(list, s.parts[k].node)
	}
	return list, !p.site.alone
}

// stays says whether a node has to stay: all but maps that are layers of their own and can be removed.
func stays(n *model.Node) (string, bool) {
	if n.Source == (view{}) && n.Type == "Transpose" { // no layer's
		return "", false
	}
	p, ok := n.Source.(*part)
	switch {
	case !ok || !p.site.isMap(n) || len(p.site.parts) > 1 && !p.tail:
		return "", true
	case p.tail && !p.site.owns():
		return "it is part of a layer that is used in several places", true
	case p.tail:
		return "", false
	case !p.site.alone && !p.site.known():
		return "it is in a model that is used in several places, not in the same way", true
	case p.site.layer.net.bare && p.site.layer.net.layer.net != nil: // a model used as a layer cannot become empty
		return "the model that it is in would have no layer without it", true
	case turns(n):
		return "it normalises an axis that is not that of the channels around it, and what reads it works along that axis too", true
	}
	return "", false
}

// turns says whether the node's layer, or the normalisations before it, need their input in a form of their own, so that
// its removal would change the form that an elementwise layer behind it works in.
func turns(n *model.Node) bool {
	first := n
	for before := first.In(0).Producer; before != nil && before.Type == "BatchNormalization"; before = first.In(0).Producer {
		first = before
	}
	if before := first.In(0).Producer; before == nil || before.Source != (view{}) {
		return false
	}
	return slices.ContainsFunc(n.Outputs[0].Uses, func(u model.Use) bool {
		if u.Node.Type == "BatchNormalization" {
			return u.Node.Outputs[0] != nil && turns(u.Node)
		}
		return u.Node.Domain == "" && !ordered[u.Node.Type]
	})
}

// ordered are the operators of layers that need their input in a form of their own.
var ordered = map[string]bool{
	"Conv": true, "ConvTranspose": true, "MaxPool": true, "AveragePool": true, "Gemm": true, "Reshape": true, "Transpose": true,
	"Pad": true, "Resize": true, "LayerNormalization": true, "InstanceNormalization": true,
}

// isMap says whether the site's layer or operation may be an affine map.
func (s *site) isMap(n *model.Node) bool {
	if s.layer.operates() {
		return s.layer.isMap()
	}
	return n.Type == "BatchNormalization"
}

// isMap says whether an operation is a map of a tensor and numbers.
func (l *layer) isMap() bool {
	op := l.operation()
	return op != nil && op.isMap
}

// leavable says whether the layer is a map or an identity.
func (l *layer) leavable() bool { return l.isMap() || !l.foreign && leavable[l.class] }

// leavable are the classes of layers that are maps or identities.
var leavable = map[string]bool{"BatchNormalization": true, "SyncBatchNormalization": true, "Normalization": true, "Rescaling": true, "LayerScale": true, "InputLayer": true}
