package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
)

// attention is how scores become weights in attention with a mask: softmax(q·k/√d + mask). ONNX Runtime makes one operator of
// such an attention with all its projections (core/optimizer/attention_fusion.cc), and looks for the division. Where it does
// not find the rest, the division costs nothing: it is a factor of the product (core/optimizer/matmul_scale_fusion.cc). The
// forms are those of BERT, DistilBERT and GPT-2; without a mask, or with the scale on q as a product, no fusion asks for it.
var attention = &idiom{Name: "an attention", Forms: []call{
	of("Softmax", of("Add", scaled, computed{})),
	of("Softmax", of("Where", anything{}, of("MatMul", of("Div", x, scalar{}), computed{}), anything{})),
	of("Softmax", of("Where", anything{}, anything{}, of("MatMul", of("Div", x, scalar{}), computed{}))),
	of("Softmax", of("Where", anything{}, scaled, anything{})),
	of("Softmax", of("Sub", of("Mul", scaled, anything{}), anything{})),
}}

var scaled = of("Div", product{}, scalar{})

// product is a matrix product of two values that are computed: it is no part of the idiom, which begins behind it.
type product struct{}

func (product) match(s *sighting, v *model.Value) bool {
	if v == nil {
		return false
	}
	n := v.Producer
	return n != nil && n.Type == "MatMul" && n.Domain == "" && len(n.Inputs) == 2 && computed{}.match(s, n.Inputs[0]) && computed{}.match(s, n.Inputs[1])
}
