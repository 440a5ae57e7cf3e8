package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// Attention.

func init() {
	register(
		&Operator{Type: "Attention", Required: 3, Inputs: []string{"queries", "keys", "values", "mask", "past keys", "past values", "lengths"}, Eval: attention, DType: attentionType, Shape: attentionShape, Terms: operandTerms, Needs: attentionNeeds},
		&Operator{Type: "RotaryEmbedding", Required: 3, Inputs: []string{"input", "cosines", "sines", "positions"}, Eval: rotaryEmbedding, Shape: sameShape, Needs: rotaryNeeds},
	)
}

// attentionType gives keys and values the types of theirs.
func attentionType(_ *model.Node, inputs Types, k int) tensor.DType {
	if k == 1 || k == 2 {
		return inputs.At(k)
	}
	return inputs.At(0)
}

// heads is x with the shape [batch, heads, positions, size]. An x of three axes holds the heads side by side on the last
// one.
func heads(x *Array, count int64) (*Array, error) {
	if len(x.Shape) == 4 {
		return x, nil
	}
	if len(x.Shape) != 3 || count < 1 || x.Shape[2]%count != 0 {
		return nil, fmt.Errorf("%d heads in shape %v", count, x.Shape)
	}
	size := x.Shape[2] / count
	return pick(x, []int64{x.Shape[0], count, x.Shape[1], size}, 0, []int64{x.Shape[1] * x.Shape[2], size, x.Shape[2], 1})
}

// joined undoes heads.
func joined(x *Array) (*Array, error) {
	b, h, l, s := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	out, err := pick(x, []int64{b, l, h, s}, 0, []int64{h * l * s, s, l * s, 1})
	if err != nil {
		return nil, err
	}
	return reshaped(out, []int64{b, l, h * s})
}

// attention is softmax(scale·q·kᵀ + mask)·v, head by head, as ONNX's Attention of operator sets 23 and 24 defines it. Past
// keys and values come first. Several heads of queries may share one of keys and values. A query all of whose keys are
// masked gets 0.
func attention(n *model.Node, in []*Array) ([]*Array, error) {
	if n.Int("left_window_size", -1) >= 0 || n.Int("right_window_size", -1) >= 0 {
		return nil, fmt.Errorf("windows: %w", ErrUnsupported)
	}
	q, err := heads(in[0], n.Int("q_num_heads", 0))
	if err != nil {
		return nil, err
	}
	var kv, present [2]*Array
	for j := range kv {
		if kv[j], err = heads(in[1+j], n.Int("kv_num_heads", 0)); err != nil {
			return nil, err
		}
		if past := input(in, 4+j); past != nil {
			join := &model.Node{Type: "Concat", Attrs: model.Attrs("axis", 2)}
			list, err := concat(join, []*Array{past, kv[j]})
			if err != nil {
				return nil, err
			}
			kv[j] = list[0]
		}
		present[j] = kv[j]
	}
	k, v := kv[0], kv[1]
	b, h, l, size, shared, keys := q.Shape[0], q.Shape[1], q.Shape[2], q.Shape[3], k.Shape[1], k.Shape[2]
	if shared < 1 || h%shared != 0 || k.Shape[3] != size || !slices.Equal(k.Shape[:3], v.Shape[:3]) || k.Shape[0] != b {
		return nil, fmt.Errorf("queries %v, keys %v, values %v", q.Shape, k.Shape, v.Shape)
	}
	if err := within(maxWork, b, h, l, keys, size+v.Shape[3]); err != nil {
		return nil, err
	}
	mask, err := attentionMask(n, in, []int64{b, h, l, keys})
	if err != nil {
		return nil, err
	}
	scores, err := NewArray([]int64{b, h, l, keys})
	if err != nil {
		return nil, err
	}
	out, err := NewArray([]int64{b, h, l, v.Shape[3]})
	if err != nil {
		return nil, err
	}
	scale, cap, mode := n.Float("scale", 1/math.Sqrt(float64(size))), n.Float("softcap", 0), n.Int("qk_matmul_output_mode", 0)
	shown := &Array{Shape: scores.Shape, Data: make([]float64, len(scores.Data))}
	for row := range b * h * l {
		image, head := row/(h*l), row/l%h
		other := image*shared + head/(h/shared)
		line, masked := scores.Data[row*keys:][:keys], mask.Data[row*keys:][:keys]
		for j := range line {
			for c := range size {
				line[j] += q.Data[row*size+c] * k.Data[(other*keys+int64(j))*size+c]
			}
			line[j] *= scale
		}
		show := func(stage int64) {
			if stage == mode {
				copy(shown.Data[row*keys:], line)
			}
		}
		show(0)
		for j := range line {
			if cap > 0 {
				line[j] = cap * math.Tanh(line[j]/cap)
			}
		}
		show(1)
		for j := range line {
			line[j] += masked[j]
		}
		show(2)
		if keys > 0 && !math.IsInf(slices.Max(masked), -1) {
			softmaxLine(line)
		} else {
			clear(line)
		}
		show(3)
		for j, p := range line {
			for c := range v.Shape[3] {
				if p != 0 {
					out.Data[row*v.Shape[3]+c] += p * v.Data[(other*keys+int64(j))*v.Shape[3]+c]
				}
			}
		}
	}
	if len(in[0].Shape) == 3 {
		if out, err = joined(out); err != nil {
			return nil, err
		}
	}
	return []*Array{out, present[0], present[1], shown}, nil
}

