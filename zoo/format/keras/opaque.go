package keras

import (
	"fmt"
	"slices"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// maxOutputs bounds the outputs of a layer of unknown class.
const maxOutputs = 64

// outlet is what references to a call tell about its outputs.
type outlet struct {
	count int
	first *ref // to the first output, with its shape
}

// look records what references tell about the outputs that they name.
func (n *network) look(refs []*ref) error {
	for _, r := range refs {
		key := r.key().callKey
		o := n.outlets[key]
		if o == nil {
			o = &outlet{count: 1}
			n.outlets[key] = o
		}
		o.count = max(o.count, min(r.output, maxOutputs-1)+1)
		if r.output > 0 || r.shape == nil {
			continue
		}
		if o.first != nil && !slices.Equal(o.first.shape, r.shape) {
			return wrong(r.layer, "its output is said to have shape %v and shape %v", o.first.shape, r.shape)
		}
		o.first = r
	}
	return nil
}

// opaque adds one node for a layer of unknown meaning; its inputs are known, and perhaps its output shape.
func (s *site) opaque(c *call, why string) {
	var inputs []*model.Value
	masked := c.layer.foreign || c.layer.class == "Masking"
	for _, v := range s.in {
		inputs = append(inputs, s.form(v, 1))
		masked = masked || v.masked
	}
	o := c.layer.net.outlets[callKey{c.layer, c.index}]
	if o == nil {
		o = &outlet{count: 1}
	}
	names := []string{s.name}
	for k := 1; k < o.count; k++ {
		names = append(names, s.unique(fmt.Sprintf("%s/output%d", s.name, k)))
	}
	typ := c.layer.class
	if c.layer.timed {
		typ = timeDistributed
	}
	n := s.m.Graph.Append(typ, s.name, inputs, nil, names...)
	n.Domain, n.Why = domain, why
	s.add(n, nil)
	for _, y := range n.Outputs {
		y.DType = tensor.Float32
		s.out = append(s.out, &value{name: y.Name, rank: -1, main: 1, forms: map[int]*model.Value{1: y}, masked: masked})
	}
	shape := s.shape()
	if o.first != nil {
		shape = o.first.shape
		n.Outputs[0].DType = o.first.dtype
	}
	if shape != nil {
		n.Outputs[0].Shape, s.out[0].rank = shape, len(shape)
	}
}

// shape is the output shape of an opaque layer, as far as its settings tell, for files that do not store it.
func (s *site) shape() []int64 {
	if len(s.in) == 0 || s.layer.foreign || s.layer.timed {
		return nil
	}
	x := s.in[0].extents()
	of := s.layer.config
	switch s.layer.class {
	case "LSTM", "GRU", "SimpleRNN":
		return recurrent(x, of, 1)
	case "Bidirectional":
		inner := of.Get("layer", "config")
		switch way, _ := of.Get("merge_mode").Str(); way {
		case "concat":
			return recurrent(x, inner, 2)
		case "sum", "mul", "ave":
			return recurrent(x, inner, 1)
		}
	case "Lambda":
		if s := shapeOf(of.Get("output_shape")); s != nil {
			return slices.Insert(s, 0, -1)
		}
	case "Masking", "MultiHeadAttention":
		return x
	}
	return nil
}

// recurrent is the output shape of a recurrent layer: of the last step, or of all steps.
func recurrent(x []int64, of *jsontext.Value, times int64) []int64 {
	units, ok := of.Get("units").Int()
	if !ok || len(x) != 3 || units < 1 || of.Get("return_state").Yes(false) {
		return nil
	}
	if of.Get("return_sequences").Yes(false) {
		return []int64{x[0], x[1], times * units}
	}
	return []int64{x[0], times * units}
}
