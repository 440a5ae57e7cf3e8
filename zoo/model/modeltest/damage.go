package modeltest

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Damage makes a model one that no exporter would write, as a damaged or hostile file may hold it: attributes and constants
// with senseless numbers, wrong lengths and shapes, nodes without inputs that they need.
func Damage(m *model.Model, rng *rand.Rand) {
	senseless := func() int64 {
		return []int64{math.MinInt64, -1 << 31, -9, -2, -1, 0, 1, 2, 3, 7, 64, 1 << 31, 1 << 40, math.MaxInt64}[rng.IntN(14)]
	}
	for range 1 + rng.IntN(3) {
		n := m.Graph.Nodes[rng.IntN(len(m.Graph.Nodes))]
		switch k := rng.IntN(max(1, len(n.Inputs))); rng.IntN(6) {
		case 0: // an attribute
			if len(n.Attrs) == 0 {
				continue
			}
			a := &n.Attrs[rng.IntN(len(n.Attrs))]
			if a.Int = senseless(); len(a.Ints) > 0 {
				a.Ints = slices.Clone(a.Ints)
				a.Ints[rng.IntN(len(a.Ints))] = senseless()
				a.Ints = a.Ints[rng.IntN(2):]
			}
		case 1: // a list of attributes
			for _, name := range []string{"axis", "axes", "pads", "strides", "perm", "split", "kernel_shape", "group"} {
				if n.Attr(name) == nil && rng.IntN(4) == 0 {
					n.Attrs = append(n.Attrs, model.Attr{Name: name, Kind: []model.AttrKind{model.IntAttr, model.IntsAttr}[rng.IntN(2)], Int: senseless(), Ints: []int64{senseless(), senseless()}})
				}
			}
		case 2: // an input
			if len(n.Inputs) > 0 {
				n.Set(k, nil)
				if rng.IntN(2) == 0 && k == len(n.Inputs)-1 {
					n.Inputs = n.Inputs[:k]
				}
			}
		case 3: // an input of another kind
			if others := slices.Concat(m.Graph.Consts, m.Graph.Inputs); len(n.Inputs) > 0 {
				n.Set(k, others[rng.IntN(len(others))])
			}
		default: // a constant
			if v := n.In(k); v != nil && v.Const != nil && len(v.Const.Values) > 0 {
				c := *v.Const
				c.Values, c.Shape = slices.Clone(c.Values), slices.Clone(c.Shape)
				switch rng.IntN(4) {
				case 0:
					rng.Shuffle(len(c.Shape), func(i, j int) { c.Shape[i], c.Shape[j] = c.Shape[j], c.Shape[i] })
				case 1:
					c.Shape = []int64{int64(len(c.Values))}
				case 2:
					c.Shape, c.Values = []int64{0}, nil
				default:
					c.Values[rng.IntN(len(c.Values))] = float64(senseless())
				}
				v.Const, v.Shape = &c, c.Shape
			}
		}
		n.Edited = false
	}
}
