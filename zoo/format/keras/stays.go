package keras

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/model"
)

// place says what the file has of input k of a node: one of its layer's weights, or a weight or number that the layer has if
// its settings say so.
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

// owns says whether nothing but the site reads the layer's weights.
func (s *site) owns() bool { return s.once && !s.layer.twin }

// known says whether all sites that read the layer's weights do the same with them.
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

// twins are the nodes of all sites that read the weights of a node's layer, if they do the same with them.
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

// stays says whether a node has to stay: all that is not a map by itself, and maps whose layer cannot be left out.
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
	case p.site.layer.net.bare && p.site.layer.net.layer.net != nil: // something takes the map if it is the whole model
		return "the model that it is in would have no layer without it", true
	case turns(n):
		return "it normalises an axis that is not that of the channels around it, and what reads it works along that axis too", true
	}
	return "", false
}

// turns says whether the node's layer, or the normalisations before it, have their input in an order of axes of their own,
// which a layer that reads its output in whatever order it comes works in too.
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

// ordered are the operators of layers that read their input in an order of axes of their own.
var ordered = map[string]bool{
	"Conv": true, "ConvTranspose": true, "MaxPool": true, "AveragePool": true, "Gemm": true, "Reshape": true, "Transpose": true,
	"Pad": true, "Resize": true, "LayerNormalization": true, "InstanceNormalization": true,
}

// isMap says whether a node of the site may be an affine map that Keras has as a layer, or as an operation.
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

// leavable says whether the layer is a map, or nothing.
func (l *layer) leavable() bool { return l.isMap() || !l.foreign && leavable[l.class] }

// leavable are the classes of layers that are maps, or nothing.
var leavable = map[string]bool{"BatchNormalization": true, "SyncBatchNormalization": true, "Normalization": true, "Rescaling": true, "LayerScale": true, "InputLayer": true}
