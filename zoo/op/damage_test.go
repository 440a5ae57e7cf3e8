package op_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/zoofold/zoofold/zoo/format"
	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// damagedNodes evaluates examples with senseless attributes and inputs: an error may come of it, and nothing worse.
func damagedNodes(t *testing.T, list []example) {
	for seed := range uint64(20000) {
		rng := rand.New(rand.NewPCG(seed, 6))
		damaged(t, list[rng.IntN(len(list))], rng)
	}
}

// damaged evaluates the first node of an example that was tampered with.
func damaged(t *testing.T, e example, rng *rand.Rand) {
	f, err := format.Open(context.Background(), e.path, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := f.Model()
	if len(m.Graph.Nodes) == 0 || len(m.Graph.Nodes[0].Bodies) > 0 {
		return
	}
	n := m.Graph.Nodes[0]
	senseless := func() int64 {
		return []int64{math.MinInt64, -1 << 31, -9, -2, -1, 0, 1, 2, 3, 7, 64, 1 << 31, 1 << 40, math.MaxInt64}[rng.IntN(14)]
	}
	var in []*op.Array
	for _, v := range n.Inputs {
		var a *op.Array
		for _, s := range e.Inputs {
			if v != nil && s.Name == v.Name {
				a = s.array(t)
			}
		}
		in = append(in, a)
	}
	for range 1 + rng.IntN(3) {
		switch rng.IntN(4) {
		case 0:
			if len(n.Attrs) > 0 {
				a := &n.Attrs[rng.IntN(len(n.Attrs))]
				if a.Int = senseless(); len(a.Ints) > 0 {
					a.Ints[rng.IntN(len(a.Ints))] = senseless()
					a.Ints = a.Ints[rng.IntN(2):]
				}
			}
		case 1:
			name := []string{"axis", "axes", "k", "batch_dims", "keepdims", "block_size", "size", "num_heads", "kernel_shape"}[rng.IntN(9)]
			if n.Attr(name) == nil {
				n.Attrs = append(n.Attrs, model.Attr{Name: name, Kind: model.IntAttr, Int: senseless(), Ints: []int64{senseless()}})
			}
		case 2:
			if len(in) > 0 {
				in[rng.IntN(len(in))] = []*op.Array{nil, array([]int64{0}), array([]int64{}, 3), array([]int64{2, 1}, -1, 5), array([]int64{1, 2, 3, 4})}[rng.IntN(5)]
			}
		default:
			if len(in) > 0 {
				if a := in[rng.IntN(len(in))]; a != nil && len(a.Data) > 0 {
					x := float64(senseless())
					if a.DType == tensor.Bool {
						x = 1
					}
					a.Data[rng.IntN(len(a.Data))] = x
				}
			}
		}
	}
	defer func() {
		if x := recover(); x != nil {
			t.Errorf("%s: %v with %v: %v", e.name, n, n.Attrs, x)
		}
	}()
	out, _ := op.Eval(n, in)
	shapes := [][]int64{{}, {3}, {1, 2, 3, 4}}
	for _, a := range out {
		if a != nil {
			shapes = append(shapes, a.Shape)
		}
	}
	for k, shape := range shapes {
		for _, given := range [][]*op.Array{in, shapesOnly(in)} {
			part := op.Part{Output: k % 2, Shape: shape, Box: op.Whole(shape)}
			_ = op.Needs(n, given, part)
		}
	}
}
