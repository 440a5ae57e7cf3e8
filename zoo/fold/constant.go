package fold

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// maxValues bounds the elements of constants that are read into memory: biases, scales, small weights.
const maxValues = 1 << 22

// constant are a value's elements in float64, if it is a constant or an expression of constants with at most maxValues
// elements.
func (p *planner) constant(v *model.Value) (shape []int64, values []float64, ok bool) {
	if v == nil {
		return nil, nil, false
	}
	if v.Const != nil && (!v.Input || p.opt.Overridable) {
		values, err := v.Const.Float64s(maxValues)
		return v.Const.Shape, values, err == nil
	}
	if a, ok := p.consts.Value(v); ok {
		return a.Shape, a.Data, true
	}
	return nil, nil, false
}

// isConstant says whether the value is a constant or an expression of constants. A dequantised weight does not count:
// stored as a constant it would be larger than the quantised one.
func (p *planner) isConstant(v *model.Value) bool {
	if v == nil {
		return false
	}
	if v.Const != nil {
		return !v.Input || p.opt.Overridable
	}
	if v.Producer == nil || v.Producer.Type == "DequantizeLinear" {
		return false
	}
	_, ok := p.consts.Value(v)
	return ok && !p.quantized(v)
}

// notConstant says why a value that n reads is no constant.
func (p *planner) notConstant(what string, v *model.Value, n *model.Node) *Reason {
	switch {
	case v.Const != nil && v.Input && !p.opt.Overridable:
		return because(NotConstant, "the %s %q of %v is also an input that callers may override (the manifest's overridable: constant says that they do not)", what, v.Name, n)
	case v.Const != nil:
		return because(Unsupported, "the %s %q of %v is too large, or its type is not numeric", what, v.Name, n)
	}
	switch {
	case v.Producer == nil && !v.Input:
		return because(Unsupported, "the %s %q of %v is a sparse tensor, whose elements are not read", what, v.Name, n)
	case v.Producer == nil:
		return because(NotConstant, "the %s %q of %v is an input", what, v.Name, n)
	case p.ofConstants(v):
		return because(Unsupported, "the %s %q of %v is an expression of constants that is too large, or has operators that are not evaluated: %v among them", what, v.Name, n, v.Producer)
	}
	return because(NotConstant, "the %s %q of %v is computed at run time", what, v.Name, n)
}

// maxExpression bounds the nodes of an expression that notConstant examines to explain why it is no constant.
const maxExpression = 1000

// ofConstants says whether a value is computed from constants alone.
func (p *planner) ofConstants(v *model.Value) bool {
	seen, todo := map[*model.Node]bool{}, []*model.Value{v}
	for len(todo) > 0 {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch {
		case v == nil || v.Const != nil && (!v.Input || p.opt.Overridable):
		case v.Producer == nil || len(v.Producer.Bodies) > 0 || strings.HasPrefix(v.Producer.Type, "Random") || v.Producer.Type == "Bernoulli" || v.Producer.Type == "Multinomial":
			return false
		case !seen[v.Producer]:
			if seen[v.Producer] = true; len(seen) > maxExpression {
				return false
			}
			todo = append(todo, v.Producer.Inputs...)
		}
	}
	return true
}

// made is a constant that a move stores as an input of a node.
type made struct {
	node   *model.Node
	input  int
	shape  []int64
	values []float64
}

// constant are the elements of input k of n, a constant, with the move's edits so far.
func (m *move) constant(n *model.Node, k int) (shape []int64, values []float64, ok bool) {
	for _, c := range slices.Backward(m.made) {
		if c.node == n && c.input == k {
			return c.shape, c.values, true
		}
	}
	return m.p.constant(n.In(k))
}

// vector are the count elements of input k of n along one axis, with the move's edits so far. One element stands for all;
// an omitted input is 0.
func (m *move) vector(n *model.Node, k, count int) ([]float64, *Reason) {
	shape, values, ok := m.constant(n, k)
	switch {
	case !ok && n.In(k) == nil:
		return make([]float64, count), nil
	case !ok:
		return nil, m.p.notConstant("bias", n.In(k), n)
	case len(shape) == 1 && len(values) == 1:
		return slices.Repeat(values, count), nil
	case len(shape) != 1 || len(values) != count:
		return nil, because(Unsupported, "the bias %q of %v has shape %v, want %d elements", n.In(k).Name, n, shape, count)
	}
	return values, nil
}

