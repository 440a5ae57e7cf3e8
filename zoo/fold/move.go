package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

// move is the transaction that carries one map. An operator absorbs the map by adding edits to the move, or passes it on to
// its neighbours by Back and Forward. The graph changes only when the planner accepts the move.
type move struct {
	p       *planner
	start   *model.Node   // a node of the map's own
	nodes   []*model.Node // all that the move touches, the map's own nodes first
	seen    map[*model.Node]side
	into    []*model.Node    // those that absorbed the map
	late    []func() *Reason // expensive checks, made when all operators have agreed
	edits   []func()
	made    []made   // constants that the edits put in, in order
	changes []change // of constants that are the file's
	added   cost     // of per-channel nodes that the edits put in
	asked   int      // how often a node was asked, attempts that failed included
}

// side is the side from which a map comes to a node.
type side uint8

const (
	noSide side = iota + 1 // the node is the map's own, or only reads what changes
	inputSide
	outputSide
)

// maxAsked bounds how often a move asks nodes: with a choice at every node, the number of ways grows exponentially.
const maxAsked = 1 << 14

// cost orders the work of per-channel nodes: fewer nodes first, then cheaper ones.
type cost struct{ nodes, operations int }

func (c cost) less(d cost) bool {
	return c.nodes < d.nodes || c.nodes == d.nodes && c.operations < d.operations
}

func (c cost) plus(d cost) cost  { return cost{c.nodes + d.nodes, c.operations + d.operations} }
func (c cost) minus(d cost) cost { return cost{c.nodes - d.nodes, c.operations - d.operations} }

var (
	costBatchNorm = cost{1, 2}
	costSimple    = cost{1, 1} // Mul, Add and their like
)

func (p *planner) newMove(run []*model.Node) *move {
	m := &move{p: p, start: run[0], seen: map[*model.Node]side{}}
	for _, n := range run {
		m.seen[n] = noSide
		m.nodes = append(m.nodes, n)
	}
	return m
}

// Back asks the node that computes input k of n to compute a(input) instead.
func (m *move) Back(n *model.Node, k int, a affine) *Reason {
	if a.Identity() {
		return nil
	}
	v := n.In(k)
	if v == nil {
		return because(Unsupported, "%v has no input %d", n, k)
	}
	if !channelled(v, a) {
		return because(Unsupported, "%q has shape %v, with no axis %d of %d", v.Name, v.Shape, a.Axis, len(a.Scale))
	}
	if m.p.isConstant(v) {
		return m.backConstant(n, k, a, v.Shape)
	}
	if v.Producer == nil {
		return because(NoLinear, "%q is an input", v.Name)
	}
	producer := v.Producer
	switch {
	case producer.Graph != m.start.Graph:
		return because(Subgraph, "%v is in another graph body", producer)
	case v.Output:
		return because(SharedOutput, "the output of %v is a graph output as it is", producer)
	case len(v.Uses) != 1 && !m.unseen(v, n, k, a):
		return because(SharedOutput, "the output of %v has other readers, %v among them", producer, otherReader(v, n))
	}
	return m.visit(producer, outputSide, func(o *operator) *Reason {
		if o.Back == nil {
			return because(Nonlinear, "no scale or offset can pass %v", producer)
		}
		for j, out := range producer.Outputs {
			if out == v {
				return o.Back(m, producer, j, a)
			}
		}
		panic("fold: a value that its producer does not output")
	})
}

// channelled says whether v, as far as its shape is known, has the map's axis with as many channels: the declared shapes of
// a damaged file may contradict each other.
func channelled(v *model.Value, a affine) bool {
	return a.Axis == uniform || v.Shape == nil || a.Axis < len(v.Shape) && (v.Shape[a.Axis] < 0 || v.Shape[a.Axis] == int64(len(a.Scale)))
}

// unseen says whether no reader of v, except n as its input k, depends on a channel that the map changes. These readers
// become part of the move.
func (m *move) unseen(v *model.Value, n *model.Node, k int, a affine) bool {
	var others []*model.Node
	for _, u := range v.Uses {
		if u.Node == n && (u.Index == k || n.Type == "Add" && m.p.doubles(n)) {
			continue
		}
		o := m.p.operator(u.Node)
		if o.Sees == nil || u.Node.Graph != n.Graph || m.seen[u.Node] != 0 && !o.Again {
			return false
		}
		seen, why := o.Sees(m, u.Node, u.Index, a.Axis)
		if why != nil || slices.ContainsFunc(seen, func(c int64) bool { return a.Scale[c] != 1 || a.Shift[c] != 0 }) {
			return false
		}
		if m.seen[u.Node] == 0 {
			others = append(others, u.Node)
		}
	}
	m.nodes = append(m.nodes, others...)
	return true
}

