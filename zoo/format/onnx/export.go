package onnx

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// exportIR is the IR version of exported models: the one that came with operator set 17.
const exportIR = 8

// Export writes any model as one new ONNX file, its constants through the backend. Models with graphs inside nodes or with
// functions are refused: they came from ONNX files, and are those.
func Export(ctx context.Context, m *model.Model, out format.Output, backend tensor.Backend) error {
	graph, err := exported(m)
	if err != nil {
		return err
	}
	file := &message{}
	file.varint(modelIR, exportIR)
	file.text(modelProducer, "zoofold")
	file.message(modelGraph, graph)
	var domains []string
	for d := range m.Opset {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	for _, d := range domains {
		set := &message{}
		set.text(1, d)
		set.varint(2, uint64(m.Opset[d]))
		file.message(modelOpset, set)
	}
	if file.size > maxFile {
		return fmt.Errorf("the model has %d bytes, an ONNX file holds %d: %w", file.size, maxFile, format.ErrLimit)
	}
	w := &writer{ctx: ctx, backend: backend}
	return w.file(out, "", file.pieces)
}

// exported is the main graph as a new GraphProto.
func exported(m *model.Model) (*message, error) {
	g, e := m.Graph, &encoder{}
	graph := &message{}
	for _, n := range g.Nodes {
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
		graph.message(graphNode, inner)
	}
	name := g.Name
	if name == "" {
		name = "graph"
	}
	graph.text(graphName, name)
	for _, v := range g.Consts {
		inner, err := e.exportConst(v)
		if err != nil {
			return nil, err
		}
		graph.message(graphInitializer, inner)
	}
	for _, v := range g.Inputs {
		if v.Const == nil {
			graph.message(graphInput, typed(v.Name, v.DType, v.Shape))
		}
	}
	for _, v := range g.Outputs {
		graph.message(graphOutput, typed(v.Name, v.DType, v.Shape))
	}
	return graph, nil
}

// exportConst is a constant as a new TensorProto, whatever format it came from.
func (e *encoder) exportConst(v *model.Value) (*message, error) {
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