// vector are a value's elements where it is a constant of n elements along one axis; one element stands for all.
func (p *planner) vector(v *model.Value, n int) ([]float64, bool) {
	shape, values, ok := p.constant(v)
	if !ok || len(shape) != 1 {
		return nil, false
	}
	if len(values) == 1 && 0 <= n && n <= maxValues {
		values = slices.Repeat(values, n)
	}
	return values, len(values) == n
}

// integers are a list that old operator sets give as an attribute and new ones as input k: nil where it is omitted, and
// false where it is computed at run time.
func (p *planner) integers(n *model.Node, attr string, k int) ([]int64, bool) {
	if n.In(k) == nil {
		return n.Ints(attr), true
	}
	_, values, ok := p.constant(n.In(k))
	return (&op.Array{Data: values}).Ints(), ok
}

// weight returns input k of n and its shape, if it is a weight that can be rescaled.
func (m *move) weight(n *model.Node, k int) (*model.Value, []int64, *Reason) {
	v := n.In(k)
	if v == nil {
		return nil, nil, because(Unsupported, "%v has no input %d", n, k)
	}
	if isDequantized(v) {
		return m.dequantizedWeight(n, k)
	}
	if v.Const == nil && m.p.isConstant(v) { // an expression of constants becomes a constant of its own
		a, _ := m.p.consts.Value(v)
		if !v.DType.Float() {
			return nil, nil, because(Unsupported, "the weight %q of %v is of type %v", v.Name, n, v.DType)
		}
		return v, a.Shape, m.Absorbed(n)
	}
	if v.Const == nil {
		if _, ok := m.p.consts.Value(v); ok {
			return nil, nil, because(Quantized, "the weight %q of %v is computed from a quantised one", v.Name, n)
		}
	}
	switch {
	case m.p.isProduct(v):
		return v, v.Shape, m.Absorbed(n)
	case v.Const == nil || v.Input && !m.p.opt.Overridable:
		return nil, nil, m.p.notConstant("weight", v, n)
	case !v.Const.DType.Float():
		return nil, nil, because(Quantized, "the weight %q of %v is of type %v", v.Name, n, v.Const.DType)
	case m.p.opt.Refuse[v.Name] != "":
		return nil, nil, because(m.p.opt.Refuse[v.Name], "the weight %q of %v %s", v.Name, n, refused(m.p.opt.Refuse[v.Name], v.Const.DType))
	}
	all, _ := m.p.twins(n) // which share one constant in the file
	if elements, _ := v.Const.Elements(); len(v.Uses) > max(1, len(all)) && elements*int64(v.Const.DType.Size()) > m.p.opt.MaxDuplicateBytes {
		return nil, nil, because(Duplicate, "the weight %q of %v has other users and is too large to copy (max_duplicate_bytes)", v.Name, n)
	}
	return v, v.Const.Shape, m.Absorbed(n)
}

// refused says for a reason why a constant of that type must not be rescaled.
func refused(code Code, d tensor.DType) string {
	switch code {
	case Overflow:
		return fmt.Sprintf("would overflow %v", d)
	case Underflow:
		return fmt.Sprintf("would become subnormal in %v", d)
	case Statistics:
		return "has elements that are not finite"
	}
	return "may not be rescaled"
}

// Rescale adds the edit that multiplies input k of n, a weight, by the factor. For a quantised weight it multiplies the
// scale of its DequantizeLinear, if the factor allows that.
func (m *move) Rescale(n *model.Node, k int, f tensor.Factor) *Reason {
	if !slices.ContainsFunc(f.Scale, func(s float64) bool { return s != 1 }) {
		return nil
	}
	if why := m.stores(n, k); why != nil {
		return why
	}
	m.changes = append(m.changes, change{node: n, input: k, before: n.In(k), factor: f})
	if isDequantized(n.In(k)) {
		return m.rescaleDequantized(n, n.Inputs[k], f)
	}
	if m.p.isProduct(n.In(k)) {
		return m.rescaleProduct(n, n.Inputs[k], f)
	}
	m.Edit(func() {
		v := n.Inputs[k]
		if v.Const == nil {
			a, _ := m.p.consts.Value(v)
			values := slices.Clone(a.Data)
			for e := range values {
				values[e] *= f.Scale[f.Channel(int64(e))]
			}
			m.p.setConst(n, k, &model.Constant{DType: v.DType, Shape: a.Shape, Values: values})
			return
		}
		c := *v.Const
		if c.Data == nil {
			c.Values = slices.Clone(c.Values)
			for e := range c.Values {
				c.Values[e] *= f.Scale[f.Channel(int64(e))]
			}
		} else {
			c.Factors = withFactor(c.Factors, f)
		}
		m.p.setConst(n, k, &c)
	})
	return nil
}

