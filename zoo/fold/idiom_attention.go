package fold

import (
	"github.com/zoofold/zoofold/zoo/model"
)

// attention turns scores into weights in attention with a mask: softmax(q·k/√d + mask). ONNX Runtime fuses such an
// attention with all its projections into one operator (core/optimizer/attention_fusion.cc), and looks for the division. If
// it does not find the rest, the division costs nothing, since it becomes a factor of the product
// (core/optimizer/matmul_scale_fusion.cc). The forms are those of BERT, DistilBERT and GPT-2; no fusion looks for forms
// without a mask, or with the scale as a product on q.
var attention = &idiom{Name: "an attention", Forms: []call{
	of("Softmax", of("Add", scaled, computed{})),
	of("Softmax", of("Where", anything{}, of("MatMul", of("Div", x, scalar{}), computed{}), anything{})),
	of("Softmax", of("Where", anything{}, anything{}, of("MatMul", of("Div", x, scalar{}), computed{}))),
	of("Softmax", of("Where", anything{}, scaled, anything{})),
	of("Softmax", of("Sub", of("Mul", scaled, anything{}), anything{})),
}}

var scaled = of("Div", product{}, scalar{})

// product is a matrix product of two computed values. It is not part of the idiom, which begins at its output.
type product struct{}

func (product) match(s *sighting, v *model.Value) bool {
	if v == nil {
		return false
	}
	n := v.Producer
	return n != nil && n.Type == "MatMul" && n.Domain == "" && len(n.Inputs) == 2 && computed{}.match(s, n.Inputs[0]) && computed{}.match(s, n.Inputs[1])
}
