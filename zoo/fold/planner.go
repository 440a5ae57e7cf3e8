package fold

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/sourcegraph/conc"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Version names the rules of folding: outputs of another version are made anew. Raise it when plans change.
const Version = "7"

// DefaultMaxDuplicateBytes bounds the copy of a shared weight where Options does not.
const DefaultMaxDuplicateBytes = 64 << 20

// Options are what a manifest says of folding.
type Options struct {
	Overridable       bool            // initializers that callers may override are constants
	Keep              []string        // globs over names of nodes that are left alone
	MaxDuplicateBytes int64           // a shared weight larger than this is not copied; 0: DefaultMaxDuplicateBytes
	Off               map[string]bool // operator families that are switched off
	Refuse            map[string]Code // constants, by name, that may not be rescaled, and why
	Neutralize        bool            // every node, and every constant with its name and shape, stays
	Backend           tensor.Backend  // what sums weights up for biases; nil: tensor.Reference
}

// ended is the error with which planning stops early, since its context has ended; nil while it goes on.
func (p *planner) ended() error {
	return cmp.Or(p.failed, p.ctx.Err())
}

// planner holds the state of planning one model.
type planner struct {
	ctx         context.Context // of the call of Fold, beyond which no planner lives: operators do not pass a context on
	opt         Options
	model       *model.Model
	consts      *op.Folder
	maps        table[*found] // by node
	idioms      table[*idiom] // of the nodes that are part of one
	dequantized map[*model.Value]bool
	accounts    *accounts
	regions     *regions
	successors  []successor // of the move that is being made
	plain       affine      // the last identity that was made: see nothing
	plan        *Plan

	identities []*model.Node // maps that became identities
	failed     error         // of the backend
}

// found is what is known of a node as an affine map.
type found struct {
	data  int
	a     affine
	why   *Reason // why the node is not a map that can be moved; nil: it is one
	fixed bool    // it is a map that stays where it is, and that others can pass
}

// unmapped is found of nodes whose operator is no map.
var unmapped = &found{why: &Reason{}}

// Fold plans the folding of a model and edits it: what the plan says has been done to m when it returns. Constants keep
// reading from m's file; rescaled ones carry their factors until they are written. An error, that of a
// context that ends before the plan is made too, leaves m edited in part.
func Fold(ctx context.Context, m *model.Model, o Options) (*Plan, error) {
	if o.MaxDuplicateBytes == 0 {
		o.MaxDuplicateBytes = DefaultMaxDuplicateBytes
	}
	if o.Backend == nil {
		o.Backend = tensor.Reference{}
	}
	for _, g := range o.Keep {
		if !doublestar.ValidatePattern(g) {
			return nil, fmt.Errorf("keep: %q is not a glob", g)
		}
	}
	whole, err := wholeFunctions(ctx, m, o)
	if err != nil {
		return nil, err
	}
	p := newPlanner(ctx, m, o)
	p.plan.whole = whole
	before := takeInventory(m)
	if !o.Neutralize {
		p.plan.Inline(m)
	}
	if err := p.fold(before); err != nil {
		return nil, err
	}
	p.accounts.close(p)
	var beside conc.WaitGroup
	beside.Go(func() { before.compare(m, p.plan) })
	p.regions.describe(p)
	beside.Wait()
	return p.plan, nil
}

func newPlanner(ctx context.Context, m *model.Model, o Options) *planner {
	p := &planner{ctx: ctx, opt: o, model: m, plan: &Plan{}, dequantized: map[*model.Value]bool{}, consts: op.Constants()}
	p.consts.Overridable = o.Overridable
	return p
}

// fold edits the model until no move is accepted. before is what the model held.
func (p *planner) fold(before *inventory) error {
	var beside conc.WaitGroup
	beside.Go(func() { // of types and shapes, which Infer sets, these read nothing
		p.regions = newRegions(p.model)
		p.accounts = newAccounts(p.model, p.regions.constant)
	})
	op.Infer(p.model, p.consts)
	beside.Wait()
	pass := p.pass
	if p.opt.Neutralize {
		pass = p.neutralPass
	}
	p.findIdioms()
	for p.ended() == nil && pass() {
		p.dropIdentities()
		p.model.Walk((*model.Graph).Compact)
		p.findIdioms()
	}
	if err := p.ended(); err != nil {
		return err
	}
	if !p.opt.Neutralize {
		p.cancelTransposes()
		p.shareAlike()
		p.prune(before)
		p.model.Walk((*model.Graph).Compact)
	}
	return nil
}

