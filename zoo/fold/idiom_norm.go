package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
)

// Normalisations written in primitive operators. ONNX Runtime recognises them by the multiplication by γ and the addition
// of β at their end, each a constant over the last axis (core/optimizer/layer_norm_fusion.cc): if they went into the next
// layer, it would run eight operators.

// layerNorm is (x − mean(x))/√(mean((x − mean(x))²) + ε)·γ + β.
var layerNorm = &idiom{Name: "a layer normalisation", Forms: []call{
	of("Add", of("Mul", cast{of("Div", centred, deviation(cast{centred}))}, vector{}), vector{}),
}}

// rmsNorm is x/√(mean(x²) + ε)·γ; applied to x − mean(x) it is a layer normalisation without β.
var rmsNorm = &idiom{Name: "a root-mean-square normalisation", Forms: []call{
	of("Mul", cast{of("Div", x, deviation(x))}, vector{}),
	of("Mul", cast{of("Mul", x, of("Div", number(1), deviation(x)))}, vector{}),
	of("Mul", cast{of("Mul", x, of("Reciprocal", deviation(x)))}, vector{}),
}}

var centred = of("Sub", x, mean(x))

// deviation is √(mean(y²) + ε).
func deviation(y pattern) pattern {
	return of("Sqrt", of("Add", mean(of("Pow", y, number(2))), scalar{}))
}

// mean is the mean over the last axis.
func mean(of pattern) pattern {
	return call{op: "ReduceMean", args: []pattern{of}, also: func(s *sighting, n *model.Node) bool {
		axes, ok := s.p.integers(n, "axes", 1)
		rank := int64(len(n.Outputs[0].Shape))
		return ok && len(axes) == 1 && (axes[0] == -1 || axes[0] == rank-1 && rank > 0) && n.Int("keepdims", 1) == 1
	}}
}
