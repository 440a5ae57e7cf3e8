package op

import "github.com/zoofold/zoofold/zoo/model"

// Recurrent layers.

func init() {
	for _, name := range []string{"LSTM", "GRU", "RNN"} {
		register(&Operator{Type: name, Inputs: []string{"input", "weight", "recurrence weight", "bias", "lengths", "initial state", "initial cell", "peepholes"}, Shape: recurrentShape})
	}
}

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
