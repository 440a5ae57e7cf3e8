package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Count is the number of per-channel nodes of a model. These are every BatchNormalization; LayerNormalization,
// RMSNormalization and InstanceNormalization unless γ is 1 and β is 0; Mul, Div, Add and Sub of one constant and one other
// operand; and layers with statistics without an equivalent in ONNX. Whether they can be folded makes no difference, so
// that the counts of models folded by different programs compare.
func Count(m *model.Model) int { return len(counted(m, constants(m))) }

// counted are the nodes that Count counts, in the order of the graphs and their nodes.
func counted(m *model.Model, constant constantValues) (list []*model.Node) {
	m.Walk(func(g *model.Graph) {
		for _, n := range g.Nodes {
			if n.PerChannel || mayCount(n) && operators[n.Type].Counts(n, constant) {
				list = append(list, n)
			}
		}
	})
	return list
}

// mayCount says whether Count counts some nodes of this one's type.
func mayCount(n *model.Node) bool {
	o := operators[n.Type]
	return o != nil && o.Counts != nil
}

// always counts every node of a type.
func always(*model.Node, constantValues) bool { return true }

// scalesOrShifts counts normalisations whose γ and β are not 1 and 0.
func scalesOrShifts(n *model.Node, _ constantValues) bool {
	return !plain(n.In(1), 1) || n.In(2) != nil && !plain(n.In(2), 0)
}

// ofConstant counts nodes of one constant and one other operand.
func ofConstant(n *model.Node, constant constantValues) bool {
	return len(n.Inputs) == 2 && constant.has(n.Inputs[0]) != constant.has(n.Inputs[1])
}

// constantValues are the values that are the same in every run: stored ones, and what is computed of nothing else. It holds
// those that are computed.
type constantValues map[*model.Value]bool

// has says whether a value is one of them; so is an omitted input.
func (c constantValues) has(v *model.Value) bool { return v == nil || v.Const != nil || c[v] }

func constants(m *model.Model) constantValues {
	constant := constantValues{}
	m.Walk(func(g *model.Graph) {
		for _, n := range g.Nodes {
			if n.Type != "Constant" && (len(n.Inputs) == 0 || len(n.Bodies) > 0 || slices.ContainsFunc(n.Inputs, func(v *model.Value) bool { return !constant.has(v) })) {
				continue
			}
			for _, v := range n.Outputs {
				constant[v] = true
			}
		}
	})
	return constant
}

// plain says whether v is a constant whose elements all equal x.
func plain(v *model.Value, x float64) bool {
	if v == nil || v.Const == nil {
		return false
	}
	values, err := v.Const.Float64s(maxValues)
	return err == nil && !slices.ContainsFunc(values, func(y float64) bool { return y != x })
}
