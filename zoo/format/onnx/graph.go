package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// scope is the values that a graph's nodes can name: its own, and those of the graphs around it.
type scope struct {
	values map[string]*model.Value
	outer  *scope
}

func (s *scope) find(name string) *model.Value {
	for ; s != nil; s = s.outer {
		if v := s.values[name]; v != nil {
			return v
		}
	}
	return nil
}

// add adds a value, and says whether none had its name. It looks the name up once.
func (s *scope) add(v *model.Value) bool {
	before := len(s.values)
	s.values[v.Name] = v
	return len(s.values) > before
}

// errDeep is returned without the names of the nodes on the way: there would be one for each level of nesting.
var errDeep = fmt.Errorf("graphs nested more than %d deep: %w", maxDepth, format.ErrLimit)

// readGraph reads a GraphProto into g.
func (x *index) readGraph(g *model.Graph, i *graphIndex, outer *scope, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("byte %d: %w", i.where.From, errDeep)
	}
	x.graphs[g] = i
	i.names = map[int]string{}
	var inputs, outputs, infos, nodes []int
	s := &scope{map[string]*model.Value{}, outer}
	err := x.Each(i.where, func(f wire.Field) (err error) {
		if err := x.ended(); err != nil {
			return err
		}
		k := len(i.fields)
		i.fields = append(doubling(i.fields, k+1), f)
		switch f.Number {
		case graphName:
			g.Name, err = x.Text(f)
		case graphNode:
			nodes = append(nodes, k)
			if x.nodes++; x.nodes > maxNodes {
				return fmt.Errorf("byte %d: more than %d nodes: %w", f.All.From, maxNodes, format.ErrLimit)
			}
		case graphInitializer:
			err = x.readInitializer(g, i, s, k)
		case graphSparse:
			err = x.readSparse(g, s, f)
		case graphInput:
			inputs = append(inputs, k)
		case graphOutput:
			outputs = append(outputs, k)
		case graphValueInfo:
			infos = append(infos, k)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, k := range inputs {
		name, d, shape, err := x.valueInfo(i.fields[k])
		if err != nil {
			return err
		}
		i.names[k] = name
		v := s.values[name]
		switch {
		case v == nil:
			v = &model.Value{Name: name, DType: d, Shape: shape, Graph: g, Input: true}
			s.values[name] = v
		case v.Const != nil && !v.Input:
			v.Input = x.ir >= 4
		default:
			return wire.Corrupt(i.fields[k].All.From, "%q is an input twice", name)
		}
		i.stand(k, v)
		g.Inputs = append(g.Inputs, v)
	}
	described := map[string]int{}
	for _, k := range append(infos, outputs...) {
		name, _, _, err := x.valueInfo(i.fields[k])
		if err != nil {
			return err
		}
		i.names[k], described[name] = name, k
	}
	if err := x.readNodes(g, i, nodes, s, described, depth); err != nil {
		return err
	}
	for _, k := range outputs {
		v := s.find(i.names[k])
		if v == nil {
			return wire.Corrupt(i.fields[k].All.From, "the graph output %q is not computed", i.names[k])
		}
		i.stand(k, v)
		v.Output = true // also if a body outputs a value of an outer graph, which must then not change
		g.Outputs = append(g.Outputs, v)
	}
	return nil
}

// readNodes reads the nodes of a graph; nodes are the indices of their fields.
func (x *index) readNodes(g *model.Graph, i *graphIndex, nodes []int, s *scope, described map[string]int, depth int) error {
	order := nodes
	if x.sorts {
		var err error
		if order, err = x.sorted(i, nodes, depth); err != nil {
			return err
		}
	}
	for _, k := range order {
		if err := x.ended(); err != nil {
			return err
		}
		n, err := x.readNode(g, i.fields[k], s, described, i, depth)
		if errors.Is(err, errDeep) && depth > 0 {
			return err
		} else if err != nil {
			number, _ := slices.BinarySearch(nodes, k)
			return fmt.Errorf("node %d%s: %w", number, label(n), err)
		}
		i.stand(k, n)
		g.Nodes = append(g.Nodes, n)
	}
	return nil
}

func label(n *model.Node) string {
	if n == nil || n.Type == "" {
		return ""
	}
	return fmt.Sprintf(" (%v)", n)
}

func (x *index) readInitializer(g *model.Graph, i *graphIndex, s *scope, k int) error {
	f := i.fields[k]
	if f.Kind != protowire.BytesType {
		return wire.Corrupt(f.All.From, "an initializer is no message")
	}
	c, at, err := x.tensor(f.Body)
	if err != nil {
		return err
	}
	v := g.AddConst(at.name, c)
	if at.name == "" || !s.add(v) {
		return wire.Corrupt(f.All.From, "the initializer's name %q is empty or there twice", at.name)
	}
	i.stand(k, &initializer{v, c})
	return nil
}

// readSparse adds a sparse initializer as a value without elements.
func (x *index) readSparse(g *model.Graph, s *scope, f wire.Field) error {
	return x.Each(f.Body, func(v wire.Field) error {
		if v.Number != 1 {
			return nil
		}
		return x.Each(v.Body, func(t wire.Field) error {
			if t.Number != tensorName {
				return nil
			}
			name, err := x.Text(t)
			s.values[name] = &model.Value{Name: name, Graph: g}
			return err
		})
	})
}

// valueInfo reads a ValueInfoProto: a name, and the type of a tensor.
func (x *index) valueInfo(f wire.Field) (name string, d tensor.DType, shape []int64, err error) {
	err = x.Each(f.Body, func(g wire.Field) (err error) {
		switch g.Number {
		case 1:
			name, err = x.Text(g)
		case 2: // TypeProto
			err = x.Each(g.Body, func(t wire.Field) error {
				if t.Number != 1 { // Tensor
					return nil
				}
				return x.Each(t.Body, func(e wire.Field) error {
					switch e.Number {
					case 1:
						d = tensor.DType(e.Value)
					case 2: // TensorShapeProto
						shape = []int64{}
						return x.Each(e.Body, func(dim wire.Field) error {
							extent := int64(-1)
							err := x.Each(dim.Body, func(v wire.Field) error {
								if v.Number == 1 && int64(v.Value) > 0 {
									extent = int64(v.Value)
								}
								return nil
							})
							if shape = append(shape, extent); len(shape) > 64 {
								return wire.Corrupt(e.All.From, "%q has more than 64 axes", name)
							}
							return err
						})
					}
					return nil
				})
			})
		}
		return err
	})
	return name, d, shape, err
}

// readNode reads a NodeProto. Its inputs have to be known by then.
func (x *index) readNode(g *model.Graph, f wire.Field, s *scope, described map[string]int, i *graphIndex, depth int) (*model.Node, error) {
	if f.Kind != protowire.BytesType {
		return nil, wire.Corrupt(f.All.From, "a node is no message")
	}
	at := &nodeIndex{field: f.All.From, where: f.Body}
	n := &model.Node{Graph: g, Source: at}
	fields, inputs, outputs := x.room[:0], 0, 0
	x.room = nil // bodies have nodes of their own
	defer func() {
		if cap(fields) <= 1<<10 {
			x.room = fields
		}
	}()
	err := x.Each(f.Body, func(e wire.Field) (err error) {
		fields = append(fields, e)
		switch e.Number {
		case nodeInput:
			inputs++
		case nodeOutput:
			outputs++
		case nodeName:
			n.Name, err = x.Text(e)
		case nodeType:
			n.Type, err = x.Text(e)
		case nodeDomain:
			n.Domain, err = x.Text(e)
		case nodeOverload:
			n.Overload, err = x.Text(e)
		}
		return err
	})
	if err != nil {
		return n, err
	}
	if at.inputs, err = x.texts(fields, nodeInput, inputs); err != nil {
		return n, err
	}
	if at.outputs, err = x.texts(fields, nodeOutput, outputs); err != nil {
		return n, err
	}
	if n.Domain == "ai.onnx" {
		n.Domain = ""
	}
	n.Inputs, n.Outputs = make([]*model.Value, 0, inputs), make([]*model.Value, 0, outputs)
	for _, name := range at.inputs {
		var v *model.Value
		if name != "" {
			if v = s.find(name); v == nil {
				err := wire.Corrupt(f.All.From, "input %q is not defined", name)
				if !x.sorts {
					err = fmt.Errorf("%w: %w", errUnsorted, err)
				}
				return n, err
			}
			v.Uses = append(v.Uses, model.Use{Node: n, Index: len(n.Inputs)})
		}
		n.Inputs = append(n.Inputs, v)
	}
	for _, e := range fields {
		if e.Number != nodeAttribute {
			continue
		}
		if err := x.readAttr(n, at, e, s, depth); err != nil {
			return n, err
		}
	}
	for _, name := range at.outputs {
		if name == "" {
			n.Outputs = append(n.Outputs, nil)
			continue
		}
		v := &model.Value{Name: name, Graph: g, Producer: n}
		if !s.add(v) {
			return n, wire.Corrupt(f.All.From, "output %q is there already", name)
		}
		if k, ok := described[name]; ok {
			if _, v.DType, v.Shape, err = x.valueInfo(i.fields[k]); err != nil {
				return n, err
			}
		}
		n.Outputs = append(n.Outputs, v)
	}
	if n.Type == "Constant" && n.Domain == "" && len(n.Outputs) == 1 && n.Outputs[0] != nil {
		if c := constantOf(n); c != nil {
			v := n.Outputs[0]
			v.Const, v.DType, v.Shape = c, c.DType, c.Shape
		}
	}
	return n, nil
}

// texts are the texts of the fields of a number, of which there are so many.
func (x *index) texts(fields []wire.Field, number protowire.Number, count int) ([]string, error) {
	list := make([]string, 0, count)
	for _, f := range fields {
		if f.Number != number {
			continue
		}
		text, err := x.Text(f)
		if err != nil {
			return list, err
		}
		list = append(list, text)
	}
	return list, nil
}

// constantOf is what a Constant node outputs; nil for text and sparse tensors.
func constantOf(n *model.Node) *model.Constant {
	for _, a := range n.Attrs {
		switch {
		case a.Name == "value" && a.Tensor != nil:
			return a.Tensor
		case a.Name == "value_float" && a.Kind == model.FloatAttr:
			return &model.Constant{DType: tensor.Float32, Shape: []int64{}, Values: []float64{a.Float}}
		case a.Name == "value_floats" && a.Kind == model.FloatsAttr:
			return &model.Constant{DType: tensor.Float32, Shape: []int64{int64(len(a.Floats))}, Values: a.Floats}
		case a.Name == "value_int" && a.Kind == model.IntAttr:
			return &model.Constant{DType: tensor.Int64, Shape: []int64{}, Values: []float64{float64(a.Int)}}
		case a.Name == "value_ints" && a.Kind == model.IntsAttr:
			values := make([]float64, len(a.Ints))
			for k, v := range a.Ints {
				values[k] = float64(v)
			}
			return &model.Constant{DType: tensor.Int64, Shape: []int64{int64(len(values))}, Values: values}
		}
	}
	return nil
}

// readAttr reads an AttributeProto. A file may omit the type, which then follows from the field that is set.
func (x *index) readAttr(n *model.Node, at *nodeIndex, f wire.Field, s *scope, depth int) error {
	a := model.Attr{}
	var graphs []wire.Field
	err := x.Each(f.Body, func(e wire.Field) (err error) {
		switch e.Number {
		case attrName:
			a.Name, err = x.Text(e)
		case attrFloat:
			var bits uint64
			bits, err = x.Fixed(e.Body)
			a.Kind, a.Float = model.FloatAttr, float64(math.Float32frombits(uint32(bits)))
		case attrInt:
			a.Kind, a.Int = model.IntAttr, int64(e.Value)
		case attrString:
			if e.Body.Len() <= wire.MaxText {
				a.String, err = x.Text(e)
				a.Kind = model.StringAttr
			}
		case attrTensor:
			a.Tensor, _, err = x.tensor(e.Body)
			a.Kind = model.TensorAttr
		case attrInts:
			a.Kind = model.IntsAttr
			a.Ints, err = x.Numbers(a.Ints, e, maxNumbers)
		case attrFloats:
			a.Kind = model.FloatsAttr
			a.Floats, err = x.floats(a.Floats, e)
		case attrGraph, attrGraphs:
			graphs = append(graphs, e)
		case attrRef:
			a.Kind = model.RefAttr
			a.String, err = x.Text(e)
		case attrType:
			switch { // the type of an empty list is not visible in its fields
			case a.Kind == model.RefAttr:
			case e.Value == 6:
				a.Kind = model.FloatsAttr
			case e.Value == 7:
				a.Kind = model.IntsAttr
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("attribute %q: %w", a.Name, err)
	}
	for _, e := range graphs {
		body := &model.Graph{Model: n.Graph.Model, Parent: n, Attr: a.Name}
		a.Kind = model.OtherAttr
		n.Bodies = append(n.Bodies, body)
		if err := x.readGraph(body, &graphIndex{where: e.Body}, s, depth+1); errors.Is(err, errDeep) {
			return err
		} else if err != nil {
			return fmt.Errorf("attribute %q: %w", a.Name, err)
		}
	}
	if at.has(a.Name) {
		return wire.Corrupt(f.All.From, "attribute %q is there twice", a.Name)
	}
	at.add(f, a)
	n.Attrs = append(n.Attrs, a)
	return nil
}

func (x *index) floats(list []float64, f wire.Field) ([]float64, error) {
	if f.Kind == protowire.Fixed32Type {
		bits, err := x.Fixed(f.Body)
		return append(list, float64(math.Float32frombits(uint32(bits)))), err
	}
	if f.Kind != protowire.BytesType || f.Body.Len()%4 != 0 || int64(len(list))+f.Body.Len()/4 > maxNumbers {
		return nil, wire.Corrupt(f.All.From, "a list of floats of %d bytes", f.Body.Len())
	}
	for off := f.Body.From; off < f.Body.To; off += 4 {
		bits, err := x.Fixed(format.Span{From: off, To: off + 4})
		if err != nil {
			return nil, err
		}
		list = append(list, float64(math.Float32frombits(uint32(bits))))
	}
	return list, nil
}

// readFunction reads a FunctionProto: a graph whose inputs and outputs have names but no types.
func (x *index) readFunction(m *model.Model, f wire.Field) error {
	fn := &model.Function{Opset: map[string]int64{}}
	g := &model.Graph{Model: m}
	fn.Graph = g
	i := &graphIndex{where: f.Body, function: true, names: map[int]string{}}
	x.graphs[g] = i
	x.functions = append(x.functions, i)
	m.Functions = append(m.Functions, fn)
	s := &scope{values: map[string]*model.Value{}}
	var nodes []int
	var outputs []string
	described := map[string]int{}
	err := x.Each(f.Body, func(e wire.Field) (err error) {
		k := len(i.fields)
		i.fields = append(i.fields, e)
		var text string
		switch e.Number {
		case functionName:
			fn.Name, err = x.Text(e)
		case functionDomain:
			fn.Domain, err = x.Text(e)
		case functionOverload:
			fn.Overload, err = x.Text(e)
		case functionDefault:
			of := &model.Node{Graph: g}
			err = x.readAttr(of, &nodeIndex{}, e, s, 1)
			fn.Defaults = append(fn.Defaults, of.Attrs...)
		case functionInput:
			text, err = x.Text(e)
			v := &model.Value{Name: text, Graph: g, Input: true}
			s.values[text] = v
			g.Inputs = append(g.Inputs, v)
		case functionOutput:
			text, err = x.Text(e)
			outputs = append(outputs, text)
		case functionNode:
			nodes = append(nodes, k)
			if x.nodes++; x.nodes > maxNodes {
				return fmt.Errorf("byte %d: more than %d nodes: %w", e.All.From, maxNodes, format.ErrLimit)
			}
		case functionOpset:
			err = x.opset(e, fn.Opset)
		case functionValueInfo:
			i.names[k], _, _, err = x.valueInfo(e)
			described[i.names[k]] = k
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("function %q: %w", fn.Name, err)
	}
	if err := x.readNodes(g, i, nodes, s, described, 1); err != nil {
		return fmt.Errorf("function %q: %w", fn.Name, err)
	}
	for _, name := range outputs {
		v := s.values[name]
		if v == nil {
			return wire.Corrupt(f.All.From, "function %q: output %q is not computed", fn.Name, name)
		}
		v.Output = true
		g.Outputs = append(g.Outputs, v)
	}
	return nil
}
