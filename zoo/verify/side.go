package verify

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// side is a region in one of the two models.
type side struct {
	consts          *op.Folder // of this model
	probed, names   []string   // of inputs and outputs, in the original
	inputs, outputs []*model.Value
	called          map[string]*model.Value
	order           []*model.Node // from inputs to outputs, in the order of evaluation
	shapes          map[*model.Value][]int64
	arguments       map[*model.Value]*op.Array
	known           map[*model.Value]*op.Array // inputs of nodes that are known before evaluation
	products        op.Products
	limit           int // of numbers held
}

// newSide is the part of a model between inputs and outputs; called says how the model calls them.
func newSide(values names, consts *op.Folder, inputs, outputs []string, called func(string) string) (*side, error) {
	s := &side{consts: consts, probed: inputs, names: outputs, inputs: values.list(inputs, called), outputs: values.list(outputs, called), called: map[string]*model.Value{}, arguments: map[*model.Value]*op.Array{}, known: map[*model.Value]*op.Array{}}
	for _, name := range slices.Concat(inputs, outputs) {
		s.called[name] = values[called(name)]
	}
	return s, s.sort()
}

func (s *side) value(name string) *model.Value { return s.called[name] }

// sort finds the nodes between inputs and outputs, in the order of evaluation.
func (s *side) sort() error {
	seen := map[*model.Node]bool{}
	var visit func(v *model.Value) error
	visit = func(v *model.Value) error {
		if v == nil || slices.Contains(s.inputs, v) || s.given(v) {
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
		for k, x := range n.Inputs {
			if op.OnlyType(n, k) {
				continue
			}
			if err := visit(x); err != nil {
				return err
			}
		}
		s.order = append(s.order, n)
		return nil
	}
	for _, v := range s.outputs {
		if err := visit(v); err != nil {
			return err
		}
	}
	return nil
}

// given says whether a value is known before any node is evaluated: a stored constant, or a value that follows from shapes
// and indices. Other expressions of constants are evaluated, for their magnitudes.
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

// measured is a value on all probes, or once where it is the same on all, with the magnitude of the sums behind it, how many
// terms they have, and how many weights.
type measured struct {
	grid             op.Grid // the elements; nil: all
	value, magnitude []*op.Array
	terms, weights   int64
}

// of is the value on a probe.
func (m measured) of(probe int) (value, magnitude *op.Array) {
	if len(m.value) == 1 {
		return m.value[0], m.magnitude[0]
	}
	return m.value[probe], m.magnitude[probe]
}

// size is the number of elements that it holds, magnitudes included.
func (m measured) size() (numbers int) {
	for _, a := range m.value {
		numbers += 2 * len(a.Data)
	}
	return numbers
}

// part is the elements of a grid of the value.
func (m measured) part(grid op.Grid) (measured, error) {
	if grid == nil || m.grid == nil || m.grid.Equal(grid) {
		return m, nil
	}
	out := measured{grid: grid, terms: m.terms, weights: m.weights}
	for k, a := range m.value {
		value, err := a.Part(m.grid, grid)
		if err != nil {
			return out, err
		}
		magnitude := value
		if m.magnitude[k] != a {
			if magnitude, err = m.magnitude[k].Part(m.grid, grid); err != nil {
				return out, err
			}
		}
		out.value, out.magnitude = append(out.value, value), append(out.magnitude, magnitude)
	}
	return out, nil
}

// evaluation is one pass over a side.
type evaluation struct {
	*side
	needs   needs // nil: of all
	values  map[*model.Value]measured
	readers map[*model.Value]int // readers that are not evaluated yet
	held    int
}

// evaluate computes the demanded parts of the outputs, on all probes.
func (s *side) evaluate(ctx context.Context, d *demand, needed needs, inputs [][]*op.Array) ([]measured, error) {
	e := &evaluation{side: s, values: map[*model.Value]measured{}, readers: map[*model.Value]int{}}
	if d.grids != nil {
		e.needs = needed
	}
	return e.run(ctx, d, inputs)
}

func (e *evaluation) run(ctx context.Context, d *demand, inputs [][]*op.Array) ([]measured, error) {
	for _, n := range e.order {
		for _, v := range n.Inputs {
			e.readers[v]++
		}
	}
	for _, v := range e.outputs {
		e.readers[v]++
	}
	for j, v := range e.inputs {
		m := measured{value: inputs[j]}
		if d.grids != nil {
			m.grid = d.grids[e.probed[j]]
		}
		for _, a := range inputs[j] {
			m.magnitude = append(m.magnitude, absolute(a))
		}
		e.values[v] = m
		e.held += m.size()
	}
	for _, n := range e.order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := e.node(ctx, n); err != nil {
			return nil, err
		}
		for _, v := range n.Inputs {
			if e.readers[v]--; e.readers[v] == 0 && v != nil {
				e.held -= e.values[v].size()
				delete(e.values, v)
			}
		}
	}
	var results []measured
	for j, v := range e.outputs {
		var grid op.Grid
		if d.grids != nil {
			grid = d.grids[e.names[j]]
		}
		m, err := e.read(v, grid)
		if err != nil {
			return nil, err
		}
		results = append(results, m)
	}
	return results, nil
}