// withFactor adds a factor to a list, multiplied into one of the same layout if there is one.
func withFactor(factors []tensor.Factor, f tensor.Factor) []tensor.Factor {
	factors = slices.Clone(factors)
	for k, g := range factors {
		if g.Layout == f.Layout {
			scale := slices.Clone(g.Scale)
			for c := range scale {
				scale[c] *= f.Scale[c]
			}
			factors[k].Scale = scale
			return factors
		}
	}
	return append(factors, f)
}

// setConst makes input k of n the constant. A constant that only n reads changes in place and keeps its name; for one with
// other readers, or an expression, n gets a new constant.
func (p *planner) setConst(n *model.Node, k int, c *model.Constant) {
	v := n.In(k)
	if v != nil && v.Const != nil && v.Producer == nil && !v.Output && len(v.Uses) == 1 {
		v.Const, v.Shape = c, c.Shape
		return
	}
	hint := n.Name
	if hint == "" {
		hint = n.Outputs[0].Name
	}
	if v != nil {
		hint = v.Name
	}
	n.Set(k, n.Graph.NewConst(hint+"_folded", c))
}

// Bias adds the edit that turns input k of n, a bias of that many channels, into scale·bias + shift. An omitted bias is 0,
// and stays omitted if the shift is 0. dtype is what a new bias is stored as.
func (m *move) Bias(n *model.Node, k int, channels int, dtype tensor.DType, a affine) *Reason {
	old, why := m.vector(n, k, channels)
	if why != nil {
		return why
	}
	if v := n.In(k); v != nil {
		dtype = v.DType
	} else if !a.Shifts() && !slices.ContainsFunc(old, func(x float64) bool { return x != 0 }) {
		return nil
	}
	bias := slices.Clone(old)
	for c := range bias {
		bias[c] = a.Scale[c]*bias[c] + a.Shift[c]
	}
	return m.Values(n, k, dtype, []int64{int64(channels)}, bias)
}

// Values adds the edit that makes input k of n a constant of these elements. It refuses elements that the type cannot hold.
func (m *move) Values(n *model.Node, k int, dtype tensor.DType, shape []int64, values []float64) *Reason {
	if !dtype.Float() {
		return because(Unsupported, "input %d of %v is of type %v", k, n, dtype)
	}
	if why := m.stores(n, k); why != nil {
		return why
	}
	if v := n.In(k); m.p.opt.Neutralize && (v.DType != dtype || !slices.Equal(v.Const.Shape, shape)) {
		return because(Keep, "the %s of %v would have to be of another type or shape, which norms: neutralize rules out", op.Of(n).Input(k), n)
	}
	if !fits(values, dtype) {
		return because(Overflow, "the %s of %v would overflow %v", op.Of(n).Input(k), n, dtype)
	}
	m.made = append(m.made, made{n, k, shape, values})
	m.changes = append(m.changes, change{node: n, input: k, before: n.In(k), shape: shape, values: values})
	m.Edit(func() {
		m.p.setConst(n, k, &model.Constant{DType: dtype, Shape: shape, Values: values})
	})
	return nil
}

// fits says whether all values stay finite when they are rounded to the type.
func fits(values []float64, d tensor.DType) bool {
	largest := map[tensor.DType]float64{tensor.Float16: 65519.99, tensor.BFloat16: 0x1.fefffep127, tensor.Float32: 0x1.fffffefffffffp127, tensor.Float64: math.MaxFloat64}[d]
	return !slices.ContainsFunc(values, func(x float64) bool { return !(math.Abs(x) <= largest) })
}
