// Package onnx reads and writes ONNX models. It indexes the protobuf wire format rather than decoding it: opening a model
// costs its nodes and headers, not its weights, and writing one copies the bytes that no edit touches.
package onnx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/model"
)

func init() {
	format.Register(format.Format{Name: "onnx", Version: 2, Extensions: []string{".onnx"}, Open: open, Files: files})
}

// The fields of ModelProto, GraphProto, NodeProto, AttributeProto and FunctionProto that are read.
const (
	modelIR       = 1
	modelProducer = 2
	modelGraph    = 7
	modelOpset    = 8
	modelFunction = 25

	graphNode        = 1
	graphName        = 2
	graphInitializer = 5
	graphInput       = 11
	graphOutput      = 12
	graphValueInfo   = 13
	graphSparse      = 15

	nodeInput     = 1
	nodeOutput    = 2
	nodeName      = 3
	nodeType      = 4
	nodeAttribute = 5
	nodeDomain    = 7
	nodeOverload  = 8

	attrName    = 1
	attrFloat   = 2
	attrInt     = 3
	attrString  = 4
	attrTensor  = 5
	attrGraph   = 6
	attrFloats  = 7
	attrInts    = 8
	attrTensors = 10
	attrGraphs  = 11
	attrType    = 20
	attrRef     = 21
	attrSparse  = 22
	attrSparses = 23

	functionName      = 1
	functionInput     = 4
	functionOutput    = 5
	functionNode      = 7
	functionOpset     = 9
	functionDomain    = 10
	functionDefault   = 11
	functionValueInfo = 12
	functionOverload  = 13
)

// Limits on what a file may ask for.
const (
	maxDepth   = 64      // graphs within graphs
	maxNodes   = 1 << 21 // in all graphs
	maxNumbers = 1 << 20 // in one attribute's list
)

// file is an open ONNX model.
type file struct {
	*index
	model *model.Model
	moved map[string]string // external files that are written under other names, by those that they have
}

// index says where the parts of the model are stored in the file.
type index struct {
	wire.Reader
	path      string
	ended     func() error // the error with which opening stops early; nil while it goes on
	sorts     bool         // nodes are sorted when they are read, since the file does not have them in topological order
	ir        int64
	fields    []wire.Field // of ModelProto
	graph     *graphIndex
	functions []*graphIndex
	others    map[string]*otherFile
	order     []string // keys of others, as first seen
	nodes     int
	graphs    map[*model.Graph]*graphIndex
	room      []wire.Field // for the fields of a node while it is read; nil while that is done
}

// graphIndex is a GraphProto, or a FunctionProto.
type graphIndex struct {
	where    format.Span
	fields   []wire.Field
	parts    []any // what field k of fields became: *model.Node, *initializer or, for an input or output, *model.Value; there may be fewer than fields
	names    map[int]string
	function bool
}

// initializer is one of the file, and its constant as it was read.
type initializer struct {
	value *model.Value
	read  *model.Constant
}

// nodeIndex is a NodeProto.
type nodeIndex struct {
	field   int64 // where the field starts that holds the node
	where   format.Span
	inputs  []string
	outputs []string
	attrs   []attrIndex
	named   map[string]bool // set for nodes with many attributes
}

// attrIndex is an AttributeProto.
type attrIndex struct {
	field wire.Field
	value model.Attr // as read
}

// manyAttrs is the number of attributes up to which names are compared one by one; beyond, a map is used.
const manyAttrs = 32

// has says whether the node has an attribute of that name.
func (at *nodeIndex) has(name string) bool {
	if len(at.attrs) < manyAttrs {
		return slices.ContainsFunc(at.attrs, func(a attrIndex) bool { return a.value.Name == name })
	}
	if at.named == nil {
		at.named = map[string]bool{}
		for _, a := range at.attrs {
			at.named[a.value.Name] = true
		}
	}
	return at.named[name]
}

// stand notes what field k stands for.
func (i *graphIndex) stand(k int, part any) {
	if k >= len(i.parts) {
		i.parts = doubling(i.parts, k+1)[:k+1]
	}
	i.parts[k] = part
}

