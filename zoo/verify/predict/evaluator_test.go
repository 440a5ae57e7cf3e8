//go:build cgo

package predict

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/zoofold/zoofold/zoo/format/onnx"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/tensor"
)

func TestExtents_OthersAreOddAndOfTwo(t *testing.T) {
	batched := small.other(trial{64, 1}).trials
	if batched[0] != (trial{65, 2}) || batched[len(batched)-1] != (trial{64, 1}) {
		t.Errorf("%v", batched)
	}
}

// TestEvaluator_AgreesWithONNXRuntimeOnRandomGraphs holds the evaluator, which the planner's constants and the algebra check
// share, against a program that shares nothing with it. ZOOFOLD_GRAPHS is how many graphs there are, else 1000.
func TestEvaluator_AgreesWithONNXRuntimeOnRandomGraphs(t *testing.T) {
	inProcess(t)
	count := uint64(1000)
	if text := os.Getenv("ZOOFOLD_GRAPHS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("ZOOFOLD_GRAPHS: %v", err)
		}
		count = n
	}
	nodes, largest := 0, 0.0
	for seed := uint64(1); seed <= count; seed++ {
		m := modeltest.RandomCut(seed, 14)
		var file onnx.Memory
		if err := onnx.Export(context.Background(), m, &file, "", tensor.Reference{}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		s, err := open(write(t, file.Bytes()), nil, asWritten)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		why, share := "", 0.0
		for try := range uint64(3) { // float32 may see a number on the other side of a threshold, not of each of three
			if why, share = disagrees(m, s, 10*seed+try); why == "" {
				break
			}
		}
		s.close()
		if why != "" {
			t.Errorf("seed %d: %s", seed, why)
		}
		nodes, largest = nodes+len(m.Graph.Nodes), max(largest, share)
	}
	t.Logf("%d graphs of %d nodes: the largest difference is %.2g of the largest number on the way", count, nodes, largest)
}

// disagrees says where outputs of ONNX Runtime, in float32, are not the evaluator's, and how far they are apart at most in
// units of the largest number that the evaluator met.
func disagrees(m *model.Model, s *session, seed uint64) (why string, largest float64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	known := map[*model.Value]*op.Array{}
	var inputs []value
	for _, v := range m.Graph.Inputs {
		a, err := op.NewArray(v.Shape)
		if err != nil {
			return err.Error(), 0
		}
		for k := range a.Data {
			a.Data[k] = float64(float32(rng.NormFloat64() + 0.2))
		}
		known[v] = a
		inputs = append(inputs, value{tensor.Float32, v.Shape, a.Data})
	}
	outputs, err := s.run(context.Background(), inputs)
	if err != nil {
		return err.Error(), 0
	}
	top, err := evaluate(m, known)
	if err != nil {
		return err.Error(), 0
	}
	for k, v := range m.Graph.Outputs {
		want, got := known[v], outputs[k]
		if want == nil || !slices.Equal(want.Shape, got.shape) {
			return fmt.Sprintf("output %q has shape %v in ONNX Runtime, %v here", v.Name, got.shape, want), 0
		}
		for e, x := range want.Data {
			d := math.Abs(x-got.data[e]) / (1 + top)
			if !(d <= 1e-5) {
				return fmt.Sprintf("output %q, element %d, is %.9g in ONNX Runtime, %.9g here", v.Name, e, got.data[e], x), d
			}
			largest = max(largest, d)
		}
	}
	return "", largest
}

// evaluate computes all values of a model of which the inputs are known, and is the largest magnitude of any.
func evaluate(m *model.Model, known map[*model.Value]*op.Array) (top float64, err error) {
	for _, v := range m.Graph.Consts {
		if known[v], err = op.FromConstant(v.Const, 1<<24); err != nil {
			return 0, err
		}
	}
	for _, n := range m.Graph.Nodes {
		in := make([]*op.Array, len(n.Inputs))
		for k, v := range n.Inputs {
			if v != nil {
				in[k] = known[v]
			}
		}
		out, err := op.Eval(n, in)
		if err != nil {
			return 0, err
		}
		for k, v := range n.Outputs {
			if v == nil || k >= len(out) {
				continue
			}
			known[v] = out[k]
			for _, x := range out[k].Data {
				top = max(top, math.Abs(x))
			}
		}
	}
	return top, nil
}
