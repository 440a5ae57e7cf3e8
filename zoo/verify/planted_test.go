package verify

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/model/modeltest"
	"github.com/zoofold/zoofold/zoo/op"
)

// wholly compares a region by evaluating whole values, node after node and probe after probe, with op.Eval: neither
// positions nor products of matrices are chosen. over is by how many times the limit a difference is too large.
func wholly(c *comparison, probes []probe) (over float64, err error) {
	probed, outputs := c.probed(), c.outputs()
	shapes, err := c.shapes(probed, true)
	if err != nil {
		return 0, err
	}
	before, after, err := c.sides(probed, outputs, maxHeld)
	if err != nil {
		return 0, err
	}
	for _, p := range probes {
		rng, top := rand.New(rand.NewPCG(p.seed, 11)), 1.0
		inputs := make([]*op.Array, len(probed))
		for j, name := range probed {
			if inputs[j], err = op.NewArray(shapes[j]); err != nil {
				return 0, err
			}
			p.draw(rng, c.before[name], inputs[j])
			for _, x := range inputs[j].Data {
				top = max(top, math.Abs(x))
			}
		}
		x, err := direct(before, inputs)
		if err != nil {
			return 0, err
		}
		y, err := direct(after, inputs)
		if err != nil {
			return 0, err
		}
		for j, name := range outputs {
			if over, err := c.compare(name, x[j], y[j], 0, top, false); err != nil {
				return over, err
			}
		}
	}
	return 0, nil
}

// manyProbes are what whole values are evaluated on.
var manyProbes = []probe{noise, upTo, downTo, zeros, ones, first, middle, last, more, most}

// direct are a side's outputs.
func direct(s *side, inputs []*op.Array) ([]measured, error) {
	known := map[*model.Value]measured{}
	for j, v := range s.inputs {
		known[v] = measured{value: inputs[j : j+1], magnitude: []*op.Array{absolute(inputs[j])}}
	}
	read := func(v *model.Value) (measured, error) {
		m, ok := known[v]
		switch {
		case ok:
			return m, nil
		case v.Const == nil:
			a, _ := s.consts.Value(v)
			return measured{value: []*op.Array{a}, magnitude: []*op.Array{a}}, nil
		}
		a, err := op.FromConstant(v.Const, 1<<24)
		if err != nil {
			return m, err
		}
		m = measured{value: []*op.Array{a}, magnitude: []*op.Array{a}, weights: 1}
		if v.Const.DType.Float() {
			m.magnitude[0] = absolute(a)
		}
		return m, nil
	}
	for _, n := range s.order {
		in, magnitudes := make([]*op.Array, len(n.Inputs)), make([]*op.Array, len(n.Inputs))
		terms, weights := int64(0), int64(0)
		for k, v := range n.Inputs {
			if v == nil {
				continue
			}
			m, err := read(v)
			if err != nil {
				return nil, err
			}
			in[k], magnitudes[k] = m.of(0)
			terms, weights = max(terms, m.terms), max(weights, m.weights)
		}
		out, err := op.Eval(n, in)
		if err != nil {
			return nil, err
		}
		size, err := op.Magnitude(n, in, magnitudes, out)
		if err != nil {
			return nil, err
		}
		for k, v := range n.Outputs {
			if v == nil || k >= len(out) || k >= len(size) {
				continue
			}
			if v.DType != 0 && !v.DType.Float() && whole(out[k]) {
				size[k] = out[k]
			}
			known[v] = measured{value: out[k : k+1], magnitude: size[k : k+1], terms: terms + op.Terms(n, in), weights: weights + 1}
		}
	}
	var results []measured
	for _, v := range s.outputs {
		m, err := read(v)
		if err != nil {
			return nil, err
		}
		results = append(results, m)
	}
	return results, nil
}

// mistakes are made in a region of a folded model; false: there is nothing to make one in.
var mistakes = []struct {
	name string
	make func(rng *rand.Rand, s *side) bool
}{
	{"a weight", func(rng *rand.Rand, s *side) bool {
		return spoil(rng, s, weights, func(c *model.Constant) {
			c.Values[rng.IntN(len(c.Values))] *= 1 + wrong(rng)
		})
	}},
	{"a bias", func(rng *rand.Rand, s *side) bool {
		return spoil(rng, s, vectors, func(c *model.Constant) {
			c.Values[rng.IntN(len(c.Values))] *= 1 + wrong(rng)
		})
	}},
	{"a border", func(rng *rand.Rand, s *side) bool {
		var places []*int64
		for _, n := range s.order {
			if pads := n.Attr("pads"); pads != nil {
				pads.Ints = slices.Clone(pads.Ints)
				for k := range pads.Ints[:len(pads.Ints)/2] {
					places = append(places, &pads.Ints[k], &pads.Ints[k+len(pads.Ints)/2])
				}
			}
		}
		if len(places) == 0 {
			return false
		}
		k := rng.IntN(len(places)) &^ 1
		if *places[k] > *places[k+1] || *places[k] == *places[k+1] && rng.IntN(2) == 0 {
			k++
		}
		*places[k]++
		*places[k^1]--
		return true
	}},
	{"two channels", func(rng *rand.Rand, s *side) bool {
		return spoil(rng, s, weights, func(c *model.Constant) { // of the first axis or the second, exchanged
			axis := rng.IntN(2)
			if c.Shape[axis] < 2 {
				axis = 1 - axis
			}
			if c.Shape[axis] < 2 {
				c.Values[rng.IntN(len(c.Values))] *= -1
				return
			}
			inner := len(c.Values) / int(c.Shape[0])
			if axis == 1 {
				inner /= int(c.Shape[1])
			}
			a := rng.IntN(int(c.Shape[axis]))
			b := (a + 1 + rng.IntN(int(c.Shape[axis])-1)) % int(c.Shape[axis])
			if rng.IntN(2) == 0 {
				b = (a + int(c.Shape[axis])/2) % int(c.Shape[axis]) // another group's, where there are two
			}
			rows := 1
			if axis == 1 {
				rows = int(c.Shape[0])
			}
			for r := range rows {
				row := c.Values[r*int(c.Shape[axis])*inner:]
				for e := range inner {
					row[a*inner+e], row[b*inner+e] = row[b*inner+e], row[a*inner+e]
				}
			}
		})
	}},
}