// doubling is a list with room for n elements. append adds a quarter to a large list when that is full, and moves each
// element four times in the end.
func doubling[T any](list []T, n int) []T {
	if n <= cap(list) {
		return list
	}
	return slices.Grow(list, max(n, 2*len(list))-len(list))
}

// add records an attribute of a name that the node does not have yet.
func (at *nodeIndex) add(f wire.Field, a model.Attr) {
	at.attrs = append(at.attrs, attrIndex{f, a})
	if at.named != nil {
		at.named[a.Name] = true
	}
}

// open indexes a model. Errors wrap format.ErrCorrupt, format.ErrLimit or format.ErrOutside where the file is to blame.
func open(ctx context.Context, path string, _ format.Options) (format.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := newIndex(ctx, path, f)
	m, err := x.read()
	if errors.Is(err, errUnsorted) {
		err = x.closeOthers()
		if x = newIndex(ctx, path, f); err == nil {
			x.sorts = true
			m, err = x.read()
		}
	}
	if err != nil {
		x.Close()
		return nil, err
	}
	return &file{x, m, map[string]string{}}, nil
}

func newIndex(ctx context.Context, path string, f *os.File) *index {
	x := &index{path: path, others: map[string]*otherFile{}, graphs: map[*model.Graph]*graphIndex{}}
	x.File, x.ended = f, ctx.Err
	return x
}

func (f *file) Model() *model.Model { return f.model }

// Inputs are the model file and the external data files it names.
func (x *index) Inputs() []string {
	list := []string{x.path}
	for _, rel := range x.order {
		list = append(list, x.others[rel].path)
	}
	return list
}

func (x *index) Close() error { return errors.Join(x.File.Close(), x.closeOthers()) }

func (x *index) closeOthers() (err error) {
	for _, o := range x.others {
		err = errors.Join(err, o.file.Close())
	}
	return err
}

func (x *index) read() (*model.Model, error) {
	info, err := x.File.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: x.path, Err: errors.New("not a regular file")}
	}
	x.Size = info.Size()
	if err := x.Recognise("an ONNX model"); err != nil {
		return nil, err
	}
	m := &model.Model{Opset: map[string]int64{}}
	var graph *wire.Field
	var functions []wire.Field
	err = x.Each(format.Span{From: 0, To: x.Size}, func(f wire.Field) error {
		x.fields = append(x.fields, f)
		if len(x.fields) > maxNodes {
			return fmt.Errorf("byte %d: more than %d fields: %w", f.All.From, maxNodes, format.ErrLimit)
		}
		switch f.Number {
		case modelIR:
			x.ir = int64(f.Value)
		case modelGraph:
			if graph != nil {
				return wire.Corrupt(f.All.From, "a second graph")
			}
			if f.Kind != protowire.BytesType {
				return wire.Corrupt(f.All.From, "the graph is no message")
			}
			graph = &f
		case modelOpset:
			return x.opset(f, m.Opset)
		case modelFunction:
			functions = append(functions, f)
		}
		return nil
	})
	switch {
	case err != nil && graph == nil:
		return nil, fmt.Errorf("not an ONNX model: %w", err)
	case err != nil:
		return nil, err
	}
	if graph == nil {
		return nil, fmt.Errorf("not an ONNX model: it holds no graph: %w", format.ErrCorrupt)
	}
	m.Graph = &model.Graph{Model: m}
	x.graph = &graphIndex{where: graph.Body}
	if err := x.readGraph(m.Graph, x.graph, nil, 0); err != nil {
		return nil, err
	}
	for _, f := range functions {
		if err := x.readFunction(m, f); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (x *index) opset(f wire.Field, into map[string]int64) error {
	domain, version := "", int64(0)
	err := x.Each(f.Body, func(g wire.Field) (err error) {
		switch g.Number {
		case 1:
			domain, err = x.Text(g)
		case 2:
			version = int64(g.Value)
		}
		return err
	})
	if domain == "ai.onnx" {
		domain = ""
	}
	into[domain] = version
	return err
}
