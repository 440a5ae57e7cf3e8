package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/outcome"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Result is what Algebra found.
type Result struct {
	Passed int      // regions that compute the same
	Share  float64  // largest share of the limit that a region used
	NotRun []string // why regions could not be evaluated
	Failed string   // where the first region over its limit is, and by how much
}

// Check is the result for the report. Regions that could not be evaluated are not run, never passed: the check as a whole
// has passed only if all were.
func (r Result) Check() outcome.Check {
	c := outcome.Check{Status: outcome.Passed, Difference: min(r.Share, math.MaxFloat64), Compared: int64(r.Passed)}
	switch {
	case r.Failed != "":
		c.Status, c.Note = outcome.Mismatch, r.Failed
	case len(r.NotRun) > 0:
		c.Status = outcome.NotRun
		c.Note = fmt.Sprintf("%d of %d regions could not be evaluated: %s", len(r.NotRun), len(r.NotRun)+r.Passed, r.NotRun[0])
	}
	return c
}

// AlgebraVersion is that of the check: raised where it finds what it did not find before.
const AlgebraVersion = 2

// Algebra evaluates every region of the plan in both models, in float64, on probes, and compares. folded may be the model
// as planned, with unrounded weights, or as read back from a file. With S and S' the magnitudes of the sums before and
// after, n the terms added up, u64 = 2^-53 and u the unit roundoff of the weights' storage type, a difference passes up to
//
//	8·(n+8)·u64·(S+S') + 8·u·w·S' + (n+8)·v·m
//
// where w is the number of weights, rounded once each, between a region's inputs and outputs, v the smallest number of
// their type and m the largest number that goes in, or 1; with unrounded weights u and v are 0.
func Algebra(ctx context.Context, original, folded *model.Model, plan *fold.Plan) (Result, error) {
	return algebra(ctx, original, folded, plan, plan.Unit)
}

// AlgebraUnrounded is Algebra for a model whose weights were not rounded yet: the proof of the rules themselves.
func AlgebraUnrounded(ctx context.Context, original, folded *model.Model, plan *fold.Plan) (Result, error) {
	return algebra(ctx, original, folded, plan, 0)
}

func algebra(ctx context.Context, original, folded *model.Model, plan *fold.Plan, unit float64) (Result, error) {
	consts, others := settle(original), settle(folded) // each model's own: what the plan took as known is not taken over
	before, after := index(original), index(folded)
	var r Result
	for _, region := range plan.Regions {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		c := &comparison{region: region, regions: plan.Regions, before: before[region.Graph], after: after[region.Graph], consts: consts, others: others, unit: unit}
		share, err := c.run(ctx)
		switch {
		case errors.Is(err, errDiffers):
			r.Failed, r.Share = err.Error(), max(r.Share, share)
			return r, nil
		case ctx.Err() != nil:
			return r, ctx.Err()
		case err != nil:
			r.NotRun = append(r.NotRun, err.Error())
		default:
			r.Passed, r.Share = r.Passed+1, max(r.Share, share)
		}
	}
	return r, nil
}

// freeExtent is given to extents that a model leaves free.
const freeExtent = 64

// settle gives the free extents of a model's inputs a size, so that the extents of values within agree with each other.
func settle(m *model.Model) *op.Folder {
	for _, v := range m.Graph.Inputs {
		if v.Shape == nil {
			continue
		}
		v.Shape = slices.Clone(v.Shape)
		for k, d := range v.Shape {
			switch {
			case d >= 0:
			case k == 0:
				v.Shape[k] = 1
			default:
				v.Shape[k] = freeExtent
			}
		}
	}
	consts := op.Constants(m)
	op.Infer(m, consts)
	return consts
}

// names are a graph's values by name, those of graphs around it included.
type names map[string]*model.Value

func index(m *model.Model) map[string]names {
	out := map[string]names{}
	m.Walk(func(g *model.Graph) {
		values := names{}
		if g.Parent != nil && g.Parent.Graph != nil {
			for name, v := range out[g.Parent.Graph.Path()] {
				values[name] = v
			}
		}
		for _, v := range slices.Concat(g.Inputs, g.Consts) {
			values[v.Name] = v
		}
		for _, n := range g.Nodes {
			for _, v := range n.Outputs {
				if v != nil {
					values[v.Name] = v
				}
			}
		}
		out[g.Path()] = values
	})
	return out
}

