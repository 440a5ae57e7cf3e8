package onnx

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// exportIR is the IR version of exported models: the one that came with operator set 17.
const exportIR = 8

func init() {
	format.RegisterExporter(format.Exporter{Name: "onnx", Suffix: ".onnx", Version: 1, Export: Export})
}

// Export writes any model as one new ONNX file, its constants through the backend. Operators of domains for which the model
// imports no operator set, such as a detector's head, are left out with all that depends on them; the values that they read
// become outputs. Models with graphs inside nodes or with functions are refused: only ONNX files have those, and such a
// file need not be exported.
func Export(ctx context.Context, m *model.Model, out format.Output, rel string, backend tensor.Backend) error {
	graph, err := exported(m)
	if err != nil {
		return err
	}
	file := &wire.Message{}
	file.Varint(modelIR, exportIR)
	file.Text(modelProducer, "zoofold")
	file.Message(modelGraph, graph)
	var domains []string
	for d := range m.Opset {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	for _, d := range domains {
		set := &wire.Message{}
		set.Text(1, d)
		set.Varint(2, uint64(m.Opset[d]))
		file.Message(modelOpset, set)
	}
	if file.Size > maxFile {
		return fmt.Errorf("the model has %d bytes, an ONNX file holds %d: %w", file.Size, maxFile, format.ErrLimit)
	}
	return format.Splice(ctx, out, rel, nil, file.Pieces, backend)
}

// exported is the main graph as a new GraphProto.
func exported(m *model.Model) (*wire.Message, error) {
	op.Infer(m, op.Constants())
	g, e := m.Graph, &encoder{}
	nodes, outputs, err := expressible(m)
	if err != nil {
		return nil, err
	}
	graph, used := &wire.Message{}, map[*model.Value]bool{}
	for _, n := range nodes {
		for _, v := range n.Inputs {
			used[v] = true
		}
		if n.Type == "Constant" && n.Outputs[0] != nil && n.Outputs[0].Const != nil { // it becomes an initializer
			inner, err := e.exportConst(n.Outputs[0])
			if err != nil {
				return nil, err
			}
			graph.Message(graphInitializer, inner)
			continue
		}
		if len(n.Bodies) > 0 {
			return nil, fmt.Errorf("%v holds graphs: it cannot be exported", n)
		}
		fresh := *n
		fresh.Source = nil
		if slices.ContainsFunc(n.Attrs, func(a model.Attr) bool { return a.Kind == model.TensorAttr }) {
			return nil, fmt.Errorf("%v has a tensor as attribute: it cannot be exported", n)
		}
		inner, _, err := e.node(&fresh)
		if err != nil {
			return nil, err
		}
		graph.Message(graphNode, inner)
	}
	name := g.Name
	if name == "" {
		name = "graph"
	}
	graph.Text(graphName, name)
	for _, v := range g.Consts {
		if !used[v] {
			continue
		}
		inner, err := e.exportConst(v)
		if err != nil {
			return nil, err
		}
		graph.Message(graphInitializer, inner)
	}
	for _, v := range g.Inputs {
		if v.Const == nil {
			graph.Message(graphInput, typed(v.Name, v.DType, v.Shape))
		}
	}
	for _, v := range outputs {
		graph.Message(graphOutput, typed(v.Name, v.DType, v.Shape))
	}
	return graph, nil
}

// expressible are the main graph's nodes that ONNX can express and that depend on no others; and the outputs of the
// exported model: the graph's own, and values that the other nodes read.
func expressible(m *model.Model) (nodes []*model.Node, outputs []*model.Value, err error) {
	foreign := m.Foreign()
	var cut []*model.Value // the values that the other nodes read
	for _, n := range m.Graph.Nodes {
		if foreign[n] {
			cut = append(cut, n.Inputs...)
		} else {
			nodes = append(nodes, n)
		}
	}
	for _, v := range m.Graph.Outputs {
		if !foreign[v.Producer] {
			outputs = append(outputs, v)
		}
	}
	for _, v := range cut {
		if v != nil && v.Producer != nil && !foreign[v.Producer] && v.Const == nil && !slices.Contains(outputs, v) {
			outputs = append(outputs, v)
		}
	}
	if len(outputs) == 0 {
		return nil, nil, format.ErrForeign
	}
	return nodes, outputs, nil
}

// exportConst is a constant of any format as a new TensorProto.
func (e *encoder) exportConst(v *model.Value) (*wire.Message, error) {
	c := *v.Const
	c.Source = nil
	fresh := *v
	fresh.Const = &c
	return e.initializer(&fresh)
}

// Memory is a format.Output for models of one file that stay in memory.
type Memory struct {
	data []byte
	at   int64
}

// Create makes the one file.
func (m *Memory) Create(rel string) (format.OutputFile, error) {
	if rel != "" {
		return nil, fmt.Errorf("%s: only one file is kept in memory", rel)
	}
	*m = Memory{}
	return m, nil
}

// Bytes are what was written.
func (m *Memory) Bytes() []byte { return m.data }

// Write writes at the current offset.
func (m *Memory) Write(b []byte) (int, error) {
	n, err := m.WriteAt(b, m.at)
	m.at += int64(n)
	return n, err
}

// WriteAt grows the file as needed.
func (m *Memory) WriteAt(b []byte, off int64) (int, error) {
	if end := off + int64(len(b)); end > int64(len(m.data)) {
		m.data = append(m.data, make([]byte, end-int64(len(m.data)))...)
	}
	return copy(m.data[off:], b), nil
}

// Seek moves to an offset from the start; nothing else is asked of it.
func (m *Memory) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 {
		return 0, fmt.Errorf("seek to %d from %d", offset, whence)
	}
	m.at = offset
	return offset, nil
}

// Close does nothing.
func (m *Memory) Close() error { return nil }