// graphs calls f for the main graph and the bodies in it. Functions are not folded.
func (p *planner) graphs(f func(*model.Graph)) {
	own := functionGraphs(p.model)
	p.model.Walk(func(g *model.Graph) {
		if !own[g] {
			f(g)
		}
	})
}

// find says which affine map the node is, if it is one.
func (p *planner) find(n *model.Node) *found {
	if f := p.maps.at(n.Number); f != nil {
		return f
	}
	f := unmapped
	if o := p.operator(n); o.Map != nil && slices.ContainsFunc(n.Inputs, p.varies) {
		f = &found{}
		f.data, f.a, f.why = o.Map(p, n)
		if f.why == nil && p.kept(n) {
			f.why = because(Keep, "%v is to be kept", n)
		}
		if stays := p.model.Stays; f.why == nil && stays != nil && !p.opt.Neutralize {
			if why, ok := stays(n); ok {
				f.why, f.fixed = &Reason{Unsupported, why}, true
			}
		}
		if why := p.inIdiom(n); why != nil && (f.why == nil || f.why.Code == Nonlinear) {
			f.why = why
		}
		if f.why == nil && !f.a.Finite() {
			f.why = because(Statistics, "%v has a scale or offset that is not a finite number", n)
		}
	}
	p.maps.set(n.Number, f)
	return f
}

// pass tries every run of affine maps once, in the order of the nodes, and says whether something changed.
func (p *planner) pass() bool {
	changed := false
	p.graphs(func(g *model.Graph) {
		done := map[*model.Node]bool{}
		for _, n := range g.Nodes {
			if n.Removed() || done[n] {
				continue
			}
			if p.operator(n).Tail != nil && p.sendTail(n) || p.mergeBranches(n) {
				changed = true
				continue
			}
			if p.find(n).why != nil {
				continue
			}
			r := p.run(n, nil)
			for _, k := range r.nodes[1:] {
				done[k] = true
			}
			if p.try(r) {
				changed = true
			}
		}
	})
	return changed
}

// run is a chain of affine maps, each the only reader of the one before, and the one map that they make together.
type run struct {
	nodes []*model.Node
	a     affine
	cost  cost
}

func (r *run) first() *model.Node { return r.nodes[0] }
func (r *run) last() *model.Node  { return r.nodes[len(r.nodes)-1] }

// run is the chain of maps that starts at n, of nodes that may allows; a nil may allows all.
func (p *planner) run(n *model.Node, may func(*model.Node) bool) *run {
	f := p.find(n)
	r := &run{nodes: []*model.Node{n}, a: f.a, cost: costOf(n)}
	for {
		out := r.last().Outputs[0]
		if out.Output || len(out.Uses) != 1 {
			return r
		}
		next := out.Uses[0].Node
		f := p.find(next)
		if next.Graph != n.Graph || f.why != nil || f.data != out.Uses[0].Index || may != nil && !may(next) || !p.twinsFollow(r.last(), next) {
			return r
		}
		a, ok := r.a.Then(f.a)
		if !ok || !a.Finite() {
			return r
		}
		r.nodes, r.a, r.cost = append(r.nodes, next), a, r.cost.plus(costOf(next))
	}
}

// costOf is the cost of a node that is a map.
func costOf(n *model.Node) cost {
	if o := operators[n.Type]; o != nil {
		return cmp.Or(o.Cost, costSimple)
	}
	return costSimple
}

// costOfMap is the cost of a map written as a Mul, an Add or both.
func costOfMap(a affine) (c cost) {
	if a.Scales() {
		c = c.plus(costSimple)
	}
	if a.Shifts() {
		c = c.plus(costSimple)
	}
	return c
}

// try moves a run, or part of its map, and says whether it did.
func (p *planner) try(r *run) bool {
	var back, forward *Reason
	places := p.twinRuns(r)
	if places != nil {
		if back = p.moveAll(places, true); back == nil {
			return true
		}
		if forward = p.moveAll(places, false); forward == nil {
			return true
		}
	}
	if p.together(r) {
		if places == nil {
			back, forward = because(Unsupported, "its layer is used differently in another place"), because(Unsupported, "its layer is used differently in another place")
		}
		p.explain(r, obstacles(back, forward))
		return false
	}
	if p.unread(r) {
		return true
	}
	if r.a.Identity() {
		if p.drop(r) {
			return true
		}
		p.explain(r, because(Unsupported, "%v has no effect, but connects two values that the file needs", r.last()))
		return false
	}
	if back = p.moveBack(r, r.a); back == nil {
		return true
	}
	if forward = p.moveForward(r, r.a); forward == nil {
		return true
	}
	if r.a.Scales() && r.a.Shifts() && p.part(r) {
		return true
	}
	if p.merge(r) || p.mergeEqual(r) {
		return true
	}
	p.explain(r, obstacles(back, forward))
	return false
}