// attentionMask is what is added to the scores: the mask that is given, of numbers or truth values, and -∞ for keys behind
// the query, or behind the end of a sequence.
func attentionMask(n *model.Node, in []*Array, shape []int64) (*Array, error) {
	out, err := NewArray(shape)
	if err != nil {
		return nil, err
	}
	l, keys := shape[2], shape[3]
	if mask := input(in, 3); mask != nil {
		values := &Array{Shape: mask.Shape, Data: slices.Clone(mask.Data)}
		for e, x := range values.Data {
			switch {
			case mask.DType == tensor.Bool && x == 0:
				values.Data[e] = math.Inf(-1)
			case mask.DType == tensor.Bool:
				values.Data[e] = 0
			}
		}
		if rank := len(values.Shape); rank > 0 && values.Shape[rank-1] < keys && values.Shape[rank-1] != 1 { // a shorter mask leaves the remaining keys masked
			longer := slices.Clone(values.Shape)
			longer[rank-1] = keys
			whole, err := NewArray(longer)
			if err != nil {
				return nil, err
			}
			given := int(values.Shape[rank-1])
			for e := range whole.Data {
				if whole.Data[e] = math.Inf(-1); e%int(keys) < given {
					whole.Data[e] = values.Data[e/int(keys)*given+e%int(keys)]
				}
			}
			values = whole
		}
		if out, err = broadcastTo(values, shape); err != nil {
			return nil, err
		}
		out = &Array{Shape: out.Shape, Data: slices.Clone(out.Data)}
	}
	lengths := input(in, 6)
	if lengths != nil && int64(len(lengths.Data)) != shape[0] {
		return nil, fmt.Errorf("%d lengths for a batch of %d", len(lengths.Data), shape[0])
	}
	before := int64(0) // keys before the first query
	if past := input(in, 4); past != nil {
		before = past.Shape[2]
	}
	for e := range out.Data {
		image, i, j := int64(e)/(shape[1]*l*keys), int64(e)/keys%l, int64(e)%keys
		offset := before
		if lengths != nil {
			offset = lengths.Int(int(image)) - l
		}
		if n.Int("is_causal", 0) != 0 && j > i+offset || lengths != nil && j >= lengths.Int(int(image)) {
			out.Data[e] = math.Inf(-1)
		}
	}
	return out, nil
}

