package onnx

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// encoder builds the edited model. Unchanged parts are copied.
type encoder struct {
	*index
	original map[*model.Value]*model.Constant // the file's initializers, as they were read
	inPlace  map[*model.Value]bool            // external tensors whose new elements take their old place
	changed  map[string]bool                  // external files whose content changes
	moved    map[string]string                // external files that are renamed
}

// model is the ModelProto.
func (e *encoder) model(m *model.Model) (*wire.Message, error) {
	out, functions := &wire.Message{}, 0
	for _, f := range e.fields {
		switch f.Number {
		case modelGraph:
			inner, changed, err := e.graph(m.Graph)
			if err != nil {
				return nil, err
			}
			if !changed {
				out.Copy(f.All)
				continue
			}
			out.Message(modelGraph, inner)
		case modelFunction:
			i := e.functions[functions]
			functions++
			fn := functionOf(m, e.graphs, i)
			if fn == nil { // no longer called
				continue
			}
			inner, changed, err := e.graph(fn)
			if err != nil {
				return nil, err
			}
			if !changed {
				out.Copy(f.All)
				continue
			}
			out.Message(modelFunction, inner)
		default:
			out.Copy(f.All)
		}
	}
	return out, nil
}

func functionOf(m *model.Model, graphs map[*model.Graph]*graphIndex, i *graphIndex) *model.Graph {
	for _, fn := range m.Functions {
		if graphs[fn.Graph] == i {
			return fn.Graph
		}
	}
	return nil
}

// graph is a GraphProto or FunctionProto, and whether it differs from the stored one. Fields keep their order. A new node
// is written behind the node that it follows in the graph, new initializers behind the last stored one.
func (e *encoder) graph(g *model.Graph) (*wire.Message, bool, error) {
	i := e.graphs[g]
	if i == nil {
		return nil, false, fmt.Errorf("graph %q is not one of this file", g.Name)
	}
	nodeField := protowire.Number(graphNode)
	if i.function {
		nodeField = functionNode
	}
	out, changed := &wire.Message{}, false
	live := map[string]bool{}
	consts := map[*model.Value]bool{}
	for _, v := range g.Inputs {
		live[v.Name] = true
	}
	for _, v := range g.Consts {
		live[v.Name], consts[v] = true, true
	}
	for _, n := range g.Nodes {
		for _, v := range n.Outputs {
			if v != nil {
				live[v.Name] = true
			}
		}
	}
	firstNode, lastConst, lastInput := -1, -1, -1
	isStored := map[*model.Node]bool{}
	for k, f := range i.fields {
		switch f.Number {
		case nodeField:
			if isStored[i.parts[k].(*model.Node)] = true; firstNode < 0 {
				firstNode = k
			}
		case graphInitializer:
			lastConst = k
		case graphInput:
			lastInput = k
		}
	}
	// Stored nodes keep their places; new ones are written behind the stored node that they follow in the graph.
	kept, follow := map[*model.Node]bool{}, map[*model.Node][]*model.Node{}
	var before *model.Node
	for _, n := range g.Nodes {
		if isStored[n] {
			before, kept[n] = n, true
		} else {
			follow[before] = append(follow[before], n)
		}
	}
	putNodes := func(nodes ...*model.Node) error {
		for _, n := range nodes {
			inner, edited, err := e.node(n)
			if err != nil {
				return err
			}
			if edited {
				changed = true
				out.Message(nodeField, inner)
			} else {
				at := n.Source.(*nodeIndex)
				out.Copy(format.Span{From: at.field, To: at.where.To})
			}
		}
		return nil
	}
	putConsts := func() error {
		for _, v := range g.Consts {
			if e.original[v] != nil {
				continue
			}
			changed = true
			inner, err := e.initializer(v)
			if err != nil {
				return err
			}
			out.Message(graphInitializer, inner)
		}
		return nil
	}
	putInputs := func() {
		if e.ir >= 4 || g.Parent != nil || i.function || lastInput < 0 {
			return
		}
		for _, v := range g.Consts {
			if e.original[v] == nil {
				out.Message(graphInput, typed(v.Name, v.Const.DType, append([]int64{}, v.Const.Shape...)))
			}
		}
	}
	for k, f := range i.fields {
		switch {
		case f.Number == nodeField:
			n := i.parts[k].(*model.Node)
			if k == firstNode {
				if err := putNodes(follow[nil]...); err != nil {
					return nil, false, err
				}
			}
			if !kept[n] {
				changed = true
				continue
			}
			if err := putNodes(append([]*model.Node{n}, follow[n]...)...); err != nil {
				return nil, false, err
			}
		case i.function:
			out.Copy(f.All)
		case f.Number == graphInitializer:
			initial := i.parts[k].(*initializer)
			v := initial.value
			switch {
			case !consts[v]:
				changed = true
			case v.Const == initial.read || e.inPlace[v]:
				kept, err := e.refers(v.Const)
				if err != nil {
					return nil, false, err
				}
				if kept != nil {
					changed = true
					out.Message(graphInitializer, kept)
				} else {
					out.Copy(f.All)
				}
			default:
				changed = true
				inner, err := e.initializer(v)
				if err != nil {
					return nil, false, err
				}
				out.Message(graphInitializer, inner)
			}
		case f.Number == graphInput:
			v := i.parts[k].(*model.Value)
			if v.Const != nil && !consts[v] { // an initializer is removed from the inputs too
				changed = true
			} else {
				out.Copy(f.All)
			}
		case f.Number == graphValueInfo && !live[i.names[k]]:
			changed = true
		default:
			out.Copy(f.All)
		}
		if k == lastConst {
			if err := putConsts(); err != nil {
				return nil, false, err
			}
		}
		if k == lastInput {
			putInputs()
		}
	}
	if lastConst < 0 {
		if err := putConsts(); err != nil {
			return nil, false, err
		}
	}
	if firstNode < 0 && len(g.Nodes) > 0 {
		return nil, false, fmt.Errorf("graph %q had no nodes and has some now", g.Name)
	}
	return out, changed, nil
}

