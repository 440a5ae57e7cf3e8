package fold

import (
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

// swish is x·sigmoid(x), or x·sigmoid(α·x): ONNX Runtime's QuickGelu (core/optimizer/quick_gelu_fusion.cc), which stays in a
// convolution's blocked layout.
var swish = &idiom{Name: "a Swish", Forms: []call{
	of("Mul", x, of("Sigmoid", x)),
	of("Mul", x, of("Sigmoid", of("Mul", x, scalar{}))),
}}

// hardSwish is x·HardSigmoid(x), by the slope that makes it HardSwish: ONNX Runtime computes it in the convolution before
// it. No runtime recognises x·clip(x + 3, 0, 6)/6: folding turns that into this faster form.
var hardSwish = &idiom{Name: "a HardSwish", Forms: []call{
	of("Mul", x, call{op: "HardSigmoid", args: []pattern{x}, also: func(_ *sighting, n *model.Node) bool {
		alpha, beta := slope(n)
		return math.Abs(alpha-1./6) < 1e-6 && beta == 0.5
	}}),
}}
