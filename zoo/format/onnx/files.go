package onnx

import (
	"context"
	"fmt"
	"os"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
)

// files implements format.Files: the files of external data, in the order of occurrence. It goes through all messages that
// may contain tensors without building a model.
func files(ctx context.Context, path string, _ format.Options) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := format.Regular(f.Stat())
	if err != nil {
		return nil, err
	}
	s := &search{Reader: wire.Reader{File: f, Size: info.Size()}, ended: ctx.Err, seen: map[string]bool{}}
	if err := s.Recognise("an ONNX model"); err != nil {
		return nil, err
	}
	return s.names, s.message(aModel, format.Span{From: 0, To: info.Size()}, 0)
}

// search looks for the files of external data.
type search struct {
	wire.Reader
	ended func() error
	names []string
	seen  map[string]bool
}

// message is a type of message that may hold tensors.
type message int

const (
	aModel message = iota
	aGraph
	aFunction
	aNode
	anAttribute
	aSparseTensor
	aTensor
)

// inside are the messages of onnx.proto that may hold tensors, by the fields that they stand in.
var inside = map[message]map[protowire.Number]message{
	aModel:        {modelGraph: aGraph, modelFunction: aFunction},
	aGraph:        {graphNode: aNode, graphInitializer: aTensor, graphSparse: aSparseTensor},
	aFunction:     {functionNode: aNode},
	aNode:         {nodeAttribute: anAttribute},
	anAttribute:   {attrTensor: aTensor, attrGraph: aGraph, attrTensors: aTensor, attrGraphs: aGraph, attrSparse: aSparseTensor, attrSparses: aSparseTensor},
	aSparseTensor: {1: aTensor, 2: aTensor}, // its values and their indices
}

// message goes through a message, at that depth of nested graphs.
func (s *search) message(kind message, where format.Span, depth int) error {
	switch kind {
	case aTensor:
		return s.tensor(where)
	case aGraph:
		if depth++; depth > maxDepth+1 {
			return fmt.Errorf("byte %d: %w", where.From, errDeep)
		}
	}
	return s.Each(where, func(f wire.Field) error {
		inner, ok := inside[kind][f.Number]
		if !ok || f.Kind != protowire.BytesType {
			return nil
		}
		if err := s.ended(); err != nil {
			return err
		}
		return s.message(inner, f.Body, depth)
	})
}

// tensor records the external file of a tensor, if it has one.
func (s *search) tensor(where format.Span) error {
	external, location := false, ""
	err := s.Each(where, func(f wire.Field) error {
		switch f.Number {
		case tensorLocation:
			external = f.Value == 1
		case tensorExternalData:
			key, value, err := entry(&s.Reader, f)
			if key == "location" {
				location = spelled(value)
			}
			return err
		}
		return nil
	})
	if err != nil || !external || s.seen[location] {
		return err
	}
	if err := namesOther(location, len(s.names)); err != nil {
		return err
	}
	s.names, s.seen[location] = append(s.names, location), true
	return nil
}