// comparison is one region in both models.
type comparison struct {
	region        fold.Region
	regions       []fold.Region // all of the plan
	before, after names
	consts        *op.Folder // of the original
	others        *op.Folder // of the folded model
	unit          float64
	largest       float64 // number that goes in, or 1
}

var errDiffers = errors.New("differs")

// run compares on all probes, and is the largest share of the limit that was used. Of regions that need much memory there is
// one at a time in the whole process.
func (c *comparison) run(ctx context.Context) (float64, error) {
	share, err := c.compareAll(ctx, maxLight)
	if !errors.Is(err, op.ErrTooLarge) {
		return share, err
	}
	select {
	case large <- struct{}{}:
		defer func() { <-large }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return c.compareAll(ctx, maxHeld)
}

// large is the one place for a region that needs much memory.
var large = make(chan struct{}, 1)

func (c *comparison) compareAll(ctx context.Context, limit int) (float64, error) {
	probed := c.probed()
	shapes, err := c.shapes(probed)
	if err != nil {
		return 0, err
	}
	same := func(name string) string { return name }
	before, after := c.side(c.before, c.consts, probed, same), c.side(c.after, c.others, probed, c.region.Folded)
	before.limit, after.limit = limit, limit
	share := 0.0
	for k, draw := range probes {
		if err := ctx.Err(); err != nil {
			return share, err
		}
		if k > 0 && before.spent*float64(k+1)/float64(k) > maxWork {
			break // the first probe sees all there is: noise with a mean, and the borders
		}
		inputs := map[string]*op.Array{}
		rng := rand.New(rand.NewPCG(uint64(k), 10))
		c.largest = 1
		for j, name := range probed {
			if a := c.twin(probed[:j], name, inputs); a != nil && slices.Equal(a.Shape, shapes[j]) {
				inputs[name] = a
				continue
			}
			a, err := op.NewArray(shapes[j])
			if err != nil {
				return share, fmt.Errorf("region of %q: %w", name, err)
			}
			if v := c.before[name]; v.DType == tensor.Undefined || v.DType.Float() {
				draw(rng, a)
			} else {
				a = integers(rng, v, a)
			}
			inputs[name] = a
			for _, x := range a.Data {
				c.largest = max(c.largest, math.Abs(x))
			}
		}
		x, err := before.evaluate(ctx, inputs)
		if err != nil {
			return share, fmt.Errorf("the original: %w", err)
		}
		y, err := after.evaluate(ctx, inputs)
		if err != nil {
			return share, fmt.Errorf("the folded model: %w", err)
		}
		for j, name := range c.outputs() {
			s, err := c.compare(name, x[j], y[j])
			if share = max(share, s); err != nil {
				return share, err
			}
		}
	}
	return share, nil
}

// twin is the probe of an earlier input that is the same value in the folded model, if other regions show that it is the same
// in the original.
func (c *comparison) twin(earlier []string, name string, inputs map[string]*op.Array) *op.Array {
	for _, other := range earlier {
		if c.region.Folded(other) == c.region.Folded(name) && c.shown(other, name) {
			return inputs[other]
		}
	}
	return nil
}

// shown says whether regions that hold show two values of the original to be the same: one is what a region makes of the
// other, and the folded model has one value for both.
func (c *comparison) shown(a, b string) bool {
	target, same := c.region.Folded(a), map[string]bool{a: true}
	for grew := true; grew; {
		grew = false
		for _, r := range c.regions {
			called := func(name string) bool { return r.Graph == c.region.Graph && r.Folded(name) == target }
			list := slices.DeleteFunc(slices.Clone(r.Outputs), func(name string) bool { return !called(name) })
			if from := slices.DeleteFunc(slices.Clone(r.Inputs), func(name string) bool { return !called(name) }); len(from) == 1 {
				list = append(list, from[0])
			}
			if !slices.ContainsFunc(list, func(name string) bool { return same[name] }) {
				continue
			}
			for _, name := range list {
				grew = grew || !same[name]
				same[name] = true
			}
		}
	}
	return same[b]
}

// probed are the inputs that probes are drawn for. What follows from the shapes of the model's inputs is none: each model
// computes it for itself, and the folded one may have done away with it.
func (c *comparison) probed() []string {
	var out []string
	for _, name := range c.region.Inputs {
		if v := c.before[name]; v != nil {
			if _, known := c.consts.Value(v); known {
				continue
			}
		}
		out = append(out, name)
	}
	return out
}

// outputs are those of the region that have to agree. What follows from shapes and is gone from the folded model is none:
// what read it is in a region of its own.
func (c *comparison) outputs() []string {
	var out []string
	for _, name := range c.region.Outputs {
		if v := c.before[name]; v != nil && !v.Output && c.after[c.region.Folded(name)] == nil {
			if _, known := c.consts.Value(v); known {
				continue
			}
		}
		out = append(out, name)
	}
	return out
}

// integers fill a probe of integers or truth values: rows of the tables that it takes rows of, as an embedding's does, all
// of them in turn; or zeros and ones.
func integers(rng *rand.Rand, v *model.Value, a *op.Array) *op.Array {
	a.DType = v.DType
	count, ok := rows(v)
	for k := range a.Data {
		if ok {
			a.Data[k] = float64(int64(k) % count)
		} else {
			a.Data[k] = float64(rng.IntN(2))
		}
	}
	return a
}

// rows is how many rows all tables have that a value takes rows of, if it does nothing else.
func rows(v *model.Value) (count int64, ok bool) {
	count = math.MaxInt64
	for _, u := range v.Uses {
		positions := op.Of(u.Node).Positions
		if positions == nil {
			return 0, false
		}
		if count = min(count, positions(u.Node, u.Index)); count == 0 {
			return 0, false
		}
	}
	return count, len(v.Uses) > 0
}

// maxWork bounds the multiplications of a region on its probes, if there is to be more than one.
const maxWork = 1e7

// probes are the inputs of a region.
var probes = []func(*rand.Rand, *op.Array){
	normal, scaled(1e3), scaled(-1e3), // what is small, and what saturates
	constant(0), constant(1), oneHot(0), oneHot(0.5), oneHot(1),
	normal, normal,
}

func normal(rng *rand.Rand, a *op.Array) {
	for k := range a.Data {
		a.Data[k] = rng.NormFloat64() + 0.25
	}
}

func constant(x float64) func(*rand.Rand, *op.Array) {
	return func(_ *rand.Rand, a *op.Array) {
		for k := range a.Data {
			a.Data[k] = x
		}
	}
}

// oneHot is 1 at one position of every channel, at that part of the way from the first corner to the last.
func oneHot(at float64) func(*rand.Rand, *op.Array) {
	return func(_ *rand.Rand, a *op.Array) {
		plane := 1
		if len(a.Shape) > 2 {
			for _, d := range a.Shape[2:] {
				plane *= int(d)
			}
		}
		for first := 0; first+plane <= len(a.Data) && plane > 0; first += plane {
			a.Data[first+int(at*float64(plane-1))] = 1
		}
	}
}

func scaled(x float64) func(*rand.Rand, *op.Array) {
	return func(rng *rand.Rand, a *op.Array) {
		for k := range a.Data {
			a.Data[k] = x * rng.Float64()
		}
	}
}

// shapes are the inputs' shapes. Where the whole region works on positions alike, large images are cut to a size at which
// borders and interior are both seen.
func (c *comparison) shapes(probed []string) ([][]int64, error) {
	var out [][]int64
	for _, name := range probed {
		v := c.before[name]
		if v == nil || c.after[c.region.Folded(name)] == nil {
			return nil, fmt.Errorf("the value %q is not in both models", name)
		}
		s := slices.Clone(v.Shape)
		if s == nil {
			var ok bool
			if s, ok = wanted(v); !ok {
				return nil, fmt.Errorf("the rank of %q is not known", name)
			}
		}
		for k, d := range s {
			switch {
			case d >= 0:
			case k == 0:
				s[k] = 1
			case k == 1:
				w, ok := wanted(v)
				if !ok || len(w) != len(s) {
					return nil, fmt.Errorf("axis 1 of %q has no known extent", name)
				}
				s[k] = w[1]
			default:
				s[k] = freeExtent / 4
			}
		}
		out = append(out, s)
	}
	if len(out) == 1 && len(out[0]) > 2 {
		if reach, stride, alike := c.reach(len(out[0]) - 2); alike {
			for k := 2; k < len(out[0]); k++ {
				if more := out[0][k] - reach; more > 0 {
					out[0][k] = reach + more%stride
				}
			}
		}
	}
	return out, nil
}

// wanted is a shape that a reader of a value takes.
func wanted(v *model.Value) ([]int64, bool) {
	for _, u := range v.Uses {
		wants := op.Of(u.Node).Wants
		if u.Index != 0 || wants == nil {
			continue
		}
		if s := wants(u.Node); s != nil {
			for k, d := range s {
				switch {
				case d >= 0:
				case k == 0:
					s[k] = 1
				default:
					s[k] = freeExtent / 4
				}
			}
			return s, true
		}
	}
	return nil, false
}

// reach is an extent at which a region's kernels see both borders and an interior: one that some output sees all of. Larger
// ones are alike if they differ by a multiple of the stride, so that windows meet the border in the same way. alike says
// that the region's operators treat all positions alike. The last axes, spatial many, are positions.
func (c *comparison) reach(spatial int) (extent, stride int64, alike bool) {
	nodes, err := c.side(c.before, c.consts, c.probed(), func(name string) string { return name }).nodes()
	if err != nil {
		return 0, 0, false
	}
	extent, stride = 1, 1
	for _, n := range nodes {
		switch o := op.Of(n); {
		case o.Window != nil:
			w := o.Window(n)
			k, s, d := largest(w.Kernel), largest(w.Strides), largest(w.Dilations)
			extent += (k - 1) * d * stride
			stride *= s
		case o.PerChannel:
		case !o.Elementwise || slices.ContainsFunc(n.Inputs, func(v *model.Value) bool { return c.varies(v, spatial) }):
			return 0, 0, false
		}
	}
	return extent + stride, stride, true
}

// largest is the largest of some numbers and 1.
func largest(list []int64) int64 { return slices.Max(append([]int64{1}, list...)) }

// varies says whether a constant is not the same at all positions.
func (c *comparison) varies(v *model.Value, spatial int) bool {
	if v == nil {
		return false
	}
	var shape []int64
	if v.Const != nil {
		shape = v.Const.Shape
	} else if a, known := c.consts.Value(v); known {
		shape = a.Shape
	}
	return slices.ContainsFunc(shape[max(0, len(shape)-spatial):], func(d int64) bool { return d != 1 })
}

// side is the region in one of the models.
type side struct {
	c       *comparison
	values  names
	consts  *op.Folder // of this model
	probed  []string
	name    func(string) string // what this model calls an input or output of the region
	weights map[*model.Value]measured
	limit   int // of elements held
	held    int // elements in weights
	spent   float64
}

func (c *comparison) side(values names, consts *op.Folder, probed []string, name func(string) string) *side {
	return &side{c: c, values: values, consts: consts, probed: probed, name: name, weights: map[*model.Value]measured{}}
}

// nodes are those between the region's inputs and outputs, in an order in which they can be evaluated.
func (s *side) nodes() ([]*model.Node, error) {
	stop := map[*model.Value]bool{}
	for _, name := range s.probed {
		stop[s.values[s.name(name)]] = true
	}
	var order []*model.Node
	seen := map[*model.Node]bool{}
	var visit func(v *model.Value) error
	visit = func(v *model.Value) error {
		if v == nil || stop[v] || s.given(v) {
			return nil
		}
		n := v.Producer
		if n == nil {
			return fmt.Errorf("%q is an input that the region does not list", v.Name)
		}
		if seen[n] {
			return nil
		}
		seen[n] = true
		if len(n.Bodies) > 0 {
			return fmt.Errorf("%v holds graphs", n)
		}
		for _, x := range n.Inputs {
			if err := visit(x); err != nil {
				return err
			}
		}
		order = append(order, n)
		return nil
	}
	for _, name := range s.c.outputs() {
		v := s.values[s.name(name)]
		if v == nil {
			return nil, fmt.Errorf("the value %q is not in both models", name)
		}
		if err := visit(v); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// given says whether a value is there before any node is evaluated: a stored constant, or what follows from shapes and
// indices. Other expressions of constants are evaluated with their magnitudes.
func (s *side) given(v *model.Value) bool {
	if v.Const != nil {
		return true
	}
	if v.DType == tensor.Undefined || v.DType.Float() {
		return false
	}
	_, known := s.consts.Value(v)
	return known
}

// measured is a value with the magnitude of the sums behind it, how many terms they have, and how many weights.
type measured struct {
	value, magnitude *op.Array
	terms, weights   int64
}

// maxWeight bounds the elements of one weight, maxHeld those of all arrays that one side of a region needs at a time, and
// maxLight those of one that any number of workers may need at a time.
const (
	maxWeight = 1 << 24
	maxHeld   = 1 << 26
	maxLight  = 1 << 22
)

func (s *side) evaluate(ctx context.Context, inputs map[string]*op.Array) ([]measured, error) {
	nodes, err := s.nodes()
	if err != nil {
		return nil, err
	}
	readers := map[*model.Value]int{} // that are still to come
	for _, n := range nodes {
		for _, v := range n.Inputs {
			readers[v]++
		}
	}
	for _, name := range s.c.outputs() {
		readers[s.values[s.name(name)]]++
	}
	held := 0
	known := map[*model.Value]measured{}
	for name, a := range inputs {
		known[s.values[s.name(name)]] = measured{value: a, magnitude: absolute(a)}
		held += 2 * len(a.Data)
	}
	for _, n := range nodes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if held+s.held+expected(n) > s.limit {
			return nil, fmt.Errorf("the region holds more than %d numbers at %v: %w", s.limit, n, op.ErrTooLarge)
		}
		in, magnitudes := make([]*op.Array, len(n.Inputs)), make([]*op.Array, len(n.Inputs))
		terms, weights := int64(0), int64(0)
		for k, v := range n.Inputs {
			if v == nil {
				continue
			}
			m, ok := known[v]
			if !ok && s.given(v) {
				if m, ok = s.weights[v]; !ok {
					if m, err = s.weight(v, held); err != nil {
						return nil, err
					}
				}
				ok = true
			}
			if !ok {
				return nil, fmt.Errorf("%v reads %q, which is not known", n, v.Name)
			}
			in[k], magnitudes[k] = m.value, m.magnitude
			terms, weights = max(terms, m.terms), max(weights, m.weights)
		}
		out, err := op.Eval(n, in)
		if err != nil {
			return nil, err
		}
		magnitude, err := op.Magnitude(n, in, magnitudes, out)
		if err != nil {
			return nil, err
		}
		own := op.Terms(n, in)
		if len(out) > 0 {
			s.spent += float64(own) * float64(len(out[0].Data))
		}
		for k, v := range n.Outputs {
			if v != nil && k < len(out) && k < len(magnitude) {
				if len(magnitude[k].Data) != len(out[k].Data) {
					return nil, fmt.Errorf("%v: magnitudes of shape %v for an output of shape %v", n, magnitude[k].Shape, out[k].Shape)
				}
				if v.DType != tensor.Undefined && !v.DType.Float() && whole(out[k]) {
					magnitude[k] = out[k]
				}
				known[v] = measured{out[k], magnitude[k], terms + own, weights + 1}
				held += 2 * len(out[k].Data)
			}
		}
		for _, v := range n.Inputs {
			if readers[v]--; readers[v] == 0 && v != nil {
				if m, ok := known[v]; ok {
					held -= 2 * len(m.value.Data)
				}
				delete(known, v)
			}
		}
	}
	var results []measured
	for _, name := range s.c.outputs() {
		v := s.values[s.name(name)]
		m, ok := known[v]
		if !ok && s.given(v) {
			if m, err = s.weight(v, held); err != nil {
				return nil, err
			}
			ok = true
		}
		if !ok {
			return nil, fmt.Errorf("%q is not computed", name)
		}
		results = append(results, m)
	}
	return results, nil
}

// weight reads a constant while the region holds so many numbers besides: once for all probes, unless there are too many to
// keep.
func (s *side) weight(v *model.Value, held int) (m measured, err error) {
	if v.Const == nil {
		a, _ := s.consts.Value(v)
		return measured{value: a, magnitude: a}, nil
	}
	if size, _ := v.Const.Elements(); int64(held+s.held)+2*size > int64(s.limit) {
		return m, fmt.Errorf("the region holds more than %d numbers with %q: %w", s.limit, v.Name, op.ErrTooLarge)
	}
	w, err := op.FromConstant(v.Const, maxWeight)
	if err != nil {
		return m, err
	}
	m = measured{value: w, magnitude: w, weights: 1}
	if v.Const.DType.Float() { // integers are indices: they have no magnitude of their own
		m.magnitude = absolute(w)
	}
	if s.held+2*len(w.Data) <= s.limit/4 {
		s.weights[v] = m
		s.held += 2 * len(w.Data)
	}
	return m, nil
}

// whole says whether all elements are integers, as a value's type may only claim.
func whole(a *op.Array) bool {
	return !slices.ContainsFunc(a.Data, func(x float64) bool { return x != math.Trunc(x) })
}

// expected is how many numbers a node's outputs will hold, as far as their shapes tell.
func expected(n *model.Node) (numbers int) {
	for _, v := range n.Outputs {
		if v != nil && len(v.Shape) > 0 {
			size, _ := tensor.Elements(v.Shape) // 0 where an extent is free
			numbers += 2 * int(min(size, maxHeld))
		}
	}
	return numbers
}

// subnormal is the distance between the smallest numbers of the type with that unit roundoff: weights as small are rounded
// by half of it, whatever they are.
func subnormal(unit float64) float64 {
	for _, d := range []tensor.DType{tensor.BFloat16, tensor.Float16, tensor.Float32} {
		if unit >= d.Unit() {
			return 2 * d.Unit() * d.SmallestNormal()
		}
	}
	return 0
}

func absolute(a *op.Array) *op.Array {
	out := &op.Array{Shape: a.Shape, Data: make([]float64, len(a.Data))}
	for k, x := range a.Data {
		out.Data[k] = math.Abs(x)
	}
	return out
}

// compare holds one output's elements against the limit.
func (c *comparison) compare(name string, x, y measured) (share float64, err error) {
	if !slices.Equal(x.value.Shape, y.value.Shape) {
		return 0, fmt.Errorf("%w: %q has shape %v in the original, %v folded", errDiffers, name, x.value.Shape, y.value.Shape)
	}
	terms := float64(max(x.terms, y.terms) + 8)
	least := terms * subnormal(c.unit) * c.largest
	for e, a := range x.value.Data {
		b := y.value.Data[e]
		s, t := math.Abs(x.magnitude.Data[e]), math.Abs(y.magnitude.Data[e]) // of integers they are the integers themselves
		limit := 8*terms*0x1p-53*(s+t) + 8*c.unit*float64(max(y.weights, 1))*t + least
		d := math.Abs(a - b)
		switch {
		case a == b || math.IsNaN(a) && math.IsNaN(b):
			continue
		case math.IsInf(limit, 1) || math.IsNaN(limit):
			return share, fmt.Errorf("output %q of the region: its sums leave float64's range", name)
		case d <= limit:
			share = max(share, d/limit)
		default:
			if over := d / limit; !math.IsNaN(over) {
				share = max(share, over)
			}
			return share, fmt.Errorf("%w: output %q of the region, element %d: %.17g in the original, %.17g folded: the difference is %.2g, the limit %.2g", errDiffers, name, e, a, b, d, limit)
		}
	}
	return share, nil
}
