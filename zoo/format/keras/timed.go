package keras

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/model"
)

// TimeDistributed is a layer that applies another one, which is in its settings, to each step along the axis behind the
// batch's. It is read as the layer that it applies, which is marked as timed.

const timeDistributed = "TimeDistributed"

// untimed makes a TimeDistributed the layer that it applies, if that is one of Keras' that is known.
func (l *layer) untimed() {
	inner := l.config.Get("layer")
	module, said := inner.Get("module").Str()
	class := className(inner)
	if l.class != timeDistributed || l.foreign || classes[class] == nil || isNetwork(inner) || inner.Get("config") == nil || said && module != "keras.layers" {
		return
	}
	l.timed, l.class, l.config = true, class, inner.Get("config")
}

// settings are a layer's in a configuration, of which tree is all that is said of the layer.
func (l *layer) settings(tree *jsontext.Value) *jsontext.Value {
	if l.timed {
		return tree.Get("config", "layer", "config")
	}
	return tree.Get("config")
}

// pointwise are classes whose layers do the same with one more axis before the last ones.
var pointwise = map[string]bool{
	"Dense": true, "BatchNormalization": true, "LayerNormalization": true, "Activation": true, "ReLU": true, "LeakyReLU": true, "ELU": true,
	"ThresholdedReLU": true, "Softmax": true, "Dropout": true, "Identity": true,
}

// overSteps builds a layer that is applied to each step: as its class with one more axis, or between two Reshapes that
// merge the axis of steps into the batch and split it again.
func (s *site) overSteps(class *class) (*value, error) {
	x := s.in[0]
	if err := known(x, 3); err != nil {
		return nil, err
	}
	if x.masked {
		return nil, unclear("it regards a mask")
	}
	if pointwise[s.layer.class] {
		s.steps = 1
		return class.build(s)
	}
	e := x.extents()
	if e == nil || e[0] < 1 && e[1] < 1 || slices.Min(e[2:]) < 1 {
		return nil, unclear("the number of steps, or the size of one, is not known")
	}
	nodes := len(s.m.Graph.Nodes)
	undo := func(err error) (*value, error) {
		for _, n := range s.m.Graph.Nodes[nodes:] {
			n.Remove()
		}
		s.m.Graph.Nodes, s.parts = s.m.Graph.Nodes[:nodes], nil
		return nil, err
	}
	items := s.op("Reshape", "items", []*model.Value{s.form(x, 1), s.ints("items/shape", append([]int64{-1}, e[2:]...)...)})
	s.in = []*value{{name: items.Name, rank: x.rank - 1, main: 1, forms: map[int]*model.Value{1: items}}}
	out, err := class.build(s)
	s.in = []*value{x}
	if err != nil {
		return undo(err)
	}
	of := out.extents()
	if of == nil || slices.Min(append(of[1:], 1)) < 1 {
		return undo(unclear("the size of what it makes of a step is not known"))
	}
	out.name = s.unique(s.name + "/step")
	if out.forms[out.main].Name = out.name; out.main != 1 {
		out.forms[out.main].Name = s.unique(formName(out.name, out.rank, out.main))
	}
	to := []int64{e[0], e[1]}
	if to[0] < 1 || to[1] < 1 {
		to[slices.Index(to, min(to[0], to[1]))] = -1
	}
	y := s.op("Reshape", "steps", []*model.Value{s.form(out, 1), s.ints("steps/shape", append(to, of[1:]...)...)})
	if out.rank < 3 || out.main == 1 {
		return s.result(y, out.rank+1, 1), nil
	}
	// The layers behind it stay in the form that the layer works in.
	y = s.op("Transpose", "first", []*model.Value{y}, "perm", order(out.rank+1, out.main+1))
	return s.result(y, out.rank+1, out.main+1), nil
}
