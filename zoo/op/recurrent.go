package op

import (
	"fmt"
	"math"

	"github.com/zoofold/zoofold/zoo/model"
)

// Recurrent layers.

func init() {
	inputs := []string{"input", "weight", "recurrence weight", "bias", "lengths", "initial state", "initial cell", "peepholes"}
	for name, c := range map[string]cell{"RNN": {1, plainStep}, "GRU": {3, gatedStep}, "LSTM": {4, memoryStep}} {
		register(&Operator{Type: name, Required: 3, Inputs: inputs, Eval: c.eval, Shape: recurrentShape, Terms: recurrentTerms})
	}
}

// cell is a recurrent layer: how many vectors of hidden_size elements a step computes of its input and of the state before
// it, and what becomes of them.
type cell struct {
	gates int
	step  func(l *layer)
}

// layer is one direction of a layer on one sequence. fromInput and fromState are W·x + b and R·h + b of each gate in turn.
type layer struct {
	n                    *model.Node
	hidden               int
	fromInput, fromState []float64
	state, memory        []float64 // h and, of an LSTM, c
	recurrence, bias     []float64 // R and the biases of R
	peepholes            []float64
	limit                float64
}

// gate is what goes into the activation of element j of a gate, more added to it.
func (l *layer) gate(gate, j int, more float64) float64 {
	k := gate*l.hidden + j
	return l.clip(l.fromInput[k] + l.fromState[k] + more)
}

func (l *layer) clip(x float64) float64 { return min(max(x, -l.limit), l.limit) }

// peep is what element j of the memory adds to a gate: of the input, the output and the forget gate in turn.
func (l *layer) peep(gate, j int) float64 {
	if l.peepholes == nil {
		return 0
	}
	return l.peepholes[gate*l.hidden+j] * l.memory[j]
}

func plainStep(l *layer) {
	for j := range l.state {
		l.state[j] = math.Tanh(l.gate(0, j, 0))
	}
}

// gatedStep is a GRU's: an update gate, a reset gate and the new state, into which the old one goes reset, before or after it
// is multiplied.
func gatedStep(l *layer) {
	candidate := make([]float64, l.hidden)
	reset := make([]float64, l.hidden)
	for j := range reset {
		reset[j] = sigmoid(l.gate(1, j, 0))
	}
	for j := range candidate {
		k := 2*l.hidden + j
		if l.n.Int("linear_before_reset", 0) != 0 {
			candidate[j] = math.Tanh(l.clip(l.fromInput[k] + reset[j]*l.fromState[k]))
			continue
		}
		sum := l.bias[k]
		for i, r := range reset {
			sum += l.recurrence[k*l.hidden+i] * r * l.state[i]
		}
		candidate[j] = math.Tanh(l.clip(l.fromInput[k] + sum))
	}
	for j, c := range candidate {
		update := sigmoid(l.gate(0, j, 0))
		l.state[j] = (1-update)*c + update*l.state[j]
	}
}

// memoryStep is an LSTM's: an input gate, an output gate, a forget gate and what goes into the memory.
func memoryStep(l *layer) {
	for j := range l.state {
		in, forget := sigmoid(l.gate(0, j, l.peep(0, j))), sigmoid(l.gate(2, j, l.peep(2, j)))
		if l.n.Int("input_forget", 0) != 0 {
			forget = 1 - in
		}
		l.memory[j] = forget*l.memory[j] + in*math.Tanh(l.gate(3, j, 0))
		l.state[j] = sigmoid(l.gate(1, j, l.peep(1, j))) * math.Tanh(l.memory[j])
	}
}

