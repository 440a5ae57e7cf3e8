package keras

import "github.com/zoofold/zoofold/zoo/model"

// takes says whether the file can store another constant as that input of a node: one of its layer's weights, or one that
// the layer has if its settings say so. Weights that several places read stay.
func takes(n *model.Node, k int) bool {
	if holds(n, k) {
		return true
	}
	p, ok := n.Source.(*part)
	return ok && k < len(p.roles) && p.site.owns() && classes[p.site.layer.class].gains[p.roles[k]] != ""
}

// holds says whether that input of a node is one of its layer's weights, which no other place reads.
func holds(n *model.Node, k int) bool {
	p, ok := n.Source.(*part)
	return ok && k < len(p.roles) && p.roles[k] != "" && p.site.owns() && p.site.has(p.roles[k])
}

// owns says whether nothing but the site reads the layer's weights.
func (s *site) owns() bool { return s.once && !s.layer.twin }

// stays says whether a node has to stay: all that is not a map by itself, and maps whose layer cannot be left out.
func stays(n *model.Node) (string, bool) {
	if n.Source == (view{}) && n.Type == "Transpose" { // no layer's
		return "", false
	}
	p, ok := n.Source.(*part)
	switch {
	case !ok || n.Type != "BatchNormalization" || len(p.site.parts) > 1 && !p.tail:
		return "", true
	case p.tail && !p.site.owns():
		return "it is part of a layer that is used in several places", true
	case p.tail:
		return "", false
	case !p.site.alone:
		return "it is in a model that is used in several places", true
	case p.site.layer.net.bare && p.site.layer.net.layer.net != nil: // something takes the map if it is the whole model
		return "the model that it is in would have no layer without it", true
	}
	return "", false
}

// leavable are the classes of layers that are maps, or nothing.
var leavable = map[string]bool{"BatchNormalization": true, "SyncBatchNormalization": true, "Normalization": true, "Rescaling": true, "InputLayer": true}
