package predict

import (
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// cast is one more output of a model: a value of its graph, converted to a type that can be read.
type cast struct {
	value  string
	output string
	to     tensor.DType
}

// maxExtended bounds the model files that are read whole to be extended: protobuf's own limit.
const maxExtended = 2<<30 - 1<<20

// extended is the model file's bytes with more outputs. They are appended as a second graph field: protobuf merges it into
// the first one.
func extended(path string, casts []cast) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxExtended {
		return nil, errors.New("the model file is too large to read its 16-bit or inner values")
	}
	more := extension(casts)
	out := make([]byte, info.Size(), info.Size()+int64(len(more)))
	if _, err := io.ReadFull(f, out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return append(out, more...), nil
}

// extension is field 7 of ONNX's ModelProto: a graph of nothing but Cast nodes and outputs.
func extension(casts []cast) []byte {
	message := func(b []byte, field protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content)
	}
	number := func(b []byte, field protowire.Number, n uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
	}
	var graph []byte
	for _, c := range casts {
		const attrInt = 2 // AttributeProto.AttributeType.INT
		to := number(number(message(nil, 1, []byte("to")), 3, uint64(c.to)), 20, attrInt)
		node := message(message(message(nil, 1, []byte(c.value)), 2, []byte(c.output)), 3, []byte(c.output))
		graph = message(graph, 1, message(message(node, 4, []byte("Cast")), 5, to))
		typ := message(nil, 1, number(nil, 1, uint64(c.to)))
		graph = message(graph, 12, message(message(nil, 1, []byte(c.output)), 2, typ))
	}
	return message(nil, 7, graph)
}
