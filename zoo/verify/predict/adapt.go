package predict

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// port is one output to ask a session for: a value as it is, or its elements, widened to float64, and its shape under two
// names that adapt adds.
type port struct {
	name  string
	dtype tensor.DType // declared, before widening
	flat  string       // "": the value is asked for itself
	shape string
}

const (
	prefix      = "zoofold/predict/"
	unusedInput = prefix + "unused"
)

// adapt makes the ports for a model's outputs and taps, and the bytes that a model file has to be followed by to have them.
// Protobuf merges a message that is given twice, so these bytes add nodes and outputs to the graph, whatever it holds.
// They are nil where the model can be asked as it is: the binding to ONNX Runtime hands out no 16-bit and no rank-0
// outputs, and needs an input.
func adapt(d *declaration, taps []string) (ports []port, suffix []byte, err error) {
	var graph []byte
	for k, out := range d.outputs {
		p := port{name: out.name, dtype: out.dtype}
		if out.kind == "tensor" && widened(out) {
			graph = append(graph, p.widen(fmt.Sprint("output", k))...)
		}
		ports = append(ports, p)
	}
	for k, name := range taps {
		p := port{name: name}
		graph = append(graph, p.widen(fmt.Sprint("tap", k))...)
		ports = append(ports, p)
	}
	if len(d.inputs) == 0 {
		graph = append(graph, bytesField(11, stringField(1, unusedInput),
			bytesField(2, bytesField(1, varintField(1, 1), bytesField(2, bytesField(1, varintField(1, 1))))))...)
	}
	if graph == nil {
		return ports, nil, nil
	}
	if d.opset < 6 {
		return nil, nil, fmt.Errorf("operator set %d is too old to be asked for its values", d.opset)
	}
	return ports, bytesField(7, graph), nil
}

// widened says whether an output has to be asked for by its widened elements.
func widened(v value) bool {
	switch v.dtype {
	case tensor.String, tensor.Complex64, tensor.Complex128, tensor.Undefined:
		return false
	}
	return v.dtype == tensor.Float16 || v.dtype >= tensor.BFloat16 || (len(v.dims) == 0 && v.dtype.Float())
}

// widen names the port's elements and shape, and is the nodes and graph outputs that compute them.
func (p *port) widen(id string) []byte {
	wide, minus := prefix+id+"/wide", prefix+id+"/minus"
	p.flat, p.shape = prefix+id+"/flat", prefix+id+"/shape"
	node := func(operator string, inputs []string, output string, attributes ...[]byte) []byte {
		var n []byte
		for _, in := range inputs {
			n = append(n, stringField(1, in)...)
		}
		n = append(append(n, stringField(2, output)...), stringField(4, operator)...)
		for _, a := range attributes {
			n = append(n, bytesField(5, a)...)
		}
		return bytesField(1, n)
	}
	const intKind, tensorKind = 2, 4
	to := join(stringField(1, "to"), varintField(3, uint64(tensor.Float64)), varintField(20, intKind))
	all := int64(-1)
	one := join(varintField(1, 1), varintField(2, uint64(tensor.Int64)), bytesField(7, protowire.AppendVarint(nil, uint64(all))))
	list := join(stringField(1, "value"), bytesField(5, one), varintField(20, tensorKind))
	declared := func(name string, d tensor.DType) []byte {
		return bytesField(12, stringField(1, name),
			bytesField(2, bytesField(1, varintField(1, uint64(d)), bytesField(2, bytesField(1)))))
	}
	return join(
		node("Cast", []string{p.name}, wide, to),
		node("Constant", nil, minus, list),
		node("Reshape", []string{wide, minus}, p.flat),
		node("Shape", []string{p.name}, p.shape),
		declared(p.flat, tensor.Float64), declared(p.shape, tensor.Int64))
}

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func varintField(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
}

func stringField(n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), s)
}

func bytesField(n protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), join(parts...))
}
