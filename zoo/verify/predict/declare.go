package predict

import (
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/zoofold/zoofold/zoo/tensor"
)

// declaration is what a model file says of itself at its surface: what has to be known to run it. The elements of its
// tensors are not read.
type declaration struct {
	inputs    []value // without those that have an initializer
	outputs   []value
	opset     uint64       // of ONNX's own domain; 0 where none is given
	narrowest tensor.DType // of the floating-point initializers; Undefined where there are none
	bytes     int64        // of the file and the external data of its initializers
	producers map[string]producer
}

// value is one declared input or output.
type value struct {
	name   string
	kind   string // "tensor", "sequence", "map", "optional", "sparse tensor"; "" where no type is declared
	dtype  tensor.DType
	ranked bool
	dims   []extent
}

// extent is one declared dimension: fixed where size ≥ 0, else free, with a name where it has one.
type extent struct {
	size   int64
	symbol string
}

// producer is a node that an output's value may be followed through: the saturating ones and those that only rearrange.
type producer struct {
	operator string
	input    string
	rest     string // its other inputs and its attributes, as stored
}

// saturating are the operators whose outputs hide what went in; rearranging pass on all of it.
var (
	saturating  = []string{"Sigmoid", "Softmax", "LogSoftmax", "HardSigmoid", "Tanh", "Clip"}
	rearranging = []string{"Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"}
)