// node is a NodeProto, and whether it differs from the stored one.
func (e *encoder) node(n *model.Node) (*wire.Message, bool, error) {
	at, _ := n.Source.(*nodeIndex)
	var bodies []*wire.Message
	edited := at == nil || n.Edited || !slices.Equal(names(n.Inputs), at.inputs) || !slices.Equal(names(n.Outputs), at.outputs)
	for _, b := range n.Bodies {
		inner, changed, err := e.graph(b)
		if err != nil {
			return nil, false, err
		}
		if !changed {
			inner = nil
		}
		edited = edited || changed
		bodies = append(bodies, inner)
	}
	if !edited {
		return nil, false, nil
	}
	out := &wire.Message{}
	inputs := names(n.Inputs)
	for len(inputs) > 0 && inputs[len(inputs)-1] == "" {
		inputs = inputs[:len(inputs)-1]
	}
	for _, name := range inputs {
		out.Text(nodeInput, name)
	}
	for _, name := range names(n.Outputs) {
		out.Text(nodeOutput, name)
	}
	if n.Name != "" {
		out.Text(nodeName, n.Name)
	}
	out.Text(nodeType, n.Type)
	written := map[string]bool{}
	if at != nil {
		err := e.Each(at.where, func(f wire.Field) error {
			switch f.Number {
			case nodeInput, nodeOutput, nodeName, nodeType:
			case nodeAttribute:
				old := at.read(f)
				a := n.Attr(old.Name)
				if a == nil {
					return nil
				}
				written[old.Name] = true
				inner, same := e.attribute(n, a, old, f, bodies)
				if same {
					out.Copy(f.All)
				} else {
					out.Message(nodeAttribute, inner)
				}
			default:
				out.Copy(f.All)
			}
			return nil
		})
		if err != nil {
			return nil, false, err
		}
	}
	for k := range n.Attrs {
		if a := &n.Attrs[k]; !written[a.Name] {
			inner, err := newAttribute(a)
			if err != nil {
				return nil, false, fmt.Errorf("%v: %w", n, err)
			}
			out.Message(nodeAttribute, inner)
		}
	}
	if at == nil && n.Domain != "" {
		out.Text(nodeDomain, n.Domain)
	}
	if at == nil && n.Overload != "" {
		out.Text(nodeOverload, n.Overload)
	}
	return out, true, nil
}

// read is the stored attribute of a field.
func (at *nodeIndex) read(f wire.Field) model.Attr {
	for k := range at.attrs {
		if at.attrs[k].field.All == f.All {
			return at.attrs[k].value
		}
	}
	return model.Attr{}
}

// attribute is the AttributeProto of a stored attribute after edits; same says that it did not change.
func (e *encoder) attribute(n *model.Node, a *model.Attr, old model.Attr, f wire.Field, bodies []*wire.Message) (out *wire.Message, same bool) {
	if reflect.DeepEqual(old, *a) {
		same = true
		for k, b := range n.Bodies {
			if b.Attr == a.Name && bodies[k] != nil {
				same = false
			}
		}
		if same {
			return nil, true
		}
		out = &wire.Message{}
		k := slices.IndexFunc(n.Bodies, func(b *model.Graph) bool { return b.Attr == a.Name })
		_ = e.Each(f.Body, func(g wire.Field) error { // it was read before without error
			if (g.Number == attrGraph || g.Number == attrGraphs) && k < len(bodies) {
				if bodies[k] != nil {
					out.Message(g.Number, bodies[k])
				} else {
					out.Copy(g.All)
				}
				k++
				return nil
			}
			out.Copy(g.All)
			return nil
		})
		return out, false
	}
	out, err := newAttribute(a)
	if err != nil {
		return nil, true
	}
	return out, false
}