// Forward asks the readers of v to compute, from v, what they would compute from a(v).
func (m *move) Forward(v *model.Value, a affine) *Reason {
	if a.Identity() {
		return nil
	}
	if v.Output {
		return because(NoLinear, "%q is a graph output", v.Name)
	}
	if len(v.Uses) == 0 {
		return because(NoLinear, "%q is not read", v.Name)
	}
	if !channelled(v, a) {
		return because(Unsupported, "%q has shape %v, with no axis %d of %d", v.Name, v.Shape, a.Axis, len(a.Scale))
	}
	for k, u := range v.Uses {
		if m.p.readBefore(v, k) {
			continue
		}
		if u.Node.Graph != m.start.Graph {
			return because(Subgraph, "%v reads it in another graph body", u.Node)
		}
		why := m.visit(u.Node, inputSide, func(o *operator) *Reason {
			if o.Forward == nil {
				return because(Nonlinear, "no scale or offset can pass %v", u.Node)
			}
			if m.p.doubles(u.Node) {
				return m.forwardDouble(u.Node, a)
			}
			return o.Forward(m, u.Node, u.Index, a)
		})
		if why != nil {
			return why
		}
	}
	return nil
}

// visit makes the node part of the move. A node takes one map in a move, or several from the same side if it says so.
func (m *move) visit(n *model.Node, from side, ask func(*operator) *Reason) *Reason {
	o := m.p.operator(n)
	if s := m.seen[n]; s != 0 && !(o.Again && s == from) {
		return because(Unsupported, "the map would reach %v twice", n)
	}
	if i := m.p.idioms.at(n.Number); i != nil {
		return because(Nonlinear, "%v is part of %s, which no scale or offset can pass", n, i.Name)
	}
	if err := m.p.ended(); err != nil {
		return because(Unsupported, "planning has ended: %v", err)
	}
	if m.asked++; m.asked > maxAsked {
		return because(Unsupported, "there are too many combinations of operators before and after %v to try", n)
	}
	if m.seen[n] == 0 {
		m.seen[n] = from
		m.nodes = append(m.nodes, n)
	}
	return ask(o)
}

// Try runs a part of the move that may fail: if it is refused, its edits are undone.
func (m *move) Try(ask func() *Reason) *Reason {
	saved := *m
	why := ask()
	if why != nil {
		for _, n := range m.nodes[len(saved.nodes):] {
			delete(m.seen, n)
		}
		saved.asked = m.asked
		*m = saved
	}
	return why
}

// Edit adds an edit, to be made if the move is accepted.
func (m *move) Edit(edit func()) { m.edits = append(m.edits, edit) }

// Check adds a check to be made when all operators have agreed: one that reads many elements, say.
func (m *move) Check(check func() *Reason) { m.late = append(m.late, check) }

// Absorbed records that the node takes the map into its constants. It refuses nodes that the user wants kept.
func (m *move) Absorbed(n *model.Node) *Reason {
	if m.p.kept(n) {
		return because(Keep, "%v is to be kept", n)
	}
	if !slices.Contains(m.into, n) {
		m.into = append(m.into, n)
	}
	return nil
}

// Rebuild refuses edits beyond constants (new nodes, another type or attributes of n) for formats that store layers and
// cannot express them.
func (m *move) Rebuild(n *model.Node) *Reason {
	switch {
	case m.p.opt.Neutralize:
		return because(Keep, "%v would have to become other operators, which norms: neutralize rules out", n)
	case m.p.model.Place == nil:
		return nil
	}
	return because(Unsupported, "%v would have to become other operators, which its file cannot store", n)
}

// stores refuses to change input k of n if the model's file has no place for it.
func (m *move) stores(n *model.Node, k int) *Reason {
	if v := n.In(k); m.p.opt.Neutralize && (v == nil || v.Const == nil || v.Producer != nil || v.Output || len(v.Uses) != 1) {
		return because(Keep, "%v has no stored %s of its own, and norms: neutralize adds none", n, op.Of(n).Input(k))
	}
	if m.p.hasPlace(n, k) {
		return nil
	}
	if shares := m.p.model.Shares; shares != nil {
		if with := shares(n, k); with != "" {
			return because(SharedOutput, "the %s of %v is shared with %s", op.Of(n).Input(k), n, with)
		}
	}
	return because(Unsupported, "the file of %v has no place for another %s", n, op.Of(n).Input(k))
}

// hasPlace says whether the model's file can store a changed constant as input k of n. With Options.Neutralize the constant
// has to be stored already, and be used in one place only.
func (p *planner) hasPlace(n *model.Node, k int) bool {
	if p.model.Place == nil {
		return true
	}
	switch p.model.Place(n, k) {
	case model.Stored:
		return !p.opt.Neutralize || !p.hasTwins(n)
	case model.Gained:
		return !p.opt.Neutralize
	}
	return false
}

func otherReader(v *model.Value, n *model.Node) *model.Node {
	for _, u := range v.Uses {
		if u.Node != n {
			return u.Node
		}
	}
	return n
}
