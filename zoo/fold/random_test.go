package fold_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/fold/foldtest"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/op"
)

// graphs is how many random graphs are folded: ZOOFOLD_GRAPHS, or a thousand. ZOOFOLD_SEED is the first one's seed.
func graphs(t *testing.T) (first, count uint64) {
	read := func(name string, def uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return def
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	return read("ZOOFOLD_SEED", 1), read("ZOOFOLD_GRAPHS", 1000)
}

// predict evaluates a model of static shapes on random inputs, in float64. The largest magnitude of any value goes with
// the outputs: rounding errors are relative to it.
func predict(m *model.Model, seed uint64) (outputs []*op.Array, top float64, err error) {
	rng := rand.New(rand.NewPCG(seed, 3))
	known := map[*model.Value]*op.Array{}
	for _, v := range m.Graph.Inputs {
		a, err := op.NewArray(v.Shape)
		if err != nil {
			return nil, 0, err
		}
		for k := range a.Data {
			a.Data[k] = rng.NormFloat64() + 0.2
		}
		known[v] = a
	}
	for _, v := range m.Graph.Consts {
		a, err := op.FromConstant(v.Const, 1<<24)
		if err != nil {
			return nil, 0, err
		}
		known[v] = a
	}
	for _, n := range m.Graph.Nodes {
		in := make([]*op.Array, len(n.Inputs))
		for k, v := range n.Inputs {
			if v != nil {
				if in[k] = known[v]; in[k] == nil {
					return nil, 0, fmt.Errorf("%v reads %q before it is computed", n, v.Name)
				}
			}
		}
		out, err := op.Eval(n, in)
		if err != nil {
			return nil, 0, err
		}
		for k, v := range n.Outputs {
			if v != nil {
				known[v] = out[k]
				for _, x := range out[k].Data {
					top = max(top, math.Abs(x))
				}
			}
		}
	}
	for _, v := range m.Graph.Outputs {
		if known[v] == nil {
			return nil, 0, fmt.Errorf("output %q is not computed", v.Name)
		}
		outputs = append(outputs, known[v])
	}
	return outputs, top, nil
}

// differs says how two models' outputs differ, or nothing.
func differs(a, b *model.Model, seed uint64) string {
	x, top, err := predict(a, seed)
	if err != nil {
		return "the original: " + err.Error()
	}
	y, topFolded, err := predict(b, seed)
	if err != nil {
		return "folded: " + err.Error()
	}
	limit := 1e-9 * (1 + max(top, topFolded))
	for k := range x {
		if fmt.Sprint(x[k].Shape) != fmt.Sprint(y[k].Shape) {
			return fmt.Sprintf("output %d has shape %v, folded %v", k, x[k].Shape, y[k].Shape)
		}
		if a.Graph.Outputs[k].Name != b.Graph.Outputs[k].Name {
			return fmt.Sprintf("output %d is called %q, folded %q", k, a.Graph.Outputs[k].Name, b.Graph.Outputs[k].Name)
		}
		for e, v := range x[k].Data {
			if d := math.Abs(v - y[k].Data[e]); d > limit || math.IsNaN(d) {
				return fmt.Sprintf("output %d, element %d: %.12g, folded %.12g: off by %.2g, the limit is %.2g", k, e, v, y[k].Data[e], d, limit)
			}
		}
	}
	return ""
}

func TestRandomGraphs_ComputeTheSameAfterFolding(t *testing.T) {
	t.Run("removed", func(t *testing.T) { randomGraphs(t, fold.Options{}) })
	t.Run("neutralized", func(t *testing.T) { randomGraphs(t, fold.Options{Neutralize: true}) })
}

func randomGraphs(t *testing.T, o fold.Options) {
	first, count := graphs(t)
	var lock sync.Mutex
	maps, folded, refolded := 0, 0, 0
	var group sync.WaitGroup
	seeds := make(chan uint64)
	for range 4 {
		group.Go(func() {
			for seed := range seeds {
				original, m := modeltest.Random(seed, 14), modeltest.Random(seed, 14)
				plan, err := fold.Fold(t.Context(), m, o)
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					continue
				}
				if d := differs(original, m, seed); d != "" {
					t.Errorf("seed %d: %s", seed, d)
					continue
				}
				foldtest.AddsUp(t, plan, m)
				if plan.After > plan.Before {
					t.Errorf("seed %d: %d per-channel nodes became %d", seed, plan.Before, plan.After)
				}
				if o.Neutralize && (len(plan.Nodes) > 0 || slices.ContainsFunc(plan.Consts, func(c fold.ConstEdit) bool { return c.Edit == "add" || c.Edit == "drop" })) {
					t.Errorf("seed %d: %v %v", seed, plan.Nodes, plan.Consts)
				}
				again := refold(t, m, o)
				lock.Lock()
				if len(again.Nodes)+len(again.Consts) > 0 {
					t.Errorf("seed %d: folding the result again changes %v %v", seed, again.Nodes, again.Consts)
					refolded++
				}
				maps += len(plan.Maps)
				for _, x := range plan.Maps {
					if x.Verdict != fold.Left {
						folded++
					}
				}
				lock.Unlock()
			}
		})
	}
	for seed := first; seed < first+count; seed++ {
		seeds <- seed
	}
	close(seeds)
	group.Wait()
	t.Logf("%d graphs with %d maps, %d of them folded or merged", count, maps, folded)
	if folded*50 < maps {
		t.Errorf("of %d maps only %d were folded: the graphs test nothing", maps, folded)
	}
}

// Seeds of graphs in which a map that became nothing once hid equal maps, or both operands of an Add, until the end.
func TestFold_TwiceChangesNothingWhereMapsVanished(t *testing.T) {
	for _, seed := range []uint64{57312, 111426, 113353, 115192, 118062} {
		m := modeltest.Random(seed, 14)
		if _, err := fold.Fold(t.Context(), m, fold.Options{}); err != nil {
			t.Fatal(err)
		}
		if again := refold(t, m, fold.Options{}); len(again.Nodes)+len(again.Consts) > 0 {
			t.Errorf("seed %d: folding the result again changes %v %v", seed, again.Nodes, again.Consts)
		}
	}
}
