package darknet

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Write writes the network as edited: the cfg with the options of folded layers changed in place, and the weights layer by
// layer, unchanged ones copied.
func (f *file) Write(ctx context.Context, out format.Output, backend tensor.Backend) (map[string]string, error) {
	renamed, err := f.renamed()
	if err != nil {
		return nil, err
	}
	var edits []edit
	pieces := []format.Piece{{Copied: format.Span{To: f.header}}}
	for _, l := range f.net.layers {
		edits = append(edits, l.edits()...)
		for _, p := range l.parts {
			if p.piece, err = f.piece(l, p); err != nil {
				return nil, fmt.Errorf("%s: its %s: %w", l.where(), p.name, err)
			}
		}
		if l.lender != nil {
			if l.shares() {
				continue
			}
			edits = append(edits, l.unshared()...)
		}
		for _, p := range l.parts {
			if p.piece != nil {
				pieces = appended(pieces, *p.piece)
			}
		}
	}
	cfg, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer cfg.Close()
	if err := format.Splice(ctx, out, "", cfg, f.net.cfg.edited(edits), backend); err != nil {
		return nil, err
	}
	return renamed, format.Splice(ctx, out, format.Beside(f.path, f.weights.Name()), f.weights, pieces, backend)
}

// appended joins a copied piece with the one before it where they touch.
func appended(pieces []format.Piece, p format.Piece) []format.Piece {
	last := &pieces[len(pieces)-1]
	if last.Scaled == nil && last.Made == nil && p.Scaled == nil && p.Made == nil && last.Copied.To == p.Copied.From {
		last.Copied.To = p.Copied.To
		return pieces
	}
	return append(pieces, p)
}

// shares says whether the layer's parts are still the same as its lender's.
func (l *layer) shares() bool {
	for _, part := range l.parts {
		p, q := part.piece, l.lender.part(part.name).piece
		switch {
		case p == nil:
		case q == nil || p.Copied != q.Copied || !bytes.Equal(p.Made, q.Made) || (p.Scaled == nil) != (q.Scaled == nil):
			return false
		case p.Scaled != nil && !slices.EqualFunc(p.Scaled.Factors, q.Scaled.Factors, alike):
			return false
		}
	}
	return true
}

func alike(a, b tensor.Factor) bool {
	return a.Layout == b.Layout && slices.Equal(a.Scale, b.Scale)
}

// unshared are the edits of the cfg for a layer that gets parts of its own, in the order of its lender's.
func (l *layer) unshared() []edit {
	edits := l.without("share_index")
	if flipped := l.part("weights").perm != nil; flipped != l.flag("flipped") {
		edits = append(edits, l.set("flipped", map[bool]string{false: "0", true: "1"}[flipped])...)
	}
	return edits
}

// normless says whether the layer's batch normalisation was removed.
func (l *layer) normless() bool { return l.norm != nil && l.norm.Removed() }

// piece is a part of a layer as it is written; nil if it was removed with a batch normalisation.
func (f *file) piece(l *layer, p *part) (*format.Piece, error) {
	n, k, negated := p.node, p.input, p.name == "mean" && p.node == l.linear
	if l.normless() {
		switch {
		case p.name == "biases" && l.linear != nil: // the operator's bias now
			n, k = l.linear, 2
		case p.name != "weights":
			return nil, nil
		}
	}
	at := format.Span{From: f.header + p.from*floatSize, To: f.header + (p.from+p.count)*floatSize}
	if n == nil {
		return &format.Piece{Copied: at}, nil
	}
	v := n.In(k)
	if n.Removed() || v == nil || v.Const == nil || !slices.Equal(v.Const.Shape, p.shape) {
		return nil, fmt.Errorf("%v does not hold it any more", n)
	}
	c := v.Const
	switch {
	case c == p.original:
		return &format.Piece{Copied: at}, nil
	case c.Data != nil:
		return f.scaled(v, p)
	case p.perm != nil:
		return nil, fmt.Errorf("%v has another one", n)
	case p.name == "variance" && f.epsilon.after != 0:
		c = &model.Constant{DType: c.DType, Shape: c.Shape, Values: slices.Clone(c.Values)}
		for j, x := range c.Values {
			d := math.Sqrt(x) - f.epsilon.after
			c.Values[j] = d * d
		}
	case negated:
		c = &model.Constant{DType: c.DType, Shape: c.Shape, Values: slices.Clone(c.Values)}
		for j := range c.Values {
			c.Values[j] = -c.Values[j]
		}
	}
	made, err := c.Encode()
	return &format.Piece{Made: made}, err
}

// scaled is a part with factors, in the order of the file.
func (f *file) scaled(v *model.Value, p *part) (*format.Piece, error) {
	if v.Const.Source != any(p) {
		return nil, fmt.Errorf("%q is another constant of the file", v.Name)
	}
	s := format.NewScaled(v.Name, v.Name, v.Const)
	if p.perm != nil {
		s.Data = p.bytes(f.floats)
		s.Factors = slices.Clone(s.Factors)
		for k := range s.Factors {
			s.Factors[k] = s.Factors[k].Stored(p.shape, p.perm)
		}
	}
	return &format.Piece{Scaled: s}, nil
}

// edits are the edits of the cfg for a layer whose batch normalisation was removed.
func (l *layer) edits() []edit {
	switch {
	case !l.normless():
		return nil
	case l.kind != "batchnorm":
		edits := l.set("batch_normalize", "0")
		if l.find("cbn") != nil {
			edits = append(edits, l.set("cbn", "0")...)
		}
		return edits
	case l.index == 0: // there is no layer before it for a [route]; OpenCV does not read [activation], nor the [batchnorm] that it replaces
		return append(l.set("activation", "linear"), edit{l.word, "activation"})
	}
	edits := append(l.set("layers", "-1"), edit{l.word, "route"})
	if l.find("activation") != nil { // OpenCV gives every layer one
		edits = append(edits, l.set("activation", "linear")...)
	}
	return edits
}

// edited are the pieces of the text with the edits made.
func (c *cfg) edited(edits []edit) (pieces []format.Piece) {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.at.From, b.at.From) })
	at := int64(0)
	for _, e := range edits {
		pieces = append(pieces, format.Piece{Copied: format.Span{From: at, To: e.at.From}}, format.Piece{Made: []byte(e.text)})
		at = e.at.To
	}
	return append(pieces, format.Piece{Copied: format.Span{From: at, To: int64(len(c.text))}})
}

// renamed are the values that have other names when the written network is opened. It refuses edits that a cfg cannot
// express.
func (f *file) renamed() (map[string]string, error) {
	renamed := map[string]string{}
	live := 0
	for _, n := range f.model.Graph.Nodes {
		if n.Removed() {
			continue
		}
		name, ours := f.names[n]
		if !ours || n.Type != f.types[n] {
			return nil, fmt.Errorf("%v is nothing that a cfg can say", n)
		}
		live++
		if l := n.Source.(*layer); n == l.linear && l.normless() {
			name = l.beforeActivation()
		}
		if v := n.Outputs[0]; v.Name != name {
			renamed[v.Name] = name
		}
	}
	gone := 0
	for _, l := range f.net.layers {
		if l.normless() {
			gone++
		}
	}
	if live+gone != len(f.names) {
		return nil, fmt.Errorf("%d operators are gone that a cfg cannot leave out", len(f.names)-live-gone)
	}
	return renamed, nil
}
