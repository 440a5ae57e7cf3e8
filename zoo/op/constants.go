package op

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// maxConstant bounds the elements of an evaluated constant.
const maxConstant = 1 << 22

// maxKept bounds the elements of a stored constant that stays in memory: larger ones are read again when they are needed.
const maxKept = 1 << 12

// Bounds on all expressions of constants of a model together: elements in memory at a time, and multiplications.
const (
	maxMemory = 1 << 23
	maxEffort = 1 << 32
)

// Folder does constant folding: it evaluates expressions of constants, and keeps the results. Large results are dropped
// when their number reaches a bound, and computed again when they are asked for.
type Folder struct {
	Overridable bool // initializers that callers may override count as constants
	known       map[*model.Value]*Array
	busy        map[*model.Value]bool
	depth       int
	memory      int64          // elements remembered
	large       []*model.Value // those of more than maxKept elements among them
	effort      float64
}

// Constants is a new Folder, which has evaluated nothing.
func Constants() *Folder {
	return &Folder{known: map[*model.Value]*Array{}, busy: map[*model.Value]bool{}}
}

// Value is the elements of v, if v is a constant or an expression of constants that can be evaluated within the bounds.
func (f *Folder) Value(v *model.Value) (*Array, bool) {
	if v == nil {
		return nil, false
	}
	if a, ok := f.known[v]; ok {
		return a, a != nil
	}
	if v.Const != nil {
		a := f.stored(v)
		if a == nil || len(a.Data) <= maxKept { // larger ones can be read again
			f.remember(v, a)
		}
		return a, a != nil
	}
	if f.depth > 1000 || f.busy[v] {
		return nil, false
	}
	f.busy[v], f.depth = true, f.depth+1
	a := f.evaluate(v)
	f.depth--
	delete(f.busy, v)
	f.remember(v, a)
	return a, a != nil
}

// stored is the elements of a constant that the model stores, or nil.
func (f *Folder) stored(v *model.Value) *Array {
	if v.Input && !f.Overridable {
		return nil
	}
	a, err := FromConstant(v.Const, maxConstant)
	if err != nil {
		return nil
	}
	return a
}

// remember keeps a value's elements. Where the bound on memory is reached it drops all large ones first.
func (f *Folder) remember(v *model.Value, a *Array) {
	f.known[v] = a
	if a == nil {
		return
	}
	if f.memory += int64(len(a.Data)); f.memory > maxMemory {
		for _, old := range f.large {
			f.memory -= int64(len(f.known[old].Data))
			delete(f.known, old)
		}
		f.large = nil
	}
	if len(a.Data) > maxKept {
		f.large = append(f.large, v)
	}
}

// learn makes elements of a value known that follow from more than constants: from extents that are known where others of
// the same shape are free.
func (f *Folder) learn(v *model.Value, a *Array) { f.known[v] = a }

// evaluate is the elements of what a node computes, or nil.
func (f *Folder) evaluate(v *model.Value) *Array {
	n := v.Producer
	if n != nil && n.Type == "If" {
		return f.taken(v, n)
	}
	if n == nil || len(n.Bodies) > 0 || len(n.Inputs) == 0 || f.memory > maxMemory || f.effort > maxEffort {
		return nil
	}
	if (n.Type == "Shape" || n.Type == "Size") && n.In(0) != nil {
		if a := staticShape(n); a != nil {
			return a
		}
	}
	in := make([]*Array, len(n.Inputs))
	for k, x := range n.Inputs {
		if x == nil {
			continue
		}
		if OnlyType(n, k) {
			in[k] = OfType(x)
			continue
		}
		a, ok := f.Value(x)
		if !ok {
			return nil
		}
		in[k] = a
	}
	out, err := Eval(n, in)
	if err != nil {
		return nil
	}
	for _, a := range out {
		if a != nil {
			f.effort += float64(Terms(n, in)) * float64(len(a.Data)+len(in))
		}
	}
	for k, x := range n.Outputs {
		if x == v && k < len(out) && out[k] != nil && len(out[k].Data) <= maxConstant {
			return out[k]
		}
	}
	return nil
}

// taken is an output of an If whose condition is constant: that of the branch which runs.
func (f *Folder) taken(v *model.Value, n *model.Node) *Array {
	b := f.branch(n)
	for k, x := range n.Outputs {
		if x == v && b != nil && k < len(b.Outputs) {
			a, _ := f.Value(b.Outputs[k])
			return a
		}
	}
	return nil
}

// branch is the graph that an If runs, where its condition is constant; else nil.
func (f *Folder) branch(n *model.Node) *model.Graph {
	c, ok := f.Value(n.In(0))
	if !ok || len(c.Data) != 1 || n.Type != "If" {
		return nil
	}
	for _, b := range n.Bodies {
		if b.Attr == "then_branch" && c.Data[0] != 0 || b.Attr == "else_branch" && c.Data[0] == 0 {
			return b
		}
	}
	return nil
}

func dtypeOf(v *model.Value) tensor.DType {
	if v.Const != nil {
		return v.Const.DType
	}
	return v.DType
}

// staticShape evaluates a Shape or Size of a value with known extents, whether or not its elements are known.
func staticShape(n *model.Node) *Array {
	shape := n.In(0).Shape
	if c := n.In(0).Const; c != nil {
		shape = append([]int64{}, c.Shape...)
	}
	if shape == nil || slices.ContainsFunc(shape, func(d int64) bool { return d < 0 }) {
		return nil
	}
	if n.Type == "Size" {
		return &Array{DType: tensor.Int64, Shape: []int64{}, Data: []float64{float64(product(shape))}}
	}
	out, err := shapeOf(n, shape)
	if err != nil {
		return nil
	}
	return out
}