// declare reads a model file's declaration.
func declare(path string) (*declaration, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d := &declaration{bytes: info.Size(), producers: map[string]producer{}}
	graphs, constant := 0, map[string]bool{}
	err = message{&window{file: f}, 0, info.Size()}.fields(func(m wireField) error {
		switch {
		case m.number == 7 && m.bytes: // graph
			graphs++
			return d.graph(m.body, constant)
		case m.number == 8 && m.bytes: // opset_import
			return d.imports(m.body)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if graphs == 0 {
		return nil, fmt.Errorf("%w: it has no graph", errWire)
	}
	d.inputs = slices.DeleteFunc(d.inputs, func(v value) bool { return constant[v.name] })
	return d, nil
}

func (d *declaration) imports(m message) error {
	var domain string
	var version uint64
	err := m.fields(func(f wireField) (err error) {
		switch {
		case f.number == 1 && f.bytes:
			domain, err = f.body.text()
		case f.number == 2:
			version = f.value
		}
		return err
	})
	if domain == "" || domain == "ai.onnx" {
		d.opset = version
	}
	return err
}

func (d *declaration) graph(m message, constant map[string]bool) error {
	return m.fields(func(f wireField) error {
		if !f.bytes {
			return nil
		}
		switch f.number {
		case 1:
			return d.node(f.body)
		case 5:
			return d.initializer(f.body, constant)
		case 15: // sparse initializers are named by their values
			return f.body.fields(func(s wireField) error {
				if s.number != 1 || !s.bytes {
					return nil
				}
				return d.initializer(s.body, constant)
			})
		case 11, 12:
			v, err := readValue(f.body)
			if err != nil {
				return err
			}
			if f.number == 11 {
				d.inputs = append(d.inputs, v)
			} else {
				d.outputs = append(d.outputs, v)
			}
		}
		return nil
	})
}

func (d *declaration) node(m message) error {
	var p producer
	var domain, output string
	inputs, outputs := 0, 0
	err := m.fields(func(f wireField) error {
		if !f.bytes || f.number > 7 || f.number == 3 || f.number == 6 { // not the name nor the doc string
			return nil
		}
		if f.number == 5 && f.body.to-f.body.from > windowSize { // no attribute of these operators is that large
			return nil
		}
		s, err := f.body.text()
		if err != nil {
			return err
		}
		switch f.number {
		case 1:
			if inputs++; inputs == 1 {
				p.input = s
			} else {
				p.rest += "\x00" + s
			}
		case 2:
			if outputs++; outputs == 1 {
				output = s
			}
		case 4:
			p.operator = s
		case 5:
			p.rest += "\x01" + s
		case 7:
			domain = s
		}
		return nil
	})
	known := slices.Contains(saturating, p.operator) || slices.Contains(rearranging, p.operator)
	if known && (domain == "" || domain == "ai.onnx") && outputs == 1 && p.input != "" {
		d.producers[output] = p
	}
	return err
}

// bits are the sizes in bits of the types that tensor.DType has no size for: 8-bit floats and 4-bit integers.
func bits(dtype uint64) int64 {
	switch {
	case dtype >= 17 && dtype <= 20:
		return 8
	case dtype > 20:
		return 4
	}
	return 8 * int64(tensor.DType(dtype).Size())
}

func (d *declaration) initializer(m message, constant map[string]bool) error {
	elements, dtype, external := int64(1), uint64(0), false
	extend := func(n uint64) {
		if n == 0 || elements > math.MaxInt64/64/int64(min(n, math.MaxInt64/64)) {
			n, elements = 0, 0
			return
		}
		elements *= int64(n)
	}
	err := m.fields(func(f wireField) error {
		switch {
		case f.number == 1 && f.bytes: // packed
			for off := f.body.from; off < f.body.to; {
				n, next, err := f.body.varint(off)
				if err != nil {
					return err
				}
				extend(n)
				off = next
			}
		case f.number == 1:
			extend(f.value)
		case f.number == 2:
			dtype = f.value
		case f.number == 8 && f.bytes:
			name, err := f.body.text()
			if err != nil {
				return err
			}
			constant[name] = true
		case f.number == 14:
			external = f.value == 1
		}
		return nil
	})
	if t := tensor.DType(dtype); dtype < 256 && t.Float() && (d.narrowest == 0 || epsilon(t) > epsilon(d.narrowest)) {
		d.narrowest = t
	}
	if external {
		d.bytes += elements * bits(dtype) / 8
	}
	return err
}

func readValue(m message) (value, error) {
	var v value
	err := m.fields(func(f wireField) (err error) {
		switch {
		case f.number == 1 && f.bytes:
			v.name, err = f.body.text()
		case f.number == 2 && f.bytes:
			err = f.body.fields(func(t wireField) error { return v.readType(t) })
		}
		return err
	})
	return v, err
}

func (v *value) readType(t wireField) error {
	switch t.number {
	case 1:
		v.kind = "tensor"
	case 4:
		v.kind = "sequence"
	case 5:
		v.kind = "map"
	case 8:
		v.kind = "sparse tensor"
	case 9:
		v.kind = "optional"
	}
	if t.number != 1 || !t.bytes {
		return nil
	}
	return t.body.fields(func(f wireField) error {
		switch {
		case f.number == 1:
			v.dtype = tensor.DType(min(f.value, 255))
		case f.number == 2 && f.bytes:
			v.ranked = true
			return f.body.fields(v.readExtent)
		}
		return nil
	})
}

func (v *value) readExtent(f wireField) error {
	if f.number != 1 || !f.bytes {
		return nil
	}
	d := extent{size: -1}
	err := f.body.fields(func(g wireField) (err error) {
		switch {
		case g.number == 1 && !g.bytes:
			// Some exporters write 0 for a free extent.
			if d.size = int64(g.value); d.size <= 0 {
				d.size = -1
			}
		case g.number == 2 && g.bytes:
			d.symbol, err = g.body.text()
		}
		return err
	})
	v.dims = append(v.dims, d)
	return err
}

// tap is a value that one output saturates, under its name in each of two models.
type tap struct {
	output           string
	dtype            tensor.DType
	original, folded string
}

// taps are the values before saturating outputs of two models, where both get from that value to the output by the same
// steps.
func taps(original, folded *declaration) []tap {
	var all []tap
	for _, out := range original.outputs {
		t := tap{output: out.name, dtype: out.dtype, original: out.name, folded: out.name}
		for range 16 {
			a, b := original.producers[t.original], folded.producers[t.folded]
			if a.operator == "" || a.operator != b.operator || a.rest != b.rest {
				break
			}
			t.original, t.folded = a.input, b.input
			if slices.Contains(saturating, a.operator) {
				all = append(all, t)
				break
			}
		}
	}
	return all
}
