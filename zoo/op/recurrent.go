package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// Recurrent layers, as ONNX defines them. The inputs are X of shape [T, N, I] (with layout 1: [N, T, I]), W of [D, G·H, I],
// R of [D, G·H, H] and B of [D, 2·G·H], for D directions and G gates of H units each. Only the default activations are
// evaluated.

func init() {
	inputs := []string{"input", "weight", "recurrence weight", "bias", "lengths", "initial state", "initial cell", "peepholes"}
	register(
		&Operator{Type: "LSTM", Inputs: inputs, Eval: recurrent(4, lstmStep), Shape: recurrentShape, Terms: recurrentTerms, Needs: recurrentNeeds, Parts: true},
		&Operator{Type: "GRU", Inputs: inputs, Eval: recurrent(3, gruStep), Shape: recurrentShape, Terms: recurrentTerms, Needs: recurrentNeeds, Parts: true},
		&Operator{Type: "RNN", Inputs: inputs, Eval: recurrent(1, rnnStep), Shape: recurrentShape, Terms: recurrentTerms, Needs: recurrentNeeds, Parts: true},
	)
}

func recurrentTerms(_ *model.Node, in []*Array) int64 { return in[1].Shape[2] + in[2].Shape[2] + 2 }

// recurrentNeeds are whole sequences of the wanted members of the batch.
func recurrentNeeds(n *model.Node, in []*Array, out Part) []Box {
	batch := len(out.Box) - 2 // of the sequences of outputs and of the last states alike
	if n.Int("layout", 0) != 0 {
		batch = 0
	}
	if len(out.Box) < 3 || len(out.Box) > 4 {
		return nil
	}
	boxes := make([]Box, len(in))
	for k, axis := range []int{1, -1, -1, -1, 0, 1, 1} { // of the batch in each input
		if k >= len(in) || in[k] == nil || axis < 0 {
			continue
		}
		if batch == 0 {
			axis = 0
		}
		if boxes[k] = Whole(in[k].Shape); axis < len(boxes[k]) {
			boxes[k][axis] = out.Box[batch]
		}
	}
	return boxes
}

// recurrentShape is Y [T, D, N, H], Y_h and Y_c [D, N, H] of an input [T, N, I]; with layout 1 the batch comes first.
func recurrentShape(in *Inference, n *model.Node) [][]int64 {
	x := in.of(n.In(0))
	directions := int64(1)
	if n.Str("direction", "forward") == "bidirectional" {
		directions = 2
	}
	hidden := n.Int("hidden_size", Unknown)
	steps, batch := int64(Unknown), int64(Unknown)
	if len(x) == 3 {
		steps, batch = x[0], x[1]
	}
	state := []int64{directions, batch, hidden}
	sequence := []int64{steps, directions, batch, hidden}
	if n.Int("layout", 0) != 0 {
		if len(x) == 3 {
			batch, steps = x[0], x[1]
		}
		state, sequence = []int64{batch, directions, hidden}, []int64{batch, steps, directions, hidden}
	}
	return shapes(sequence, state, state)
}

// cell is one direction of a recurrent layer for one member of the batch: its weights, and the state that a step changes.
type cell struct {
	hidden       int
	r            []float64 // R, [G·H, H]
	bias         []float64 // of the hidden state, [G·H]
	peephole     []float64 // LSTM: P, [3·H]
	h, c         []float64 // the hidden state, and the LSTM's cell state
	clip         float64
	linear, tied bool // GRU's linear_before_reset, LSTM's input_forget
}

// gate is x[g·H + k] plus what the hidden state adds there: row g·H + k of R, times h.
func (l *cell) gate(x []float64, g, k int, h []float64) float64 {
	row := g*l.hidden + k
	sum := x[row] + l.bias[row]
	for j, r := range l.r[row*l.hidden : (row+1)*l.hidden] {
		sum += r * h[j]
	}
	return sum
}