// obstacles is the reason why a run stays: of those before and behind it, the one that says more.
func obstacles(back, forward *Reason) *Reason {
	if back.Text == forward.Text {
		return back
	}
	return &Reason{moreSpecific(back.Code, forward.Code), "before it: " + back.Text + "; after it: " + forward.Text}
}

// explain records why the run's nodes stay where they are.
func (p *planner) explain(r *run, why *Reason) {
	for _, n := range r.nodes {
		p.accounts.why.set(n.Number, why)
	}
}

// byWeight are the codes that a map's two obstacles can have, the most informative first.
var byWeight = []Code{Keep, InIdiom, Overflow, Underflow, Statistics, Quantized, Duplicate, NotConstant, Border, Sign, SharedOutput, Subgraph, NoGain, NotPerChannel, Unsupported, Nonlinear, NoLinear}

// moreSpecific is the code of two that says more.
func moreSpecific(a, b Code) Code {
	if slices.Index(byWeight, b) < slices.Index(byWeight, a) {
		return b
	}
	return a
}

// moveBack moves the map a of a run to the operators before it.
func (p *planner) moveBack(r *run, a affine) *Reason {
	m := p.newMove(r.nodes)
	if why := m.Back(r.first(), p.find(r.first()).data, a); why != nil {
		return why
	}
	return m.settle(r, func() { p.absorb(r) })
}

// moveForward moves the map a of a run to the operators behind it.
func (p *planner) moveForward(r *run, a affine) *Reason {
	m := p.newMove(r.nodes)
	if why := m.Forward(r.last().Outputs[0], a); why != nil {
		return why
	}
	return m.settle(r, func() { p.bypass(r) })
}

// settle accepts the move if its late checks hold and it lowers the work, makes its edits, and takes the run away.
func (m *move) settle(r *run, remove func()) *Reason {
	if !m.added.less(r.cost) {
		return because(NoGain, "absorbing it into %v would save nothing", m.nodes[len(m.nodes)-1])
	}
	for _, check := range m.late {
		if why := check(); why != nil {
			return why
		}
	}
	if why := m.alike(); why != nil {
		return why
	}
	for _, edit := range m.edits {
		edit()
	}
	m.unite()
	remove()
	m.p.accepted(m, r)
	return nil
}

// accepted records what became of the run, and forgets what find said of nodes that changed.
func (p *planner) accepted(m *move, r *run) {
	p.regions.join(m.nodes)
	for _, n := range m.nodes {
		p.maps.set(n.Number, nil)
	}
	p.accounts.moved(m, r, p.successors)
	p.successors = nil
}

// successor is a node that computes what is left of a run, and the entries that it accounts for from then on.
type successor struct {
	node    *model.Node
	entries []*entry
}

// absorb removes the run after a move backward: the producer of its input outputs its output.
func (p *planner) absorb(r *run) {
	for _, n := range r.nodes {
		n.Graph.Absorb(n, p.find(n).data)
	}
}

// bypass removes the run after a move forward: the readers of its output read its input.
func (p *planner) bypass(r *run) {
	for _, n := range slices.Backward(r.nodes) {
		n.Graph.Bypass(n, p.find(n).data)
	}
}

// drop removes a run that is an identity.
func (p *planner) drop(r *run) bool {
	m := p.newMove(r.nodes)
	in, out := r.first().In(p.find(r.first()).data), r.last().Outputs[0]
	switch {
	case !out.Output:
		p.regions.drop(r.first(), out, in)
		return m.settle(r, func() { p.bypass(r) }) == nil
	case in.Producer != nil && in.Producer.Graph == out.Graph && !in.Output && len(in.Uses) == 1:
		p.regions.drop(r.first(), in, out)
		return m.settle(r, func() { p.absorb(r) }) == nil
	}
	// The run connects a graph input, or a value with other readers, to a graph output: an Identity has to stay.
	if m.Rebuild(r.last()) != nil {
		return false
	}
	return m.settle(r, func() {
		last := r.last()
		for _, n := range r.nodes[:len(r.nodes)-1] {
			n.Remove()
		}
		p.identity(last, in)
	}) == nil
}

// kept says whether the user wants the node left alone.
func (p *planner) kept(n *model.Node) bool {
	return slices.ContainsFunc(p.opt.Keep, func(glob string) bool {
		return doublestar.MatchUnvalidated(glob, n.Name)
	})
}
