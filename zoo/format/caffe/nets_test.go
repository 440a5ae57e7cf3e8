package caffe_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// Nets written by hand: a prototxt, and a caffemodel put together field by field.

func message(number protowire.Number, content ...[]byte) []byte {
	var body []byte
	for _, c := range content {
		body = append(body, c...)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
}

func text(number protowire.Number, s string) []byte { return message(number, []byte(s)) }

func number(n protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), uint64(v))
}

// weights is a layer of a caffemodel.
func weights(name string, blobs ...[]byte) []byte {
	return message(100, append([][]byte{text(1, name)}, blobs...)...)
}

// shape is a BlobShape in its field.
func shape(extents ...int64) []byte {
	var dims []byte
	for _, d := range extents {
		dims = protowire.AppendVarint(dims, uint64(d))
	}
	return message(7, text(1, string(dims)))
}

// floats is packed float data in its field.
func floats(values ...float64) []byte {
	raw := make([]byte, 4*len(values))
	_ = tensor.Encode(raw, values, tensor.Float32) // of that length
	return message(5, raw)
}

// blob is a weight of these elements.
func blob(extents []int64, values ...float64) []byte {
	return message(7, shape(extents...), floats(values...))
}

// noise is packed float data of n elements: from 0.5 to 1.5, and of either sign where that is asked for.
func noise(n int64, signed bool) []byte {
	rng, values := rand.New(rand.NewPCG(uint64(n), 3)), make([]float64, n)
	for k := range values {
		values[k] = 0.5 + rng.Float64()
		if signed && rng.IntN(2) == 0 {
			values[k] = -values[k]
		}
	}
	return floats(values...)
}

// random is a weight of that shape; those of kernels and matrices are of either sign.
func random(extents ...int64) []byte {
	n, _ := tensor.Elements(extents)
	return message(7, shape(extents...), noise(n, len(extents) > 1))
}

// absolute is a weight of that shape whose elements are positive.
func absolute(extents ...int64) []byte {
	n, _ := tensor.Elements(extents)
	return message(7, shape(extents...), noise(n, false))
}

// doubles is packed double data in its field.
func doubles(values ...float64) []byte {
	var raw []byte
	for _, x := range values {
		raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(x))
	}
	return message(8, raw)
}

// net writes a net's two files into a new folder, and is the path of its prototxt.
func net(t testing.TB, prototxt string, layers ...[]byte) string {
	t.Helper()
	var model []byte
	for _, l := range layers {
		model = append(model, l...)
	}
	if len(model) == 0 {
		model = weights("nothing")
	}
	path := filepath.Join(t.TempDir(), "net.prototxt")
	for name, data := range map[string][]byte{path: []byte(prototxt), filepath.Join(filepath.Dir(path), "net.caffemodel"): model} {
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