// grant fails if so many more numbers exceed the side's limit.
func (e *evaluation) grant(numbers float64, what any) error {
	if float64(e.held)+numbers > float64(e.limit) {
		return fmt.Errorf("the region holds more than %d numbers at %v: %w", e.limit, what, op.ErrTooLarge)
	}
	return nil
}

// read is a value that a node reads, or a constant; of it the elements of the grid, if one is given.
func (e *evaluation) read(v *model.Value, grid op.Grid) (measured, error) {
	if m, ok := e.values[v]; ok {
		return m.part(grid)
	}
	if !e.given(v) {
		return measured{}, fmt.Errorf("%q is not computed", v.Name)
	}
	m := measured{grid: grid}
	a := e.argument(v)
	if a.Data == nil {
		if grid == nil {
			m.grid = op.WholeGrid(a.Shape)
		}
		if err := e.grant(2*volume(m.grid.Shape()), v.Name); err != nil {
			return m, err
		}
		var err error
		if a, err = constantPart(v.Const, m.grid); err != nil {
			return m, err
		}
	} else if grid != nil {
		var err error
		if a, err = a.Part(op.WholeGrid(a.Shape), grid); err != nil {
			return m, err
		}
	}
	m.value, m.magnitude = []*op.Array{a}, []*op.Array{a}
	if v.Const != nil {
		m.weights = 1
		if v.Const.DType.Float() { // integers are indices: they have no magnitude of their own
			m.magnitude[0] = absolute(a)
		}
	}
	return m, nil
}

// node computes the outputs of a node that are needed.
func (e *evaluation) node(ctx context.Context, n *model.Node) error {
	if done, err := e.product(ctx, n); done || err != nil {
		return err
	}
	if e.needs == nil {
		return e.whole(n)
	}
	in, shapes := e.arrays(n), make([][]int64, len(n.Inputs))
	for k, a := range in {
		if a != nil {
			shapes[k] = a.Shape
		}
	}
	for k, v := range n.Outputs {
		grid := e.needs[v]
		if v == nil || grid == nil {
			continue
		}
		needed := op.GridNeeds(n, in, k, e.shapes[v], grid)
		read, terms, weights, probes, err := e.inputsOf(n, needed)
		if err != nil {
			return err
		}
		size := 2 * volume(grid.Shape()) * float64(probes)
		if !op.InParts(n, needed, grid) { // the operator is evaluated as a whole
			size += 2 * volume(e.shapes[v])
			for _, s := range shapes {
				size += 2 * volume(s)
			}
		}
		if err := e.grant(size, n); err != nil {
			return err
		}
		out := measured{grid: grid, terms: terms + op.Terms(n, in), weights: weights + 1}
		for p := range probes {
			values, magnitudes := at(read, p)
			value, magnitude, err := op.EvalPart(n, values, magnitudes, needed, shapes, k, e.shapes[v], grid)
			if err != nil {
				return err
			}
			out.value, out.magnitude = append(out.value, value), append(out.magnitude, magnitude)
		}
		e.keep(v, out)
	}
	return nil
}

