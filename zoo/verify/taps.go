package verify

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// Taps are the values that go into the saturating activations behind a model's outputs. Outputs of a detector near 1e-7
// hide differences; the inputs of its Sigmoid show them.
func Taps(original, folded *model.Model) []predict.Tap {
	var taps []predict.Tap
	foreign := original.Foreign()
	for k, v := range original.Graph.Outputs {
		if k >= len(folded.Graph.Outputs) {
			break
		}
		a, b := squashed(v), squashed(folded.Graph.Outputs[k])
		if a == nil || b == nil || foreign[a] || a.Type != b.Type || a.In(0) == nil || b.In(0) == nil || a.In(0).Name == "" {
			continue
		}
		t := predict.Tap{Original: a.In(0).Name, Folded: b.In(0).Name}
		if a.Graph == original.Graph && b.Graph == folded.Graph && !slices.Contains(taps, t) {
			taps = append(taps, t)
		}
	}
	return taps
}

// squashed is the saturating activation that a value comes from, through operators that only rearrange.
func squashed(v *model.Value) *model.Node {
	for range 16 {
		n := v.Producer
		if n == nil {
			return nil
		}
		switch o := op.Of(n); {
		case o.Saturates:
			return n
		case !o.Rearranges || n.In(0) == nil:
			return nil
		}
		v = n.In(0)
	}
	return nil
}