// eval runs a layer over sequences of inputs [time, batch, input], or [batch, time, input] with layout 1.
func (c cell) eval(n *model.Node, in []*Array) ([]*Array, error) {
	x, w, r := in[0], in[1], in[2]
	if n.Attr("activations") != nil {
		return nil, fmt.Errorf("activations: %w", ErrUnsupported)
	}
	if len(x.Shape) != 3 || len(w.Shape) != 3 || len(r.Shape) != 3 {
		return nil, fmt.Errorf("input %v, weights %v and %v", x.Shape, w.Shape, r.Shape)
	}
	batchFirst, direction := n.Int("layout", 0) != 0, n.Str("direction", "forward")
	times, batch := int(x.Shape[0]), int(x.Shape[1])
	if batchFirst {
		times, batch = batch, times
	}
	size, hidden, directions := int(x.Shape[2]), int(r.Shape[2]), 1
	if direction == "bidirectional" {
		directions = 2
	}
	rows := c.gates * hidden
	for _, test := range []struct {
		k    int
		want int
	}{{1, directions * rows * size}, {2, directions * rows * hidden}, {3, directions * 2 * rows}, {4, batch}, {5, directions * batch * hidden}, {6, directions * batch * hidden}, {7, directions * 3 * hidden}} {
		if a := input(in, test.k); a != nil && len(a.Data) != test.want {
			return nil, fmt.Errorf("input %d of shape %v, want %d elements", test.k, a.Shape, test.want)
		}
	}
	if err := within(maxWork, int64(times), int64(batch), int64(directions), int64(rows), int64(size+hidden)); err != nil {
		return nil, err
	}
	list := recurrentShapes(x.Shape, int64(directions), int64(hidden), batchFirst)
	var out []*Array
	for _, shape := range list {
		a, err := NewArray(shape)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	part := func(k, d, count int) []float64 { // what an input holds for a direction
		if a := input(in, k); a != nil {
			return a.Data[d*count:][:count]
		}
		return nil
	}
	place := func(d, b int) int { // of a state
		if batchFirst {
			return (b*directions + d) * hidden
		}
		return (d*batch + b) * hidden
	}
	for d := range directions {
		weight, bias := part(1, d, rows*size), part(3, d, 2*rows)
		if bias == nil {
			bias = make([]float64, 2*rows)
		}
		for b := range batch {
			l := &layer{n: n, hidden: hidden, fromInput: make([]float64, rows), fromState: make([]float64, rows), state: make([]float64, hidden), memory: make([]float64, hidden),
				recurrence: part(2, d, rows*hidden), bias: bias[rows:], peepholes: part(7, d, 3*hidden), limit: n.Float("clip", math.Inf(1))}
			for k, into := range [][]float64{5: l.state, 6: l.memory} {
				if a := input(in, k); a != nil && into != nil {
					copy(into, a.Data[place(d, b):])
				}
			}
			length := times
			if a := input(in, 4); a != nil {
				length = int(min(max(a.Int(b), 0), int64(times)))
			}
			for s := range length {
				t := s
				if d == 1 || direction == "reverse" {
					t = length - 1 - s
				}
				row, to := t*batch+b, ((t*directions+d)*batch+b)*hidden
				if batchFirst {
					row, to = b*times+t, ((b*times+t)*directions+d)*hidden
				}
				copy(l.fromInput, bias)
				copy(l.fromState, l.bias)
				multiply(l.fromInput, x.Data[row*size:], weight, 1, size, rows, 0, 1, 1, size)
				multiply(l.fromState, l.state, l.recurrence, 1, hidden, rows, 0, 1, 1, hidden)
				c.step(l)
				copy(out[0].Data[to:], l.state)
			}
			copy(out[1].Data[place(d, b):], l.state)
			copy(out[2].Data[place(d, b):], l.memory)
		}
	}
	if n.Type != "LSTM" {
		out = out[:2]
	}
	return out, nil
}

// recurrentTerms are those of all steps: each adds to the state before it.
func recurrentTerms(n *model.Node, in []*Array) int64 {
	times := in[0].Shape[0]
	if n.Int("layout", 0) != 0 {
		times = in[0].Shape[1]
	}
	return max(times, 1) * (in[0].Shape[2] + in[2].Shape[2] + 4)
}

// recurrentShapes are those of the states at all times, the last state and the last memory, for an input of three axes.
func recurrentShapes(x []int64, directions, hidden int64, batchFirst bool) [][]int64 {
	if batchFirst {
		state := []int64{x[0], directions, hidden}
		return shapes([]int64{x[0], x[1], directions, hidden}, state, state)
	}
	state := []int64{directions, x[1], hidden}
	return shapes([]int64{x[0], directions, x[1], hidden}, state, state)
}

// recurrentShape is Y [T, D, N, H], Y_h and Y_c [D, N, H] of an input [T, N, I]; with layout 1 the batch comes first.
func recurrentShape(in *Inference, n *model.Node) [][]int64 {
	x, directions := in.of(n.In(0)), int64(1)
	if n.Str("direction", "forward") == "bidirectional" {
		directions = 2
	}
	if len(x) != 3 {
		x = freeShape(3)
	}
	return recurrentShapes(x, directions, n.Int("hidden_size", Unknown), n.Int("layout", 0) != 0)
}