// bounded clips a sum to ±clip before it goes into an activation.
func (l *cell) bounded(x float64) float64 {
	return max(-l.clip, min(l.clip, x))
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// rnnStep is h = tanh(x + R·h).
func rnnStep(l *cell, x []float64) {
	next := make([]float64, l.hidden)
	for k := range next {
		next[k] = math.Tanh(l.bounded(l.gate(x, 0, k, l.h)))
	}
	l.h = next
}

// gruStep has the gates z, r and h: h = (1 − z)·h' + z·h, with h' = tanh(x + R·(r·h)) or, with linear_before_reset, tanh(x
// + r·(R·h + b)) (Cho et al. 2014, arXiv:1406.1078).
func gruStep(l *cell, x []float64) {
	z, reset, next := make([]float64, l.hidden), make([]float64, l.hidden), make([]float64, l.hidden)
	product := make([]float64, l.hidden)
	for k := range z {
		z[k] = logistic(l.bounded(l.gate(x, 0, k, l.h)))
		reset[k] = logistic(l.bounded(l.gate(x, 1, k, l.h)))
		product[k] = reset[k] * l.h[k]
	}
	for k := range next {
		sum := 0.0
		if own := x[2*l.hidden+k]; l.linear {
			sum = own + reset[k]*(l.gate(x, 2, k, l.h)-own)
		} else {
			sum = l.gate(x, 2, k, product)
		}
		next[k] = (1-z[k])*math.Tanh(l.bounded(sum)) + z[k]*l.h[k]
	}
	l.h = next
}

// lstmStep has the gates i, o, f and c: c = f·c + i·c', h = o·tanh(c) (Hochreiter and Schmidhuber 1997); with input_forget,
// f = 1 − i.
func lstmStep(l *cell, x []float64) {
	size := l.hidden
	h, c := make([]float64, size), make([]float64, size)
	for k := range h {
		peek := func(p int, c float64) float64 {
			if l.peephole == nil {
				return 0
			}
			return l.peephole[p*size+k] * c
		}
		i := logistic(l.bounded(l.gate(x, 0, k, l.h) + peek(0, l.c[k])))
		f := 1 - i
		if !l.tied {
			f = logistic(l.bounded(l.gate(x, 2, k, l.h) + peek(2, l.c[k])))
		}
		c[k] = f*l.c[k] + i*math.Tanh(l.bounded(l.gate(x, 3, k, l.h)))
		h[k] = logistic(l.bounded(l.gate(x, 1, k, l.h)+peek(1, c[k]))) * math.Tanh(c[k])
	}
	l.h, l.c = h, c
}

// sequences are the inputs of a recurrent layer, their shapes checked.
type sequences struct {
	steps, batch, features, directions, rows, hidden int

	in      []*Array
	swapped bool // the batch is the first axis
	ends    []int64
}

func newSequences(n *model.Node, in []*Array, gates int) (*sequences, error) {
	if err := need(in, 3); err != nil {
		return nil, err
	}
	x, w, r := in[0], in[1], in[2]
	if n.Attr("activations") != nil || len(x.Shape) != 3 || len(w.Shape) != 3 || len(r.Shape) != 3 {
		return nil, ErrUnsupported
	}
	s := &sequences{in: in, swapped: n.Int("layout", 0) != 0}
	s.steps, s.batch, s.features = int(x.Shape[0]), int(x.Shape[1]), int(x.Shape[2])
	if s.swapped {
		s.steps, s.batch = s.batch, s.steps
	}
	s.directions, s.rows, s.hidden = int(w.Shape[0]), int(w.Shape[1]), int(r.Shape[2])
	d, rows, h, b := int64(s.directions), int64(s.rows), int64(s.hidden), int64(s.batch)
	state := []int64{d, b, h}
	if s.swapped {
		state = []int64{b, d, h}
	}
	want := [][]int64{nil, {d, rows, int64(s.features)}, {d, rows, h}, {d, 2 * rows}, {b}, state, state, {d, 3 * h}}
	for k, a := range in {
		if k > 0 && a != nil && (k >= len(want) || !slices.Equal(a.Shape, want[k])) {
			return nil, fmt.Errorf("input %d has shape %v", k, a.Shape)
		}
	}
	both := n.Str("direction", "forward") == "bidirectional"
	if rows != int64(gates)*h || s.directions != 1 && !(both && s.directions == 2) || both && s.directions != 2 {
		return nil, fmt.Errorf("weights of shapes %v and %v", w.Shape, r.Shape)
	}
	s.ends = slices.Repeat([]int64{int64(s.steps)}, s.batch)
	if l := input(in, 4); l != nil {
		s.ends = l.Ints()
	}
	for _, end := range s.ends {
		if end < 0 || end > int64(s.steps) {
			return nil, fmt.Errorf("a sequence of %d steps of %d", end, s.steps)
		}
	}
	return s, within(maxSteps, int64(s.steps), b, d, rows, int64(s.features+s.hidden))
}

// at are the features of step t of sequence b.
func (s *sequences) at(t, b int) []float64 {
	row := t*s.batch + b
	if s.swapped {
		row = b*s.steps + t
	}
	return s.in[0].Data[row*s.features : (row+1)*s.features]
}

// cell is direction d for sequence b, and the row of its state in an array of states.
func (s *sequences) cell(n *model.Node, d, b int) (l *cell, state int) {
	l = &cell{hidden: s.hidden, bias: make([]float64, s.rows), clip: n.Float("clip", math.Inf(1)),
		linear: n.Int("linear_before_reset", 0) != 0, tied: n.Int("input_forget", 0) != 0}
	l.r = s.in[2].Data[d*s.rows*s.hidden : (d+1)*s.rows*s.hidden]
	if bias := input(s.in, 3); bias != nil {
		l.bias = bias.Data[(2*d+1)*s.rows : (2*d+2)*s.rows]
	}
	if p := input(s.in, 7); p != nil {
		l.peephole = p.Data[d*3*s.hidden : (d+1)*3*s.hidden]
	}
	state = d*s.batch + b
	if s.swapped {
		state = b*s.directions + d
	}
	for k, into := range []*[]float64{&l.h, &l.c} {
		*into = make([]float64, s.hidden)
		if a := input(s.in, 5+k); a != nil {
			copy(*into, a.Data[state*s.hidden:(state+1)*s.hidden])
		}
	}
	return l, state
}

// gates are the inputs' share of the gates' sums: W·x plus the first half of the bias.
func (s *sequences) gates(d int, x []float64) []float64 {
	out := make([]float64, s.rows)
	if bias := input(s.in, 3); bias != nil {
		copy(out, bias.Data[2*d*s.rows:])
	}
	w := s.in[1].Data[d*s.rows*s.features:]
	for row := range out {
		for k, v := range x {
			out[row] += w[row*s.features+k] * v
		}
	}
	return out
}

// recurrent evaluates a layer: step advances a cell by one position of its sequence.
func recurrent(gates int, step func(*cell, []float64)) func(*model.Node, []*Array) ([]*Array, error) {
	return func(n *model.Node, in []*Array) ([]*Array, error) {
		s, err := newSequences(n, in, gates)
		if err != nil {
			return nil, err
		}
		t, b, d, h := int64(s.steps), int64(s.batch), int64(s.directions), int64(s.hidden)
		all, last := []int64{t, d, b, h}, []int64{d, b, h}
		if s.swapped {
			all, last = []int64{b, t, d, h}, []int64{b, d, h}
		}
		out := make([]*Array, 3)
		for k, shape := range [][]int64{all, last, last} {
			if out[k], err = NewArray(shape); err != nil {
				return nil, err
			}
		}
		for d := range s.directions {
			backward := d == 1 || n.Str("direction", "forward") == "reverse"
			for b := range s.batch {
				l, state := s.cell(n, d, b)
				for k := range int(s.ends[b]) {
					at := k
					if backward {
						at = int(s.ends[b]) - 1 - k
					}
					step(l, s.gates(d, s.at(at, b)))
					row := (at*s.directions+d)*s.batch + b
					if s.swapped {
						row = (b*s.steps+at)*s.directions + d
					}
					copy(out[0].Data[row*s.hidden:], l.h)
				}
				copy(out[1].Data[state*s.hidden:], l.h)
				copy(out[2].Data[state*s.hidden:], l.c)
			}
		}
		if gates != 4 {
			out = out[:2]
		}
		return out, nil
	}
}
