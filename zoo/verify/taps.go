package verify

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/verify/predict"
)

// Taps are the values that go into the saturating activations behind a model's outputs. A detector whose outputs all lie at
// 1e-7 says nothing; what its Sigmoid reads does.
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

// squashed is the saturating activation that a value comes from, through operators that only rearrange. HardSigmoid and
// Clip are not among them: folding may change their parameters, and what goes into them with those.
func squashed(v *model.Value) *model.Node {
	for range 16 {
		n := v.Producer
		if n == nil {
			return nil
		}
		switch n.Type {
		case "Sigmoid", "Softmax", "Tanh", "LogSoftmax":
			return n
		case "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Cast":
			if v = n.In(0); v == nil {
				return nil
			}
		default:
			return nil
		}
	}
	return nil
}
