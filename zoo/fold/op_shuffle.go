package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/op"
)

// A channel shuffle is a Reshape that splits the channels into several axes, a Transpose of these axes, and a Reshape that
// joins them again: together a permutation of the channels. No map passes the first Reshape alone, since it would become
// one over several axes; it passes all three nodes in one step.

// shuffle is a permutation of channels: channel c of the output is channel from[c] of the input.
type shuffle struct {
	nodes [3]*model.Node
	axis  int
	from  []int64
}

// shuffleFrom is the shuffle that begins with a Reshape.
func (p *planner) shuffleFrom(split *model.Node, axis int) *shuffle {
	turn := only(split, "Transpose")
	if turn == nil {
		return nil
	}
	join := only(turn, "Reshape")
	if join == nil {
		return nil
	}
	return p.shuffle(split, turn, join, axis)
}

// shuffleTo is the shuffle that ends with a Reshape.
func (p *planner) shuffleTo(join *model.Node, axis int) *shuffle {
	turn := join.In(0).Producer
	if turn == nil || turn.Type != "Transpose" || turn.In(0) == nil || turn.In(0).Producer == nil {
		return nil
	}
	split := turn.In(0).Producer
	if split.Type != "Reshape" || only(split, "Transpose") != turn || only(turn, "Reshape") != join {
		return nil
	}
	return p.shuffle(split, turn, join, axis)
}

// only is the single reader of a node's output, if it has that type and reads it as input 0; else nil.
func only(n *model.Node, typ string) *model.Node {
	y := n.Outputs[0]
	if y.Output || len(y.Uses) != 1 || y.Uses[0].Index != 0 {
		return nil
	}
	next := y.Uses[0].Node
	if next.Type != typ || next.Domain != "" || next.Graph != n.Graph || len(next.Outputs) != 1 || next.Outputs[0] == nil {
		return nil
	}
	return next
}

// shuffle is the permutation that three nodes make of the channels on an axis; nil if they make none. The extents around the
// channels have to be the same ones throughout.
func (p *planner) shuffle(split, turn, join *model.Node, axis int) *shuffle {
	if p.operator(split).Back == nil || p.operator(turn).Back == nil || p.operator(join).Back == nil || split.In(0) == nil {
		return nil
	}
	x, apart, y := split.In(0).Shape, split.Outputs[0].Shape, join.Outputs[0].Shape
	perm, why := permutation(turn)
	parts := len(apart) - len(x) + 1 // into which the channels are split
	if why != nil || axis < 0 || axis >= len(x) || parts < 2 || len(perm) != len(apart) || !slices.Equal(x, y) ||
		!slices.Equal(x[:axis], apart[:axis]) || !slices.Equal(x[axis+1:], apart[axis+parts:]) {
		return nil
	}
	if slices.Contains(x[:axis], op.Unknown) && slices.Contains(x[axis+1:], op.Unknown) { // these may be any extents
		return nil
	}
	extents := apart[axis : axis+parts]
	if channels, ok := static(extents); !ok || channels != x[axis] || channels > maxValues {
		return nil
	}
	for k, from := range perm {
		if inside := k >= axis && k < axis+parts; !inside && from != int64(k) {
			return nil
		}
	}
	return &shuffle{[3]*model.Node{split, turn, join}, axis, shuffled(extents, perm[axis:axis+parts], axis)}
}

// shuffled are the channels in the order that they have after they are split into extents and these axes are permuted.
func shuffled(extents, perm []int64, first int) []int64 {
	order := []int64{0}
	for _, p := range perm {
		part := int(p) - first
		step, _ := static(extents[part+1:])
		var next []int64
		for _, c := range order {
			for k := range extents[part] {
				next = append(next, c+k*step)
			}
		}
		order = next
	}
	return order
}

// through makes all three nodes part of the move, coming from that side, and then asks what is behind them.
func (m *move) through(s *shuffle, from side, rest []*model.Node, ask func() *Reason) *Reason {
	if len(rest) == 0 {
		return ask()
	}
	return m.visit(rest[0], from, func(*operator) *Reason { return m.through(s, from, rest[1:], ask) })
}

// shuffleForward sends a map of the channels before a shuffle on behind it.
func (m *move) shuffleForward(s *shuffle, a affine) *Reason {
	if len(a.Scale) != len(s.from) {
		return because(NotPerChannel, "the map has %d channels, %v shuffles %d", len(a.Scale), s.nodes[0], len(s.from))
	}
	return m.through(s, inputSide, s.nodes[1:], func() *Reason {
		return m.Forward(s.nodes[2].Outputs[0], picked(a, s.from))
	})
}

// shuffleBack asks what comes before a shuffle for a map of the channels behind it.
func (m *move) shuffleBack(s *shuffle, a affine) *Reason {
	b, why := scattered(s.nodes[2], a, s.from, int64(len(s.from)))
	if why != nil {
		return why
	}
	return m.through(s, outputSide, []*model.Node{s.nodes[1], s.nodes[0]}, func() *Reason {
		return m.Back(s.nodes[0], 0, b)
	})
}
