package fold

import "math"

// gelu is x·½·(1 + erf(x/√2)). ONNX Runtime makes Gelu of the forms that divide and multiply by ½ first or last
// (core/optimizer/gelu_fusion.cc); OpenVINO of these, of x·(½·(1 + …)), and of those that multiply by 1/√2
// (transformations/common_optimizations/gelu_fusion.cpp), and so does ONNX Runtime's tool for transformers
// (python/tools/transformers/fusion_gelu.py).
var gelu = &idiom{Name: "a Gelu", Forms: halves(
	of("Add", of("Erf", of("Div", x, number(math.Sqrt2))), number(1)),
	of("Add", of("Erf", of("Mul", x, number(1/math.Sqrt2))), number(1)),
)}

// fastGelu is x·½·(1 + tanh(√(2/π)·(x + 0.044715·x³))), with the cube as Pow or as products
// (core/optimizer/fast_gelu_fusion.cc).
var fastGelu = &idiom{Name: "a Gelu by tanh", Forms: halves(
	of("Add", of("Tanh", of("Mul", of("Add", x, of("Mul", of("Pow", x, number(3)), number(cubic))), number(rootTwoByPi))), number(1)),
	of("Add", of("Tanh", of("Mul", of("Add", x, of("Mul", of("Mul", x, of("Mul", x, x)), number(cubic))), number(rootTwoByPi))), number(1)),
	of("Add", of("Tanh", of("Mul", of("Mul", x, number(rootTwoByPi)), of("Add", of("Mul", of("Mul", x, number(cubic)), x), number(1)))), number(1)),
)}

const (
	cubic       = 0.044715
	rootTwoByPi = 0.7978845608028654
)

var x = input{}

// halves are the orders in which x·½·f(x) is written.
func halves(forms ...pattern) (all []call) {
	half := number(0.5)
	for _, f := range forms {
		all = append(all,
			of("Mul", of("Mul", x, f), half),
			of("Mul", of("Mul", x, half), f),
			of("Mul", x, of("Mul", f, half)))
	}
	return all
}