// newAttribute is an AttributeProto of a number or a list of numbers.
func newAttribute(a *model.Attr) (*wire.Message, error) {
	out := &wire.Message{}
	out.Text(attrName, a.Name)
	switch a.Kind {
	case model.FloatAttr:
		b := protowire.AppendTag(nil, attrFloat, protowire.Fixed32Type)
		out.Add(format.Piece{Made: protowire.AppendFixed32(b, math.Float32bits(float32(a.Float)))})
		out.Varint(attrType, 1)
	case model.IntAttr:
		out.Varint(attrInt, uint64(a.Int))
		out.Varint(attrType, 2)
	case model.StringAttr:
		out.Text(attrString, a.String)
		out.Varint(attrType, 3)
	case model.FloatsAttr:
		for _, v := range a.Floats {
			b := protowire.AppendTag(nil, attrFloats, protowire.Fixed32Type)
			out.Add(format.Piece{Made: protowire.AppendFixed32(b, math.Float32bits(float32(v)))})
		}
		out.Varint(attrType, 6)
	case model.IntsAttr:
		for _, v := range a.Ints {
			out.Varint(attrInts, uint64(v))
		}
		out.Varint(attrType, 7)
	default:
		return nil, fmt.Errorf("attribute %q is of a kind that cannot be written", a.Name)
	}
	return out, nil
}

func names(values []*model.Value) []string {
	out := make([]string, len(values))
	for k, v := range values {
		if v != nil {
			out[k] = v.Name
		}
	}
	return out
}

// initializer is the TensorProto of a new or edited constant. Of a stored one, all fields but the elements are kept.
func (e *encoder) initializer(v *model.Value) (*wire.Message, error) {
	c := v.Const
	out := &wire.Message{}
	if at, ok := c.Source.(*stored); ok && c.Data != nil {
		err := e.Each(at.where, func(f wire.Field) error {
			switch f.Number {
			case tensorFloatData, tensorInt32Data, tensorStringData, tensorInt64Data, tensorRawData, tensorDoubleData, tensorUint64Data,
				tensorExternalData, tensorLocation, tensorName:
			default:
				out.Copy(f.All)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	} else {
		for _, d := range c.Shape {
			out.Varint(tensorDims, uint64(d))
		}
		out.Varint(tensorDataType, uint64(c.DType))
	}
	out.Text(tensorName, v.Name)
	if c.Data != nil {
		b := protowire.AppendTag(nil, tensorRawData, protowire.BytesType)
		out.Add(format.Piece{Made: protowire.AppendVarint(b, uint64(c.Bytes()))})
		out.Add(scaled(v))
		return out, nil
	}
	raw, err := c.Encode()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", v.Name, err)
	}
	out.Bytes(tensorRawData, raw)
	return out, nil
}

// refers is a stored tensor with its reference to an external file updated: a new name, and no checksum if the file's
// content changes; nil if nothing changes.
func (e *encoder) refers(c *model.Constant) (*wire.Message, error) {
	at, ok := c.Source.(*stored)
	if !ok || at.external == nil {
		return nil, nil
	}
	x := at.external
	unchecked := x.checksum != nil && e.changed[x.path]
	to := e.moved[x.path]
	if !unchecked && to == "" {
		return nil, nil
	}
	out := &wire.Message{}
	err := e.Each(at.where, func(f wire.Field) error {
		switch {
		case unchecked && f.All == x.checksum.All:
		case to != "" && x.location != nil && f.All == x.location.All:
			entry := &wire.Message{}
			entry.Text(1, "location")
			entry.Text(2, to)
			out.Message(tensorExternalData, entry)
		default:
			out.Copy(f.All)
		}
		return nil
	})
	return out, err
}

// typed is the ValueInfoProto of a value: its name, element type and shape. A nil shape is of unknown rank.
func typed(name string, d tensor.DType, extents []int64) *wire.Message {
	kind := &wire.Message{}
	kind.Varint(1, uint64(d))
	if extents != nil {
		shape := &wire.Message{}
		for k, d := range extents {
			dim := &wire.Message{}
			if d >= 0 {
				dim.Varint(1, uint64(d))
			} else {
				dim.Text(2, fmt.Sprintf("%s.%d", name, k))
			}
			shape.Message(1, dim)
		}
		kind.Message(2, shape)
	}
	typ := &wire.Message{}
	typ.Message(1, kind)
	out := &wire.Message{}
	out.Text(1, name)
	out.Message(2, typ)
	return out
}
