package fold

import (
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// idiom is a set of nodes with one input and one output that runtimes recognise and run as one operator: x·½·(1+erf(x/√2))
// is Gelu. A runtime that no longer finds the set runs node after node, and a convolution's blocked layout ends there
// besides: taking the ½ away saves a node and costs up to a third of a model's time. So an idiom is whole or untouched. Its
// nodes do not count as maps, and maps are moved neither into nor through them.
type idiom struct {
	Name  string // for reasons: "a Gelu"
	Forms []call // the expressions that it is written as; the outermost operator is its last node
}

// idioms are looked for in this order; each is declared in a file of its own.
var idioms = []*idiom{gelu, fastGelu, swish, hardSwish, layerNorm, rmsNorm, attention}

// form is one expression of an idiom.
type form struct {
	*idiom
	call
}

// forms are all that end in an operator.
var forms = func() map[string][]form {
	all := map[string][]form{}
	for _, i := range idioms {
		for _, c := range i.Forms {
			all[c.op] = append(all[c.op], form{i, c})
		}
	}
	return all
}()

// findIdioms finds the idioms of the model as edited so far. It starts at later nodes, so that a set which is part of a
// larger one does not hide that.
func (p *planner) findIdioms() {
	for k, i := range p.idioms {
		if i != nil {
			p.maps.set(k, nil)
		}
	}
	clear(p.idioms)
	p.graphs(func(g *model.Graph) {
		for _, n := range slices.Backward(g.Nodes) {
			if p.idioms.at(n.Number) == nil {
				p.findIdiom(n)
			}
		}
	})
}

// findIdiom records the idiom whose last node is n, if there is one.
func (p *planner) findIdiom(n *model.Node) {
	if len(n.Outputs) != 1 || n.Outputs[0] == nil {
		return
	}
	for _, f := range forms[n.Type] {
		s := sighting{p: p, graph: n.Graph}
		if !f.match(&s, n.Outputs[0]) || !s.alone(n) {
			continue
		}
		for _, n := range s.nodes {
			p.idioms.set(n.Number, f.idiom)
			p.maps.set(n.Number, nil)
		}
		return
	}
}

// inIdiom is why the node is no map if it is part of an idiom.
func (p *planner) inIdiom(n *model.Node) *Reason {
	if i := p.idioms.at(n.Number); i != nil {
		return because(InIdiom, "%v is part of %s, which runtimes run as one operator", n, i.Name)
	}
	return nil
}

// sighting is the state of matching a pattern.
type sighting struct {
	p     *planner
	graph *model.Graph
	input *model.Value // what the idiom reads
	nodes []*model.Node
}

// alone says whether only the idiom's own nodes read its intermediate values. A Shape node may read them too, since it does
// not need the elements.
func (s *sighting) alone(last *model.Node) bool {
	for _, n := range s.nodes {
		if n == last {
			continue
		}
		for _, v := range n.Outputs {
			if v != nil && (v.Output || slices.ContainsFunc(v.Uses, s.outside)) {
				return false
			}
		}
	}
	return true
}

func (s *sighting) outside(u model.Use) bool {
	return u.Node.Type != "Shape" && !slices.Contains(s.nodes, u.Node)
}

// try matches, and undoes its matches if it fails.
func (s *sighting) try(match func() bool) bool {
	saved := *s
	if match() {
		return true
	}
	*s = saved
	return false
}

// pattern is an expression; the nodes that match its operators make up the idiom.
type pattern interface {
	match(s *sighting, v *model.Value) bool
}

// input is the idiom's input: the same value wherever it occurs in the pattern.
type input struct{}

func (input) match(s *sighting, v *model.Value) bool {
	if s.input == nil && !s.p.isConstant(v) {
		s.input = v
	}
	return s.input == v
}

// number is a constant of one element, up to how an exporter rounds it.
type number float64

func (x number) match(s *sighting, v *model.Value) bool {
	_, values, ok := s.p.constant(v)
	return ok && len(values) == 1 && math.Abs(values[0]-float64(x)) <= 1e-3*math.Abs(float64(x))
}

// scalar is any constant of one element but 1 and 0: a multiplication by 1 is dropped anyway, and the idiom is complete
// without it.
type scalar struct{}

func (scalar) match(s *sighting, v *model.Value) bool {
	_, values, ok := s.p.constant(v)
	return ok && len(values) == 1 && values[0] != 0 && values[0] != 1
}

// vector is a constant of one axis: runtimes take γ and β of no other shape.
type vector struct{}

func (vector) match(s *sighting, v *model.Value) bool {
	if v == nil || !s.p.isConstant(v) {
		return false
	}
	shape, _, ok := s.p.constant(v)
	return ok && len(shape) == 1
}

// computed is any value that is computed at run time, anything any value at all.
type (
	computed struct{}
	anything struct{}
)

func (computed) match(s *sighting, v *model.Value) bool { return v != nil && !s.p.isConstant(v) }
func (anything) match(*sighting, *model.Value) bool     { return true }

// cast is an expression, or one whose result is cast to another type: models of half precision normalise in float32.
type cast struct{ of pattern }

func (c cast) match(s *sighting, v *model.Value) bool {
	return s.try(func() bool { return c.of.match(s, v) }) || s.try(func() bool { return of("Cast", c.of).match(s, v) })
}

// call is an operator of the idiom. Inputs beyond args have to be constants, such as the axes of a reduction.
type call struct {
	op   string
	args []pattern
	also func(s *sighting, n *model.Node) bool // a further condition; nil: none
}

func of(op string, args ...pattern) call { return call{op: op, args: args} }

func (c call) match(s *sighting, v *model.Value) bool {
	if v == nil || v.Producer == nil {
		return false
	}
	n := v.Producer
	if n.Type != c.op || n.Domain != "" || n.Graph != s.graph || len(n.Inputs) < len(c.args) || s.p.idioms.at(n.Number) != nil {
		return false
	}
	if c.also != nil && !c.also(s, n) || slices.ContainsFunc(n.Inputs[len(c.args):], func(v *model.Value) bool { return v != nil && !s.p.isConstant(v) }) {
		return false
	}
	if !s.try(func() bool { return c.matchArgs(s, n, 0, 1) }) && !(c.commutes() && s.try(func() bool { return c.matchArgs(s, n, 1, 0) })) {
		return false
	}
	if !slices.Contains(s.nodes, n) {
		s.nodes = append(s.nodes, n)
	}
	return true
}

func (c call) commutes() bool { return (c.op == "Add" || c.op == "Mul") && len(c.args) == 2 }

// matchArgs matches the operands, the first two of them in that order.
func (c call) matchArgs(s *sighting, n *model.Node, order ...int) bool {
	for k, arg := range c.args {
		if k < len(order) && len(c.args) > 1 {
			k = order[k]
		}
		if !arg.match(s, n.Inputs[k]) {
			return false
		}
	}
	return true
}
