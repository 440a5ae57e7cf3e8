package zootest

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// hugeWidth is the number of inputs and outputs of each layer of a huge model: its weights have 16 MiB.
const hugeWidth = 2048

// WriteHuge writes FOLDER/model.onnx, a perceptron whose weights lie in FOLDER/weights.bin, of about that many bytes and one
// layer at least, in little memory: all layers have the same random weights, each its own copy. It returns the bytes of
// weights.bin. A batch normalisation follows each layer.
func WriteHuge(folder string, size int64) (int64, error) {
	const layer = 4 * hugeWidth * hugeWidth
	layers := max(1, size/layer)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	floats := func(n int, least, most float64) []byte {
		b := make([]byte, 0, 4*n)
		for range n {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(least+rng.Float64()*(most-least))))
		}
		return b
	}
	weights, err := os.Create(filepath.Join(folder, "weights.bin"))
	if err != nil {
		return 0, err
	}
	block := floats(hugeWidth*hugeWidth, -0.03, 0.03)
	for k := int64(0); k < layers && err == nil; k++ {
		_, err = weights.Write(block)
	}
	if err = errors.Join(err, weights.Close()); err != nil {
		return 0, err
	}
	var graph []byte
	value := "x"
	for k := range layers {
		n := strconv.FormatInt(k, 10)
		graph = message(graph, 1, node("Gemm", "y"+n, value, "W"+n, "bias"))
		graph = message(graph, 1, node("BatchNormalization", "z"+n, "y"+n, "scale", "bias", "mean", "var"))
		value = "z" + n
	}
	graph = message(graph, 2, []byte("huge"))
	for k := range layers {
		t := initializer("W"+strconv.FormatInt(k, 10), hugeWidth, hugeWidth)
		for _, e := range [][2]string{{"location", "weights.bin"}, {"offset", strconv.FormatInt(k*layer, 10)}, {"length", strconv.Itoa(layer)}} {
			t = message(t, 13, message(message(nil, 1, []byte(e[0])), 2, []byte(e[1])))
		}
		graph = message(graph, 5, varint(t, 14, 1))
	}
	for _, name := range []string{"scale", "bias", "mean", "var"} {
		graph = message(graph, 5, message(initializer(name, hugeWidth), 9, floats(hugeWidth, 0.5, 1.5)))
	}
	graph = message(message(graph, 11, tensorInfo("x")), 12, tensorInfo(value))
	model := message(message(varint(nil, 1, 8), 7, graph), 8, varint(nil, 2, 17))
	return layers * layer, os.WriteFile(filepath.Join(folder, "model.onnx"), model, 0o666)
}

func message(b []byte, number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), content)
}

func varint(b []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

// node is a NodeProto.
func node(kind, output string, inputs ...string) []byte {
	var b []byte
	for _, name := range inputs {
		b = message(b, 1, []byte(name))
	}
	return message(message(b, 2, []byte(output)), 4, []byte(kind))
}

// initializer is a TensorProto of float32 without its elements.
func initializer(name string, shape ...uint64) []byte {
	var b []byte
	for _, d := range shape {
		b = varint(b, 1, d)
	}
	return message(varint(b, 2, 1), 8, []byte(name))
}

// tensorInfo is the ValueInfoProto of an input or output of a huge model: float32[1, width].
func tensorInfo(name string) []byte {
	shape := message(message(nil, 1, varint(nil, 1, 1)), 1, varint(nil, 1, hugeWidth))
	return message(message(nil, 1, []byte(name)), 2, message(nil, 1, message(varint(nil, 1, 1), 2, shape)))
}