// attentionShape outputs the values' size for each query; the keys and values with those of the past; and the scores.
func attentionShape(in *Inference, n *model.Node) [][]int64 {
	q, k, v := in.of(n.In(0)), in.of(n.In(1)), in.of(n.In(2))
	if len(q) != len(k) || len(q) != len(v) || len(q) != 3 && len(q) != 4 {
		return nil
	}
	split := func(s []int64, heads int64) []int64 { // as [batch, heads, positions, size]
		switch {
		case len(s) == 4:
			return s
		case heads < 1 || s[2] < 0:
			return []int64{s[0], max(heads, Unknown), s[1], Unknown}
		}
		return []int64{s[0], heads, s[1], s[2] / heads}
	}
	queries, shared := n.Int("q_num_heads", Unknown), n.Int("kv_num_heads", Unknown)
	q4, k4, v4 := slices.Clone(split(q, queries)), slices.Clone(split(k, shared)), slices.Clone(split(v, shared))
	for j, s := range [][]int64{k4, v4} {
		if past := n.In(4 + j); past != nil {
			if p := in.of(past); len(p) == 4 && p[2] >= 0 && s[2] >= 0 {
				s[2] += p[2]
			} else {
				s[2] = Unknown
			}
		}
	}
	out := []int64{q4[0], q4[1], q4[2], v4[3]}
	if len(q) == 3 {
		out = []int64{q[0], q[1], Unknown}
		if q4[1] >= 0 && v4[3] >= 0 {
			out[2] = q4[1] * v4[3]
		}
	}
	return shapes(out, k4, v4, []int64{q4[0], q4[1], q4[2], k4[2]})
}

// rotaryEmbedding rotates pairs of elements of each head by an angle that depends on the position (Su et al. 2021,
// arXiv:2104.09864; ONNX's RotaryEmbedding of operator set 23).
func rotaryEmbedding(n *model.Node, in []*Array) ([]*Array, error) {
	x, err := heads(in[0], n.Int("num_heads", 0))
	if err != nil {
		return nil, err
	}
	cos, sin := in[1], in[2]
	b, h, l, size := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	turned := n.Int("rotary_embedding_dim", 0)
	if turned == 0 {
		turned = size
	}
	half := turned / 2
	positions := input(in, 3)
	if turned > size || half < 1 || !slices.Equal(cos.Shape, sin.Shape) || len(cos.Shape) < 2 || cos.Shape[len(cos.Shape)-1] != half ||
		positions == nil && int64(len(cos.Data)) != b*l*half || positions != nil && int64(len(positions.Data)) != b*l {
		return nil, fmt.Errorf("shape %v, tables of shape %v", x.Shape, cos.Shape)
	}
	out := &Array{Shape: x.Shape, Data: slices.Clone(x.Data)}
	for row := range b * h * l {
		at := row/(h*l)*l + row%l // of the tables
		if positions != nil {
			if at, err = position(positions.Int(int(at)), cos.Shape[0]); err != nil {
				return nil, err
			}
		}
		for c := range half {
			first, second := row*size+c, row*size+c+half
			if n.Int("interleaved", 0) != 0 {
				first, second = row*size+2*c, row*size+2*c+1
			}
			u, v := cos.Data[at*half+c], sin.Data[at*half+c]
			out.Data[first] = u*x.Data[first] - v*x.Data[second]
			out.Data[second] = v*x.Data[first] + u*x.Data[second]
		}
	}
	if len(in[0].Shape) == 3 {
		return one(joined(out))
	}
	return one(out, nil)
}

// attentionNeeds are the wanted queries of the wanted members of the batch, and all keys and values of those members: masks
// and the order of positions are not used to make them fewer.
func attentionNeeds(_ *model.Node, in []*Array, out Part) []Box {
	rank := len(in[0].Shape)
	if out.Output > 0 || len(in) < 3 || len(in) > 3 && in[3] != nil || rank != len(out.Box) || rank < 3 {
		return nil
	}
	boxes := []Box{slices.Clone(out.Box)}
	boxes[0][rank-1] = Range{0, in[0].Shape[rank-1]}
	for _, a := range in[1:3] {
		if a == nil || len(a.Shape) != rank {
			return nil
		}
		box := Whole(a.Shape)
		box[0] = out.Box[0]
		boxes = append(boxes, box)
	}
	return boxes
}

// rotaryNeeds are whole rows of heads.
var rotaryNeeds = alongNeeds(func(*model.Node, int) []int64 { return []int64{-1} })
