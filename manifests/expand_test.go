package manifests

import "testing"

func TestExpand_FillsEachFieldOnce(t *testing.T) {
	for _, c := range [][3]string{
		{"{dir}/{name}", "a/b/model.onnx", "a/b/model.onnx"},
		{"{dir}/{stem}-folded{ext}", "a/model.v2.onnx", "a/model.v2-folded.onnx"},
		{"{dir}/{name}", "model.onnx", "model.onnx"},
		{"x/{stem}", "{name}/{dir}.onnx", "x/{dir}"},
		{"{dir}/{name}", "{name}/{dir}.onnx", "{name}/{dir}.onnx"},
		{"{other}/{name}{", "m.onnx", "{other}/m.onnx{"},
		{"{{name}}", "m.onnx", "{m.onnx}"},
		{"flat", "a/m.onnx", "flat"},
		{"é{stem}", "ü.onnx", "éü"},
	} {
		if got := expand(c[0], c[1]); got != c[2] {
			t.Errorf("%q for %q is %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