// wrong is a relative error.
func wrong(rng *rand.Rand) float64 {
	return math.Pow(10, -3*rng.Float64()) * float64(1-2*rng.IntN(2))
}

func weights(n *model.Node, v *model.Value) bool {
	return v.Const.DType.Float() && len(v.Const.Shape) >= 2 && (n.Type == "Conv" || n.Type == "ConvTranspose" || n.Type == "MatMul" || n.Type == "Gemm")
}

func vectors(n *model.Node, v *model.Value) bool {
	return v.Const.DType.Float() && n.Type != "Resize" && n.Type != "Clip" && !weights(n, v)
}

// spoil changes one of a side's constants of a kind.
func spoil(rng *rand.Rand, s *side, which func(*model.Node, *model.Value) bool, change func(*model.Constant)) bool {
	var list []*model.Value
	for _, n := range s.order {
		for _, v := range n.Inputs {
			if v == nil || v.Const == nil || !which(n, v) || slices.Contains(list, v) {
				continue
			}
			if size, _ := v.Const.Elements(); size > 0 {
				list = append(list, v)
			}
		}
	}
	if len(list) == 0 {
		return false
	}
	v := list[rng.IntN(len(list))]
	values, err := v.Const.Float64s(1 << 20)
	if err != nil {
		return false
	}
	c := *v.Const
	c.Data, c.Factors, c.Values = nil, nil, slices.Clone(values)
	change(&c)
	v.Const = &c
	return true
}

// count is how many random graphs mistakes are made in: ZOOFOLD_MISTAKES, or a thousand.
func count(t *testing.T) uint64 {
	text := os.Getenv("ZOOFOLD_MISTAKES")
	switch {
	case text == "" && testing.Short():
		return 100
	case text == "":
		return 1000
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMistakes_ThatWholeEvaluationFindsAreFound(t *testing.T) {
	for _, how := range []struct {
		name  string
		small float64
	}{{"all probes", granted}, {"as few probes as for large regions", 0}} {
		t.Run(how.name, func(t *testing.T) {
			planted, found, alone, near, graphs := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, uint64(0)
			for seed := uint64(1); graphs < count(t); seed++ {
				any := false
				for k, mistake := range mistakes {
					rng := rand.New(rand.NewPCG(seed, uint64(k)))
					random := []func(uint64, int) *model.Model{modeltest.Random, modeltest.RandomCut}[seed%2]
					original, folded := random(seed, 12), random(seed, 12)
					plan, err := fold.Fold(t.Context(), folded, fold.Options{})
					if err != nil {
						t.Fatal(err)
					}
					list := comparisons(original, folded, plan, 0x1p-24)
					rng.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
					for _, c := range list {
						c.small = how.small
						_, after, err := c.sides(c.probed(), c.outputs(), maxHeld)
						if err != nil || !mistake.make(rng, after) {
							continue
						}
						any = true
						planted[mistake.name]++
						over, before := wholly(c, manyProbes)
						_, now := c.run(context.Background())
						switch is, was := errors.Is(now, errDiffers), errors.Is(before, errDiffers); {
						case was && !is && over < 4: // with other noise the one finds it, or the other
							near[mistake.name]++
						case was && !is:
							t.Errorf("seed %d: %s: whole values: %v; demanded positions: %v", seed, mistake.name, before, now)
						case was:
							found[mistake.name]++
						case is:
							alone[mistake.name]++
						}
						break
					}
				}
				if any {
					graphs++
				}
			}
			for _, mistake := range mistakes {
				t.Logf("%s: %d mistakes in %d graphs, whole values find %d, demanded positions these and %d more; whole values alone find %d that are within four times the limit", mistake.name, planted[mistake.name], graphs, found[mistake.name], alone[mistake.name], near[mistake.name])
				if found[mistake.name] < int(graphs)/10 {
					t.Errorf("%s: only %d were found: the graphs test nothing", mistake.name, found[mistake.name])
				}
			}
		})
	}
}
