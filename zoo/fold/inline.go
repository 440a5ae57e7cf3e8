package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Inline puts the bodies of model-local functions in the place of their calls, where a body holds something that
// may be an affine map. It gives the same names for the same model each time, so that
// regions of a plan are found in the original again. Functions that nobody calls any more leave the model.
func Inline(m *model.Model) {
	if len(m.Functions) == 0 {
		return
	}
	for range maxCalls {
		call, fn := nextCall(m)
		if call == nil {
			break
		}
		inline(call, fn)
		m.Walk((*model.Graph).Compact)
	}
	called := map[[2]string]bool{}
	m.Walk(func(g *model.Graph) {
		for _, n := range g.Nodes {
			called[[2]string{n.Domain, n.Type}] = true
		}
	})
	m.Functions = slices.DeleteFunc(m.Functions, func(f *model.Function) bool {
		return !called[[2]string{f.Domain, f.Name}] && worthInlining(m, f)
	})
}

// maxCalls bounds how many calls are inlined: functions may call functions.
const maxCalls = 10000

// nextCall is a call in the main graph or a body that is worth inlining.
func nextCall(m *model.Model) (call *model.Node, fn *model.Function) {
	worth := map[[2]string]*model.Function{}
	for _, f := range m.Functions {
		if worthInlining(m, f) {
			worth[[2]string{f.Domain, f.Name}] = f
		}
	}
	if len(worth) == 0 {
		return nil, nil
	}
	m.Walk(func(g *model.Graph) {
		if call != nil || slices.ContainsFunc(m.Functions, func(f *model.Function) bool { return f.Graph == g }) {
			return
		}
		for _, n := range g.Nodes {
			if f := worth[[2]string{n.Domain, n.Type}]; f != nil && len(n.Inputs) <= len(f.Graph.Inputs) && len(n.Outputs) <= len(f.Graph.Outputs) {
				call, fn = n, f
				return
			}
		}
	})
	return call, fn
}

// worthInlining says whether a function may hold something foldable, and can be written without its call: it follows the
// model's operator set, and no attribute of its nodes comes from the call or is of a kind that is only carried along.
func worthInlining(m *model.Model, f *model.Function) bool {
	if f.Opset[""] != m.Opset[""] {
		return false
	}
	maps := false
	for _, n := range f.Graph.Nodes {
		if len(n.Bodies) > 0 || slices.ContainsFunc(n.Attrs, func(a model.Attr) bool {
			return a.Kind == model.OtherAttr || a.Kind == model.TensorAttr && n.Type != "Constant"
		}) {
			return false
		}
		if n.Type == "Constant" && n.Outputs[0].Const == nil {
			return false
		}
		if o := operators[n.Type]; n.Domain == "" && o != nil && o.Map != nil {
			maps = true
		}
	}
	return maps
}

// inline puts the function's nodes in the place of the call.
func inline(call *model.Node, f *model.Function) {
	g := call.Graph
	at := map[*model.Value]*model.Value{nil: nil}
	for k, v := range f.Graph.Inputs {
		at[v] = call.In(k)
	}
	results := map[*model.Value]*model.Value{}
	for k, v := range f.Graph.Outputs {
		if out := call.Out(k); out != nil {
			results[v] = out
		}
	}
	after := call
	call.Remove()
	prefix := call.Name
	if prefix == "" {
		prefix = f.Name
	}
	for _, n := range f.Graph.Nodes {
		if n.Type == "Constant" {
			c := *n.Outputs[0].Const
			c.Source = nil
			at[n.Outputs[0]] = g.NewConst(prefix+"/"+n.Outputs[0].Name, &c)
			continue
		}
		var in, out []*model.Value
		for _, v := range n.Inputs {
			in = append(in, at[v])
		}
		for _, v := range n.Outputs {
			switch {
			case v == nil:
				out = append(out, nil)
				continue
			case results[v] != nil:
				at[v] = results[v]
			default:
				at[v] = g.NewValue(prefix+"/"+v.Name, v)
			}
			out = append(out, at[v])
		}
		hint := n.Name
		if hint == "" {
			hint = n.Type
		}
		copied := g.NewNode(after, n.Type, prefix+"/"+hint, in, out)
		copied.Domain, copied.Attrs = n.Domain, slices.Clone(n.Attrs)
		after = copied
	}
}
