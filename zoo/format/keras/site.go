package keras

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// site is one place where a layer is computed: one call of it, in one use of the model that contains it.
type site struct {
	*builder
	layer *layer
	call  int
	name  string // of its first node and of its result
	once  bool   // the layer has no other site
	alone bool   // the network that it is in has no other site
	steps int    // additional axes of its tensors behind the batch axis, which the layer does not see (TimeDistributed)
	parts []*part
	in    []*value
	out   []*value
}

// part is one node of a site.
type part struct {
	site  *site
	node  *model.Node
	roles []string          // which of the layer's weights each input is, "" for others
	given []*model.Constant // each input's elements as stored
	names []string          // of the inputs
	tail  bool              // its γ and β disappear if the settings scale and center are false
}

// unclear says why a layer is not understood exactly.
type unclear string

func (u unclear) Error() string { return string(u) }

// understand makes the nodes of a layer whose class is known.
func (s *site) understand(class *class) (*value, error) {
	for _, v := range s.in {
		if v.rank > maxRank {
			return nil, unclear("a tensor of too many axes")
		}
		if v.masked && class.masks {
			return nil, unclear("it regards a mask")
		}
	}
	if len(s.in) == 0 || len(s.in) > 1 && !class.merges {
		return nil, unclear("it reads several tensors")
	}
	if err := s.sound(); err != nil {
		return nil, err
	}
	build := class.build
	if s.layer.timed {
		build = func(s *site) (*value, error) { return s.overSteps(class) }
	}
	out, err := build(s)
	if err != nil {
		return nil, err
	}
	out.masked = slices.ContainsFunc(s.in, func(v *value) bool { return v.masked }) || out.masked
	return out, nil
}

// maxRank bounds the axes of a tensor.
const maxRank = 8

// op appends a node to the site, and returns its output. Attributes are names and values in turn.
func (s *site) op(typ, what string, inputs []*model.Value, attrs ...any) *model.Value {
	return s.weighted(typ, what, inputs, nil, attrs...)
}

// weighted is op for a node some of whose inputs are the layer's weights: roles names them.
func (s *site) weighted(typ, what string, inputs []*model.Value, roles []string, attrs ...any) *model.Value {
	name := s.name
	if len(s.parts) > 0 {
		name = s.unique(s.name + "/" + what)
	}
	for len(inputs) > 0 && inputs[len(inputs)-1] == nil {
		inputs = inputs[:len(inputs)-1]
	}
	n := s.m.Graph.Append(typ, name, inputs, model.Attrs(attrs...), s.unique(s.name+"/"+what+"/out"))
	s.add(n, roles)
	s.infer(n)
	return n.Outputs[0]
}

func (s *site) add(n *model.Node, roles []string) {
	p := &part{site: s, node: n, roles: roles}
	for _, v := range n.Inputs {
		if v == nil {
			p.given, p.names = append(p.given, nil), append(p.names, "")
		} else {
			p.given, p.names = append(p.given, v.Const), append(p.names, v.Name)
		}
	}
	n.Source = p
	s.parts = append(s.parts, p)
}

// result is a node's output as the tensor that the site makes, in that form.
func (s *site) result(x *model.Value, rank, form int) *value {
	if rank < 3 {
		form = 1
	}
	if x.Name = s.name; form != 1 {
		x.Name = s.unique(formName(s.name, rank, form))
	}
	return &value{name: s.name, rank: rank, main: form, forms: map[int]*model.Value{form: x}}
}

// constant adds elements that are made here, not stored.
func (s *site) constant(what string, d tensor.DType, shape []int64, values []float64) *model.Value {
	return s.addConst(s.name+"/"+what, &model.Constant{DType: d, Shape: shape, Values: values})
}

func (b *builder) addConst(name string, c *model.Constant) *model.Value {
	return b.m.Graph.AddConst(b.unique(name), c)
}

// ints is a vector of whole numbers.
func (s *site) ints(what string, list ...int64) *model.Value {
	return s.addConst(s.name+"/"+what, model.Integers(list...))
}