// whole computes all of a node's outputs.
func (e *evaluation) whole(n *model.Node) error {
	read, terms, weights, probes, err := e.inputsOf(n, nil)
	if err != nil {
		return err
	}
	if err := e.grant(expected(n)*float64(probes), n); err != nil {
		return err
	}
	results := make([]measured, len(n.Outputs))
	for p := range probes {
		values, magnitudes := at(read, p)
		out, err := op.Eval(n, values)
		if err != nil {
			return err
		}
		magnitude, err := op.Magnitude(n, values, magnitudes, out)
		if err != nil {
			return err
		}
		for k, v := range n.Outputs {
			if v == nil || k >= len(out) || k >= len(magnitude) {
				continue
			}
			if len(magnitude[k].Data) != len(out[k].Data) {
				return fmt.Errorf("%v: magnitudes of shape %v for an output of shape %v", n, magnitude[k].Shape, out[k].Shape)
			}
			r := &results[k]
			r.terms, r.weights = terms+op.Terms(n, values), weights+1
			r.value, r.magnitude = append(r.value, out[k]), append(r.magnitude, magnitude[k])
		}
	}
	for k, v := range n.Outputs {
		if v != nil && results[k].value != nil {
			e.keep(v, results[k])
		}
	}
	return nil
}

// keep holds a value for those that read it. Integers have no other magnitude than themselves.
func (e *evaluation) keep(v *model.Value, m measured) {
	if v.DType != tensor.Undefined && !v.DType.Float() {
		for k, a := range m.value {
			if whole(a) {
				m.magnitude[k] = a
			}
		}
	}
	e.values[v] = m
	e.held += m.size()
}

// inputsOf are what a node reads, on how many probes.
func (e *evaluation) inputsOf(n *model.Node, grids []op.Grid) (read []*measured, terms, weights int64, probes int, err error) {
	read, probes = make([]*measured, len(n.Inputs)), 1
	for k, v := range n.Inputs {
		if v == nil {
			continue
		}
		if op.OnlyType(n, k) {
			a := []*op.Array{op.OfType(v)}
			read[k] = &measured{value: a, magnitude: a}
			continue
		}
		var grid op.Grid
		if grids != nil {
			grid = grids[k]
		}
		m, err := e.read(v, grid)
		if err != nil {
			return nil, 0, 0, 0, fmt.Errorf("%v: %w", n, err)
		}
		read[k] = &m
		terms, weights, probes = max(terms, m.terms), max(weights, m.weights), max(probes, len(m.value))
	}
	return read, terms, weights, probes, nil
}

// at are the values and magnitudes that are read on a probe.
func at(read []*measured, probe int) (values, magnitudes []*op.Array) {
	values, magnitudes = make([]*op.Array, len(read)), make([]*op.Array, len(read))
	for k, m := range read {
		if m != nil {
			values[k], magnitudes[k] = m.of(probe)
		}
	}
	return values, magnitudes
}

// whole says whether all elements are integers: a file may declare a type wrongly.
func whole(a *op.Array) bool {
	return !slices.ContainsFunc(a.Data, func(x float64) bool { return x != math.Trunc(x) })
}

// expected is how many numbers a node's outputs will hold for a probe, as far as their shapes tell.
func expected(n *model.Node) (numbers float64) {
	for _, v := range n.Outputs {
		if v != nil && len(v.Shape) > 0 {
			size, _ := tensor.Elements(v.Shape) // 0 where an extent is free
			numbers += 2 * float64(min(size, maxHeld))
		}
	}
	return numbers
}

func absolute(a *op.Array) *op.Array {
	out := &op.Array{Shape: a.Shape, Data: make([]float64, len(a.Data))}
	for k, x := range a.Data {
		out.Data[k] = math.Abs(x)
	}
	return out
}
