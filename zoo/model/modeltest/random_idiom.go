package modeltest

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

// idiom adds several operators that runtimes run as one, or what nearly is such a set: now and then something else reads a
// part of it.
func (g *grower) idiom(x sized) *model.Value {
	op := func(typ string, inputs ...*model.Value) *model.Value {
		v := g.Op(typ, inputs)
		if g.chance(30) {
			g.add(v, x.shape...)
		}
		return v
	}
	num := func(x float64) *model.Value { return g.Const([]float64{x}) }
	switch g.Rand.IntN(4) {
	case 0: // Gelu
		half := num(0.5)
		f := op("Add", op("Erf", op("Div", x.Value, num(float64(float32(math.Sqrt2))))), num(1))
		if g.chance(2) {
			return op("Mul", op("Mul", x.Value, f), half)
		}
		return op("Mul", op("Mul", half, x.Value), f)
	case 1: // Swish
		y := x.Value
		if g.chance(2) {
			y = op("Mul", y, num(1.702))
		}
		return op("Mul", x.Value, op("Sigmoid", y))
	case 2: // HardSwish
		return op("Mul", x.Value, g.Op("HardSigmoid", []*model.Value{x.Value}, "alpha", 1./6))
	}
	last := len(x.shape) - 1
	mean := func(x *model.Value) *model.Value {
		return g.Op("ReduceMean", []*model.Value{x}, "axes", []int64{int64(last)})
	}
	y := x.Value
	if g.chance(2) {
		y = op("Sub", y, mean(y))
	}
	variance := mean(op("Pow", y, num(2)))
	y = op("Div", y, g.Op("Sqrt", []*model.Value{g.Op("Add", []*model.Value{variance, num(0.1)})}))
	y = op("Mul", y, g.Const(g.Signed(x.shape[last]), x.shape[last]))
	if g.chance(2) {
		y = op("Add", y, g.Weight(x.shape[last]))
	}
	return y
}
